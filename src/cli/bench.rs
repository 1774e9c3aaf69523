//! `svertka bench`: how long networks and their steps take.

use super::args::{EngineArgs, IsaArg, MeasureArgs};
use super::outputs::{check_outputs, print_beside};
use super::progress::{self, Progress};
use super::tuned::Tuned;
use super::weights::{Missing, PackedArgs};
use super::{Failure, Outcome, input, model, peak, tell};
use crate::analysis::figures;
use crate::aot::{self, Cpu, Emit};
use crate::bench::baseline::{self, Change};
use crate::bench::html::GraphDrawing;
use crate::bench::machine::{self, Machine};
use crate::bench::measure::{Budget, Done, Subject};
use crate::bench::profile::{Profile, Wanted, profile};
use crate::bench::report::{Comparison, Measurement, Phases, Report, Setting};
use crate::bench::stats::{Ratio, Summary};
use crate::bench::suite::{self, Entry};
use crate::bench::{SCHEMA_VERSION, html, table};
use crate::hash::fnv1a;
use crate::io::text;
use crate::io::write::write_atomically;
use crate::ir::weights::WeightSource;
use crate::ir::{self, Graph, Verified};
use crate::model::{Model, split_variant, zoo};
use crate::runtime::library::Library;
use crate::runtime::{Engine, Options, Session};
use crate::schedule::{self, Plan};
use crate::tensor::Tensor;
use clap::ValueEnum;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    /// Model files, each with a variant behind a colon if need be
    #[arg(required_unless_present = "suite")]
    models: Vec<OsString>,
    #[command(flatten)]
    setup: MeasureArgs,
    #[command(flatten)]
    packed: PackedArgs,
    /// Measure every step of the plan and compare it with the roofline of this machine
    #[arg(long)]
    per_layer: bool,
    /// Tell how long these numbers of threads would take, from the times of all steps on one
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N,N..")]
    simulate: Vec<u16>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with tables and plots; measures every step
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The least time to measure each network, in seconds
    #[arg(long, default_value = "1", value_parser = parse_seconds, value_name = "S")]
    min_time: Duration,
    /// The least number of runs to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    runs: u32,
    /// Runs before those that are measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=100_000), value_name = "N")]
    warmup: u32,
    /// Go on until the coefficient of variation is below P percent, for up to ten times the runs and the time
    #[arg(long, value_parser = parse_percent, value_name = "P")]
    target_cv: Option<f64>,
    /// Measure each model with two instruction sets in turn, A B A B, and compare
    #[arg(long, value_parser = parse_isas, value_name = "A,B", conflicts_with = "compare")]
    compare_isa: Option<[IsaArg; 2]>,
    /// Measure each model in turn with this one, and compare
    #[arg(long, value_name = "FILE", conflicts_with = "suite")]
    compare: Option<OsString>,
    /// Measure each model in turn with a shared library that is compiled from it for this machine, and compare
    #[arg(long, conflicts_with_all = ["compare", "compare_isa"])]
    compare_aot: bool,
    /// Compare with the results that an earlier `--json` wrote
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// End with exit code 1 where a median is more than P percent above the baseline's
    #[arg(long, value_parser = parse_percent, value_name = "P", requires = "baseline")]
    fail_if_slower: Option<f64>,
    /// List of models, batches and threads in YAML; see `models/classics.yaml`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["models", "weights", "weights_key"])]
    suite: Option<PathBuf>,
}

/// The longest `--min-time`, in seconds: a day.
const LONGEST: f64 = 86_400.0;
/// The largest earlier result that is read, in bytes.
const MAX_REPORT_BYTES: u64 = 256 << 20;

pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.0..=LONGEST).contains(s));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("expected seconds, 0 to {LONGEST}"))
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    percent.filter(|p: &f64| p.is_finite() && *p >= 0.0).ok_or_else(|| "expected a percentage, for example 5".into())
}

fn parse_isas(text: &str) -> Result<[IsaArg; 2], String> {
    let isas: Result<Vec<IsaArg>, String> = text.split(',').map(|isa| IsaArg::from_str(isa.trim(), true)).collect();
    isas?.try_into().map_err(|_| "expected two instruction sets, for example clif,avx2".into())
}

pub fn run(args: &Args) -> Outcome {
    let jobs = jobs(args)?;
    check_outputs(&outputs(args))?;
    jobs.iter().try_for_each(|job| check_job(args, job))?;
    let tuned = args.setup.engine.tuned();
    let baseline = args.baseline.as_deref().map(read_report).transpose()?;
    if let Some(then) = &baseline {
        check_baseline(args, &jobs, then)?;
    }
    let profiled = args.per_layer || args.html.is_some() || !args.simulate.is_empty();
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        svertka: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("SVERTKA_COMMIT").map(String::from),
        date: machine::date(),
        seed: args.setup.weights.seed(),
        machine: Machine::here(),
        peak: if profiled { Some(peak::find(false)?) } else { None },
        results: Vec::new(),
        comparisons: Vec::new(),
    };
    let mut graphs = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        measure(args, &tuned, job, &format!("[{}/{}]", index + 1, jobs.len()), &mut report, &mut graphs)?;
    }
    let profiles = if args.per_layer { format!("\n{}", table::profiles(&report)) } else { String::new() };
    // First what would have to be measured again.
    write(args, &report, &graphs)?;
    print_beside(&outputs(args), &(report.to_text() + &profiles + &table::simulations(&report)))?;
    baseline.map_or(Ok(()), |then| compare(args, &then, &report))
}

/// One model in one setting.
struct Job {
    model: OsString,
    batch: Option<u16>,
    threads: u16,
    runs: u32,
}

fn jobs(args: &Args) -> Result<Vec<Job>, Failure> {
    let Some(path) = &args.suite else {
        return Ok(jobs_of(args, &args.models, &Entry::default()));
    };
    let text = text::read(path)?;
    let entries = suite::parse(&text).map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let of_zoo = |model: &String| zoo::named(model.as_ref()).is_some();
    let place = |model: &String| if of_zoo(model) { model.into() } else { folder.join(model).into() };
    let models = |entry: &Entry| entry.models.iter().map(place).collect::<Vec<OsString>>();
    Ok(entries.iter().flat_map(|entry| jobs_of(args, &models(entry), entry)).collect())
}

/// Every combination of the models with the settings of an entry.
fn jobs_of(args: &Args, models: &[OsString], entry: &Entry) -> Vec<Job> {
    let or = |given: &[u16], default: u16| if given.is_empty() { vec![default] } else { given.to_vec() };
    let batches = match &entry.batches[..] {
        [] => vec![args.setup.batch],
        given => given.iter().copied().map(Some).collect(),
    };
    let threads = or(&entry.threads, args.setup.engine.threads.unwrap_or(1));
    let mut jobs = Vec::new();
    for model in models {
        for &batch in &batches {
            let job =
                |&threads: &u16| Job { model: model.clone(), batch, threads, runs: entry.runs.unwrap_or(args.runs) };
            jobs.extend(threads.iter().map(job));
        }
    }
    jobs
}

/// A network that is ready to be measured.
struct Contender {
    setting: Setting,
    model_hash: String,
    macs: u64,
    phases: Phases,
    code: Code,
    inputs: Vec<Tensor>,
}

enum Code {
    Session(Box<Session>),
    Library(Box<Library>),
}

impl Contender {
    fn new(
        args: &Args,
        tuned: &Tuned,
        job: &Job,
        name: &OsStr,
        isa: IsaArg,
        ahead_of_time: bool,
    ) -> Result<Contender, Failure> {
        let model = model::load(&args.setup.model(name))?;
        let options = options(args, job, isa)?;
        let batch = input::batch(job.batch, model.graph())?;
        let setting = setting(batch, name, &options, ahead_of_time);
        let model_hash = model_hash(&model);
        let macs = figures(model.graph()).macs() * batch as u64;
        let inputs = input::random(model.graph(), batch, args.setup.weights.seed(), options.memory_limit)?;
        let start = Instant::now();
        let weights = args.packed.keep(&model, args.setup.weights.choose_any(&model, Missing::Random)?);
        let load_s = start.elapsed().as_secs_f64();
        let (code, built) = match ahead_of_time {
            false => build_session(weights.network(&model).clone(), &weights, &options, tuned)?,
            true => build_library(weights.network(&model).clone(), &weights, &options, tuned)?,
        };
        let phases = Phases {
            parse_and_check_s: model.time().as_secs_f64(),
            load_and_pack_s: load_s + built.load_and_pack_s,
            ..built
        };
        let mut contender = Contender { setting, model_hash, macs, phases, code, inputs };
        let start = Instant::now();
        progress::during("the first run", || contender.outputs())?;
        contender.phases.first_run_s = start.elapsed().as_secs_f64();
        Ok(contender)
    }

    fn outputs(&mut self) -> Result<Vec<Tensor>, Failure> {
        match &mut self.code {
            Code::Session(session) => Ok(session.run(&self.inputs)?),
            Code::Library(library) => library.run(&self.inputs).map_err(Failure::input),
        }
    }

    fn run(&mut self) -> f64 {
        let start = Instant::now();
        let outputs = self.outputs().expect("the first run was accepted");
        let seconds = start.elapsed().as_secs_f64();
        std::hint::black_box(outputs);
        seconds
    }

    fn into_measurement(self, seconds: &[f64], profile: Option<Profile>) -> Measurement {
        let Contender { setting, model_hash, macs, phases, .. } = self;
        let steady = Summary::new(seconds);
        let samples_per_s = setting.batch as f64 / steady.median_s;
        let gflops = 2e-9 * macs as f64 / steady.median_s;
        let peak_rss_bytes = machine::peak_rss();
        Measurement { setting, model_hash, macs, phases, steady, samples_per_s, gflops, peak_rss_bytes, profile }
    }
}

/// How a job is run.
fn options(args: &Args, job: &Job, isa: IsaArg) -> Result<Options, Failure> {
    let interpreter = || Failure::usage("the interpreter says what is right, not how fast; choose another engine");
    let engine = EngineArgs { isa, ..args.setup.engine.clone() };
    engine.options_on(job.threads.into())?.ok_or_else(interpreter)
}

/// What a measurement is known by.
fn setting(batch: usize, name: &OsStr, options: &Options, ahead_of_time: bool) -> Setting {
    let engine = match options.engine {
        Engine::Jit(isa) if ahead_of_time => format!("aot {isa}"),
        Engine::Jit(isa) => format!("jit {isa}"),
        Engine::Emulated(isa) => format!("emulated {isa}"),
        Engine::Portable => "portable".into(),
    };
    Setting { model: setting_name(name), engine, batch, threads: options.threads }
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

/// The same for the same network.
pub fn model_hash(model: &Model) -> String {
    format!("{:016x}", fnv1a(ir::print(model.graph()).as_bytes()))
}

/// The file's name without folders, which may differ between two reports, and the variant.
pub fn setting_name(model: &OsStr) -> String {
    let (path, variant) = split_variant(model);
    let file = path.file_name().unwrap_or_default().to_string_lossy().to_string();
    variant.map_or(file.clone(), |variant| format!("{file}:{variant}"))
}

/// What takes turns in a job: model, instruction set, and whether it is a library.
fn rivals<'a>(args: &'a Args, job: &'a Job) -> Vec<(&'a OsStr, IsaArg, bool)> {
    let isas = args.compare_isa.unwrap_or([args.setup.engine.isa; 2]);
    let mut rivals = vec![(job.model.as_os_str(), isas[0], false)];
    if args.compare.is_some() || args.compare_isa.is_some() || args.compare_aot {
        rivals.push((args.compare.as_deref().unwrap_or(&job.model), isas[1], args.compare_aot));
    }
    rivals
}

/// The network of a job, and what it is compared with.
fn contenders(args: &Args, tuned: &Tuned, job: &Job) -> Result<Vec<Contender>, Failure> {
    let rivals = rivals(args, job).into_iter();
    rivals.map(|(name, isa, ahead_of_time)| Contender::new(args, tuned, job, name, isa, ahead_of_time)).collect()
}

/// Measures a job, alone or in turn with what it is compared with. Adds to `graphs` as many as to the results.
fn measure(
    args: &Args,
    tuned: &Tuned,
    job: &Job,
    counter: &str,
    report: &mut Report,
    graphs: &mut Vec<Option<GraphDrawing>>,
) -> Outcome {
    let mut contenders = contenders(args, tuned, job)?;
    let budget = Budget {
        warmup: args.warmup as usize,
        runs: job.runs as usize,
        min_time: args.min_time,
        target_cv: args.target_cv.map(|percent| percent / 100.0),
    };
    let mut progress = Progress::new();
    let threads = job.threads;
    let mut show = |what: &str, done: Done| {
        let model = job.model.to_string_lossy();
        progress.show_bar(done.part, &format!("{counter} {model}, {threads} threads: {what} {}", done.runs));
    };
    let seconds = {
        let mut runs: Vec<_> = contenders.iter_mut().map(|contender| || contender.run()).collect();
        let mut subjects: Vec<&mut Subject> = runs.iter_mut().map(|run| run as &mut Subject).collect();
        budget.interleave(&mut subjects, &mut |done| show("run", done))
    };
    let simulate: Vec<usize> = args.simulate.iter().copied().map(usize::from).collect();
    let first = report.results.len();
    for (mut contender, seconds) in contenders.into_iter().zip(&seconds) {
        let (profile, graph) = match (&report.peak, &mut contender.code) {
            (Some(peak), Code::Session(session)) => {
                let cores_of_machine = machine::cores();
                let cores = contender.setting.threads.min(cores_of_machine);
                let wanted = Wanted { budget: &budget, peak, cores, cores_of_machine, simulate: &simulate };
                let found = profile(session, &contender.inputs, &wanted, &mut |done| show("steps, run", done));
                (Some(found.map_err(Failure::input)?), GraphDrawing::new(session.plan()))
            }
            // A library does not say when a step ends.
            _ => (None, None),
        };
        report.results.push(contender.into_measurement(seconds, profile));
        graphs.push(graph);
    }
    if let [a, b] = seconds.as_slice() {
        report.comparisons.push(Comparison { a: first, b: first + 1, ratio: Ratio::paired(a, b) });
    }
    Ok(())
}

fn write(args: &Args, report: &Report, graphs: &[Option<GraphDrawing>]) -> Outcome {
    let write_text = |path: &Path, text: String| write_atomically(path, |out| out.write_all(text.as_bytes()));
    if let Some(path) = &args.json {
        write_text(path, report.to_json())?;
    }
    if let Some(path) = &args.csv {
        write_text(path, report.to_csv())?;
    }
    if let Some(path) = &args.html {
        write_text(path, html::page(report, graphs))?;
    }
    Ok(())
}

pub fn read_report(path: &Path) -> Result<Report, Failure> {
    let text = text::read_at_most(path, MAX_REPORT_BYTES)?;
    Report::from_json(&text).map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}

/// The files to write.
fn outputs(args: &Args) -> Vec<&Path> {
    [&args.json, &args.csv, &args.html].into_iter().flatten().map(PathBuf::as_path).collect()
}

/// Asks before the work whether a job can be done.
fn check_job(args: &Args, job: &Job) -> Outcome {
    if args.compare_isa.is_some() && args.setup.engine.types_isa() {
        return Err(Failure::usage("`--compare-isa` says which instruction sets; leave `--isa` out"));
    }
    for (name, isa, ahead_of_time) in rivals(args, job) {
        let options = options(args, job, isa)?;
        if ahead_of_time && !matches!(options.engine, Engine::Jit(_)) {
            return Err(Failure::usage("--compare-aot compares generated code; choose --engine jit"));
        }
        if let Some(model) = model::try_load(&args.setup.model(name))? {
            input::batch(job.batch, model.graph())?;
        }
    }
    Ok(())
}

/// Asks before the work whether a baseline has anything to compare with.
fn check_baseline(args: &Args, jobs: &[Job], then: &Report) -> Outcome {
    for job in jobs {
        for (name, isa, ahead_of_time) in rivals(args, job) {
            let batch = input::batch(job.batch, model::load(&args.setup.model(name))?.graph())?;
            let setting = setting(batch, name, &options(args, job, isa)?, ahead_of_time);
            if then.results.iter().any(|result| result.setting == setting) {
                return Ok(());
            }
        }
    }
    let measured: Vec<String> = then.results.iter().map(table::title).collect();
    Err(Failure::input(format!(
        "the baseline holds no result with the same model, engine, batch and threads; it holds: {}",
        measured.join("; ")
    )))
}

/// Prints the changes since the baseline, and fails where they were not to be.
fn compare(args: &Args, then: &Report, now: &Report) -> Outcome {
    let changes = baseline::changes(then, now);
    if then.machine.cpu != now.machine.cpu {
        tell(&format!("note: the baseline was measured on another CPU: {}", then.machine.cpu));
    }
    print_beside(&outputs(args), &format!("\n{}", table::changes(&changes)))?;
    let Some(percent) = args.fail_if_slower else { return Ok(()) };
    let slower: Vec<&Change> = changes.iter().filter(|change| change.is_slower_by(percent)).collect();
    if slower.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = slower.iter().map(|change| table::title(change.now)).collect();
    Err(Failure::input(format!("more than {percent} % slower than the baseline: {}", names.join("; "))))
}
