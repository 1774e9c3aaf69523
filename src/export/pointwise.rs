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
        Activation::Relu6 | Activation::Clip { .. } => limited(site, site.input(0), *layer),
        Activation::ThresholdedRelu(alpha) => plain("ThresholdedRelu").float("alpha", alpha.into()),
        Activation::Elu(alpha) => plain("Elu").float("alpha", alpha.into()),
        Activation::Selu => plain("Selu"),
        Activation::Celu(alpha) => plain("Celu").float("alpha", alpha.into()),
        Activation::Mish => plain("Mish").since(18),
        Activation::Softplus => plain("Softplus"),
        Activation::Softsign => plain("Softsign"),
        Activation::LeakyRelu(slope) => plain("LeakyRelu").float("alpha", slope.into()),
        Activation::Tanh => plain("Tanh"),
        Activation::Sigmoid => plain("Sigmoid"),
        Activation::Silu => {
            let factor = site.value(plain("Sigmoid"), &site.own_sizes());
            Call::new("Mul", with(site, [factor]))
        }
        Activation::HardSwish => plain("HardSwish"),
        Activation::HardSigmoid { slope, offset } => plain("HardSigmoid").float("alpha", slope).float("beta", offset),
        Activation::Gelu => plain("Gelu").since(20),
        Activation::GeluTanh => plain("Gelu").since(20).word("approximate", "tanh"),
        Activation::Affine { scale, shift } => {
            let [scale, shift] =
                [("scale", scale), ("shift", shift)].map(|(role, value)| site.scalar(role, value.into()));
            let product = site.value(Call::new("Mul", with(site, [scale])), &site.node.ty.dims);
            Call::new("Add", [product, shift])
        }
        Activation::Exp => plain("Exp"),
        Activation::Sqrt => plain("Sqrt"),
        Activation::Abs => plain("Abs"),
        Activation::Reciprocal => plain("Reciprocal"),
    };
    Ok(call.into())
}

/// An activation that only limits a value. A limit that is infinite is left out.
/// <https://onnx.ai/onnx/operators/onnx__Clip.html>
///
/// # Panics
/// If it is another one.
pub fn limited(site: &mut Site, x: String, activation: Activation) -> Call {
    let (low, high) = match activation {
        Activation::Relu => return Call::new("Relu", [x]),
        Activation::Relu6 => (0.0, 6.0),
        Activation::Clip { low, high } => (low, high),
        _ => unreachable!("{activation:?} does not only limit"),
    };
    let mut limit = |role, value: f32| if value.is_finite() { site.scalar(role, value.into()) } else { String::new() };
    let limits = [limit("min", low), limit("max", high)];
    let given = if limits[1].is_empty() { 1 } else { 2 };
    Call::new("Clip", [x].into_iter().chain(limits.into_iter().take(given)).collect::<Vec<_>>())
}

/// A product with the weight, and a sum with the bias, if there is one.
pub fn scale(site: &mut Site) -> Steps {
    let [weight, bias] = [0, 1].map(|index| site.channel_weight(index));
    let product = Call::new("Mul", with(site, weight));
    Ok(match bias {
        None => product,
        Some(bias) => Call::new("Add", [site.value(product, &site.node.ty.dims), bias]),
    }
    .into())
}

/// <https://onnx.ai/onnx/operators/onnx__PRelu.html>
pub fn prelu(site: &mut Site) -> Steps {
    let slopes = site.channel_weight(0);
    Ok(Call::new("PRelu", with(site, slopes)).into())
}

/// A sum or product. A second value of one position gets as many axes as the first one has: ONNX broadcasts from the last
/// one on.
pub fn joined(site: &mut Site, operator: &'static str) -> Steps {
    let (x, other) = (site.input_type(0), site.input_type(1));
    let second = site.input(1);
    let second = if other.dims.len() == x.dims.len() {
        second
    } else {
        let dims = [vec![other.channels()], vec![1; x.spatial().len()]].concat();
        let call = reshape(site, second, "shape", &dims);
        site.value(call, &dims)
    };
    Ok(Call::new(operator, [site.input(0), second]).into())
}
