//! Normalisations, and softmax.

use super::Refusal;
use super::builder::{Site, Size};
use super::call::Call;
use super::layers::{Steps, reshape, reshape_back, with};
use crate::layers::{GroupNorm, InstanceNorm, LayerNorm, LpNorm, Softmax, UnitNorm};
use std::ops::Range;

/// Over the last axes, which other ones become. <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html>
pub fn layer_norm(site: &mut Site, layer: &LayerNorm) -> Steps {
    let dims = &site.input_type(0).dims;
    let range = layer.over.range(dims).expect("the graph was verified");
    if !layer.affine && range.end == dims.len() && site.sizes(0)[range.clone()].contains(&None) {
        return plain_layer_norm(site, layer, range);
    }
    let affine = affine(site, layer.affine, &dims[range.clone()]);
    let norm = |x: String, axis: usize| {
        let inputs: Vec<String> = [x].into_iter().chain(affine).collect();
        Call::new("LayerNormalization", inputs).int("axis", axis as i64).float("epsilon", layer.eps)
    };
    let rank = dims.len();
    if range.end == rank {
        return Ok(norm(site.input(0), range.start + 1).into());
    }
    // The one dimension that is normalised goes behind all others, and back.
    let at = range.start;
    let sizes = site.sizes(0);
    let turned: Vec<Size> = [&sizes[..at], &sizes[at + 1..], &[sizes[at]]].concat();
    let there = (0..=at).chain(at + 2..=rank).chain([at + 1]);
    let back = (0..=at).chain([rank]).chain(at + 1..rank);
    let x = site.value(Call::new("Transpose", [site.input(0)]).ints("perm", there), &turned);
    let normal = site.value(norm(x, rank), &turned);
    Ok(Call::new("Transpose", [normal]).ints("perm", back).into())
}

/// Over sizes that are free, for which there can be no weights: as an instance norm of one channel that has them all.
fn plain_layer_norm(site: &mut Site, layer: &LayerNorm, range: Range<usize>) -> Steps {
    let kept: Vec<Size> = site.sizes(0)[..range.start].to_vec();
    let Some(channels) = kept.iter().copied().product::<Size>() else {
        return Err(Refusal::of_sizes("what it normalises"));
    };
    let joined = [Some(channels), None];
    let x = site.input(0);
    let call = reshape(site, x, "joined", &joined);
    let x = site.value(call, &joined);
    let inputs = [vec![x], affine(site, false, &[channels])].concat();
    let y = site.value(Call::new("InstanceNormalization", inputs).float("epsilon", layer.eps), &joined);
    Ok(reshape_back(site, y).into())
}

/// <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>
pub fn instance_norm(site: &mut Site, layer: &InstanceNorm) -> Steps {
    let channels = site.input_type(0).channels();
    let affine = affine(site, layer.affine, &[channels]);
    Ok(Call::new("InstanceNormalization", with(site, affine)).float("epsilon", layer.eps).into())
}

/// Before version 21 weights were those of groups. <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>
pub fn group_norm(site: &mut Site, layer: &GroupNorm) -> Steps {
    let channels = site.input_type(0).channels();
    let affine = affine(site, layer.affine, &[channels]);
    let call = Call::new("GroupNormalization", with(site, affine)).since(21);
    Ok(call.int("num_groups", layer.groups as i64).float("epsilon", layer.eps).into())
}

/// ONNX's own operator has no least norm. <https://onnx.ai/onnx/operators/onnx__ReduceL2.html>
pub fn unit_norm(site: &mut Site, layer: &UnitNorm) -> Steps {
    let range = layer.over.range(&site.input_type(0).dims).expect("the graph was verified");
    let operator = if layer.norm == LpNorm::L1 { "ReduceL1" } else { "ReduceL2" };
    let axes: Vec<i64> = range.clone().map(|dim| dim as i64 + 1).collect();
    let axes = site.integers("axes", &axes);
    let sizes: Vec<Size> = site.sizes(0).into_iter().enumerate().map(|(dim, size)| one_of(&range, dim, size)).collect();
    // The axes are an operand from version 18 on.
    let norm = site.value(Call::new(operator, with(site, [axes])).since(18).int("keepdims", 1), &sizes);
    let eps = site.scalar("eps", layer.eps);
    let norm = site.value(Call::new("Clip", [norm, eps]), &sizes);
    Ok(Call::new("Div", with(site, [norm])).into())
}

/// 1 for the dimensions of a range.
fn one_of(range: &Range<usize>, dim: usize, size: Size) -> Size {
    if range.contains(&dim) { Some(1) } else { size }
}

/// Weights and biases, which ONNX demands.
fn affine(site: &mut Site, given: bool, dims: &[usize]) -> Vec<String> {
    let count = dims.iter().product();
    match given {
        true => site.weights(),
        false => [("scale", 1.0), ("bias", 0.0)].map(|(role, x)| site.floats(role, dims, &vec![x; count])).into(),
    }
}

/// Over one axis: several are joined before. <https://onnx.ai/onnx/operators/onnx__Softmax.html>,
/// <https://onnx.ai/onnx/operators/onnx__LogSoftmax.html>
pub fn softmax(site: &mut Site, layer: &Softmax) -> Steps {
    let operator = if layer.log { "LogSoftmax" } else { "Softmax" };
    let dims = layer.over.range(&site.input_type(0).dims).expect("the graph was verified");
    if dims.len() == 1 {
        return Ok(Call::new(operator, site.inputs()).int("axis", dims.start as i64 + 1).into());
    }
    let joined: Vec<Size> = [&site.sizes(0)[..dims.start], &[None]].concat();
    let x = site.input(0);
    let call = reshape(site, x, "joined", &joined);
    let x = site.value(call, &joined);
    let y = site.value(Call::new(operator, [x]).int("axis", joined.len() as i64), &joined);
    Ok(reshape_back(site, y).into())
}
