//! `svertka run`: pictures or arrays in, classes or arrays out.

use super::args::{EngineArgs, ModelArgs};
use super::arguments::{is_typed, name_and_file};
use super::input::{self, Files, InputArgs};
use super::model;
use super::weights::{Missing, PackedArgs, WeightArgs};
use super::{Failure, Outcome, folder, print, progress, tell};
use crate::error::Error;
use crate::interp;
use crate::io::npy;
use crate::io::write::{check_writable, is_stdout};
use crate::ir::Graph;
use crate::layers::Accumulate;
use crate::model::{BoundWeights, Class, Model};
use crate::runtime::{Options, check_inputs, check_interpreter};
use crate::tensor::Tensor;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub weights: WeightArgs,
    #[command(flatten)]
    pub packed: PackedArgs,
    #[command(flatten)]
    pub input: InputArgs,
    /// Write the main output to this .npy file, `-` for standard output; `NAME=FILE` for another output. Of a folder or a
    /// list also a table of classes, .csv, .jsonl or .parquet; an array has a row for each picture, in the same order
    #[arg(long, value_name = "FILE")]
    pub output: Vec<OsString>,
    /// Print this many of the likeliest classes of each sample
    #[arg(long, value_name = "K")]
    pub top: Option<usize>,
    /// So many pictures of a folder or a list at the same time, each on one thread or on --threads; as many as there are
    /// cores where none are given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), env = "SVERTKA_JOBS")]
    pub jobs: Option<u16>,
    /// Print how long each part took
    #[arg(short, long)]
    pub verbose: bool,
}

impl Args {
    /// How many classes of a sample are wanted where any are.
    pub fn top(&self) -> usize {
        self.top.unwrap_or(1)
    }
}

/// Samples whose classes are printed when nobody asked for any number.
const SHOWN_SAMPLES: usize = 20;

pub fn run(args: &Args) -> Outcome {
    let jobs = args.jobs.is_some_and(|jobs| is_typed(jobs.to_string().as_ref(), "SVERTKA_JOBS"));
    if jobs || folder::is_meant(&args.input.input) {
        return folder::run(args);
    }
    let nothing = || Failure::usage("nothing to run on; give a picture or an array with --input");
    if args.input.input.is_empty() {
        return Err(nothing());
    }
    let options = args.engine.options()?;
    if options.is_none() && args.packed.is_typed() {
        return Err(Failure::usage("`--packed` goes with `--engine jit` or `portable`: the interpreter packs nothing"));
    }
    let mut model = model::load(&args.model)?;
    let targets = targets(&args.output, model.graph())?;
    check_targets(args, &targets)?;
    check_classes(args, &model)?;
    let Files { tensors, names } = input::read(&args.input, &mut model)?.ok_or_else(nothing)?;
    let weights = args.packed.keep(&model, args.weights.choose_any(&model, Missing::Refused)?);
    let results = compute(args, options, &model, &weights, &tensors)?;
    for Target { output, path } in &targets {
        npy::write(path, results[*output].shape(), results[*output].data())?;
    }
    if targets.is_empty() || args.top.is_some() {
        print_classes(args, &model, &results[0], &names)?;
    }
    Ok(())
}

/// A file and the output that goes to it.
pub struct Target {
    pub output: usize,
    pub path: PathBuf,
}

/// Which output goes to which file.
pub fn targets(given: &[OsString], graph: &Graph) -> Result<Vec<Target>, Failure> {
    let of_word = |word: &OsString| match name_and_file(word) {
        None => Ok(Target { output: 0, path: word.into() }),
        Some((name, path)) => match graph.outputs.iter().position(|o| o.name == name) {
            Some(output) => Ok(Target { output, path: path.into() }),
            None => {
                let names: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
                Err(Failure::usage(format!("no output `{name}`; the model has {}", names.join(", "))))
            }
        },
    };
    given.iter().map(of_word).collect()
}

/// Asks before the work whether its results can be written.
pub fn check_targets(args: &Args, targets: &[Target]) -> Outcome {
    let on_stdout = targets.iter().filter(|target| is_stdout(&target.path)).count();
    if on_stdout + usize::from(args.top.is_some() && on_stdout > 0) > 1 {
        return Err(Failure::usage("standard output takes one array, and no classes beside it"));
    }
    for (index, Target { path, .. }) in targets.iter().enumerate() {
        if targets[..index].iter().any(|earlier| earlier.path == *path && (path.is_file() || !path.exists())) {
            return Err(Failure::usage(format!("two outputs cannot both be written to {}", path.display())));
        }
        check_writable(path)?;
    }
    Ok(())
}

/// Asks before the work whether there are classes to be printed where their number was given.
fn check_classes(args: &Args, model: &Model) -> Outcome {
    let (_, output) = model.outputs().next().expect("a network has an output");
    match args.top {
        Some(_) if output.elements() != output.channels() => Err(Error::NoClasses(output.shape(1)).into()),
        _ => Ok(()),
    }
}

/// Without `options` by the interpreter.
fn compute(
    args: &Args,
    options: Option<Options>,
    model: &Model,
    weights: &BoundWeights,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, Failure> {
    let graph = weights.network(model);
    let Some(options) = options else {
        check_interpreter(graph, check_inputs(graph, inputs)?, 1, args.engine.memory.limit())?;
        let start = Instant::now();
        let interpret = || interp::run(graph, weights, inputs, Accumulate::F32);
        let results = progress::during("interpreting", interpret);
        times(args, &[("parse and check", model.time()), ("interpret", start.elapsed())]);
        return Ok(results);
    };
    let mut session = args.engine.tuned().session(graph.clone(), weights, &options)?;
    let start = Instant::now();
    let results = progress::during("running", || session.run(inputs))?;
    let built = session.times();
    times(
        args,
        &[
            ("parse and check", model.time()),
            ("optimise and schedule", built.plan),
            ("generate code", built.code),
            ("pack weights", built.pack),
            ("ready after", model.time() + built.plan + built.code + built.pack),
            ("run", start.elapsed()),
        ],
    );
    Ok(results)
}

fn times(args: &Args, parts: &[(&str, Duration)]) {
    if args.verbose {
        for (name, time) in parts {
            tell(&format!("{name:<22} {:>10.3} ms", time.as_secs_f64() * 1e3));
        }
    }
}

/// One line a sample with its likeliest class, or a short list where there is one sample or `--top`.
fn print_classes(args: &Args, model: &Model, output: &Tensor, names: &[String]) -> Outcome {
    let ranked = match model.classes(output) {
        Ok(ranked) => ranked,
        Err(error @ Error::NoClasses(_)) => return print(&format!("{error}; write it to a file with --output")),
        Err(error) => return Err(error.into()),
    };
    // Labels that are as many as the classes are all there.
    if let (Some(card), true) = (model.card(), ranked.iter().flatten().any(|class| class.label.is_none())) {
        let (card, labels, classes) = (card.path().display(), model.labels()?.len(), output.channels());
        if labels > 0 {
            tell(&format!("warning: {card}: {labels} labels for {classes} classes, which are shown by their numbers"));
        }
    }
    let shown = if args.top.is_some() { output.batch() } else { output.batch().min(SHOWN_SAMPLES) };
    for (n, (name, ranked)) in names.iter().zip(&ranked).enumerate().take(shown) {
        let scores = &output.data()[n * output.channels()..][..output.channels()];
        if let Some(unusable) = unusable_scores(scores) {
            print(&format!("{name}: {unusable}"))?;
            continue;
        }
        match args.top {
            None => print(&format!("{name}: {}  {:.4}", name_of(&ranked[0]), ranked[0].probability))?,
            Some(top) => {
                let class = |class| format!("\n  {:<32} {:.4}", name_of(class), class.probability);
                print(&format!("{name}:{}", ranked.iter().take(top).map(class).collect::<String>()))?;
            }
        }
    }
    if shown < output.batch() {
        print(&format!("... and {} more (--top 1 shows all, --output writes them)", output.batch() - shown))?;
    }
    Ok(())
}

/// Why scores name no class, if they do not.
pub fn unusable_scores(scores: &[f32]) -> Option<String> {
    let unusable = scores.iter().filter(|score| score.is_nan() || **score == f32::INFINITY).count();
    (unusable > 0).then(|| format!("no class: {unusable} of {} scores are NaN or infinite", scores.len()))
}

fn name_of(class: &Class) -> String {
    class.label.clone().unwrap_or_else(|| numbered(class.index))
}

/// The name of a class, where classes have names.
pub fn label(names: &[String], class: usize) -> String {
    names.get(class).cloned().unwrap_or_else(|| numbered(class))
}

fn numbered(class: usize) -> String {
    format!("class {class}")
}
