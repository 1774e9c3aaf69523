//! A network that is ready to be measured, in the process that measures it.

use super::{Args, Rival, model_hash};
use crate::analysis::figures;
use crate::aot::{self, Cpu, Emit};
use crate::bench::clock::Clock;
use crate::bench::html::GraphDrawing;
use crate::bench::measure::{Budget, Turn};
use crate::bench::peak::Peak;
use crate::bench::profile::{Profile, Wanted, profile};
use crate::bench::report::{Phases, Setting};
use crate::cli::progress::{self, Progress};
use crate::cli::tuned::Tuned;
use crate::cli::weights::Missing;
use crate::cli::{Failure, input, model};
use crate::io::write::write_atomically;
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Verified};
use crate::model::{BoundWeights, Model};
use crate::runtime::library::Library;
use crate::runtime::{Options, Session};
use crate::schedule::{self, Plan};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Instant;

/// What is known of a network before it is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub setting: Setting,
    pub model_hash: String,
    pub macs: u64,
    pub weights: String,
    pub phases: Phases,
    /// Its steps can be seen: a library does not say when one ends.
    pub has_steps: bool,
}

/// What to find out about the steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wish {
    pub budget: Budget,
    pub peak: Peak,
    /// Of the machine; those that a process is pinned to are fewer.
    pub cores: usize,
    /// Numbers of threads to be simulated.
    pub simulate: Vec<usize>,
}

/// The steps, and the network as the page draws it, if it is not too large.
pub type Seen = (Profile, Option<Value>);

/// See above.
pub struct Contender {
    pub facts: Facts,
    code: Code,
    inputs: Vec<Tensor>,
    clock: Clock,
}

enum Code {
    Session(Box<Session>),
    Library(Box<Library>),
}

impl Contender {
    /// Compiles it, and runs it once.
    pub fn new(args: &Args, tuned: &Tuned, rival: &Rival) -> Result<Contender, Failure> {
        let model = model::load(&args.setup.model(&rival.model))?;
        let options = rival.options(args)?;
        let batch = input::batch(rival.batch, model.graph())?;
        let setting = rival.setting(batch, &options);
        let macs = figures(model.graph()).macs() * batch as u64;
        let inputs = input::random(model.graph(), batch, args.setup.weights.seed(), options.memory_limit)?;
        let start = Instant::now();
        let weights = args.packed.keep(&model, args.setup.weights.choose_any(&model, Missing::Random)?);
        let load_s = start.elapsed().as_secs_f64();
        let network = weights.network(&model).clone();
        let (code, built) = match rival.ahead_of_time {
            false => build_session(network, &weights, &options, tuned)?,
            true => build_library(network, &weights, &options, tuned)?,
        };
        let phases = Phases {
            parse_and_check_s: model.time().as_secs_f64(),
            load_and_pack_s: load_s + built.load_and_pack_s,
            ..built
        };
        let has_steps = matches!(code, Code::Session(_));
        let (model_hash, weights) = (model_hash(&model), origin(args, &model, &weights));
        let facts = Facts { setting, model_hash, macs, weights, phases, has_steps };
        let mut contender = Contender { facts, code, inputs, clock: Clock::new() };
        let start = Instant::now();
        progress::during("the first run", || contender.outputs())?;
        contender.facts.phases.first_run_s = start.elapsed().as_secs_f64();
        Ok(contender)
    }

    fn outputs(&mut self) -> Result<Vec<Tensor>, Failure> {
        match &mut self.code {
            Code::Session(session) => Ok(session.run(&self.inputs)?),
            Code::Library(library) => library.run(&self.inputs).map_err(Failure::input),
        }
    }

    /// The seconds of each counted run, behind which the clock is looked at.
    pub fn take(&mut self, turn: &Turn) -> Vec<f64> {
        let taken = turn.take(|| {
            let start = Instant::now();
            let outputs = self.outputs().expect("the first run was accepted");
            let seconds = start.elapsed().as_secs_f64();
            std::hint::black_box(outputs);
            seconds
        });
        self.clock.look();
        taken
    }

    /// What its core did in multiply-adds beside its turns, as [`Clock::gflops`].
    pub fn clock_gflops(&mut self) -> Option<f64> {
        self.clock.gflops()
    }

    /// Measures its steps; `None` where they cannot be seen.
    pub fn profile(&mut self, wish: &Wish) -> Result<Option<Seen>, Failure> {
        let Code::Session(session) = &mut self.code else { return Ok(None) };
        let cores = self.facts.setting.threads.min(wish.cores);
        let Wish { budget, peak, simulate, .. } = wish;
        let wanted = Wanted { budget, peak, cores, cores_of_machine: wish.cores, simulate };
        let (mut progress, model) = (Progress::new(), &self.facts.setting.model);
        let mut show = |done: crate::bench::measure::Done| {
            progress.show_bar(done.part, &format!("{model}: steps, run {}", done.runs));
        };
        let found = profile(session, &self.inputs, &wanted, &mut self.clock, &mut show).map_err(Failure::input)?;
        let drawing = GraphDrawing::new(session.plan());
        Ok(Some((found, drawing.map(|drawing| serde_json::to_value(drawing).expect("a drawing is JSON")))))
    }
}

/// Where weights are from, in a few words.
fn origin(args: &Args, model: &Model, weights: &BoundWeights) -> String {
    let name = |path: &std::path::Path| path.file_name().unwrap_or_default().to_string_lossy().to_string();
    match weights.file_path() {
        Some(path) => name(path),
        None if weights.are_random() && model.weights().next().is_none() => "none".into(),
        None if weights.are_random() => format!("random, seed {}", args.setup.weights.seed()),
        None => "in the model file".into(),
    }
}

/// Compiles in memory. Gives the code, and how long its phases took.
fn build_session(
    graph: Verified<Graph>,
    weights: &dyn WeightSource,
    options: &Options,
    tuned: &Tuned,
) -> Result<(Code, Phases), Failure> {
    let session = tuned.session(graph, weights, options)?;
    let times = session.times();
    let phases = Phases {
        plan_s: times.plan.as_secs_f64(),
        code_generation_s: times.code.as_secs_f64(),
        load_and_pack_s: times.pack.as_secs_f64(),
        ..Phases::default()
    };
    Ok((Code::Session(Box::new(session)), phases))
}

/// As [`build_session`], but compiles to a shared library and loads it.
fn build_library(
    graph: Verified<Graph>,
    weights: &dyn WeightSource,
    options: &Options,
    tuned: &Tuned,
) -> Result<(Code, Phases), Failure> {
    let start = Instant::now();
    let plan = schedule::plan_tuned(graph, options.target(), &tuned.choices);
    let planned = Instant::now();
    let library = progress::during("compiling a library", || link_library(&plan, weights, options.memory_limit))?;
    let linked = Instant::now();
    // The system keeps the content of a loaded library; its file may go with its folder.
    let folder = tempfile::tempdir().map_err(|error| Failure::input(format!("no temporary folder: {error}")))?;
    let path = folder.path().join("libmodel.so");
    write_atomically(&path, |out| out.write_all(&library))?;
    // SAFETY: it was compiled just now.
    let library = unsafe { Library::open(&path, "model", options.threads) }.map_err(Failure::input)?;
    let phases = Phases {
        plan_s: (planned - start).as_secs_f64(),
        code_generation_s: (linked - planned).as_secs_f64(),
        load_and_pack_s: linked.elapsed().as_secs_f64(),
        ..Phases::default()
    };
    Ok((Code::Library(Box::new(library)), phases))
}

fn link_library(plan: &Plan, weights: &dyn WeightSource, memory_limit: usize) -> Result<Vec<u8>, Failure> {
    let cpu = Cpu::named("native").map_err(Failure::input)?;
    let options = aot::Options {
        name: "model".into(),
        cpu,
        emit: vec![Emit::Shared],
        weights: aot::Weights::Embed,
        own_memory: None,
        memory_limit,
    };
    let mut artifacts = aot::compile(plan, weights, &options)?;
    Ok(artifacts.files.pop().expect("one file was asked for").1)
}
