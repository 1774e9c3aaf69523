//! Moves activations and residual additions into the epilogue of the kernel that makes their operand, so that the
//! value is finished before it leaves the registers.

use super::uses::Uses;
use super::{Config, Report};
use crate::ir::{self, Epilogue, Graph, NodeId};
use crate::layers::Op;

pub fn run(graph: &mut Graph, _config: &Config, report: &mut Report) {
    let mut uses = Uses::of(graph);
    for id in graph.ids() {
        uses.update(graph, id);
        if !graph[id].epilogue.is_empty() || ir::integer::concerns(graph, &graph[id]) {
            // It is a kernel's own work already, or one of its own.
            continue;
        }
        let fused = match graph[id].op {
            Op::Activation(activation) if activation.steepness().is_none() => {
                Err("its slope has no bound, so that it could make anything of a rounding error".into())
            }
            Op::Activation(activation) => {
                let producer = graph[id].inputs[0];
                refusal(graph, producer, &uses).map_or_else(|| Ok((producer, Epilogue::Activation(activation))), Err)
            }
            Op::Add(_) => choose_addend(graph, id, &uses),
            _ => continue,
        };
        let path = graph[id].origin.path.clone();
        let name = graph[id].op.layer().map(|l| l.to_string()).unwrap_or_default();
        match fused {
            Err(why) => report.refused(&path, format!("`{name}` stays: {why}")),
            Ok((producer, item)) => {
                fuse(graph, id, producer, item);
                uses.replace(id, producer);
                report.done(&path, format!("`{name}` fused into {}", graph[producer].name()));
            }
        }
    }
    uses.finish(graph);
}

/// The operand of an addition that takes the other one into its epilogue: it must come later.
fn choose_addend(graph: &Graph, id: NodeId, uses: &Uses) -> Result<(NodeId, Epilogue), String> {
    let (a, b) = (graph[id].inputs[0], graph[id].inputs[1]);
    if graph[a].ty != graph[b].ty {
        return Err("one operand has fewer numbers than the other".into());
    }
    let producer = a.max(b);
    if a == b {
        return Err("both operands are the same value".into());
    }
    if let Some(why) = refusal(graph, producer, uses) {
        return Err(why);
    }
    if graph[producer].epilogue.iter().any(|e| matches!(e, Epilogue::Add { .. })) {
        return Err(format!("{} adds another value already", graph[producer].name()));
    }
    Ok((producer, Epilogue::Add { input: graph[producer].inputs.len() }))
}

/// The most that a kernel does behind its own work: its code repeats all of it for each of its registers.
const MAX_EPILOGUE: usize = 8;

/// Why nothing can be fused behind `producer`.
fn refusal(graph: &Graph, producer: NodeId, uses: &Uses) -> Option<String> {
    let node = &graph[producer];
    if node.beside {
        return Some("the mean is made by the kernel before it".into());
    }
    let path = node.name();
    if ir::integer::concerns(graph, node) {
        return Some(format!("{path} computes on whole numbers"));
    }
    if uses.is_shared(producer) {
        return Some(format!("the value of {path} before it is read elsewhere too"));
    }
    if node.epilogue.len() == MAX_EPILOGUE {
        return Some(format!("the kernel of {path} does {MAX_EPILOGUE} things behind its own already"));
    }
    if !node.op.takes_epilogue() {
        let name = node.op.layer().map_or("an input".to_string(), |l| format!("`{l}`"));
        return Some(format!("the kernel of {name} has no epilogue"));
    }
    None
}

fn fuse(graph: &mut Graph, id: NodeId, producer: NodeId, item: Epilogue) {
    if matches!(item, Epilogue::Add { .. }) {
        let other = graph[id].inputs.iter().copied().find(|&i| i != producer).expect("two different operands");
        graph[producer].inputs.push(other);
    }
    graph[producer].epilogue.push(item);
}
