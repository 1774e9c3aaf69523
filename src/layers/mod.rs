//! Every layer of the language, one file each: parameters, shape rule, reference evaluation, lowering, tests.
//!
//! To add a layer: a file with a type that implements [`Layer`], and one line in the `layers!` table below.
//! The keyword lookup, "did you mean", the reference page and the random layers of the property tests follow
//! from the table.

mod args;
mod window;

mod activation;
mod concat;
mod conv;

pub use activation::Activation;
pub use args::{ArgError, ArgValue, Args, Kind, LayerSpec, PadArg, ParamDecl};
pub use concat::Concat;
pub use conv::Conv;
pub use window::{Padding, Window};

use crate::tensor::{Tensor, TensorType};
use std::fmt;
use std::sync::Arc;

/// Precision of the sums inside the reference evaluation; values between layers are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    F32,
    F64,
}

/// The numbers in which sums are formed: f32 or f64.
pub(crate) trait Real: Copy + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> {
    const ZERO: Self;
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    fn from_f32(value: f32) -> f64 {
        value.into()
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
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
}

impl ShapeError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        ShapeError { code, message: message.into(), param: None, help: None }
    }

    pub fn param(self, param: &'static str) -> Self {
        ShapeError { param: Some(param), ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        ShapeError { help: Some(help.into()), ..self }
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
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Number of inputs that flow in; `None` for two or more.
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    /// The output type, or why these inputs cannot be taken. All sizes are checked: where this succeeds,
    /// [`params`](Layer::params), [`eval`](Layer::eval) and [`macs`](Layer::macs) succeed too.
    fn shape(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError>;
    /// Weights in the order in which [`eval`](Layer::eval) takes them.
    fn params(&self, _inputs: &[&TensorType]) -> Vec<ParamSpec> {
        Vec::new()
    }
    /// The layer's mathematical definition, as plainly as it can be written.
    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor;
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

pub use window::ResolvedWindow;

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
    Activation,
    Concat,
}

/// The entry of a keyword.
pub fn find(keyword: &str) -> Option<&'static Entry> {
    entries().find(|e| e.spec.keyword == keyword)
}

/// All entries of [`TABLE`].
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().flat_map(|e| e.iter())
}
