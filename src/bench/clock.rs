//! The clock of a core, by a loop of multiply-adds that takes the same number of cycles at any time. Whatever slows a core
//! slows it too, so that times over it are the same whatever the machine does.

use super::peak::{Line, Repeats, best_rate, function, store_sum, zeros};
use super::stats::median;
use crate::codegen::vector::VectorAsm;
use crate::codegen::{CodeError, CodeModule, HostIsa, Isa, JitCode, Linkage};
use std::time::{Duration, Instant};

/// FMAs into each accumulator in one turn of the loop: Cranelift moves every accumulator at the end of a turn.
const FMA_UNROLL: usize = 8;

/// Multiply-adds of one instruction set, with all operands in registers.
pub(super) struct FmaLoop {
    run: unsafe extern "C" fn(*mut Line, u64),
    /// Floating-point operations of a turn; a multiply-add is two.
    operations: usize,
    /// Holds what `run` points to.
    _code: JitCode,
}

impl FmaLoop {
    /// # Errors
    /// Where no code can be generated.
    pub(super) fn new(host: HostIsa) -> Result<FmaLoop, CodeError> {
        let isa = Isa::from(host);
        let mut module = CodeModule::jit(false)?;
        let mut fmas = 0;
        let tile = module.define_tile("fma", isa, 2, &mut |asm| fmas = fma_tile(asm))?;
        // Wide tiles have a calling convention of their own; the nest has C's.
        let nest = module.define_nest("fma_nest", Linkage::Local, 2, |nest| {
            let args = [nest.arg(0), nest.arg(1)];
            nest.call(tile, &args);
        })?;
        let code = module.finish_jit()?;
        Ok(FmaLoop { run: function(&code, nest), operations: 2 * isa.lanes() * fmas, _code: code })
    }

    /// What the core does, in GFLOP/s.
    pub(super) fn gflops(&self, repeats: Repeats) -> f64 {
        let mut sink = Line([0.0; 16]);
        // SAFETY: the tile stores one vector, at most a line, and repeats its loop `turns` > 0 times.
        let turns_per_second = best_rate(repeats, &mut |turns| unsafe { (self.run)(&mut sink, turns) });
        turns_per_second * self.operations as f64 / 1e9
    }
}

/// `tile(out, turns)`: FMAs into one accumulator after the other, all operands in registers. Gives their number in a
/// turn.
fn fma_tile(asm: &mut dyn VectorAsm) -> usize {
    let factor = asm.vec();
    asm.splat(factor, 0.5);
    // One register holds the factor, another is left to the compiler.
    let count = asm.registers() - 2;
    let accumulators = zeros(asm, count);
    let (out, turns) = (asm.arg(0), asm.arg(1));
    let looped = asm.loop_begin(turns);
    for _ in 0..FMA_UNROLL {
        accumulators.iter().for_each(|&acc| asm.fma(acc, factor, factor));
    }
    asm.loop_end(looped);
    store_sum(asm, &accumulators, out);
    FMA_UNROLL * count
}

/// Of a look: short beside what it is taken of, and long beside a tick. The best of three was not interrupted.
pub(super) const LOOK: Repeats = Repeats { count: 3, span: Duration::from_micros(200) };

/// Between two looks at least, so that they take a twentieth of the time and no cache from what is measured.
const BETWEEN: Duration = Duration::from_millis(20);

/// The clock of the core that measures, beside what it measures.
pub struct Clock {
    /// `None` where no code can be generated.
    fma: Option<FmaLoop>,
    /// What each look found, in GFLOP/s.
    seen: Vec<f64>,
    last: Option<Instant>,
}

impl Clock {
    /// Nobody has looked yet.
    #[allow(clippy::new_without_default, reason = "it generates code")]
    pub fn new() -> Clock {
        Clock { fma: FmaLoop::new(Isa::detect()).ok(), seen: Vec::new(), last: None }
    }

    /// Looks, unless it has just done so: to be called often while something is measured, between its runs.
    pub fn look(&mut self) {
        if self.last.is_none_or(|last| last.elapsed() >= BETWEEN) {
            self.seen.extend(self.fma.as_ref().map(|fma| fma.gflops(LOOK)));
            self.last = Some(Instant::now());
        }
    }

    /// Forgets what it has seen.
    pub fn forget(&mut self) {
        (self.seen, self.last) = (Vec::new(), None);
    }

    /// The median of what has been seen since the last call, in GFLOP/s, of one look at least; `None` where unknown.
    pub fn gflops(&mut self) -> Option<f64> {
        if self.seen.is_empty() {
            self.forget();
            self.look();
        }
        let seen = std::mem::take(&mut self.seen);
        (!seen.is_empty()).then(|| median(&seen))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of a machine for which no code can be generated.
    pub fn unknown() -> Clock {
        Clock { fma: None, seen: Vec::new(), last: None }
    }

    #[test]
    fn looks_are_apart_and_counted_once() {
        let mut clock = Clock::new();
        for _ in 0..5 {
            clock.look();
        }
        assert_eq!(clock.seen.len(), 1, "five looks at once are one");
        clock.seen = vec![100.0, 300.0, 200.0];
        assert_eq!(clock.gflops(), Some(200.0));
        let again = clock.gflops().unwrap();
        assert!(again > 0.0 && again != 200.0 && clock.seen.is_empty(), "a new look: {again}");
    }

    #[test]
    fn where_no_code_is_generated_no_clock_is_known() {
        let mut clock = unknown();
        clock.look();
        assert_eq!(clock.gflops(), None);
    }
}
