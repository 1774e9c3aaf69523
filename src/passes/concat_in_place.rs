//! Lets the producers of a concatenation's operands write directly into their part of it, so that nothing is copied.

use super::{Config, Report};
use crate::ir::{Graph, NodeId, Slice};
use crate::layers::Op;

pub fn run(graph: &mut Graph, config: &Config, report: &mut Report) {
    // Later concatenations first: in a dense block the last one holds all the others.
    for id in graph.ids().rev().filter(|&id| matches!(graph[id].op, Op::Concat(_))).collect::<Vec<_>>() {
        let mut channel = 0;
        for operand in graph[id].inputs.clone() {
            let path = graph[operand].origin.path.clone();
            match refusal(graph, id, operand, channel, config) {
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

/// Why `operand` cannot be written directly into channel `channel` of the concatenation `id`.
fn refusal(graph: &Graph, id: NodeId, operand: NodeId, channel: usize, config: &Config) -> Option<String> {
    let node = &graph[operand];
    if matches!(node.op, Op::Input) {
        return Some("it is an input of the model".into());
    }
    if node.beside {
        return Some("the kernel of its operand makes it".into());
    }
    if graph.is_output(operand) {
        return Some("it is an output of the model".into());
    }
    if graph[id].inputs.iter().filter(|&&i| i == operand).count() > 1 {
        return Some("it stands in the concatenation twice".into());
    }
    if let Some(slice) = node.slice_of {
        return Some(format!("it is part of {} already", graph[slice.concat].name()));
    }
    if !channel.is_multiple_of(config.channel_block) {
        return Some(format!("channel {channel} is no multiple of the block of {} channels", config.channel_block));
    }
    None
}
