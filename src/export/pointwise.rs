//! Activations, and products of values.

use super::builder::Site;
use super::call::Call;
use super::layers::{Steps, reshape, with};
use crate::layers::Activation;

/// Each by its own operator where there is one.
pub fn activation(site: &mut Site, layer: &Activation) -> Steps {
    let plain = |operator| Call::new(operator, site.inputs());
    let call = match *layer {
        Activation::Relu => plain("Relu"),
        Activation::Relu6 => clip(site, 0.0, 6.0),
        Activation::LeakyRelu(slope) => plain("LeakyRelu").float("alpha", slope.into()),
        Activation::Tanh => plain("Tanh"),
        Activation::Sigmoid => plain("Sigmoid"),
        Activation::Silu => {
            let factor = site.value(plain("Sigmoid"), &site.node.ty.dims);
            Call::new("Mul", with(site, [factor]))
        }
        Activation::HardSwish => plain("HardSwish"),
        Activation::HardSigmoid => plain("HardSigmoid").float("alpha", 1.0 / 6.0).float("beta", 0.5),
        Activation::Gelu => plain("Gelu").since(20),
    };
    Ok(call.into())
}

/// <https://onnx.ai/onnx/operators/onnx__Clip.html>
fn clip(site: &mut Site, low: f64, high: f64) -> Call {
    let bounds = [site.scalar("min", low), site.scalar("max", high)];
    Call::new("Clip", with(site, bounds))
}

/// A gate of one position gets as many axes as its value has: ONNX broadcasts from the last one on.
pub fn mul(site: &mut Site) -> Steps {
    let (x, gate) = (site.input_type(0), site.input_type(1));
    let factor = site.input(1);
    let factor = if gate.dims.len() == x.dims.len() {
        factor
    } else {
        let dims = [vec![x.channels()], vec![1; x.spatial().len()]].concat();
        let call = reshape(site, factor, "shape", &dims);
        site.value(call, &dims)
    };
    Ok(Call::new("Mul", [site.input(0), factor]).into())
}
