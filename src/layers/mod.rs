//! Every layer of the language, one file each: parameters, shape rule, reference evaluation, lowering, tests.
//!
//! To add a layer: a file with a type that implements [`Layer`], and one line in the `layers!` table below.
//! The keyword lookup, "did you mean", the reference page and the random layers of the property tests follow
//! from the table.
//!
//! What the codes of shape errors mean, and examples of them, is in [`codes`](crate::diagnostic::codes).

mod args;
mod reference;
mod window;

mod activation;
mod adaptive_avgpool;
mod adaptive_maxpool;
mod add;
mod avgpool;
mod batch_norm;
mod blocks;
mod channel_shuffle;
mod channel_slice;
mod concat;
mod conv;
mod conv_transpose;
mod convert;
mod crop;
mod dense;
mod depth_to_space;
mod dropout;
mod flatten;
mod global_avgpool;
mod global_maxpool;
mod group_norm;
mod identity;
mod instance_norm;
mod layer_norm;
mod local_response_norm;
mod lp_pool;
mod maxpool;
mod moments;
mod mul;
mod over;
mod pad;
mod permute;
mod prelu;
mod reduce;
mod resize;
mod scale;
mod softmax;
mod space_to_depth;
mod stretch;
mod subsample;
mod unflatten;
mod unit_norm;
mod upsample;

#[cfg(test)]
mod testing;

pub use activation::Activation;
pub(crate) use activation::{SELU_ALPHA, SELU_SCALE};
pub use adaptive_avgpool::AdaptiveAvgPool;
pub use adaptive_maxpool::AdaptiveMaxPool;
pub use add::Add;
pub use args::{ArgError, ArgValue, Args, Kind, LayerSpec, PadArg, ParamDecl};
pub use avgpool::AvgPool;
pub use batch_norm::BatchNorm;
pub use blocks::{BlockOrder, block_places};
pub use channel_shuffle::ChannelShuffle;
pub use channel_slice::ChannelSlice;
pub use concat::Concat;
pub use conv::Conv;
pub use conv_transpose::{ConvTranspose, Phase};
pub use convert::Convert;
pub use crop::Crop;
pub use dense::Dense;
pub use depth_to_space::DepthToSpace;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use global_avgpool::GlobalAvgPool;
pub use global_maxpool::GlobalMaxPool;
pub use group_norm::GroupNorm;
pub use identity::Identity;
pub use instance_norm::InstanceNorm;
pub use layer_norm::LayerNorm;
pub use local_response_norm::{LocalResponseNorm, Side};
pub use lp_pool::LpPool;
pub use maxpool::MaxPool;
pub use mul::Mul;
pub use over::{Over, Runs};
pub use pad::{Fill, Pad};
pub use permute::Permute;
pub use prelu::PRelu;
pub use reduce::{Reduce, Reduced, Reduction};
pub use reference::{reference_entry, reference_page};
pub use resize::{Coordinates, Extent, Filter, Resize, Rounding};
pub use scale::Scale;
pub use softmax::Softmax;
pub use space_to_depth::SpaceToDepth;
pub use stretch::Each;
pub use subsample::Subsample;
pub use unflatten::Unflatten;
pub use unit_norm::{LpNorm, UnitNorm};
pub use upsample::{Interpolation, Upsample};
pub use window::{Padding, ResolvedWindow, Window};

use crate::tensor::{MAX_ELEMENTS, Tensor, TensorType};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Precision of the sums inside the reference evaluation; values between layers are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    F32,
    F64,
}

impl Accumulate {
    /// start + sum of a\[i\] * b\[i\], rounded to f32 at the end.
    pub fn dot(self, start: f32, a: &[f32], b: &[f32]) -> f32 {
        match self {
            Accumulate::F32 => start + pairwise(0..a.len().min(b.len()), &|i| a[i] * b[i]),
            Accumulate::F64 => {
                let pairs = a.iter().zip(b);
                pairs.fold(f64::from(start), |sum, (&a, &b)| sum + f64::from(a) * f64::from(b)) as f32
            }
        }
    }

    /// The sum of `values`.
    pub fn sum(self, values: &[f32]) -> f64 {
        match self {
            Accumulate::F32 => pairwise(0..values.len(), &|i| values[i]).into(),
            Accumulate::F64 => values.iter().fold(0.0, |sum, &value| sum + f64::from(value)),
        }
    }
}

/// A size of a layer that is at least 1, and small enough to be multiplied by others.
fn check_size(what: &str, size: usize) -> Result<(), ShapeError> {
    match size {
        1..=MAX_ELEMENTS => Ok(()),
        0 => Err(ShapeError::new("E0216", format!("{what} is 0, and must be at least 1"))),
        _ => Err(ShapeError::new("E0303", format!("{what} is {size}: more than {MAX_ELEMENTS}"))),
    }
}

/// The greatest common divisor.
pub(crate) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A number that is one in f32 too.
fn check_finite(what: &str, number: f64) -> Result<(), ShapeError> {
    let error = || ShapeError::new("E0216", format!("{what} is {number:?}, which does not fit in f32"));
    (number as f32).is_finite().then_some(()).ok_or_else(error)
}

/// The sum of terms in f32: of halves, until a part is short. Its error grows with the logarithm of their number.
fn pairwise(range: Range<usize>, term: &impl Fn(usize) -> f32) -> f32 {
    const SHORT: usize = 64;
    if range.len() <= SHORT {
        return range.map(term).fold(0.0, |sum, term| sum + term);
    }
    let middle = range.start + range.len() / 2;
    pairwise(range.start..middle, term) + pairwise(middle..range.end, term)
}

/// The magnitudes of the elements.
pub fn absolute(x: &Tensor) -> Tensor {
    Tensor::new(x.shape(), x.data().iter().map(|x| x.abs()).collect())
}

/// [`Layer::magnitude`] of a layer whose outputs are sums of products of inputs and parameters, with factors that are
/// not negative.
fn magnitude_of_sums(layer: &impl Layer, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| absolute(x)).collect();
    let params: Vec<Vec<f32>> = params.iter().map(|values| values.iter().map(|x| x.abs()).collect()).collect();
    let params: Vec<&[f32]> = params.iter().map(|values| &values[..]).collect();
    layer.eval(&inputs.iter().collect::<Vec<_>>(), &params, Accumulate::F64)
}

/// The product of sizes, if it is no more than [`MAX_ELEMENTS`]; `what` has so many elements.
fn checked_product<'a>(sizes: impl IntoIterator<Item = &'a usize>, what: &str) -> Result<usize, ShapeError> {
    let product = sizes.into_iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let within = product.filter(|&product| product <= MAX_ELEMENTS);
    within.ok_or_else(|| ShapeError::new("E0303", format!("{what} would have more than {MAX_ELEMENTS} elements")))
}

/// Applies `f` to the vector of channels of every sample and position.
fn map_channels(x: &Tensor, f: impl Fn(&[f32]) -> Vec<f32>) -> Tensor {
    let mut y = Tensor::zeros(x.shape());
    let positions: usize = x.spatial().iter().product();
    for n in 0..x.batch() {
        for p in 0..positions {
            let column: Vec<f32> = (0..x.channels()).map(|c| x.plane(n, c)[p]).collect();
            f(&column).into_iter().enumerate().for_each(|(c, value)| y.plane_mut(n, c)[p] = value);
        }
    }
    y
}

/// Why a layer cannot take its input.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeError {
    /// Diagnostic code, `E03xx`.
    pub code: &'static str,
    pub message: String,
    /// The argument at fault, to be underlined; the whole layer if none.
    pub param: Option<&'static str>,
    pub help: Option<String>,
    /// Those that the help says.
    pub changes: Vec<Change>,
}

/// A change of a layer's call that may mend it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A layer without arguments before it.
    Before(&'static str),
    /// The argument at fault in other words, if it is written: what was meant is known.
    Value(String),
    /// One more argument, for a parameter that has none.
    Argument(&'static str, &'static str),
    /// One more argument, in place of which the author knows another.
    Example(&'static str),
    /// Without what is written for a parameter.
    Without(&'static str),
    /// Another word for a parameter.
    Word(&'static str, &'static str),
}

impl ShapeError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        ShapeError { code, message: message.into(), param: None, help: None, changes: Vec::new() }
    }

    pub fn param(self, param: &'static str) -> Self {
        ShapeError { param: Some(param), ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        ShapeError { help: Some(help.into()), ..self }
    }

    /// Adds the changes that the help says.
    pub fn changes(self, changes: impl Into<Vec<Change>>) -> Self {
        ShapeError { changes: changes.into(), ..self }
    }
}

/// A tensor of weights that a layer reads.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Last component of the weight's name: `weight`, `running_mean`.
    pub role: &'static str,
    pub dims: Vec<usize>,
    /// Values given in the model file; `None` if they come from the weight file.
    pub fixed: Option<Arc<[f32]>>,
    /// How to draw random values where no weight file is given.
    pub init: Init,
}

/// Random initialisation that keeps activations in a sane range.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Init {
    /// Uniform with variance 2 / fan_in (He et al. 2015, "Delving deep into rectifiers", section 2.2).
    FanIn(usize),
    /// Uniform in [-0.1, 0.1]: biases, means.
    Small,
    /// Uniform in [0.5, 1.5]: scales, variances.
    NearOne,
}

/// What a layer becomes before optimisation.
#[derive(Clone, Debug, PartialEq)]
pub enum Lowering {
    /// It is one of the operations that the kernels know.
    Keep,
    /// It does nothing at inference.
    Identity,
    /// Another operation with the same inputs and parameters.
    As(Op),
}

/// A layer with its arguments.
pub trait Layer: fmt::Display {
    /// Keyword and parameters.
    fn spec(&self) -> &'static LayerSpec;
    /// Number of inputs that flow in; `None` for any, but at least one.
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    /// Whether the layer's own arguments make one, whatever its inputs: those that a text gives were checked with better
    /// words before.
    fn check(&self) -> Result<(), ShapeError> {
        Ok(())
    }
    /// The output type of inputs as many as there must be, whose types are possible ones, for a layer that is one. See
    /// [`shape`](Layer::shape), which sees to that.
    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError>;
    /// The output type, or why these inputs cannot be taken. Everything is checked, the layer's own arguments too: where
    /// this succeeds and the output fits [`MAX_ELEMENTS`], [`params`](Layer::params), [`eval`](Layer::eval) and
    /// [`macs`](Layer::macs) succeed as well.
    fn shape(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        self.check()?;
        if inputs.is_empty() || self.arity().is_some_and(|arity| arity != inputs.len()) {
            return Err(ShapeError::new("E0217", format!("{} inputs are not as many as it takes", inputs.len())));
        }
        inputs.iter().try_for_each(|input| input.check()).map_err(|message| ShapeError::new("E0303", message))?;
        self.rule(inputs)
    }
    /// Weights in the order in which [`eval`](Layer::eval) takes them.
    fn params(&self, _inputs: &[&TensorType]) -> Vec<ParamSpec> {
        Vec::new()
    }
    /// The layer's mathematical definition, as plainly as it can be written.
    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor;
    /// For each element of the output the sum of the magnitudes of the terms that make it: what its rounding error is in
    /// proportion to, whether or not they cancel. By default that of the element itself.
    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        absolute(&self.eval(inputs, params, Accumulate::F64))
    }
    /// See [`Lowering`].
    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        Lowering::Keep
    }
    /// Multiply-accumulates of one sample; 0 for layers that are not counted by convention (all but
    /// convolution and dense).
    fn macs(&self, _inputs: &[&TensorType]) -> u64 {
        0
    }
    /// The sliding window, for receptive fields: effective kernel, stride and padding in front, per spatial
    /// dimension of the input. `None` for layers that see one position only.
    fn window(&self, _inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        None
    }
}

macro_rules! layers {
    ($($layer:ident),* $(,)?) => {
        /// The operation of a graph node: one of the layers.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            /// An input of the model.
            Input,
            $($layer($layer),)*
        }

        impl Op {
            /// Whether its kernels can do activations and an addition behind it.
            pub fn takes_epilogue(&self) -> bool {
                matches!(
                    self,
                    Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MaxPool(_) | Op::AvgPool(_) | Op::LpPool(_) | Op::AdaptiveAvgPool(_) | Op::AdaptiveMaxPool(_)
                        | Op::Resize(_) | Op::BatchNorm(_) | Op::Scale(_) | Op::PRelu(_) | Op::Activation(_) | Op::Add(_) | Op::Mul(_)
                )
            }

            /// The layer's own rules; `None` for [`Op::Input`].
            pub fn layer(&self) -> Option<&dyn Layer> {
                match self {
                    Op::Input => None,
                    $(Op::$layer(layer) => Some(layer),)*
                }
            }
        }

        $(impl From<$layer> for Op {
            fn from(layer: $layer) -> Op {
                Op::$layer(layer)
            }
        })*

        /// All layers by keyword, in the order of the reference page.
        pub const TABLE: &[&[Entry]] = &[$($layer::ENTRIES),*];
    };
}

/// A keyword of the language and how to make its layer from checked arguments.
#[derive(Clone, Copy)]
pub struct Entry {
    pub spec: &'static LayerSpec,
    pub make: fn(&Args) -> Result<Op, ArgError>,
}

layers! {
    Conv,
    ConvTranspose,
    Dense,
    MaxPool,
    AvgPool,
    LpPool,
    AdaptiveAvgPool,
    AdaptiveMaxPool,
    GlobalAvgPool,
    GlobalMaxPool,
    Reduce,
    BatchNorm,
    Scale,
    LayerNorm,
    InstanceNorm,
    GroupNorm,
    UnitNorm,
    LocalResponseNorm,
    Activation,
    PRelu,
    Softmax,
    Dropout,
    Identity,
    Flatten,
    Unflatten,
    Pad,
    Crop,
    Upsample,
    Resize,
    Permute,
    ChannelShuffle,
    ChannelSlice,
    DepthToSpace,
    SpaceToDepth,
    Subsample,
    Concat,
    Add,
    Mul,
    Convert,
}

/// The entry of a keyword.
pub fn find(keyword: &str) -> Option<&'static Entry> {
    entries().find(|e| e.spec.keyword == keyword)
}

/// All entries of [`TABLE`].
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().flat_map(|e| e.iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const RESERVED: &str = "x then from as if else for in seq residual project concat add mul grow gate aux output const net \
                            block model input defaults variant use rename allow and or not true false";

    #[test]
    fn keywords_are_unique_and_not_reserved() {
        let mut seen: HashSet<&str> = RESERVED.split_whitespace().collect();
        for entry in entries() {
            assert!(seen.insert(entry.spec.keyword), "{}", entry.spec.keyword);
        }
    }

    #[test]
    fn everything_is_documented() {
        for Entry { spec, .. } in entries() {
            assert!(spec.doc.ends_with('.'), "{}", spec.keyword);
            assert!(spec.params.iter().all(|p| !p.doc.is_empty()), "{}", spec.keyword);
        }
    }

    #[test]
    fn parameters_are_unique_and_not_reserved() {
        for Entry { spec, .. } in entries() {
            let mut seen: HashSet<&str> = RESERVED.split_whitespace().collect();
            for param in spec.params {
                assert!(seen.insert(param.name), "{} {}", spec.keyword, param.name);
            }
        }
    }

    /// So that a call without names is understood.
    #[test]
    fn mandatory_parameters_stand_first_and_are_positional() {
        for Entry { spec, .. } in entries() {
            let rank = |p: &ParamDecl| (p.default.is_some(), !p.positional);
            assert!(spec.params.is_sorted_by_key(rank), "{}", spec.keyword);
            assert!(spec.params.iter().all(|p| p.positional || p.default.is_some()), "{}", spec.keyword);
        }
    }

    #[test]
    fn defaults_fit_their_kinds() {
        for Entry { spec, .. } in entries() {
            let args = Args::defaults(spec);
            let written = spec.params.iter().filter(|p| p.default.is_some_and(|d| !d.is_empty()));
            written.for_each(|p| assert!(args.get(p.name).is_some(), "{} {}", spec.keyword, p.name));
        }
    }

    /// Layers that need no argument print their keyword alone.
    #[test]
    fn display_begins_with_the_keyword() {
        for entry in entries().filter(|e| e.spec.params.iter().all(|p| p.default.is_some())) {
            let Ok(op) = (entry.make)(&Args::defaults(entry.spec)) else { continue };
            let text = op.layer().unwrap().to_string();
            assert_eq!(text.split(' ').next(), Some(entry.spec.keyword));
            assert_eq!(op.layer().unwrap().spec().keyword, entry.spec.keyword);
        }
    }

    #[test]
    fn sums_in_both_precisions() {
        let (a, b) = ([1e8, 1.0, -1e8], [1.0, 1.0, 1.0]);
        assert_eq!(Accumulate::F32.dot(0.5, &a, &b), 0.5);
        assert_eq!(Accumulate::F64.dot(0.5, &a, &b), 1.5);
        assert_eq!((Accumulate::F32.sum(&a), Accumulate::F64.sum(&a)), (0.0, 1.0));
    }

    /// Equal terms are the worst: one chain of a million additions of 0.1 is off by 1 %.
    #[test]
    fn long_sums_keep_their_precision_in_f32() {
        let terms = vec![0.1; 1 << 20];
        let mean = Accumulate::F32.sum(&terms) / terms.len() as f64;
        assert!((mean / f64::from(0.1f32) - 1.0).abs() < 1e-6, "{mean}");
        let factors = vec![0.3; 9216];
        let exact = 9216.0 * f64::from(0.1f32) * f64::from(0.3f32);
        let dot = f64::from(Accumulate::F32.dot(0.0, &terms, &factors));
        assert!((dot / exact - 1.0).abs() < 1e-6, "{dot}");
    }
}
