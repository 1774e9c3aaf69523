//! Steps that go down the picture together: see [`Stage`].

use super::binding::Binding;
use super::code::Code;
use super::session::{Compiled, RunError, Session, checked};
use super::watch::Watch;
use crate::kernels::Operand;
use crate::schedule::{Plan, Slide, Stage, Step};
use std::ops::Range;
use std::time::Instant;

/// Operands of a step of a stage at most: few values, constants and scratch memory.
const MOST_OPERANDS: usize = 16;

/// The operands of a step in one wave.
pub(super) struct WaveOperands([Operand; MOST_OPERANDS]);

impl WaveOperands {
    /// From those of the step, which lead to where values begin: of a value that is there in part, to where it would begin.
    pub fn new(operands: &[Operand], step: &Step, stage: &Stage, wave: usize) -> WaveOperands {
        let mut own = [Operand { data: std::ptr::null_mut(), stride: 0 }; MOST_OPERANDS];
        own[..operands.len()].copy_from_slice(operands);
        for (operand, view) in own.iter_mut().zip(step.views()) {
            operand.data = operand.data.wrapping_sub(stage.bytes_before(wave, view));
        }
        WaveOperands(own)
    }

    pub fn get(&self) -> &[Operand] {
        &self.0
    }
}

impl Session {
    /// The steps of a stage, wave by wave, of the samples that do it together.
    ///
    /// # Safety
    /// As [`Session::run_step`].
    pub(super) unsafe fn run_stage(
        &mut self,
        stage: &Stage,
        mut watches: Option<&mut [Watch]>,
    ) -> Result<(), RunError> {
        for (wave, done) in stage.waves.iter().enumerate() {
            for (place, tasks) in done.tasks.iter().enumerate().filter(|(_, tasks)| !tasks.is_empty()) {
                let start = Instant::now();
                let watch = watches.as_deref().map(|watches| &watches[place]);
                // SAFETY: the caller's.
                unsafe { self.run_wave((stage, wave), stage.steps.start + place, tasks.clone(), watch) }?;
                watches.iter_mut().for_each(|watches| watches[place].add(start.elapsed()));
            }
            let start = Instant::now();
            stage.slides(wave).for_each(|slide| self.slide(stage, &slide));
            // What moves is counted with the last step.
            watches.iter_mut().filter_map(|watches| watches.last_mut()).for_each(|watch| watch.add(start.elapsed()));
        }
        Ok(())
    }

    /// Some tasks of a step, of each of the samples that do it together.
    ///
    /// # Safety
    /// As [`Session::run_step`].
    unsafe fn run_wave(
        &mut self,
        (stage, wave): (&Stage, usize),
        index: usize,
        tasks: Range<usize>,
        watch: Option<&Watch>,
    ) -> Result<(), RunError> {
        let Session { compiled, scratch, .. } = self;
        let Compiled { plan, code, constants, .. } = &**compiled;
        let (binding, step) = (self.binding.as_ref().expect("bound"), &plan.steps[index]);
        if let Some(emulation) = code.emulation() {
            let regions = binding.memory().regions(plan, step, constants.of_step(index), scratch);
            // SAFETY: as for calling the kernel, below.
            unsafe { emulation.lend(regions) };
        }
        let split = step.is_worth_splitting_tasks(tasks.len());
        for sample in 0..binding.samples(index) {
            let first = sample * step.kernel.tasks() + tasks.start;
            self.threads.run(tasks.len(), split, &|thread, range| {
                let operands = WaveOperands::new(binding.shared_alone(index, thread), step, stage, wave);
                let own = range.len();
                // SAFETY: as in `run_step`; a wave's tasks touch what the strips hold then.
                let work = || unsafe {
                    code.call(index, step, None, operands.get(), first + range.start..first + range.end);
                };
                match watch {
                    Some(watch) => watch.time(thread, own, tasks.len(), work),
                    None => work(),
                }
            });
        }
        checked(plan, code, index)
    }

    /// Moves what is still read of a strip to its begin, of each of the samples that do the stage together.
    fn slide(&mut self, stage: &Stage, slide: &Slide) {
        let (plan, binding) = (&self.compiled.plan, self.binding.as_ref().expect("bound"));
        for sample in 0..binding.samples(stage.steps.start) {
            let memory = StripMemory(binding.strip(plan, &slide.strip).wrapping_add(sample * plan.arena));
            self.threads.run(slide.strip.blocks, slide.is_worth_splitting(), &|_, blocks| {
                // SAFETY: the strip lies in the arena, which is this session's own; each block is one thread's.
                unsafe { move_blocks(slide, memory.get(), blocks) }
            });
        }
    }
}

/// Does a stage for a sample that a thread takes through the network by itself.
///
/// # Safety
/// As [`Code::call`], for the operands that the binding has for this thread.
pub(super) unsafe fn run_alone(
    (plan, code, binding): (&Plan, &Code, &Binding),
    stage: &Stage,
    thread: usize,
    sample: usize,
) {
    for (wave, done) in stage.waves.iter().enumerate() {
        for (index, tasks) in stage.steps.clone().zip(&done.tasks) {
            let step = &plan.steps[index];
            let (operands, all) = binding.own_alone(index, thread, sample);
            let operands = WaveOperands::new(operands, step, stage, wave);
            // SAFETY: the caller's; a wave's tasks touch what the strips hold then.
            unsafe { code.call(index, step, None, operands.get(), all.start + tasks.start..all.start + tasks.end) }
        }
        for slide in stage.slides(wave) {
            // SAFETY: the strip is this thread's own.
            unsafe { move_blocks(&slide, binding.own_strip(plan, &slide.strip, thread), 0..slide.strip.blocks) }
        }
    }
}

/// Moves what is still read of some blocks to the begin of their strips.
///
/// # Safety
/// `memory` is the strip's memory of one sample, of which nobody else touches these blocks.
pub(super) unsafe fn move_blocks(slide: &Slide, memory: *mut u8, blocks: Range<usize>) {
    let Slide { strip, from, count } = *slide;
    for block in blocks {
        let to = memory.wrapping_add(block * strip.positions * strip.vector);
        // SAFETY: `from + count` positions lie in the block.
        unsafe { std::ptr::copy(to.wrapping_add(from * strip.vector), to, count * strip.vector) }
    }
}

impl Slide {
    /// Whether it moves enough for more than one thread.
    pub(super) fn is_worth_splitting(&self) -> bool {
        self.count * self.strip.vector * self.strip.blocks > SPLIT_BYTES
    }
}

/// Bytes that one thread moves before another would be awake.
const SPLIT_BYTES: usize = 256 << 10;

/// Where a strip begins, for all threads.
#[derive(Clone, Copy)]
pub(super) struct StripMemory(pub *mut u8);

impl StripMemory {
    pub fn get(self) -> *mut u8 {
        self.0
    }
}

// SAFETY: the threads move different blocks.
unsafe impl Sync for StripMemory {}
