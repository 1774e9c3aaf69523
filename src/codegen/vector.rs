//! The vector assembler: the small register machine in which every kernel tile is written once.
//!
//! A tile is a leaf function of up to six 64-bit arguments. It is described as a list of instructions over
//! mutable vector registers [`V`] and integer registers [`R`]; three back ends turn the list into code: CLIF
//! with 128-bit vectors (every ISA that Cranelift has), x64 with 256-bit vectors (AVX2, FMA, F16C), x64 with
//! 512-bit vectors (AVX-512 F, DQ, BW and VL). A kernel asks for no more registers than [`VectorAsm::registers`]
//! says; its conf has counted them.
//!
//! All arithmetic is IEEE 754 binary32 in the current rounding mode; only [`VectorAsm::fma`] rounds once where
//! the target has fused multiply-add (all but x86-64 without FMA, which multiplies and adds).

use crate::tensor::Half;

/// A vector register of `lanes` f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct V(pub u8);

/// A 64-bit integer register: a pointer or a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct R(pub u8);

/// A memory operand: the address in `base` plus `offset` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    pub base: R,
    pub offset: i32,
}

impl R {
    /// The memory at this pointer plus `offset` bytes.
    ///
    /// # Panics
    /// Where the offset is none of 32 bits: kernels that would need one are refused when they are chosen.
    pub fn at(self, offset: impl Into<i64>) -> Mem {
        let offset = i32::try_from(offset.into()).expect("kernels keep to offsets of 32 bits");
        Mem { base: self, offset }
    }
}

const WIDER: &str = "lanes are put in order where vectors are wider than 128 bits";
const MORE_BYTES: &str = "kernels do with bytes what their target can";

/// Arguments a tile may have.
pub const ARGS: usize = 6;
/// Integer registers a tile may ask for beside its arguments.
pub const INTS: usize = 8;

/// A loop opened by [`VectorAsm::loop_begin`].
#[derive(Debug)]
#[must_use = "a loop that is opened must be closed"]
pub struct Loop(pub usize);

/// A loop, where there is something to repeat.
pub fn repeat(asm: &mut dyn VectorAsm, count: usize, body: &mut dyn FnMut(&mut dyn VectorAsm)) {
    match count {
        0 => {}
        1 => body(asm),
        _ => {
            let counter = asm.int();
            asm.set_int(counter, count as i64);
            let looped = asm.loop_begin(counter);
            body(asm);
            asm.loop_end(looped);
            asm.free_int(counter);
        }
    }
}

/// Ordered comparisons: false where an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
}

/// One tile under construction. Operands may alias: `add(a, a, a)` doubles `a`.
///
/// Pointers need only the alignment of an f32. Accesses must stay inside the buffers that the caller of the
/// tile passes; the conf of the kernel establishes that.
pub trait VectorAsm {
    /// f32 lanes of a vector register: 4, 8 or 16.
    fn lanes(&self) -> usize;
    /// Vector registers a tile may hold at once: [`Isa::registers`](super::Isa::registers), or a few more under the
    /// conditions of [`Isa::plain_registers`](super::Isa::plain_registers).
    fn registers(&self) -> usize;

    /// Argument `index` (0 to 5) of the tile function. Arguments are registers like all others: they may be changed.
    fn arg(&self, index: usize) -> R;
    /// A fresh integer register, undefined until set. At most [`INTS`] beside the arguments.
    fn int(&mut self) -> R;
    /// Gives back a register that [`VectorAsm::int`] gave.
    fn free_int(&mut self, r: R);
    /// A fresh vector register, undefined until set.
    fn vec(&mut self) -> V;
    /// Gives a vector register back.
    fn free(&mut self, v: V);

    /// dst = src
    fn copy_int(&mut self, dst: R, src: R);
    /// dst = value
    fn set_int(&mut self, dst: R, value: i64);
    /// dst += value
    fn add_imm(&mut self, dst: R, value: i64);
    /// dst += src
    fn add_int(&mut self, dst: R, src: R);
    /// dst = the 64-bit word at `mem`
    fn load_int(&mut self, dst: R, mem: Mem);
    /// Opens a loop whose body runs `counter` times; `counter` must be above zero and is counted down to zero.
    fn loop_begin(&mut self, counter: R) -> Loop;
    /// Closes the innermost loop.
    fn loop_end(&mut self, looped: Loop);
    /// Opens a part that is skipped where `r` is zero.
    fn if_nonzero(&mut self, r: R) -> Loop;
    /// Opens a part that is skipped where `r` is not zero.
    fn if_zero(&mut self, r: R) -> Loop;
    /// Closes either.
    fn end_if(&mut self, part: Loop);

    /// All lanes = value
    fn splat(&mut self, dst: V, value: f32) {
        self.splat_bits(dst, value.to_bits());
    }
    /// All lanes = the f32 with these bits
    fn splat_bits(&mut self, dst: V, bits: u32);
    /// Each lane = the number of the same index, of as many as there are lanes. Wider than 128 bits.
    fn set_lanes(&mut self, _dst: V, _bits: &[u32]) {
        unreachable!("{WIDER}")
    }
    /// dst = src
    fn copy(&mut self, dst: V, src: V);
    /// Each of some registers = the vector at `mem`. Where a copy takes one of the pipes that multiply, each is loaded.
    fn load_copies(&mut self, all: &[V], mem: Mem) {
        self.load(all[0], mem);
        all[1..].iter().for_each(|&v| self.copy(v, all[0]));
    }
    /// A hint that the cache line at `mem`, which need not be memory of anybody's, will be read soon: from the
    /// second-level cache. Not all back ends heed it.
    fn prefetch(&mut self, _mem: Mem) {}
    /// A hint that the cache line at `mem`, which need not be memory of anybody's, will be written soon, as
    /// [`VectorAsm::prefetch`].
    fn prefetch_to_write(&mut self, _mem: Mem) {}
    /// `lanes` consecutive f32
    fn load(&mut self, dst: V, mem: Mem);
    /// `lanes` consecutive numbers of 16 bits, as f32: exactly, whatever becomes of denormals. Of types that
    /// [`Isa::widens`](super::Isa::widens).
    fn load_wide(&mut self, dst: V, mem: Mem, half: Half);
    /// The first `count` (1 to lanes) f32; the other lanes are zero and their memory is not touched.
    fn load_first(&mut self, dst: V, mem: Mem, count: usize);
    /// All lanes = the f32 at `mem`
    fn broadcast(&mut self, dst: V, mem: Mem);
    fn store(&mut self, mem: Mem, src: V);
    /// Stores the first `count` (1 to lanes) lanes only.
    fn store_first(&mut self, mem: Mem, src: V, count: usize);
    /// Copies the 32 bits at `from` to `to`; takes no register.
    fn copy_word(&mut self, to: Mem, from: Mem);

    /// acc = a * b + acc
    fn fma(&mut self, acc: V, a: V, b: V);
    /// dst = dst * a + b, rounded like [`VectorAsm::fma`]: a step of Horner's rule.
    fn horner(&mut self, dst: V, a: V, b: V);
    /// acc = a * (vector at mem) + acc
    fn fma_load(&mut self, acc: V, a: V, mem: Mem);
    /// acc = a * (f32 at mem, in all lanes) + acc. One instruction at 512 bits; elsewhere a broadcast precedes it, so
    /// that an element which meets several vectors is better broadcast once into a register.
    fn fma_broadcast(&mut self, acc: V, a: V, mem: Mem);
    fn add(&mut self, dst: V, a: V, b: V);
    fn sub(&mut self, dst: V, a: V, b: V);
    fn mul(&mut self, dst: V, a: V, b: V);
    fn div(&mut self, dst: V, a: V, b: V);
    fn sqrt(&mut self, dst: V, a: V);
    /// `if a > b { a } else { b }`: b where either is NaN.
    fn max(&mut self, dst: V, a: V, b: V);
    /// `if a < b { a } else { b }`: b where either is NaN.
    fn min(&mut self, dst: V, a: V, b: V);
    /// a, or `bound` where that is larger; NaN where a is. `bound` is a number; of two zeros it may be either. One
    /// instruction on x86 and AArch64.
    fn at_least(&mut self, dst: V, a: V, bound: V) {
        self.max(dst, bound, a);
    }
    /// a, or `bound` where that is smaller, as [`VectorAsm::at_least`].
    fn at_most(&mut self, dst: V, a: V, bound: V) {
        self.min(dst, bound, a);
    }
    /// The larger; NaN where either is NaN; of two zeros either.
    fn max_nan(&mut self, dst: V, a: V, b: V);
    /// `if a cmp b { yes } else { no }`, lane by lane.
    fn select(&mut self, cmp: Compare, dst: V, a: V, b: V, yes: V, no: V);
    /// Rounds to an integral value, ties to even.
    fn round(&mut self, dst: V, a: V);

    /// To i32, ties to even; the lanes must be within i32.
    fn float_to_int(&mut self, dst: V, a: V);
    /// From i32.
    fn int_to_float(&mut self, dst: V, a: V);
    /// 32-bit integer addition, lane by lane.
    fn add_bits(&mut self, dst: V, a: V, b: V);
    /// 32-bit integer subtraction, lane by lane.
    fn sub_bits(&mut self, dst: V, a: V, b: V);
    /// The lower 32 bits of the product, lane by lane.
    fn mul_bits(&mut self, dst: V, a: V, b: V);
    /// A byte without a sign for each lane.
    fn load_bytes(&mut self, dst: V, mem: Mem);
    /// A byte without a sign for each half of each lane.
    fn load_byte_halves(&mut self, dst: V, mem: Mem);
    /// The same of bytes that have one.
    fn load_signed_halves(&mut self, dst: V, mem: Mem);
    /// Each lane = the byte at `mem`, without a sign.
    fn broadcast_byte(&mut self, dst: V, mem: Mem);
    /// Copies a byte; takes no register.
    fn copy_byte(&mut self, to: Mem, from: Mem);
    /// Writes to `to` the one of the 256 bytes at `table` whose number is the byte at `from`; takes no register.
    fn look_up_byte(&mut self, to: Mem, from: Mem, table: R);
    /// Each lane = the lane of `src` whose number is that of `index`, modulo the number of lanes. Wider than 128 bits.
    fn permute_lanes(&mut self, _dst: V, _index: V, _src: V) {
        unreachable!("{WIDER}")
    }
    /// In each 128 bits: the lanes of a, then those of b, as 16 bits with a sign, the nearest there is.
    fn narrow_lanes(&mut self, dst: V, a: V, b: V);
    /// In each 128 bits: the halves of a, then those of b, which have signs, as bytes without one, the nearest there is.
    fn narrow_halves(&mut self, dst: V, a: V, b: V);
    /// Adds numbers of 16 bits with a sign; the nearest there is.
    fn add_halves(&mut self, dst: V, a: V, b: V);
    /// Subtracts numbers of 16 bits with a sign; the nearest there is.
    fn sub_halves(&mut self, dst: V, a: V, b: V);
    /// The larger of two bytes without signs.
    fn max_bytes(&mut self, dst: V, a: V, b: V);
    /// Each lane = the sum of the products of the two halves of each 32-bit lane, which have signs.
    fn multiply_halves(&mut self, dst: V, a: V, b: V);
    /// The same, with the vector at `mem`.
    fn multiply_halves_load(&mut self, dst: V, a: V, mem: Mem);
    /// Each half = the sum of the products of its two bytes, those of `a` without a sign, those at `mem` with one; the
    /// nearest there is. Wider than 128 bits.
    fn multiply_bytes_load(&mut self, _dst: V, _a: V, _mem: Mem) {
        unreachable!("{WIDER}")
    }
    /// Shifts every half right, filling with zeros.
    fn shr_halves(&mut self, dst: V, a: V, by: u8);
    /// acc += the sum of the products of the four bytes of each 32-bit lane, those of `a` without a sign, those of `b` with
    /// one; sums wrap around. From [`Bytes::Dots`](super::Bytes::Dots), as [`HostIsa::bytes`](super::HostIsa::bytes) says,
    /// or emulated.
    fn dot_bytes(&mut self, _acc: V, _a: V, _b: V) {
        unreachable!("{MORE_BYTES}")
    }
    /// acc += the sum of the products of the two halves of each 32-bit lane, which have signs; sums wrap around. As
    /// [`VectorAsm::dot_bytes`].
    fn dot_halves(&mut self, _acc: V, _a: V, _b: V) {
        unreachable!("{MORE_BYTES}")
    }
    /// acc += the sum of the products of the two numbers of bf16 of each 32-bit lane: the upper ones first, each product
    /// added exactly and rounded to nearest. Denormals are 0 in any mode. From [`Bytes::Bf16`](super::Bytes::Bf16).
    fn dot_pairs(&mut self, _acc: V, _a: V, _b: V) {
        unreachable!("{MORE_BYTES}")
    }
    /// The same with the lane at `mem` in the place of all of b's.
    fn dot_pairs_broadcast(&mut self, _acc: V, _a: V, _mem: Mem) {
        unreachable!("{MORE_BYTES}")
    }
    /// The lanes of a, then those of b, as numbers of bf16: the nearest, the even one of two. Denormals become 0 in any mode.
    /// From [`Bytes::Bf16`](super::Bytes::Bf16).
    fn narrow_to_bf16(&mut self, _dst: V, _a: V, _b: V) {
        unreachable!("{MORE_BYTES}")
    }
    /// Each byte = that of the vector at `mem` whose number is the byte of `index`, modulo the number of bytes. From
    /// [`Bytes::Tables`](super::Bytes::Tables).
    fn permute_bytes(&mut self, _dst: V, _index: V, _mem: Mem) {
        unreachable!("{MORE_BYTES}")
    }
    /// Each byte = that of the 256 in `table` whose number is the byte of `index`. From
    /// [`Bytes::Tables`](super::Bytes::Tables).
    fn look_up(&mut self, _dst: V, _index: V, _table: [V; 4]) {
        unreachable!("{MORE_BYTES}")
    }
    fn and(&mut self, dst: V, a: V, b: V);
    fn or(&mut self, dst: V, a: V, b: V);
    fn xor(&mut self, dst: V, a: V, b: V);
    /// Shifts every 32-bit lane left.
    fn shl(&mut self, dst: V, a: V, by: u8);
    /// Shifts every 32-bit lane right, filling with zeros.
    fn shr(&mut self, dst: V, a: V, by: u8);
    /// Shifts every 32-bit lane right, filling with its sign.
    fn shr_signed(&mut self, dst: V, a: V, by: u8);
}

/// The registers of one kind that a back end has given out.
pub(super) struct Pool {
    used: u32,
    count: usize,
}

impl Pool {
    /// A pool of `count` registers, at most 32.
    pub(super) fn new(count: usize) -> Self {
        assert!(count <= 32, "a pool holds at most 32 registers");
        Self { used: 0, count }
    }

    /// The lowest free register.
    pub(super) fn take(&mut self) -> u8 {
        let index = self.used.trailing_ones();
        assert!((index as usize) < self.count, "a tile holds more than {} registers of a kind", self.count);
        self.used |= 1 << index;
        index as u8
    }

    pub(super) fn is_taken(&self, index: u8) -> bool {
        self.used & (1 << index) != 0
    }

    pub(super) fn give_back(&mut self, index: u8) {
        assert!(self.used & (1 << index) != 0, "register {index} is freed twice");
        self.used &= !(1 << index);
    }
}
