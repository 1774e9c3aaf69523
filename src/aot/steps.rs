//! The functions around the kernels: one for each step, or for several that go down the picture together ([`stages`]).
//!
//! A step's function finds where its samples are in a *frame*, puts the operands of its kernel and a *task* (kernel, operands)
//! on its stack and calls `work`, or the caller's parallel-for with `work`, which calls the kernel with the scratch memory of
//! its worker.

use super::interface::Interface;
use super::stages;
use crate::backend::StepFunctions;
use crate::codegen::{CodeError, CodeModule, FuncId, Linkage, NestBuilder, Word};
use crate::kernels::Kernel;
use crate::schedule::{Place, Plan, Step, View};

/// Byte offsets in a frame.
pub(super) mod frame {
    pub const WEIGHTS: i32 = 0;
    /// The arena of the first of the frame's samples.
    pub const ARENA: i32 = 8;
    /// How many samples go through the network with this frame.
    pub const SAMPLES: i32 = 16;
    pub const INPUTS: i32 = 24;
    pub const OUTPUTS: i32 = 32;
    pub const PARALLEL_FOR: i32 = 40;
    pub const USER: i32 = 48;
    /// Address of the first worker's scratch memory.
    pub const SCRATCH: i32 = 56;
    /// The first of the samples.
    pub const FIRST: i32 = 64;
    /// What each sample of the batch has for the joint steps.
    pub const JOINT: i32 = 72;
    pub const BYTES: u32 = 80;
}

/// Byte offsets in a task.
mod task {
    pub const KERNEL: i32 = 0;
    pub const OPERANDS: i32 = 8;
    /// 64-bit words of the operands, which do not hold the scratch memory.
    pub const WORDS: i32 = 16;
    /// Address of the first worker's scratch memory.
    pub const SCRATCH: i32 = 24;
    /// The kernel's task that is number 0 here.
    pub const FIRST: i32 = 32;
    pub const BYTES: u32 = 40;
}

/// Bytes of an operand: address and stride.
const OPERAND: i32 = 16;

/// `void function(frame)` for steps one behind the other.
pub(super) struct Functions {
    /// Up to those that all samples do together.
    pub steps: Vec<FuncId>,
    /// These.
    pub joint: Vec<FuncId>,
}

/// Defines those of each plan. `kernels` are one for each step of each plan, `offsets` those of its constants.
pub(super) fn define(
    module: &mut CodeModule,
    interface: &Interface,
    plans: &[Plan],
    kernels: &[Vec<StepFunctions<FuncId>>],
    offsets: &[Vec<Vec<usize>>],
) -> Result<Vec<Functions>, CodeError> {
    let of_plans = plans.iter().zip(kernels).zip(offsets);
    let plans: Vec<_> = of_plans.map(|((plan, kernels), offsets)| CompiledPlan::new(plan, kernels, offsets)).collect();
    let most_operands = plans.iter().flat_map(|plan| &plan.steps).map(CompiledStep::operands).max().unwrap_or(0);
    let work = define_work(module, most_operands, interface.scratch)?;
    let copy = match plans.iter().any(|plan| !plan.plan.stages.is_empty()) {
        true => Some(stages::define_copy(module)?),
        false => None,
    };
    let sizes = plans.iter().zip(&interface.sizes);
    sizes.map(|(plan, size)| plan.define(module, &size.suffix, work, copy)).collect()
}

/// `void work(task, worker, begin, end)`: calls the task's kernel with the worker's part of the scratch memory behind the
/// operands of the task, of which there are at most `most_operands`.
fn define_work(module: &mut CodeModule, most_operands: usize, scratch: usize) -> Result<FuncId, CodeError> {
    module.define_nest("work", Linkage::Local, 4, |n| {
        let [task, worker, begin, end] = [n.arg(0), n.arg(1), n.arg(2), n.arg(3)];
        let operands = n.stack((most_operands + 1) as u32 * OPERAND as u32);
        let (shared, words, zero) = (n.load(task, task::OPERANDS), n.load(task, task::WORDS), n.iconst(0));
        n.for_range(zero, words, |n, word| {
            let at = n.mul_imm(word, 8);
            let (from, to) = (n.add(shared, at), n.add(operands, at));
            let word = n.load(from, 0);
            n.store(word, to, 0);
        });
        let (of_first, before) = (n.load(task, task::SCRATCH), n.mul_imm(worker, scratch as i64));
        let (scratch, at) = (n.add(of_first, before), n.mul_imm(words, 8));
        let operand = n.add(operands, at);
        n.store(scratch, operand, 0);
        n.store(zero, operand, 8);

        let (kernel, first) = (n.load(task, task::KERNEL), n.load(task, task::FIRST));
        let (first, last) = (n.add(first, begin), n.add(first, end));
        n.call_address(kernel, &[operands, first, last]);
    })
}

/// Calls `work(task, worker, begin, end)` for so many tasks, on several threads where the frame has a parallel-for and
/// `worth` is not zero.
pub(super) fn emit_split(n: &mut NestBuilder, work: FuncId, task: Word, tasks: Word, worth: Word) {
    let (frame, zero, one) = (n.arg(0), n.iconst(0), n.iconst(1));
    let parallel_for = n.load(frame, frame::PARALLEL_FOR);
    let (may_split, many) = (n.differ(parallel_for, zero), n.less(one, tasks));
    let worth = n.and(many, worth);
    let split = n.and(may_split, worth);
    n.if_else(
        split,
        |n| {
            let user = n.load(frame, frame::USER);
            let work = n.function_address(work);
            n.call_address(parallel_for, &[user, tasks, work, task]);
        },
        |n| n.call(work, &[task, zero, zero, tasks]),
    );
}

/// A plan and what its functions need.
struct CompiledPlan<'a> {
    plan: &'a Plan,
    steps: Vec<CompiledStep<'a>>,
}

impl<'a> CompiledPlan<'a> {
    fn new(plan: &'a Plan, kernels: &'a [StepFunctions<FuncId>], offsets: &'a [Vec<usize>]) -> CompiledPlan<'a> {
        let steps = plan.steps.iter().zip(kernels).zip(offsets);
        let steps = steps.map(|((step, kernels), constants)| CompiledStep { plan, step, kernels, constants }).collect();
        CompiledPlan { plan, steps }
    }

    fn define(
        &self,
        module: &mut CodeModule,
        suffix: &str,
        work: FuncId,
        copy: Option<FuncId>,
    ) -> Result<Functions, CodeError> {
        let define_step = |module: &mut CodeModule, index: usize| {
            let name = format!("step{suffix}.{index}");
            module.define_nest(&name, Linkage::Local, 1, |n| self.steps[index].emit(n, work))
        };
        let mut functions = Functions { steps: Vec::new(), joint: Vec::new() };
        let mut index = 0;
        while index < self.steps.len() {
            let stage = self.plan.stage_from(index).zip(copy);
            let (function, next) = match stage {
                Some((stage, copy)) => {
                    let turns = stage.steps.clone().map(|index| {
                        let (name, step) = (format!("turn{suffix}.{index}"), &self.steps[index]);
                        module.define_nest(&name, Linkage::Local, 2, |n| step.emit_turn(n, work))
                    });
                    let turns = turns.collect::<Result<Vec<_>, _>>()?;
                    let whole = stage.steps.clone().filter(|_| stage.alone).map(|index| define_step(module, index));
                    let whole = whole.collect::<Result<Vec<_>, _>>()?;
                    let name = format!("stage{suffix}.{index}");
                    let functions = stages::Functions { turns, whole, copy };
                    (stages::define(module, &name, self.plan, stage, &functions)?, stage.steps.end)
                }
                None => (define_step(module, index)?, index + 1),
            };
            // No stage has both: where all samples go together, there are no rows.
            let part = if index < self.plan.joint_from { &mut functions.steps } else { &mut functions.joint };
            part.push(function);
            index = next;
        }
        Ok(functions)
    }
}

/// A step and what its function needs.
struct CompiledStep<'a> {
    plan: &'a Plan,
    step: &'a Step,
    kernels: &'a StepFunctions<FuncId>,
    /// Offsets of its constants.
    constants: &'a [usize],
}

impl CompiledStep<'_> {
    /// How many there are: the step's values and constants.
    fn operands(&self) -> usize {
        self.step.views().count() + self.constants.len()
    }

    /// Passes as [`Pass`](crate::schedule::Pass) has them: kernels for several samples do as many as they can.
    fn emit(&self, n: &mut NestBuilder, work: FuncId) {
        let frame = n.arg(0);
        let mut first = n.iconst(0);
        let mut rest = n.load(frame, frame::SAMPLES);
        for (joint, &function) in self.step.joint.iter().zip(&self.kernels.joint) {
            let groups = n.div_imm(rest, joint.samples as i64);
            let pass = EmittedPass { function, kernel: &joint.kernel, size: joint.samples, first, groups };
            n.if_nonzero(groups, |n| self.emit_pass(n, work, &pass));
            let done = n.mul_imm(groups, joint.samples as i64);
            first = n.add(first, done);
            rest = n.sub(rest, done);
        }
        let (function, kernel) = (self.kernels.kernel, &self.step.kernel);
        let pass = EmittedPass { function, kernel, size: 1, first, groups: rest };
        match self.step.joint.is_empty() {
            true => self.emit_pass(n, work, &pass),
            false => n.if_nonzero(rest, |n| self.emit_pass(n, work, &pass)),
        }
    }

    fn emit_pass(&self, n: &mut NestBuilder, work: FuncId, pass: &EmittedPass) {
        let operands = self.emit_operands(n, pass.first, pass.size);
        let zero = n.iconst(0);
        let task = self.emit_task(n, pass.function, operands, zero);
        let samples = n.mul_imm(pass.groups, pass.size as i64);
        let tasks = n.mul_imm(pass.groups, pass.kernel.tasks() as i64);
        let split_above = n.iconst(self.step.split_above() as i64);
        let worth = n.less(split_above, samples);
        emit_split(n, work, task, tasks, worth);
    }

    /// The body of `turn(frame, record)`: some of the step's tasks, of each of the frame's samples. The record says which,
    /// and where the values lie.
    fn emit_turn(&self, n: &mut NestBuilder, work: FuncId) {
        let (frame, record, zero) = (n.arg(0), n.arg(1), n.iconst(0));
        let operands = self.emit_operands(n, zero, 1);
        let in_part = |view: &View| self.plan.strip(view.buffer).is_some();
        for (index, _) in self.step.views().enumerate().filter(|(_, view)| in_part(view)) {
            let at = OPERAND * index as i32;
            let (begin, before) = (n.load(operands, at), n.load(record, stages::turn::before(index)));
            let data = n.sub(begin, before);
            n.store(data, operands, at);
        }
        let (first, tasks) = (n.load(record, stages::turn::FIRST), n.load(record, stages::turn::TASKS));
        let task = self.emit_task(n, self.kernels.turns, operands, first);
        let (samples, split_above) = (n.load(frame, frame::SAMPLES), self.step.split_tasks_above());
        n.for_range(zero, samples, |n, sample| {
            let of_sample = n.offset_by(first, sample, self.step.kernel_of_turns().tasks() as i64);
            n.store(of_sample, task, task::FIRST);
            let split_above = n.iconst(split_above as i64);
            let worth = n.less(split_above, tasks);
            emit_split(n, work, task, tasks, worth);
        });
    }

    /// A task on the stack: the kernel's tasks from `first` on.
    fn emit_task(&self, n: &mut NestBuilder, kernel: FuncId, operands: Word, first: Word) -> Word {
        let (kernel, scratch) = (n.function_address(kernel), n.load(n.arg(0), frame::SCRATCH));
        let words = n.iconst((self.operands() * OPERAND as usize / 8) as i64);
        let task = n.stack(task::BYTES);
        for (field, word) in [
            (task::KERNEL, kernel),
            (task::OPERANDS, operands),
            (task::WORDS, words),
            (task::SCRATCH, scratch),
            (task::FIRST, first),
        ] {
            n.store(word, task, field);
        }
        task
    }

    /// The operands from the `first` of the frame's samples on for a kernel that takes `size` of them for one, in the order
    /// of `kernels`, without the scratch memory, which `work` adds.
    fn emit_operands(&self, n: &mut NestBuilder, first: Word, size: usize) -> Word {
        let (frame, views) = (n.arg(0), self.step.views());
        let operands = n.stack(self.operands() as u32 * OPERAND as u32);
        let mut at = 0;
        let mut push = |n: &mut NestBuilder, data: Word, stride: usize| {
            let stride = n.iconst(stride as i64);
            n.store(data, operands, at);
            n.store(stride, operands, at + 8);
            at += OPERAND;
        };
        for view in views {
            let stride = self.plan.stride(view);
            let data = self.emit_address(n, frame, view, stride);
            let data = n.offset_by(data, first, stride as i64);
            push(n, data, stride * size);
        }
        for &offset in self.constants {
            let weights = n.load(frame, frame::WEIGHTS);
            let data = n.add_imm(weights, offset as i64);
            push(n, data, 0);
        }
        operands
    }

    /// Where the first of the frame's samples of a view begins.
    fn emit_address(&self, n: &mut NestBuilder, frame: Word, view: &View, stride: usize) -> Word {
        let of_batch = |n: &mut NestBuilder, address: Word| {
            let first = n.load(frame, frame::FIRST);
            n.offset_by(address, first, stride as i64)
        };
        let of_caller = |n: &mut NestBuilder, field: i32, index: usize| {
            let addresses = n.load(frame, field);
            let address = n.load(addresses, 8 * index as i32);
            of_batch(n, address)
        };
        let base = match self.plan.buffers[view.buffer.0].place {
            Place::Input(index) => of_caller(n, frame::INPUTS, index),
            Place::Output(index) => of_caller(n, frame::OUTPUTS, index),
            Place::Arena(offset) => {
                let arena = n.load(frame, frame::ARENA);
                n.add_imm(arena, offset as i64)
            }
            Place::Joint(offset) => {
                let joint = n.load(frame, frame::JOINT);
                let joint = of_batch(n, joint);
                n.add_imm(joint, offset as i64)
            }
        };
        n.add_imm(base, view.offset as i64)
    }
}

/// What a step does of the frame's samples with one of its kernels.
struct EmittedPass<'a> {
    function: FuncId,
    kernel: &'a Kernel,
    /// How many samples the kernel takes for one.
    size: usize,
    /// The first sample of the frame's.
    first: Word,
    /// How often it does.
    groups: Word,
}
