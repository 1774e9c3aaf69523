//! The operands of all steps for one batch: made once, used by every run that cuts it alike.

use super::buffer::AlignedBuffer;
use super::constants::Constants;
use crate::codegen::emulator::Region;
use crate::kernels::{Layout, Operand};
use crate::schedule::{Cut, Pass, Place, Plan, Step, Strip, View};
use crate::tensor::{DType, Half, Tensor};
use std::ops::Range;

/// Where everything lies that the kernels of a plan touch. The caller's tensors are those of the current run.
pub struct Binding {
    memory: Memory,
    steps: Vec<BoundStep>,
    threads: Vec<OfThread>,
    callers: Vec<OfCaller>,
    /// Whether the samples that go by themselves are worth more than one thread.
    split: bool,
}

struct BoundStep {
    /// Index of its first operand, and how many it has.
    first: usize,
    operands: usize,
    /// Of one sample.
    tasks: usize,
    /// That do it together.
    samples: usize,
}

/// An operand that is the caller's.
struct OfCaller {
    operand: usize,
    place: Place,
    /// In bytes.
    offset: usize,
    /// The first of the samples that do the step together.
    first: usize,
}

/// The operands of all steps for one thread, with its scratch memory.
struct OfThread {
    /// For the samples that it takes through the network by itself, whose values all lie at one place: sample `n` of the
    /// batch is sample `n` of the operands.
    own: Vec<Operand>,
    /// For those that do a step together: sample `n` of the operands is the `n`-th of them.
    shared: Vec<Operand>,
}

// SAFETY: the pointers lead to memory that the session owns beside this, and to the caller's during a run. Kernels on
// several threads write at disjoint places only (see `kernels`); scratch memory is each thread's own.
unsafe impl Send for Binding {}
// SAFETY: as above; shared, it only gives its operands away.
unsafe impl Sync for Binding {}

impl Binding {
    /// `arena` must hold the values of a run with this cut, `constants` the plan's, `scratch` a buffer for each thread.
    pub fn new(
        plan: &Plan,
        cut: Cut,
        arena: &mut AlignedBuffer,
        constants: &Constants,
        scratch: &mut [AlignedBuffer],
    ) -> Binding {
        let none = std::ptr::null_mut();
        let (inputs, outputs) = (vec![none; plan.graph.inputs.len()], vec![none; plan.outputs.len()]);
        let joint = arena.as_mut_ptr().wrapping_add(plan.arena * cut.slots);
        let memory = Memory { arena: arena.as_mut_ptr(), joint, inputs, outputs, cut };
        let (mut steps, mut operands, mut callers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut in_arena, mut of_later, mut scratch_operands) = (Vec::new(), Vec::new(), Vec::new());
        for (index, step) in plan.steps.iter().enumerate() {
            let (first, samples) = if index < plan.joint_from { (cut.alone, cut.rest()) } else { (0, cut.batch) };
            let before = operands.len();
            for view in step.views() {
                let (operand, place) = (operands.len(), plan.buffers[view.buffer.0].place);
                match place {
                    Place::Arena(_) => in_arena.push(operand),
                    Place::Joint(_) => of_later.push((operand, first)),
                    Place::Input(_) | Place::Output(_) => {
                        callers.push(OfCaller { operand, place, offset: view.offset, first });
                    }
                }
                operands.push(memory.operand(plan, view));
            }
            operands.extend(constants.of_step(index).map(|(data, _)| Operand { data: data.cast_mut(), stride: 0 }));
            scratch_operands.push(operands.len());
            operands.push(Operand { data: none, stride: 0 });
            let operands = operands.len() - before;
            steps.push(BoundStep { first: before, operands, tasks: step.kernel.tasks(), samples });
        }
        let of_thread = |(thread, scratch): (usize, &mut AlignedBuffer)| {
            let mut shared = operands.clone();
            scratch_operands.iter().for_each(|&index| shared[index].data = scratch.as_mut_ptr());
            let mut own = shared.clone();
            of_later.iter().for_each(|&(index, first)| shared[index] = from_sample(shared[index], first));
            // Where each thread has samples of its own, there is a slot for each.
            let slot = if cut.alone > 0 { thread * plan.arena } else { 0 };
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
        for &OfCaller { operand, place, offset, first } in &self.callers {
            let data = self.memory.base(place).wrapping_add(offset);
            for OfThread { own, shared } in &mut self.threads {
                own[operand].data = data;
                shared[operand] = from_sample(own[operand], first);
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

    /// The operands of [`Binding::own`], without those of the steps behind it.
    pub fn own_alone(&self, step: usize, thread: usize) -> &[Operand] {
        let BoundStep { first, operands, .. } = self.steps[step];
        &self.threads[thread].own[first..first + operands]
    }

    /// The memory of a strip, for the samples that a thread takes through the network by itself.
    pub fn own_strip(&self, plan: &Plan, strip: &Strip, thread: usize) -> *mut u8 {
        let slot = if self.memory.cut.alone > 0 { thread * plan.arena } else { 0 };
        self.strip(plan, strip).wrapping_add(slot)
    }

    /// The memory of a strip, for the first of the samples that do a step together.
    pub fn strip(&self, plan: &Plan, strip: &Strip) -> *mut u8 {
        self.memory.base(plan.buffers[strip.buffer.0].place)
    }

    /// How many samples do a step together.
    pub fn samples(&self, step: usize) -> usize {
        self.steps[step].samples
    }

    /// As [`Binding::shared`], without those of the steps behind it.
    pub fn shared_alone(&self, step: usize, thread: usize) -> &[Operand] {
        &self.shared(step, thread)[..self.steps[step].operands]
    }

    /// The operands of a step that samples do together for a thread, and those of the steps behind it.
    pub fn shared(&self, step: usize, thread: usize) -> &[Operand] {
        &self.threads[thread].shared[self.steps[step].first..]
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// The operand from its `first`-th sample on.
fn from_sample(operand: Operand, first: usize) -> Operand {
    Operand { data: operand.data.wrapping_add(first * operand.stride as usize), ..operand }
}

/// The operands of a pass.
pub enum PassOperands<'o> {
    /// Those of the step.
    Same(&'o [Operand]),
    /// As [`Joint`](crate::schedule::Joint) kernels have them: output, input, three constants, scratch memory.
    Grouped([Operand; 6]),
}

impl<'o> PassOperands<'o> {
    /// From those of the step.
    pub fn new(operands: &'o [Operand], pass: &Pass) -> PassOperands<'o> {
        if pass.first == 0 && pass.size == 1 {
            return PassOperands::Same(operands);
        }
        PassOperands::Grouped(std::array::from_fn(|index| {
            let Operand { data, stride } = from_sample(operands[index], pass.first);
            Operand { data, stride: stride * pass.size as i64 }
        }))
    }

    pub fn get(&self) -> &[Operand] {
        match self {
            PassOperands::Same(operands) => operands,
            PassOperands::Grouped(operands) => operands,
        }
    }
}

/// The memory of a run.
pub struct Memory {
    arena: *mut u8,
    /// What each sample of the batch has for the steps that all do together.
    joint: *mut u8,
    inputs: Vec<*mut u8>,
    outputs: Vec<*mut u8>,
    cut: Cut,
}

impl Memory {
    fn operand(&self, plan: &Plan, view: &View) -> Operand {
        let place = plan.buffers[view.buffer.0].place;
        Operand { data: self.base(place).wrapping_add(view.offset), stride: plan.stride(view) as i64 }
    }

    fn base(&self, place: Place) -> *mut u8 {
        match place {
            Place::Input(index) => self.inputs[index],
            Place::Output(index) => self.outputs[index],
            Place::Arena(offset) => self.arena.wrapping_add(offset),
            Place::Joint(offset) => self.joint.wrapping_add(offset),
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
        let in_arena = matches!(plan.buffers[view.buffer.0].place, Place::Arena(_) | Place::Joint(_));
        let one_position = view.ty.spatial().iter().product::<usize>() == 1;
        let layout = if in_arena && one_position { Layout::Blocked } else { view.layout };
        let bytes = plan.view_bytes(view, layout);
        let batch = self.cut.batch;
        let (count, bytes) = if bytes == stride as usize { (1, bytes * batch) } else { (batch, bytes) };
        (0..count).map(move |sample| (data.wrapping_add(sample * stride as usize).cast_const(), bytes))
    }

    /// A value as a row-major tensor, where all samples go together; whole numbers as what they are, not what they stand for.
    pub fn read(&self, plan: &Plan, view: &View) -> Tensor {
        let operand = self.operand(plan, view);
        let lanes = plan.target.lanes;
        let places = view.places();
        let positions = view.positions();
        let mut tensor = Tensor::zeros(view.ty.shape(self.cut.batch));
        for n in 0..self.cut.batch {
            for c in 0..view.ty.channels() {
                for (own, &p) in places.iter().enumerate() {
                    let index = match view.layout {
                        Layout::Nchw => c * positions + p,
                        Layout::Blocked => (c / lanes * positions + p) * lanes + c % lanes,
                    };
                    let sample = operand.data.wrapping_add(n * operand.stride as usize);
                    // SAFETY: the view lies inside its buffer, of which every sample was allocated; no kernel runs.
                    tensor.plane_mut(n, c)[own] = unsafe { element(sample, view.ty.dtype, index) };
                }
            }
        }
        tensor
    }
}

impl Memory {
    /// Reads some positions of a value of which others need not be in memory, where all samples go together; position 0 of
    /// its first block would lie so many bytes before the view.
    pub fn read_rows(&self, plan: &Plan, view: &View, before: usize, positions: Range<usize>, into: &mut Tensor) {
        let (Operand { data, stride }, lanes) = (self.operand(plan, view), plan.target.lanes);
        let block = plan.strip(view.buffer).map_or(0, |strip| strip.positions);
        for (n, c) in (0..self.cut.batch).flat_map(|n| (0..view.ty.channels()).map(move |c| (n, c))) {
            let sample = data.wrapping_sub(before).wrapping_add(n * stride as usize);
            for position in positions.clone() {
                let index = (c / lanes * block + position) * lanes + c % lanes;
                // SAFETY: a kernel has just written it there, which no longer runs.
                into.plane_mut(n, c)[position] = unsafe { element(sample, view.ty.dtype, index) };
            }
        }
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
        // SAFETY: the caller's; values of bf16 are aligned.
        DType::Bf16 => Half::Bf16.widen(unsafe { *sample.cast::<u16>().wrapping_add(index) }),
    }
}
