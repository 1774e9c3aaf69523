//! Biases that do nothing.

use super::{Finding, Subject};
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
    let finding = |node| Finding {
        node,
        message: "a bias before a batch norm".into(),
        label: "the norm behind it subtracts the mean, the bias with it".into(),
        help: match &graph[node].op {
            Op::Dense(_) => "write `bias = false`; the norm has a shift of its own".into(),
            _ => "leave `bias` out; the norm has a shift of its own".into(),
        },
    };
    graph.ids().filter(has_bias).filter(only_norms).map(finding).collect()
}
