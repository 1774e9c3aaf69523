//! BatchNormalization (7, 9, 14, 15), LRN (1, 13), InstanceNormalization (6, 22), LayerNormalization (17),
//! GroupNormalization (18, 21), LpNormalization (1, 22).

use super::{LEAST_NORM, Rules, decimal, over_axes};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value, axis_of};
use crate::front::onnx::constant::Const;
use crate::front::onnx::flow::{Flow, known_size};
use crate::front::onnx::fold;
use crate::front::onnx::plain::is_batch;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::layers::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LocalResponseNorm, LpNorm, Op, Side, UnitNorm};
use std::cmp::Reverse;

pub const RULES: Rules = &[
    ("BatchNormalization", batch_norm),
    ("LRN", lrn),
    ("InstanceNormalization", instance_norm),
    ("LayerNormalization", layer_norm),
    ("GroupNormalization", group_norm),
    ("LpNormalization", unit_norm),
];

fn instance_norm(importer: &mut Importer, call: &Call) -> Outputs {
    let eps = decimal(call.float("epsilon", 1e-5)?);
    call.ints("consumed_inputs")?;
    let x = call.flow(0)?.clone();
    if let Some(groups) = groups(importer, &x) {
        return groups_as_channels(importer, call, x, groups, eps);
    }
    let input = importer.plain(&x)?;
    let weights = (1..3).map(|index| call.constant(index).map(Weight::of)).collect::<Result<_, _>>()?;
    let node = importer.weighted(InstanceNorm { eps, affine: true }, input, call, weights)?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// How many groups of channels are the second axis of a value, whose other axes hold the rest of the sample in its order.
fn groups(importer: &Importer, x: &Flow) -> Option<usize> {
    let ty = importer.ty(x.node);
    let groups = known_size(x.axes.get(1)?)?;
    let is_split = x.rank() > 2 && x.in_order(ty) && is_batch(x, ty) && x.axes != Flow::of(x.node, ty).axes;
    (is_split && ty.channels().is_multiple_of(groups)).then_some(groups)
}

/// Group normalisation, as PyTorch writes it.
fn groups_as_channels(importer: &mut Importer, call: &Call, x: Flow, groups: usize, eps: f64) -> Outputs {
    let (scale, shift) = (call.constant(1)?, call.constant(2)?);
    let channels = importer.ty(x.node).channels();
    let affine = (scale.uniform(), shift.uniform()) != (Some(1.0), Some(0.0));
    let op: Op = match groups == channels && !importer.ty(x.node).spatial().is_empty() {
        true => InstanceNorm { eps, affine }.into(),
        false => GroupNorm { groups, eps, affine }.into(),
    };
    let node = match affine {
        true => {
            let of_channels = |weight| Weight::ordered(weight, vec![groups, channels / groups], vec![1, 0]);
            importer.weighted(op, x.node, call, vec![of_channels(scale)?, of_channels(shift)?])?
        }
        false => importer.layer(op, &[x.node])?,
    };
    Ok(vec![Flow { node, ..x }.into()])
}

fn layer_norm(importer: &mut Importer, call: &Call) -> Outputs {
    let eps = decimal(call.float("epsilon", 1e-5)?);
    let x = call.flow(0)?.clone();
    let axis = axis_of(call.int("axis", -1)?, x.rank())?;
    if call.int("stash_type", 1)? != 1 {
        return Err(Refusal::new("attribute `stash_type` is not 1: sums are not in f32"));
    }
    let (x, over) = over_axes(importer, &x, axis..x.rank())?;
    let count = known_size(&x.axes[axis..].concat()).ok_or_else(|| Refusal::new("over the batch"))?;
    let weight = element_weights(&x, axis, call.constant(1)?)?;
    let bias = call.optional_constant(2)?.map(|bias| element_weights(&x, axis, bias)).transpose()?;
    let weights = vec![weight, bias.unwrap_or_else(|| Weight::fill(count, 0.0))];
    let node = importer.weighted(LayerNorm { over, eps, affine: true }, x.node, call, weights)?;
    let mut outputs = vec![Flow { node, ..x }.into()];
    outputs.resize(call.node.outputs.len(), Value::Missing);
    Ok(outputs)
}

/// One number for each element along the axes from `axis` on, in the order in which the value's node has them.
pub fn element_weights(x: &Flow, axis: usize, constant: &Const) -> Result<Weight, Refusal> {
    let dims: Vec<usize> = x.axes[axis..].iter().filter_map(|axis| known_size(axis)).collect();
    let own = fold::expand(constant, &dims)?;
    if own.dims != dims {
        return Err(Refusal::new(format!("weights of {:?} for elements of {dims:?}", constant.dims)));
    }
    let atoms = x.axes[axis..].concat();
    let sizes: Vec<usize> = atoms.iter().filter_map(|&atom| known_size(&[atom])).collect();
    let mut order: Vec<usize> = (0..atoms.len()).collect();
    order.sort_by_key(|&of| (atoms[of].dim, Reverse(atoms[of].stride)));
    let stride = |of: usize| sizes[of + 1..].iter().product::<usize>();
    Weight::ordered(&own, order.iter().map(|&of| sizes[of]).collect(), order.iter().map(|&of| stride(of)).collect())
}

/// The scale is that of a group before version 21, that of a channel from then on.
fn group_norm(importer: &mut Importer, call: &Call) -> Outputs {
    let eps = decimal(call.float("epsilon", 1e-5)?);
    let groups = usize::try_from(call.int("num_groups", 0)?).unwrap_or(0);
    if call.int("stash_type", 1)? != 1 {
        return Err(Refusal::new("attribute `stash_type` is not 1: sums are not in f32"));
    }
    let input = importer.plain(&call.flow(0)?.clone())?;
    let channels = importer.ty(input).channels();
    let of_groups = call.opset < 21;
    let weight = |index: usize| {
        let constant = call.constant(index)?;
        match of_groups {
            true if groups > 0 && constant.count() == groups => {
                Weight::ordered(constant, vec![groups, channels / groups], vec![1, 0])
            }
            _ => Ok(Weight::of(constant)),
        }
    };
    let weights = vec![weight(1)?, weight(2)?];
    let node = importer.weighted(GroupNorm { groups, eps, affine: true }, input, call, weights)?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

fn unit_norm(importer: &mut Importer, call: &Call) -> Outputs {
    let x = call.flow(0)?.clone();
    let axis = axis_of(call.int("axis", -1)?, x.rank())?;
    let norm = match call.int("p", 2)? {
        1 => LpNorm::L1,
        2 => LpNorm::L2,
        p => return Err(Refusal::new(format!("attribute `p` is {p}; norms of 1 and 2 are known"))),
    };
    let (x, over) = over_axes(importer, &x, axis..axis + 1)?;
    let node = importer.layer(UnitNorm { norm, over, eps: LEAST_NORM }, &[x.node])?;
    Ok(vec![Flow { node, ..x }.into()])
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

fn lrn(importer: &mut Importer, call: &Call) -> Outputs {
    let size = usize::try_from(call.int("size", 0)?).unwrap_or(0);
    let [alpha, beta, k] = [call.float("alpha", 1e-4)?, call.float("beta", 0.75)?, call.float("bias", 1.0)?];
    if size == 0 {
        return Err(Refusal::new("attribute `size` is not at least 1"));
    }
    let longer = if size % 2 == 0 { Side::Back } else { Side::Front };
    let input = importer.plain(&call.flow(0)?.clone())?;
    let layer = LocalResponseNorm { size, alpha: decimal(alpha), beta: decimal(beta), k: decimal(k), longer };
    let node = importer.layer(layer, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}
