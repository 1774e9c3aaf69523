//! Moves activations and residual additions into the epilogue of the kernel that makes their operand, so that the
//! value is finished before it leaves the registers.

use super::{Config, Report};
use crate::ir::{Epilogue, Graph, NodeId};
use crate::layers::Op;

pub fn run(graph: &mut Graph, _config: &Config, report: &mut Report) {
    // Readers of each value among the nodes that are still in use.
    let mut readers: Vec<usize> = graph.users().iter().map(Vec::len).collect();
    for id in graph.ids() {
        let fused = match graph[id].op {
            Op::Activation(activation) => {
                let producer = graph[id].inputs[0];
                refusal(graph, producer, &readers).map_or_else(|| Ok((producer, Epilogue::Activation(activation))), Err)
            }
            Op::Add(_) => choose_addend(graph, id, &readers),
            _ => continue,
        };
        let path = graph[id].origin.path.clone();
        let name = graph[id].op.layer().map(|l| l.to_string()).unwrap_or_default();
        match fused {
            Err(why) => report.refused(&path, format!("`{name}` stays: {why}")),
            Ok((producer, item)) => {
                fuse(graph, id, producer, item);
                readers[producer.0 as usize] = readers[id.0 as usize];
                report.done(&path, format!("`{name}` fused into {}", graph[producer].name()));
            }
        }
    }
}

/// The operand of an addition that takes the other one into its epilogue: it must come later.
fn choose_addend(graph: &Graph, id: NodeId, readers: &[usize]) -> Result<(NodeId, Epilogue), String> {
    let (a, b) = (graph[id].inputs[0], graph[id].inputs[1]);
    let producer = a.max(b);
    if a == b {
        return Err("both operands are the same value".into());
    }
    if let Some(why) = refusal(graph, producer, readers) {
        return Err(why);
    }
    if graph[producer].epilogue.iter().any(|e| matches!(e, Epilogue::Add { .. })) {
        return Err(format!("{} adds another value already", graph[producer].name()));
    }
    Ok((producer, Epilogue::Add { input: graph[producer].inputs.len() }))
}

/// Why nothing can be fused behind `producer`.
fn refusal(graph: &Graph, producer: NodeId, readers: &[usize]) -> Option<String> {
    let node = &graph[producer];
    let path = node.name();
    if readers[producer.0 as usize] > 1 || graph.is_output(producer) {
        return Some(format!("the value of {path} before it is read elsewhere too"));
    }
    if !takes_epilogue(&node.op) {
        let name = node.op.layer().map_or("an input".to_string(), |l| format!("`{l}`"));
        return Some(format!("the kernel of {name} has no epilogue"));
    }
    None
}

fn takes_epilogue(op: &Op) -> bool {
    let windows = matches!(
        op,
        Op::Conv(_) | Op::Dense(_) | Op::MaxPool(_) | Op::AvgPool(_) | Op::AdaptiveAvgPool(_) | Op::Upsample(_)
    );
    windows || matches!(op, Op::BatchNorm(_) | Op::Activation(_) | Op::Add(_) | Op::Mul(_))
}

fn fuse(graph: &mut Graph, id: NodeId, producer: NodeId, item: Epilogue) {
    if matches!(item, Epilogue::Add { .. }) {
        let other = graph[id].inputs.iter().copied().find(|&i| i != producer).expect("two different operands");
        graph[producer].inputs.push(other);
    }
    graph[producer].epilogue.push(item);
    graph.replace_uses(id, producer);
}
