//! What ONNX has no operators for and layers there are, in a domain of our own: AdaptiveAveragePool, AdaptiveMaxPool. The
//! package for Python writes them for modules of PyTorch.

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::walk::Importer;
use crate::layers::{AdaptiveAvgPool, AdaptiveMaxPool, Op};

pub const DOMAIN: &str = "svertka";

pub const RULES: Rules = &[
    ("AdaptiveAveragePool", |importer, call| adaptive(importer, call, |size| AdaptiveAvgPool { size }.into())),
    ("AdaptiveMaxPool", |importer, call| adaptive(importer, call, |size| AdaptiveMaxPool { size }.into())),
];

/// The attribute `output_size` has a number of positions for each dimension.
fn adaptive(importer: &mut Importer, call: &Call, layer: impl Fn(Vec<usize>) -> Op) -> Outputs {
    let size = call.sizes("output_size")?.ok_or_else(|| Refusal::new("attribute `output_size` is missing"))?;
    let input = importer.plain(&call.flow(0)?.clone())?;
    if size.len() != importer.ty(input).spatial().len() {
        return Err(Refusal::new(format!("sizes {size:?} for a value of type {}", importer.ty(input))));
    }
    let node = importer.layer(layer(size), &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}
