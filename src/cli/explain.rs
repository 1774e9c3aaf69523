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
    /// Everything: what the passes did, each kernel's parameters, where values lie, what was refused
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(args: &Args) -> Outcome {
    let model = model::load(&args.model)?;
    let Some(options) = args.engine.options()? else {
        return Err(Failure::usage("the interpreter has no plan to explain"));
    };
    check_planning(model.graph(), options.memory_limit)?;
    let plan = args.engine.tuned().plan(model.graph().clone(), options.target());
    if let Some(layer) = &args.layer {
        let paths = || plan.graph.nodes.iter().map(|n| n.origin.path.as_str());
        if !paths().any(|p| p == layer || p.starts_with(&format!("{layer}."))) {
            let hint =
                crate::diagnostic::nearest(layer, paths()).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            return Err(Failure::input(format!("no layer `{layer}` after fusion{hint}")));
        }
    }
    let explanation = schedule::Explanation { plan: &plan, layer: args.layer.as_deref() };
    print(&if args.verbose { explanation.whole() } else { explanation.short() })
}
