//! The functions that a C program calls.
//!
//! A run keeps its arguments in a *frame* on its stack and cuts its batch as [`Cut`] says. The samples that go by
//! themselves are done by `alone`, or by the caller's parallel-for with `alone`, which makes a frame of its own for each of
//! them; then come those that go together; last come the steps that all do together. For a frame the functions of its steps,
//! or of several that go down the picture together, are called one after the other (see [`super::steps`]).
//!
//! The *work memory* is an arena for each slot of the cut, then what each sample has for the joint steps, then scratch
//! memory for each worker.
//!
//! [`Cut`]: crate::schedule::Cut

use super::checksum;
use super::constants::{self, Constants};
use super::interface::{ERRORS, Interface, NO_ERROR, Port, Size, THREADS, code};
use super::machine::Features;
use super::steps::{self, Functions, frame};
use super::{Cpu, OwnMemory};
use crate::backend::StepFunctions;
use crate::codegen::{CodeError, CodeModule, DataId, FuncId, Linkage, NestBuilder, Word};
use crate::kernels::Target;
use crate::schedule::{ALIGNMENT, Plan};
use crate::tensor::Quantisation;
use target_lexicon::Architecture;

/// Byte offsets in the caller's context.
mod context {
    /// The plan's fingerprint once the context is ready.
    pub const READY: i32 = 0;
    /// Address of the constants.
    pub const WEIGHTS: i32 = 8;
}

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
    let functions = steps::define(module, interface, plans, kernels, &constants.offsets)?;
    let mut entries = Entries { module, interface, names: Vec::new() };
    entries.define_init(constants.bytes, plans[0].target, cpu)?;
    let own = entries.define_own_memory()?;
    entries.define_runs(interface.usual(), own, &functions[0])?;
    entries.define_queries()?;
    for (size, functions) in interface.sizes.iter().zip(&functions).skip(1) {
        entries.define_runs(size, own, functions)?;
        entries.define_size_queries(size)?;
    }
    Ok(entries.names)
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
    fn define_runs(&mut self, size: &Size, own: Option<DataId>, functions: &Functions) -> Result<(), CodeError> {
        let (interface, suffix) = (self.interface, &size.suffix);
        let name = format!("run{suffix}");
        let alone = format!("alone{suffix}");
        let Functions { steps, joint } = functions;
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
    /// See [`Functions`].
    steps: &'a [FuncId],
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
