//! `svertka explain`: the plan, and what the passes did and refused.

use super::args::{EngineArgs, ModelArgs};
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, model, print, progress};
use crate::ir::{Graph, Verified};
use crate::model::{Model, Weights};
use crate::runtime::check_planning;
use crate::schedule;
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
    /// Only this layer, or all below this path
    #[arg(long)]
    layer: Option<String>,
    /// Everything: what the passes did, each kernel's parameters, where values lie, what was refused
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(args: &Args) -> Outcome {
    let Some(options) = args.engine.options()? else {
        return Err(Failure::usage("the interpreter has no plan to explain; choose another engine"));
    };
    let model = model::load(&args.model)?;
    check_planning(model.graph(), options.memory_limit)?;
    let graph = network(args, &model)?;
    let tuned = args.engine.tuned();
    let edges = schedule::Edges::Real;
    let plan = progress::during("planning", || tuned.plan(graph, options.target(), edges));
    let explanation = schedule::Explanation::new(&plan, args.layer.as_deref()).map_err(Failure::input)?;
    print(&if args.verbose { explanation.whole() } else { explanation.short() })
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
