//! The nodes that each layer becomes.

use super::builder::{Site, Step};
use super::call::Call;
use super::{Refusal, pointwise, pooling, rearrange, resize};
use crate::layers::*;

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
        Op::GlobalAvgPool(_) => simple(site, "GlobalAveragePool"),
        Op::GlobalMaxPool(_) => simple(site, "GlobalMaxPool"),
        Op::BatchNorm(layer) => batch_norm(site, layer),
        Op::Scale(_) => pointwise::scale(site),
        Op::LocalResponseNorm(layer) => pooling::local_response_norm(site, layer),
        Op::Activation(layer) => pointwise::activation(site, layer),
        Op::PRelu(_) => pointwise::prelu(site),
        Op::Softmax(_) => Ok(Call::new("Softmax", site.inputs()).int("axis", 1).into()),
        Op::Dropout(_) | Op::Identity(_) => Ok(Step::Same(site.input(0))),
        Op::Flatten(_) => Ok(flatten(site).into()),
        Op::Pad(layer) => pad(site, layer),
        Op::Upsample(layer) => resize::upsample(site, layer),
        Op::ChannelShuffle(layer) => channel_shuffle(site, layer),
        Op::ChannelSlice(layer) => rearrange::channel_slice(site, layer),
        Op::DepthToSpace(layer) => rearrange::depth_to_space(site, layer),
        Op::SpaceToDepth(layer) => rearrange::space_to_depth(site, layer),
        Op::Subsample(layer) => rearrange::subsample(site, layer),
        Op::Unflatten(layer) => rearrange::unflatten(site, layer),
        Op::Concat(_) => Ok(Call::new("Concat", site.inputs()).int("axis", 1).into()),
        Op::Add(_) => simple(site, "Add"),
        Op::Mul(_) => pointwise::mul(site),
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
    Ok(pooling::window(call, &resolved(site, layer)).into())
}

/// <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>
fn conv_transpose(site: &mut Site, layer: &ConvTranspose) -> Steps {
    if layer.output_major {
        return Err(Refusal::new("its weights are ordered by output channel", "export the graph before any pass"));
    }
    let (weights, window) = (site.weights(), &layer.window);
    let input = site.input_type(0).spatial();
    let sizes = layer.resolve(input).expect("the graph was verified");
    // What is left out at the end, or added there.
    let ends = sizes.iter().enumerate().map(|(d, &(front, size))| {
        let whole = (input[d] - 1) * window.stride[d] + (window.kernel[d] - 1) * window.dilation[d] + 1;
        (whole.saturating_sub(front + size), (front + size).saturating_sub(whole))
    });
    let (back, extra): (Vec<usize>, Vec<usize>) = ends.unzip();
    let pads = sizes.iter().map(|&(front, _)| front).chain(back);
    let call = Call::new("ConvTranspose", with(site, weights)).int("group", layer.groups as i64);
    let call = call.ints("kernel_shape", window.kernel.clone()).ints("strides", window.stride.clone());
    let call = call.ints("dilations", window.dilation.clone()).ints("pads", pads);
    Ok(call.ints("output_padding", extra).into())
}

/// The window for the sizes of the operand.
pub fn resolved(site: &Site, layer: &impl Layer) -> ResolvedWindow {
    layer.window(&[site.input_type(0)]).expect("the graph was verified")
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
    Ok(pads(site, x, &amounts, None).into())
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

/// Channels as [groups, of a group], with these two turned.
fn channel_shuffle(site: &mut Site, layer: &ChannelShuffle) -> Steps {
    let ty = site.input_type(0);
    let each = ty.channels() / layer.groups;
    let grouped = [&[layer.groups, each], ty.spatial()].concat();
    let turned = [&[each, layer.groups], ty.spatial()].concat();
    let x = site.input(0);
    let split = reshape(site, x, "groups", &grouped);
    let split = site.value(split, &grouped);
    let axes = [0, 2, 1].into_iter().chain(3..grouped.len() + 1);
    let mixed = site.value(Call::new("Transpose", [split]).ints("perm", axes), &turned);
    Ok(reshape(site, mixed, "shape", &ty.dims).into())
}

/// A value in another shape of a sample. <https://onnx.ai/onnx/operators/onnx__Reshape.html>
pub fn reshape(site: &mut Site, value: String, role: &str, dims: &[usize]) -> Call {
    // 0: the batch stays what it is.
    let shape: Vec<i64> = [0].into_iter().chain(dims.iter().map(|&size| size as i64)).collect();
    let shape = site.integers(role, &shape);
    Call::new("Reshape", [value, shape])
}
