//! A hash that does not change between versions and machines, for names of what is kept in files.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hashed_by_their_parts() {
        assert_eq!(hash_of(&7usize), fnv1a(&[7, 0, 0, 0, 0, 0, 0, 0]));
        assert_ne!(hash_of(&(1usize, 2usize)), hash_of(&(2usize, 1usize)));
    }

    /// Test vectors of RFC 9923, appendix C.
    #[test]
    fn fnv1a_of_known_strings() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
