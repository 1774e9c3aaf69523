//! The model that a command's arguments name.

use super::Failure;
use super::args::ModelArgs;
use super::progress;
use super::terminal;
use crate::diagnostic::{Diagnostic, render};
use crate::io::STREAM;
use crate::model::{Model, ModelOptions, is_onnx, split_variant};
use crate::source::SourceMap;
use std::path::{Path, PathBuf};

/// Builds the model that the arguments name.
pub fn load(args: &ModelArgs) -> Result<Model, Failure> {
    let (path, options) = options(args);
    let model = progress::during("reading the model", || options.open(path))?;
    model.remarks().iter().for_each(|remark| terminal::tell(&format!("warning: {remark}")));
    if !model.warnings().is_empty() {
        terminal::tell_raw(&format!("{}\n", diagnostics(model.warnings(), model.sources())));
    }
    Ok(model)
}

fn options(args: &ModelArgs) -> (PathBuf, ModelOptions) {
    let (path, variant) = split_variant(&args.model);
    let options = ModelOptions::default().aux(args.aux);
    let options = variant.into_iter().fold(options, ModelOptions::variant);
    let defines = args.define.iter();
    (path, defines.fold(options, |options, (name, value)| options.define(name, value)))
}

/// Builds it to see whether that can be done, for those who first work for long; `None` where it can be read once only, or
/// is a large file.
pub fn try_load(args: &ModelArgs) -> Result<Option<Model>, Failure> {
    let (path, options) = options(args);
    let is_stream = path == Path::new(STREAM) || (path.exists() && !path.is_file());
    if is_stream || (is_onnx(&path) && path.exists()) {
        return Ok(None);
    }
    Ok(Some(options.open(path)?))
}

/// Errors and warnings as text, in colour on a terminal.
pub fn diagnostics(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    render(diagnostics, sources, terminal::colour())
}
