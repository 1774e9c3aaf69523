//! Lets convolutions and dense layers multiply numbers of bf16, where that is asked for: their operands are rounded first,
//! each value once for all of its readers, and their weights are where they are packed.

use super::{Config, Report, split};
use crate::ir::{self, Graph, Node, NodeId};
use crate::layers::{Convert, Op};
use crate::tensor::DType;
use std::collections::HashMap;

pub fn run(graph: &mut Graph, config: &Config, report: &mut Report) {
    let Some(rounds) = config.rounds else { return };
    let decided = |id: NodeId| is_product(graph, id).then(|| rounds(graph, id));
    let decided: Vec<Option<Result<(), String>>> = graph.ids().map(decided).collect();
    let mut rounded = HashMap::new();
    split::rebuild(graph, |graph, id, mut node| {
        match &decided[id.0 as usize] {
            None => {}
            Some(Ok(())) => {
                let operand = node.inputs[0];
                node.inputs[0] = *rounded.entry(operand).or_insert_with(|| round(graph, operand));
                report.done(&node.origin.path, "multiplies numbers of bf16");
            }
            Some(Err(why)) => report.refused(&node.origin.path, format!("multiplies numbers of f32: {why}")),
        }
        graph.add_node(node)
    });
}

/// Whether a node multiplies real numbers that may be rounded.
fn is_product(graph: &Graph, id: NodeId) -> bool {
    let node = &graph[id];
    matches!(node.op, Op::Conv(_) | Op::Dense(_)) && !ir::integer::concerns(graph, node)
}

fn round(graph: &mut Graph, operand: NodeId) -> NodeId {
    let Node { ty, origin, .. } = &graph[operand];
    let (ty, origin) = (ty.with_dtype(DType::Bf16), origin.clone());
    graph.add_node(Node::new(Convert.into(), vec![operand], Vec::new(), ty, origin))
}

/// Takes out what this pass has put into a graph.
pub fn forget(graph: &mut Graph) {
    let rounded = |graph: &Graph, id: NodeId| match graph[id].ty.dtype {
        DType::Bf16 => graph[id].inputs[0],
        _ => id,
    };
    for id in graph.ids() {
        let inputs = graph[id].inputs.iter().map(|&input| rounded(graph, input)).collect();
        graph[id].inputs = inputs;
    }
}
