//! The checked graph, before any pass, as an ONNX model: <https://onnx.ai/onnx/intro/>.
//!
//! | file | what it is |
//! | --- | --- |
//! | `call` | one node of ONNX |
//! | `builder` | names, values, weights and constants of the model that is made |
//! | `layers`, `pooling`, `pointwise`, `resize` | a function a layer: the nodes that it becomes |
//! | `write` | the finished model to a stream, its weights one at a time |
//!
//! A node is called after its layer's path and its operator, `/layer1/0/conv1/Conv`; a weight as in weight files,
//! `layer1.0.conv1.weight`. Every value has its type. The opset is the oldest that has all that is used, and at least
//! [`OPSET`]: what other engines read.

mod builder;
mod call;
mod layers;
mod pointwise;
mod pooling;
mod rearrange;
mod resize;
mod write;

use crate::diagnostic::Diagnostic;
use crate::front::onnx::encode::Message;
use crate::ir::{Graph, Node, Verified};
use builder::{Builder, Step};

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

/// The model that a graph is; `metadata` are keys and values that stand in it as they are.
///
/// # Errors
/// `E0901` for each layer that ONNX cannot say.
pub fn export<'g>(graph: &'g Verified<Graph>, metadata: &[(&str, String)]) -> Result<Model<'g>, Vec<Diagnostic>> {
    let mut builder = Builder::new(graph);
    let mut errors = Vec::new();
    for (id, node) in graph.ids().zip(&graph.nodes).filter(|(_, node)| node.op.layer().is_some()) {
        let step = match is_fused(node) {
            true => Err(Refusal::new("other work is fused with it", "export the graph before any pass")),
            false => layers::step(&mut builder.site(node)),
        };
        match step {
            Ok(step) => builder.finish(id, step),
            Err(refusal) => {
                errors.push(refusal.diagnostic(node));
                builder.finish(id, Step::Same(String::new()));
            }
        }
    }
    if errors.is_empty() { Ok(builder.model(metadata)) } else { Err(errors) }
}

/// Whether a pass has changed what the node does or where its value lies.
fn is_fused(node: &Node) -> bool {
    !node.epilogue.is_empty() || node.gated || node.beside || node.slice_of.is_some()
}

impl Refusal {
    fn new(reason: impl Into<String>, way_out: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), way_out: way_out.into() }
    }

    fn diagnostic(self, node: &Node) -> Diagnostic {
        let error = Diagnostic::error("E0901", format!("{} cannot be said in ONNX: {}", node.name(), self.reason));
        let error = error.help(self.way_out);
        node.origin.span.map_or(error.clone(), |span| error.at(span, "this layer"))
    }
}
