//! `svertka explain`: the plan, and what the passes did and refused.

use super::args::{EngineArgs, ModelArgs};
use super::{Failure, Outcome, model, print, progress};
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
    let tuned = args.engine.tuned();
    let edges = schedule::Edges::Real;
    let plan = progress::during("planning", || tuned.plan(model.graph().clone(), options.target(), edges));
    let explanation = schedule::Explanation::new(&plan, args.layer.as_deref()).map_err(Failure::input)?;
    print(&if args.verbose { explanation.whole() } else { explanation.short() })
}
