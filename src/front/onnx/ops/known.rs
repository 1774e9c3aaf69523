//! What is known without the network: Constant (1, 9, 11, 12, 13 and later), ConstantOfShape (9), Shape (1, 13, 15), Size,
//! Range, comparisons, Where, Cast; and what does nothing: Identity, Dropout (7, 10, 12, 13, 22).

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::{Const, Element, Number};
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;

pub const RULES: Rules = &[
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Shape", shape),
    ("Size", size),
    ("Range", range),
    ("Identity", |_, call| Ok(vec![call.value(0)?.clone()])),
    ("Dropout", dropout),
    ("Cast", cast),
    ("CastLike", cast_like),
    ("Where", choose),
    ("Equal", |_, call| compare(call, |a, b| a == b)),
    ("Less", |_, call| compare(call, |a, b| a < b)),
    ("Greater", |_, call| compare(call, |a, b| a > b)),
    ("LessOrEqual", |_, call| compare(call, |a, b| a <= b)),
    ("GreaterOrEqual", |_, call| compare(call, |a, b| a >= b)),
    ("And", |_, call| compare(call, |a, b| a != 0.0 && b != 0.0)),
    ("Or", |_, call| compare(call, |a, b| a != 0.0 || b != 0.0)),
];

fn constant(importer: &mut Importer, call: &Call) -> Outputs {
    let of_floats = |values: &[f32]| Const::floats_of(vec![values.len()], values.to_vec());
    let value = if let Some(tensor) = call.tensor("value")? {
        Const::of_tensor(tensor, importer.file, importer.external)?
    } else if call.attribute("value_float").is_some() {
        Const::scalar(Element::F32, call.float("value_float", 0.0)?.into())
    } else if call.attribute("value_int").is_some() {
        Const::scalar(Element::I64, call.int("value_int", 0)? as f64)
    } else if let Some(values) = call.floats("value_floats")? {
        of_floats(values)?
    } else if let Some(values) = call.ints("value_ints")? {
        Const::ints(values.iter().copied())
    } else {
        return Err(Refusal::new("it has no value that is read: texts and sparse tensors are not"));
    };
    Ok(vec![value.into()])
}

fn constant_of_shape(importer: &mut Importer, call: &Call) -> Outputs {
    let dims: Option<Vec<usize>> =
        call.constant(0)?.integers()?.into_iter().map(|size| usize::try_from(size).ok()).collect();
    let dims = dims.ok_or_else(|| Refusal::new("a negative size"))?;
    let (element, value) = match call.tensor("value")? {
        Some(tensor) => {
            let value = Const::of_tensor(tensor, importer.file, importer.external)?;
            (value.element, value.single()?)
        }
        None => (Element::F32, 0.0),
    };
    Ok(vec![Const::fill(dims, element, value)?.into()])
}

/// The sizes that a value has, of which the first may be that of the batch.
fn sizes(value: &Value) -> Vec<Number> {
    match value {
        Value::Const(constant) => constant.dims.iter().map(|&dim| Number::from(dim as f64)).collect(),
        Value::Flow(flow) => flow.shape(),
        Value::Missing | Value::Whole(_) => Vec::new(),
    }
}

fn shape(_importer: &mut Importer, call: &Call) -> Outputs {
    let sizes = sizes(call.value(0)?);
    let rank = sizes.len() as i64;
    let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (clamp(call.int("start", 0)?), clamp(call.int("end", i64::MAX)?));
    let numbers = sizes[start.min(end)..end].to_vec();
    Ok(vec![Const::numbers_of(vec![numbers.len()], Element::I64, numbers)?.into()])
}

fn size(_importer: &mut Importer, call: &Call) -> Outputs {
    let product = sizes(call.value(0)?).into_iter().try_fold(Number::from(1.0), fold::multiply)?;
    Ok(vec![Const::numbers_of(Vec::new(), Element::I64, vec![product])?.into()])
}

fn range(_importer: &mut Importer, call: &Call) -> Outputs {
    let [start, limit, step] = [0, 1, 2].map(|index| call.constant(index).and_then(Const::single));
    let (start, limit, step) = (start?, limit?, step?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if !(0.0..=65536.0).contains(&count) {
        return Err(Refusal::new(format!("a range of {count} numbers")));
    }
    let numbers = (0..count as usize).map(|i| Number::from(start + i as f64 * step)).collect();
    Ok(vec![Const::numbers_of(vec![count as usize], call.constant(0)?.element, numbers)?.into()])
}

/// It does nothing at inference.
fn dropout(_importer: &mut Importer, call: &Call) -> Outputs {
    call.float("ratio", 0.5)?;
    call.int("seed", 0)?;
    if call.optional_constant(2)?.map(Const::single).transpose()?.is_some_and(|training| training != 0.0) {
        return Err(Refusal::new("it is in training mode, and random"));
    }
    Ok(vec![call.value(0)?.clone(), Value::Missing])
}

fn cast(_importer: &mut Importer, call: &Call) -> Outputs {
    call.int("saturate", 1)?;
    call.text("round_mode", "up")?;
    converted(call, Element::of(call.int("to", 0)?)?)
}

fn cast_like(_importer: &mut Importer, call: &Call) -> Outputs {
    call.int("saturate", 1)?;
    call.text("round_mode", "up")?;
    let element = match call.value(1)? {
        Value::Const(like) => like.element,
        _ => Element::F32,
    };
    converted(call, element)
}

/// All that is computed is f32 here, so that a conversion to another precision does nothing.
fn converted(call: &Call, element: Element) -> Outputs {
    match call.value(0)? {
        Value::Const(x) => Ok(vec![x.cast(element)?.into()]),
        value if element.is_float() => Ok(vec![value.clone()]),
        _ => Err(Refusal::new("values of the network would become integers")),
    }
}

fn choose(_importer: &mut Importer, call: &Call) -> Outputs {
    let (condition, a, b) = (call.constant(0)?, call.constant(1)?, call.constant(2)?);
    let shape = fold::broadcast(&fold::broadcast(&condition.dims, &a.dims)?, &b.dims)?;
    let [condition, a, b] = [condition, a, b].map(|part| fold::expand(part, &shape));
    let (condition, first, second) = (condition?, a?, b?);
    let pairs = first.numbers()?.iter().copied().zip(second.numbers()?.iter().copied()).collect::<Vec<_>>();
    let numbers = condition.values()?.into_iter().zip(pairs).map(|(c, (a, b))| if c != 0.0 { a } else { b }).collect();
    Ok(vec![Const::numbers_of(shape, first.element, numbers)?.into()])
}

fn compare(call: &Call, holds: impl Fn(f64, f64) -> bool) -> Outputs {
    call.int("axis", 0)?;
    call.int("broadcast", 0)?;
    let (a, b) = (call.constant(0)?, call.constant(1)?);
    let compared = fold::binary(a, b, |a, b| match (a.known(), b.known()) {
        (Some(a), Some(b)) => Ok(Number::from(f64::from(u8::from(holds(a, b))))),
        // The batch is none of the numbers that stand for something: 0, -1.
        (None, Some(b)) if b <= 0.0 && a.constant == 0.0 => Ok(Number::from(f64::from(u8::from(holds(1.0, b))))),
        _ => Err(Refusal::new("a comparison that depends on the batch")),
    })?;
    Ok(vec![compared.cast(Element::Bool)?.into()])
}
