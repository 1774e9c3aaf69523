//! A network that is ready to run.

use super::buffer::AlignedBuffer;
use super::threads::Threads;
use crate::backend;
use crate::codegen::emulated::Emulation;
use crate::codegen::emulator::Region;
use crate::codegen::{CodeError, CodeModule, Isa, JitCode};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, NodeId};
use crate::kernels::{Constant, Kernel, Layout, Operand, Target};
use crate::portable;
use crate::schedule::{self, Buffer, Place, Plan, Step, View};
use crate::tensor::{Batch, Tensor};
use std::time::{Duration, Instant};

/// Who does the work of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Code made in memory for an instruction set.
    Jit(Isa),
    /// Compiled-in portable vectors, for where no code may be made.
    Portable,
    /// As `Jit`, but wide tiles are emulated and may only touch the operands of their step: for tests. A run panics
    /// where a tile does anything else.
    #[doc(hidden)]
    Emulated(Isa),
}

impl Engine {
    pub fn target(self) -> Target {
        match self {
            Engine::Jit(isa) | Engine::Emulated(isa) => Target::new(isa),
            Engine::Portable => portable::TARGET,
        }
    }
}

/// How to make a [`Session`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub engine: Engine,
    pub threads: usize,
    /// Without kernels whose rounding errors are larger than those of the layers' own sums.
    pub exact: bool,
    /// See [`Target::force_winograd`].
    pub force_winograd: Option<usize>,
    /// Bytes of weights and arena that must not be exceeded.
    pub memory_limit: usize,
}

impl Default for Options {
    /// The widest instruction set of this machine, one thread, 8 GiB.
    fn default() -> Options {
        let engine = Engine::Jit(Isa::detect());
        Options { engine, threads: 1, exact: false, force_winograd: None, memory_limit: 8 << 30 }
    }
}

impl Options {
    pub fn target(&self) -> Target {
        let target = self.engine.target();
        Target { exact: target.exact || self.exact, force_winograd: self.force_winograd, ..target }
    }
}

/// Why a network could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error("cannot start {threads} threads: {cause}")]
    Threads { threads: usize, cause: std::io::Error },
    #[error("{what} of {bytes} bytes: above the limit of {limit} bytes (raise it with --memory-limit)")]
    Memory { what: &'static str, bytes: usize, limit: usize },
    #[error("out of memory")]
    Allocation,
}

/// Why a run was refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RunError {
    #[error("the model has {expected} inputs, {found} were given")]
    InputCount { expected: usize, found: usize },
    #[error("input `{name}` has shape {found:?}, the model expects {expected}")]
    InputShape { name: String, expected: String, found: Vec<usize> },
    #[error("inputs with different batch sizes: {0} and {1}")]
    BatchSizes(usize, usize),
    #[error(
        "a batch of {batch} needs {bytes} bytes of memory: above the limit of {limit} bytes (raise it with --memory-limit)"
    )]
    Memory { batch: usize, bytes: usize, limit: usize },
    #[error("out of memory")]
    Allocation,
}

/// How long the parts of [`Session::new`] took.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuildTimes {
    pub plan: Duration,
    pub code: Duration,
    pub pack: Duration,
}

type KernelFn = unsafe extern "C" fn(*const Operand, i64, i64);

enum Code {
    Jit { functions: Vec<KernelFn>, memory: Box<JitCode> },
    Portable,
}

/// A compiled network with its weights. Runs take `&mut self`: they share one arena.
pub struct Session {
    plan: Plan,
    code: Code,
    /// For each step, its packed weights and tables.
    constants: Vec<Vec<AlignedBuffer>>,
    threads: Threads,
    /// One for each thread.
    scratch: Vec<AlignedBuffer>,
    arena: Option<(usize, AlignedBuffer)>,
    memory_limit: usize,
    times: BuildTimes,
}

impl Session {
    /// Optimises, schedules and compiles `graph`, and packs its weights.
    pub fn new(graph: Graph, weights: &dyn WeightSource, options: &Options) -> Result<Session, SessionError> {
        let start = Instant::now();
        let plan = schedule::plan(graph, options.target());
        let planned = Instant::now();
        let code = match options.engine {
            Engine::Jit(isa) => compile(&plan, isa, CodeModule::jit(false)?)?,
            Engine::Emulated(isa) => compile(&plan, isa, CodeModule::jit_emulated()?)?,
            Engine::Portable => Code::Portable,
        };
        let compiled = Instant::now();
        let constants = pack(&plan, weights, options.memory_limit)?;
        let times = BuildTimes { plan: planned - start, code: compiled - planned, pack: compiled.elapsed() };
        let threads =
            Threads::new(options.threads).map_err(|cause| SessionError::Threads { threads: options.threads, cause })?;
        let scratch = reserve_scratch(&plan, options)?;
        Ok(Session { plan, code, constants, threads, scratch, arena: None, memory_limit: options.memory_limit, times })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn times(&self) -> BuildTimes {
        self.times
    }

    /// Computes the outputs, in the order of the graph's outputs.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.run_observed(inputs, &mut |_| {})
    }

    /// As [`Session::run`], and calls `observe` after each step.
    pub fn run_observed(
        &mut self,
        inputs: &[Tensor],
        observe: &mut dyn FnMut(&StepDone),
    ) -> Result<Vec<Tensor>, RunError> {
        let batch = self.check_inputs(inputs)?;
        self.reserve(batch)?;
        let (_, arena) = self.arena.as_mut().expect("reserved");
        let mut outputs: Vec<Tensor> =
            self.plan.outputs.iter().map(|view| Tensor::zeros(view.ty.shape(batch))).collect();
        let memory = Memory {
            arena: arena.as_mut_ptr(),
            inputs: inputs.iter().map(|t| t.data().as_ptr().cast_mut().cast()).collect(),
            outputs: outputs.iter_mut().map(|t| t.data_mut().as_mut_ptr().cast()).collect(),
            batch,
        };
        for (index, step) in self.plan.steps.iter().enumerate() {
            let operands = memory.operands(&self.plan, step, &self.constants[index]);
            let with_scratch = self.scratch.iter_mut().map(|buffer| {
                let scratch = Operand { data: buffer.as_mut_ptr(), stride: 0 };
                operands.iter().copied().chain([scratch]).collect()
            });
            let operands = Operands(with_scratch.collect());
            let tasks = step.kernel.family().tasks() * batch;
            let (code, kernel) = (&self.code, &step.kernel);
            if let Some(emulation) = code.emulation() {
                let scratch = &self.scratch;
                // SAFETY: as for calling the kernel, below.
                unsafe { emulation.lend(memory.regions(&self.plan, step, &self.constants[index], scratch)) };
            }
            self.threads.run(tasks, step.worth_splitting(batch), &|thread, range| {
                let operands = operands.of_thread(thread);
                // SAFETY: the plan gave this kernel these operands; `memory` holds buffers of the sizes that the plan
                // states for this batch, `constants` those that the conf packed, `scratch` one of the largest size
                // that a kernel needs for each thread; ranges are parts of 0..tasks, and tasks write disjoint memory.
                unsafe { code.call(index, kernel, operands, range.start, range.end) }
            });
            if let Some(emulation) = code.emulation() {
                emulation.check();
            }
            observe(&StepDone { index, plan: &self.plan, memory: &memory });
        }
        Ok(outputs)
    }

    fn check_inputs(&self, inputs: &[Tensor]) -> Result<usize, RunError> {
        let graph = &self.plan.graph;
        if inputs.len() != graph.inputs.len() {
            return Err(RunError::InputCount { expected: graph.inputs.len(), found: inputs.len() });
        }
        for (&id, tensor) in graph.inputs.iter().zip(inputs) {
            let ty = &graph[id].ty;
            let batch_fits = match &ty.batch {
                Batch::Fixed(n) => tensor.shape().first() == Some(n),
                Batch::Symbolic(_) => tensor.shape().first().is_some_and(|&n| n > 0),
            };
            if !batch_fits || tensor.shape()[1..] != ty.dims {
                let (name, found) = (graph[id].origin.path.clone(), tensor.shape().to_vec());
                return Err(RunError::InputShape { name, expected: ty.to_string(), found });
            }
        }
        let batch = inputs[0].batch();
        match inputs.iter().find(|t| t.batch() != batch) {
            Some(other) => Err(RunError::BatchSizes(batch, other.batch())),
            None => Ok(batch),
        }
    }

    /// Makes the arena large enough for a batch.
    fn reserve(&mut self, batch: usize) -> Result<(), RunError> {
        if self.arena.as_ref().is_some_and(|(capacity, _)| *capacity >= batch) {
            return Ok(());
        }
        let limit = self.memory_limit;
        let bytes = (self.plan.arena * 4).saturating_mul(batch);
        if bytes > limit {
            return Err(RunError::Memory { batch, bytes, limit });
        }
        // The old arena goes first, so that both are never held together.
        self.arena = None;
        let arena = AlignedBuffer::zeroed(bytes).map_err(|_| RunError::Allocation)?;
        self.arena = Some((batch, arena));
        Ok(())
    }
}

/// One function for each distinct conf.
fn compile(plan: &Plan, isa: Isa, mut module: CodeModule) -> Result<Code, SessionError> {
    let functions = backend::generate(plan, isa, &mut module)?;
    let memory = module.finish_jit()?;
    let pointers = functions.iter().map(|&id| {
        let address = memory.address(id);
        // SAFETY: `backend::generate` defined the function with this signature; it lives as long as `memory` beside it.
        unsafe { std::mem::transmute::<*const u8, KernelFn>(address) }
    });
    Ok(Code::Jit { functions: pointers.collect(), memory: Box::new(memory) })
}

fn pack(plan: &Plan, weights: &dyn WeightSource, limit: usize) -> Result<Vec<Vec<AlignedBuffer>>, SessionError> {
    let mut total = 0;
    let mut packed = Vec::new();
    for step in &plan.steps {
        let constants = backend::constants(plan, step, weights);
        total += constants.iter().map(Constant::bytes).sum::<usize>();
        if total > limit {
            return Err(SessionError::Memory { what: "weights", bytes: total, limit });
        }
        let buffers = constants.iter().map(|c| AlignedBuffer::from_bytes(c.as_bytes()));
        packed.push(buffers.collect::<Result<_, _>>().map_err(|_| SessionError::Allocation)?);
    }
    Ok(packed)
}

fn reserve_scratch(plan: &Plan, options: &Options) -> Result<Vec<AlignedBuffer>, SessionError> {
    let limit = options.memory_limit;
    let bytes = plan.scratch().saturating_mul(options.threads);
    if bytes > limit {
        return Err(SessionError::Memory { what: "scratch memory of the threads", bytes, limit });
    }
    let buffers = (0..options.threads).map(|_| AlignedBuffer::zeroed(plan.scratch()));
    buffers.collect::<Result<_, _>>().map_err(|_| SessionError::Allocation)
}

impl Code {
    /// # Safety
    /// `operands` are those that the plan gave step `index`, whose kernel is `kernel`; `begin..end` lies in its tasks.
    unsafe fn call(&self, index: usize, kernel: &Kernel, operands: &[Operand], begin: usize, end: usize) {
        match self {
            // SAFETY: the caller's.
            Code::Jit { functions, .. } => unsafe { functions[index](operands.as_ptr(), begin as i64, end as i64) },
            // SAFETY: the caller's.
            Code::Portable => unsafe { portable::run(kernel, operands, begin, end) },
        }
    }

    fn emulation(&self) -> Option<&Emulation> {
        match self {
            Code::Jit { memory, .. } => memory.emulation(),
            Code::Portable => None,
        }
    }
}

/// Operands of each thread.
struct Operands(Vec<Vec<Operand>>);

impl Operands {
    fn of_thread(&self, thread: usize) -> &[Operand] {
        &self.0[thread]
    }
}

// SAFETY: the pointers lead to memory that outlives the step and that kernels on several threads write at disjoint
// places only (see `kernels`); scratch memory is each thread's own.
unsafe impl Sync for Operands {}

/// A step of a run that has just ended.
pub struct StepDone<'a> {
    pub index: usize,
    plan: &'a Plan,
    memory: &'a Memory,
}

impl StepDone<'_> {
    /// The nodes whose values are complete now, and the values; none after steps that only prepare one.
    pub fn values(&self) -> Vec<(NodeId, Tensor)> {
        let step = &self.plan.steps[self.index];
        let own = self.plan.values[step.node.0 as usize].as_ref().filter(|_| step.completes(self.plan));
        let beside = step.beside.iter().map(|(node, view)| (*node, view));
        let complete = own.map(|view| (step.node, view)).into_iter().chain(beside);
        complete.map(|(node, view)| (node, self.memory.read(self.plan, view))).collect()
    }
}

/// The memory of one run.
struct Memory {
    arena: *mut u8,
    inputs: Vec<*mut u8>,
    outputs: Vec<*mut u8>,
    batch: usize,
}

impl Memory {
    fn operands(&self, plan: &Plan, step: &Step, constants: &[AlignedBuffer]) -> Vec<Operand> {
        let views = step.views().map(|view| self.operand(plan, view));
        let constants = constants.iter().map(|c| Operand { data: c.as_ptr().cast_mut(), stride: 0 });
        views.chain(constants).collect()
    }

    fn operand(&self, plan: &Plan, view: &View) -> Operand {
        let buffer = &plan.buffers[view.buffer.0];
        Operand { data: self.base(buffer).wrapping_add(view.offset * 4), stride: (buffer.elements * 4) as i64 }
    }

    fn base(&self, buffer: &Buffer) -> *mut u8 {
        match buffer.place {
            Place::Input(index) => self.inputs[index],
            Place::Output(index) => self.outputs[index],
            Place::Arena(offset) => self.arena.wrapping_add(offset * 4 * self.batch),
        }
    }

    /// What the kernel of `step` may touch.
    fn regions(&self, plan: &Plan, step: &Step, constants: &[AlignedBuffer], scratch: &[AlignedBuffer]) -> Vec<Region> {
        let region = |start: *const u8, len, writable| Region { start: start.expose_provenance(), len, writable };
        let buffer = |view: &View, writable| {
            let buffer = &plan.buffers[view.buffer.0];
            region(self.base(buffer), buffer.elements * 4 * self.batch, writable)
        };
        let inputs = step.inputs.iter().map(|view| buffer(view, false));
        let constants = constants.iter().map(|c| region(c.as_ptr(), c.len(), false));
        let scratch = scratch.iter().map(|s| region(s.as_ptr(), s.len(), true));
        let beside = step.beside.iter().map(|(_, view)| buffer(view, true));
        std::iter::once(buffer(&step.output, true))
            .chain(inputs)
            .chain(beside)
            .chain(constants)
            .chain(scratch)
            .collect()
    }

    /// A value as a row-major tensor.
    fn read(&self, plan: &Plan, view: &View) -> Tensor {
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
