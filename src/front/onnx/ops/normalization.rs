//! BatchNormalization (7, 9, 14, 15), LRN (1, 13), InstanceNormalization (6, 22), LayerNormalization over the channels (17).

use super::{Rules, decimal};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value, axis_of};
use crate::front::onnx::flow::{Flow, whole_axis};
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::layers::{BatchNorm, InstanceNorm, LayerNorm, LocalResponseNorm};

pub const RULES: Rules = &[
    ("BatchNormalization", batch_norm),
    ("LRN", lrn),
    ("InstanceNormalization", instance_norm),
    ("LayerNormalization", layer_norm),
];

fn instance_norm(importer: &mut Importer, call: &Call) -> Outputs {
    let eps = decimal(call.float("epsilon", 1e-5)?);
    call.ints("consumed_inputs")?;
    let input = importer.plain(&call.flow(0)?.clone())?;
    let weights = (1..3).map(|index| call.constant(index).map(Weight::of)).collect::<Result<_, _>>()?;
    let node = importer.weighted(InstanceNorm { eps, affine: true }, input, call, weights)?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// The channels of each position must be what is normalised: they are ONNX's last axis in networks that have them there.
fn layer_norm(importer: &mut Importer, call: &Call) -> Outputs {
    let eps = decimal(call.float("epsilon", 1e-5)?);
    let x = call.flow(0)?.clone();
    let axis = axis_of(call.int("axis", -1)?, x.rank())?;
    if call.int("stash_type", 1)? != 1 {
        return Err(Refusal::new("attribute `stash_type` is not 1: sums are not in f32"));
    }
    if axis + 1 != x.rank() || x.axes[axis] != whole_axis(importer.ty(x.node), 1) {
        let message =
            format!("over the axes from {axis} on of a value of shape {}; over the channels it is known", x.text());
        return Err(Refusal::new(message));
    }
    let channels = importer.ty(x.node).channels();
    let shift = call.optional_constant(2)?.map_or_else(|| Weight::fill(channels, 0.0), Weight::of);
    let weights = vec![Weight::of(call.constant(1)?), shift];
    let node = importer.weighted(LayerNorm { eps, affine: true }, x.node, call, weights)?;
    let mut outputs = vec![Flow { node, ..x }.into()];
    outputs.resize(call.node.outputs.len(), Value::Missing);
    Ok(outputs)
}

fn batch_norm(importer: &mut Importer, call: &Call) -> Outputs {
    let eps = decimal(call.float("epsilon", 1e-5)?);
    call.float("momentum", 0.9)?;
    if call.flag("training_mode", false)? {
        return Err(Refusal::new("attribute `training_mode` is 1: it normalises by the batch itself"));
    }
    if !call.flag("spatial", true)? {
        return Err(Refusal::new("attribute `spatial` is 0: each position has statistics of its own"));
    }
    let input = importer.plain(&call.flow(0)?.clone())?;
    let weights = (1..5).map(|index| call.constant(index).map(Weight::of)).collect::<Result<_, _>>()?;
    let node = importer.weighted(BatchNorm { eps, affine: true }, input, call, weights)?;
    let mut outputs = vec![Flow::of(node, importer.ty(node)).into()];
    outputs.resize(call.node.outputs.len(), Value::Missing);
    Ok(outputs)
}

/// The window of an even size begins half a place earlier here than there.
fn lrn(importer: &mut Importer, call: &Call) -> Outputs {
    let size = usize::try_from(call.int("size", 0)?).unwrap_or(0);
    let [alpha, beta, k] = [call.float("alpha", 1e-4)?, call.float("beta", 0.75)?, call.float("bias", 1.0)?];
    if size % 2 == 0 {
        return Err(Refusal::new(format!("attribute `size` is {size}; windows of odd sizes are known")));
    }
    let input = importer.plain(&call.flow(0)?.clone())?;
    let layer = LocalResponseNorm { size, alpha: decimal(alpha), beta: decimal(beta), k: decimal(k) };
    let node = importer.layer(layer, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}
