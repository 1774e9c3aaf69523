//! The plan's kernels on portable vectors (`wide`), for where no code may be made at run time.

use crate::codegen::Isa;
use crate::kernels::{Kernel, Operand, Target};

/// Eight lanes, in whatever registers the compiler finds for them. There is no Winograd convolution: `exact`.
pub const TARGET: Target = Target { isa: Isa::Clif, lanes: 8, registers: 15, exact: true, force_winograd: None };

/// # Safety
/// As for a generated kernel: the operands are those that the plan gave this conf.
pub unsafe fn run(_kernel: &Kernel, _operands: &[Operand], _begin: usize, _end: usize) {
    todo!()
}
