//! Softmax and LogSoftmax (1, 11, 13): before version 13 over all axes from one on together.

use super::{Rules, over_axes};
use crate::front::onnx::call::{Call, Outputs, axis_of};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::walk::Importer;
use crate::layers::Softmax;

pub const RULES: Rules = &[
    ("Softmax", |importer, call| softmax(importer, call, false)),
    ("LogSoftmax", |importer, call| softmax(importer, call, true)),
];

fn softmax(importer: &mut Importer, call: &Call, log: bool) -> Outputs {
    let x = call.flow(0)?.clone();
    let together = call.opset < 13;
    let axis = axis_of(call.int("axis", if together { 1 } else { -1 })?, x.rank())?;
    let axes = axis..if together { x.rank() } else { axis + 1 };
    let (x, over) = over_axes(importer, &x, axes)?;
    let node = importer.layer(Softmax { over, log }, &[x.node])?;
    Ok(vec![Flow { node, ..x }.into()])
}
