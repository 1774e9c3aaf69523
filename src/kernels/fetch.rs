//! Asking for what will be needed next while something else is computed.

use crate::codegen::vector::{R, VectorAsm};
use crate::machine::LINE;

/// Cache lines that lie one after the other, some of which each turn of a loop asks for: shared out among the steps of its
/// body. A core waits for few lines at a time (the first level of Golden Cove notes 16), and those that are asked for in
/// one go hold up the loads behind them: Winograd's products of 256 channels at 14x14 took 1.15 times as long on an Emerald
/// Rapids.
#[derive(Clone, Copy)]
pub struct Fetch {
    from: R,
    /// Bytes behind `from`.
    offset: i64,
    lines: usize,
    steps: usize,
}

impl Fetch {
    /// `lines` lines a turn, `offset` bytes behind `from` on, by a body of `steps` steps.
    pub fn new(from: R, offset: i64, lines: usize, steps: usize) -> Fetch {
        Fetch { from, offset, lines, steps }
    }

    /// Asks for the lines of a step.
    pub fn step(&self, asm: &mut dyn VectorAsm, step: usize) {
        let before = |step: usize| step * self.lines / self.steps;
        let lines = before(step)..before(step + 1);
        lines.for_each(|line| asm.prefetch(self.from.at(self.offset + (line * LINE) as i64)));
    }

    /// Behind the body: the next turn asks for what comes next.
    pub fn pass(&self, asm: &mut dyn VectorAsm) {
        if self.lines > 0 {
            asm.add_imm(self.from, (self.lines * LINE) as i64);
        }
    }

    /// Behind the loop: gives the register back.
    pub fn end(self, asm: &mut dyn VectorAsm) {
        asm.free_int(self.from);
    }
}
