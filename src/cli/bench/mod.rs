//! `svertka bench`: how long networks and their steps take.
//!
//! What is measured runs in processes that do nothing else (`contender`), several one after the other, for what differs
//! between processes is no smaller for many runs in one. What is compared runs in two at the same time, in turn.

mod contender;
mod process;
mod rounds;

use super::args::{EngineArgs, IsaArg, MeasureArgs};
use super::outputs::{check_outputs, print_beside};
use super::weights::PackedArgs;
use super::{Failure, Outcome, input, model, peak, tell};
use crate::bench::baseline::{self, Change, Verdict};
use crate::bench::machine::{self, Machine};
use crate::bench::report::{Report, Setting};
use crate::bench::suite::{self, Entry};
use crate::bench::{SCHEMA_VERSION, html, pin, table};
use crate::hash::fnv1a;
use crate::io::text;
use crate::io::write::write_atomically;
use crate::ir;
use crate::model::{Model, split_variant, zoo};
use crate::runtime::{Engine, Options};
use crate::tensor::Products;
use clap::ValueEnum;
use rounds::Rounds;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Measure each network in so many processes, one after the other, which share the runs and the time; intervals are
    /// over processes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    processes: u16,
    /// Leave threads on the cores that the system chooses, instead of one that each keeps
    #[arg(long)]
    no_pin: bool,
    /// The least time to measure each network, in seconds, in all processes together
    #[arg(long, default_value = "1", value_parser = parse_seconds, value_name = "S")]
    min_time: Duration,
    /// The least number of runs to measure, in all processes together
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    runs: u32,
    /// Runs of each process before those that are measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=100_000), value_name = "N")]
    warmup: u32,
    /// Go on until the coefficient of variation is below P percent, for up to ten times the runs and the time
    #[arg(long, value_parser = parse_percent, value_name = "P")]
    target_cv: Option<f64>,
    /// Measure each model with two instruction sets in turn, A B A B, each in processes of its own, and compare
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
    /// End with exit code 1 where a network is more than P percent slower than in the baseline beyond doubt: not by chance,
    /// as processes differ from each other then and now
    #[arg(long, value_parser = parse_percent, value_name = "P", requires = "baseline")]
    fail_if_slower: Option<f64>,
    /// List of models, batches and threads in YAML; see `models/classics.yaml`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["models", "weights", "weights_key"])]
    suite: Option<PathBuf>,
    /// Measure this, as the process that started this one asks for it on standard input
    #[arg(long, hide = true, value_parser = Rival::parse, value_name = "JSON")]
    contender: Option<Rival>,
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

/// Measures, as the words say that the arguments are from.
pub fn run(args: &Args, words: &[OsString]) -> Outcome {
    if let Some(rival) = &args.contender {
        return process::serve(args, rival);
    }
    let jobs = jobs(args)?;
    check_outputs(&outputs(args))?;
    jobs.iter().try_for_each(|job| check_job(args, job))?;
    let baseline = args.baseline.as_deref().map(read_report).transpose()?;
    if let Some(then) = &baseline {
        check_baseline(args, &jobs, then)?;
    }
    let profiled = args.per_layer || args.html.is_some() || !args.simulate.is_empty();
    let peak = if profiled { Some(peak::find(false)?) } else { None };
    let mut rounds = Rounds::new(args, words, peak.as_ref());
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        svertka: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("SVERTKA_COMMIT").map(String::from),
        date: machine::date(),
        seed: args.setup.weights.seed(),
        machine: Machine::here(),
        load: rounds.load(),
        peak: peak.clone(),
        results: Vec::new(),
        comparisons: Vec::new(),
    };
    let mut graphs = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        rounds.measure(job, &format!("[{}/{}]", index + 1, jobs.len()), &mut report, &mut graphs)?;
    }
    let profiles = if args.per_layer { format!("\n{}", table::profiles(&report)) } else { String::new() };
    // First what would have to be measured again.
    write(args, &report, &graphs)?;
    let text = report.to_text() + &profiles + &table::simulations(&report) + &report.disturbances();
    print_beside(&outputs(args), &text)?;
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

/// One of those that take turns in a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rival {
    model: OsString,
    batch: Option<u16>,
    threads: u16,
    isa: IsaArg,
    /// A shared library that is compiled from it.
    ahead_of_time: bool,
}

impl Rival {
    fn parse(text: &str) -> Result<Rival, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// How it is run.
    fn options(&self, args: &Args) -> Result<Options, Failure> {
        let interpreter = || Failure::usage("the interpreter says what is right, not how fast; choose another engine");
        let engine = EngineArgs { isa: self.isa, ..args.setup.engine.clone() };
        engine.options_on(self.threads.into())?.ok_or_else(interpreter)
    }

    /// What its measurement is known by.
    fn setting(&self, batch: usize, options: &Options) -> Setting {
        let engine = match options.engine {
            Engine::Jit(isa) if self.ahead_of_time => format!("aot {isa}"),
            Engine::Jit(isa) => format!("jit {isa}"),
            Engine::Emulated(isa) => format!("emulated {isa}"),
            Engine::Portable => "portable".into(),
        };
        let engine = match options.products {
            Products::F32 => engine,
            Products::Bf16 => format!("{engine}, products of bf16"),
        };
        Setting { model: setting_name(&self.model), engine, batch, threads: options.threads }
    }
}

/// The network of a job, and what it is compared with.
fn rivals(args: &Args, job: &Job) -> Vec<Rival> {
    let isas = args.compare_isa.unwrap_or([args.setup.engine.isa; 2]);
    let rival = |model: &OsStr, isa, ahead_of_time| {
        let (batch, threads) = (job.batch, job.threads);
        Rival { model: model.into(), batch, threads, isa, ahead_of_time }
    };
    let mut rivals = vec![rival(&job.model, isas[0], false)];
    if args.compare.is_some() || args.compare_isa.is_some() || args.compare_aot {
        rivals.push(rival(args.compare.as_deref().unwrap_or(&job.model), isas[1], args.compare_aot));
    }
    rivals
}

fn write(args: &Args, report: &Report, graphs: &[Option<Value>]) -> Outcome {
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
    for rival in rivals(args, job) {
        let options = rival.options(args)?;
        if rival.ahead_of_time && !matches!(options.engine, Engine::Jit(_)) {
            return Err(Failure::usage("--compare-aot compares generated code; choose --engine jit"));
        }
        if let Some(model) = model::try_load(&args.setup.model(&rival.model))? {
            input::batch(job.batch, model.graph())?;
        }
    }
    Ok(())
}

/// Asks before the work whether a baseline has anything to compare with, and enough of it to decide by.
fn check_baseline(args: &Args, jobs: &[Job], then: &Report) -> Outcome {
    let mut found = Vec::new();
    for rival in jobs.iter().flat_map(|job| rivals(args, job)) {
        // What can be read once only is not read before it is measured.
        let Some(model) = model::try_load(&args.setup.model(&rival.model))? else { return Ok(()) };
        let setting = rival.setting(input::batch(rival.batch, model.graph())?, &rival.options(args)?);
        found.extend(then.results.iter().filter(|result| result.setting == setting));
    }
    if found.is_empty() {
        let measured: Vec<String> = then.results.iter().map(table::title).collect();
        return Err(Failure::input(format!(
            "the baseline holds no result with the same model, engine, batch and threads; it holds: {}",
            measured.join("; ")
        )));
    }
    if args.fail_if_slower.is_none() {
        return Ok(());
    }
    if args.processes < 2 {
        return Err(Failure::usage("`--fail-if-slower` compares processes; it needs `--processes` of 2 or more"));
    }
    match found.iter().find(|result| result.processes.len() < 2) {
        Some(result) => Err(Failure::input(format!(
            "the baseline has one process of {}, which says nothing of what differs between processes; write it again with \
             `--processes` of 2 or more",
            table::title(result)
        ))),
        None => Ok(()),
    }
}

/// Prints the changes since the baseline, and fails where they were not to be.
fn compare(args: &Args, then: &Report, now: &Report) -> Outcome {
    let changes = baseline::changes(then, now);
    let machine = baseline::machine_changes(then, now);
    machine.iter().for_each(|change| tell(&format!("note: the machine is not that of the baseline: {change}")));
    let percent = args.fail_if_slower.unwrap_or(0.0);
    print_beside(&outputs(args), &format!("\n{}", table::changes(&changes, percent)))?;
    let slower: Vec<&Change> = changes.iter().filter(|change| change.verdict(percent) == Verdict::Slower).collect();
    if slower.is_empty() || args.fail_if_slower.is_none() {
        return Ok(());
    }
    let names: Vec<String> = slower.iter().map(|change| table::title(change.now)).collect();
    let doubtful = !machine.is_empty() || slower.iter().any(|change| !change.doubts().is_empty());
    let doubt =
        if doubtful { "\nnote: it need not be the program's doing: what else was different is said above" } else { "" };
    Err(Failure::input(format!("more than {percent} % slower than the baseline: {}{doubt}", names.join("; "))))
}
