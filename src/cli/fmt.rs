//! `svertka fmt`: the standard layout of model files.

use super::model;
use super::{Failure, Outcome, print_raw};
use crate::diagnostic::harmless;
use crate::front::text::syntax::format::format;
use crate::io::write::write_atomically;
use crate::model::{is_onnx, read_text, split_variant, zoo};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Model files; they are rewritten in place, but what comes from a pipe, `-` or `zoo:NAME` goes to standard output
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
            Err(failure) => wrong.push(failure.text().into_owned()),
            Ok(Formatted { changed, .. }) if args.check => {
                if changed {
                    wrong.push(harmless(&format!("{}: not in the standard layout", file.display())).into_owned());
                }
            }
            Ok(Formatted { text, .. }) if !file.is_file() || zoo::named(file).is_some() => print_raw(&text)?,
            Ok(Formatted { changed: false, .. }) => {}
            Ok(Formatted { text, .. }) => write_atomically(file, |out| out.write_all(text.as_bytes()))?,
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Diagnosed(wrong.join("\n"))) }
}

/// A word that names a text and no part of one.
fn whole(file: &Path) -> Result<&Path, Failure> {
    let usage = |what: &str| Err(Failure::usage(format!("{}: {what}", file.display())));
    match split_variant(file.as_os_str()) {
        _ if is_onnx(file) => usage("texts have a layout; `svertka import` makes one of an ONNX file"),
        (text, Some(variant)) if text.exists() => {
            usage(&format!("a text is laid out as a whole: leave `:{variant}` out"))
        }
        _ => Ok(file),
    }
}

/// The standard layout of a file.
struct Formatted {
    text: String,
    /// Whether it differs from what was there.
    changed: bool,
}

fn formatted(file: &Path) -> Result<Formatted, Failure> {
    let (sources, root) = match zoo::named(file) {
        Some(entry) => entry?.source(),
        None => read_text(whole(file)?)?,
    };
    let text = format(&sources, root).map_err(|errors| Failure::Diagnosed(model::diagnostics(&errors, &sources)))?;
    Ok(Formatted { changed: text != sources.file(root).text, text })
}
