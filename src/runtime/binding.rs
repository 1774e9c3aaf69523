//! The operands of all steps for one batch: made once, used by every run.

use super::buffer::AlignedBuffer;
use super::constants::Constants;
use crate::codegen::emulator::Region;
use crate::kernels::{Layout, Operand};
use crate::schedule::{Buffer, Place, Plan, Step, View};
use crate::tensor::Tensor;

/// Where everything lies that the kernels of a plan touch. The caller's tensors are those of the current run.
pub struct Binding {
    memory: Memory,
    steps: Vec<BoundStep>,
    /// For each thread the operands of all steps, which differ in the scratch memory.
    threads: Vec<Vec<Operand>>,
    /// Operands that are the caller's: their index, place and offset in bytes.
    callers: Vec<(usize, Place, usize)>,
}

struct BoundStep {
    /// Index of its first operand.
    first: usize,
    /// Of the whole batch.
    tasks: usize,
    split: bool,
}

// SAFETY: the pointers lead to memory that the session owns beside this, and to the caller's during a run. Kernels on
// several threads write at disjoint places only (see `kernels`); scratch memory is each thread's own.
unsafe impl Send for Binding {}
// SAFETY: as above; shared, it only gives its operands away.
unsafe impl Sync for Binding {}

impl Binding {
    /// `arena` must hold the plan's arena for the batch, `constants` the plan's, `scratch` a buffer for each thread.
    pub fn new(
        plan: &Plan,
        batch: usize,
        arena: &mut AlignedBuffer,
        constants: &Constants,
        scratch: &mut [AlignedBuffer],
    ) -> Binding {
        let none = std::ptr::null_mut();
        let (inputs, outputs) = (vec![none; plan.graph.inputs.len()], vec![none; plan.outputs.len()]);
        let memory = Memory { arena: arena.as_mut_ptr(), inputs, outputs, batch };
        let (mut steps, mut operands, mut callers) = (Vec::new(), Vec::new(), Vec::new());
        let mut scratch_operands = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let (tasks, split) = (step.kernel.tasks() * batch, step.worth_splitting(batch));
            steps.push(BoundStep { first: operands.len(), tasks, split });
            for view in step.views() {
                let place = plan.buffers[view.buffer.0].place;
                if !matches!(place, Place::Arena(_)) {
                    callers.push((operands.len(), place, view.offset * 4));
                }
                operands.push(memory.operand(plan, view));
            }
            operands.extend(constants.of_step(index).map(|(data, _)| Operand { data: data.cast_mut(), stride: 0 }));
            scratch_operands.push(operands.len());
            operands.push(Operand { data: none, stride: 0 });
        }
        let of_thread = |scratch: &mut AlignedBuffer| {
            let mut operands = operands.clone();
            scratch_operands.iter().for_each(|&index| operands[index].data = scratch.as_mut_ptr());
            operands
        };
        Binding { memory, steps, threads: scratch.iter_mut().map(of_thread).collect(), callers }
    }

    pub fn batch(&self) -> usize {
        self.memory.batch
    }

    /// Takes where the values of a run begin, as many as the plan states for the batch.
    pub fn set_callers(&mut self, inputs: impl Iterator<Item = *const f32>, outputs: impl Iterator<Item = *mut f32>) {
        let Memory { inputs: input_data, outputs: output_data, .. } = &mut self.memory;
        input_data.iter_mut().zip(inputs).for_each(|(data, values)| *data = values.cast_mut().cast());
        output_data.iter_mut().zip(outputs).for_each(|(data, values)| *data = values.cast());
        for &(index, place, offset) in &self.callers {
            let data = self.memory.base(place).wrapping_add(offset);
            self.threads.iter_mut().for_each(|operands| operands[index].data = data);
        }
    }

    /// Tasks of a step, and whether they are worth more than one thread.
    pub fn tasks(&self, step: usize) -> (usize, bool) {
        let BoundStep { tasks, split, .. } = self.steps[step];
        (tasks, split)
    }

    /// The operands of a step for a thread, and those of the steps behind it.
    pub fn operands(&self, step: usize, thread: usize) -> &[Operand] {
        &self.threads[thread][self.steps[step].first..]
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// The memory of a run.
pub struct Memory {
    arena: *mut u8,
    inputs: Vec<*mut u8>,
    outputs: Vec<*mut u8>,
    batch: usize,
}

impl Memory {
    fn operand(&self, plan: &Plan, view: &View) -> Operand {
        let Buffer { place, elements, .. } = plan.buffers[view.buffer.0];
        Operand { data: self.base(place).wrapping_add(view.offset * 4), stride: (elements * 4) as i64 }
    }

    fn base(&self, place: Place) -> *mut u8 {
        match place {
            Place::Input(index) => self.inputs[index],
            Place::Output(index) => self.outputs[index],
            Place::Arena(offset) => self.arena.wrapping_add(offset * 4 * self.batch),
        }
    }

    /// What the kernel of `step` may touch.
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
        let bytes = layout.elements(&view.ty, plan.target.lanes) * 4;
        let (count, bytes) = if bytes == stride as usize { (1, bytes * self.batch) } else { (self.batch, bytes) };
        (0..count).map(move |sample| (data.wrapping_add(sample * stride as usize).cast_const(), bytes))
    }

    /// A value as a row-major tensor.
    pub fn read(&self, plan: &Plan, view: &View) -> Tensor {
        let operand = self.operand(plan, view);
        let lanes = plan.target.lanes;
        let positions: usize = view.ty.spatial().iter().product();
        let mut tensor = Tensor::zeros(view.ty.shape(self.batch));
        for n in 0..self.batch {
            for c in 0..view.ty.channels() {
                for p in 0..positions {
                    let index = match view.layout {
                        Layout::Nchw => c * positions + p,
                        Layout::Blocked => (c / lanes * positions + p) * lanes + c % lanes,
                    };
                    let address = operand.data.wrapping_add(n * operand.stride as usize).cast::<f32>();
                    // SAFETY: the view lies inside its buffer, of which every sample was allocated; no kernel runs.
                    tensor.plane_mut(n, c)[p] = unsafe { *address.wrapping_add(index) };
                }
            }
        }
        tensor
    }
}
