//! Softmax (1, 11, 13): before version 13 over all axes from one on together.

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, axis_of};
use crate::front::onnx::flow::{Flow, whole_axis};
use crate::front::onnx::walk::Importer;
use crate::layers::Softmax;

pub const RULES: Rules = &[("Softmax", softmax)];

fn softmax(importer: &mut Importer, call: &Call) -> Outputs {
    let x = call.flow(0)?.clone();
    let together = call.opset < 13;
    let axis = axis_of(call.int("axis", if together { 1 } else { -1 })?, x.rank())?;
    let ty = importer.ty(x.node).clone();
    let behind_are_one = x.axes[axis + 1..].iter().all(Vec::is_empty);
    let is_channels = x.axes[axis] == whole_axis(&ty, 1);
    if !is_channels || together && !behind_are_one {
        let of = if together { format!("the axes from {axis} on") } else { format!("axis {axis}") };
        let message = format!("over {of} of a value of shape {}; over the channels it is known", x.text());
        return Err(Refusal::new(message));
    }
    let node = importer.layer(Softmax, &[x.node])?;
    Ok(vec![Flow { node, ..x }.into()])
}
