//! Lets convolutions and dense layers multiply numbers of bf16, where that is asked for: their operands are rounded first,
//! each value once for all of its readers, and their weights are where they are packed. A layer takes the rounded operand
//! whether or not that is faster on the machine: results do not depend on it, and it was asked for.

use super::{Config, Report, split};
use crate::ir::{self, Graph, Node, NodeId};
use crate::layers::{Convert, Op};
use crate::tensor::{DType, Products};
use std::collections::HashMap;

pub fn run(graph: &mut Graph, config: &Config, report: &mut Report) {
    if config.products != Products::Bf16 {
        return;
    }
    let mut rounded = HashMap::new();
    split::rebuild(graph, |graph, _, mut node| {
        match why_not(graph, &node, config.channel_block) {
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

fn round(graph: &mut Graph, operand: NodeId) -> NodeId {
    let Node { ty, origin, .. } = &graph[operand];
    let (ty, origin) = (ty.with_dtype(DType::Bf16), origin.clone());
    graph.add_node(Node::new(Convert.into(), vec![operand], Vec::new(), ty, origin))
}

/// Why a layer of products cannot round its operand, if it cannot; `None` for other layers, and those on whole numbers.
fn why_not(graph: &Graph, node: &Node, lanes: usize) -> Option<Result<(), String>> {
    if ir::integer::concerns(graph, node) {
        return None;
    }
    let input = graph[*node.operands().first()?].ty.channels();
    let (of_input, of_output, groups) = match &node.op {
        Op::Conv(conv) => (input / conv.groups, conv.channels / conv.groups, conv.groups),
        Op::Dense(_) => return Some(Ok(())),
        Op::ConvTranspose(_) => return Some(Err("a transposed convolution".into())),
        _ => return None,
    };
    let is_whole = groups == 1 || of_input.is_multiple_of(lanes) && of_output.is_multiple_of(lanes);
    Some(match of_input {
        _ if node.gated => Err("its weights are multiplied by a gate".into()),
        _ if !is_whole => Err(format!("groups of {of_input} -> {of_output} channels are no blocks of {lanes}")),
        // To bring them into a block costs more than half of so few products.
        few if few < lanes / 2 => Err(format!("{few} input channels, fewer than half a block")),
        _ => Ok(()),
    })
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
