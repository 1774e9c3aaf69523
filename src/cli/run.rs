//! `svertka run`: pictures or arrays in, classes or arrays out.

use super::args::{EngineArgs, ModelArgs};
use super::arguments::name_and_file;
use super::input::{self, Files, InputArgs};
use super::model::{self, Model};
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, print, tell};
use crate::interp;
use crate::io::npy;
use crate::io::write::{check_writable, is_stdout};
use crate::ir::Graph;
use crate::ir::weights::WeightSource;
use crate::layers::{Accumulate, Op};
use crate::tensor::Tensor;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    weights: WeightArgs,
    #[command(flatten)]
    input: InputArgs,
    /// Write the main output to this .npy file, `-` for standard output; `NAME=FILE` for another output
    #[arg(long, value_name = "FILE")]
    output: Vec<OsString>,
    /// Print this many of the likeliest classes of each sample
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// Print how long each part took
    #[arg(short, long)]
    verbose: bool,
}

/// Samples whose classes are printed when nobody asked for any number.
const SHOWN_SAMPLES: usize = 20;

pub fn run(args: &Args) -> Outcome {
    let mut model = model::load(&args.model)?;
    let Some(Files { tensors, names }) = input::read(&args.input, &mut model)? else {
        return Err(Failure::usage("nothing to run on; give a picture or an array with --input"));
    };
    let targets = outputs(&args.output, &model.graph)?;
    check_targets(args, &targets)?;
    let weights = args.weights.choose(&model, Missing::Refused)?;
    let results = compute(args, &model, weights.as_ref(), &tensors)?;
    for (index, path) in &targets {
        npy::write(path, results[*index].shape(), results[*index].data())?;
    }
    if targets.is_empty() || args.top.is_some() {
        print_classes(args, &model, &results[0], &names)?;
    }
    Ok(())
}

/// Which output goes to which file.
fn outputs(given: &[OsString], graph: &Graph) -> Result<Vec<(usize, PathBuf)>, Failure> {
    let of_word = |word: &OsString| match name_and_file(word) {
        None => Ok((0, word.into())),
        Some((name, path)) => match graph.outputs.iter().position(|o| o.name == name) {
            Some(index) => Ok((index, path.into())),
            None => {
                let names: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
                Err(Failure::usage(format!("no output `{name}`; the model has {}", names.join(", "))))
            }
        },
    };
    given.iter().map(of_word).collect()
}

/// Asks before the work whether its results can be written.
fn check_targets(args: &Args, targets: &[(usize, PathBuf)]) -> Outcome {
    let on_stdout = targets.iter().filter(|(_, path)| is_stdout(path)).count();
    if on_stdout + usize::from(args.top.is_some() && on_stdout > 0) > 1 {
        return Err(Failure::usage("standard output takes one array, and no classes beside it"));
    }
    for (index, (_, path)) in targets.iter().enumerate() {
        if targets[..index].iter().any(|(_, earlier)| earlier == path && (path.is_file() || !path.exists())) {
            return Err(Failure::usage(format!("two outputs cannot both be written to {}", path.display())));
        }
        check_writable(path)?;
    }
    Ok(())
}

fn compute(args: &Args, model: &Model, weights: &dyn WeightSource, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let Some(options) = args.engine.options()? else {
        let start = Instant::now();
        let results = interp::run(&model.graph, weights, inputs, Accumulate::F32);
        times(args, &[("parse and check", model.time), ("interpret", start.elapsed())]);
        return Ok(results);
    };
    let mut session = args.engine.tuned().session(model.graph.clone(), weights, &options)?;
    let start = Instant::now();
    let results = session.run(inputs).map_err(Failure::input)?;
    let built = session.times();
    times(
        args,
        &[
            ("parse and check", model.time),
            ("optimise and schedule", built.plan),
            ("generate code", built.code),
            ("pack weights", built.pack),
            ("ready after", model.time + built.plan + built.code + built.pack),
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
    if output.spatial().iter().product::<usize>() != 1 {
        return print(&format!("output {:?}: not a classification; write it to a file with --output", output.shape()));
    }
    let labels = model.card.as_ref().map_or(Ok(Vec::new()), |card| card.labels())?;
    if let Some(card) = model.card.as_ref().filter(|_| ![0, output.channels()].contains(&labels.len())) {
        let (card, labels, classes) = (card.path().display(), labels.len(), output.channels());
        tell(&format!("warning: {card}: {labels} labels for {classes} classes, which are shown by their numbers"));
    }
    let label = |class: usize| match labels.get(class).filter(|_| labels.len() == output.channels()) {
        Some(label) => label.clone(),
        None => format!("class {class}"),
    };
    let shown = if args.top.is_some() { output.batch() } else { output.batch().min(SHOWN_SAMPLES) };
    for (n, name) in names.iter().enumerate().take(shown) {
        let scores = &output.data()[n * output.channels()..][..output.channels()];
        let unusable = scores.iter().filter(|score| score.is_nan() || **score == f32::INFINITY).count();
        if unusable > 0 {
            print(&format!("{name}: no class: {unusable} of {} scores are NaN or infinite", scores.len()))?;
            continue;
        }
        let ranked = rank(&probabilities(&model.graph, scores));
        match args.top {
            None => print(&format!("{name}: {}  {:.4}", label(ranked[0].0), ranked[0].1))?,
            Some(top) => {
                let classes = ranked.iter().take(top).map(|(class, p)| format!("\n  {:<32} {p:.4}", label(*class)));
                print(&format!("{name}:{}", classes.collect::<String>()))?;
            }
        }
    }
    if shown < output.batch() {
        print(&format!("... and {} more (--top 1 shows all, --output writes them)", output.batch() - shown))?;
    }
    Ok(())
}

/// Softmax of the scores, unless the model ends with one.
fn probabilities(graph: &Graph, scores: &[f32]) -> Vec<f32> {
    if matches!(graph[graph.outputs[0].node].op, Op::Softmax(_)) {
        return scores.to_vec();
    }
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|s| (s - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// Classes and probabilities, the likeliest first.
fn rank(probabilities: &[f32]) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = probabilities.iter().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}
