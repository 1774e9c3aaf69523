//! `svertka check`: every error of every variant of every file.

use super::model::{self, FolderLoader};
use super::{Failure, Outcome, print};
use crate::ir::build::{self, Options};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Model files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub fn run(args: &Args) -> Outcome {
    let mut wrong = Vec::new();
    for file in &args.files {
        match check(file) {
            Ok(()) => print(&format!("{}: ok", file.display())),
            Err(Failure::Input(text) | Failure::Usage(text)) => wrong.push(text),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Input(wrong.join("\n\n"))) }
}

fn check(file: &Path) -> Outcome {
    let (mut sources, root) = model::read(file)?;
    let errors = build::check(&mut sources, root, &Options::default(), &mut FolderLoader::new(file));
    if errors.is_empty() { Ok(()) } else { Err(model::diagnostics(&errors, &sources)) }
}
