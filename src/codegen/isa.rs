//! The vector instruction sets that tiles are made for.

use crate::tensor::Half;
use std::fmt;
use std::str::FromStr;

use target_lexicon::Architecture;

/// A back end of the vector assembler, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// 128-bit vectors through Cranelift: every CPU that Cranelift knows.
    Clif,
    /// 256-bit vectors: x86-64 with AVX2, FMA3 and F16C.
    Avx2,
    /// 512-bit vectors: x86-64 with AVX-512 F, DQ, BW and VL, which CPUs have together.
    Avx512,
}

impl Isa {
    pub const ALL: [Isa; 3] = [Isa::Clif, Isa::Avx2, Isa::Avx512];

    /// The widest instruction set this machine can run.
    pub fn detect() -> HostIsa {
        *Isa::available().last().expect("Clif is always available")
    }

    /// The instruction sets this machine can run, narrowest first.
    pub fn available() -> Vec<HostIsa> {
        Isa::ALL.into_iter().filter_map(Isa::on_host).collect()
    }

    /// This instruction set, if this machine can run it.
    pub fn on_host(self) -> Option<HostIsa> {
        self.runs_here().then_some(HostIsa(self))
    }

    #[cfg(target_arch = "x86_64")]
    fn runs_here(self) -> bool {
        use std::is_x86_feature_detected as has;
        match self {
            Isa::Clif => true,
            Isa::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
            Isa::Avx512 => {
                let more = [has!("avx512f"), has!("avx512dq"), has!("avx512bw"), has!("avx512vl")];
                Isa::Avx2.runs_here() && more == [true; 4]
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn runs_here(self) -> bool {
        self == Isa::Clif
    }

    /// Whether its tiles widen numbers of this type as fast as they come from memory. Cranelift has no instruction for
    /// f16, and with those for whole numbers a dense layer took 3.4 times as long as with weights in f32.
    pub fn widens(self, half: Half) -> bool {
        self != Isa::Clif || half == Half::Bf16
    }

    /// f32 lanes of a vector register.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Clif => 4,
            Isa::Avx2 => 8,
            Isa::Avx512 => 16,
        }
    }

    /// Vector registers that a tile may hold at once on machines of `architecture`.
    pub fn registers(self, architecture: Architecture) -> usize {
        match self {
            // Of 16 registers Cranelift keeps one and a broadcast operand needs another; of 32 a few more are left to
            // the register allocator's moves.
            Isa::Clif if architecture == Architecture::X86_64 => 14,
            Isa::Clif => 28,
            // One is the assembler's own, for masks and broadcast operands.
            Isa::Avx2 => 15,
            Isa::Avx512 => 32,
        }
    }
}

impl Isa {
    /// Vector registers of a tile that uses no partial access, comparison, selection or broadcast operand while it
    /// holds them all.
    pub fn plain_registers(self, architecture: Architecture) -> usize {
        match self {
            Isa::Avx2 => 16,
            _ => self.registers(architecture),
        }
    }
}

/// An instruction set that this machine was found to have, which [`Isa::on_host`] alone says: whoever runs code in this
/// process asks for one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostIsa(Isa);

impl HostIsa {
    /// What its tiles can do with bytes on this machine.
    pub fn bytes(self) -> Bytes {
        match self.0 {
            Isa::Clif => Bytes::Vectors,
            Isa::Avx2 => Bytes::of_avx2(),
            Isa::Avx512 => Bytes::of_avx512(),
        }
    }
}

/// What tiles can do with bytes, each of these more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bytes {
    /// There are no tiles.
    None,
    /// Make vectors of them and of vectors them: every instruction set.
    Vectors,
    /// Multiply and add four in an instruction: AVX-VNNI, AVX-512 with VNNI.
    Dots,
    /// Move them, and look them up in tables: AVX-512 with VNNI and VBMI.
    Tables,
    /// Multiply and add pairs of bf16, too: AVX-512 with VNNI, VBMI and BF16.
    Bf16,
}

impl Bytes {
    /// The most that tiles of an instruction set can do on any machine.
    pub fn most(isa: Isa) -> Bytes {
        match isa {
            Isa::Clif => Bytes::Vectors,
            Isa::Avx2 => Bytes::Dots,
            Isa::Avx512 => Bytes::Bf16,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn of_avx2() -> Bytes {
        if std::is_x86_feature_detected!("avxvnni") { Bytes::Dots } else { Bytes::Vectors }
    }

    #[cfg(target_arch = "x86_64")]
    fn of_avx512() -> Bytes {
        use std::is_x86_feature_detected as has;
        match (has!("avx512vnni"), has!("avx512vbmi"), has!("avx512bf16")) {
            (true, true, true) => Bytes::Bf16,
            (true, true, false) => Bytes::Tables,
            (true, false, _) => Bytes::Dots,
            _ => Bytes::Vectors,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_avx2() -> Bytes {
        Bytes::Vectors
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_avx512() -> Bytes {
        Bytes::Vectors
    }
}

impl From<HostIsa> for Isa {
    fn from(host: HostIsa) -> Isa {
        host.0
    }
}

impl PartialEq<Isa> for HostIsa {
    fn eq(&self, other: &Isa) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for HostIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Clif => "clif",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}

/// No instruction set has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set `{0}`: expected clif, avx2 or avx512")]
pub struct UnknownIsa(String);

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Isa, UnknownIsa> {
        Isa::ALL.into_iter().find(|isa| isa.to_string() == name).ok_or_else(|| UnknownIsa(name.to_string()))
    }
}
