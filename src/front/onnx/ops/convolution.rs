//! Conv (1, 11, 22), ConvTranspose (1, 11, 22).

use super::Rules;
use super::window::{of_rank, padding, pads, window};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::layers::{Conv, ConvTranspose, Window};

pub const RULES: Rules = &[("Conv", conv), ("ConvTranspose", conv_transpose)];

fn conv(importer: &mut Importer, call: &Call) -> Outputs {
    let input = importer.plain(&call.flow(0)?.clone())?;
    let weight = call.constant(1)?;
    let bias = call.optional_constant(2)?;
    let [channels, group_in, kernel @ ..] = &weight.dims[..] else {
        return Err(Refusal::new(format!("weights of {:?}", weight.dims)));
    };
    if call.sizes("kernel_shape")?.is_some_and(|shape| shape != kernel) {
        return Err(Refusal::new(format!("attribute `kernel_shape` is not that of the weights, {:?}", weight.dims)));
    }
    let groups = usize::try_from(call.int("group", 1)?).unwrap_or(0);
    let ty = importer.ty(input).clone();
    if group_in.checked_mul(groups) != Some(ty.channels()) || kernel.contains(&0) {
        let message = format!("weights of {:?} in {groups} groups for {} channels", weight.dims, ty.channels());
        return Err(Refusal::new(message));
    }
    let window = window(call, kernel.to_vec(), ty.spatial())?;
    let weights = [Some(weight), bias].into_iter().flatten().map(Weight::of).collect();
    let layer = Conv { channels: *channels, window, groups, bias: bias.is_some(), weights: None };
    let node = importer.weighted(layer, input, call, weights)?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

fn conv_transpose(importer: &mut Importer, call: &Call) -> Outputs {
    let input = importer.plain(&call.flow(0)?.clone())?;
    let weight = call.constant(1)?;
    let bias = call.optional_constant(2)?;
    let [channels_in, group_out, kernel @ ..] = &weight.dims[..] else {
        return Err(Refusal::new(format!("weights of {:?}", weight.dims)));
    };
    let groups = usize::try_from(call.int("group", 1)?).unwrap_or(0);
    let ty = importer.ty(input).clone();
    let channels = group_out.checked_mul(groups).filter(|&channels| channels > 0);
    let fits = call.sizes("kernel_shape")?.is_none_or(|shape| shape == kernel) && *channels_in == ty.channels();
    let (Some(channels), true, false) = (channels, fits, kernel.contains(&0)) else {
        return Err(Refusal::new(format!("weights of {:?} in {groups} groups for {ty}", weight.dims)));
    };
    let rank = kernel.len();
    if rank != ty.spatial().len() {
        return Err(Refusal::new(format!("a kernel of {rank} dimensions for {ty}")));
    }
    let (stride, dilation) = (of_rank(call, "strides", rank)?, of_rank(call, "dilations", rank)?);
    let extra = match call.ints("output_padding")? {
        Some(extra) if extra.len() == rank => {
            let sizes: Option<Vec<usize>> = extra.iter().map(|&size| usize::try_from(size).ok()).collect();
            sizes.ok_or_else(|| Refusal::new("attribute `output_padding` is negative"))?
        }
        Some(extra) => return Err(Refusal::new(format!("{} output_padding", extra.len()))),
        None => vec![0; rank],
    };
    // All that can be computed without what is left out at the sides.
    let full = |dim: usize| {
        let reach = (ty.spatial()[dim] - 1).checked_mul(stride[dim])?;
        reach.checked_add((kernel[dim] - 1).checked_mul(dilation[dim])?)?.checked_add(1)?.checked_add(extra[dim])
    };
    let (given, auto) = (pads(call, rank)?, call.text("auto_pad", "NOTSET")?);
    let sizes = match (call.sizes("output_shape")?, auto) {
        (Some(sizes), _) if sizes.len() >= rank => Some(sizes[sizes.len() - rank..].to_vec()),
        (None, "SAME_UPPER" | "SAME_LOWER") => {
            Some((0..rank).map(|dim| ty.spatial()[dim].saturating_mul(stride[dim])).collect())
        }
        (None, "NOTSET" | "VALID") => None,
        _ => return Err(Refusal::new(format!("attributes `output_shape` or `auto_pad` `{auto}`"))),
    };
    if auto == "SAME_LOWER" && call.opset < 11 {
        return Err(Refusal::new("attribute `auto_pad` is SAME_LOWER, which programs have read in two ways"));
    }
    let sides = match (sizes, auto) {
        (None, "VALID") => vec![(0, 0); rank],
        (None, _) => given,
        (Some(sizes), _) => {
            let side = |dim: usize| {
                let left_out = full(dim)?.checked_sub(sizes[dim])?;
                let (less, more) = (left_out / 2, left_out - left_out / 2);
                Some(if auto == "SAME_UPPER" { (less, more) } else { (more, less) })
            };
            let sides: Option<Vec<_>> = (0..rank).map(side).collect();
            sides.ok_or_else(|| Refusal::new(format!("an output of {sizes:?}, larger than what is computed")))?
        }
    };
    let padding = padding(sides, kernel, &dilation);
    let window = Window { kernel: kernel.to_vec(), stride, dilation, padding, ceil: false };
    let (has_bias, output_padding) = (bias.is_some(), extra);
    let layer = ConvTranspose { channels, window, output_padding, groups, bias: has_bias, output_major: false };
    let weights = [Some(weight), bias].into_iter().flatten().map(Weight::of).collect();
    let node = importer.weighted(layer, input, call, weights)?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}
