//! A network that is ready to run.

use super::at_once::at_once;
use super::binding::{Binding, PassOperands};
use super::buffer::AlignedBuffer;
use super::checks;
use super::code::Code;
use super::constants::Constants;
use super::memory::{check_packing, check_planning};
use super::network::Network;
use super::stages;
use super::threads::Threads;
use super::watch::Watch;
use crate::codegen::emulated::{Emulation, Executed, TileFault};
use crate::codegen::{Bytes, CodeError, CodeModule, HostIsa, Isa};
use crate::io::IoError;
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Verified};
use crate::kernels::bands::Bands;
use crate::kernels::tuning::Choices;
use crate::kernels::{NoProducts, Target};
use crate::machine::Machine;
use crate::portable;
use crate::schedule::{self, Cut, Plan};
use crate::tensor::{AsTensor, AsTensorMut, Products, Tensor, TensorType};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who does the work of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Code made in memory for an instruction set of this machine.
    Jit(HostIsa),
    /// Compiled-in portable vectors, for where no code may be made.
    Portable,
    /// As `Jit`, but wide tiles are emulated, on any CPU, and may only touch the operands of their step: a run that finds
    /// one doing anything else is refused. Some hundred times as slow.
    Emulated(Isa),
}

impl Engine {
    /// What kernels are chosen for.
    #[doc(hidden)]
    pub fn target(self) -> Target {
        match self {
            Engine::Jit(isa) => Target { bytes: isa.bytes(), ..Target::new(isa) },
            Engine::Emulated(isa) => {
                Target { bytes: Bytes::most(isa), ..Target::of(isa, target_lexicon::HOST.architecture) }
            }
            Engine::Portable => portable::TARGET,
        }
    }
}

/// How to make a [`Session`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Who does the work.
    pub engine: Engine,
    /// Threads of a session, the caller's included; at least 1.
    pub threads: usize,
    /// Without kernels whose rounding errors are larger than those of the layers' own sums.
    pub exact: bool,
    /// In what convolutions and dense layers multiply. Refused where the engine's CPU or instruction set has no products of
    /// bf16, and beside `exact`.
    pub products: Products,
    /// Bytes of weights and arena that must not be exceeded.
    pub memory_limit: usize,
    /// Kernels that the tests ask for.
    #[doc(hidden)]
    pub forced: Forced,
}

/// Forms of kernels that are taken wherever they can be, so that tests meet them in small networks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forced {
    /// See [`Target::force_winograd`].
    pub winograd: Option<[usize; 2]>,
    /// See [`Target::force_chain`].
    pub chain: Option<usize>,
    /// See [`Target::force_joint`].
    pub joint: bool,
    /// See [`Target::bands`].
    pub bands: Bands,
    /// No more than this is done with bytes.
    pub bytes: Option<Bytes>,
    /// As if it was this machine.
    pub machine: Option<Machine>,
}

impl Default for Options {
    /// The widest instruction set of this machine, one thread, 8 GiB.
    fn default() -> Options {
        let engine = Engine::Jit(Isa::detect());
        let products = Products::F32;
        Options { engine, threads: 1, exact: false, products, memory_limit: 8 << 30, forced: Forced::default() }
    }
}

impl Options {
    /// What kernels are chosen for.
    #[doc(hidden)]
    pub fn target(&self) -> Target {
        let target = self.engine.target();
        let Forced { winograd: force_winograd, chain: force_chain, joint: force_joint, .. } = self.forced;
        let Forced { bytes, bands, machine, .. } = self.forced;
        let bytes = bytes.map_or(target.bytes, |bytes| bytes.min(target.bytes));
        // There are none for portable vectors.
        let bands = if target.bands == Bands::Never { Bands::Never } else { bands };
        let (exact, machine) = (target.exact || self.exact, machine.unwrap_or(target.machine));
        let products = self.products;
        Target { exact, products, bytes, machine, force_winograd, force_chain, force_joint, bands, ..target }
    }
}

/// Why a network could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No code can be made.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Products of bf16 were asked for.
    #[error(transparent)]
    Products(#[from] NoProducts),
    /// The system gives no threads.
    #[error("cannot start {threads} threads: {cause}")]
    Threads {
        /// As many as were asked for.
        threads: usize,
        /// The system's word.
        cause: std::io::Error,
    },
    /// More memory than [`Options::memory_limit`] would be needed.
    #[error("{what} of {bytes} bytes: above the limit of {limit} bytes")]
    Memory {
        /// For what.
        what: &'static str,
        /// How much.
        bytes: usize,
        /// How much there may be.
        limit: usize,
    },
    /// The system gives no memory.
    #[error("out of memory")]
    Allocation,
    /// The file in which weights are kept packed.
    #[error(transparent)]
    Packed(#[from] IoError),
    /// Only where tiles are emulated.
    #[error("a session whose tiles are emulated has no forks")]
    Watched,
}

/// Why a run was refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RunError {
    /// Too few inputs or too many.
    #[error("the model has {expected} inputs, {found} were given")]
    InputCount {
        /// Those of the model.
        expected: usize,
        /// Those given.
        found: usize,
    },
    /// An input that is not of the model's shape.
    #[error("input `{name}` has shape {found:?}, the model expects {expected}")]
    InputShape {
        /// The input.
        name: String,
        /// Its type in the model.
        expected: String,
        /// The shape given.
        found: Vec<usize>,
    },
    /// Memory for too few outputs or too many.
    #[error("the model has {expected} outputs, {found} were given")]
    OutputCount {
        /// Those of the model.
        expected: usize,
        /// Those given.
        found: usize,
    },
    /// Memory that is not of the output's shape.
    #[error("output `{name}` has shape {found:?}, the model and its input give {expected:?}")]
    OutputShape {
        /// The output.
        name: String,
        /// Its shape for the batch of the inputs.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A slice that is too short or too long.
    #[error("{what} `{name}` has {found} values, {batch} samples of it have {expected}")]
    Length {
        /// Input or output.
        what: &'static str,
        /// Its name.
        name: String,
        /// Samples of the run.
        batch: usize,
        /// Values that these have.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A batch that the model does not take.
    #[error("{found} samples cannot be run: the model's input `{name}` is {expected}")]
    Batch {
        /// The input that does not take it.
        name: String,
        /// Its type in the model.
        expected: String,
        /// Samples asked for.
        found: usize,
    },
    /// Inputs of different batches.
    #[error("inputs with different batch sizes: {0} and {1}")]
    BatchSizes(usize, usize),
    /// More memory than [`Options::memory_limit`] would be needed for this batch.
    #[error("a batch of {batch} needs {bytes} bytes of memory: above the limit of {limit} bytes")]
    Memory {
        /// Samples of the run.
        batch: usize,
        /// What they need.
        bytes: usize,
        /// How much there may be.
        limit: usize,
    },
    /// The system gives no memory.
    #[error("out of memory")]
    Allocation,
    /// Only where tiles are emulated.
    #[error("step {step}, {name}: {fault}")]
    Tile {
        /// Of the plan.
        step: usize,
        /// Its layer.
        name: String,
        /// What a tile did that it may not do.
        fault: TileFault,
    },
}

/// How long the parts of [`Session::new`] took.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuildTimes {
    /// Optimising and scheduling.
    pub plan: Duration,
    /// Generating code.
    pub code: Duration,
    /// Packing weights, or finding them packed, beyond what was done of it while code was generated.
    pub pack: Duration,
}

/// What the sessions of a compiled network share; nothing in it changes.
pub(super) struct Compiled {
    pub(super) plan: Plan,
    pub(super) code: Code,
    pub(super) constants: Constants,
    pub(super) options: Options,
    times: BuildTimes,
}

/// A compiled network with its weights. Runs take `&mut self`: they share one arena. For runs at the same time there are
/// [forks](Session::fork).
pub struct Session {
    pub(super) compiled: Arc<Compiled>,
    pub(super) threads: Threads,
    /// One for each thread.
    pub(super) scratch: Vec<AlignedBuffer>,
    /// For the values of the largest cut that there was.
    arena: Option<AlignedBuffer>,
    /// For the cut of the last run.
    pub(super) binding: Option<Binding>,
}

const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Session>();
};

impl Session {
    /// Optimises, schedules and compiles `graph`, and packs its weights on another thread meanwhile, which ends with this.
    pub fn new(graph: Verified<Graph>, weights: &dyn WeightSource, options: &Options) -> Result<Session, SessionError> {
        Session::tuned(graph, weights, options, &Choices::default())
    }

    /// As [`Session::new`], with kernels that were found to be fast by measuring.
    pub fn tuned(
        graph: Verified<Graph>,
        weights: &dyn WeightSource,
        options: &Options,
        choices: &Choices,
    ) -> Result<Session, SessionError> {
        Session::beside(&[], graph, weights, options, choices)
    }

    /// As [`Session::tuned`], beside sessions of the same network at other sizes, with the same weights: what these have
    /// packed in the order that this one reads is there once.
    pub(super) fn beside(
        others: &[&Session],
        graph: Verified<Graph>,
        weights: &dyn WeightSource,
        options: &Options,
        choices: &Choices,
    ) -> Result<Session, SessionError> {
        options.target().check()?;
        check_planning(&graph, options.memory_limit)?;
        check_packing(&graph, options.memory_limit)?;
        let start = Instant::now();
        let plan = schedule::plan_tuned(graph, options.target(), choices);
        let planned = Instant::now();
        let others: Vec<&Constants> = others.iter().map(|other| &other.compiled.constants).collect();
        let pack = || Constants::new(&plan, weights, options.threads, options.memory_limit, &others);
        let ((code, compiled), constants) = match options.engine {
            Engine::Portable => ((Ok(Code::Portable), Instant::now()), pack()),
            _ => at_once(|| (generate(&plan, options), Instant::now()), pack),
        };
        let (code, constants) = (code?, constants?);
        let times = BuildTimes { plan: planned - start, code: compiled - planned, pack: compiled.elapsed() };
        Session::of(Arc::new(Compiled { plan, code, constants, options: *options, times }), options.threads)
    }

    /// A session with threads and memory of its own.
    pub(super) fn of(compiled: Arc<Compiled>, threads: usize) -> Result<Session, SessionError> {
        let scratch = reserve_scratch(&compiled.plan, threads, compiled.options.memory_limit)?;
        let threads = Threads::new(threads).map_err(|cause| SessionError::Threads { threads, cause })?;
        Ok(Session { compiled, threads, scratch, arena: None, binding: None })
    }

    /// Another session of the same network, to be run at the same time: it has threads and memory for values of its own,
    /// and shares code and packed weights.
    ///
    /// # Errors
    /// Where the system gives no threads or memory, and for sessions whose tiles are emulated: these are watched one run
    /// at a time.
    pub fn fork(&self) -> Result<Session, SessionError> {
        self.network().session(self.compiled.options.threads)
    }

    /// How many threads it runs on, the caller's included.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// What it shares with its forks, of which any thread can make sessions.
    pub fn network(&self) -> Network {
        Network(self.compiled.clone())
    }

    /// The plan that it follows.
    #[doc(hidden)]
    pub fn plan(&self) -> &Plan {
        &self.compiled.plan
    }

    /// How long its parts took to make.
    pub fn times(&self) -> BuildTimes {
        self.compiled.times
    }

    /// What the tiles of all runs have done; `None` where they are not emulated.
    pub fn executed(&self) -> Option<Executed> {
        self.compiled.code.emulation().map(Emulation::executed)
    }

    /// Bytes of packed weights and tables.
    pub fn constant_bytes(&self) -> usize {
        self.compiled.constants.bytes()
    }

    /// Which pieces of memory packed weights and tables lie in: address and bytes of each.
    pub(super) fn constant_chunks(&self) -> HashMap<*const u8, usize> {
        self.compiled.constants.chunks()
    }

    /// Name and type of each input, in the order in which runs take them.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        self.compiled.plan.graph.input_types()
    }

    /// Name and type of each output, in the order in which runs give them.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        let Plan { graph, outputs, .. } = &self.compiled.plan;
        graph.outputs.iter().zip(outputs).map(|(output, view)| (output.name.as_str(), &view.ty))
    }

    /// Computes the outputs of inputs of shape `[batch, ..]`: tensors, or views of memory that is another's.
    ///
    /// # Errors
    /// Where the inputs are not those of the network, or the memory does not suffice.
    pub fn run<I: AsTensor>(&mut self, inputs: &[I]) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = self.new_outputs(checks::inputs(&self.compiled.plan.graph, inputs)?);
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// As [`Session::run`], into memory of the outputs' shapes, such as the outputs of a run before. Nothing is allocated
    /// where that run had the same batch.
    ///
    /// # Errors
    /// As [`Session::run`], and where the outputs do not have these shapes.
    pub fn run_into<I: AsTensor, O: AsTensorMut>(&mut self, inputs: &[I], outputs: &mut [O]) -> Result<(), RunError> {
        let cut = self.cut(checks::inputs(&self.compiled.plan.graph, inputs)?);
        self.bind(inputs, outputs, cut)?;
        self.run_steps()
    }

    /// As [`Session::run_into`], on memory that need not be that of tensors: for each input and output, in the graph's
    /// order, the values of `batch` samples, row-major.
    pub fn run_slices(&mut self, batch: usize, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), RunError> {
        checks::batch(&self.compiled.plan.graph, batch)?;
        let graph = &self.compiled.plan.graph;
        let given = inputs.iter().map(|values| values.len());
        checks::lengths("input", batch, graph.inputs.iter().map(|&id| (&graph[id].origin.path, &graph[id].ty)), given)
            .ok_or(RunError::InputCount { expected: graph.inputs.len(), found: inputs.len() })??;
        let given = outputs.iter().map(|values| values.len());
        let views = self.compiled.plan.outputs.iter().zip(&graph.outputs);
        checks::lengths("output", batch, views.map(|(view, output)| (&output.name, &view.ty)), given)
            .ok_or(RunError::OutputCount { expected: graph.outputs.len(), found: outputs.len() })??;
        let outputs = outputs.iter_mut().map(|values| values.as_mut_ptr());
        self.bind_cut(self.cut(batch))?.set_callers(inputs.iter().map(|values| values.as_ptr()), outputs);
        self.run_steps()
    }

    /// As [`Session::run_slices`], on memory of which only the addresses are known: no reference to it is made, so that it
    /// may be memory that others write to.
    ///
    /// # Errors
    /// As [`Session::run_slices`].
    ///
    /// # Safety
    /// At each address lie, aligned, the values of `batch` samples of the input or output, until this returns; outputs can
    /// be written to, and overlap neither inputs nor each other. Where generated code does the work ([`Engine::Jit`]),
    /// others may write to inputs and outputs meanwhile: outputs are then any numbers, and no more than that, since values
    /// decide nowhere which memory is used. [`Engine::Portable`] needs them to be left alone.
    pub unsafe fn run_addresses(
        &mut self,
        batch: usize,
        inputs: &[*const f32],
        outputs: &[*mut f32],
    ) -> Result<(), RunError> {
        checks::batch(&self.compiled.plan.graph, batch)?;
        let Plan { graph, outputs: views, .. } = &self.compiled.plan;
        if graph.inputs.len() != inputs.len() {
            return Err(RunError::InputCount { expected: graph.inputs.len(), found: inputs.len() });
        }
        if views.len() != outputs.len() {
            return Err(RunError::OutputCount { expected: views.len(), found: outputs.len() });
        }
        self.bind_cut(self.cut(batch))?.set_callers(inputs.iter().copied(), outputs.iter().copied());
        self.run_steps()
    }

    /// How a run cuts this batch. What emulated tiles may touch is known of all samples of a step together.
    fn cut(&self, batch: usize) -> Cut {
        match self.compiled.code.emulation() {
            None => Cut::new(batch, self.scratch.len()),
            Some(_) => Cut::together(batch),
        }
    }

    /// Runs on what is bound.
    fn run_steps(&mut self) -> Result<(), RunError> {
        let cut = self.binding.as_ref().expect("bound").cut();
        if cut.alone > 0 {
            // SAFETY: the tensors are bound and are still there.
            unsafe { self.run_alone() };
        }
        let Plan { steps, joint_from, .. } = &self.compiled.plan;
        let (mut index, end) = (if cut.rest() > 0 { 0 } else { *joint_from }, steps.len());
        let compiled = self.compiled.clone();
        while index < end {
            index = match compiled.plan.stage_from(index).filter(|stage| self.takes_turns(stage)) {
                Some(stage) => {
                    // SAFETY: as above.
                    unsafe { self.run_stage(stage, None, None) }?;
                    stage.steps.end
                }
                None => {
                    // SAFETY: as above.
                    unsafe { self.run_step(index, None) }?;
                    index + 1
                }
            };
        }
        Ok(())
    }

    /// Each thread takes its share of the samples that go by themselves through the network, one after the other, up to the
    /// steps that all do together.
    ///
    /// # Safety
    /// The tensors of the last call of `bind_cut` are still there, and nobody else uses its outputs.
    unsafe fn run_alone(&mut self) {
        let Compiled { plan, code, .. } = &*self.compiled;
        let binding = self.binding.as_ref().expect("bound");
        self.threads.run(binding.cut().alone, binding.is_worth_splitting(), &|thread, samples| {
            for sample in samples {
                let mut index = 0;
                while index < plan.joint_from {
                    if let Some(stage) = plan.stage_from(index) {
                        // SAFETY: as below.
                        unsafe { stages::run_alone((plan, code, binding), stage, thread, sample) };
                        index = stage.steps.end;
                        continue;
                    }
                    let (operands, tasks) = binding.own(index, thread, sample);
                    // SAFETY: the plan gave this kernel these operands; `bind_cut` saw to it that they lead to buffers of
                    // the sizes that the plan states, of the arena and of scratch memory to this thread's own, and to the
                    // constants that the conf packed. Each sample is one thread's, and so is what it writes of outputs.
                    unsafe { code.call(index, &plan.steps[index], None, operands, tasks) }
                    index += 1;
                }
            }
        });
    }

    /// A step of the samples that do it together.
    ///
    /// # Safety
    /// The tensors of the last call of `bind_cut` are still there, and nobody else uses its outputs.
    pub(super) unsafe fn run_step(&mut self, index: usize, watch: Option<&Watch>) -> Result<(), RunError> {
        let Session { compiled, scratch, .. } = self;
        let Compiled { plan, code, constants, .. } = &**compiled;
        let binding = self.binding.as_ref().expect("bound");
        let step = &plan.steps[index];
        if let Some(emulation) = code.emulation() {
            let regions = binding.memory().regions(plan, step, constants.of_step(index), scratch);
            // SAFETY: as for calling the kernel, below.
            unsafe { emulation.lend(regions) };
        }
        for pass in code.passes(step, binding.samples(index)) {
            let (tasks, split) = (pass.groups * step.kernel_of(&pass).tasks(), step.worth_splitting(pass.samples()));
            self.threads.run(tasks, split, &|thread, range| {
                let operands = PassOperands::new(binding.shared(index, thread), &pass);
                let own = range.len();
                // SAFETY: the plan gave this kernel these operands; `bind_cut` saw to it that they lead to buffers of the
                // sizes that the plan states for each sample, to the constants that the conf packed, and to scratch memory
                // of the largest size that a kernel needs for each thread; a kernel for several samples takes them at the
                // distances that it was made for, and the constants of the step's own; ranges are parts of 0..tasks, and
                // tasks write disjoint memory.
                let work = || unsafe { code.call(index, step, pass.joint, operands.get(), range) };
                match watch {
                    Some(watch) => watch.time(thread, own, tasks, work),
                    None => work(),
                }
            });
        }
        checked(plan, code, index)
    }

    pub(super) fn new_outputs(&self, batch: usize) -> Vec<Tensor> {
        self.compiled.plan.outputs.iter().map(|view| Tensor::zeros(view.ty.shape(batch))).collect()
    }

    /// Makes everything ready for a run on these tensors, of the cut's batch.
    pub(super) fn bind<I: AsTensor, O: AsTensorMut>(
        &mut self,
        inputs: &[I],
        outputs: &mut [O],
        cut: Cut,
    ) -> Result<(), RunError> {
        checks::outputs(self.outputs(), outputs, cut.batch)?;
        let inputs = inputs.iter().map(|input| input.as_tensor().data().as_ptr());
        let outputs = outputs.iter_mut().map(|output| output.as_tensor_mut().into_data().as_mut_ptr());
        self.bind_cut(cut)?.set_callers(inputs, outputs);
        Ok(())
    }

    /// Everything but the caller's memory.
    fn bind_cut(&mut self, cut: Cut) -> Result<&mut Binding, RunError> {
        if self.binding.as_ref().is_none_or(|binding| binding.cut() != cut) {
            self.reserve(cut)?;
            let arena = self.arena.as_mut().expect("reserved");
            self.binding =
                Some(Binding::new(&self.compiled.plan, cut, arena, &self.compiled.constants, &mut self.scratch));
        }
        Ok(self.binding.as_mut().expect("bound"))
    }

    /// Makes the arena large enough for a cut.
    fn reserve(&mut self, cut: Cut) -> Result<(), RunError> {
        let (limit, bytes) = (self.compiled.options.memory_limit, self.compiled.plan.value_bytes(cut));
        if bytes > limit {
            return Err(RunError::Memory { batch: cut.batch, bytes, limit });
        }
        if self.arena.as_ref().is_some_and(|arena| arena.len() >= bytes) {
            return Ok(());
        }
        // The old arena goes first, so that both are never held together; and before it, what points to it.
        self.binding = None;
        self.arena = None;
        let arena = AlignedBuffer::zeroed(bytes).map_err(|_| RunError::Allocation)?;
        self.arena = Some(arena);
        Ok(())
    }
}

/// What emulated tiles of a step have done that they may not do.
pub(super) fn checked(plan: &Plan, code: &Code, index: usize) -> Result<(), RunError> {
    code.emulation().map_or(Ok(()), Emulation::check).map_err(|fault| {
        let name = plan.graph[plan.steps[index].node].origin.path.clone();
        RunError::Tile { step: index, name, fault }
    })
}

/// The code of a plan's steps.
fn generate(plan: &Plan, options: &Options) -> Result<Code, SessionError> {
    match options.engine {
        Engine::Jit(isa) => Code::jit(plan, isa.into(), CodeModule::jit(false)?),
        Engine::Emulated(isa) => Code::jit(plan, isa, CodeModule::jit_emulated()?),
        Engine::Portable => Ok(Code::Portable),
    }
}

fn reserve_scratch(plan: &Plan, threads: usize, limit: usize) -> Result<Vec<AlignedBuffer>, SessionError> {
    let bytes = plan.scratch().saturating_mul(threads);
    if bytes > limit {
        return Err(SessionError::Memory { what: "scratch memory of the threads", bytes, limit });
    }
    let buffers = (0..threads).map(|_| AlignedBuffer::zeroed(plan.scratch()));
    buffers.collect::<Result<_, _>>().map_err(|_| SessionError::Allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::weights::RandomWeights;
    use crate::ir::{Output, verify};
    use crate::layers::{Dense, Softmax};
    use crate::tensor::{Batch, DType};

    fn session(threads: usize) -> Session {
        try_session(threads, Engine::Jit(Isa::detect())).unwrap()
    }

    fn try_session(threads: usize, engine: Engine) -> Result<Session, SessionError> {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![32] };
        let x = graph.add_input("x", ty);
        let fc = graph.add_layer(Dense { features: 16, bias: true, flatten: false }, &[x], "fc").unwrap();
        let y = graph.add_layer(Softmax::CHANNELS, &[fc], "y").unwrap();
        graph.outputs.push(Output { name: "y".into(), node: y });
        Session::new(
            verify(graph).unwrap(),
            &RandomWeights { seed: 1 },
            &Options { threads, engine, ..Options::default() },
        )
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
    fn runs_on_slices_of_the_right_lengths_only() {
        let mut session = session(1);
        let input = input(2);
        let expected = session.run(std::slice::from_ref(&input)).unwrap();
        let mut output = [0.0; 32];
        session.run_slices(2, &[input.data()], &mut [&mut output]).unwrap();
        assert_eq!(output, *expected[0].data());
        let mut message = |batch, inputs: &[&[f32]], outputs: &mut [&mut [f32]]| {
            session.run_slices(batch, inputs, outputs).unwrap_err().to_string()
        };
        let data = input.data();
        let none = message(0, &[&[]], &mut [&mut []]);
        assert_eq!(none, "0 samples cannot be run: the model's input `x` is [N, 32]");
        assert_eq!(message(2, &[], &mut [&mut output]), "the model has 1 inputs, 0 were given");
        let long = message(1, &[data], &mut [&mut output]);
        assert_eq!(long, "input `x` has 64 values, 1 samples of it have 32");
        let short = message(2, &[data], &mut [&mut output[1..]]);
        assert_eq!(short, "output `y` has 31 values, 2 samples of it have 32");
        assert!(message(usize::MAX, &[data], &mut [&mut output]).contains("has 64 values"));
    }

    #[test]
    fn a_session_without_threads_is_refused() {
        let error = try_session(0, Engine::Portable).err().expect("an error");
        assert_eq!(error.to_string(), "cannot start 0 threads: at least one is needed");
    }

    #[test]
    fn a_tile_that_leaves_its_operands_is_reported() {
        for isa in [Isa::Avx2, Isa::Avx512] {
            let mut session = try_session(1, Engine::Emulated(isa)).unwrap();
            session.run(&[input(1)]).unwrap();
            let executed = session.executed().unwrap();
            assert!(executed.tiles > 0 && executed.instructions > executed.calls && executed.calls > 0, "{executed:?}");
            // As if the code read one element too many.
            let input_of_dense = Arc::get_mut(&mut session.compiled)
                .unwrap()
                .plan
                .steps
                .iter_mut()
                .find_map(|step| step.inputs.first_mut())
                .unwrap();
            input_of_dense.ty.dims[0] -= 1;
            let error = session.run(&[input(1)]).unwrap_err().to_string();
            assert!(error.contains("step 0") && error.contains("read of ") && error.contains("outside"), "{error}");
        }
    }

    #[test]
    fn packed_weights_take_the_room_of_the_weights() {
        let session = session(1);
        // Rows of 32 for 16 outputs, whole blocks on every instruction set, the biases, and the tables of rows.
        let weights = (32 * 16 + 16) * 4;
        assert!((weights..weights + 256).contains(&session.constant_bytes()), "{}", session.constant_bytes());
    }
}
