//! The functions around the kernels: those that a C program calls, and one for each step.
//!
//! A run keeps its arguments in a *frame* on its stack and cuts its batch as [`Cut`] says. The samples that go by
//! themselves are done by `alone`, or by the caller's parallel-for with `alone`, which makes a frame of its own for each of
//! them; then come those that go together; last come the steps that all do together. For a frame the steps' functions are
//! called one after the other. A step's
//! function puts the operands of its kernel and a *task* (kernel, operands) on its stack and calls `work`, or the
//! caller's parallel-for with `work`, which calls the kernel with the scratch memory of its worker.
//!
//! The *work memory* is an arena for each slot of the cut, then what each sample has for the joint steps, then scratch
//! memory for each worker.
//!
//! [`Cut`]: crate::schedule::Cut

use super::checksum;
use super::constants::{self, Constants};
use super::interface::{ERRORS, Interface, NO_ERROR, Port, Size, THREADS, code};
use super::machine::Features;
use super::{Cpu, OwnMemory};
use crate::backend::StepFunctions;
use crate::codegen::{CodeError, CodeModule, DataId, FuncId, Linkage, NestBuilder, Word};
use crate::kernels::Target;
use crate::schedule::{ALIGNMENT, Place, Plan, Step, View};
use crate::tensor::Quantisation;
use target_lexicon::Architecture;

/// Byte offsets in a frame.
mod frame {
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
    pub const BYTES: u32 = 32;
}

/// Byte offsets in the caller's context.
mod context {
    /// The plan's fingerprint once the context is ready.
    pub const READY: i32 = 0;
    /// Address of the constants.
    pub const WEIGHTS: i32 = 8;
}

/// Bytes of an operand: address and stride.
const OPERAND: i32 = 16;

/// Defines everything but the kernels, which are `kernels`, one for each step of each plan. Returns the names of the
/// public functions.
pub(super) fn define(
    module: &mut CodeModule,
    interface: &Interface,
    plans: &[Plan],
    kernels: &[Vec<StepFunctions<FuncId>>],
    constants: Constants,
    cpu: &Cpu,
) -> Result<Vec<String>, CodeError> {
    let of_plans = plans.iter().zip(kernels).zip(&constants.offsets);
    let steps: Vec<_> = of_plans.map(|((plan, kernels), offsets)| compiled_steps(plan, kernels, offsets)).collect();
    let most_operands = steps.iter().flatten().map(CompiledStep::operands).max().unwrap_or(0);
    let work = define_work(module, most_operands, interface.scratch)?;
    let mut functions: Vec<Vec<FuncId>> = Vec::new();
    for (size, steps) in interface.sizes.iter().zip(&steps) {
        let define_step = |(index, step): (usize, &CompiledStep)| {
            module.define_nest(&format!("step{}.{index}", size.suffix), Linkage::Local, 1, |n| step.emit(n, work))
        };
        functions.push(steps.iter().enumerate().map(define_step).collect::<Result<_, _>>()?);
    }
    let mut entries = Entries { module, interface, names: Vec::new() };
    entries.define_init(constants.bytes, plans[0].target, cpu)?;
    let own = entries.define_own_memory()?;
    entries.define_runs(interface.usual(), own, &functions[0])?;
    entries.define_queries()?;
    for (size, steps) in interface.sizes.iter().zip(&functions).skip(1) {
        entries.define_runs(size, own, steps)?;
        entries.define_size_queries(size)?;
    }
    Ok(entries.names)
}

fn compiled_steps<'a>(
    plan: &'a Plan,
    kernels: &'a [StepFunctions<FuncId>],
    offsets: &'a [Vec<usize>],
) -> Vec<CompiledStep<'a>> {
    let steps = plan.steps.iter().zip(kernels).zip(offsets);
    steps.map(|((step, kernels), constants)| CompiledStep { plan, step, kernels, constants }).collect()
}

/// `void work(task, worker, begin, end)`: calls the task's kernel with the worker's part of the scratch memory behind the
/// operands of the task, of which there are at most `most_operands`.
fn define_work(module: &mut CodeModule, most_operands: usize, scratch: usize) -> Result<FuncId, CodeError> {
    module.define_nest("work", Linkage::Local, 4, |n| {
        let [task, worker, first, last] = [n.arg(0), n.arg(1), n.arg(2), n.arg(3)];
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

        let kernel = n.load(task, task::KERNEL);
        n.call_address(kernel, &[operands, first, last]);
    })
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
        for (joint, &kernel) in self.step.joint.iter().zip(&self.kernels.joint) {
            let groups = n.div_imm(rest, joint.samples as i64);
            let pass = EmittedPass { kernel, tasks: joint.kernel.tasks(), size: joint.samples, first, groups };
            n.if_nonzero(groups, |n| self.emit_pass(n, work, &pass));
            let done = n.mul_imm(groups, joint.samples as i64);
            first = n.add(first, done);
            rest = n.sub(rest, done);
        }
        let (kernel, tasks) = (self.kernels.kernel, self.step.kernel.tasks());
        let pass = EmittedPass { kernel, tasks, size: 1, first, groups: rest };
        match self.step.joint.is_empty() {
            true => self.emit_pass(n, work, &pass),
            false => n.if_nonzero(rest, |n| self.emit_pass(n, work, &pass)),
        }
    }

    fn emit_pass(&self, n: &mut NestBuilder, work: FuncId, pass: &EmittedPass) {
        let frame = n.arg(0);
        let operands = self.emit_operands(n, frame, pass);
        let (kernel, scratch) = (n.function_address(pass.kernel), n.load(frame, frame::SCRATCH));
        let words = n.iconst((self.operands() * OPERAND as usize / 8) as i64);
        let task = n.stack(task::BYTES);
        n.store(kernel, task, task::KERNEL);
        n.store(operands, task, task::OPERANDS);
        n.store(words, task, task::WORDS);
        n.store(scratch, task, task::SCRATCH);

        let samples = n.mul_imm(pass.groups, pass.size as i64);
        let tasks = n.mul_imm(pass.groups, pass.tasks as i64);
        let (zero, one) = (n.iconst(0), n.iconst(1));
        let parallel_for = n.load(frame, frame::PARALLEL_FOR);
        let may_split = n.differ(parallel_for, zero);
        let many = n.less(one, tasks);
        let split_above = n.iconst(self.step.split_above() as i64);
        let large = n.less(split_above, samples);
        let worth = n.and(many, large);
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

    /// The operands in the order of `kernels`, without the scratch memory, which `work` adds.
    fn emit_operands(&self, n: &mut NestBuilder, frame: Word, pass: &EmittedPass) -> Word {
        let views = self.step.views();
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
            let data = n.offset_by(data, pass.first, stride as i64);
            push(n, data, stride * pass.size);
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
struct EmittedPass {
    kernel: FuncId,
    /// Of what the kernel takes for one sample.
    tasks: usize,
    /// How many samples the kernel takes for one.
    size: usize,
    /// The first sample of the frame's.
    first: Word,
    /// How often it does.
    groups: Word,
}

/// The public functions.
struct Entries<'a> {
    module: &'a mut CodeModule,
    interface: &'a Interface,
    /// Names of those defined so far.
    names: Vec<String>,
}

impl Entries<'_> {
    fn define(
        &mut self,
        function: &str,
        args: usize,
        build: impl FnOnce(&mut NestBuilder) -> Word,
    ) -> Result<(), CodeError> {
        let name = self.interface.public(function);
        self.module.define_function(&name, Linkage::Export, args, build)?;
        self.names.push(name);
        Ok(())
    }

    /// A function of one size.
    fn define_of(
        &mut self,
        size: &Size,
        function: &str,
        args: usize,
        build: impl FnOnce(&mut NestBuilder) -> Word,
    ) -> Result<(), CodeError> {
        self.define(&size.function(function), args, build)
    }

    /// `int NAME_init(context, weights, weights_bytes)`
    fn define_init(&mut self, constants: Vec<u8>, target: Target, cpu: &Cpu) -> Result<(), CodeError> {
        let missing = match cpu.architecture() {
            Architecture::X86_64 => {
                let check = Features::of(self.module, target).check();
                Some(self.module.define_bytes("missing.features", 0, &check)?)
            }
            // Every AArch64 CPU has what the code uses.
            _ => None,
        };
        let weights = match self.interface.weight_file {
            Some(bytes) => Weights::File { bytes, checksum: checksum::define(self.module)? },
            None if constants.is_empty() => Weights::None,
            None => Weights::Embedded(self.module.define_data("weights", ALIGNMENT as u64, constants)?),
        };
        let fingerprint = self.interface.fingerprint as i64;
        self.define("init", 3, |n| {
            let (context, zero) = (n.arg(0), n.iconst(0));
            emit_check_pointer(n, context);
            n.store(zero, context, context::READY);
            if let Some(missing) = missing {
                let missing = n.call_value(missing, &[]);
                n.return_if(missing, code("CPU"));
            }
            let weights = weights.emit(n, fingerprint);
            n.store(weights, context, context::WEIGHTS);
            let ready = n.iconst(fingerprint);
            n.store(ready, context, context::READY);
            zero
        })
    }

    /// The library's own work memory, for all sizes.
    fn define_own_memory(&mut self) -> Result<Option<DataId>, CodeError> {
        let bytes = self.interface.own_memory.map(|own| self.interface.largest_memory_bytes(own).max(1));
        bytes.map(|bytes| self.module.define_zeros("memory", ALIGNMENT as u64, bytes)).transpose()
    }

    /// `int NAME_run(context, memory, batch, inputs, outputs)`, and `NAME_run_parallel` with `threads`, `parallel_for`
    /// and `user` behind.
    fn define_runs(&mut self, size: &Size, own: Option<DataId>, steps: &[FuncId]) -> Result<(), CodeError> {
        let (interface, suffix) = (self.interface, &size.suffix);
        let name = format!("run{suffix}");
        let alone = format!("alone{suffix}");
        let (steps, joint) = steps.split_at(size.joint_from);
        let alone =
            self.module.define_nest(&alone, Linkage::Local, 4, |n| emit_alone(n, size, interface.scratch, steps))?;
        let samples = Samples { alone, steps, joint };
        let run =
            self.module.define_function(&name, Linkage::Local, 8, |n| emit_run(n, interface, size, own, &samples))?;
        self.define_of(size, "run", 5, |n| {
            let (zero, one) = (n.iconst(0), n.iconst(1));
            n.call_value(run, &[n.arg(0), n.arg(1), n.arg(2), n.arg(3), n.arg(4), one, zero, zero])
        })?;
        self.define_of(size, "run_parallel", 8, |n| {
            n.call_value(run, &std::array::from_fn::<Word, 8, _>(|index| n.arg(index)))
        })
    }

    /// The functions that only tell something.
    fn define_queries(&mut self) -> Result<(), CodeError> {
        let interface = self.interface;
        self.define_size_queries(interface.usual())?;
        let weights_bytes = interface.weight_file.unwrap_or(0) as i64;
        self.define("weights_bytes", 0, |n| n.iconst(weights_bytes))?;
        let version = self.module.define_data("version", 1, c_string(&interface.version))?;
        self.define("version", 0, |n| n.data_address(version))?;

        let texts = ["no error"].into_iter().chain(ERRORS.map(|(_, text)| text)).chain([NO_ERROR]).map(c_string);
        self.define_lookup("error_text", error_argument, texts.collect())?;
        self.define_ports("input", &interface.usual().inputs)?;
        self.define_ports("output", &interface.usual().outputs)
    }

    /// Those whose answers depend on the size.
    fn define_size_queries(&mut self, size: &Size) -> Result<(), CodeError> {
        let scratch = self.interface.scratch;
        self.define_of(size, "memory_bytes", 2, |n| {
            let (batch, threads) = (n.arg(0), n.arg(1));
            let bad = emit_outside(n, batch, size.batch);
            n.return_if(bad, -1);
            let bad = emit_outside(n, threads, THREADS);
            n.return_if(bad, -1);
            let slots = n.smin(batch, threads);
            let arenas = n.mul_imm(slots, size.arena as i64);
            let values = n.offset_by(arenas, batch, size.joint as i64);
            n.offset_by(values, threads, scratch as i64)
        })?;
        for (kind, ports) in [("input", &size.inputs), ("output", &size.outputs)] {
            let shapes = ports.iter().map(|port| words(port.shape())).collect();
            self.define_lookup(&size.function(&format!("{kind}_shape")), size_argument, shapes)?;
        }
        Ok(())
    }

    /// `size_t NAME_KIND_count(void)`, `const char *NAME_KIND_name(size_t)`, `size_t NAME_KIND_rank(size_t)`,
    /// `const NAME_quantisation *NAME_KIND_quantisation(size_t)`
    fn define_ports(&mut self, kind: &str, ports: &[Port]) -> Result<(), CodeError> {
        self.define(&format!("{kind}_count"), 0, |n| n.iconst(ports.len() as i64))?;
        self.define_lookup(
            &format!("{kind}_name"),
            size_argument,
            ports.iter().map(|port| c_string(&port.name)).collect(),
        )?;
        let quantisations = ports.iter().map(|port| port.quantisation().map_or(Vec::new(), quantisation)).collect();
        self.define_lookup(&format!("{kind}_quantisation"), size_argument, quantisations)?;
        let ranks = words(ports.iter().map(|port| port.shape().len()));
        let ranks = self.module.define_data(&format!("{kind}.ranks"), 8, ranks)?;
        self.define(&format!("{kind}_rank"), 1, |n| {
            let index = size_argument(n);
            let place = emit_word_place(n, ranks, ports.len(), index);
            n.load(place, 0)
        })
    }

    /// A function of an index that returns the address of a record, or NULL where there is none or an empty one. The data
    /// are a table of the records' offsets from its begin, then the records.
    fn define_lookup(
        &mut self,
        function: &str,
        index: fn(&mut NestBuilder) -> Word,
        records: Vec<Vec<u8>>,
    ) -> Result<(), CodeError> {
        let mut end = 8 * records.len();
        let mut offsets = Vec::new();
        for record in &records {
            offsets.push(if record.is_empty() { 0 } else { end });
            end += record.len();
        }
        let data = [words(offsets), records.concat()].concat();
        let table = self.module.define_data(&format!("{function}.table"), 8, data)?;
        self.define(function, 1, |n| {
            let index = index(n);
            let place = emit_word_place(n, table, records.len(), index);
            let (offset, base) = (n.load(place, 0), n.data_address(table));
            if records.iter().any(Vec::is_empty) {
                let one = n.iconst(1);
                let absent = n.less(offset, one);
                n.return_if(absent, 0);
            }
            n.add(base, offset)
        })
    }
}

/// The first argument, a `size_t`.
fn size_argument(n: &mut NestBuilder) -> Word {
    n.arg(0)
}

/// The first argument, an `int`, or one more than the last error for all that are no error's code. The other half of
/// its register may hold anything.
fn error_argument(n: &mut NestBuilder) -> Word {
    let low_half = n.iconst(u32::MAX.into());
    let (code, none) = (n.and(n.arg(0), low_half), n.iconst(ERRORS.len() as i64 + 1));
    let known = n.less(code, none);
    n.select(known, code, none)
}

/// The address of word number `index` of a table of at least one; returns 0 from the function where the table ends
/// before.
fn emit_word_place(n: &mut NestBuilder, table: DataId, count: usize, index: Word) -> Word {
    let last = n.iconst(count as i64 - 1);
    let beyond = n.less(last, index);
    n.return_if(beyond, 0);
    let (base, offset) = (n.data_address(table), n.mul_imm(index, 8));
    n.add(base, offset)
}

/// Whether a number is not between the smallest and the largest.
fn emit_outside(n: &mut NestBuilder, number: Word, (smallest, largest): (usize, usize)) -> Word {
    // Unsigned, so what is below the smallest is far above the range.
    let above_smallest = n.add_imm(number, -(smallest as i64));
    let range = n.iconst(largest as i64 - smallest as i64);
    n.less(range, above_smallest)
}

/// Where the constants are.
enum Weights {
    /// There are none.
    None,
    Embedded(DataId),
    /// In a file of so many bytes, which this function sums up.
    File {
        bytes: usize,
        checksum: FuncId,
    },
}

impl Weights {
    /// Checks what `init` was given for weights, in `arg(1)` and `arg(2)`; the address of the constants.
    fn emit(&self, n: &mut NestBuilder, fingerprint: i64) -> Word {
        if let &Weights::File { bytes, checksum } = self {
            return emit_open_weights(n, bytes, checksum, fingerprint);
        }
        let zero = n.iconst(0);
        for argument in [n.arg(1), n.arg(2)] {
            let given = n.differ(argument, zero);
            n.return_if(given, code("WEIGHTS_EMBEDDED"));
        }
        match self {
            Weights::Embedded(data) => n.data_address(*data),
            _ => zero,
        }
    }
}

/// Checks a weight file at `arg(1)` of `arg(2)` bytes; the address of its constants.
fn emit_open_weights(n: &mut NestBuilder, bytes: usize, checksum: FuncId, fingerprint: i64) -> Word {
    let (file, one, expected) = (n.arg(1), n.iconst(1), n.iconst(bytes as i64));
    let absent = n.less(file, one);
    n.return_if(absent, code("WEIGHTS_SIZE"));
    let other = n.differ(n.arg(2), expected);
    n.return_if(other, code("WEIGHTS_SIZE"));
    emit_check_alignment(n, file, code("WEIGHTS_ALIGNMENT"));
    for (at, value, error) in [
        (constants::field::MAGIC, constants::MAGIC as i64, "WEIGHTS_FORMAT"),
        (constants::field::VERSION, constants::VERSION as i64, "WEIGHTS_FORMAT"),
        (constants::field::FINGERPRINT, fingerprint, "WEIGHTS_MODEL"),
        (constants::field::BYTES, bytes as i64, "WEIGHTS_SIZE"),
    ] {
        let (found, expected) = (n.load(file, at), n.iconst(value));
        let other = n.differ(found, expected);
        n.return_if(other, code(error));
    }
    let data = n.add_imm(file, constants::HEADER_BYTES as i64);
    let (found, expected) =
        (checksum::emit(n, checksum, data, bytes - constants::HEADER_BYTES), n.load(file, constants::field::CHECKSUM));
    let damaged = n.differ(found, expected);
    n.return_if(damaged, code("WEIGHTS_CHECKSUM"));
    data
}

/// Returns from the function where an address is NULL.
fn emit_check_pointer(n: &mut NestBuilder, address: Word) {
    let one = n.iconst(1);
    let null = n.less(address, one);
    n.return_if(null, code("NULL"));
}

/// Returns from the function where the address of `count` pointers or one of them is NULL.
fn emit_check_pointers(n: &mut NestBuilder, pointers: Word, count: usize) {
    if count == 0 {
        return;
    }
    emit_check_pointer(n, pointers);
    for index in 0..count {
        let pointer = n.load(pointers, 8 * index as i32);
        emit_check_pointer(n, pointer);
    }
}

/// Returns `error` from the function where an address is not a multiple of [`ALIGNMENT`].
fn emit_check_alignment(n: &mut NestBuilder, address: Word, error: i64) {
    let low_bits = n.iconst(ALIGNMENT as i64 - 1);
    let misaligned = n.and(address, low_bits);
    n.return_if(misaligned, error);
}

/// The functions that a run calls.
struct Samples<'a> {
    /// `void alone(frame, worker, begin, end)`: see [`emit_alone`].
    alone: FuncId,
    /// `void step(frame)`: up to those that all samples do together.
    steps: &'a [FuncId],
    /// These.
    joint: &'a [FuncId],
}

/// The body of `alone(frame, worker, begin, end)`: takes the samples `begin..end` through the network, one after the other,
/// in the worker's part of the work memory, up to the joint steps.
fn emit_alone(n: &mut NestBuilder, size: &Size, scratch: usize, steps: &[FuncId]) {
    let [frame, worker, begin, end] = [n.arg(0), n.arg(1), n.arg(2), n.arg(3)];
    let own = n.stack(frame::BYTES);
    for field in [frame::WEIGHTS, frame::INPUTS, frame::OUTPUTS, frame::JOINT] {
        let shared = n.load(frame, field);
        n.store(shared, own, field);
    }
    for (field, bytes) in [(frame::ARENA, size.arena), (frame::SCRATCH, scratch)] {
        let (of_first, before) = (n.load(frame, field), n.mul_imm(worker, bytes as i64));
        let of_worker = n.add(of_first, before);
        n.store(of_worker, own, field);
    }
    let (zero, one) = (n.iconst(0), n.iconst(1));
    for (field, value) in [(frame::SAMPLES, one), (frame::PARALLEL_FOR, zero), (frame::USER, zero)] {
        n.store(value, own, field);
    }
    n.for_range(begin, end, |n, sample| {
        n.store(sample, own, frame::FIRST);
        steps.iter().for_each(|&step| n.call(step, &[own]));
    });
}

/// The body of `run(context, memory, batch, inputs, outputs, threads, parallel_for, user)`. `own` is the memory that
/// the library has.
fn emit_run(n: &mut NestBuilder, interface: &Interface, size: &Size, own: Option<DataId>, samples: &Samples) -> Word {
    let [context, batch, threads] = [n.arg(0), n.arg(2), n.arg(5)];
    emit_check_pointer(n, context);
    let (ready, fingerprint) = (n.load(context, context::READY), n.iconst(interface.fingerprint as i64));
    let not_ready = n.differ(ready, fingerprint);
    n.return_if(not_ready, code("CONTEXT"));
    let bad = emit_outside(n, batch, size.batch);
    n.return_if(bad, code("BATCH"));
    let bad = emit_outside(n, threads, THREADS);
    n.return_if(bad, code("THREADS"));
    emit_check_pointers(n, n.arg(3), size.inputs.len());
    emit_check_pointers(n, n.arg(4), size.outputs.len());
    let memory = emit_memory(n, size, interface.own_memory.zip(own));
    emit_check_alignment(n, memory, code("MEMORY_ALIGNMENT"));

    let frame = n.stack(frame::BYTES);
    let weights = n.load(context, context::WEIGHTS);
    n.store(weights, frame, frame::WEIGHTS);
    let slots = n.smin(batch, threads);
    let arenas = n.mul_imm(slots, size.arena as i64);
    let joint = n.add(memory, arenas);
    let scratch = n.offset_by(joint, batch, size.joint as i64);
    n.store(memory, frame, frame::ARENA);
    n.store(joint, frame, frame::JOINT);
    n.store(scratch, frame, frame::SCRATCH);
    for (arg, field) in [(3, frame::INPUTS), (4, frame::OUTPUTS), (6, frame::PARALLEL_FOR), (7, frame::USER)] {
        n.store(n.arg(arg), frame, field);
    }
    emit_samples(n, size, frame, samples);
    n.iconst(0)
}

/// Takes all samples of a run through the network, as [`Cut`](crate::schedule::Cut) says.
fn emit_samples(n: &mut NestBuilder, size: &Size, frame: Word, samples: &Samples) {
    let [batch, threads, parallel_for, user] = [n.arg(2), n.arg(5), n.arg(6), n.arg(7)];
    let (zero, one) = (n.iconst(0), n.iconst(1));
    let (several, may_split) = (n.less(one, threads), n.differ(parallel_for, zero));
    let split = n.and(several, may_split);
    n.if_else(
        split,
        |n| {
            let rest = n.urem(batch, threads);
            let alone = n.sub(batch, rest);
            let most = n.iconst(size.split_above as i64);
            let worth = n.less(most, alone);
            n.if_else(
                worth,
                |n| {
                    let work = n.function_address(samples.alone);
                    n.call_address(parallel_for, &[user, alone, work, frame]);
                },
                |n| n.call(samples.alone, &[frame, zero, zero, alone]),
            );
            n.if_nonzero(rest, |n| {
                n.store(alone, frame, frame::FIRST);
                n.store(rest, frame, frame::SAMPLES);
                samples.steps.iter().for_each(|&step| n.call(step, &[frame]));
            });
        },
        |n| n.call(samples.alone, &[frame, zero, zero, batch]),
    );
    n.store(zero, frame, frame::FIRST);
    n.store(batch, frame, frame::SAMPLES);
    samples.joint.iter().for_each(|&step| n.call(step, &[frame]));
}

/// The memory that the caller of `run` gave, or the library's own where it gave none and that is large enough.
fn emit_memory(n: &mut NestBuilder, size: &Size, own: Option<(OwnMemory, DataId)>) -> Word {
    let [given, batch, threads] = [n.arg(1), n.arg(2), n.arg(5)];
    if size.memory_bytes(1, 1) == 0 {
        return given;
    }
    let one = n.iconst(1);
    let absent = n.less(given, one);
    let Some((own, data)) = own else {
        n.return_if(absent, code("MEMORY"));
        return given;
    };
    let (most_samples, most_threads) = (n.iconst(own.batch as i64), n.iconst(own.threads as i64));
    for (most, number) in [(most_samples, batch), (most_threads, threads)] {
        let beyond = n.less(most, number);
        let neither = n.and(absent, beyond);
        n.return_if(neither, code("MEMORY"));
    }
    let data = n.data_address(data);
    n.select(absent, data, given)
}

fn c_string(text: &str) -> Vec<u8> {
    text.bytes().filter(|&byte| byte != 0).chain([0]).collect()
}

/// As the header declares it: the scale, the zero point, the largest number, and two bytes that C leaves free.
fn quantisation(quantisation: Quantisation) -> Vec<u8> {
    let numbers = [quantisation.zero_point(), quantisation.top(), 0, 0];
    quantisation.scale().to_le_bytes().into_iter().chain(numbers).collect()
}

/// Numbers as `size_t` of a 64-bit little-endian machine.
fn words(numbers: impl IntoIterator<Item = usize>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| (number as u64).to_le_bytes()).collect()
}
