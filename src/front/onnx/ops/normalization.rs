//! BatchNormalization (7, 9, 14, 15), LRN (1, 13).

use super::{Rules, decimal};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::layers::{BatchNorm, LocalResponseNorm};

pub const RULES: Rules = &[("BatchNormalization", batch_norm), ("LRN", lrn)];

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
