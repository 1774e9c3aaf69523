//! Lets a depthwise convolution sum its outputs for the mean over all positions that follows (squeeze and excitation: Hu
//! et al. 2018), so that its value is not read once more for it.

use super::{Config, Report};
use crate::ir::{self, Graph, Node};
use crate::layers::{Op, Window};
use std::collections::HashSet;

pub fn run(graph: &mut Graph, _config: &Config, report: &mut Report) {
    let mut with_mean: HashSet<_> = graph.nodes.iter().filter(|node| node.beside).map(|node| node.inputs[0]).collect();
    for id in graph.ids().filter(|&id| is_mean(graph, &graph[id])).collect::<Vec<_>>() {
        let (path, producer) = (graph[id].origin.path.clone(), graph[id].inputs[0]);
        let of = graph[producer].name();
        let (node, kernel) = (&graph[id], &graph[producer].op);
        let why = match kernel {
            _ if !node.epilogue.is_empty() => Some("an activation follows the mean".to_string()),
            Op::Conv(conv) if conv.groups == conv.channels && conv.groups > 1 => {
                with_mean.contains(&producer).then(|| format!("the kernel of {of} makes a mean already"))
            }
            _ => Some(format!("{of} is no depthwise convolution")),
        };
        match why {
            Some(why) => report.refused(&path, format!("the mean is a step of its own: {why}")),
            None => {
                graph[id].beside = true;
                with_mean.insert(producer);
                report.done(&path, format!("the mean is made by the kernel of {of}"));
            }
        }
    }
}

/// Whether a node is the mean over all of its operand's positions, of which there is more than one.
fn is_mean(graph: &Graph, node: &Node) -> bool {
    let Op::AvgPool(pool) = &node.op else { return false };
    if ir::integer::concerns(graph, node) {
        return false;
    }
    let spatial = graph[node.inputs[0]].ty.spatial();
    pool.window == Window::whole(spatial) && spatial.iter().any(|&size| size > 1)
}
