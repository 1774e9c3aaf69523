//! Takes the multiplication by one number for each channel (squeeze and excitation: Hu et al. 2018) out of the way of
//! the 1x1 convolution behind it: W (g x) = (W g) x, so that the weights are multiplied, once a sample, and the value is
//! not read and written once more.

use super::{Config, Report};
use crate::ir::{self, Graph, Node, NodeId};
use crate::layers::{Conv, Each, Op};

pub fn run(graph: &mut Graph, config: &Config, report: &mut Report) {
    // Weights are rounded where they are packed, and their products with a gate would be no numbers of bf16.
    if config.rounds.is_some() {
        return;
    }
    let (users, outputs) = (graph.users(), graph.output_values());
    for id in graph.ids().filter(|&id| is_gate(graph, &graph[id])).collect::<Vec<_>>() {
        let path = graph[id].origin.path.clone();
        match reader(graph, id, &users[id.0 as usize], outputs[id.0 as usize]) {
            Err(why) => report.refused(&path, format!("the gate stays: {why}")),
            Ok(conv) => {
                let &[x, gate] = graph[id].operands() else { unreachable!("verified") };
                let node = &mut graph[conv];
                node.inputs[0] = x;
                node.inputs.insert(1, gate);
                node.gated = true;
                report.done(&path, format!("the gate multiplies the weights of {}", graph[conv].name()));
            }
        }
    }
}

/// Whether a node multiplies by one number for each channel.
fn is_gate(graph: &Graph, node: &Node) -> bool {
    matches!(node.op, Op::Mul(_))
        && node.epilogue.is_empty()
        && !ir::integer::concerns(graph, node)
        && Each::of(&graph[node.inputs[0]].ty, &graph[node.inputs[1]].ty) == Some(Each::Channel)
}

/// The convolution that takes the gate, or why none can.
fn reader(graph: &Graph, id: NodeId, users: &[NodeId], is_output: bool) -> Result<NodeId, String> {
    let &[user] = users else { return Err("its value does not have one reader".into()) };
    if is_output {
        return Err("its value is an output of the model".into());
    }
    let node = &graph[user];
    let (path, dims) = (node.name(), &graph[id].ty.dims);
    match &node.op {
        _ if node.gated => return Err(format!("{path} has another one")),
        Op::Conv(Conv { window, groups: 1, .. }) if window.kernel.iter().all(|&k| k == 1) => {}
        _ => return Err(format!("{path} is no 1x1 convolution")),
    }
    let (channels, positions) = (node.ty.channels(), dims[1..].iter().product::<usize>());
    // Both are read and written once; the product of weights is read from memory once more.
    if 2 * channels > positions {
        return Err(format!("{path} has {channels} weights for each channel, of which there are {positions} values"));
    }
    Ok(user)
}
