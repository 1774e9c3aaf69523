//! `svertka verify`: the compiled model against the interpreter, layer by layer.

use super::args::{EngineArgs, ModelArgs};
use super::{Failure, Outcome, input, model, print, weights};
use crate::interp;
use crate::ir::NodeId;
use crate::layers::Accumulate;
use crate::runtime::{Options, Session};
use crate::schedule::Plan;
use crate::tensor::Tensor;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Weight file; random weights where none is given
    #[arg(long)]
    weights: Option<PathBuf>,
    #[command(flatten)]
    input: input::InputArgs,
    /// Samples of random input, where no input is given
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Largest difference allowed, relative to the largest magnitude of a value
    #[arg(long)]
    tolerance: Option<f32>,
}

pub fn run(args: &Args) -> Outcome {
    let model = model::load(&args.model)?;
    let Some(options) = args.engine.options()? else {
        return Err(Failure::usage("the interpreter is what the others are compared with; choose another engine"));
    };
    let weights = weights::choose(args.weights.as_deref(), &model, args.engine.seed)?;
    let inputs = match input::read(&args.input, &model)? {
        Some(files) => files.tensors,
        None => input::random(&model.graph, args.batch.into(), args.engine.seed),
    };
    let expected = interp::run(&model.graph, weights.as_ref(), &inputs, Accumulate::F64);
    let mut session = Session::new(model.graph, weights.as_ref(), &options).map_err(Failure::input)?;
    // The interpreter runs the fused graph too, so that each of its values can be compared.
    let reference = interp::run_all(&session.plan().graph, weights.as_ref(), &inputs, Accumulate::F64);
    let mut found: Vec<(NodeId, Difference)> = Vec::new();
    let outputs = session
        .run_observed(&inputs, &mut |done| {
            for (node, value) in done.values() {
                found.push((node, Difference::new(&value, &reference[node.0 as usize])));
            }
        })
        .map_err(Failure::input)?;
    let outputs = outputs.iter().zip(&expected).map(|(o, e)| Difference::new(o, e)).collect::<Vec<_>>();
    let tolerance = args.tolerance.unwrap_or(tolerance(&options));
    report(session.plan(), &found, &outputs, tolerance)
}

/// The promise of the README.
fn tolerance(options: &Options) -> f32 {
    if options.exact { 1e-5 } else { 1e-4 }
}

/// How far a value is from the expected one.
struct Difference {
    absolute: f32,
    /// Relative to the largest magnitude of the expected value; infinite where NaN or infinities differ.
    relative: f32,
}

impl Difference {
    fn new(found: &Tensor, expected: &Tensor) -> Difference {
        let scale = expected.data().iter().filter(|x| x.is_finite()).fold(0f32, |m, x| m.max(x.abs()));
        let pairs = found.data().iter().zip(expected.data());
        let absolute = pairs.map(|(&a, &b)| distance(a, b)).fold(0.0, f32::max);
        let relative = if absolute == 0.0 { 0.0 } else { absolute / scale.max(f32::MIN_POSITIVE) };
        Difference { absolute, relative }
    }
}

fn distance(a: f32, b: f32) -> f32 {
    if a == b || (a.is_nan() && b.is_nan()) {
        0.0
    } else if a.is_finite() && b.is_finite() {
        (a - b).abs()
    } else {
        f32::INFINITY
    }
}

fn report(plan: &Plan, layers: &[(NodeId, Difference)], outputs: &[Difference], tolerance: f32) -> Outcome {
    let mut text = format!("{:<48} {:>12} {:>12}\n", "layer", "largest", "relative");
    let name = |node: NodeId| match plan.graph[node].origin.path.as_str() {
        "" => format!("%{}", node.0),
        path => path.to_string(),
    };
    for (node, difference) in layers {
        let mark = if difference.relative > tolerance { "  <-- above the tolerance" } else { "" };
        text += &format!("{:<48} {:>12.3e} {:>12.3e}{mark}\n", name(*node), difference.absolute, difference.relative);
    }
    for (output, difference) in plan.graph.outputs.iter().zip(outputs) {
        let label = format!("output {}", output.name);
        text += &format!("{label:<48} {:>12.3e} {:>12.3e}\n", difference.absolute, difference.relative);
    }
    print(&text);
    let first = layers.iter().find(|(_, d)| d.relative > tolerance);
    let outside = first.is_some() || outputs.iter().any(|d| d.relative > tolerance);
    match (outside, first) {
        (false, _) => {
            print(&format!("all within {tolerance:e} of the interpreter"));
            Ok(())
        }
        (true, Some((node, difference))) => Err(Failure::input(format!(
            "{} is the first layer above the tolerance of {tolerance:e}: {:.3e}",
            name(*node),
            difference.relative
        ))),
        (true, None) => Err(Failure::input(format!("an output is above the tolerance of {tolerance:e}"))),
    }
}
