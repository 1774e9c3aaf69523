//! Tensors whose elements are known before the network runs.

use super::Refusal;
use super::proto::Tensor;
use super::wire::{Field, Malformed};
use crate::tensor::MAX_ELEMENTS;
use half::{bf16, f16};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of a file, mapped or in memory.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Gives the files beside a model that hold elements of its tensors.
pub trait External {
    /// The content of the file at `location`, which is relative to the model's folder. The implementation sees to it that
    /// nothing outside of that folder is read.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn open(&mut self, location: &str) -> Result<Bytes, String>;

    /// Whether their numbers are those of one training among others: what the network is then does not depend on them.
    fn varies(&self) -> bool {
        false
    }
}

/// For models that stand alone.
pub struct NoFiles;

impl External for NoFiles {
    fn open(&mut self, _location: &str) -> Result<Bytes, String> {
        Err("this model is in no folder, so it has no files beside it".into())
    }
}

/// Element types of constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    F16,
    Bf16,
    F64,
    I8,
    U8,
    I16,
    U16,
    /// Two in a byte, the first one below.
    I4,
    U4,
    /// Eight bits with a point: so many of them for the exponent, and whether there is one zero and one NaN alone.
    F8 {
        exponent: u8,
        unsigned_zero: bool,
    },
    I32,
    I64,
    Bool,
}

impl Element {
    /// That of a number of `TensorProto.DataType`.
    ///
    /// # Errors
    /// For all that no constant of a network has here: strings, complex numbers and the like.
    pub fn of(data_type: i64) -> Result<Element, Refusal> {
        Ok(match data_type {
            1 => Element::F32,
            2 => Element::U8,
            3 => Element::I8,
            4 => Element::U16,
            5 => Element::I16,
            6 => Element::I32,
            7 => Element::I64,
            9 => Element::Bool,
            10 => Element::F16,
            11 => Element::F64,
            16 => Element::Bf16,
            17 => Element::F8 { exponent: 4, unsigned_zero: false },
            18 => Element::F8 { exponent: 4, unsigned_zero: true },
            19 => Element::F8 { exponent: 5, unsigned_zero: false },
            20 => Element::F8 { exponent: 5, unsigned_zero: true },
            21 => Element::U4,
            22 => Element::I4,
            other => return Err(Refusal::new(format!("element type {other} ({}) is not read", type_name(other)))),
        })
    }

    /// Bytes that so many take.
    fn bytes_of(self, count: usize) -> usize {
        match self {
            Element::F64 | Element::I64 => 8 * count,
            Element::F32 | Element::I32 => 4 * count,
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => 2 * count,
            Element::I8 | Element::U8 | Element::F8 { .. } | Element::Bool => count,
            Element::I4 | Element::U4 => count.div_ceil(2),
        }
    }

    /// Whether a number has eight bits with a point.
    pub fn is_small_float(self) -> bool {
        matches!(self, Element::F8 { .. })
    }

    /// The least and the largest number of a type of at most 16 bits that QuantizeLinear makes.
    pub fn range(self) -> Option<(i32, i32)> {
        Some(match self {
            Element::I8 => (-128, 127),
            Element::U8 => (0, 255),
            Element::I16 => (-32_768, 32_767),
            Element::U16 => (0, 65_535),
            Element::I4 => (-8, 7),
            Element::U4 => (0, 15),
            Element::F8 { exponent: 4, .. } => (-448, 448),
            Element::F8 { .. } => (-57_344, 57_344),
            _ => return None,
        })
    }

    pub fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F16 | Element::Bf16 | Element::F64)
    }

    /// The value that a number has in this type.
    pub fn round(self, value: f64) -> f64 {
        match self {
            Element::F64 | Element::I64 | Element::F8 { .. } => value,
            Element::F32 => f64::from(value as f32),
            Element::F16 => f16::from_f64(value).into(),
            Element::Bf16 => bf16::from_f64(value).into(),
            Element::I8 => f64::from(value as i8),
            Element::U8 => f64::from(value as u8),
            Element::I16 => f64::from(value as i16),
            Element::U16 => f64::from(value as u16),
            Element::I4 => value.trunc().clamp(-8.0, 7.0),
            Element::U4 => value.trunc().clamp(0.0, 15.0),
            Element::I32 => f64::from(value as i32),
            Element::Bool => f64::from(u8::from(value != 0.0)),
        }
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
            Element::F64 => "f64",
            Element::I8 => "int8",
            Element::U8 => "uint8",
            Element::I16 => "int16",
            Element::U16 => "uint16",
            Element::I4 => "int4",
            Element::U4 => "uint4",
            Element::F8 { .. } => "float8",
            Element::I32 => "int32",
            Element::I64 => "int64",
            Element::Bool => "bool",
        })
    }
}

fn type_name(data_type: i64) -> &'static str {
    const NAMES: [&str; 24] = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
    ];
    usize::try_from(data_type).ok().and_then(|index| NAMES.get(index).copied()).unwrap_or("unknown")
}

/// A number that may depend on the size of the batch: `constant + batch * N`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    pub constant: f64,
    pub batch: f64,
}

impl Number {
    /// The size of the batch, where that is open.
    pub const N: Number = Number { constant: 0.0, batch: 1.0 };

    /// Itself, if it does not depend on the batch.
    pub fn known(self) -> Option<f64> {
        (self.batch == 0.0).then_some(self.constant)
    }
}

impl From<f64> for Number {
    fn from(constant: f64) -> Number {
        Number { constant, batch: 0.0 }
    }
}

/// The most elements that are computed with one by one.
const MAX_FOLDED: usize = 1 << 22;

/// A tensor of known elements.
#[derive(Clone)]
pub struct Const {
    pub dims: Vec<usize>,
    pub element: Element,
    elements: Elements,
    /// Whether other numbers may come in the place of these.
    varies: bool,
    /// What DequantizeLinear made of whole numbers.
    steps: Option<Arc<Steps>>,
}

/// Of numbers that are multiples of steps: the steps, and which multiples they are where 32 bits hold them.
#[derive(Debug)]
pub struct Steps {
    /// One for all, or one for each index of some axis.
    pub scales: Vec<f32>,
    /// In the order of the elements; none where these are few bits, which the elements tell.
    pub integers: Option<Vec<i32>>,
}

#[derive(Clone)]
enum Elements {
    /// As little-endian bytes of a file.
    File(Bytes, Range<usize>),
    /// Computed, or read from lists.
    Numbers(Arc<[Number]>),
    /// Weights that were computed.
    Floats(Arc<[f32]>),
    /// All are equal.
    Fill(f64),
}

impl Const {
    /// # Errors
    /// If the elements are not as many as `dims` say.
    pub fn numbers_of(dims: Vec<usize>, element: Element, numbers: Vec<Number>) -> Result<Const, Refusal> {
        if product(&dims)? != numbers.len() {
            return Err(Refusal::new(format!("{} elements for a shape of {dims:?}", numbers.len())));
        }
        Ok(Const { dims, element, elements: Elements::Numbers(numbers.into()), varies: false, steps: None })
    }

    /// A list of integers.
    pub fn ints(values: impl IntoIterator<Item = i64>) -> Const {
        let numbers: Vec<Number> = values.into_iter().map(|value| Number::from(value as f64)).collect();
        Const {
            dims: vec![numbers.len()],
            element: Element::I64,
            elements: Elements::Numbers(numbers.into()),
            varies: false,
            steps: None,
        }
    }

    /// One number without dimensions.
    pub fn scalar(element: Element, value: f64) -> Const {
        Const { dims: Vec::new(), element, elements: Elements::Fill(value), varies: false, steps: None }
    }

    /// Equal elements.
    ///
    /// # Errors
    /// If there are too many.
    pub fn fill(dims: Vec<usize>, element: Element, value: f64) -> Result<Const, Refusal> {
        product(&dims)?;
        Ok(Const { dims, element, elements: Elements::Fill(value), varies: false, steps: None })
    }

    /// Weights that were computed.
    ///
    /// # Errors
    /// If the elements are not as many as `dims` say.
    pub fn floats_of(dims: Vec<usize>, values: Vec<f32>) -> Result<Const, Refusal> {
        if product(&dims)? != values.len() {
            return Err(Refusal::new(format!("{} elements for a shape of {dims:?}", values.len())));
        }
        Ok(Const { dims, element: Element::F32, elements: Elements::Floats(values.into()), varies: false, steps: None })
    }

    /// The same numbers, known to be multiples of steps.
    pub fn with_steps(self, steps: Steps) -> Const {
        Const { steps: Some(steps.into()), ..self }
    }

    /// The steps that they are multiples of, where DequantizeLinear made them.
    pub fn steps(&self) -> Option<&Arc<Steps>> {
        self.steps.as_ref()
    }

    /// As numbers of another type, which has all of them.
    pub fn of_element(self, element: Element) -> Const {
        Const { element, ..self }
    }

    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// The same elements under another shape of as many.
    ///
    /// # Errors
    /// If it has another number of elements.
    pub fn reshaped(&self, dims: Vec<usize>) -> Result<Const, Refusal> {
        if product(&dims)? != self.count() {
            return Err(Refusal::new(format!("{:?} does not become {dims:?}", self.dims)));
        }
        Ok(Const { dims, ..self.clone() })
    }

    /// All elements.
    ///
    /// # Errors
    /// If there are too many to be computed with.
    pub fn numbers(&self) -> Result<Cow<'_, [Number]>, Refusal> {
        if self.count() > MAX_FOLDED {
            let message = format!("a constant of {:?} is more than is computed with", self.dims);
            return Err(Refusal::new(message));
        }
        let owned = match &self.elements {
            Elements::Numbers(numbers) => return Ok(Cow::Borrowed(numbers)),
            Elements::Fill(value) => vec![Number::from(*value); self.count()],
            Elements::Floats(values) => values.iter().map(|&value| Number::from(f64::from(value))).collect(),
            Elements::File(bytes, range) => {
                let mut numbers = decode(&(**bytes).as_ref()[range.clone()], self.element, Number::from);
                // The last byte of an odd number of halves has one more.
                numbers.truncate(self.count());
                numbers
            }
        };
        Ok(Cow::Owned(owned))
    }

    /// All elements, none of which depends on the batch.
    ///
    /// # Errors
    /// If one does, or there are too many.
    pub fn values(&self) -> Result<Vec<f64>, Refusal> {
        let known = |number: &Number| number.known().ok_or_else(|| Refusal::new("a number depends on the batch"));
        self.numbers()?.iter().map(known).collect()
    }

    /// As integers.
    ///
    /// # Errors
    /// As [`values`](Const::values).
    pub fn integers(&self) -> Result<Vec<i64>, Refusal> {
        Ok(self.values()?.into_iter().map(|value| value as i64).collect())
    }

    /// The only element.
    ///
    /// # Errors
    /// If there are others, or it depends on the batch.
    pub fn single(&self) -> Result<f64, Refusal> {
        match self.count() {
            1 => Ok(self.values()?[0]),
            count => Err(Refusal::new(format!("{count} numbers where one is expected"))),
        }
    }

    /// The value of all elements, where it is one and not by chance.
    pub fn uniform(&self) -> Option<f64> {
        if self.varies && self.count() != 1 {
            return None;
        }
        if let Elements::Fill(value) = self.elements {
            return Some(value);
        }
        let values = self.values().ok()?;
        values.iter().all(|value| value.to_bits() == values[0].to_bits()).then(|| values[0])
    }

    /// Whether no element depends on the batch.
    pub fn is_known(&self) -> bool {
        match &self.elements {
            Elements::Numbers(numbers) => numbers.iter().all(|number| number.batch == 0.0),
            _ => true,
        }
    }

    /// Whether it is one number, and so often that it is not computed with one by one.
    pub fn is_long_fill(&self) -> bool {
        matches!(self.elements, Elements::Fill(_)) && self.count() > MAX_FOLDED
    }

    /// Elements that memory was taken for.
    pub fn owned(&self) -> usize {
        match &self.elements {
            Elements::Numbers(numbers) => numbers.len(),
            Elements::Floats(values) => values.len(),
            Elements::File(..) | Elements::Fill(_) => 0,
        }
    }

    /// All elements as weights, of which there may be many.
    ///
    /// # Panics
    /// If one depends on the batch.
    pub fn floats(&self) -> Cow<'_, [f32]> {
        match &self.elements {
            Elements::Floats(values) => Cow::Borrowed(values),
            Elements::Fill(value) => Cow::Owned(vec![*value as f32; self.count()]),
            Elements::Numbers(numbers) => {
                Cow::Owned(numbers.iter().map(|number| number.known().expect("asked before") as f32).collect())
            }
            Elements::File(bytes, range) => {
                let bytes = &(**bytes).as_ref()[range.clone()];
                match (self.element, bytemuck::try_cast_slice::<u8, f32>(bytes)) {
                    (Element::F32, Ok(values)) if cfg!(target_endian = "little") => Cow::Borrowed(values),
                    _ => {
                        let mut values = decode(bytes, self.element, |value| value as f32);
                        values.truncate(self.count());
                        Cow::Owned(values)
                    }
                }
            }
        }
    }

    /// The first element that is finite, and infinite in f32.
    pub fn beyond_f32(&self) -> Option<(usize, f64)> {
        let is_beyond = |value: f64| value.is_finite() && (value as f32).is_infinite();
        let first = |values: &mut dyn Iterator<Item = f64>| values.enumerate().find(|(_, value)| is_beyond(*value));
        match (&self.elements, self.element) {
            (Elements::File(bytes, range), Element::F64) => {
                let bytes = (**bytes).as_ref()[range.clone()].as_chunks().0;
                first(&mut bytes.iter().map(|&bytes| f64::from_le_bytes(bytes)))
            }
            (Elements::Numbers(numbers), _) => first(&mut numbers.iter().map(|number| number.constant)),
            (Elements::Fill(value), _) => first(&mut std::iter::once(*value)),
            _ => None,
        }
    }

    /// The same elements in another type.
    ///
    /// # Errors
    /// If there are too many of them to be converted one by one, which conversions of a file's numbers to f32 need not.
    pub fn cast(&self, element: Element) -> Result<Const, Refusal> {
        if matches!((element, self.element), (Element::F32, Element::I8 | Element::U8 | Element::I32))
            && matches!(self.elements, Elements::File(..))
        {
            return Const::floats_of(self.dims.clone(), self.floats().into_owned());
        }
        if element == self.element || element == Element::F32 && self.element.is_float() && self.count() > 1024 {
            return Ok(match &self.elements {
                Elements::File(..) if element != self.element => {
                    Const::floats_of(self.dims.clone(), self.floats().into_owned())?
                }
                _ => self.clone(),
            });
        }
        let convert = |number: &Number| match number.known() {
            Some(value) if !element.is_float() && element != Element::Bool => {
                Number::from(element.round(value.trunc()))
            }
            Some(value) => Number::from(element.round(value)),
            None => *number,
        };
        Const::numbers_of(self.dims.clone(), element, self.numbers()?.iter().map(convert).collect())
    }

    /// That of a file.
    ///
    /// # Errors
    /// If its elements are not those that its shape promises, are of a type that is not read, or are in a file that
    /// cannot be read.
    pub fn of_tensor(tensor: &Tensor, file: &Bytes, external: &mut dyn External) -> Result<Const, Refusal> {
        let element = Element::of(tensor.data_type)?;
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let dims = dims.ok_or_else(|| Refusal::new(format!("a shape of {:?}", tensor.dims)))?;
        let count = product(&dims)?;
        let wanted = element.bytes_of(count);
        if tensor.segmented {
            return Err(Refusal::new("it is one segment of several"));
        }
        let elements = if tensor.location == 1 {
            let (bytes, range) = of_external(tensor, external, wanted)?;
            return Ok(Const {
                dims,
                element,
                elements: Elements::File(bytes, range),
                varies: external.varies(),
                steps: None,
            });
        } else if let Some(raw) = tensor.raw {
            check_length(raw.bytes().len(), wanted, &dims)?;
            Elements::File(file.clone(), raw.range())
        } else {
            of_lists(tensor, element, count)?
        };
        Ok(Const { dims, element, elements, varies: false, steps: None })
    }
}

fn check_length(found: usize, wanted: usize, dims: &[usize]) -> Result<(), Refusal> {
    match found == wanted {
        true => Ok(()),
        false => Err(Refusal::new(format!("{found} bytes for a shape of {dims:?}, which takes {wanted}"))),
    }
}

/// The product of sizes.
///
/// # Errors
/// If it is above [`MAX_ELEMENTS`].
pub fn product(dims: &[usize]) -> Result<usize, Refusal> {
    let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let product = product.filter(|&product| product <= MAX_ELEMENTS);
    product.ok_or_else(|| Refusal::new(format!("a shape of {dims:?} is too large")))
}

/// The part of a file beside the model.
fn of_external(tensor: &Tensor, external: &mut dyn External, wanted: usize) -> Result<(Bytes, Range<usize>), Refusal> {
    let (mut location, mut offset, mut length) = ("", 0, None);
    for entry in &tensor.external {
        let number = || {
            let number: Option<usize> = entry.value.parse().ok();
            number.ok_or_else(|| Refusal::new(format!("external data with {} `{}`", entry.key, entry.value)))
        };
        match entry.key {
            "location" => location = entry.value,
            "offset" => offset = number()?,
            "length" => length = Some(number()?),
            // Nobody checks it, and nothing is lost without.
            "checksum" => {}
            key => return Err(Refusal::new(format!("external data with an unknown `{key}`"))),
        }
    }
    let failed = |reason: String| Refusal::new(format!("external data in `{location}`: {reason}"));
    let bytes = external.open(location).map_err(failed)?;
    let available = (*bytes).as_ref().len();
    if length.is_some_and(|length| length != wanted) {
        return Err(failed(format!("{} bytes are given for {:?}", length.unwrap_or(0), tensor.dims)));
    }
    match offset.checked_add(wanted).filter(|&end| end <= available) {
        Some(end) => Ok((bytes, offset..end)),
        None => Err(failed(format!("{wanted} bytes from {offset} on, of a file of {available}"))),
    }
}

/// Elements given as lists of numbers: f16, bf16, bool and small integers as 32-bit ones.
fn of_lists(tensor: &Tensor, element: Element, count: usize) -> Result<Elements, Refusal> {
    let malformed = |e: Malformed| Refusal::new(e.to_string());
    let (mut floats, mut ints, mut doubles) = (Vec::new(), Vec::new(), Vec::new());
    let of_bytes = matches!(element, Element::I4 | Element::U4 | Element::F8 { .. });
    for message in &tensor.messages {
        let mut message = *message;
        while let Some(field) = message.field().map_err(malformed)? {
            read_list(&field, element, count, (&mut floats, &mut ints, &mut doubles)).map_err(malformed)?;
        }
    }
    if of_bytes && ints.len() == element.bytes_of(count) {
        let bytes: Vec<u8> = ints.iter().map(|&int| int as u8).collect();
        let mut numbers = decode(&bytes, element, Number::from);
        numbers.truncate(count);
        return Ok(Elements::Numbers(numbers.into()));
    }
    let found = floats.len() + ints.len() + doubles.len();
    if found != count {
        return Err(Refusal::new(format!("{found} elements for a shape of {:?}", tensor.dims)));
    }
    if element == Element::F32 {
        return Ok(Elements::Floats(floats.into()));
    }
    let of_int = |&int: &i64| match element {
        Element::F16 => f16::from_bits(int as u16).into(),
        Element::Bf16 => bf16::from_bits(int as u16).into(),
        _ => element.round(int as f64),
    };
    let numbers = ints.iter().map(of_int).chain(doubles).map(Number::from);
    Ok(Elements::Numbers(numbers.collect()))
}

/// Adds the numbers of a field, if it is the one that holds those of this type. A list is never longer than the shape
/// says.
fn read_list(
    field: &Field,
    element: Element,
    limit: usize,
    (floats, ints, doubles): (&mut Vec<f32>, &mut Vec<i64>, &mut Vec<f64>),
) -> Result<(), Malformed> {
    match (field.number, element) {
        (4, Element::F32) => field.floats(floats, limit),
        (
            5,
            Element::F16
            | Element::Bf16
            | Element::I8
            | Element::U8
            | Element::I16
            | Element::U16
            | Element::I32
            | Element::Bool,
        ) => field.ints(ints, limit),
        (5, Element::I4 | Element::U4 | Element::F8 { .. }) => field.ints(ints, limit),
        (7, Element::I64) => field.ints(ints, limit),
        (10, Element::F64) => field.doubles(doubles, limit),
        _ => Ok(()),
    }
}

/// Little-endian elements; a constant's length was checked.
fn decode<T>(bytes: &[u8], element: Element, of: impl Fn(f64) -> T) -> Vec<T> {
    fn each<const N: usize, T>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| of(chunk)).collect()
    }
    match element {
        Element::F32 => each(bytes, |b| of(f32::from_le_bytes(b).into())),
        Element::F64 => each(bytes, |b| of(f64::from_le_bytes(b))),
        Element::F16 => each(bytes, |b| of(f16::from_le_bytes(b).into())),
        Element::Bf16 => each(bytes, |b| of(bf16::from_le_bytes(b).into())),
        Element::I64 => each(bytes, |b| of(i64::from_le_bytes(b) as f64)),
        Element::I32 => each(bytes, |b| of(i32::from_le_bytes(b).into())),
        Element::I8 => each(bytes, |b| of(i8::from_le_bytes(b).into())),
        Element::U8 => each(bytes, |[b]| of(b.into())),
        Element::I16 => each(bytes, |b| of(i16::from_le_bytes(b).into())),
        Element::U16 => each(bytes, |b| of(u16::from_le_bytes(b).into())),
        Element::U4 => bytes.iter().flat_map(|b| [b & 15, b >> 4]).map(|half| of(half.into())).collect(),
        // The sign is the highest of four bits.
        Element::I4 => bytes.iter().flat_map(|b| [b << 4, *b]).map(|high| of((high as i8 >> 4).into())).collect(),
        Element::F8 { exponent, unsigned_zero } => each(bytes, |[b]| of(small_float(b, exponent, unsigned_zero))),
        Element::Bool => each(bytes, |[b]| of(f64::from(u8::from(b != 0)))),
    }
}

/// The value of eight bits with a point (<https://onnx.ai/onnx/technical/float8.html>).
fn small_float(bits: u8, exponent_bits: u8, unsigned_zero: bool) -> f64 {
    let fraction_bits = 7 - exponent_bits;
    let (all, exponent) = (bits & 0x7f, i32::from((bits & 0x7f) >> fraction_bits));
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
    let sign = if bits & 0x80 != 0 { -1.0 } else { 1.0 };
    let special = match (exponent_bits, unsigned_zero) {
        (_, true) => bits == 0x80,
        (4, false) => all == 0x7f,
        _ => exponent == 31,
    };
    if special {
        return if exponent_bits == 5 && all == 0x7c && !unsigned_zero { sign * f64::INFINITY } else { f64::NAN };
    }
    let bias = (1 << (exponent_bits - 1)) - i32::from(!unsigned_zero);
    match exponent {
        0 => sign * fraction * 2f64.powi(1 - bias),
        _ => sign * (1.0 + fraction) * 2f64.powi(exponent - bias),
    }
}
