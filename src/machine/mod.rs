//! What is known of a CPU: caches and rates, each with its source, and the figures by which kernels are estimated and cut.
//!
//! A plan is made for a [`Machine`]: one of the table in [`KNOWN`], found by the CPU's own name for itself, with the caches
//! that the system tells of, or one that was named. It decides between kernels that compute the same bits, and says what
//! bounds a step. **The bits of results never depend on it**: where sums would be rounded in another order, or Winograd's
//! transforms have another size (all forms of convolutions in f32, whose estimates are compared), the choice is made by
//! [`STANDARD`] on every machine, so that it depends on the instruction set alone.

pub mod costs;
mod detect;
mod known;
mod system;

use crate::codegen::Isa;
use crate::diagnostic::nearest;
pub use known::{GENERIC, KNOWN, Known};
use std::sync::OnceLock;
pub use system::{Found, Topology, found};

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// A core, as kernels are chosen for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// As GCC and LLVM name it, where they do.
    pub name: &'static str,
    pub caches: Caches,
    pub rates: Rates,
}

/// Bytes that one core has of each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caches {
    /// Of data.
    pub first: usize,
    pub second: usize,
    /// What it may count on where other cores work too: half of what they share, at most 16 MiB.
    pub third: usize,
}

/// What one core starts in a cycle, by width of vectors: 128, 256 and 512 bits. A width that it lacks has the figure of the
/// next narrower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rates {
    /// Multiply-adds of f32.
    pub fma: [u8; 3],
    /// Loads.
    pub loads: [u8; 3],
    /// Sums of products of bytes (VNNI) or, where there are none such, of halves.
    pub products: [u8; 3],
    /// Instructions on whole numbers, half of them products.
    pub whole: [u8; 3],
    /// Multiply-adds of f32 in the time of one instruction that adds the products of pairs of bf16, where there is such.
    pub pairs: u8,
    /// Cycles after which a sum can be added to again by a multiply-add.
    pub latency: u8,
    /// Bytes read from the second level, from the third, and from memory: of many that lie one after the other, while other
    /// cores read too.
    pub second: u8,
    pub third: u8,
    pub memory: u8,
}

/// By what forms of convolutions in f32 are compared on every machine, because they differ in rounding: a Zen 3, on which
/// the figures of [`costs`] were measured, with vectors of any width as fast.
pub const STANDARD: Machine = Machine {
    name: "standard",
    caches: Caches { first: 32 << 10, second: 512 << 10, third: 16 << 20 },
    rates: Rates {
        fma: [2; 3],
        loads: [2; 3],
        products: [2; 3],
        whole: [3; 3],
        pairs: 2,
        latency: 4,
        second: 32,
        third: 27,
        memory: 4,
    },
};

impl Machine {
    /// The machine at hand: what is known of its kind, and the caches that the system tells of. Looked for once.
    pub fn here() -> Machine {
        static HERE: OnceLock<Machine> = OnceLock::new();
        *HERE.get_or_init(|| {
            let kind = Machine::kind();
            Machine { caches: system::caches(kind.caches), ..kind }
        })
    }

    /// What is known of the machine at hand by its name alone, so that two of a kind are the same.
    pub fn kind() -> Machine {
        detect::name().and_then(known::find).map_or(GENERIC, |known| known.machine)
    }

    /// Multiply-adds of f32 that start in a cycle.
    pub fn fma(&self, isa: Isa) -> usize {
        self.rates.fma[isa as usize].into()
    }

    /// Loads of vectors that start in a cycle.
    pub fn loads(&self, isa: Isa) -> usize {
        self.rates.loads[isa as usize].into()
    }

    /// Products of whole numbers that start in a cycle.
    pub fn products(&self, isa: Isa) -> usize {
        self.rates.products[isa as usize].into()
    }

    /// Instructions on whole numbers that start in a cycle, most of which are dot products, or others.
    pub fn whole(&self, isa: Isa, dots: bool) -> usize {
        if dots { self.products(isa) } else { self.rates.whole[isa as usize].into() }
    }

    /// How many times as long as products of f32 those of bf16 take.
    pub fn pairs(&self) -> f64 {
        f64::from(self.rates.pairs) / 2.0
    }

    /// Bytes that stay in the first level while others pass through it.
    pub fn stays_first(&self) -> usize {
        self.caches.first / 16 * 9
    }

    /// Bytes that stay in the second level while others pass through it.
    pub fn stays_second(&self) -> usize {
        self.caches.second / 32 * 25
    }

    /// Bytes of input that a block of rows may take, so that it stays in the second level with a panel of weights.
    pub fn block_bytes(&self) -> usize {
        costs::BLOCK_BYTES.min(self.caches.second / 64 * 25)
    }

    /// Bytes in a cycle, of so many that are read again after others were.
    pub fn again_rate(&self, bytes: usize) -> usize {
        if bytes < self.caches.third { self.third_rate() } else { self.memory_rate() }
    }

    /// Bytes in a cycle from the second level.
    pub fn second_rate(&self) -> usize {
        self.rates.second.into()
    }

    /// Bytes in a cycle from the third level.
    pub fn third_rate(&self) -> usize {
        self.rates.third.into()
    }

    /// Bytes in a cycle from memory.
    pub fn memory_rate(&self) -> usize {
        self.rates.memory.into()
    }

    /// Cycles after which a sum can be added to again by a multiply-add.
    pub fn latency(&self) -> usize {
        self.rates.latency.into()
    }
}

/// No machine has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown machine `{name}`{}: expected one of {}",
    near.map_or(String::new(), |near| format!(", did you mean `{near}`?")),
    names().collect::<Vec<_>>().join(", ")
)]
pub struct UnknownMachine {
    /// As it was given.
    pub name: String,
    /// What may have been meant.
    pub near: Option<&'static str>,
}

impl Known {
    /// # Errors
    /// Where no machine has this name; the message lists those that are known.
    pub fn named(name: &str) -> Result<&'static Known, UnknownMachine> {
        known::find(name).ok_or_else(|| UnknownMachine { name: name.to_owned(), near: nearest(name, names()) })
    }
}

impl Known {
    /// What a plan for it is made with: by an instruction set that it has, its widest where none is asked for. Of the machine
    /// of which nothing is known, those of the machine at hand are asked about.
    ///
    /// # Errors
    /// Where it lacks the instruction set.
    pub fn isa(&self, wanted: Option<Isa>) -> Result<Isa, LacksIsa> {
        let widest = if self.architecture.is_none() { Isa::detect().into() } else { self.isa };
        match wanted {
            Some(isa) if isa > widest => Err(LacksIsa { machine: self.machine.name, isa, widest }),
            isa => Ok(isa.unwrap_or(widest)),
        }
    }
}

/// A machine has no such instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine {machine} has no {isa}; its widest instruction set is {widest}")]
pub struct LacksIsa {
    /// Its name.
    pub machine: &'static str,
    /// What was asked for.
    pub isa: Isa,
    /// What it has.
    pub widest: Isa,
}

/// All names, for help texts.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.machine.name)
}
