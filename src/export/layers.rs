//! The nodes that each layer becomes.

use super::builder::{Site, Size, Step};
use super::call::Call;
use super::{Refusal, normalise, pointwise, pooling, rearrange, resize};
use crate::layers::*;
use std::ops::Range;

/// What a layer's function gives: an error where ONNX has no words for it.
pub type Steps = Result<Step, Refusal>;

/// The nodes of the site's layer.
pub fn step(site: &mut Site) -> Steps {
    match &site.node.op {
        Op::Input => unreachable!("inputs have their values from the start"),
        Op::Conv(layer) => conv(site, layer),
        Op::ConvTranspose(layer) => conv_transpose(site, layer),
        Op::Dense(layer) => dense(site, layer),
        Op::MaxPool(layer) => pooling::max(site, layer),
        Op::AvgPool(layer) => pooling::average(site, layer),
        Op::AdaptiveAvgPool(layer) => pooling::adaptive_average(site, layer),
        Op::LpPool(layer) => pooling::norm(site, layer),
        Op::AdaptiveMaxPool(_) => pooling::adaptive_max(site),
        Op::GlobalAvgPool(_) => simple(site, "GlobalAveragePool"),
        Op::GlobalMaxPool(_) => simple(site, "GlobalMaxPool"),
        Op::Reduce(layer) => pooling::reduce(site, layer),
        Op::BatchNorm(layer) => batch_norm(site, layer),
        Op::Scale(_) => pointwise::scale(site),
        Op::LayerNorm(layer) => normalise::layer_norm(site, layer),
        Op::InstanceNorm(layer) => normalise::instance_norm(site, layer),
        Op::GroupNorm(layer) => normalise::group_norm(site, layer),
        Op::UnitNorm(layer) => normalise::unit_norm(site, layer),
        Op::LocalResponseNorm(layer) => pooling::local_response_norm(site, layer),
        Op::Activation(layer) => pointwise::activation(site, layer),
        Op::PRelu(_) => pointwise::prelu(site),
        Op::Softmax(layer) => normalise::softmax(site, layer),
        Op::Dropout(_) | Op::Identity(_) => Ok(Step::Same(site.input(0))),
        Op::Flatten(_) => Ok(flatten(site).into()),
        Op::Pad(layer) => pad(site, layer),
        Op::Crop(layer) => crop(site, layer),
        Op::Resize(layer) => resize::resize(site, layer),
        Op::Upsample(layer) => resize::upsample(site, layer),
        Op::ChannelShuffle(layer) => channel_shuffle(site, layer),
        Op::ChannelSlice(layer) => rearrange::channel_slice(site, layer),
        Op::DepthToSpace(layer) => rearrange::depth_to_space(site, layer),
        Op::SpaceToDepth(layer) => rearrange::space_to_depth(site, layer),
        Op::Subsample(layer) => rearrange::subsample(site, layer),
        Op::Unflatten(layer) => rearrange::unflatten(site, layer),
        Op::Permute(layer) => {
            let perm = [0].into_iter().chain(layer.order.iter().copied());
            Ok(Call::new("Transpose", site.inputs()).ints("perm", perm).into())
        }
        Op::Concat(_) => Ok(Call::new("Concat", site.inputs()).int("axis", 1).into()),
        Op::Add(_) => pointwise::joined(site, "Add"),
        Op::Mul(_) => pointwise::joined(site, "Mul"),
        // What its value becomes is said behind every layer.
        Op::Convert(_) => Ok(Step::Same(site.input(0))),
    }
}

/// An operator that takes what the layer takes and has nothing to be told.
fn simple(site: &Site, operator: &'static str) -> Steps {
    Ok(Call::new(operator, site.inputs()).into())
}

/// Values behind the operands.
pub fn with(site: &Site, more: impl IntoIterator<Item = String>) -> Vec<String> {
    site.inputs().into_iter().chain(more).collect()
}

/// <https://onnx.ai/onnx/operators/onnx__Conv.html>
fn conv(site: &mut Site, layer: &Conv) -> Steps {
    let weights = site.weights();
    let call = Call::new("Conv", with(site, weights)).int("group", layer.groups as i64);
    let window = pooling::resolved(site, layer);
    pooling::window(site, call, &layer.window, &window).map(Step::from)
}

/// Outputs behind the last window are more than engines take where they reach one more window: then there is one, of
/// zeros. <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>
fn conv_transpose(site: &mut Site, layer: &ConvTranspose) -> Steps {
    let weights = if layer.output_major { site.turned_weights(layer.groups) } else { site.weights() };
    let window = &layer.window;
    let input = site.input_type(0).spatial();
    let sizes = layer.resolve(input).expect("the graph was verified");
    let (mut zeros, mut back, mut extra) = (vec![(0, 0)], Vec::new(), Vec::new());
    for (d, &(front, size)) in sizes.iter().enumerate() {
        let stride = window.stride[d];
        let whole = (input[d] - 1) * stride + (window.kernel[d] - 1) * window.dilation[d] + 1;
        let missing = (front + size).saturating_sub(whole);
        let more = if missing < stride { 0 } else { missing.div_ceil(stride) };
        zeros.push((0, more));
        back.push((whole + more * stride).saturating_sub(front + size));
        extra.push((front + size).saturating_sub(whole + more * stride));
    }
    let mut x = site.input(0);
    if zeros.iter().any(|&amount| amount != (0, 0)) {
        let sizes: Vec<Size> =
            site.sizes(0).iter().zip(&zeros).map(|(size, (_, more))| Some((*size)? + more)).collect();
        let call = pads(site, x, &zeros, None);
        x = site.value(call, &sizes);
    }
    let inputs: Vec<String> = [x].into_iter().chain(weights).collect();
    let pads = sizes.iter().map(|&(front, _)| front).chain(back);
    let call = Call::new("ConvTranspose", inputs).int("group", layer.groups as i64);
    let call = call.ints("kernel_shape", window.kernel.clone()).ints("strides", window.stride.clone());
    let call = call.ints("dilations", window.dilation.clone()).ints("pads", pads);
    Ok(call.ints("output_padding", extra).into())
}

/// <https://onnx.ai/onnx/operators/onnx__Gemm.html>
fn dense(site: &mut Site, _layer: &Dense) -> Steps {
    let ty = site.input_type(0);
    let flat = match ty.spatial() {
        [] => site.input(0),
        _ => site.value(flatten(site), &[ty.elements()]),
    };
    let inputs: Vec<String> = [flat].into_iter().chain(site.weights()).collect();
    Ok(Call::new("Gemm", inputs).int("transB", 1).into())
}

/// <https://onnx.ai/onnx/operators/onnx__Flatten.html>
pub fn flatten(site: &Site) -> Call {
    Call::new("Flatten", [site.input(0)]).int("axis", 1)
}

/// <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>
fn batch_norm(site: &mut Site, layer: &BatchNorm) -> Steps {
    let channels = site.input_type(0).channels();
    let fixed = if layer.affine { vec![] } else { vec![("ones", 1.0), ("zeros", 0.0)] };
    let fixed = fixed.into_iter().map(|(role, value)| site.floats(role, &[channels], &vec![value; channels]));
    let fixed: Vec<String> = fixed.collect();
    let weights = [fixed, site.weights()].concat();
    Ok(Call::new("BatchNormalization", with(site, weights)).float("epsilon", layer.eps).into())
}

fn pad(site: &mut Site, layer: &Pad) -> Steps {
    let amounts = layer.amounts(site.input_type(0).spatial().len()).expect("the graph was verified");
    let x = site.input(0);
    let call = match layer.fill {
        Fill::Constant(value) => pads(site, x, &amounts, (value != 0.0).then_some(value.into())),
        Fill::Reflect => pads(site, x, &amounts, None).word("mode", "reflect"),
        Fill::Edge => pads(site, x, &amounts, None).word("mode", "edge"),
    };
    Ok(call.into())
}

/// As a slice of each axis behind the channels, whose ends are counted from behind where that is not known.
/// <https://onnx.ai/onnx/operators/onnx__Slice.html>
fn crop(site: &mut Site, layer: &Crop) -> Steps {
    let input = site.input_type(0).spatial();
    let ranges = layer.ranges(input).expect("the graph was verified");
    let starts: Vec<i64> = ranges.iter().map(|range| range.start as i64).collect();
    let end = |(range, (size, free)): (&Range<usize>, (&usize, bool))| match (free, size - range.end) {
        (false, _) => range.end as i64,
        (true, 0) => i64::MAX,
        (true, back) => -(back as i64),
    };
    let free = site.sizes(0).into_iter().skip(1).map(|size| size.is_none());
    let ends: Vec<i64> = ranges.iter().zip(input.iter().zip(free)).map(end).collect();
    let axes: Vec<i64> = (2..2 + ranges.len() as i64).collect();
    let [starts, ends, axes] =
        [("starts", starts), ("ends", ends), ("axes", axes)].map(|(name, values)| site.integers(name, &values));
    Ok(Call::new("Slice", [site.input(0), starts, ends, axes]).into())
}

/// Zeros, or what is given, in front of and behind the channels and each spatial dimension of a value.
/// <https://onnx.ai/onnx/operators/onnx__Pad.html>
pub fn pads(site: &mut Site, value: String, amounts: &[(usize, usize)], with: Option<f64>) -> Call {
    let front = amounts.iter().map(|&(front, _)| front as i64);
    let back = amounts.iter().map(|&(_, back)| back as i64);
    // In front of all axes, then behind them; the first is the batch.
    let pads: Vec<i64> = [0].into_iter().chain(front).chain([0]).chain(back).collect();
    let pads = site.integers("pads", &pads);
    let with = with.map(|with| site.scalar("padding", with));
    Call::new("Pad", [value, pads].into_iter().chain(with).collect::<Vec<_>>())
}

fn channel_shuffle(site: &mut Site, layer: &ChannelShuffle) -> Steps {
    let (x, sizes, channels) = (site.input(0), site.sizes(0), site.input_type(0).channels());
    Ok(shuffled(site, x, &sizes, channels, layer.groups).into())
}

/// Channels as [groups, of a group], with these two turned.
pub fn shuffled(site: &mut Site, value: String, sizes: &[Size], channels: usize, groups: usize) -> Call {
    let each = channels / groups;
    let positions = if sizes.contains(&None) { vec![None] } else { sizes[1..].to_vec() };
    let [split, mixed] = [[groups, each], [each, groups]].map(|two| [&two.map(Some)[..], &positions[..]].concat());
    let call = reshape(site, value.clone(), "groups", &split);
    let x = site.value(call, &split);
    let axes = [0, 2, 1].into_iter().chain(3..split.len() + 1);
    let x = site.value(Call::new("Transpose", [x]).ints("perm", axes), &mixed);
    reshape_like(site, x, value, sizes)
}

/// A value in another shape of a sample, in which one size at most is free.
/// <https://onnx.ai/onnx/operators/onnx__Reshape.html>
pub fn reshape(site: &mut Site, value: String, role: &str, sizes: &[impl Copy + Into<Size>]) -> Call {
    // 0: the batch stays what it is. -1: what is left.
    let sizes = sizes.iter().map(|&size| size.into().map_or(-1, |size| size as i64));
    let shape: Vec<i64> = [0].into_iter().chain(sizes).collect();
    let shape = site.integers(role, &shape);
    Call::new("Reshape", [value, shape])
}

/// A value of as many elements in the shape of the first operand.
pub fn reshape_back(site: &mut Site, value: String) -> Call {
    let (like, sizes) = (site.input(0), site.sizes(0));
    reshape_like(site, value, like, &sizes)
}

/// A value of as many elements in the shape of another, which has these sizes.
/// <https://onnx.ai/onnx/operators/onnx__Shape.html>
fn reshape_like(site: &mut Site, value: String, like: String, sizes: &[Size]) -> Call {
    if sizes.iter().filter(|size| size.is_none()).count() <= 1 {
        return reshape(site, value, "shape", sizes);
    }
    let shape = site.list(Call::new("Shape", [like]));
    Call::new("Reshape", [value, shape])
}
