//! A network that is ready to run.

use super::binding::{Binding, Memory};
use super::buffer::AlignedBuffer;
use super::constants::Constants;
use super::denormals::FlushDenormals;
use super::threads::Threads;
use crate::backend;
use crate::codegen::emulated::Emulation;
use crate::codegen::{CodeError, CodeModule, Isa, JitCode};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, NodeId};
use crate::kernels::tuning::Choices;
use crate::kernels::{Kernel, Operand, Target};
use crate::portable;
use crate::schedule::{self, Plan};
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
    /// See [`Target::force_chain`].
    pub force_chain: Option<usize>,
    /// Bytes of weights and arena that must not be exceeded.
    pub memory_limit: usize,
}

impl Default for Options {
    /// The widest instruction set of this machine, one thread, 8 GiB.
    fn default() -> Options {
        let engine = Engine::Jit(Isa::detect());
        Options { engine, threads: 1, exact: false, force_winograd: None, force_chain: None, memory_limit: 8 << 30 }
    }
}

impl Options {
    pub fn target(&self) -> Target {
        let target = self.engine.target();
        let Options { force_winograd, force_chain, .. } = *self;
        Target { exact: target.exact || self.exact, force_winograd, force_chain, ..target }
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
    #[error("the model has {expected} outputs, {found} were given")]
    OutputCount { expected: usize, found: usize },
    #[error("output `{name}` has shape {found:?}, the model and its input give {expected:?}")]
    OutputShape { name: String, expected: Vec<usize>, found: Vec<usize> },
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
    constants: Constants,
    threads: Threads,
    /// One for each thread.
    scratch: Vec<AlignedBuffer>,
    /// The largest batch that fits, and the memory.
    arena: Option<(usize, AlignedBuffer)>,
    /// For the batch of the last run.
    binding: Option<Binding>,
    memory_limit: usize,
    times: BuildTimes,
}

impl Session {
    /// Optimises, schedules and compiles `graph`, and packs its weights.
    pub fn new(graph: Graph, weights: &dyn WeightSource, options: &Options) -> Result<Session, SessionError> {
        Session::tuned(graph, weights, options, &Choices::default())
    }

    /// As [`Session::new`], with kernels that were found to be fast by measuring.
    pub fn tuned(
        graph: Graph,
        weights: &dyn WeightSource,
        options: &Options,
        choices: &Choices,
    ) -> Result<Session, SessionError> {
        let start = Instant::now();
        let plan = schedule::plan_tuned(graph, options.target(), choices);
        let planned = Instant::now();
        let code = match options.engine {
            Engine::Jit(isa) => compile(&plan, isa, CodeModule::jit(false)?)?,
            Engine::Emulated(isa) => compile(&plan, isa, CodeModule::jit_emulated()?)?,
            Engine::Portable => Code::Portable,
        };
        let compiled = Instant::now();
        let constants = Constants::pack(&plan, weights, options.threads, options.memory_limit)?;
        let times = BuildTimes { plan: planned - start, code: compiled - planned, pack: compiled.elapsed() };
        let threads =
            Threads::new(options.threads).map_err(|cause| SessionError::Threads { threads: options.threads, cause })?;
        let scratch = reserve_scratch(&plan, options)?;
        let memory_limit = options.memory_limit;
        Ok(Session { plan, code, constants, threads, scratch, arena: None, binding: None, memory_limit, times })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn times(&self) -> BuildTimes {
        self.times
    }

    /// Bytes of packed weights and tables.
    pub fn constant_bytes(&self) -> usize {
        self.constants.bytes()
    }

    /// Computes the outputs, in the order of the graph's outputs.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = self.new_outputs(self.check_inputs(inputs)?);
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// As [`Session::run`], into the outputs of a run before. Nothing is allocated where that run had the same batch.
    pub fn run_into(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<(), RunError> {
        self.bind(inputs, outputs)?;
        let _flush = FlushDenormals::new();
        for index in 0..self.plan.steps.len() {
            // SAFETY: the tensors are bound and are still there.
            unsafe { self.run_step(index) };
        }
        Ok(())
    }

    /// As [`Session::run`], and calls `observe` after each step.
    pub fn run_observed(
        &mut self,
        inputs: &[Tensor],
        observe: &mut dyn FnMut(&StepDone),
    ) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = self.new_outputs(self.check_inputs(inputs)?);
        self.bind(inputs, &mut outputs)?;
        for index in 0..self.plan.steps.len() {
            {
                let _flush = FlushDenormals::new();
                // SAFETY: the tensors are bound and are still there.
                unsafe { self.run_step(index) };
            }
            let memory = self.binding.as_ref().expect("bound").memory();
            observe(&StepDone { index, plan: &self.plan, memory });
        }
        Ok(outputs)
    }

    /// # Safety
    /// The tensors of the last call of `bind` are still there, and nobody else uses its outputs.
    unsafe fn run_step(&mut self, index: usize) {
        let Session { plan, code, constants, scratch, .. } = self;
        let binding = self.binding.as_ref().expect("bound");
        let step = &plan.steps[index];
        if let Some(emulation) = code.emulation() {
            let regions = binding.memory().regions(plan, step, constants.of_step(index), scratch);
            // SAFETY: as for calling the kernel, below.
            unsafe { emulation.lend(regions) };
        }
        let (tasks, split) = binding.tasks(index);
        self.threads.run(tasks, split, &|thread, range| {
            let operands = binding.operands(index, thread);
            // SAFETY: the plan gave this kernel these operands; `bind` saw to it that they lead to buffers of the sizes
            // that the plan states for the batch, to the constants that the conf packed, and to scratch memory of the
            // largest size that a kernel needs for each thread; ranges are parts of 0..tasks, and tasks write disjoint
            // memory.
            unsafe { code.call(index, &step.kernel, operands, range.start, range.end) }
        });
        if let Some(emulation) = code.emulation() {
            emulation.check();
        }
    }

    fn new_outputs(&self, batch: usize) -> Vec<Tensor> {
        self.plan.outputs.iter().map(|view| Tensor::zeros(view.ty.shape(batch))).collect()
    }

    /// Makes everything ready for a run on these tensors.
    fn bind(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<(), RunError> {
        let batch = self.check_inputs(inputs)?;
        self.check_outputs(outputs, batch)?;
        if self.binding.as_ref().is_none_or(|binding| binding.batch() != batch) {
            self.reserve(batch)?;
            let (_, arena) = self.arena.as_mut().expect("reserved");
            self.binding = Some(Binding::new(&self.plan, batch, arena, &self.constants, &mut self.scratch));
        }
        self.binding.as_mut().expect("bound").set_callers(inputs, outputs);
        Ok(())
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

    fn check_outputs(&self, outputs: &[Tensor], batch: usize) -> Result<(), RunError> {
        let expected = &self.plan.outputs;
        if outputs.len() != expected.len() {
            return Err(RunError::OutputCount { expected: expected.len(), found: outputs.len() });
        }
        for (index, (view, tensor)) in expected.iter().zip(outputs).enumerate() {
            let [found, dims] = [tensor.shape(), &view.ty.dims];
            if found.first() != Some(&batch) || found[1..] != *dims {
                let name = self.plan.graph.outputs[index].name.clone();
                let (expected, found) = (view.ty.shape(batch), found.to_vec());
                return Err(RunError::OutputShape { name, expected, found });
            }
        }
        Ok(())
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
        // The old arena goes first, so that both are never held together; and before it, what points to it.
        self.binding = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Output;
    use crate::ir::weights::RandomWeights;
    use crate::layers::{Dense, Softmax};
    use crate::tensor::{DType, TensorType};

    fn session(threads: usize) -> Session {
        try_session(threads).unwrap()
    }

    fn try_session(threads: usize) -> Result<Session, SessionError> {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![32] };
        let x = graph.add_input("x", ty);
        let fc = graph.add_layer(Dense { features: 16, bias: true, flatten: false }, &[x], "fc").unwrap();
        let y = graph.add_layer(Softmax, &[fc], "y").unwrap();
        graph.outputs.push(Output { name: "y".into(), node: y });
        Session::new(graph, &RandomWeights { seed: 1 }, &Options { threads, ..Options::default() })
    }

    fn input(batch: usize) -> Tensor {
        Tensor::new([batch, 32], (0..batch * 32).map(|i| (i as f32).sin()).collect())
    }

    #[test]
    fn runs_into_the_same_outputs_at_any_batch() {
        for threads in [1, 2] {
            let mut session = session(threads);
            for batch in [2, 2, 5, 1] {
                let inputs = [input(batch)];
                let expected = session.run(&inputs).unwrap();
                let mut outputs = [Tensor::zeros([batch, 16])];
                session.run_into(&inputs, &mut outputs).unwrap();
                assert_eq!(outputs[0], expected[0], "batch {batch}");
                let sums = outputs[0].data().chunks(16).map(|row| row.iter().sum::<f32>());
                assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5), "each sample was computed");
            }
        }
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        let mut session = session(1);
        let mut run = |outputs: &mut [Tensor]| session.run_into(&[input(2)], outputs).unwrap_err();
        assert_eq!(run(&mut []), RunError::OutputCount { expected: 1, found: 0 });
        for shape in [vec![1, 16], vec![2, 15], vec![2, 16, 1], vec![2]] {
            let error = run(&mut [Tensor::zeros(shape.clone())]);
            assert_eq!(error, RunError::OutputShape { name: "y".into(), expected: vec![2, 16], found: shape });
        }
    }

    #[test]
    fn a_session_without_threads_is_refused() {
        let error = try_session(0).err().expect("an error");
        assert_eq!(error.to_string(), "cannot start 0 threads: at least one is needed");
    }

    #[test]
    fn packed_weights_take_the_room_of_the_weights() {
        let session = session(1);
        // Rows of 32 for 16 outputs, whole blocks on every instruction set, the biases, and the tables of rows.
        let weights = (32 * 16 + 16) * 4;
        assert!((weights..weights + 256).contains(&session.constant_bytes()), "{}", session.constant_bytes());
    }
}
