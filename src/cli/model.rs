//! The model that a command's arguments name.

use super::Failure;
use super::args::ModelArgs;
use super::progress;
use super::terminal;
use crate::diagnostic::{Diagnostic, render};
use crate::model::{Model, ModelOptions, split_variant};
use crate::source::SourceMap;

/// Builds the model that the arguments name.
pub fn load(args: &ModelArgs) -> Result<Model, Failure> {
    let (path, variant) = split_variant(&args.model);
    let options = ModelOptions::default().aux(args.aux);
    let options = variant.into_iter().fold(options, ModelOptions::variant);
    let defines = args.define.iter();
    let options = defines.fold(options, |options, (name, value)| options.define(name, value));
    let model = progress::during("reading the model", || options.open(path))?;
    model.remarks().iter().for_each(|remark| terminal::tell(&format!("warning: {remark}")));
    if !model.warnings().is_empty() {
        terminal::tell_raw(&format!("{}\n", diagnostics(model.warnings(), model.sources())));
    }
    Ok(model)
}

/// Errors and warnings as text, in colour on a terminal.
pub fn diagnostics(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    render(diagnostics, sources, terminal::colour())
}
