//! The proof of a text: what it builds is what it was written from.

use super::{Form, Written, tidy};
use crate::diagnostic::Diagnostic;
use crate::front::text::build::{self, NoFiles, Program};
use crate::front::text::syntax::format;
use crate::ir::{Graph, Node, NodeId, ParamId, Sizes, Verified};
use crate::layers::Op;
use crate::source::SourceMap;
use std::collections::{HashMap, HashSet};

/// Builds a text in the standard layout and compares what comes of it with a graph, of which `order` is the text's order.
///
/// # Errors
/// If it builds nothing, or another graph.
pub fn prove(
    text: String,
    graph: &Graph,
    order: Order,
    form: Form,
    is_named: &dyn Fn(&str) -> bool,
) -> Result<Written, Vec<Diagnostic>> {
    let graph = &order.of(graph);
    let text = formatted(text);
    let mut sources = SourceMap::default();
    let root = sources.add(format!("{}.cnn", graph.name), text.clone());
    let options = build::Options::default();
    let program: Program = build::load(&mut sources, root, &options, &mut NoFiles)?;
    let built: Verified<Graph> = build::build(&mut sources, &program, &options)?;
    if let Some(difference) = difference(graph, &built, is_named) {
        return Err(vec![Diagnostic::error("E0809", difference)]);
    }
    let pairs = graph.nodes.iter().zip(&built.nodes).flat_map(|(a, b)| a.params.iter().zip(&b.params));
    let names = pairs.map(|(&a, &b)| (graph[a].name.clone(), built[b].name.clone()));
    let renamed = names.filter(|(old, new)| old != new).collect();
    Ok(Written { text, sources, program, graph: built, form, renamed, order: order.0 })
}

/// The standard layout. A text that is none is left as it is, and refused where it is built.
fn formatted(text: String) -> String {
    let mut sources = SourceMap::default();
    let file = sources.add(String::new(), text.clone());
    format::format(&sources, file).unwrap_or(text)
}

/// All nodes of a graph in another order, the inputs first.
pub struct Order(Vec<NodeId>);

impl Order {
    /// `None` if these are not all layers, each once.
    pub fn new(graph: &Graph, layers: &[NodeId]) -> Option<Order> {
        let order: Vec<NodeId> = graph.inputs.iter().chain(layers).copied().collect();
        let distinct: HashSet<NodeId> = order.iter().copied().collect();
        (distinct.len() == graph.nodes.len() && order.len() == graph.nodes.len()).then_some(Order(order))
    }

    /// The same graph in this order.
    fn of(&self, graph: &Graph) -> Graph {
        let place: HashMap<NodeId, NodeId> = self.0.iter().enumerate().map(|(i, &id)| (id, NodeId(i as u32))).collect();
        let mut sorted = Graph { nodes: Vec::new(), ..graph.clone() };
        for &id in &self.0 {
            let mut node = graph[id].clone();
            node.inputs.iter_mut().for_each(|input| *input = place[input]);
            sorted.add_node(node);
        }
        sorted.inputs.iter_mut().for_each(|input| *input = place[input]);
        sorted.outputs.iter_mut().for_each(|output| output.node = place[&output.node]);
        sorted
    }
}

impl Written {
    /// Whether the text gives for other free sizes what `expected` is, which is the graph that it was written from at those
    /// sizes; nothing where there is none.
    ///
    /// # Errors
    /// Where they differ, in words.
    pub fn agrees(&self, sizes: &Sizes, expected: Option<&Graph>) -> Result<(), String> {
        let defines = sizes.iter().map(|(name, size)| (name.clone(), size.to_string())).collect();
        let options = build::Options { defines, ..build::Options::default() };
        let (built, expected) = match (build::build(&mut self.sources.clone(), &self.program, &options), expected) {
            (Ok(built), Some(expected)) => (built, expected),
            (Err(_), None) => return Ok(()),
            (Ok(_), None) => return Err("the file has no such network".into()),
            (Err(errors), Some(_)) => return Err(errors.first().map_or(String::new(), |error| error.message.clone())),
        };
        // In the same words, whichever the text has.
        let (mut built, mut expected) = (built.into_inner(), expected.clone());
        tidy::padding(&mut built);
        tidy::padding(&mut expected);
        let dims = |graph: &Graph, node: &Node| {
            node.params.iter().map(|&id| (graph[id].name.clone(), graph[id].dims.clone())).collect::<Vec<_>>()
        };
        if built.nodes.len() != self.order.len() || built.outputs != self.graph.outputs {
            return Err("there are other layers".into());
        }
        for ((node, own), &id) in built.nodes.iter().zip(&self.graph.nodes).zip(&self.order) {
            let same = node.inputs == own.inputs && dims(&built, node) == dims(&self.graph, own);
            let of_file = expected.nodes.get(id.0 as usize);
            if !same || of_file.is_some_and(|of_file| node.ty != of_file.ty || !same_layer(&node.op, &of_file.op)) {
                let of_file = of_file.map_or(String::new(), |node| format!("{} of type {}", node.name(), node.ty));
                return Err(format!("{of_file} becomes {} of type {}", node.name(), node.ty));
            }
        }
        Ok(())
    }
}

/// Where two graphs differ in what they compute or in the names of weights that are to be kept, in words.
fn difference(from: &Graph, built: &Graph, is_named: &dyn Fn(&str) -> bool) -> Option<String> {
    if from.free != built.free {
        return Some("its free sizes became others".into());
    }
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
