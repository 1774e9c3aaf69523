//! The lanes of a vector: what all make together, and who has how many.

use crate::codegen::vector::{Mem, V, VectorAsm};

/// The instruction set whose vectors have so many, for names of kernels.
pub fn isa(lanes: usize) -> &'static str {
    match lanes {
        4 => "clif",
        8 => "avx2",
        _ => "avx512",
    }
}

/// dst = a and b in one
pub type Combine = fn(&mut dyn VectorAsm, V, V, V);

/// Sets every lane of `v` to what all of them make, by way of a vector of memory. Takes as many registers as the number of
/// lanes has bits.
pub fn across(asm: &mut dyn VectorAsm, v: V, memory: Mem, combine: Combine) {
    asm.store(memory, v);
    let lanes = asm.lanes();
    tree(asm, v, memory, lanes, combine);
}

/// dst = what the `count` numbers from `first` on make, by halves.
fn tree(asm: &mut dyn VectorAsm, dst: V, first: Mem, count: usize, combine: Combine) {
    if count == 1 {
        return asm.broadcast(dst, first);
    }
    let half = count / 2;
    tree(asm, dst, first, half, combine);
    let other = asm.vec();
    tree(asm, other, first.base.at(i64::from(first.offset) + 4 * half as i64), half, combine);
    combine(asm, dst, dst, other);
    asm.free(other);
}
