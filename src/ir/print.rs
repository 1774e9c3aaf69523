//! The printed form of a graph, which golden files hold.

use super::{Epilogue, Graph, Node, NodeId};
use crate::layers::Op;
use std::fmt::Write;

/// One line a node:
/// `%3 = conv 3x3, 64, half (%2) [conv1.weight] + relu : f32 [N, 64, 56, 56]  # layer1.0.conv1`
pub fn print(graph: &Graph) -> String {
    let mut text = format!("graph {}\n", graph.name);
    for id in graph.ids() {
        print_node(graph, id, &mut text);
    }
    for output in &graph.outputs {
        let _ = writeln!(text, "output {} = %{}", output.name, output.node.0);
    }
    text
}

fn print_node(graph: &Graph, id: NodeId, text: &mut String) {
    let node = &graph[id];
    let _ = write!(text, "%{} = ", id.0);
    match node.op.layer() {
        None => text.push_str("input"),
        Some(layer) => {
            let _ = write!(text, "{layer} ({})", list(node.operands()));
        }
    }
    if !node.params.is_empty() {
        let names: Vec<&str> = node.params.iter().map(|&p| graph[p].name.as_str()).collect();
        let _ = write!(text, " [{}]", names.join(", "));
    }
    if let Some(gate) = node.gate() {
        let _ = write!(text, " * gate %{}", gate.0);
    }
    print_epilogue(node, text);
    let _ = write!(text, " : {} {}", node.ty.dtype, graph.shape_of(id));
    if node.beside {
        let _ = write!(text, " beside %{}", node.inputs[0].0);
    }
    if let Some(slice) = node.slice_of {
        let _ = write!(text, " in %{}[{}..]", slice.concat.0, slice.channel);
    }
    if matches!(node.op, Op::Input) || !node.origin.path.is_empty() {
        let _ = write!(text, "  # {}", node.origin.path);
    }
    text.push('\n');
}

fn print_epilogue(node: &Node, text: &mut String) {
    for item in &node.epilogue {
        let _ = match item {
            Epilogue::Activation(activation) => write!(text, " + {activation}"),
            Epilogue::Add { input } => write!(text, " + add %{}", node.inputs[*input].0),
        };
    }
}

fn list(ids: &[NodeId]) -> String {
    ids.iter().map(|id| format!("%{}", id.0)).collect::<Vec<_>>().join(", ")
}
