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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::Isa;
    use crate::codegen::x64::assemble;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    #[test]
    fn each_line_is_asked_for_once_and_few_at_a_time() {
        for (lines, steps) in [(0, 4), (1, 4), (3, 4), (16, 16), (24, 16), (5, 1)] {
            let asked = |step: usize| -> Vec<i64> {
                let code = assemble(Isa::Avx2, 1, &mut |asm| Fetch::new(asm.arg(0), 128, lines, steps).step(asm, step));
                let instructions = Decoder::new(64, &code, DecoderOptions::NONE).into_iter();
                let prefetches = instructions.filter(|instruction| instruction.mnemonic() == Mnemonic::Prefetcht1);
                prefetches.map(|prefetch| prefetch.memory_displacement64() as i64).collect()
            };
            let of_steps: Vec<Vec<i64>> = (0..steps).map(asked).collect();
            assert!(of_steps.iter().all(|asked| asked.len() <= lines.div_ceil(steps)), "{of_steps:?}");
            let expected: Vec<i64> = (0..lines).map(|line| 128 + (line * LINE) as i64).collect();
            assert_eq!(of_steps.concat(), expected);
        }
    }
}
