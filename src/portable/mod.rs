//! The plan's kernels on portable vectors (`wide`), for where no code may be made at run time.
//!
//! One file a kernel family. Each runs the family's conf with the operands, packed constants and tables that the
//! generated kernel would get (see [`crate::kernels`]), and has its structure: a nest over tasks, rows and runs of
//! pixels around a tile whose sums stay in registers. What generated code has unrolled for each layer is here a
//! function that is generic over the size of the tile.

mod epilogue;
mod long;
mod memory;
mod window;

mod chain;
mod channelwise;
mod conv;
mod integer;
mod lrn;
mod normalise;
mod permute;
mod pointwise;
mod pool;
mod reduce;
mod resample;
mod scale;
mod softmax;
mod transposed;

use crate::codegen::{Bytes, Isa};
use crate::kernels::bands::Bands;
use crate::kernels::{Kernel, Operand, Target};
use crate::machine::GENERIC;
use crate::tensor::Products;

/// f32 in a vector.
const LANES: usize = 8;

/// Bytes of a vector.
const VECTOR: i64 = LANES as i64 * 4;

/// Vectors of eight lanes that the compiler can keep in registers: of the 16 registers of x86-64 each vector takes
/// two where the crate was compiled without AVX.
const REGISTERS: usize = if cfg!(all(target_arch = "x86_64", not(target_feature = "avx"))) { 7 } else { 15 };

/// Eight lanes, in whatever registers the compiler finds for them. There is no Winograd convolution: `exact`.
pub const TARGET: Target = Target {
    isa: Isa::Clif,
    lanes: LANES,
    registers: REGISTERS,
    plain_registers: REGISTERS,
    bytes: Bytes::None,
    machine: GENERIC,
    exact: true,
    products: Products::F32,
    deep: false,
    force_winograd: None,
    force_chain: None,
    force_joint: false,
    bands: Bands::Never,
};

/// Does the tasks `begin..end` of a kernel whose conf was made for [`TARGET`].
///
/// # Safety
/// As for a generated kernel: the operands are those that the plan gave this conf, `begin..end` lies in its tasks,
/// and nobody else reads or writes what these tasks write.
pub unsafe fn run(kernel: &Kernel, operands: &[Operand], begin: usize, end: usize) {
    // SAFETY: the caller's contract is that of each family.
    unsafe {
        match kernel {
            Kernel::Winograd(_) => unreachable!("plans for `TARGET` are exact"),
            Kernel::WholeWinograd(_) | Kernel::Dots(_) | Kernel::Depthwise(_) | Kernel::Windows(_) => {
                unreachable!("`TARGET` has no vectors of bytes")
            }
            Kernel::Conv(conf) => conv::run(&conf.code, operands, begin, end),
            Kernel::Channelwise(conf) => channelwise::run(&conf.code, operands, begin, end),
            Kernel::Transposed(conf) => transposed::run(&conf.code, operands, begin, end),
            Kernel::Pool(conf) => pool::run(&conf.code, operands, begin, end),
            Kernel::Reduce(conf) => reduce::run(&conf.code, operands, begin, end),
            Kernel::Resample(conf) => resample::run(&conf.code, operands, begin, end),
            Kernel::Pointwise(conf) => pointwise::run(&conf.code, operands, begin, end),
            Kernel::Normalise(conf) => normalise::run(&conf.code, operands, begin, end),
            Kernel::Lrn(conf) => lrn::run(&conf.code, operands, begin, end),
            Kernel::Scale(conf) => scale::run(&conf.code, operands, begin, end),
            Kernel::Chain(conf) => chain::run(conf, operands, begin, end),
            Kernel::Softmax(conf) => softmax::run(&conf.code, operands, begin, end),
            Kernel::Integer(conf) => integer::run(&conf.code, operands, begin, end),
            Kernel::Permute(conf) => permute::run(&conf.code, operands, begin, end),
            Kernel::Rounding(_) => unreachable!("`TARGET` has products of f32"),
        }
    }
}

/// Sample and task of each of `begin..end`, of `tasks` tasks for each sample.
fn tasks(tasks: usize, begin: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    (begin..end).map(move |index| (index / tasks, index % tasks))
}
