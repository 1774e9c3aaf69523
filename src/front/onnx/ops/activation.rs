//! Functions of one element: Relu, Sigmoid, Tanh, LeakyRelu (6, 16), HardSigmoid (6, 22), HardSwish (14), Gelu (20),
//! Swish (24), Clip (6, 11), and those that are known only as parts of others.

use super::{Rules, decimal};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::Const;
use crate::front::onnx::flow::Flow;
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::layers::Activation;

pub const RULES: Rules = &[
    ("Relu", |importer, call| apply(importer, call, Activation::Relu)),
    ("Sigmoid", |importer, call| apply(importer, call, Activation::Sigmoid)),
    ("Tanh", |importer, call| apply(importer, call, Activation::Tanh)),
    ("HardSwish", |importer, call| apply(importer, call, Activation::HardSwish)),
    ("LeakyRelu", |importer, call| {
        let slope = call.float("alpha", 0.01)?;
        apply(importer, call, Activation::LeakyRelu(slope))
    }),
    ("HardSigmoid", hard_sigmoid),
    ("Gelu", gelu),
    ("Swish", swish),
    ("Clip", clip),
    ("Erf", |_, call| known_only(call, libm::erf)),
    ("Exp", |_, call| known_only(call, f64::exp)),
    ("Log", |_, call| known_only(call, f64::ln)),
    ("Sqrt", |_, call| known_only(call, f64::sqrt)),
    ("Reciprocal", |_, call| known_only(call, |x| 1.0 / x)),
    ("Abs", |_, call| known_only(call, f64::abs)),
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

fn hard_sigmoid(importer: &mut Importer, call: &Call) -> Outputs {
    let (alpha, beta) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    if (alpha - 1.0 / 6.0).abs() > 1e-6 || beta != 0.5 {
        return Err(Refusal::new(format!("attributes `alpha` {alpha}, `beta` {beta}; known are 1/6 and 0.5")));
    }
    apply(importer, call, Activation::HARD_SIGMOID)
}

fn gelu(importer: &mut Importer, call: &Call) -> Outputs {
    match call.text("approximate", "none")? {
        "none" => apply(importer, call, Activation::Gelu),
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
        _ => Err(Refusal::new(format!("bounds of {} and {}", decimal(low), decimal(high)))),
    }
}
