//! Functions of one element: Relu, Sigmoid, Tanh, Exp, Sqrt, Abs, Reciprocal, Softplus, Softsign, Mish (18), LeakyRelu and
//! PRelu (6, 7, 16), Elu, Selu (6, 22), Celu (12), ThresholdedRelu (10), HardSigmoid (6, 22), HardSwish (14), Gelu (20), Swish
//! (24), Clip (6, 11), and those that are known only as parts of others.

use super::{Rules, decimal};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::Const;
use crate::front::onnx::flow::{Flow, whole_axis};
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::layers::{Activation, PRelu};

pub const RULES: Rules = &[
    ("Relu", |importer, call| apply(importer, call, Activation::Relu)),
    ("Sigmoid", |importer, call| apply(importer, call, Activation::Sigmoid)),
    ("Tanh", |importer, call| apply(importer, call, Activation::Tanh)),
    ("HardSwish", |importer, call| apply(importer, call, Activation::HardSwish)),
    ("LeakyRelu", |importer, call| {
        let slope = call.float("alpha", 0.01)?;
        apply(importer, call, Activation::LeakyRelu(slope))
    }),
    ("Exp", |importer, call| apply(importer, call, Activation::Exp)),
    ("Sqrt", |importer, call| apply(importer, call, Activation::Sqrt)),
    ("Abs", |importer, call| apply(importer, call, Activation::Abs)),
    ("Reciprocal", |importer, call| apply(importer, call, Activation::Reciprocal)),
    ("Softplus", |importer, call| apply(importer, call, Activation::Softplus)),
    ("Softsign", |importer, call| apply(importer, call, Activation::Softsign)),
    ("Mish", |importer, call| apply(importer, call, Activation::Mish)),
    ("Elu", |importer, call| {
        let alpha = call.float("alpha", 1.0)?;
        apply(importer, call, Activation::Elu(alpha))
    }),
    ("Celu", |importer, call| {
        let alpha = call.float("alpha", 1.0)?;
        apply(importer, call, Activation::Celu(alpha))
    }),
    ("ThresholdedRelu", |importer, call| {
        let alpha = call.float("alpha", 1.0)?;
        apply(importer, call, Activation::ThresholdedRelu(alpha))
    }),
    ("Selu", selu),
    ("PRelu", prelu),
    ("HardSigmoid", hard_sigmoid),
    ("Gelu", gelu),
    ("Swish", swish),
    ("Clip", clip),
    ("Erf", |_, call| known_only(call, libm::erf)),
    ("Log", |_, call| known_only(call, f64::ln)),
    ("Floor", |_, call| known_only(call, f64::floor)),
    ("Ceil", |_, call| known_only(call, f64::ceil)),
    ("Round", |_, call| known_only(call, f64::round_ties_even)),
    ("Not", |_, call| known_only(call, |x| f64::from(u8::from(x == 0.0)))),
];

/// The function on each element, whatever the order of the axes.
fn apply(importer: &mut Importer, call: &Call, activation: Activation) -> Outputs {
    // Known to older versions of many operators, and without a meaning.
    call.ints("consumed_inputs")?;
    match call.value(0)? {
        Value::Const(x) => Ok(vec![fold::unary(x, |x| activation.evaluate(x))?.into()]),
        _ => {
            let flow = call.flow(0)?.clone();
            let node = importer.layer(activation, &[flow.node])?;
            Ok(vec![Flow { node, ..flow }.into()])
        }
    }
}

/// A function that no layer has by itself.
fn known_only(call: &Call, f: impl Fn(f64) -> f64) -> Outputs {
    match call.value(0)? {
        Value::Const(x) => Ok(vec![fold::unary(x, f)?.into()]),
        _ => Err(Refusal::new("there is no layer for it, unless as part of a known pattern")),
    }
}

/// Its constants are attributes, which nobody changes: other products are an elu with a factor.
fn selu(importer: &mut Importer, call: &Call) -> Outputs {
    let (alpha, gamma) = (call.float("alpha", 1.673_263_2)?, call.float("gamma", 1.050_701)?);
    if (alpha - 1.673_263_2).abs() < 1e-5 && (gamma - 1.050_701).abs() < 1e-5 {
        return apply(importer, call, Activation::Selu);
    }
    let Value::Flow(elu) = apply(importer, call, Activation::Elu(alpha))?.remove(0) else {
        return Err(Refusal::new(format!("attributes `alpha` {alpha}, `gamma` {gamma} of a constant")));
    };
    let node = importer.layer(Activation::Affine { scale: gamma, shift: 0.0 }, &[elu.node])?;
    Ok(vec![Flow { node, ..elu }.into()])
}

/// One slope for all elements, or one for each channel.
fn prelu(importer: &mut Importer, call: &Call) -> Outputs {
    call.ints("consumed_inputs")?;
    let slope = call.constant(1)?.clone();
    let x = call.flow(0)?.clone();
    let channels = importer.ty(x.node).channels();
    let shared = slope.count() == 1;
    let axis = slope.dims.iter().rposition(|&dim| dim != 1).unwrap_or(0);
    // Without dimensions of size 1 behind them, slopes are those of the channels up to version 6.
    let own =
        if call.opset < 7 && slope.dims.len() == 1 { 1 } else { (axis + x.rank()).wrapping_sub(slope.dims.len()) };
    let of_channels = slope.count() == channels
        && slope.dims.get(axis) == Some(&channels)
        && x.axes.get(own) == Some(&whole_axis(importer.ty(x.node), 1));
    if !shared && !of_channels {
        let message = format!("slopes of {:?} for a value of shape {}", slope.dims, x.text());
        return Err(Refusal::new(message));
    }
    let node = importer.weighted(PRelu { shared }, x.node, call, vec![Weight::of(&slope)])?;
    Ok(vec![Flow { node, ..x }.into()])
}

/// The f32 beside 1/6 is taken as 1/6.
fn hard_sigmoid(importer: &mut Importer, call: &Call) -> Outputs {
    let (slope, offset) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    match (slope - 1.0 / 6.0).abs() < 1e-6 && offset == 0.5 {
        true => apply(importer, call, Activation::HARD_SIGMOID),
        false => {
            let (slope, offset) = (decimal(slope) as _, decimal(offset) as _);
            apply(importer, call, Activation::HardSigmoid { slope, offset })
        }
    }
}

fn gelu(importer: &mut Importer, call: &Call) -> Outputs {
    match call.text("approximate", "none")? {
        "none" => apply(importer, call, Activation::Gelu),
        "tanh" => apply(importer, call, Activation::GeluTanh),
        other => Err(Refusal::new(format!("attribute `approximate` is `{other}`"))),
    }
}

fn swish(importer: &mut Importer, call: &Call) -> Outputs {
    match call.float("alpha", 1.0)? {
        1.0 => apply(importer, call, Activation::Silu),
        alpha => Err(Refusal::new(format!("attribute `alpha` is {alpha}"))),
    }
}

/// The bounds are attributes up to version 6, operands from 11 on.
fn clip(importer: &mut Importer, call: &Call) -> Outputs {
    let (low, high) = if call.opset < 11 {
        (call.float("min", f32::MIN)?, call.float("max", f32::MAX)?)
    } else {
        let bound = |index, default| match call.optional_constant(index)? {
            Some(bound) => Const::single(bound).map(|bound| bound as f32),
            None => Ok(default),
        };
        (bound(1, f32::MIN)?, bound(2, f32::MAX)?)
    };
    if let Value::Const(x) = call.value(0)? {
        return Ok(vec![fold::unary(x, |x| x.max(low.into()).min(high.into()))?.into()]);
    }
    match (low, high) {
        (0.0, 6.0) => apply(importer, call, Activation::Relu6),
        (0.0, f32::MAX | f32::INFINITY) => apply(importer, call, Activation::Relu),
        (f32::MIN | f32::NEG_INFINITY, f32::MAX | f32::INFINITY) => Ok(vec![call.value(0)?.clone()]),
        _ => {
            // Where they cross, all is the upper one.
            let low = if low == f32::MIN { f32::NEG_INFINITY } else { low.min(high) };
            let high = if high == f32::MAX { f32::INFINITY } else { high };
            apply(importer, call, Activation::Clip { low, high })
        }
    }
}
