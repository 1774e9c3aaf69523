//! `svertka tune`: chooses kernels by measuring them.

use super::args::MeasureArgs;
use super::cores::Cores;
use super::progress::Progress;
use super::tuned::{Entry, Source, TunedFile};
use super::weights::Missing;
use super::{Failure, Outcome, input, model, print, tell};
use crate::bench::pin;
use crate::bench::table::{ms, place, table};
use crate::bench::tune::{LayerChoice, Times, Tuned, Tuner};
use crate::io::write::{check_writable, create_folder, folder_of};
use crate::runtime::{Engine, Options};
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    /// Model files, each with a variant behind a colon if need be
    #[arg(required = true)]
    models: Vec<OsString>,
    #[command(flatten)]
    setup: MeasureArgs,
    /// Leave threads on the cores that the system chooses, instead of one that each keeps
    #[arg(long)]
    no_pin: bool,
    /// The least time to measure each round of candidates, in seconds, in all its repetitions together
    #[arg(long, default_value = "0.6", value_parser = super::bench::parse_seconds, value_name = "S")]
    min_time: Duration,
    /// Print every candidate's time over that of the estimated choice
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(args: &Args) -> Outcome {
    let source = Source::of(args.setup.engine.tuned.as_deref());
    args.models.iter().try_for_each(|name| check(args, name))?;
    let mut file = source.load_to_extend()?;
    if let Some(path) = source.path() {
        create_folder(folder_of(path))?;
        check_writable(path)?;
    }
    let cores = Cores::look(!args.no_pin);
    let mut kept = false;
    for (index, name) in args.models.iter().enumerate() {
        let shown = name.to_string_lossy();
        let (tuned, on) = tune(args, name, &cores, &format!("[{}/{}] {shown}", index + 1, args.models.len()))?;
        let text = text(&shown, &tuned, &on, args.verbose);
        let found = !tuned.layers.is_empty();
        tuned.layers.into_iter().for_each(|layer| keep(layer, &mut file));
        // What leaves no choice makes no file, which would look as if something had been found.
        if let Some(path) = source.path().filter(|_| found) {
            file.write(path)?;
            kept = true;
        }
        print(&text)?;
    }
    match source.path() {
        Some(path) if kept => print(&format!("kept in {}", path.display())),
        Some(path) => print(&format!("there is nothing to keep: {} is as it was", path.display())),
        None => Ok(()),
    }
}

/// Asks before the work whether a model can be tuned.
fn check(args: &Args, name: &OsStr) -> Outcome {
    options(args)?;
    let model = model::try_load(&args.setup.model(name))?;
    model.map_or(Ok(()), |model| input::batch(args.setup.batch, model.graph()).map(drop))
}

fn options(args: &Args) -> Result<Options, Failure> {
    let engine = &args.setup.engine;
    let options = engine.options_on(engine.threads.unwrap_or(1).into())?;
    let generated = options.filter(|options| matches!(options.engine, Engine::Jit(_)));
    generated.ok_or_else(|| Failure::usage("only generated code leaves a choice; choose --engine jit"))
}

/// Gives what was found, and the cores that threads were pinned to.
fn tune(args: &Args, name: &OsStr, cores: &Cores, title: &str) -> Result<(Tuned, Vec<usize>), Failure> {
    let options = options(args)?;
    let model = model::load(&args.setup.model(name))?;
    let weights = args.setup.weights.choose_any(&model, Missing::Random)?;
    let batch = input::batch(args.setup.batch, model.graph())?;
    let inputs = input::random(model.graph(), batch, args.setup.weights.seed(), options.memory_limit)?;
    let (graph, weights, options, inputs, span) = (weights.network(&model), &weights, &options, &inputs, args.min_time);
    let (on, all_cores) = (cores_for(cores, options.threads), cores.all());
    let mut progress = Progress::new();
    let tuner = Tuner { graph, weights, options, inputs, span, cores: &on, all_cores: &all_cores };
    let tuned = tuner.run(&mut |part| progress.show_bar(part, title)).map_err(Failure::input)?;
    Ok((tuned, on))
}

/// Cores that threads can be pinned to; none, and a note, where the system refuses.
fn cores_for(cores: &Cores, threads: usize) -> Vec<usize> {
    let on = cores.choose(threads);
    let own = std::process::id();
    let pinned = if on.is_empty() { Ok(()) } else { pin::pin(own, &on).and_then(|()| pin::spread(own, &cores.all())) };
    match pinned {
        Ok(()) => on,
        Err(error) => {
            tell(&format!("note: threads are not pinned to cores: {error}"));
            Vec::new()
        }
    }
}

fn keep(layer: LayerChoice, file: &mut TunedFile) {
    let LayerChoice { key, kernel, decision, .. } = layer;
    file.insert(key, Entry { kernel, decision });
}

const NO_CHOICE: &str = "there are several kernels of convolutions and dense layers in f32; those on whole numbers, and all other layers, have one each";

/// The choices that differ, or all candidates, and the sum.
fn text(name: &str, tuned: &Tuned, cores: &[usize], verbose: bool) -> String {
    let columns = ["layer", "estimated", "measured", "ms estimated", "ms measured", "ratio"];
    let rows = tuned.layers.iter().map(|layer| {
        let others = if layer.count > 1 { format!(" and {} more", layer.count - 1) } else { String::new() };
        let decision = if layer.decision == layer.analytic { "the same".into() } else { layer.decision.clone() };
        [&[layer.layer.clone() + &others, layer.analytic.clone(), decision][..], &figures(&layer.times)].concat()
    });
    let Some(Times { analytic_s, tuned_s, ratio }) = &tuned.network else {
        return format!("{name}\nno layer leaves a choice: {NO_CHOICE}\n");
    };
    let mut text = format!("{name}\n{}\n", table(3, &columns, rows));
    if verbose {
        tuned.layers.iter().for_each(|layer| candidates(layer, &mut text));
    }
    let (low, high) = ratio.low.zip(ratio.high).unwrap_or((ratio.value, ratio.value));
    let _ = writeln!(
        text,
        "all steps: {} ms estimated, {} ms measured, ratio {:.3}, 95 % confidence {low:.3} to {high:.3} over {} pairs of sessions",
        ms(*analytic_s),
        ms(*tuned_s),
        ratio.value,
        ratio.processes,
    );
    let _ = writeln!(text, "{}", place(cores, &tuned.disturbance));
    text
}

fn figures(times: &Times) -> [String; 3] {
    [ms(times.analytic_s), ms(times.tuned_s), format!("{:.3}", times.ratio.value)]
}

fn candidates(layer: &LayerChoice, text: &mut String) {
    let _ = writeln!(text, "{}: {}", layer.layer, layer.analytic);
    for (decision, ratio) in &layer.candidates {
        let (low, high) = ratio.low.zip(ratio.high).unwrap_or((ratio.value, ratio.value));
        let _ = writeln!(text, "  {:.3} ({low:.3} to {high:.3})  {decision}", ratio.value);
    }
}
