//! Sums of many terms.
//!
//! A chain of f32 additions may lose half a unit in the last place of its sum with every term: n equal terms are off by up
//! to n * 2^-25. So no chain is longer than [`CHAIN`], which keeps its error below 8e-6. The sums of chains are added to a
//! total: in memory where they are few (25,000 terms make 49), else one that keeps what rounding loses.

use crate::codegen::vector::{Compare, R, V, VectorAsm};

/// Terms of a chain at most, but for a window's row that is longer by itself.
pub const CHAIN: usize = 512;

/// Something that is done in every so many passes of a loop. Takes an integer register.
pub struct Every {
    left: R,
    passes: i64,
}

impl Every {
    /// Before the loop: as many passes as add no more than [`CHAIN`] terms.
    pub fn chain(asm: &mut dyn VectorAsm, terms_of_pass: usize) -> Every {
        let left = asm.int();
        Every::chain_in(asm, left, terms_of_pass)
    }

    /// The same in a register that the caller has.
    pub fn chain_in(asm: &mut dyn VectorAsm, left: R, terms_of_pass: usize) -> Every {
        let every = Every { left, passes: (CHAIN / terms_of_pass).max(1) as i64 };
        asm.set_int(left, every.passes);
        every
    }

    /// In the loop: emits `body`, which runs in the last of each so many passes.
    pub fn pass(&self, asm: &mut dyn VectorAsm, body: impl FnOnce(&mut dyn VectorAsm)) {
        asm.add_imm(self.left, -1);
        let due = asm.if_zero(self.left);
        body(asm);
        asm.set_int(self.left, self.passes);
        asm.end_if(due);
    }

    /// Behind the loop: gives the register back.
    pub fn end(self, asm: &mut dyn VectorAsm) {
        asm.free_int(self.left);
    }
}

/// A total that keeps what rounding loses of it (Kahan 1965, "Further remarks on reducing truncation errors").
pub struct Total {
    sum: V,
    /// What the sum has too much.
    lost: V,
}

impl Total {
    /// Registers of one.
    pub const REGISTERS: usize = 2;

    /// Zero.
    pub fn new(asm: &mut dyn VectorAsm) -> Total {
        let total = Total { sum: asm.vec(), lost: asm.vec() };
        total.clear(asm);
        total
    }

    /// Begins anew at zero.
    pub fn clear(&self, asm: &mut dyn VectorAsm) {
        asm.splat(self.sum, 0.0);
        asm.splat(self.lost, 0.0);
    }

    /// Adds `part`, which becomes zero. Takes one more register.
    pub fn add(&self, asm: &mut dyn VectorAsm, part: V) {
        let sum = asm.vec();
        asm.sub(part, part, self.lost);
        asm.add(sum, self.sum, part);
        asm.sub(self.lost, sum, self.sum);
        asm.sub(self.lost, self.lost, part);
        asm.copy(self.sum, sum);
        asm.splat(part, 0.0);
        // What an infinite sum has lost is infinite or NaN, and forgotten: the difference from itself is no number.
        asm.sub(sum, self.lost, self.lost);
        asm.select(Compare::Eq, self.lost, sum, part, self.lost, part);
        asm.free(sum);
    }

    /// The register of the sum, to which no more than [`CHAIN`] parts may be added as they are.
    pub fn sum(&self) -> V {
        self.sum
    }

    /// The sum.
    pub fn end(self, asm: &mut dyn VectorAsm) -> V {
        asm.free(self.lost);
        self.sum
    }
}
