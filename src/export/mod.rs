//! The checked graph, before any pass, or what whole numbers make of it, as an ONNX model: <https://onnx.ai/onnx/intro/>.
//!
//! | file | what it is |
//! | --- | --- |
//! | `call` | one node of ONNX |
//! | `builder` | names, values, weights and constants of the model that is made |
//! | `layers`, `pooling`, `normalise`, `pointwise`, `rearrange`, `resize` | a function a layer: the nodes that it becomes |
//! | `whole` | what stands around layers on whole numbers |
//! | `regions` | means of regions where sizes are free |
//! | `write` | the finished model to a stream, its weights one at a time |
//!
//! A node is called after its layer's path and its operator, `/layer1/0/conv1/Conv`; a weight as in weight files,
//! `layer1.0.conv1.weight`. Every value has its type. The opset is the oldest that has all that is used, and at least
//! [`OPSET`]: what other engines read.

mod builder;
mod call;
mod layers;
mod normalise;
mod pointwise;
mod pooling;
mod rearrange;
mod regions;
mod resize;
mod whole;
mod write;

use crate::diagnostic::Diagnostic;
use crate::front::onnx::encode::Message;
use crate::ir::{Graph, Node, NodeId, Sizes, Verified};
use builder::Builder;

pub use write::{Apart, MAX_INSIDE};

/// The oldest opset that is written, of 2022: nearly every engine reads it.
pub const OPSET: i64 = 17;

/// A model in ONNX whose weights are yet to come; see [`write`](Model::write).
pub struct Model<'g> {
    graph: &'g Graph,
    /// The fields of `ModelProto` but the graph.
    head: Message,
    /// The fields of `GraphProto` but the weights.
    body: Message,
    weights: Vec<builder::Weight>,
}

/// Why ONNX has nothing to say what a layer does.
struct Refusal {
    reason: String,
    way_out: String,
}

/// The model that a graph is; `metadata` are keys and values that stand in it as they are. `others` are the same model built
/// for other values of its free sizes ([`at_other_sizes`]): sizes in which they differ are free in ONNX too.
///
/// # Errors
/// `E0901` for each layer that ONNX cannot say, also one that depends on free sizes in a way that it cannot say; `E0902`
/// where there are other layers for other sizes.
pub fn export<'g>(
    graph: &'g Verified<Graph>,
    others: &'g [Verified<Graph>],
    metadata: &[(&str, String)],
) -> Result<Model<'g>, Vec<Diagnostic>> {
    let names = |graph: &Graph| graph.params.iter().map(|param| param.name.clone()).collect::<Vec<_>>();
    let is_other = |other: &Graph| other.nodes.len() != graph.nodes.len() || names(other) != names(graph);
    if others.iter().any(|other| is_other(other)) {
        return Err(vec![Diagnostic::error("E0902", "other sizes of the input make other layers")]);
    }
    let all: Vec<&Graph> = [graph].into_iter().chain(others).map(|graph| &**graph).collect();
    let mut builder = Builder::new(graph, &all);
    // What does not depend on the sizes is said in the same words for all.
    let mut twins: Vec<Builder> = others.iter().map(|other| Builder::new(other, &all)).collect();
    let mut errors = Vec::new();
    for id in layers(graph) {
        let again: Vec<_> = twins.iter_mut().map(|twin| twin.add_layer(id)).collect();
        match builder.add_layer(id) {
            Ok(said) if again.iter().all(|again| again.as_ref().is_ok_and(|again| *again == said)) => {}
            Ok(_) => errors.push(Refusal::of_sizes("its arguments or weights").diagnostic(&graph[id])),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(builder.model(metadata)) } else { Err(errors) }
}

/// A model at other values of its free sizes, those of them that it can have; `build` makes it.
pub fn at_other_sizes(graph: &Graph, build: impl FnMut(&Sizes) -> Option<Verified<Graph>>) -> Vec<Verified<Graph>> {
    if graph.free.is_empty() { Vec::new() } else { graph.other_sizes().iter().filter_map(build).collect() }
}

/// All nodes but the inputs.
fn layers(graph: &Graph) -> impl Iterator<Item = NodeId> {
    graph.ids().filter(|&id| graph[id].op.layer().is_some())
}

/// Whether a pass has changed what the node does or where its value lies.
fn is_fused(node: &Node) -> bool {
    !node.epilogue.is_empty() || node.gated || node.beside || node.slice_of.is_some()
}

impl Refusal {
    fn new(reason: impl Into<String>, way_out: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), way_out: way_out.into() }
    }

    /// Of something that another size of the input would make another.
    fn of_sizes(what: &str) -> Refusal {
        let way_out = "give the sizes of the input for good";
        Refusal::new(format!("{what} would depend on the free sizes of the input"), way_out)
    }

    fn diagnostic(self, node: &Node) -> Diagnostic {
        let error = Diagnostic::error("E0901", format!("{} cannot be said in ONNX: {}", node.name(), self.reason));
        let error = error.help(self.way_out);
        node.origin.span.map_or(error.clone(), |span| error.at(span, "this layer"))
    }
}
