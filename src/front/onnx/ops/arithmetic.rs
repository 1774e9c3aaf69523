//! Add, Sub, Mul, Div (7, 13, 14), Sum (8), Max, Min, Pow, Neg: of constants, of values with constants, of values.

use super::Rules;
use super::normalization::element_weights;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::{Const, Element, Number};
use crate::front::onnx::flow::{Flow, known_size, whole_axis};
use crate::front::onnx::fold;
use crate::front::onnx::plain::is_batch;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::ir::NodeId;
use crate::layers::{
    Activation, Add, Concat, Conv, Dense, Each, Flatten, GroupNorm, InstanceNorm, Interpolation, LayerNorm, Mul, Op,
    Over, Reduce, Reduced, Reduction, Scale, Unflatten, Upsample,
};
use crate::tensor::TensorType;

pub const RULES: Rules = &[
    ("Add", add),
    ("Sub", subtract),
    ("Mul", multiply),
    ("Div", divide),
    ("Sum", sum),
    ("Neg", negate),
    ("Pow", power),
    ("Max", |importer, call| extreme(importer, call, true)),
    ("Min", |importer, call| extreme(importer, call, false)),
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
        Operands::Mixed(b, a, true) => {
            let b = Flow { node: importer.layer(Activation::Reciprocal, &[b.node])?, ..b };
            let zero = Const::scalar(a.element, 0.0);
            affine(importer, call, b, &a, &zero)
        }
        Operands::Flows(a, b) => {
            let b = Flow { node: importer.layer(Activation::Reciprocal, &[b.node])?, ..b };
            joined(importer, Mul.into(), a, b)
        }
    }
}

/// The largest or smallest of each element's values; a constant limits a value.
fn extreme(importer: &mut Importer, call: &Call, largest: bool) -> Outputs {
    let f = if largest { f64::max } else { f64::min };
    if call.all_constant().is_some() {
        return folded(call, |a, b| known(a, b, f));
    }
    let mut found: Option<Flow> = None;
    for index in (0..call.count()).filter(|&index| matches!(call.optional(index), Some(Value::Flow(_)))) {
        let next = call.flow(index)?.clone();
        found = Some(match found {
            Some(first) => extreme_of_two(importer, first, next, largest)?,
            None => next,
        });
    }
    let mut x = found.ok_or_else(|| Refusal::new("an operand is missing"))?;
    for index in (0..call.count()).filter(|&index| !matches!(call.optional(index), Some(Value::Flow(_)))) {
        let limit = call.constant(index)?;
        let number = limit.uniform().filter(|_| limit.count() == 1 && limit.dims.len() <= x.rank());
        let number = number.ok_or_else(|| Refusal::new("of a value and a constant that is not one number"))? as f32;
        let (low, high) = if largest { (number, f32::INFINITY) } else { (f32::NEG_INFINITY, number) };
        x.node = importer.layer(Activation::Clip { low, high }, &[x.node])?;
    }
    Ok(vec![x.into()])
}

/// As the largest or smallest of two channels, which the elements of both values become.
fn extreme_of_two(importer: &mut Importer, a: Flow, b: Flow, largest: bool) -> Result<Flow, Refusal> {
    if a.shape() != b.shape() {
        return Err(Refusal::new(format!("of values of shapes {} and {}", a.text(), b.text())));
    }
    let (a, b) = if a.axes == b.axes && importer.ty(a.node) == importer.ty(b.node) {
        (a, b)
    } else {
        let [a, b] = [importer.plain(&a)?, importer.plain(&b)?];
        (Flow::of(a, importer.ty(a)), Flow::of(b, importer.ty(b)))
    };
    let dims = importer.ty(a.node).dims.clone();
    let line = |importer: &mut Importer, x: NodeId| {
        let flat = if dims.len() > 1 { importer.layer(Flatten, &[x])? } else { x };
        importer.layer(Unflatten { size: vec![dims.iter().product()] }, &[flat])
    };
    let lines = [line(importer, a.node)?, line(importer, b.node)?];
    let both = importer.layer(Concat, &lines)?;
    let how = if largest { Reduction::Max } else { Reduction::Min };
    let line = importer.layer(Reduce { how, over: Reduced::Channels }, &[both])?;
    let flat = importer.layer(Flatten, &[line])?;
    let node = match dims.len() {
        1 => flat,
        _ => importer.layer(Unflatten { size: dims[1..].to_vec() }, &[flat])?,
    };
    Ok(Flow { node, ..a })
}

/// Powers that are products, and roots.
fn power(importer: &mut Importer, call: &Call) -> Outputs {
    let Operands::Mixed(x, exponent, false) = operands(call)? else {
        return folded(call, |a, b| known(a, b, f64::powf));
    };
    let exponent = exponent.uniform().filter(|_| exponent.count() == 1 && exponent.dims.len() <= x.rank());
    let node = match exponent {
        Some(1.0) => x.node,
        Some(2.0) => importer.layer(Mul, &[x.node, x.node])?,
        Some(3.0) => {
            let square = importer.layer(Mul, &[x.node, x.node])?;
            importer.layer(Mul, &[square, x.node])?
        }
        Some(0.5) => importer.layer(Activation::Sqrt, &[x.node])?,
        _ => return Err(Refusal::new("powers of 1, 2, 3 and 0.5 are known")),
    };
    Ok(vec![Flow { node, ..x }.into()])
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

/// A sum or product of two values: as they are where both see their nodes through the same axes, else in ONNX's order. One of
/// them may have axes of size 1 that are stretched to those of the other.
fn joined(importer: &mut Importer, op: Op, a: Flow, b: Flow) -> Outputs {
    let (a, b) = (of_rank(a, &b), b);
    let b = of_rank(b, &a);
    for (x, other) in [(&a, &b), (&b, &a)] {
        if lies_over(importer, x, other) {
            let node = importer.layer(op, &[x.node, other.node])?;
            return Ok(vec![Flow { node, ..x.clone() }.into()]);
        }
    }
    let refused = Refusal::new(format!("of values of shapes {} and {}", a.text(), b.text()));
    // For one sample, without an axis for it, there is one here.
    let has_batch = |x: &Flow| x.rank() > 0 && is_batch(x, importer.ty(x.node));
    let unbatched = !has_batch(&a) || !has_batch(&b);
    let with_batch = |x: Flow| if unbatched { Flow { axes: [vec![Vec::new()], x.axes].concat(), ..x } } else { x };
    let [a, b] = [with_batch(a), with_batch(b)];
    let [a, b] = [importer.plain(&a)?, importer.plain(&b)?];
    let node = stretched(importer, op, a, b)?.ok_or(refused)?;
    let mut flow = Flow::of(node, importer.ty(node));
    if unbatched {
        flow.axes.remove(0);
    }
    Ok(vec![flow.into()])
}

/// A sum or product of nodes of as many dimensions, of which one or both have sizes of 1 that are stretched.
fn stretched(importer: &mut Importer, op: Op, a: NodeId, b: NodeId) -> Result<Option<NodeId>, Refusal> {
    let (a_ty, b_ty) = (importer.ty(a).clone(), importer.ty(b).clone());
    if a_ty.dims.len() != b_ty.dims.len() {
        return Ok(None);
    }
    for (x, other, fits) in [(a, b, Each::of(&a_ty, &b_ty)), (b, a, Each::of(&b_ty, &a_ty))] {
        if fits.is_some() {
            return importer.layer(op, &[x, other]).map(Some);
        }
    }
    let dims: Vec<usize> = a_ty.dims.iter().zip(&b_ty.dims).map(|(&a, &b)| a.max(b)).collect();
    let is_stretched = |ty: &TensorType| ty.dims.iter().zip(&dims).all(|(&size, &all)| size == all || size == 1);
    if a_ty.batch != b_ty.batch || !is_stretched(&a_ty) || !is_stretched(&b_ty) {
        return Ok(None);
    }
    let (x, other) = if a_ty.channels() == dims[0] { (a, b) } else { (b, a) };
    let x = enlarged(importer, x, &dims[1..])?;
    let fits = Each::of(importer.ty(x), importer.ty(other)).is_some();
    let other = if fits { other } else { enlarged(importer, other, &dims[1..])? };
    importer.layer(op, &[x, other]).map(Some)
}

/// A value with its sizes of 1 stretched to these.
///
/// # Errors
/// If that is too large.
pub fn enlarged(importer: &mut Importer, x: NodeId, sizes: &[usize]) -> Result<NodeId, Refusal> {
    let scale: Vec<usize> = sizes.iter().zip(importer.ty(x).spatial()).map(|(size, own)| size / own).collect();
    match scale.iter().all(|&scale| scale == 1) {
        true => Ok(x),
        false => importer.layer(Upsample { scale, mode: Interpolation::Nearest }, &[x]),
    }
}

/// With axes of size 1 in front, as many as the other has more.
fn of_rank(x: Flow, other: &Flow) -> Flow {
    let missing = other.rank().saturating_sub(x.rank());
    Flow { node: x.node, axes: [vec![Vec::new(); missing], x.axes].concat() }
}

/// Whether `other` has a number for each element, channel, position or sample of `x`, on the axes where x has them.
fn lies_over(importer: &Importer, x: &Flow, other: &Flow) -> bool {
    let fits = |(x, other): (&Vec<_>, &Vec<_>)| other.is_empty() || other == x;
    Each::of(importer.ty(x.node), importer.ty(other.node)).is_some() && x.axes.iter().zip(&other.axes).all(fits)
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
