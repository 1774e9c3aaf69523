//! QuantizeLinear, DequantizeLinear (10, 13, 19, 21, 23, 24): constants are computed, and of values it is noted what their
//! whole numbers stand for. QLinearConv, QLinearMatMul, and ONNX Runtime's QGemm, QLinearAdd, QLinearMul, QLinearSigmoid,
//! QLinearLeakyRelu, QLinearAveragePool, QLinearGlobalAveragePool and QLinearConcat: the operator in f32 between the two.
//! What else computes with whole numbers is refused.

use super::{Rules, rule};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::{Const, Element, Steps};
use crate::front::onnx::walk::Importer;
use crate::front::onnx::whole::{Numbers, Whole, whole_numbers};

pub const RULES: Rules = &[
    ("DequantizeLinear", dequantize),
    ("QuantizeLinear", quantize),
    ("DynamicQuantizeLinear", |_, _| Err(whole_numbers())),
    ("QLinearConv", |importer, call| between(importer, call, "Conv", &[0, 3], Some(8), 6)),
    ("QLinearMatMul", |importer, call| between(importer, call, "MatMul", &[0, 3], None, 6)),
    ("ConvInteger", |_, _| Err(whole_numbers())),
    ("MatMulInteger", |_, _| Err(whole_numbers())),
];

/// The domain of ONNX Runtime's own operators, and those of them that are read.
pub const RUNTIME: &str = "com.microsoft";

pub const RUNTIME_RULES: Rules = &[
    ("QuantizeLinear", quantize),
    ("DequantizeLinear", dequantize),
    ("QGemm", |importer, call| between(importer, call, "Gemm", &[0, 3], Some(6), 7)),
    ("QLinearAdd", |importer, call| between(importer, call, "Add", &[0, 3], None, 6)),
    ("QLinearMul", |importer, call| between(importer, call, "Mul", &[0, 3], None, 6)),
    ("QLinearSigmoid", |importer, call| between(importer, call, "Sigmoid", &[0], None, 3)),
    ("QLinearLeakyRelu", |importer, call| between(importer, call, "LeakyRelu", &[0], None, 3)),
    ("QLinearAveragePool", |importer, call| pooled(importer, call, "AveragePool")),
    ("QLinearGlobalAveragePool", |importer, call| pooled(importer, call, "GlobalAveragePool")),
    ("QLinearConcat", |importer, call| {
        let operands: Vec<usize> = (2..call.count()).step_by(3).collect();
        between(importer, call, "Concat", &operands, None, 0)
    }),
];

fn pooled(importer: &mut Importer, call: &Call, operator: &str) -> Outputs {
    match call.flag("channels_last", false)? {
        false => between(importer, call, operator, &[0], None, 3),
        true => Err(Refusal::new("attribute `channels_last` is not 0")),
    }
}

/// An operator of f32 between numbers: `operands` and `output` are where their scales and zero points stand behind them.
fn between(
    importer: &mut Importer,
    call: &Call,
    operator: &str,
    operands: &[usize],
    bias: Option<usize>,
    output: usize,
) -> Outputs {
    let mut inputs = Vec::new();
    for &at in operands {
        inputs.push(Some(operand(importer, call, at, operator)?));
    }
    if let Some(bias) = bias.map(|at| call.optional_constant(at)).transpose()?.flatten() {
        let scale = fold_scales(call.constant(operands[0] + 1)?, call.constant(operands[1] + 1)?)?;
        inputs.push(Some(Linear::of_first_axis(&scale, None, bias)?.real(bias, Element::F32)?.into()));
    }
    let mut inner = call.with(inputs);
    if !call.node.is_onnx() {
        // Of ONNX's operators of this name, those that were current with ONNX Runtime's.
        inner.opset = 13;
    }
    let outputs = rule(operator).expect("it is an operator of ONNX")(importer, &inner)?;
    call.knows(&inner);
    // Where the scale of what it gives is left out, that is f32.
    let Some(scale) = call.optional_constant(output)? else { return Ok(outputs) };
    let zero = call.optional_constant(output + 1)?;
    let numbers = Numbers::of(zero.map_or(Element::U8, |zero| zero.element), scale, zero)?;
    let whole = |value: Value| match value {
        Value::Flow(flow) => Value::Whole(Whole { flow, numbers: numbers.clone() }),
        other => other,
    };
    Ok(outputs.into_iter().map(whole).collect())
}

/// An operand in f32: a value, or weights.
fn operand(importer: &mut Importer, call: &Call, at: usize, operator: &str) -> Result<Value, Refusal> {
    let (scale, zero) = (call.constant(at + 1)?, call.optional_constant(at + 2)?);
    let name = call.node.inputs[at];
    match call.value(at)? {
        Value::Whole(whole) => {
            let flow = real(importer, whole, scale, zero, name)?;
            importer.seen.set_dequantised(name);
            Ok(flow)
        }
        Value::Const(weights) => {
            let is_last = operator == "MatMul" || operator == "Gemm" && !call.flag("transB", false)?;
            let axis = if is_last { weights.dims.len().saturating_sub(1) } else { 0 };
            Ok(Linear::along(scale, zero, weights, axis)?.real(weights, Element::F32)?.into())
        }
        _ => Err(Refusal::new(format!("`{name}` is not whole numbers"))),
    }
}

/// The value in f32 of whole numbers, which must be told of as they were made.
fn real(
    importer: &mut Importer,
    whole: &Whole,
    scale: &Const,
    zero: Option<&Const>,
    name: &str,
) -> Result<Value, Refusal> {
    whole.numbers.check(&Numbers::of(whole.numbers.element, scale, zero)?)?;
    Ok(importer.real(whole, name).into())
}

/// The product of a scale and one or several others.
fn fold_scales(one: &Const, others: &Const) -> Result<Const, Refusal> {
    let one = one.single()? as f32;
    Const::floats_of(others.dims.clone(), others.floats().iter().map(|other| one * other).collect())
}

/// (x - zero) * scale
fn dequantize(importer: &mut Importer, call: &Call) -> Outputs {
    let output = call.int("output_dtype", 0)?;
    if let Value::Whole(whole) = call.value(0)? {
        call.int("axis", 1)?;
        call.int("block_size", 0)?;
        let flow = real(importer, whole, call.constant(1)?, call.optional_constant(2)?, call.node.inputs[0])?;
        call.node.outputs.iter().for_each(|name| importer.seen.set_dequantised(name));
        return Ok(vec![flow]);
    }
    let Value::Const(x) = call.value(0)? else {
        return Err(Refusal::new("its operand is f32; it reads what QuantizeLinear makes, or constants"));
    };
    let linear = Linear::of(call, x)?;
    let element = match output {
        0 => linear.scale.element,
        element => Element::of(element)?,
    };
    Ok(vec![linear.real(x, element)?.into()])
}

/// round(x / scale) + zero, which stays among the numbers of its type
fn quantize(_: &mut Importer, call: &Call) -> Outputs {
    call.int("saturate", 1)?;
    call.int("precision", 0)?;
    let zero = call.optional_constant(2)?;
    let element = match (call.int("output_dtype", 0)?, zero) {
        (0, Some(zero)) => zero.element,
        (0, None) => Element::U8,
        (element, _) => Element::of(element)?,
    };
    let x = match call.value(0)? {
        Value::Const(x) => x,
        Value::Flow(flow) => {
            call.int("axis", 1)?;
            call.int("block_size", 0)?;
            let numbers = Numbers::of(element, call.constant(1)?, zero)?;
            return Ok(vec![Value::Whole(Whole { flow: flow.clone(), numbers })]);
        }
        _ => return Err(Refusal::new("its operand is whole numbers already")),
    };
    let linear = Linear::of(call, x)?;
    let limits = element.range().filter(|_| !element.is_small_float());
    let (low, high) = limits.ok_or_else(|| Refusal::new(format!("to numbers of {element}")))?;
    let (low, high) = (low as f32, high as f32);
    let numbers = linear.each(x, element, |x, scale, zero| ((x / scale).round_ties_even() + zero).clamp(low, high))?;
    Ok(vec![numbers.into()])
}

/// A scale, and what number stands for 0: one each, one for each index of an axis, or one for each few indices of it.
struct Linear<'c> {
    scale: &'c Const,
    zero: Option<&'c Const>,
    /// Indices along the axis, elements of one index of it in one of the axes before, and indices that share a scale.
    size: usize,
    inner: usize,
    block: usize,
    /// Whether the axes behind have scales of their own.
    is_blocked: bool,
}

impl<'c> Linear<'c> {
    fn of(call: &'c Call, x: &Const) -> Result<Linear<'c>, Refusal> {
        let (scale, zero) = (call.constant(1)?, call.optional_constant(2)?);
        let (axis, block) = (call.int("axis", 1)?, call.int("block_size", 0)?);
        let axis = if scale.count() == 1 { 0 } else { call.axis(axis, x.dims.len())? };
        Linear::new(scale, zero, x, axis, block)
    }

    /// With one scale for all, or one for each index of an axis.
    fn along(scale: &'c Const, zero: Option<&'c Const>, x: &Const, axis: usize) -> Result<Linear<'c>, Refusal> {
        Linear::new(scale, zero, x, axis, 0)
    }

    fn of_first_axis(scale: &'c Const, zero: Option<&'c Const>, x: &Const) -> Result<Linear<'c>, Refusal> {
        Linear::along(scale, zero, x, 0)
    }

    fn new(
        scale: &'c Const,
        zero: Option<&'c Const>,
        x: &Const,
        axis: usize,
        block: i64,
    ) -> Result<Linear<'c>, Refusal> {
        let wrong = || Refusal::new(format!("scales of {:?} for a constant of {:?}", scale.dims, x.dims));
        if zero.is_some_and(|zero| zero.dims != scale.dims && (zero.count() != 1 || scale.count() != 1))
            || !scale.element.is_float()
            || !x.is_known()
        {
            return Err(wrong());
        }
        let linear = |size, inner, block| Linear { scale, zero, size, inner, block, is_blocked: false };
        if scale.count() == 1 {
            return Ok(linear(1, 1, 1));
        }
        if axis >= x.dims.len() {
            return Err(wrong());
        }
        let (size, inner) = (x.dims[axis], x.dims[axis + 1..].iter().product());
        if block == 0 {
            return if scale.dims == [size] { Ok(linear(size, inner, 1)) } else { Err(wrong()) };
        }
        let block = usize::try_from(block).map_err(|_| wrong())?;
        let mut expected = x.dims.clone();
        expected[axis] = size.div_ceil(block);
        match scale.dims == expected {
            true => Ok(Linear { is_blocked: true, ..linear(size, inner, block) }),
            false => Err(wrong()),
        }
    }

    /// The index of the scale of an element.
    fn place(&self, element: usize) -> usize {
        let index = element / self.inner % self.size / self.block;
        if !self.is_blocked {
            return index;
        }
        let outer = element / self.inner / self.size;
        (outer * self.size.div_ceil(self.block) + index) * self.inner + element % self.inner
    }

    /// (x - zero) * scale, of which it is known that they are multiples of the scales.
    fn real(&self, x: &Const, element: Element) -> Result<Const, Refusal> {
        if x.element.range().is_none() && x.element != Element::I32 {
            return Err(Refusal::new(format!("of a constant of {}", x.element)));
        }
        let real = self.each(x, element, |x, scale, zero| (x - zero) * scale)?;
        if self.is_blocked || x.element.is_small_float() {
            return Ok(real);
        }
        let integers = (x.element == Element::I32).then(|| x.integers()).transpose()?;
        let integers = integers.map(|integers| integers.into_iter().map(|value| value as i32).collect());
        Ok(real.with_steps(Steps { scales: self.scale.floats().into_owned(), integers }))
    }

    /// `f` of each element, its scale and its zero.
    fn each(&self, x: &Const, element: Element, f: impl Fn(f32, f32, f32) -> f32) -> Result<Const, Refusal> {
        if x.is_long_fill() {
            return Err(Refusal::new(format!("a constant of {:?} is more than is computed with", x.dims)));
        }
        let scales = self.scale.floats();
        let zeros = self.zero.filter(|zero| zero.is_known()).map(Const::floats);
        let of = |(index, &value): (usize, &f32)| {
            let place = self.place(index);
            let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[place]);
            element.round(f(value, scales[place], zero).into()) as f32
        };
        let values = x.floats().iter().enumerate().map(of).collect();
        Ok(Const::floats_of(x.dims.clone(), values)?.of_element(element))
    }
}
