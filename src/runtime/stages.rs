//! Steps that go down the picture together: see [`Stage`].

use super::binding::Binding;
use super::code::Code;
use super::observed::Rows;
use super::session::{Compiled, RunError, Session, checked};
use super::watch::Watch;
use crate::kernels::Operand;
use crate::schedule::{Echo, Plan, Stage, Turn};
use std::ops::Range;
use std::time::Instant;

/// Operands of a step of a stage at most: few values, constants and scratch memory.
const MOST_OPERANDS: usize = 16;

/// The operands of a step in one turn.
pub(super) struct TurnOperands([Operand; MOST_OPERANDS]);

impl TurnOperands {
    /// From those of the step, which lead to where values begin: of a value that is there in part, to where it would begin.
    pub fn new(operands: &[Operand], turn: &Turn) -> TurnOperands {
        let mut own = [Operand { data: std::ptr::null_mut(), stride: 0 }; MOST_OPERANDS];
        own[..operands.len()].copy_from_slice(operands);
        for (operand, before) in own.iter_mut().zip(&turn.before) {
            operand.data = operand.data.wrapping_sub(*before);
        }
        TurnOperands(own)
    }

    pub fn get(&self) -> &[Operand] {
        &self.0
    }
}

impl Session {
    /// Whether the samples that do a stage together do it turn by turn. What emulated tiles may touch is known of strips.
    pub(super) fn takes_turns(&self, stage: &Stage) -> bool {
        !stage.alone || self.scratch.len() == 1 || self.compiled.code.emulation().is_some()
    }

    /// The steps of a stage, turn by turn, of the samples that do it together. What they make goes to `rows` too.
    ///
    /// # Safety
    /// As [`Session::run_step`].
    pub(super) unsafe fn run_stage(
        &mut self,
        stage: &Stage,
        mut watches: Option<&mut [Watch]>,
        mut rows: Option<&mut Rows>,
    ) -> Result<(), RunError> {
        for turn in &stage.turns {
            let (start, place) = (Instant::now(), turn.step - stage.steps.start);
            let watch = watches.as_deref().map(|watches| &watches[place]);
            // SAFETY: the caller's.
            unsafe { self.run_turn(turn, watch) }?;
            turn.echoes.iter().for_each(|echo| self.echo(stage, echo));
            watches.iter_mut().for_each(|watches| watches[place].add(start.elapsed()));
            let (plan, binding) = (&self.compiled.plan, self.binding.as_ref().expect("bound"));
            rows.iter_mut().for_each(|rows| rows.collect(plan, stage, turn, binding));
        }
        Ok(())
    }

    /// Some tasks of a step, of each of the samples that do it together.
    ///
    /// # Safety
    /// As [`Session::run_step`].
    unsafe fn run_turn(&mut self, turn: &Turn, watch: Option<&Watch>) -> Result<(), RunError> {
        let Session { compiled, scratch, .. } = self;
        let Compiled { plan, code, constants, .. } = &**compiled;
        let (index, tasks) = (turn.step, turn.tasks.clone());
        let (binding, step) = (self.binding.as_ref().expect("bound"), &plan.steps[index]);
        if let Some(emulation) = code.emulation() {
            let regions = binding.memory().regions(plan, step, constants.of_step(index), scratch);
            // SAFETY: as for calling the kernel, below.
            unsafe { emulation.lend(regions) };
        }
        let split = step.is_worth_splitting_tasks(tasks.len());
        for sample in 0..binding.samples(index) {
            let first = sample * step.kernel_of_turns().tasks() + tasks.start;
            self.threads.run(tasks.len(), split, &|thread, range| {
                let operands = TurnOperands::new(binding.shared_alone(index, thread), turn);
                let own = range.len();
                // SAFETY: as in `run_step`; the tasks of a turn touch what the strips hold then.
                let work = || unsafe {
                    code.call_turn(index, step, operands.get(), first + range.start..first + range.end);
                };
                match watch {
                    Some(watch) => watch.time(thread, own, tasks.len(), work),
                    None => work(),
                }
            });
        }
        checked(plan, code, index)
    }

    /// Copies what lies at both ends of a ring, of each of the samples that do the stage together.
    fn echo(&mut self, stage: &Stage, echo: &Echo) {
        let (plan, binding) = (&self.compiled.plan, self.binding.as_ref().expect("bound"));
        for sample in 0..binding.samples(stage.steps.start) {
            let memory = StripMemory(binding.strip(plan, &echo.strip).wrapping_add(sample * plan.arena));
            self.threads.run(echo.blocks.len(), echo.is_worth_splitting(), &|_, part| {
                let blocks = echo.blocks.start + part.start..echo.blocks.start + part.end;
                // SAFETY: the strip lies in the arena, which is this session's own; each block is one thread's.
                unsafe { copy_blocks(echo, memory.get(), blocks) }
            });
        }
    }
}

/// Does a stage for a sample that a thread takes through the network by itself.
///
/// # Safety
/// As [`Code::call_turn`], for the operands that the binding has for this thread.
pub(super) unsafe fn run_alone(
    (plan, code, binding): (&Plan, &Code, &Binding),
    stage: &Stage,
    thread: usize,
    sample: usize,
) {
    for turn in &stage.turns {
        let (step, operands) = (&plan.steps[turn.step], TurnOperands::new(binding.own_alone(turn.step, thread), turn));
        let first = sample * step.kernel_of_turns().tasks();
        let tasks = first + turn.tasks.start..first + turn.tasks.end;
        // SAFETY: the caller's; the tasks of a turn touch what the strips hold then.
        unsafe { code.call_turn(turn.step, step, operands.get(), tasks) }
        for echo in &turn.echoes {
            // SAFETY: the strip is this thread's own.
            unsafe { copy_blocks(echo, binding.own_strip(plan, &echo.strip, thread), echo.blocks.clone()) }
        }
    }
}

/// Copies what lies at both ends of the rings of some blocks.
///
/// # Safety
/// `memory` is the strip's memory of one sample, of which nobody else touches these blocks.
unsafe fn copy_blocks(echo: &Echo, memory: *mut u8, blocks: Range<usize>) {
    for block in blocks {
        let [from, to] = echo.offsets(block).map(|offset| memory.wrapping_add(offset));
        // SAFETY: both parts lie in the block.
        unsafe { std::ptr::copy(from, to, echo.block_bytes()) }
    }
}

/// Where a strip begins, for all threads.
#[derive(Clone, Copy)]
struct StripMemory(pub *mut u8);

impl StripMemory {
    fn get(self) -> *mut u8 {
        self.0
    }
}

// SAFETY: the threads copy different blocks.
unsafe impl Sync for StripMemory {}
