//! Types of values (shape and element type) and the plain host tensor.

use std::fmt;

/// Element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// Whole numbers of eight bits that stand for real ones.
    U8(Quantisation),
    /// What convolutions and dense layers multiply where they are asked to: see [`Products`].
    Bf16,
}

impl DType {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::U8(_) => 1,
            DType::Bf16 => 2,
        }
    }

    /// Whether elements are whole numbers.
    pub fn is_whole(self) -> bool {
        matches!(self, DType::U8(_))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DType::F32 => f.write_str("f32"),
            DType::U8(quantisation) => write!(f, "u8({quantisation})"),
            DType::Bf16 => Half::Bf16.fmt(f),
        }
    }
}

/// Floating-point numbers of 16 bits, in which weights may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE 754 half precision: 11 bits of precision, up to 65504.
    F16,
    /// The upper half of an f32: 8 bits of precision.
    Bf16,
}

impl Half {
    /// The number with these bits.
    pub fn widen(self, bits: u16) -> f32 {
        match self {
            Half::F16 => half::f16::from_bits(bits).to_f32(),
            Half::Bf16 => half::bf16::from_bits(bits).to_f32(),
        }
    }

    /// The bits of the nearest number, the even one of two; infinity beyond the largest.
    pub fn narrow(self, value: f32) -> u16 {
        match self {
            Half::F16 => half::f16::from_f32(value).to_bits(),
            Half::Bf16 => half::bf16::from_f32(value).to_bits(),
        }
    }

    /// The nearest number that has 16 bits, as [`narrow`](Half::narrow) says.
    pub fn round(self, value: f32) -> f32 {
        self.widen(self.narrow(value))
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Half::F16 => "f16",
            Half::Bf16 => "bf16",
        })
    }
}

/// In what numbers convolutions and dense layers multiply. Sums are of f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Products {
    /// In those that they are given.
    #[default]
    F32,
    /// In bf16, two at a time: what they read and their weights are rounded to eight bits of precision, to the nearest,
    /// the even one of two, so that each is off by at most 2^-8 of itself. Their products are exact, denormals count as 0.
    /// Layers of which that is not expected to be the faster form where it is twice as fast as products of f32 stay as they
    /// are: those that Winograd convolution does in fewer products, and those of few input channels.
    Bf16,
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Products::F32 => "f32",
            Products::Bf16 => "bf16",
        })
    }
}

/// What whole numbers stand for: q is the real number (q - zero point) * scale. Made by [`Quantisation::new`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quantisation {
    /// The bits of the scale.
    scale: u32,
    zero_point: u8,
    top: u8,
}

impl Quantisation {
    /// Scales that there can be. Products and quotients of three of them are never denormal or infinite.
    pub const SCALES: std::ops::RangeInclusive<f32> = 1.0 / 4_294_967_296.0..=4_294_967_296.0;

    /// Numbers from 0 to `top`, of which `zero_point` stands for 0. `None` for a scale that is none of
    /// [`SCALES`](Quantisation::SCALES), and for a zero point above `top`.
    pub fn new(scale: f32, zero_point: u8, top: u8) -> Option<Quantisation> {
        let possible = Quantisation::SCALES.contains(&scale) && zero_point <= top && top > 0;
        possible.then_some(Quantisation { scale: scale.to_bits(), zero_point, top })
    }

    /// The distance of two real numbers that lie side by side.
    pub fn scale(self) -> f32 {
        f32::from_bits(self.scale)
    }

    /// What stands for a real number: the nearest, the even one of two, within 0 to [`top`](Quantisation::top). NaN counts
    /// as what is least.
    pub fn quantise(self, x: f32) -> u8 {
        let (zero, top) = (f32::from(self.zero_point), f32::from(self.top));
        // Both limits are whole, so that it is the same to round before or behind them.
        let steps = (x / self.scale()).max(-zero).min(top - zero);
        (i32::from(self.zero_point) + steps.round_ties_even() as i32) as u8
    }

    /// The real number that a whole one stands for.
    pub fn real(self, q: u8) -> f32 {
        f32::from(i16::from(q) - i16::from(self.zero_point)) * self.scale()
    }

    /// What stands for 0.
    pub fn zero_point(self) -> u8 {
        self.zero_point
    }

    /// The largest number.
    pub fn top(self) -> u8 {
        self.top
    }
}

impl fmt::Display for Quantisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}", self.scale(), self.zero_point)?;
        if self.top < u8::MAX { write!(f, ", up to {}", self.top) } else { Ok(()) }
    }
}

impl fmt::Debug for Quantisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantisation({self})")
    }
}

/// The first dimension of every value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Batch {
    /// Any size, decided at each run; holds the name it was given, usually `N`.
    Symbolic(String),
    /// This number of samples at every run.
    Fixed(usize),
}

/// The largest number of elements of one sample of a value. Everything behind the checked graph may multiply
/// element counts by 8 and by a batch of 2^16 without overflow.
pub const MAX_ELEMENTS: usize = 1 << 36;

/// The largest batch that a model may ask for.
pub const MAX_BATCH: usize = u16::MAX as usize;

/// Dimensions of one sample at most: channels and three spatial sizes.
pub const MAX_DIMS: usize = 4;

/// Type of a value: element type, batch, and the dimensions of one sample: channels first, then 0 or more
/// spatial sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Type of the elements.
    pub dtype: DType,
    /// How many samples.
    pub batch: Batch,
    /// Sizes of one sample: channels, then the spatial ones.
    pub dims: Vec<usize>,
}

impl TensorType {
    /// The same element type and batch with other dimensions.
    pub fn with_dims(&self, dims: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype: self.dtype, batch: self.batch.clone(), dims: dims.into() }
    }

    /// The first size of a sample.
    pub fn channels(&self) -> usize {
        self.dims[0]
    }

    /// Sizes behind the channels; empty for `[N, C]`.
    pub fn spatial(&self) -> &[usize] {
        &self.dims[1..]
    }

    /// Elements of one sample, or `None` above [`MAX_ELEMENTS`].
    pub fn checked_elements(&self) -> Option<usize> {
        let product = self.dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d))?;
        (product <= MAX_ELEMENTS).then_some(product)
    }

    /// Whether a value can have this type: at most [`MAX_DIMS`] sizes, none of them 0, and at most [`MAX_ELEMENTS`]
    /// elements.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MAX_DIMS).contains(&self.dims.len()) || self.dims.contains(&0) {
            return Err(format!("a sample has 1 to {MAX_DIMS} sizes of at least 1"));
        }
        self.checked_elements().map(|_| ()).ok_or_else(|| format!("a sample has more than {MAX_ELEMENTS} elements"))
    }

    /// Elements of one sample.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes of one sample.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.bytes()
    }

    /// The same sizes with elements of another type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, ..self.clone() }
    }

    /// The full shape at a given batch.
    pub fn shape(&self, batch: usize) -> Vec<usize> {
        std::iter::once(batch).chain(self.dims.iter().copied()).collect()
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Batch::Symbolic(name) => f.write_str(name),
            Batch::Fixed(n) => write!(f, "{n}"),
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dtype != DType::F32 {
            write!(f, "{}", self.dtype)?;
        }
        write!(f, "[{}", self.batch)?;
        self.dims.iter().try_for_each(|d| write!(f, ", {d}"))?;
        f.write_str("]")
    }
}

/// A dense f32 array in row-major order; dimension 0 is the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// # Panics
    /// If `data` does not hold exactly the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Tensor {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
        Tensor { shape, data }
    }

    /// An array of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Tensor {
        let shape = shape.into();
        let len = shape.iter().product();
        Tensor { shape, data: vec![0.0; len] }
    }

    /// All sizes, the batch first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Samples.
    pub fn batch(&self) -> usize {
        self.shape[0]
    }

    /// Size of dimension 1.
    pub fn channels(&self) -> usize {
        self.shape[1]
    }

    /// Sizes behind batch and channels.
    pub fn spatial(&self) -> &[usize] {
        &self.shape[2..]
    }

    /// The values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, row-major.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values, row-major.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The same data under another shape of as many elements.
    pub fn reshaped(self, shape: impl Into<Vec<usize>>) -> Tensor {
        Tensor::new(shape, self.data)
    }

    /// The values of channel `c` of sample `n`, all spatial positions in row-major order.
    pub fn plane(&self, n: usize, c: usize) -> &[f32] {
        let size: usize = self.spatial().iter().product();
        &self.data[(n * self.channels() + c) * size..][..size]
    }

    /// As [`plane`](Tensor::plane), to be written to.
    pub fn plane_mut(&mut self, n: usize, c: usize) -> &mut [f32] {
        let size: usize = self.spatial().iter().product();
        let start = (n * self.channels() + c) * size;
        &mut self.data[start..start + size]
    }
}

/// A shape and values that do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an array of shape {shape:?} does not have {found} values")]
pub struct LengthError {
    /// The sizes, the batch first.
    pub shape: Vec<usize>,
    /// How many values there are.
    pub found: usize,
}

/// A dense f32 array that another owns, row-major; dimension 0 is the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    shape: &'a [usize],
    data: &'a [f32],
}

impl<'a> TensorView<'a> {
    /// The array of these sizes with these values; nothing is copied.
    ///
    /// # Errors
    /// Where there are not as many values as the sizes say.
    pub fn new(shape: &'a [usize], data: &'a [f32]) -> Result<TensorView<'a>, LengthError> {
        check_length(shape, data.len())?;
        Ok(TensorView { shape, data })
    }

    /// The sizes, the batch first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The values.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// A copy.
    pub fn to_tensor(&self) -> Tensor {
        Tensor::new(self.shape, self.data.to_vec())
    }
}

/// As [`TensorView`], to be written to.
#[derive(Debug, PartialEq)]
pub struct TensorViewMut<'a> {
    shape: &'a [usize],
    data: &'a mut [f32],
}

impl<'a> TensorViewMut<'a> {
    /// The array of these sizes in this memory.
    ///
    /// # Errors
    /// Where there are not as many values as the sizes say.
    pub fn new(shape: &'a [usize], data: &'a mut [f32]) -> Result<TensorViewMut<'a>, LengthError> {
        check_length(shape, data.len())?;
        Ok(TensorViewMut { shape, data })
    }

    /// The sizes, the batch first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The values.
    pub fn into_data(self) -> &'a mut [f32] {
        self.data
    }
}

fn check_length(shape: &[usize], found: usize) -> Result<(), LengthError> {
    let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    match !shape.is_empty() && expected == Some(found) {
        true => Ok(()),
        false => Err(LengthError { shape: shape.to_vec(), found }),
    }
}

/// What a network can be run on.
pub trait AsTensor {
    /// The array.
    fn as_tensor(&self) -> TensorView<'_>;
}

impl AsTensor for Tensor {
    fn as_tensor(&self) -> TensorView<'_> {
        TensorView { shape: &self.shape, data: &self.data }
    }
}

impl AsTensor for TensorView<'_> {
    fn as_tensor(&self) -> TensorView<'_> {
        *self
    }
}

impl<T: AsTensor> AsTensor for &T {
    fn as_tensor(&self) -> TensorView<'_> {
        (**self).as_tensor()
    }
}

/// What a network can write its outputs to.
pub trait AsTensorMut {
    /// The array.
    fn as_tensor_mut(&mut self) -> TensorViewMut<'_>;
}

impl AsTensorMut for Tensor {
    fn as_tensor_mut(&mut self) -> TensorViewMut<'_> {
        TensorViewMut { shape: &self.shape, data: &mut self.data }
    }
}

impl AsTensorMut for TensorViewMut<'_> {
    fn as_tensor_mut(&mut self) -> TensorViewMut<'_> {
        TensorViewMut { shape: self.shape, data: self.data }
    }
}
