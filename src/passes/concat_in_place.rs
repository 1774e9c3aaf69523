//! Lets the producers of a concatenation's operands write directly into their part of it, so that nothing is copied.

use super::{Config, Report};
use crate::ir::{Graph, NodeId, Slice};
use crate::layers::Op;
use std::collections::HashMap;

pub fn run(graph: &mut Graph, config: &Config, report: &mut Report) {
    let outputs = graph.output_values();
    // Later concatenations first: in a dense block the last one holds all the others.
    for id in graph.ids().rev().filter(|&id| matches!(graph[id].op, Op::Concat(_))).collect::<Vec<_>>() {
        let (mut channel, operands) = (0, graph[id].inputs.clone());
        let mut times: HashMap<NodeId, usize> = HashMap::new();
        operands.iter().for_each(|&operand| *times.entry(operand).or_default() += 1);
        for operand in operands {
            let path = graph[operand].origin.path.clone();
            let (is_output, twice) = (outputs[operand.0 as usize], times[&operand] > 1);
            match refusal(graph, operand, is_output, twice).or_else(|| misaligned(channel, config)) {
                Some(why) => report.refused(&path, format!("copied into {}: {why}", graph[id].name())),
                None => {
                    graph[operand].slice_of = Some(Slice { concat: id, channel });
                    report.done(&path, format!("written directly into {}", graph[id].name()));
                }
            }
            channel += graph[operand].ty.channels();
        }
    }
}

/// Why an operand cannot be written directly into its concatenation, in which it stands `twice` or once, wherever its place
/// there is.
fn refusal(graph: &Graph, operand: NodeId, is_output: bool, twice: bool) -> Option<String> {
    let node = &graph[operand];
    if matches!(node.op, Op::Input) {
        return Some("it is an input of the model".into());
    }
    if node.beside {
        return Some("the kernel of its operand makes it".into());
    }
    if is_output {
        return Some("it is an output of the model".into());
    }
    if twice {
        return Some("it stands in the concatenation twice".into());
    }
    let slice = node.slice_of?;
    Some(format!("it is part of {} already", graph[slice.concat].name()))
}

/// Why nothing can be written at a channel.
fn misaligned(channel: usize, config: &Config) -> Option<String> {
    let block = config.channel_block;
    let aligned = channel.is_multiple_of(block);
    (!aligned).then(|| format!("channel {channel} is no multiple of the block of {block} channels"))
}
