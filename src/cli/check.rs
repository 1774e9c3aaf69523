//! `svertka check`: every error of every variant of every file, what breaks a rule of thumb, and what has no effect.

use super::args::LintArgs;
use super::{Failure, Outcome, print, tell_raw, terminal};
use crate::diagnostic::harmless;
use crate::model::{self, Model, is_onnx, split_variant};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Model files; `-` for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lints: LintArgs,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

pub fn run(args: &Args) -> Outcome {
    let mut wrong = Vec::new();
    for file in &args.files {
        match check(file, args) {
            Ok(Checked { warnings: 0, .. }) => print(&format!("{}: ok", file.display()))?,
            Ok(Checked { warnings, text }) if !args.strict => {
                tell_raw(&format!("{text}\n\n"));
                print(&format!("{}: ok, {warnings} warning{}", file.display(), if warnings == 1 { "" } else { "s" }))?;
            }
            Ok(Checked { text, .. }) => wrong.push(text),
            Err(failure) => wrong.push(failure.text().into_owned()),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Diagnosed(wrong.join("\n\n"))) }
}

/// The file, which is given without a variant.
fn whole(file: &Path) -> Result<PathBuf, Failure> {
    match split_variant(file.as_os_str()) {
        (path, Some(_)) if path.exists() => Err(Failure::usage(format!(
            "{}: every variant is checked at once; leave the name of the variant out: `svertka check {}`",
            file.display(),
            path.display()
        ))),
        _ => Ok(file.to_owned()),
    }
}

/// A file without errors.
struct Checked {
    warnings: usize,
    text: String,
}

fn check(file: &Path, args: &Args) -> Result<Checked, Failure> {
    if is_onnx(file) {
        let model = Model::open(file)?;
        let text: Vec<String> = model.remarks().iter().map(|remark| format!("warning: {remark}")).collect();
        return Ok(Checked { warnings: text.len(), text: harmless(&text.join("\n")).into_owned() });
    }
    let report = model::check(whole(file)?, &args.lints.allow)?;
    let text = report.render(terminal::colour());
    match report.has_errors() {
        true => Err(Failure::Diagnosed(text)),
        false => Ok(Checked { warnings: report.diagnostics.len(), text }),
    }
}
