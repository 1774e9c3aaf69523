//! `svertka fmt`: the standard layout of model files.

use super::model;
use super::{Failure, Outcome};
use crate::io::write::write_atomically;
use crate::syntax::format::format;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Model files; they are rewritten in place
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that are not in the standard layout and fail if there are any
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Outcome {
    let mut wrong = Vec::new();
    for file in &args.files {
        match formatted(file) {
            Err(Failure::Input(text) | Failure::Usage(text)) => wrong.push(text),
            Ok(None) => {}
            Ok(Some(_)) if args.check => wrong.push(format!("{}: not in the standard layout", file.display())),
            Ok(Some(text)) => write_atomically(file, |out| out.write_all(text.as_bytes()))?,
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Input(wrong.join("\n"))) }
}

/// The standard layout of a file, if it differs.
fn formatted(file: &Path) -> Result<Option<String>, Failure> {
    let (sources, root) = model::read(file)?;
    let text = format(&sources, root).map_err(|errors| Failure::Input(model::diagnostics(&errors, &sources)))?;
    Ok((text != sources.file(root).text).then_some(text))
}
