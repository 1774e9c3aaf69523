//! Conv (1, 11, 22).

use super::Rules;
use super::window::window;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::layers::Conv;

pub const RULES: Rules = &[("Conv", conv)];

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
