//! Hashes that do not change between versions and machines: a short one for names of what is kept in files, and a fast
//! one for checksums of what they hold.

use std::hash::{Hash, Hasher};

/// The 64-bit FNV-1a hash (Fowler, Noll and Vo; RFC 9923, section 6.1).
pub fn fnv1a(bytes: &[u8]) -> u64 {
    extend(0xcbf2_9ce4_8422_2325, bytes)
}

fn extend(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The same hash of a value: of what its `Hash` writes, sizes as 64 bits.
pub fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = Fnv1a(fnv1a(&[]));
    value.hash(&mut hasher);
    hasher.finish()
}

/// A hash of many numbers, by their bits.
pub fn hash_of_numbers<T: bytemuck::NoUninit>(numbers: &[T]) -> u64 {
    let bytes: &[u8] = bytemuck::cast_slice(numbers);
    let (stripes, rest) = bytes.split_at(bytes.len() - bytes.len() % xxh64::STRIPE);
    hash_of(&(xxh64::hash(stripes), fnv1a(rest)))
}

/// The 64-bit XXH3 hash with seed 0 (Collet, xxHash's `doc/xxhash_spec.md`) of bytes, of which there may be many: as fast as
/// they are read. Damage is missed once in 2^64. It is no signature: who wants to can make a file of any hash.
pub fn hash_of_bytes(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

struct Fnv1a(u64);

impl Hasher for Fnv1a {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = extend(self.0, bytes);
    }

    fn write_usize(&mut self, value: usize) {
        self.write(&(value as u64).to_le_bytes());
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The parts of the XXH64 hash (Collet, xxHash's `doc/xxhash_spec.md`) with seed 0 of what is a multiple of 32 bytes: of
/// the accumulators that take the bytes in, four words at a time, and of the hash that is made of them. Code that was
/// generated follows them too.
///
/// Each step of an accumulator can be undone, so that a change within one aligned word is always found; other changes,
/// of whole blocks or in their order, are missed once in 2^64. It is no signature: who wants to can make a file of any
/// hash.
pub mod xxh64 {
    /// Bytes that each accumulator takes one word of.
    pub const STRIPE: usize = 32;
    pub const PRIMES: [u64; 5] = [
        0x9e37_79b1_85eb_ca87,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0x85eb_ca77_c2b2_ae63,
        0x27d4_eb2f_1656_67c5,
    ];
    /// What accumulators begin with.
    pub const START: [u64; 4] = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0u64.wrapping_sub(PRIMES[0])];
    /// How far an accumulator is rotated when it takes a word, and when it goes into the hash.
    pub const TAKE_ROTATION: u32 = 31;
    pub const MERGE_ROTATIONS: [u32; 4] = [1, 7, 12, 18];
    /// How far the hash is shifted between the last multiplications, by [`PRIMES`] 1 and 2.
    pub const LAST_SHIFTS: [u32; 3] = [33, 29, 32];

    /// An accumulator that has taken a word.
    fn take(accumulator: u64, word: u64) -> u64 {
        let sum = accumulator.wrapping_add(word.wrapping_mul(PRIMES[1]));
        sum.rotate_left(TAKE_ROTATION).wrapping_mul(PRIMES[0])
    }

    /// # Panics
    /// Where the bytes are no multiple of [`STRIPE`].
    pub fn hash(bytes: &[u8]) -> u64 {
        let (stripes, rest) = bytes.as_chunks::<STRIPE>();
        assert!(rest.is_empty(), "whole stripes only");
        if stripes.is_empty() {
            return last(PRIMES[4]);
        }
        let mut accumulators = START;
        for stripe in stripes {
            let (words, _) = stripe.as_chunks();
            for (accumulator, &word) in accumulators.iter_mut().zip(words) {
                *accumulator = take(*accumulator, u64::from_le_bytes(word));
            }
        }
        let rotated = accumulators.iter().zip(MERGE_ROTATIONS).map(|(a, by)| a.rotate_left(by));
        let merged = accumulators.iter().fold(rotated.fold(0, u64::wrapping_add), |hash, &accumulator| {
            (hash ^ take(0, accumulator)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
        });
        last(merged.wrapping_add(bytes.len() as u64))
    }

    fn last(hash: u64) -> u64 {
        let [first, second, third] = LAST_SHIFTS;
        let hash = (hash ^ hash >> first).wrapping_mul(PRIMES[1]);
        let hash = (hash ^ hash >> second).wrapping_mul(PRIMES[2]);
        hash ^ hash >> third
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hashed_by_their_parts() {
        assert_eq!(hash_of(&7usize), fnv1a(&[7, 0, 0, 0, 0, 0, 0, 0]));
        assert_ne!(hash_of(&(1usize, 2usize)), hash_of(&(2usize, 1usize)));
    }

    /// As the `xxhash` package of Python has them.
    #[test]
    fn xxh64_of_known_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(xxh64::hash(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64::hash(&bytes[..32]), 0xcbf5_9c51_16ff_32b4);
        assert_eq!(xxh64::hash(&bytes), 0x1fac_be84_06cd_904b);
    }

    /// Test vectors of RFC 9923, appendix C.
    #[test]
    fn fnv1a_of_known_strings() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
