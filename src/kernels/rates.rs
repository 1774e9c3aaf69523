//! What a core is taken to do in a cycle, wherever kernels are estimated, compared and explained. Plans are the same on
//! every machine: nothing of this is measured when a network is compiled.

/// Multiply-adds of vectors that start in a cycle, and as many loads of vectors.
pub const STARTS: usize = 2;

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// Instructions on vectors of whole numbers that start in a cycle, most of which are dot products, or others.
pub fn whole_starts(dots: bool) -> usize {
    if dots { STARTS } else { 3 }
}

/// Bytes that a core reads in a cycle from the third-level cache, and from memory when others read it too (measured on
/// Zen 3 servers).
pub const THIRD_LEVEL_RATE: usize = 27;
pub const MEMORY_RATE: usize = 4;

/// Bytes that stay in the second-level cache and in the third.
pub const SECOND_LEVEL: usize = 400 << 10;
pub const THIRD_LEVEL: usize = 16 << 20;
