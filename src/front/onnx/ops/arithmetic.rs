//! Add, Sub, Mul, Div (7, 13, 14), Sum (8), Max, Min, Pow, Neg: of constants, of values with constants, of values.

use super::Rules;
use super::normalization::element_weights;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::{Const, Element, Number};
use crate::front::onnx::flow::{Flow, known_size, whole_axis};
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::ir::NodeId;
use crate::layers::{Activation, Add, Conv, Dense, GroupNorm, InstanceNorm, LayerNorm, Mul, Op, Over, Scale};

pub const RULES: Rules = &[
    ("Add", add),
    ("Sub", subtract),
    ("Mul", multiply),
    ("Div", divide),
    ("Sum", sum),
    ("Neg", negate),
    ("Pow", |_, call| folded(call, |a, b| known(a, b, f64::powf))),
    ("Max", |_, call| folded(call, |a, b| known(a, b, f64::max))),
    ("Min", |_, call| folded(call, |a, b| known(a, b, f64::min))),
    ("Mod", |_, call| {
        call.int("fmod", 0)?;
        folded(call, |a, b| known(a, b, |a, b| a - b * (a / b).floor()))
    }),
];

/// Operators of constants only.
fn folded(call: &Call, f: impl Fn(Number, Number) -> Result<Number, Refusal> + Copy) -> Outputs {
    match call.all_constant() {
        Some(parts) => {
            let (first, rest) = parts.split_first().ok_or_else(|| Refusal::new("it has no operands"))?;
            let result = rest.iter().try_fold((*first).clone(), |a, b| fold::binary(&a, b, f))?;
            Ok(vec![result.into()])
        }
        None => Err(Refusal::new("there is no layer for it, unless as part of a known pattern")),
    }
}

fn known(a: Number, b: Number, f: impl Fn(f64, f64) -> f64) -> Result<Number, Refusal> {
    match (a.known(), b.known()) {
        (Some(a), Some(b)) => Ok(f(a, b).into()),
        _ => Err(Refusal::new("a number that depends on the batch")),
    }
}

/// A value of the network beside a constant, in either order.
enum Operands {
    Constants(Const, Const),
    /// The flag tells that the constant comes first.
    Mixed(Flow, Const, bool),
    Flows(Flow, Flow),
}

fn operands(call: &Call) -> Result<Operands, Refusal> {
    // Before version 7 shapes were stretched on request only; what is left of that has no meaning.
    if call.count() != 2 {
        return Err(Refusal::new(format!("{} operands", call.count())));
    }
    Ok(match (call.value(0)?, call.value(1)?) {
        (Value::Const(a), Value::Const(b)) => Operands::Constants(a.clone(), b.clone()),
        (Value::Flow(a), Value::Const(b)) => Operands::Mixed(a.clone(), b.clone(), false),
        (Value::Const(a), Value::Flow(b)) => Operands::Mixed(b.clone(), a.clone(), true),
        (Value::Flow(a), Value::Flow(b)) => Operands::Flows(a.clone(), b.clone()),
        _ => return Err(Refusal::new("an operand is missing")),
    })
}

fn add(importer: &mut Importer, call: &Call) -> Outputs {
    match operands(call)? {
        Operands::Constants(a, b) => Ok(vec![fold::binary(&a, &b, fold::add)?.into()]),
        Operands::Mixed(x, b, _) => {
            let one = Const::scalar(b.element, 1.0);
            affine(importer, call, x, &one, &b)
        }
        Operands::Flows(a, b) => joined(importer, Add.into(), a, b),
    }
}

fn subtract(importer: &mut Importer, call: &Call) -> Outputs {
    match operands(call)? {
        Operands::Constants(a, b) => Ok(vec![fold::binary(&a, &b, fold::subtract)?.into()]),
        Operands::Mixed(x, b, false) => {
            let one = Const::scalar(b.element, 1.0);
            affine(importer, call, x, &one, &fold::unary(&b, |b| -b)?)
        }
        Operands::Mixed(x, b, true) => {
            let minus = Const::scalar(b.element, -1.0);
            affine(importer, call, x, &minus, &b)
        }
        Operands::Flows(a, b) => {
            let minus = Const::scalar(Element::F32, -1.0);
            let zero = Const::scalar(Element::F32, 0.0);
            let Value::Flow(b) = affine(importer, call, b, &minus, &zero)?.remove(0) else { unreachable!("a flow") };
            joined(importer, Add.into(), a, b)
        }
    }
}

fn multiply(importer: &mut Importer, call: &Call) -> Outputs {
    match operands(call)? {
        Operands::Constants(a, b) => Ok(vec![fold::binary(&a, &b, fold::multiply)?.into()]),
        Operands::Mixed(x, a, _) => {
            let zero = Const::scalar(a.element, 0.0);
            affine(importer, call, x, &a, &zero)
        }
        Operands::Flows(a, b) => joined(importer, Mul.into(), a, b),
    }
}

fn divide(importer: &mut Importer, call: &Call) -> Outputs {
    match operands(call)? {
        Operands::Constants(a, b) => {
            let whole = !a.element.is_float();
            Ok(vec![fold::binary(&a, &b, |a, b| fold::divide(a, b, whole))?.into()])
        }
        Operands::Mixed(x, b, false) => {
            let zero = Const::scalar(b.element, 0.0);
            affine(importer, call, x, &fold::unary(&b, |b| 1.0 / b)?, &zero)
        }
        _ => Err(Refusal::new("a division by a value of the network")),
    }
}

fn negate(importer: &mut Importer, call: &Call) -> Outputs {
    if let Value::Const(x) = call.value(0)? {
        return Ok(vec![fold::unary(x, |x| -x)?.into()]);
    }
    let (minus, zero) = (Const::scalar(Element::F32, -1.0), Const::scalar(Element::F32, 0.0));
    affine(importer, call, call.flow(0)?.clone(), &minus, &zero)
}

/// Sum of any number of values.
fn sum(importer: &mut Importer, call: &Call) -> Outputs {
    if call.all_constant().is_some() {
        return folded(call, fold::add);
    }
    let mut total = call.flow(0)?.clone();
    for index in 1..call.count() {
        let Value::Flow(next) = joined(importer, Add.into(), total, call.flow(index)?.clone())?.remove(0) else {
            unreachable!("a flow")
        };
        total = next;
    }
    Ok(vec![total.into()])
}

/// A sum or product of two values: as they are where both see their nodes through the same axes, else in ONNX's order.
fn joined(importer: &mut Importer, op: Op, a: Flow, b: Flow) -> Outputs {
    let (a, b) = (of_rank(a, &b), b);
    let b = of_rank(b, &a);
    let same_type = importer.ty(a.node) == importer.ty(b.node);
    if same_type && a.axes == b.axes {
        let node = importer.layer(op, &[a.node, b.node])?;
        return Ok(vec![Flow { node, ..a }.into()]);
    }
    if matches!(op, Op::Mul(_)) {
        for (x, gate) in [(&a, &b), (&b, &a)] {
            if is_gate(importer, x, gate) {
                let node = importer.layer(op, &[x.node, gate.node])?;
                return Ok(vec![Flow { node, ..x.clone() }.into()]);
            }
        }
    }
    if a.shape() != b.shape() {
        return Err(Refusal::new(format!("of values of shapes {} and {}", a.text(), b.text())));
    }
    let (a, b) = (importer.plain(&a)?, importer.plain(&b)?);
    let node = importer.layer(op, &[a, b])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// With axes of size 1 in front, as many as the other has more.
fn of_rank(x: Flow, other: &Flow) -> Flow {
    let missing = other.rank().saturating_sub(x.rank());
    Flow { node: x.node, axes: [vec![Vec::new(); missing], x.axes].concat() }
}

/// Whether `gate` has one factor for each channel of `x`, on the axis where x's channels are.
fn is_gate(importer: &Importer, x: &Flow, gate: &Flow) -> bool {
    let (ty, gate_ty) = (importer.ty(x.node), importer.ty(gate.node));
    let one_position = gate_ty.spatial().iter().all(|&size| size == 1);
    let channels_fit = ty.channels() == gate_ty.channels() && ty.batch == gate_ty.batch;
    let fits = |(x, gate): (&Vec<_>, &Vec<_>)| gate.is_empty() || gate == x;
    one_position && channels_fit && x.axes.iter().zip(&gate.axes).all(fits)
}

/// x * scale + shift, each one number or one for each channel.
pub fn affine(importer: &mut Importer, call: &Call, x: Flow, scale: &Const, shift: &Const) -> Outputs {
    let rank = x.rank().max(scale.dims.len()).max(shift.dims.len());
    let missing = rank - x.rank();
    let x = Flow { node: x.node, axes: [vec![Vec::new(); missing], x.axes].concat() };
    if let Some(merged) = into_norm(importer, call, &x, scale, shift)? {
        return Ok(vec![Flow { node: merged, ..x }.into()]);
    }
    let channels = importer.ty(x.node).channels();
    let (a, b) = (factors(importer, &x, scale)?, factors(importer, &x, shift)?);
    if (scale.uniform(), shift.uniform()) == (Some(1.0), Some(0.0)) {
        return Ok(vec![x.into()]);
    }
    if let (Some(1.0), Some(bias)) = (scale.uniform(), &b)
        && is_without_bias(importer, call, &x)
    {
        importer.add_bias(x.node, bias.clone());
        return Ok(vec![x.into()]);
    }
    if let (Some(scale), Some(shift)) = (scale.uniform(), shift.uniform()) {
        let (scale, shift) = (scale as f32, shift as f32);
        let node = importer.layer(Activation::Affine { scale, shift }, &[x.node])?;
        return Ok(vec![Flow { node, ..x }.into()]);
    }
    let a = a.unwrap_or_else(|| Weight::fill(channels, 1.0));
    let bias = shift.uniform() != Some(0.0);
    let weights = if bias { vec![a, b.unwrap_or_else(|| Weight::fill(channels, 0.0))] } else { vec![a] };
    let node = importer.weighted(Scale { bias }, x.node, call, weights)?;
    Ok(vec![Flow { node, ..x }.into()])
}

/// A norm without weights, and a factor behind it; or a norm or a scale without summands, and one: the same layer with it.
fn into_norm(
    importer: &mut Importer,
    call: &Call,
    x: &Flow,
    scale: &Const,
    shift: &Const,
) -> Result<Option<NodeId>, Refusal> {
    match (scale.uniform() == Some(1.0), shift.uniform() == Some(0.0)) {
        (true, false) => summand_into_norm(importer, x, shift),
        (false, true) => factor_into_norm(importer, call, x, scale),
        _ => Ok(None),
    }
}

fn factor_into_norm(importer: &mut Importer, call: &Call, x: &Flow, factor: &Const) -> Result<Option<NodeId>, Refusal> {
    let node = importer.graph[x.node].clone();
    let with: Op = match node.op {
        Op::LayerNorm(norm) => LayerNorm { affine: true, ..norm }.into(),
        Op::GroupNorm(norm) => GroupNorm { affine: true, ..norm }.into(),
        Op::InstanceNorm(norm) => InstanceNorm { affine: true, ..norm }.into(),
        _ => return Ok(None),
    };
    if !node.params.is_empty() || factor.count() == 1 {
        return Ok(None);
    }
    let Some(weight) = norm_weights(importer, x, &with, factor)? else { return Ok(None) };
    let bias = Weight::fill(weight.count(), 0.0);
    importer.weighted(with, node.inputs[0], call, vec![weight, bias]).map(Some)
}

/// In place of zeros, if nobody else reads the value.
fn summand_into_norm(importer: &mut Importer, x: &Flow, summand: &Const) -> Result<Option<NodeId>, Refusal> {
    let node = importer.graph[x.node].clone();
    let is_norm = matches!(node.op, Op::LayerNorm(_) | Op::GroupNorm(_) | Op::InstanceNorm(_));
    let name = node.params.get(1).map(|&param| importer.graph[param].name.clone());
    let is_zero = |name: &String| importer.weights.get(name).is_some_and(Weight::is_zero);
    let is_free = match &name {
        Some(name) => is_norm && is_zero(name),
        None => matches!(node.op, Op::Scale(Scale { bias: false })),
    };
    if !is_free || !importer.has_one_name(x.node) {
        return Ok(None);
    }
    let Some(bias) = norm_weights(importer, x, &node.op, summand)? else { return Ok(None) };
    match name {
        Some(name) => importer.weights.insert(name, bias),
        None => importer.add_bias(x.node, bias),
    }
    Ok(Some(x.node))
}

/// A number for each channel of a norm, or for each element of a layer norm.
fn norm_weights(importer: &Importer, x: &Flow, op: &Op, constant: &Const) -> Result<Option<Weight>, Refusal> {
    match op {
        Op::LayerNorm(norm) if norm.over != Over::Channels => over_elements(importer, x, norm.over, constant),
        _ => factors(importer, x, constant),
    }
}

/// Along the last axes.
fn over_elements(importer: &Importer, x: &Flow, over: Over, constant: &Const) -> Result<Option<Weight>, Refusal> {
    let ty = importer.ty(x.node);
    let axis = (1..x.rank()).find(|&axis| x.over(axis..x.rank(), ty) == Some(over));
    let fits = |axis: &usize| constant.dims.len() <= x.rank() - axis;
    axis.filter(fits).map(|axis| element_weights(x, axis, constant)).transpose()
}

/// One number for each channel of a value, as a constant beside it has them.
fn factors(importer: &Importer, x: &Flow, constant: &Const) -> Result<Option<Weight>, Refusal> {
    let refused = || {
        Refusal::new(format!("a constant of {:?}, which is neither one number nor one for each channel", constant.dims))
    };
    let ty = importer.ty(x.node);
    if !constant.is_known() {
        return Err(Refusal::new("a constant that depends on the batch"));
    }
    if let Some(value) = constant.uniform() {
        let fits = constant.dims.iter().rev().zip(x.axes.iter().rev());
        let stretches = |(&dim, axis): (&usize, &Vec<_>)| dim != 1 && known_size(axis) != Some(dim);
        return if fits.into_iter().any(stretches) {
            Err(refused())
        } else {
            Ok(Some(Weight::fill(ty.channels(), value)))
        };
    }
    let axis = constant.dims.iter().rposition(|&dim| dim != 1).ok_or_else(refused)?;
    let own = axis + x.rank() - constant.dims.len();
    let alone = constant.count() == constant.dims[axis];
    if alone && constant.dims[axis] == ty.channels() && x.axes[own] == whole_axis(ty, 1) {
        Ok(Some(Weight::of(constant)))
    } else {
        Err(refused())
    }
}

/// Whether the operand is what a layer gives that may have a bias and has none, and nobody else reads it.
fn is_without_bias(importer: &Importer, call: &Call, x: &Flow) -> bool {
    let alone = |name: &str| {
        let made = importer.producers.get(name).is_some_and(|node| matches!(node.operator, "Conv" | "Gemm" | "MatMul"));
        made && importer.flow(name).is_some_and(|flow| flow.node == x.node) && importer.has_one_reader(name)
    };
    let bare =
        matches!(importer.graph[x.node].op, Op::Conv(Conv { bias: false, .. }) | Op::Dense(Dense { bias: false, .. }));
    bare && call.node.inputs.iter().any(|name| alone(name))
}
