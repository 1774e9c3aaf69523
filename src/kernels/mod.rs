//! Kernel families, one file each: first the decisions, as data that can be printed, then the generator that only
//! emits what they say.
//!
//! A kernel is two things. Its *code* is generated from a [`Family`], a value that is compared and hashed as a whole:
//! kernels with equal ones share a function. Its *tables* hold what the code does not know and reads from constants.
//! The generator is given the former alone, so that what a function depends on is in its key.
//!
//! A kernel is one function of the module: a Cranelift *nest* of loops over tasks, rows and segments that calls
//! *tiles*, leaf functions written once against the vector assembler. It has the signature
//! `extern "C" fn(operands: *const Operand, begin: i64, end: i64)` and does the tasks `begin..end` of
//! `batch * tasks` tasks, sample by sample; tasks write disjoint memory, so any split over threads gives the
//! same bits.
//!
//! Operands are, in order: the output, the inputs (those of the layer, then those of the epilogue), a second output
//! where there is one, the constants (see [`Family::constants`]), and scratch memory of the calling thread (see [`Family::scratch`]).
//!
//! # Layouts
//!
//! `Nchw` is row-major. `Blocked` is NCHWc: `[C / c][spatial][c]` with c = lanes; the channels behind C in the
//! last block are padding: kernels may write anything there, and none lets it reach a real channel.

pub mod bands;
pub mod bytes;
pub mod epilogue;
pub mod fetch;
pub mod integer;
pub mod interleave;
pub mod lanes;
pub mod long;
pub mod math;

pub mod chain;
pub mod channelwise;
pub mod conv;
pub mod depthwise;
pub mod dots;
pub mod geometry;
pub mod lrn;
pub mod normalise;
pub mod permute;
pub mod pointwise;
pub mod pool;
pub mod reduce;
pub mod requantise;
pub mod resample;
pub mod rounding;
pub mod rows;
pub mod scale;
pub mod softmax;
pub mod spans;
pub mod taps;
pub mod transposed;
pub mod tuning;
pub mod whole_winograd;
pub mod windows;
pub mod winograd;

mod facts;
mod nest;
mod packing;
mod pad;
mod refusal;

use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, HostIsa, Isa};
use crate::ir::integer::Integer;
use crate::ir::weights::Values;
use crate::layers::Op;
use crate::machine::costs::TASKS;
use crate::machine::{self, Known, LacksIsa, Machine};
use crate::tensor::{DType, Half, Products, TensorType};
pub use facts::Fact;
pub use geometry::Padded;
use packing::Packing;
pub use packing::Used;
pub use refusal::{Refusal, Why};
use std::borrow::Cow;
use std::fmt::Debug;
use std::hash::Hash;
use target_lexicon::Architecture;

/// Order of the elements of one sample in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    Nchw,
    Blocked,
}

impl Layout {
    /// Elements that one sample occupies, padding included.
    pub fn elements(self, ty: &TensorType, lanes: usize) -> usize {
        match self {
            Layout::Nchw => ty.elements(),
            Layout::Blocked => ty.channels().next_multiple_of(lanes) * ty.spatial().iter().product::<usize>(),
        }
    }

    /// Bytes that one sample occupies, padding included.
    pub fn bytes(self, ty: &TensorType, lanes: usize) -> usize {
        self.elements(ty, lanes) * ty.dtype.bytes()
    }
}

/// A value as a kernel sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<'a> {
    pub ty: &'a TensorType,
    pub layout: Layout,
}

impl Value<'_> {
    pub fn channels(&self) -> usize {
        self.ty.channels()
    }

    /// Spatial positions.
    pub fn positions(&self) -> usize {
        self.ty.spatial().iter().product()
    }
}

/// What the generated code runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub isa: Isa,
    /// f32 lanes of a vector, the channel block of [`Layout::Blocked`].
    pub lanes: usize,
    /// Vector registers that a tile may use.
    pub registers: usize,
    /// Vector registers of a tile that neither masks nor compares while it holds them all.
    pub plain_registers: usize,
    /// What tiles can do with bytes.
    pub bytes: Bytes,
    /// By whose caches and rates kernels are chosen among those that compute the same bits.
    pub machine: Machine,
    /// Only kernels that compute the sums of the layer's definition, in any order.
    pub exact: bool,
    /// In what convolutions and dense layers multiply: [`Target::check`] says whether this target can.
    pub products: Products,
    /// Takes several samples at a time where it is possible, see [`conv::Code::joint`]; for tests.
    pub force_joint: bool,
    /// Many layers lie one behind the other, whose rounding errors add up: Winograd's largest tiles are left out.
    pub deep: bool,
    /// Takes Winograd convolution with tiles of so many rows and columns of outputs where it is possible, fast or not; for
    /// tests.
    pub force_winograd: Option<[usize; 2]>,
    /// Makes one kernel of a convolution and the window layer behind it where it is possible, fast or not, with bands of
    /// so many rows (see [`chain`]); for tests.
    pub force_chain: Option<usize>,
    /// Where steps go down the picture together, a band of rows at a time.
    pub bands: bands::Bands,
}

impl Target {
    /// What tiles for an instruction set have on this machine.
    pub fn new(isa: impl Into<Isa>) -> Target {
        Target { machine: Machine::here(), ..Target::of(isa.into(), target_lexicon::HOST.architecture) }
    }

    /// What tiles have on a machine that is known by name: for an instruction set that it has, its widest where none is asked
    /// for. The machine of any architecture has the instructions of the one at hand.
    ///
    /// # Errors
    /// Where it lacks the instruction set.
    pub fn on(known: &Known, isa: Option<Isa>) -> Result<Target, LacksIsa> {
        let isa = known.isa(isa)?;
        let Some(architecture) = known.architecture else {
            let bytes = isa.on_host().map_or(Bytes::Vectors, HostIsa::bytes);
            return Ok(Target { bytes, machine: known.machine, ..Target::new(isa) });
        };
        let bytes = if isa == known.isa { known.bytes } else { Bytes::Vectors };
        Ok(Target { bytes, machine: known.machine, ..Target::of(isa, architecture) })
    }

    /// What tiles for an instruction set have on machines of an architecture, whatever their further features: the same
    /// wherever it is asked.
    pub fn of(isa: Isa, architecture: Architecture) -> Target {
        let (registers, plain_registers) = (isa.registers(architecture), isa.plain_registers(architecture));
        Target {
            isa,
            lanes: isa.lanes(),
            registers,
            plain_registers,
            bytes: Bytes::Vectors,
            machine: machine::GENERIC,
            exact: false,
            products: Products::F32,
            deep: false,
            force_winograd: None,
            force_chain: None,
            force_joint: false,
            bands: bands::Bands::WhereLarge,
        }
    }

    /// Whether layers can multiply in what is asked for.
    ///
    /// # Errors
    /// Why not, and the way out.
    pub fn check(&self) -> Result<(), NoProducts> {
        match self.products {
            Products::Bf16 if self.exact => Err(NoProducts::Exact),
            Products::Bf16 if self.bytes < Bytes::Bf16 => Err(NoProducts::Instructions),
            _ => Ok(()),
        }
    }
}

/// Why layers cannot multiply in bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProducts {
    /// Sums would not be those of the layers' definitions.
    #[error(
        "products of bf16 are not those of the layers' definitions, which `exact` asks for; leave out one of the two"
    )]
    Exact,
    /// Of the CPU, or of the instruction set.
    #[error(
        "products of bf16 need a CPU with AVX512_BF16 (AMD's from Zen 4 on, Intel's from Sapphire Rapids on), and code in \
         memory or an object file for its avx512; leave them out, which is products of f32"
    )]
    Instructions,
}

/// One argument of a kernel at run time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// First sample.
    pub data: *mut u8,
    /// Bytes from one sample to the next; 0 for constants and scratch memory.
    pub stride: i64,
}

/// Writes numbers over zeros, and calls [`Used`] as what it reads is used up.
pub type Fill<'a> = dyn Fn(&mut [i16], &Used) + 'a;

/// Packed weights or a table of numbers, made once.
pub enum Constant<'a> {
    F32(Vec<f32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    /// So many numbers that are still to be written, over zeros.
    I16(usize, Box<Fill<'a>>),
    I32(Vec<i32>),
    /// f32 that are still to be packed.
    Packed(Packing<'a>),
}

impl Constant<'_> {
    pub fn bytes(&self) -> usize {
        match self {
            Constant::F32(values) => size_of_val(values.as_slice()),
            Constant::I64(values) => size_of_val(values.as_slice()),
            Constant::U8(values) => values.len(),
            Constant::I16(len, _) => len.saturating_mul(2),
            Constant::I32(values) => size_of_val(values.as_slice()),
            Constant::Packed(packing) => packing.size() * 4,
        }
    }

    /// Writes the bytes to `to`, which is as long, filled with zeros and aligned to 4. Calls `used` now and then while
    /// many weights are packed.
    pub fn write(&self, to: &mut [u8], threads: usize, used: &Used) {
        match self {
            Constant::F32(values) => to.copy_from_slice(bytemuck::cast_slice(values)),
            Constant::I64(values) => to.copy_from_slice(bytemuck::cast_slice(values)),
            Constant::U8(values) => to.copy_from_slice(values),
            Constant::I16(_, fill) => fill(bytemuck::cast_slice_mut(to), used),
            Constant::I32(values) => to.copy_from_slice(bytemuck::cast_slice(values)),
            Constant::Packed(packing) => packing.write(bytemuck::cast_slice_mut(to), threads, used),
        }
    }

    /// The bytes, packed now if need be.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Constant::F32(values) => Cow::Borrowed(bytemuck::cast_slice(values)),
            Constant::I64(values) => Cow::Borrowed(bytemuck::cast_slice(values)),
            Constant::U8(values) => Cow::Borrowed(values),
            Constant::I16(len, fill) => {
                let mut values = vec![0; *len];
                fill(&mut values, &|| ());
                Cow::Owned(bytemuck::cast_slice(&values).to_vec())
            }
            Constant::I32(values) => Cow::Borrowed(bytemuck::cast_slice(values)),
            Constant::Packed(packing) => Cow::Owned(bytemuck::cast_slice(&packing.to_vec()).to_vec()),
        }
    }
}

/// What every kernel family gives, on all decisions that its code depends on.
pub trait Family: Clone + Debug + Eq + Hash {
    /// What the code reads from constants and does not depend on.
    type Tables: Clone + Debug + Hash + PartialEq;

    /// For example `conv_direct_f32_8c6x2_avx2`.
    fn name(&self) -> String;
    /// Units of work of one sample that may go to different threads.
    fn tasks(&self) -> usize;
    /// Bytes of memory that a call needs for itself: the last operand, undefined at its start, aligned to 64.
    fn scratch(&self) -> usize {
        0
    }
    /// Whether the output may be written over the `index`-th input, which then has the same shape and layout: whether
    /// each of its elements is read for the last time before, and by the task by which, the same place is written.
    fn may_overwrite(&self, _index: usize) -> bool {
        false
    }
    /// Constants in the order of the kernel's operands, from the values of the node's parameters.
    fn constants<'a>(&'a self, tables: &'a Self::Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>>;
    /// Emits the kernel and its tiles into the module.
    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError>;
}

/// All decisions about one kernel.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Conf<C: Family> {
    pub code: C,
    pub tables: C::Tables,
}

/// An f32 that is compared by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number(u32);

impl Number {
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }

    /// Its bits, in the lower half of a table's word.
    pub fn word(self) -> i64 {
        self.0.into()
    }
}

impl From<f32> for Number {
    fn from(value: f32) -> Number {
        Number(value.to_bits())
    }
}

impl Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

/// A node as the families look at it.
#[derive(Debug)]
pub struct NodeView<'a> {
    pub op: &'a Op,
    /// The layer's operands, in the layouts in which they are at hand.
    pub inputs: Vec<Value<'a>>,
    pub output: &'a TensorType,
    /// The weights differ from sample to sample: they are an operand of the kernel, behind the input.
    pub gated: bool,
    /// The mean of each channel is wanted too: as an operand behind the inputs.
    pub mean: bool,
    pub epilogue: epilogue::Epilogue,
    /// What it computes on whole numbers, with what is fused behind it.
    pub integer: Option<Integer>,
    /// In what its weights are stored, where that is not f32.
    pub half: Option<Half>,
    /// They themselves, of eight bits.
    pub weights: Option<&'a [i8]>,
    /// What is best around its value, in its memory: what the layer that reads it needs there. Kernels may leave it out.
    pub padded: Option<Padded>,
}

/// A kernel for a node.
#[derive(Clone, Debug)]
pub struct Lowered {
    pub kernel: Kernel,
    /// Layouts in which the kernel takes the layer's operands (those of the epilogue have the output's).
    pub inputs: Vec<Layout>,
    pub output: Layout,
    /// Channels that the first input must be rearranged to before the kernel reads it.
    pub spread: Option<Vec<permute::Source>>,
    /// What must be around the first input, in its memory.
    pub padded: Option<Padded>,
}

macro_rules! kernels {
    ($($variant:ident($module:ident)),* $(,)?) => {
        /// A kernel of any family.
        #[derive(Clone, Debug, Hash, PartialEq)]
        pub enum Kernel {
            $($variant(Conf<$module::Code>),)*
        }

        /// The code of a kernel of any family. Equal ones are the same function.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($variant($module::Code),)*
        }

        $(
            impl From<Conf<$module::Code>> for Kernel {
                fn from(conf: Conf<$module::Code>) -> Kernel {
                    Kernel::$variant(conf)
                }
            }
        )*

        impl Kernel {
            pub fn code(&self) -> Code {
                match self {
                    $(Kernel::$variant(conf) => Code::$variant(conf.code.clone()),)*
                }
            }

            /// See [`Family::name`].
            pub fn name(&self) -> String {
                match self {
                    $(Kernel::$variant(conf) => conf.code.name(),)*
                }
            }

            /// See [`Family::tasks`].
            pub fn tasks(&self) -> usize {
                match self {
                    $(Kernel::$variant(conf) => conf.code.tasks(),)*
                }
            }

            /// See [`Family::scratch`].
            pub fn scratch(&self) -> usize {
                match self {
                    $(Kernel::$variant(conf) => conf.code.scratch(),)*
                }
            }

            /// See [`Family::may_overwrite`].
            pub fn may_overwrite(&self, index: usize) -> bool {
                match self {
                    $(Kernel::$variant(conf) => conf.code.may_overwrite(index),)*
                }
            }

            /// See [`Family::constants`].
            pub fn constants<'a>(&'a self, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
                match self {
                    $(Kernel::$variant(conf) => conf.code.constants(&conf.tables, params),)*
                }
            }
        }

        impl Code {
            /// See [`Family::name`].
            pub fn name(&self) -> String {
                match self {
                    $(Code::$variant(code) => code.name(),)*
                }
            }

            /// See [`Family::generate`].
            ///
            /// # Errors
            /// What Cranelift refuses.
            pub fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
                match self {
                    $(Code::$variant(code) => code.generate(name, isa, module),)*
                }
            }
        }

        /// Families that make a kernel of a layer, best first.
        type Lower = fn(&NodeView, &Target) -> Result<Lowered, Why>;
        const FAMILIES: &[(&str, Lower)] = &[$((stringify!($module), $module::lower)),*];
    };
}

kernels! {
    Winograd(winograd),
    Conv(conv),
    Channelwise(channelwise),
    Transposed(transposed),
    Pool(pool),
    Reduce(reduce),
    Resample(resample),
    Pointwise(pointwise),
    Lrn(lrn),
    Normalise(normalise),
    Softmax(softmax),
    Permute(permute),
    Scale(scale),
    Chain(chain),
    WholeWinograd(whole_winograd),
    Dots(dots),
    Depthwise(depthwise),
    Windows(windows),
    Integer(integer),
    Rounding(rounding),
}

impl Kernel {
    /// Whether several samples at a time are worth a kernel of their own.
    pub fn is_joint(&self, target: &Target) -> bool {
        matches!(self, Kernel::Conv(conf) if conf.code.is_joint(target))
    }

    /// The kernel for so many samples at a time, with the constants of this one: see [`conv::Code::joint`].
    pub fn joint(&self, samples: usize, strides: conv::Strides, target: &Target) -> Option<Kernel> {
        let Kernel::Conv(conf) = self else { return None };
        let code = conf.code.joint(samples, strides, target)?;
        Some(conv::Conf { code, tables: conf.tables.clone() }.into())
    }

    /// What it writes around its output.
    pub fn padded(&self) -> Option<Padded> {
        match self {
            Kernel::Dots(conf) => conf.code.padded,
            Kernel::Integer(conf) => conf.code.padded(),
            _ => None,
        }
    }

    /// Whether nothing is written behind the last channel of a value of one position.
    pub fn writes_exactly(&self) -> bool {
        match self {
            Kernel::Conv(conf) => conf.code.writes_exactly(),
            Kernel::Lrn(_) | Kernel::Softmax(_) | Kernel::Permute(_) => true,
            Kernel::Winograd(_)
            | Kernel::Channelwise(_)
            | Kernel::Transposed(_)
            | Kernel::Pool(_)
            | Kernel::Normalise(_)
            | Kernel::Reduce(_)
            | Kernel::Resample(_)
            | Kernel::Scale(_)
            | Kernel::Chain(_)
            | Kernel::WholeWinograd(_)
            | Kernel::Dots(_)
            | Kernel::Depthwise(_)
            | Kernel::Windows(_)
            | Kernel::Integer(_)
            | Kernel::Rounding(_)
            | Kernel::Pointwise(_) => false,
        }
    }
}

/// The first family that can do the node, and why those before it could not.
///
/// # Panics
/// If none can: every layer has a kernel, which the tests show for the whole table.
pub fn choose(node: &NodeView, target: &Target) -> (Lowered, Vec<Refusal>) {
    if node.integer.is_some() {
        let families: [(&'static str, Lower); 5] = [
            ("winograd", whole_winograd::lower),
            ("dots", dots::lower),
            ("depthwise", depthwise::lower),
            ("windows", windows::lower),
            ("integer", integer::lower),
        ];
        return first_of(&families, node, target);
    }
    if node.output.dtype == DType::Bf16 {
        return first_of(&[("rounding", rounding::lower)], node, target);
    }
    if node.inputs[0].ty.dtype == DType::Bf16 {
        return first_of(&[("conv", conv::lower)], node, target);
    }
    first_of(FAMILIES, node, target)
}

/// Whether a convolution or dense layer, whose operand is of bf16 here, is to round it where products of bf16 are asked for.
/// As all choices between kernels that round differently this is made by [`STANDARD`](machine::STANDARD), where they take half
/// the time of products of f32: a machine where they take longer does them all the same, because it was asked to.
///
/// # Errors
/// Why it is to stay as it is.
pub fn rounds(node: &NodeView, target: &Target) -> Result<(), Why> {
    if node.gated {
        return Err("its weights are multiplied by a gate".into());
    }
    // To bring a stem's three channels into blocks takes longer than their products.
    if let Op::Conv(conv) = node.op
        && conv.group_in(node.inputs[0].ty) < target.lanes / 2
    {
        return Err("a group has fewer input channels than half a block".into());
    }
    conv::lower(node, target)?;
    match winograd::lower(node, target) {
        Ok(lowered) => Err(format!("{} is estimated to be faster", lowered.kernel.name()).into()),
        Err(_) => Ok(()),
    }
}

fn first_of(families: &[(&'static str, Lower)], node: &NodeView, target: &Target) -> (Lowered, Vec<Refusal>) {
    let mut refusals = Vec::new();
    for &(family, lower) in families {
        match lower(node, target) {
            Ok(lowered) => return (lowered, refusals),
            Err(why) => refusals.push(Refusal { family, why }),
        }
    }
    unreachable!("no kernel for {:?}: {refusals:?}", node.op)
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::layers::{Conv, Layer, Padding, Window};
    use crate::tensor::Batch;

    /// Calls `f` with a convolution of an input `[channels, height, width]` that keeps its size.
    pub fn with_convolution<T>(
        input: [usize; 3],
        channels: usize,
        kernel: [usize; 2],
        f: impl FnOnce(&NodeView) -> T,
    ) -> T {
        let ones = vec![1; 2];
        let (stride, dilation) = (ones.clone(), ones);
        let window = Window { kernel: kernel.to_vec(), stride, dilation, padding: Padding::Half, ceil: false };
        let conv = Conv { channels, window, groups: 1, bias: true, weights: None };
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: input.to_vec() };
        let output = conv.shape(&[&ty]).expect("a convolution that fits");
        let inputs = vec![Value { ty: &ty, layout: Layout::Blocked }];
        let epilogue = epilogue::Epilogue::default();
        f(&NodeView {
            op: &conv.into(),
            inputs,
            output: &output,
            epilogue,
            gated: false,
            mean: false,
            integer: None,
            half: None,
            weights: None,
            padded: None,
        })
    }
}
