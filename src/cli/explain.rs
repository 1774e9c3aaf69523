//! `svertka explain`: the plan, and what the passes did and refused.

use super::args::{EngineArgs, ModelArgs};
use super::tuned::Source;
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, model, print, progress};
use crate::ir::{Graph, Verified};
use crate::kernels::Target;
use crate::machine::{self, Known};
use crate::model::{Model, Weights};
use crate::runtime::check_planning;
use crate::schedule;
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Weight file for whose numbers to plan, which may have eight bits or 16; the one that the model's card names where
    /// none is given
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Plan for another CPU than this one; a wrong name lists those known. What was tuned here is passed over
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(machine::names()), hide_possible_values = true)]
    machine: Option<String>,
    /// Only this layer, or all below this path
    #[arg(long)]
    layer: Option<String>,
    /// Everything: what the passes did, each kernel's parameters, where values lie, what was refused
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(args: &Args) -> Outcome {
    let target = target(args)?;
    let model = model::load(&args.model)?;
    check_planning(model.graph(), args.engine.memory.limit())?;
    let graph = network(args, &model)?;
    let tuned = if args.machine.is_some() { Source::None.load() } else { args.engine.tuned() };
    let edges = schedule::Edges::Real;
    let plan = progress::during("planning", || tuned.plan(graph, target, edges));
    let explanation = schedule::Explanation::new(&plan, args.layer.as_deref()).map_err(Failure::input)?;
    print(&if args.verbose { explanation.whole() } else { explanation.short() })
}

/// What to plan for.
fn target(args: &Args) -> Result<Target, Failure> {
    let Some(name) = &args.machine else {
        let Some(options) = args.engine.options()? else {
            return Err(Failure::usage("the interpreter has no plan to explain; choose another engine"));
        };
        return Ok(options.target());
    };
    args.engine.target_on(Known::named(name).map_err(Failure::usage)?)
}

/// The network that computes with the weights. What a card names may not be there, or not fit other sizes: then it is the
/// model's own.
fn network(args: &Args, model: &Model) -> Result<Verified<Graph>, Failure> {
    let bound = match args.weights.clone() {
        None if model.has_weights() => model.bind(&Weights::of_card()).ok(),
        None => None,
        path => {
            let weights = WeightArgs { weights: path, weights_key: None, random_weights: false, seed: None };
            Some(weights.choose_any(model, Missing::Refused)?)
        }
    };
    Ok(bound.map_or_else(|| model.graph().clone(), |bound| bound.network(model).clone()))
}
