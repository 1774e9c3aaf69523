//! QuantizeLinear, DequantizeLinear (10, 13, 19, 21, 23, 24) of constants, which are computed; and all that the network would
//! compute with whole numbers, which is refused.

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::{Const, Element};

pub const RULES: Rules = &[
    ("DequantizeLinear", |_, call| dequantize(call)),
    ("QuantizeLinear", |_, call| quantize(call)),
    ("DynamicQuantizeLinear", |_, _| Err(whole_numbers())),
    ("QLinearConv", |_, _| Err(whole_numbers())),
    ("QLinearMatMul", |_, _| Err(whole_numbers())),
    ("ConvInteger", |_, _| Err(whole_numbers())),
    ("MatMulInteger", |_, _| Err(whole_numbers())),
];

fn whole_numbers() -> Refusal {
    let way_out =
        "import the file as it was before that, and let `svertka quantize` make its weights ones of eight bits";
    Refusal::new(format!("the network would compute with whole numbers, and layers here with f32; {way_out}"))
}

/// (x - zero) * scale
fn dequantize(call: &Call) -> Outputs {
    let Value::Const(x) = call.value(0)? else { return Err(whole_numbers()) };
    if !matches!(x.element, Element::I8 | Element::U8 | Element::I32) {
        return Err(Refusal::new(format!("of a constant of {}", x.element)));
    }
    let linear = Linear::of(call, x)?;
    let element = match call.int("output_dtype", 0)? {
        0 => linear.scale.element,
        element => Element::of(element)?,
    };
    linear.each(x, element, |x, scale, zero| (x - zero) * scale)
}

/// round(x / scale) + zero, which stays among the numbers of its type
fn quantize(call: &Call) -> Outputs {
    let Value::Const(x) = call.value(0)? else { return Err(whole_numbers()) };
    call.int("saturate", 1)?;
    call.int("precision", 0)?;
    let linear = Linear::of(call, x)?;
    let element = match (call.int("output_dtype", 0)?, linear.zero) {
        (0, Some(zero)) => zero.element,
        (0, None) => Element::U8,
        (element, _) => Element::of(element)?,
    };
    let (low, high) = match element {
        Element::U8 => (0.0, 255.0),
        Element::I8 => (-128.0, 127.0),
        other => return Err(Refusal::new(format!("to numbers of {other}"))),
    };
    linear.each(x, element, |x, scale, zero| ((x / scale).round_ties_even() + zero).clamp(low, high))
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
        let wrong = || Refusal::new(format!("scales of {:?} for a constant of {:?}", scale.dims, x.dims));
        if zero.is_some_and(|zero| zero.dims != scale.dims) || !scale.element.is_float() || !x.is_known() {
            return Err(wrong());
        }
        let linear = |size, inner, block| Linear { scale, zero, size, inner, block, is_blocked: false };
        if scale.count() == 1 {
            return Ok(linear(1, 1, 1));
        }
        let axis = call.axis(axis, x.dims.len())?;
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

    /// `f` of each element, its scale and its zero.
    fn each(&self, x: &Const, element: Element, f: impl Fn(f32, f32, f32) -> f32) -> Outputs {
        let scales = self.scale.floats();
        let zeros = self.zero.filter(|zero| zero.is_known()).map(Const::floats);
        let of = |(index, &value): (usize, &f32)| {
            let place = self.place(index);
            let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[place]);
            element.round(f(value, scales[place], zero).into()) as f32
        };
        let values = x.floats().iter().enumerate().map(of).collect();
        Ok(vec![Const::floats_of(x.dims.clone(), values)?.of_element(element).into()])
    }
}
