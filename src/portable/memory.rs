//! Addresses, and the loads and stores of vectors.

use super::{LANES, VECTOR};
use crate::kernels::Operand;
use crate::tensor::Half;
use wide::f32x8;

/// An address. As in generated code it may lie outside of every buffer, for example left of an image, as long as
/// nothing is read or written there; hence the wrapping arithmetic.
#[derive(Clone, Copy)]
pub struct Pointer(*mut u8);

/// Types of which any bits are a value, all of them.
///
/// # Safety
/// That is so.
pub unsafe trait Bits: Copy {}

// SAFETY: numbers.
unsafe impl Bits for u8 {}
// SAFETY: numbers.
unsafe impl Bits for i16 {}
// SAFETY: numbers.
unsafe impl Bits for i32 {}
// SAFETY: numbers.
unsafe impl Bits for f32 {}
// SAFETY: nothing is between the elements.
unsafe impl<T: Bits, const N: usize> Bits for [T; N] {}

impl Pointer {
    /// The given sample of an operand; constants are the same for all samples.
    pub fn sample(operands: &[Operand], operand: usize, sample: usize) -> Pointer {
        let Operand { data, stride } = operands[operand];
        Pointer(data).at(sample as i64 * stride)
    }

    /// An operand that is the same for all samples.
    pub fn constant(operands: &[Operand], operand: usize) -> Pointer {
        Pointer(operands[operand].data)
    }

    /// This many bytes further.
    #[inline(always)]
    pub fn at(self, bytes: i64) -> Pointer {
        Pointer(self.0.wrapping_offset(bytes as isize))
    }

    /// This many vectors further.
    #[inline(always)]
    pub fn vector(self, index: usize) -> Pointer {
        self.at(index as i64 * VECTOR)
    }

    /// # Safety
    /// Eight f32 must be readable here.
    #[inline(always)]
    pub unsafe fn load(self) -> f32x8 {
        // SAFETY: the caller's; any bits are f32.
        f32x8::new(unsafe { self.0.cast::<[f32; LANES]>().read_unaligned() })
    }

    /// Eight numbers of 16 bits.
    ///
    /// # Safety
    /// They must be readable here.
    pub unsafe fn load_wide(self, half: Half) -> f32x8 {
        // SAFETY: the caller's; any bits are whole numbers.
        let bits = unsafe { self.0.cast::<[u16; LANES]>().read_unaligned() };
        f32x8::new(bits.map(|bits| half.widen(bits)))
    }

    /// The first `count` lanes; the others are zero.
    ///
    /// # Safety
    /// `count` f32, at most eight, must be readable here.
    #[inline(always)]
    pub unsafe fn load_first(self, count: usize) -> f32x8 {
        if count == LANES {
            // SAFETY: the caller's.
            return unsafe { self.load() };
        }
        let mut lanes = [0.0f32; LANES];
        // SAFETY: the caller's; `lanes` has room for eight.
        unsafe { std::ptr::copy_nonoverlapping(self.0, lanes.as_mut_ptr().cast(), count * 4) };
        f32x8::new(lanes)
    }

    /// One f32 in all lanes.
    ///
    /// # Safety
    /// An f32 must be readable here.
    #[inline(always)]
    pub unsafe fn broadcast(self) -> f32x8 {
        // SAFETY: the caller's.
        f32x8::splat(unsafe { self.element() })
    }

    /// # Safety
    /// An f32 must be readable here.
    #[inline(always)]
    pub unsafe fn element(self) -> f32 {
        // SAFETY: the caller's.
        unsafe { self.0.cast::<f32>().read_unaligned() }
    }

    /// # Safety
    /// An f32 must be writable here.
    #[inline(always)]
    pub unsafe fn store_element(self, value: f32) {
        // SAFETY: the caller's.
        unsafe { self.0.cast::<f32>().write_unaligned(value) };
    }

    /// # Safety
    /// Eight f32 must be writable here.
    #[inline(always)]
    pub unsafe fn store(self, value: f32x8) {
        // SAFETY: the caller's.
        unsafe { self.0.cast::<[f32; LANES]>().write_unaligned(value.to_array()) };
    }

    /// Stores the first `count` lanes only.
    ///
    /// # Safety
    /// `count` f32, at most eight, must be writable here.
    #[inline(always)]
    pub unsafe fn store_first(self, value: f32x8, count: usize) {
        if count == LANES {
            // SAFETY: the caller's.
            return unsafe { self.store(value) };
        }
        // SAFETY: the caller's; the array has eight.
        unsafe { std::ptr::copy_nonoverlapping(value.to_array().as_ptr().cast(), self.0, count * 4) };
    }

    /// A value of any bits, such as an array of whole numbers.
    ///
    /// # Safety
    /// It can be read here.
    #[inline(always)]
    pub unsafe fn read<T: Bits>(self) -> T {
        // SAFETY: the caller's; any bits are a `T`.
        unsafe { self.0.cast::<T>().read_unaligned() }
    }

    /// # Safety
    /// It can be written here.
    #[inline(always)]
    pub unsafe fn write<T: Bits>(self, value: T) {
        // SAFETY: the caller's.
        unsafe { self.0.cast::<T>().write_unaligned(value) };
    }

    /// `count` elements of a table of 64-bit words.
    ///
    /// # Safety
    /// They must be readable, aligned to 8 bytes, and nobody may write them during `'a`; `T` is i64 or an array of it.
    pub unsafe fn table<'a, T>(self, count: usize) -> &'a [T] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(self.0.cast::<T>(), count) }
    }
}
