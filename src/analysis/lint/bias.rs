//! Biases that do nothing.

use super::{Finding, Subject};
use crate::diagnostic::{Fix, Help};
use crate::front::text::syntax::ast::Call;
use crate::ir::NodeId;
use crate::layers::Op;

/// A batch norm subtracts the mean of its input, and any constant with it.
pub fn before_norm(subject: &Subject) -> Vec<Finding> {
    let graph = subject.graph;
    let outputs = graph.output_values();
    let has_bias = |id: &NodeId| match &graph[*id].op {
        Op::Conv(conv) => conv.bias,
        Op::ConvTranspose(conv) => conv.bias,
        Op::Dense(dense) => dense.bias,
        _ => false,
    };
    let only_norms = |id: &NodeId| {
        let users = &subject.users[id.0 as usize];
        let norms = users.iter().all(|user| matches!(graph[*user].op, Op::BatchNorm(_)));
        norms && !users.is_empty() && !outputs[id.0 as usize]
    };
    let finding = |node: NodeId| {
        let usual = matches!(graph[node].op, Op::Dense(_));
        let what = if usual { "write `bias = false`" } else { "leave `bias` out" };
        Finding {
            node,
            message: "a bias before a batch norm".into(),
            label: "the norm behind it subtracts the mean, the bias with it".into(),
            help: Help::new(format!("{what}; the norm has a shift of its own"))
                .fix(subject.place(node).map(|place| without(place.call, usual, what))),
        }
    };
    graph.ids().filter(has_bias).filter(only_norms).map(finding).collect()
}

/// The call without a bias, which it has by default if that is `usual`, or by the file's `defaults`.
fn without(call: &Call, usual: bool, title: &str) -> Fix {
    let fix = match call.argument("bias") {
        Some(bias) if usual => Fix::replace(title, bias.span, "bias = false"),
        Some(bias) => call.without(title, bias),
        None => call.with(title, "bias = false"),
    };
    fix.maybe()
}
