//! Measuring: how fast a network runs, how fast each of its steps does, and how fast this machine could.

pub mod baseline;
pub mod html;
pub mod machine;
pub mod measure;
pub mod peak;
pub mod profile;
pub mod report;
pub mod stats;
pub mod suite;
pub mod table;

/// Schema of the JSON that is written and read here; it grows with every change that an older reader would
/// misunderstand.
pub const SCHEMA_VERSION: u32 = 2;

/// Units of work a second; 0 where no time passed between two ticks of the clock.
fn rate(work: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { work / seconds } else { 0.0 }
}

/// The 64-bit FNV-1a hash (Fowler, Noll and Vo; RFC 9923, section 6.1), which does not change between versions.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    /// Test vectors of RFC 9923, appendix C.
    #[test]
    fn fnv1a_of_known_strings() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
