//! `svertka summary`: shapes, parameters, multiply-accumulates, memory and receptive fields; warnings on standard error.

use super::args::{LintArgs, MemoryArgs, ModelArgs};
use super::{Outcome, model, print, tell_raw};
use crate::analysis::{self, summary};
use crate::codegen::Isa;
use crate::kernels::Target;
use crate::runtime::check_planning;
use crate::schedule;
use clap::ValueEnum;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    lints: LintArgs,
    #[command(flatten)]
    memory: MemoryArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Yaml,
}

pub fn run(args: &Args) -> Outcome {
    let model = model::load(&args.model)?;
    check_planning(model.graph(), args.memory.limit())?;
    let arena = schedule::plan(model.graph().clone(), Target::new(Isa::detect())).arena_bytes();
    let summary = analysis::summary(model.graph(), Some(arena as u64));
    print(&summary.render(args.format.into()))?;
    let warnings = analysis::lint(model.graph(), &args.lints.allow);
    if !warnings.is_empty() {
        tell_raw(&format!("\n{}\n", model::diagnostics(&warnings, model.sources())));
    }
    Ok(())
}

impl From<Format> for summary::Format {
    fn from(format: Format) -> summary::Format {
        match format {
            Format::Table => summary::Format::Table,
            Format::Json => summary::Format::Json,
            Format::Csv => summary::Format::Csv,
            Format::Yaml => summary::Format::Yaml,
        }
    }
}
