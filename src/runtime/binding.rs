//! The operands of all steps for one batch: made once, used by every run that cuts it alike.

use super::buffer::AlignedBuffer;
use super::constants::Constants;
use crate::codegen::emulator::Region;
use crate::kernels::{Layout, Operand};
use crate::schedule::{Buffer, Cut, Place, Plan, Step, View};
use crate::tensor::{DType, Tensor};
use std::ops::Range;

/// Where everything lies that the kernels of a plan touch. The caller's tensors are those of the current run.
pub struct Binding {
    memory: Memory,
    steps: Vec<BoundStep>,
    threads: Vec<OfThread>,
    /// Operands that are the caller's: their index, place and offset in bytes.
    callers: Vec<(usize, Place, usize)>,
    /// Whether the samples that go by themselves are worth more than one thread.
    split: bool,
}

struct BoundStep {
    /// Index of its first operand.
    first: usize,
    /// Of one sample.
    tasks: usize,
    /// Whether the samples that go together are worth more than one thread.
    split: bool,
}

/// The operands of all steps for one thread, with its scratch memory.
struct OfThread {
    /// For the samples that it takes through the network by itself, whose values all lie at one place: sample `n` of the
    /// batch is sample `n` of the operands.
    own: Vec<Operand>,
    /// For those that go together: sample `n` of the operands is the `n`-th of them.
    shared: Vec<Operand>,
}

// SAFETY: the pointers lead to memory that the session owns beside this, and to the caller's during a run. Kernels on
// several threads write at disjoint places only (see `kernels`); scratch memory is each thread's own.
unsafe impl Send for Binding {}
// SAFETY: as above; shared, it only gives its operands away.
unsafe impl Sync for Binding {}

impl Binding {
    /// `arena` must hold the plan's arena for each slot of the cut, `constants` the plan's, `scratch` a buffer for each
    /// thread.
    pub fn new(
        plan: &Plan,
        cut: Cut,
        arena: &mut AlignedBuffer,
        constants: &Constants,
        scratch: &mut [AlignedBuffer],
    ) -> Binding {
        let none = std::ptr::null_mut();
        let (inputs, outputs) = (vec![none; plan.graph.inputs.len()], vec![none; plan.outputs.len()]);
        let memory = Memory { arena: arena.as_mut_ptr(), slot: plan.arena_bytes(), inputs, outputs, cut };
        let (mut steps, mut operands, mut callers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut in_arena, mut scratch_operands) = (Vec::new(), Vec::new());
        for (index, step) in plan.steps.iter().enumerate() {
            let (tasks, split) = (step.kernel.tasks(), step.worth_splitting(cut.rest()));
            steps.push(BoundStep { first: operands.len(), tasks, split });
            for view in step.views() {
                let place = plan.buffers[view.buffer.0].place;
                match place {
                    Place::Arena(_) => in_arena.push(operands.len()),
                    Place::Input(_) | Place::Output(_) => callers.push((operands.len(), place, view.offset)),
                }
                operands.push(memory.operand(plan, view));
            }
            operands.extend(constants.of_step(index).map(|(data, _)| Operand { data: data.cast_mut(), stride: 0 }));
            scratch_operands.push(operands.len());
            operands.push(Operand { data: none, stride: 0 });
        }
        let of_thread = |(thread, scratch): (usize, &mut AlignedBuffer)| {
            let mut shared = operands.clone();
            scratch_operands.iter().for_each(|&index| shared[index].data = scratch.as_mut_ptr());
            let mut own = shared.clone();
            // Where each thread has samples of its own, there is a slot for each.
            let slot = if cut.alone > 0 { thread * memory.slot } else { 0 };
            for &index in &in_arena {
                own[index] = Operand { data: own[index].data.wrapping_add(slot), stride: 0 };
            }
            OfThread { own, shared }
        };
        let threads = scratch.iter_mut().enumerate().map(of_thread).collect();
        Binding { memory, steps, threads, callers, split: cut.alone > plan.split_above() }
    }

    pub fn cut(&self) -> Cut {
        self.memory.cut
    }

    /// Takes where the values of a run begin, as many as the plan states for the batch.
    pub fn set_callers(&mut self, inputs: impl Iterator<Item = *const f32>, outputs: impl Iterator<Item = *mut f32>) {
        let Memory { inputs: input_data, outputs: output_data, .. } = &mut self.memory;
        input_data.iter_mut().zip(inputs).for_each(|(data, values)| *data = values.cast_mut().cast());
        output_data.iter_mut().zip(outputs).for_each(|(data, values)| *data = values.cast());
        for &(index, place, offset) in &self.callers {
            let data = self.memory.base(place).wrapping_add(offset);
            for OfThread { own, shared } in &mut self.threads {
                own[index].data = data;
                shared[index].data = data.wrapping_add(self.memory.cut.alone * own[index].stride as usize);
            }
        }
    }

    /// Whether the samples that go by themselves are worth more than one thread.
    pub fn is_worth_splitting(&self) -> bool {
        self.split
    }

    /// A step of a sample that a thread takes through the network by itself: the operands, and those of the steps behind
    /// it, and the tasks.
    pub fn own(&self, step: usize, thread: usize, sample: usize) -> (&[Operand], Range<usize>) {
        let BoundStep { first, tasks, .. } = self.steps[step];
        (&self.threads[thread].own[first..], tasks * sample..tasks * (sample + 1))
    }

    /// Tasks of a step of the samples that go together, and whether they are worth more than one thread.
    pub fn tasks(&self, step: usize) -> (usize, bool) {
        let BoundStep { tasks, split, .. } = self.steps[step];
        (tasks * self.memory.cut.rest(), split)
    }

    /// The operands of a step of the samples that go together for a thread, and those of the steps behind it.
    pub fn shared(&self, step: usize, thread: usize) -> &[Operand] {
        &self.threads[thread].shared[self.steps[step].first..]
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// The memory of a run.
pub struct Memory {
    arena: *mut u8,
    /// Bytes from the arena of one sample to that of the next.
    slot: usize,
    inputs: Vec<*mut u8>,
    outputs: Vec<*mut u8>,
    cut: Cut,
}

impl Memory {
    fn operand(&self, plan: &Plan, view: &View) -> Operand {
        let Buffer { place, bytes, .. } = plan.buffers[view.buffer.0];
        let stride = if let Place::Arena(_) = place { self.slot } else { bytes };
        Operand { data: self.base(place).wrapping_add(view.offset), stride: stride as i64 }
    }

    fn base(&self, place: Place) -> *mut u8 {
        match place {
            Place::Input(index) => self.inputs[index],
            Place::Output(index) => self.outputs[index],
            Place::Arena(offset) => self.arena.wrapping_add(offset),
        }
    }

    /// What the kernel of `step` may touch where all samples go together.
    pub fn regions(
        &self,
        plan: &Plan,
        step: &Step,
        constants: impl Iterator<Item = (*const u8, usize)>,
        scratch: &[AlignedBuffer],
    ) -> Vec<Region> {
        let region = |start: *const u8, len, writable| Region { start: start.expose_provenance(), len, writable };
        let inputs =
            step.inputs.iter().flat_map(|view| self.samples(plan, view).map(|(at, len)| region(at, len, false)));
        let constants = constants.map(|(start, bytes)| region(start, bytes, false));
        let scratch = scratch.iter().map(|s| region(s.as_ptr(), s.len(), true));
        // What may be written comes first: the output may be written over an input.
        let outputs = std::iter::once(&step.output).chain(step.beside.iter().map(|(_, view)| view));
        let outputs = outputs.flat_map(|view| self.samples(plan, view).map(|(at, len)| region(at, len, true)));
        outputs.chain(inputs).chain(constants).chain(scratch).collect()
    }

    /// Where the samples of a value lie, and how many bytes each has; all together where nothing is between them.
    fn samples(&self, plan: &Plan, view: &View) -> impl Iterator<Item = (*const u8, usize)> {
        let Operand { data, stride } = self.operand(plan, view);
        // In the arena a value of one position has room for whole blocks, and may be read as such.
        let in_arena = matches!(plan.buffers[view.buffer.0].place, Place::Arena(_));
        let one_position = view.ty.spatial().iter().product::<usize>() == 1;
        let layout = if in_arena && one_position { Layout::Blocked } else { view.layout };
        let bytes = layout.bytes(&view.ty, plan.target.lanes);
        let batch = self.cut.batch;
        let (count, bytes) = if bytes == stride as usize { (1, bytes * batch) } else { (batch, bytes) };
        (0..count).map(move |sample| (data.wrapping_add(sample * stride as usize).cast_const(), bytes))
    }

    /// A value as a row-major tensor, where all samples go together; whole numbers as what they are, not what they stand for.
    pub fn read(&self, plan: &Plan, view: &View) -> Tensor {
        let operand = self.operand(plan, view);
        let lanes = plan.target.lanes;
        let positions: usize = view.ty.spatial().iter().product();
        let mut tensor = Tensor::zeros(view.ty.shape(self.cut.batch));
        for n in 0..self.cut.batch {
            for c in 0..view.ty.channels() {
                for p in 0..positions {
                    let index = match view.layout {
                        Layout::Nchw => c * positions + p,
                        Layout::Blocked => (c / lanes * positions + p) * lanes + c % lanes,
                    };
                    let sample = operand.data.wrapping_add(n * operand.stride as usize);
                    // SAFETY: the view lies inside its buffer, of which every sample was allocated; no kernel runs.
                    tensor.plane_mut(n, c)[p] = unsafe { element(sample, view.ty.dtype, index) };
                }
            }
        }
        tensor
    }
}

/// The `index`-th element of a sample.
///
/// # Safety
/// It can be read.
unsafe fn element(sample: *mut u8, dtype: DType, index: usize) -> f32 {
    match dtype {
        // SAFETY: the caller's; values of f32 are aligned.
        DType::F32 => unsafe { *sample.cast::<f32>().wrapping_add(index) },
        // SAFETY: the caller's.
        DType::U8(_) => unsafe { *sample.wrapping_add(index) }.into(),
    }
}
