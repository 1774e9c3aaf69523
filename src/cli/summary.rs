//! `svertka summary`: shapes, parameters, multiply-accumulates, memory and receptive fields; warnings on standard error.

use super::args::{LintArgs, MemoryArgs, ModelArgs};
use super::{Failure, Outcome, model, print, progress, tell_raw};
use crate::analysis;
use crate::analysis::summary::{self, Summary};
use crate::codegen::Isa;
use crate::kernels::Target;
use crate::model::Model;
use crate::runtime::check_planning;
use crate::schedule;
use clap::ValueEnum;
use std::ffi::OsString;

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
    /// Say what changed from this model to another one, which takes none of the values that `-D` gives
    #[arg(long, value_name = "MODEL")]
    diff: Option<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Yaml,
}

pub fn run(args: &Args) -> Outcome {
    if args.diff.is_some() && matches!(args.format, Format::Csv) {
        return Err(Failure::usage("`--diff` goes with the formats table, json and yaml"));
    }
    let model = model::load(&args.model)?;
    let summary = summary_of(&model, args)?;
    if let Some(other) = &args.diff {
        let other = ModelArgs { model: other.clone(), define: Vec::new(), aux: args.model.aux };
        let difference = summary::difference(&summary, &summary_of(&model::load(&other)?, args)?);
        let shown = difference.render(args.format.into());
        return print(&shown.expect("all formats but csv show differences"));
    }
    print(&summary.render(args.format.into()))?;
    let warnings = analysis::lint(model.graph(), &args.lints.allow);
    if !warnings.is_empty() {
        tell_raw(&format!("\n{}\n", model::diagnostics(&warnings, model.sources())));
    }
    Ok(())
}

fn summary_of(model: &Model, args: &Args) -> Result<Summary, Failure> {
    check_planning(model.graph(), args.memory.limit())?;
    let plan = || schedule::plan(model.graph().clone(), Target::new(Isa::detect()));
    let arena = progress::during("planning", plan).arena_bytes();
    Ok(analysis::summary(model.graph(), Some(arena as u64)))
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
