//! `svertka bench`: how long networks and their steps take.

use super::args::{EngineArgs, IsaArg, ModelArgs, parse_define};
use super::{Failure, Outcome, input, model, peak, print, weights};
use crate::analysis::figures;
use crate::bench::baseline::{self, Change};
use crate::bench::machine::{self, Machine};
use crate::bench::measure::{Budget, Subject};
use crate::bench::peak::Peak;
use crate::bench::profile::{Profile, profile};
use crate::bench::report::{Comparison, Measurement, Phases, Report, Setting};
use crate::bench::stats::{Ratio, Summary};
use crate::bench::suite::{self, Entry};
use crate::bench::{self, SCHEMA_VERSION, html, table};
use crate::io::text;
use crate::io::write::write_atomically;
use crate::ir;
use crate::runtime::{Engine, Session};
use crate::tensor::Tensor;
use clap::ValueEnum;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    /// Model files, each with a variant behind a colon if need be
    #[arg(required_unless_present = "suite")]
    models: Vec<String>,
    /// Value of a parameter of the models
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = parse_define)]
    define: Vec<(String, String)>,
    /// Build the auxiliary outputs too
    #[arg(long)]
    aux: bool,
    #[command(flatten)]
    engine: EngineArgs,
    /// Weight file; the card's, or random weights, where none is given
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Samples of one run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Measure every step of the plan and compare it with the roofline of this machine
    #[arg(long)]
    per_layer: bool,
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
    #[arg(long, value_parser = parse_isas, value_name = "A,B", conflicts_with_all = ["compare", "isa"])]
    compare_isa: Option<[IsaArg; 2]>,
    /// Measure each model in turn with this one, and compare
    #[arg(long, value_name = "FILE", conflicts_with = "suite")]
    compare: Option<String>,
    /// Compare with the results that an earlier `--json` wrote
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// End with exit code 1 where a median is more than P percent above the baseline's
    #[arg(long, value_parser = parse_percent, value_name = "P", requires = "baseline")]
    fail_if_slower: Option<f64>,
    /// List of models, batches and threads in YAML; see `models/classics.yaml`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["models", "weights"])]
    suite: Option<PathBuf>,
}

/// The longest `--min-time`, in seconds: a day.
const LONGEST: f64 = 86_400.0;
/// The largest earlier result that is read, in bytes.
const MAX_BASELINE_BYTES: u64 = 256 << 20;

fn parse_seconds(text: &str) -> Result<Duration, String> {
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
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let profiled = args.per_layer || args.html.is_some();
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        svertka: env!("CARGO_PKG_VERSION").into(),
        date: machine::date(),
        seed: args.engine.seed,
        machine: Machine::here(),
        peak: if profiled { Some(peak::find(false)?) } else { None },
        results: Vec::new(),
        comparisons: Vec::new(),
    };
    for (index, job) in jobs.iter().enumerate() {
        measure(args, job, &format!("[{}/{}]", index + 1, jobs.len()), &mut report)?;
    }
    print(&report.to_text());
    if args.per_layer {
        print(&table::profiles(&report));
    }
    write(args, &report)?;
    baseline.map_or(Ok(()), |then| compare(args, &then, &report))
}

/// One model in one setting.
struct Job {
    model: String,
    batch: u16,
    threads: u16,
    runs: u32,
}

fn jobs(args: &Args) -> Result<Vec<Job>, Failure> {
    let Some(path) = &args.suite else {
        let entry = Entry { models: args.models.clone(), batches: vec![], threads: vec![], runs: None };
        return Ok(jobs_of(args, Path::new(""), &entry));
    };
    let text = text::read(path)?;
    let entries = suite::parse(&text).map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(entries.iter().flat_map(|entry| jobs_of(args, folder, entry)).collect())
}

/// Every combination of an entry.
fn jobs_of(args: &Args, folder: &Path, entry: &Entry) -> Vec<Job> {
    let or = |given: &[u16], default: u16| if given.is_empty() { vec![default] } else { given.to_vec() };
    let (batches, threads) = (or(&entry.batches, args.batch), or(&entry.threads, args.engine.threads.unwrap_or(1)));
    let mut jobs = Vec::new();
    for model in &entry.models {
        let model = folder.join(model).display().to_string();
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
    session: Session,
    inputs: Vec<Tensor>,
}

impl Contender {
    fn new(args: &Args, job: &Job, name: &str, isa: IsaArg) -> Result<Contender, Failure> {
        let model_args = ModelArgs { model: name.into(), define: args.define.clone(), aux: args.aux };
        let model = model::load(&model_args)?;
        let engine = EngineArgs { isa, threads: Some(job.threads), ..args.engine };
        let Some(options) = engine.options()? else {
            return Err(Failure::usage("the interpreter says what is right, not how fast; choose another engine"));
        };
        let batch = job.batch.into();
        let setting = Setting {
            model: setting_name(name),
            engine: match options.engine {
                Engine::Jit(isa) => format!("jit {isa}"),
                Engine::Emulated(isa) => format!("emulated {isa}"),
                Engine::Portable => "portable".into(),
            },
            batch,
            threads: options.threads,
        };
        let model_hash = format!("{:016x}", bench::fnv1a(ir::print(&model.graph).as_bytes()));
        let macs = figures(&model.graph).macs() * batch as u64;
        let inputs = input::random(&model.graph, batch, engine.seed);
        let start = Instant::now();
        let weights = weights::choose(args.weights.as_deref(), &model, engine.seed)?;
        let load = start.elapsed();
        let mut session = Session::new(model.graph, weights.as_ref(), &options).map_err(Failure::input)?;
        let start = Instant::now();
        session.run(&inputs).map_err(Failure::input)?;
        let (first_run, built) = (start.elapsed(), session.times());
        let phases = Phases {
            parse_and_check_s: model.time.as_secs_f64(),
            plan_s: built.plan.as_secs_f64(),
            code_generation_s: built.code.as_secs_f64(),
            load_and_pack_s: (load + built.pack).as_secs_f64(),
            first_run_s: first_run.as_secs_f64(),
        };
        Ok(Contender { setting, model_hash, macs, phases, session, inputs })
    }

    fn run(&mut self) -> f64 {
        let start = Instant::now();
        let outputs = self.session.run(&self.inputs).expect("the first run was accepted");
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

/// The file's name without folders, which may differ between two reports, and the variant.
fn setting_name(model: &str) -> String {
    let (path, variant) = model::split_variant(model);
    let file = path.file_name().unwrap_or_default().to_string_lossy().to_string();
    variant.map_or(file.clone(), |variant| format!("{file}:{variant}"))
}

/// Measures a job, alone or in turn with what it is compared with.
fn measure(args: &Args, job: &Job, counter: &str, report: &mut Report) -> Outcome {
    let isas = args.compare_isa.unwrap_or([args.engine.isa; 2]);
    let mut contenders = vec![Contender::new(args, job, &job.model, isas[0])?];
    if args.compare.is_some() || args.compare_isa.is_some() {
        let other = args.compare.as_ref().unwrap_or(&job.model);
        contenders.push(Contender::new(args, job, other, isas[1])?);
    }
    let budget = Budget {
        warmup: args.warmup as usize,
        runs: job.runs as usize,
        min_time: args.min_time,
        target_cv: args.target_cv.map(|percent| percent / 100.0),
    };
    let mut progress = Progress::new();
    let threads = job.threads;
    let mut show =
        |what: &str, runs| progress.show(&format!("{counter} {}, {threads} threads: {what} {runs}", job.model));
    let seconds = {
        let mut runs: Vec<_> = contenders.iter_mut().map(|contender| || contender.run()).collect();
        let mut subjects: Vec<&mut Subject> = runs.iter_mut().map(|run| run as &mut Subject).collect();
        budget.interleave(&mut subjects, &mut |runs| show("run", runs))
    };
    let first = report.results.len();
    for (mut contender, seconds) in contenders.into_iter().zip(&seconds) {
        let steps = match &report.peak {
            Some(peak) => Some(profile_of(&mut contender, &budget, peak, &mut |runs| show("steps, run", runs))?),
            None => None,
        };
        report.results.push(contender.into_measurement(seconds, steps));
    }
    if let [a, b] = seconds.as_slice() {
        report.comparisons.push(Comparison { a: first, b: first + 1, ratio: Ratio::paired(a, b) });
    }
    Ok(())
}

fn profile_of(
    contender: &mut Contender,
    budget: &Budget,
    peak: &Peak,
    progress: &mut dyn FnMut(usize),
) -> Result<Profile, Failure> {
    let cores = contender.setting.threads.min(machine::cores());
    profile(&mut contender.session, &contender.inputs, budget, peak, cores, progress).map_err(Failure::input)
}

fn write(args: &Args, report: &Report) -> Outcome {
    let write_text = |path: &Path, text: String| write_atomically(path, |out| out.write_all(text.as_bytes()));
    if let Some(path) = &args.json {
        write_text(path, report.to_json())?;
    }
    if let Some(path) = &args.csv {
        write_text(path, report.to_csv())?;
    }
    if let Some(path) = &args.html {
        write_text(path, html::page(report))?;
    }
    Ok(())
}

fn read_baseline(path: &Path) -> Result<Report, Failure> {
    let text = text::read_at_most(path, MAX_BASELINE_BYTES)?;
    Report::from_json(&text).map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}

/// Prints the changes since the baseline, and fails where they were not to be.
fn compare(args: &Args, then: &Report, now: &Report) -> Outcome {
    let changes = baseline::changes(then, now);
    if changes.is_empty() {
        return Err(Failure::input("the baseline holds no result with the same model, engine, batch and threads"));
    }
    if then.machine.cpu != now.machine.cpu {
        eprintln!("note: the baseline was measured on another CPU: {}", then.machine.cpu);
    }
    print(&format!("\n{}", table::changes(&changes)));
    let Some(percent) = args.fail_if_slower else { return Ok(()) };
    let slower: Vec<&Change> = changes.iter().filter(|change| change.is_slower_by(percent)).collect();
    if slower.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = slower.iter().map(|change| table::title(change.now)).collect();
    Err(Failure::input(format!("more than {percent} % slower than the baseline: {}", names.join("; "))))
}

/// A line on standard error that says what goes on; nothing where that is no terminal.
pub struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    /// Least time between two changes of the line, which are not free.
    const PAUSE: Duration = Duration::from_millis(200);
    /// Goes to the first column and clears the line (ECMA-48: CR, EL).
    const CLEAR: &str = "\r\x1b[K";

    pub fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), shown: None }
    }

    pub fn show(&mut self, text: &str) {
        if self.terminal && self.shown.is_none_or(|shown| shown.elapsed() > Self::PAUSE) {
            eprint!("{}{text}", Self::CLEAR);
            self.shown = Some(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("{}", Self::CLEAR);
        }
    }
}
