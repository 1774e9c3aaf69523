//! The proof of a text: what it builds is what it was written from.

use super::{Form, Written};
use crate::diagnostic::Diagnostic;
use crate::front::text::build::{self, NoFiles, Program};
use crate::front::text::syntax::format;
use crate::ir::{Graph, Node, NodeId, ParamId, Verified};
use crate::layers::Op;
use crate::source::SourceMap;
use std::collections::HashMap;

/// Builds a text in the standard layout and compares what comes of it with a graph, whose nodes are in the text's order.
///
/// # Errors
/// If it builds nothing, or another graph.
pub fn prove(
    text: String,
    graph: &Graph,
    form: Form,
    is_named: &dyn Fn(&str) -> bool,
) -> Result<Written, Vec<Diagnostic>> {
    let text = formatted(text);
    let mut sources = SourceMap::default();
    let root = sources.add(format!("{}.cnn", graph.name), text.clone());
    let options = build::Options::default();
    let program: Program = build::load(&mut sources, root, &options.limits, &mut NoFiles)?;
    let built: Verified<Graph> = build::build(&mut sources, &program, &options)?;
    if let Some(difference) = difference(graph, &built, is_named) {
        return Err(vec![Diagnostic::error("E0809", difference)]);
    }
    let pairs = graph.nodes.iter().zip(&built.nodes).flat_map(|(a, b)| a.params.iter().zip(&b.params));
    let names = pairs.map(|(&a, &b)| (graph[a].name.clone(), built[b].name.clone()));
    let renamed = names.filter(|(old, new)| old != new).collect();
    Ok(Written { text, sources, program, graph: built, form, renamed })
}

/// The standard layout. A text that is none is left as it is, and refused where it is built.
fn formatted(text: String) -> String {
    let mut sources = SourceMap::default();
    let file = sources.add(String::new(), text.clone());
    format::format(&sources, file).unwrap_or(text)
}

/// The same graph with its layers in another order, behind the inputs. `None` if it is no order of all of them.
pub fn reordered(graph: &Graph, layers: &[NodeId]) -> Option<Graph> {
    let order: Vec<NodeId> = graph.inputs.iter().chain(layers).copied().collect();
    let place: HashMap<NodeId, NodeId> = order.iter().enumerate().map(|(i, &id)| (id, NodeId(i as u32))).collect();
    if place.len() != graph.nodes.len() || order.len() != graph.nodes.len() {
        return None;
    }
    let mut sorted = Graph { nodes: Vec::new(), ..graph.clone() };
    for &id in &order {
        let mut node = graph[id].clone();
        node.inputs.iter_mut().for_each(|input| *input = place[input]);
        sorted.add_node(node);
    }
    sorted.inputs.iter_mut().for_each(|input| *input = place[input]);
    sorted.outputs.iter_mut().for_each(|output| output.node = place[&output.node]);
    Some(sorted)
}

/// Where two graphs differ in what they compute or in the names of weights that are to be kept, in words.
fn difference(from: &Graph, built: &Graph, is_named: &dyn Fn(&str) -> bool) -> Option<String> {
    if from.nodes.len() != built.nodes.len() || from.inputs != built.inputs {
        return Some(format!("{} nodes became {}", from.nodes.len(), built.nodes.len()));
    }
    if from.outputs != built.outputs {
        return Some("its outputs became others".into());
    }
    let params = |graph: &Graph, node: &Node, named: bool| {
        let name =
            |id: ParamId| (named.then(|| graph[id].name.clone()), graph[id].dims.clone(), graph[id].source.clone());
        node.params.iter().map(|&id| name(id)).collect::<Vec<_>>()
    };
    let differ = |(a, b): &(&Node, &Node)| {
        let named = is_named(&a.origin.path);
        !same_layer(&a.op, &b.op)
            || a.inputs != b.inputs
            || a.ty != b.ty
            || params(from, a, named) != params(built, b, named)
    };
    let pair = from.nodes.iter().zip(&built.nodes).find(differ);
    pair.map(|(a, b)| format!("{} of type {} became {} of type {}", a.name(), a.ty, b.name(), b.ty))
}

/// Whether two layers are the same; what a text says of one is all of it, though one number may stand for several.
fn same_layer(a: &Op, b: &Op) -> bool {
    let text = |op: &Op| op.layer().map(ToString::to_string);
    a == b || text(a) == text(b)
}
