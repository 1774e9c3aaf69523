//! The machines that are known by name, and where their figures are from.
//!
//! Starts and latencies of instructions are by the book: Agner Fog, "Instruction tables"; uops.info; AMD's and Arm's
//! software optimization guides; Intel's optimization reference manual, whose bytes in a cycle are those it calls
//! sustained. What nobody told or measured is as in [`GENERIC`], whose figures for the third level and memory lie between
//! those that were measured on servers. `svertka peak` says on a machine what of it to write here.

use super::{Caches, Machine, Rates};
use crate::codegen::{Bytes, Isa};
use target_lexicon::{Aarch64Architecture, Architecture};

/// A machine, and what code for it may use.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub machine: Machine,
    /// `None` for one of any.
    pub architecture: Option<Architecture>,
    /// The widest instruction set it has; narrower ones run on it too.
    pub isa: Isa,
    /// What tiles of that can do with bytes.
    pub bytes: Bytes,
    /// Where its figures are from, beside the books.
    pub source: &'static str,
}

const X86_64: Option<Architecture> = Some(Architecture::X86_64);
const AARCH64: Option<Architecture> = Some(Architecture::Aarch64(Aarch64Architecture::Aarch64));

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A core of which nothing is known but its architecture.
pub const GENERIC: Machine =
    Machine { name: "generic", caches: Caches { first: 32 * KIB, second: 512 * KIB, third: 16 * MIB }, rates: UNKNOWN };

/// Two of everything, and what memory gave on servers: of the third level 27 bytes in a cycle on a Zen 3, 5 on an Emerald
/// Rapids.
const UNKNOWN: Rates = Rates {
    fma: [2; 3],
    loads: [2; 3],
    products: [2; 3],
    whole: [3; 3],
    pairs: 2,
    latency: 4,
    second: 32,
    third: 9,
    memory: 4,
};

/// Two pipes for vectors of 256 bits.
const HASWELL: Rates = Rates { products: [1; 3], whole: [2; 3], latency: 5, second: 25, third: 14, ..UNKNOWN };
const SKYLAKE: Rates = Rates { second: 29, third: 18, ..UNKNOWN };
/// Vectors of 512 bits in two of the three pipes.
const SKYLAKE_X: Rates = Rates { whole: [3, 3, 2], second: 52, third: 15, ..UNKNOWN };
/// Vectors of 512 bits multiply in one pipe.
const ICELAKE: Rates =
    Rates { fma: [2, 2, 1], products: [2, 2, 1], whole: [3, 3, 2], second: 48, third: 21, ..UNKNOWN };
/// `svertka peak` read 37, 5 and 4.4 bytes in a cycle on a shared Emerald Rapids of two cores with vectors of 256 bits, and
/// 50, 7.6 and 5.9 with those of 512 at another time. An instruction on pairs of bf16 took 0.74 ns there, a multiply-add 0.18.
const GOLDEN_COVE: Rates = Rates { whole: [3, 3, 2], pairs: 4, second: 37, third: 5, ..UNKNOWN };
/// Vectors of 256 bits in halves; one multiplier of whole numbers.
const ZEN1: Rates =
    Rates { fma: [2, 1, 1], loads: [2, 1, 1], products: [1, 1, 1], whole: [2, 1, 1], latency: 5, ..UNKNOWN };
const ZEN2: Rates = Rates { products: [1; 3], whole: [2; 3], latency: 5, ..UNKNOWN };
const ZEN3: Rates = Rates { third: 27, ..UNKNOWN };
/// Vectors of 512 bits in halves. Read at 3.6 GHz: 115 GB/s from the second level, 95 from the third, 30 from memory.
const ZEN4: Rates = Rates {
    fma: [2, 2, 1],
    loads: [2, 2, 1],
    products: [2, 2, 1],
    whole: [3, 3, 2],
    pairs: 1,
    third: 26,
    memory: 8,
    ..UNKNOWN
};
const ZEN5: Rates = Rates { pairs: 1, second: 64, ..UNKNOWN };
/// Four pipes, of which two multiply whole numbers; three loads.
const FOUR_PIPES: Rates = Rates { fma: [4; 3], loads: [3; 3], whole: [4; 3], ..UNKNOWN };
/// Two pipes, of which one multiplies whole numbers.
const TWO_PIPES: Rates = Rates { products: [1; 3], whole: [2; 3], ..UNKNOWN };

const fn caches(first: usize, second: usize, third: usize) -> Caches {
    Caches { first: first * KIB, second: second * KIB, third: third * MIB }
}

const fn known(
    name: &'static str,
    architecture: Option<Architecture>,
    (isa, bytes): (Isa, Bytes),
    caches: Caches,
    rates: Rates,
    source: &'static str,
) -> Known {
    Known { machine: Machine { name, caches, rates }, architecture, isa, bytes, source }
}

const CLIF: (Isa, Bytes) = (Isa::Clif, Bytes::Vectors);
const AVX2: (Isa, Bytes) = (Isa::Avx2, Bytes::Vectors);
const AVX2_VNNI: (Isa, Bytes) = (Isa::Avx2, Bytes::Dots);
const AVX512: (Isa, Bytes) = (Isa::Avx512, Bytes::Vectors);
const AVX512_VNNI: (Isa, Bytes) = (Isa::Avx512, Bytes::Dots);
const AVX512_VBMI: (Isa, Bytes) = (Isa::Avx512, Bytes::Tables);
const AVX512_BF16: (Isa, Bytes) = (Isa::Avx512, Bytes::Bf16);

const INTEL: &str = "Intel's optimization manual, chapter 2";
const AMD: &str = "AMD's software optimization guide for its family";
const ARM: &str = "Arm's software optimization guide for it";
const UNMEASURED: &str = "bytes in a cycle between those of servers";
const MEASURED: &str = "bytes in a cycle as read on a server of these";

/// All of them.
pub static KNOWN: &[Known] = &[
    Known { machine: GENERIC, architecture: None, isa: Isa::Clif, bytes: Bytes::Vectors, source: UNMEASURED },
    known("haswell", X86_64, AVX2, caches(32, 256, 4), HASWELL, INTEL),
    known("broadwell", X86_64, AVX2, caches(32, 256, 4), Rates { latency: 4, ..HASWELL }, INTEL),
    known("skylake", X86_64, AVX2, caches(32, 256, 4), SKYLAKE, INTEL),
    known("skylake-avx512", X86_64, AVX512, caches(32, 1024, 16), SKYLAKE_X, INTEL),
    known("cascadelake", X86_64, AVX512_VNNI, caches(32, 1024, 16), SKYLAKE_X, INTEL),
    known("icelake-client", X86_64, AVX512_VBMI, caches(48, 512, 4), ICELAKE, INTEL),
    known("icelake-server", X86_64, AVX512_VBMI, caches(48, 1280, 16), SKYLAKE_X_48, INTEL),
    known("tigerlake", X86_64, AVX512_VBMI, caches(48, 1280, 6), ICELAKE, INTEL),
    known("alderlake", X86_64, AVX2_VNNI, caches(48, 1280, 15), Rates { second: 48, third: 9, ..UNKNOWN }, INTEL),
    known("sapphirerapids", X86_64, AVX512_BF16, caches(48, 2048, 16), GOLDEN_COVE, "bytes as on Emerald Rapids"),
    known("emeraldrapids", X86_64, AVX512_BF16, caches(48, 2048, 16), GOLDEN_COVE, MEASURED),
    known("graniterapids", X86_64, AVX512_BF16, caches(48, 2048, 16), GOLDEN_COVE, "bytes as on Emerald Rapids"),
    known("znver1", X86_64, AVX2, caches(32, 512, 4), ZEN1, AMD),
    known("znver2", X86_64, AVX2, caches(32, 512, 8), ZEN2, AMD),
    known("znver3", X86_64, AVX2, caches(32, 512, 16), ZEN3, MEASURED),
    known("znver4", X86_64, AVX512_BF16, caches(32, 1024, 16), ZEN4, MEASURED),
    known("znver5", X86_64, AVX512_BF16, caches(48, 1024, 16), ZEN5, AMD),
    known("neoverse-n1", AARCH64, CLIF, caches(64, 1024, 16), TWO_PIPES, ARM),
    known("neoverse-n2", AARCH64, CLIF, caches(64, 1024, 16), Rates { loads: [3; 3], ..TWO_PIPES }, ARM),
    known("neoverse-v1", AARCH64, CLIF, caches(64, 1024, 16), FOUR_PIPES, ARM),
    known("neoverse-v2", AARCH64, CLIF, caches(64, 2048, 16), FOUR_PIPES, ARM),
    known(
        "apple-m",
        AARCH64,
        CLIF,
        caches(128, 3072, 4),
        Rates { products: [4; 3], ..FOUR_PIPES },
        "Dougall Johnson, Apple M1 microarchitecture research",
    ),
];

/// As the client's cores, but that they multiply vectors of 512 bits in two pipes.
const SKYLAKE_X_48: Rates = Rates { second: 48, ..SKYLAKE_X };

/// The machine of this name.
pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.machine.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::names;

    #[test]
    fn no_rate_is_zero_and_wider_vectors_are_no_faster() {
        for Known { machine, .. } in KNOWN {
            let Rates { fma, loads, products, whole, pairs, latency, second, third, memory } = machine.rates;
            for widths in [fma, loads, products, whole] {
                assert!(widths[2] > 0 && widths.is_sorted_by(|narrow, wide| narrow >= wide), "{machine:?}");
            }
            assert!(pairs > 0 && latency > 0 && memory > 0 && memory <= third && third <= second, "{machine:?}");
            let Caches { first, second, third } = machine.caches;
            assert!(first >= 32 * KIB && first < second && second < third, "{machine:?}");
        }
    }

    #[test]
    fn names_differ() {
        let mut sorted: Vec<_> = names().collect();
        sorted.sort_unstable();
        assert!(sorted.is_sorted_by(|a, b| a < b), "{sorted:?}");
    }
}
