//! Brings layers to the operations that kernels know: removes what does nothing at inference (dropout), writes
//! global pooling as pooling, and lets a dense layer read a map that was flattened for it.

use super::uses::Uses;
use super::{Config, Report, split};
use crate::ir::{Graph, NodeId, Param, ParamSource};
use crate::layers::{Dense, Lowering, Op, Pad, PadArg};

pub fn run(graph: &mut Graph, _config: &Config, report: &mut Report) {
    let mut uses = Uses::of(graph);
    for id in graph.ids() {
        uses.update(graph, id);
        lower_node(graph, id, &mut uses, report);
        absorb_flatten(graph, id, report);
        order_weights(graph, id);
    }
    uses.finish(graph);
    // Zero borders and zero channels are added by different kernels.
    split::run(graph, |_, node| split_pad(&node.op));
}

fn lower_node(graph: &mut Graph, id: NodeId, uses: &mut Uses, report: &mut Report) {
    let node = &graph[id];
    let types = graph.operand_types(node);
    let Some(lowering) = node.op.layer().map(|layer| layer.lower(&types)) else { return };
    let (path, name) = (node.origin.path.clone(), node.op.layer().map(|l| l.to_string()).unwrap_or_default());
    match lowering {
        Lowering::Keep => {}
        // What was fused behind it is still to be done.
        Lowering::Identity if !node.epilogue.is_empty() => {}
        Lowering::Identity => {
            uses.replace(id, node.inputs[0]);
            report.done(&path, format!("removed `{name}`, which does nothing at inference"));
        }
        Lowering::As(op) => {
            report.done(&path, format!("`{name}` is `{}`", op.layer().map(|l| l.to_string()).unwrap_or_default()));
            graph[id].op = op;
        }
    }
}

/// dense(flatten(x)) is a dense layer over all of x.
fn absorb_flatten(graph: &mut Graph, id: NodeId, report: &mut Report) {
    let Op::Dense(dense) = &graph[id].op else { return };
    let flatten = graph[id].inputs[0];
    if !matches!(graph[flatten].op, Op::Flatten(_)) || !graph[flatten].epilogue.is_empty() {
        return;
    }
    let dense = Dense { flatten: true, ..dense.clone() };
    let input = graph[flatten].inputs[0];
    graph[id].op = Op::Dense(dense);
    graph[id].inputs[0] = input;
    let path = graph[id].origin.path.clone();
    report.done(&path, "reads the map before `flatten`; its weights are packed in the map's order");
}

/// The weights of a transposed convolution by output channel, as those of all other layers: what a batch norm scales.
fn order_weights(graph: &mut Graph, id: NodeId) {
    let Op::ConvTranspose(conv) = &graph[id].op else { return };
    if conv.output_major {
        return;
    }
    let (groups, channels, weight) = (conv.groups, conv.channels, graph[id].params[0]);
    let Param { name, mut dims, init, .. } = graph[weight].clone();
    (dims[0], dims[1]) = (channels, dims[0] / groups);
    let source = ParamSource::OutputMajor { weight, groups };
    graph[id].params[0] = graph.add_param(Param { name: format!("{name}.output_major"), dims, source, init });
    let Op::ConvTranspose(conv) = &mut graph[id].op else { unreachable!("checked above") };
    conv.output_major = true;
}

/// A padding of both kinds as one of the borders and one of the channels.
fn split_pad(op: &Op) -> Option<(Op, Op)> {
    let Op::Pad(pad) = op else { return None };
    let mixed = pad.channels != (0, 0) && pad.sides != PadArg::All(0);
    let parts = || {
        let borders = Pad { channels: (0, 0), ..pad.clone() };
        (borders.into(), Pad { sides: PadArg::All(0), ..pad.clone() }.into())
    };
    mixed.then(parts)
}
