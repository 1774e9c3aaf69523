//! `svertka explain`: the plan, and what the passes did and refused.

use super::args::{EngineArgs, ModelArgs};
use super::{Failure, Outcome, model, print};
use crate::runtime::check_planning;
use crate::schedule;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Only this layer, or all below this path
    #[arg(long)]
    layer: Option<String>,
}

pub fn run(args: &Args) -> Outcome {
    let model = model::load(&args.model)?;
    let Some(options) = args.engine.options()? else {
        return Err(Failure::usage("the interpreter has no plan to explain"));
    };
    check_planning(model.graph(), options.memory_limit)?;
    let plan = args.engine.tuned().plan(model.graph().clone(), options.target());
    match &args.layer {
        Some(layer) => print(&schedule::explain_layer(&plan, layer).map_err(Failure::input)?),
        None => print(&schedule::explain(&plan, None)),
    }
}
