//! `svertka check`: every error of every variant of every file, what breaks a rule of thumb, and what has no effect.

use super::args::LintArgs;
use super::model;
use super::{Failure, Outcome, print, print_raw, tell, tell_raw};
use crate::analysis::lint;
use crate::diagnostic::fix::{self, Mended};
use crate::diagnostic::report::{self, Report};
use crate::diagnostic::{Diagnostic, Severity};
use crate::error::Error;
use crate::front::text::build::Options;
use crate::io::write::write_atomically;
use crate::model::{Findings, FolderLoader, Model, is_onnx, read_text, split_variant};
use crate::source::{FileId, SourceMap};
use clap::ValueEnum;
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
    /// Change the files as the messages say, where that mends what they say; what is left is reported
    #[arg(long)]
    fix: bool,
    /// How it is said: for people, or for programs on standard output
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Excerpts of the text on standard error
    Human,
    /// An object for each file, with places and edits
    Json,
    /// For tools that show the results of static analysis
    Sarif,
    /// Annotations of a GitHub workflow
    Github,
}

pub fn run(args: &Args) -> Outcome {
    if args.fix {
        args.files.iter().try_for_each(|file| mend(file, args))?;
    }
    let checked: Vec<Checked> = args.files.iter().map(|file| check(file, args)).collect();
    if args.format == Format::Human { for_people(&checked, args) } else { for_programs(&checked, args) }
}

/// What was found in a file.
struct Checked {
    file: String,
    sources: SourceMap,
    found: Vec<Diagnostic>,
    /// Why there is no text in which anything could be found, as it is printed.
    unread: Option<String>,
}

impl Checked {
    fn fails(&self, strict: bool) -> bool {
        let fails = |found: &Diagnostic| strict || found.severity == Severity::Error;
        self.found.iter().any(fails)
    }

    fn report(&self) -> Report<'_> {
        Report { file: &self.file, diagnostics: &self.found, sources: &self.sources }
    }

    fn for_people(&self) -> String {
        self.unread.clone().unwrap_or_else(|| model::diagnostics(&self.found, &self.sources))
    }
}

fn for_people(checked: &[Checked], args: &Args) -> Outcome {
    let mut wrong = Vec::new();
    for file in checked {
        let (name, text) = (&file.file, file.for_people());
        match file.found.len() {
            0 => print(&format!("{name}: ok"))?,
            _ if file.fails(args.strict) => wrong.push(text),
            warnings => {
                tell_raw(&format!("{text}\n\n"));
                print(&format!("{name}: ok, {warnings} warning{}", if warnings == 1 { "" } else { "s" }))?;
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Diagnosed(wrong.join("\n\n"))) }
}

fn for_programs(checked: &[Checked], args: &Args) -> Outcome {
    let reports: Vec<Report> = checked.iter().map(Checked::report).collect();
    print_raw(&match args.format {
        Format::Json => report::json(&reports),
        Format::Sarif => report::sarif(&reports),
        _ => report::github(&reports),
    })?;
    match checked.iter().filter(|file| file.fails(args.strict)).count() {
        0 => Ok(()),
        1 => Err(Failure::input("one file has errors")),
        n => Err(Failure::input(format!("{n} files have errors"))),
    }
}

fn check(file: &Path, args: &Args) -> Checked {
    let checked = |sources, found, unread| Checked { file: file.display().to_string(), sources, found, unread };
    let read = match whole(file) {
        Ok(file) if is_onnx(file) => check_onnx(file),
        Ok(file) => check_text(file, args),
        Err(failure) => {
            let text = failure.text().into_owned();
            return checked(SourceMap::default(), vec![unread(&text)], Some(text));
        }
    };
    let error = match read {
        Ok((sources, found)) => return checked(sources, found, None),
        Err(error) => error,
    };
    let found = if let Error::Import { error, .. } = &error { error.diagnostics.clone() } else { Vec::new() };
    let text = Failure::from(error).text().into_owned();
    let found = if found.is_empty() { vec![unread(&text)] } else { found };
    checked(SourceMap::default(), found, Some(text))
}

/// A file that cannot be read, as programs are told of it.
fn unread(text: &str) -> Diagnostic {
    Diagnostic::error("E0602", text.trim_start_matches("error: "))
}

/// The file, which is given without a variant.
fn whole(file: &Path) -> Result<&Path, Failure> {
    match split_variant(file.as_os_str()) {
        (path, Some(_)) if path.exists() => Err(Failure::usage(format!(
            "{}: every variant is checked at once; leave the name of the variant out: `svertka check {}`",
            file.display(),
            path.display()
        ))),
        _ => Ok(file),
    }
}

/// What of an imported file is not as it is in the file.
fn check_onnx(file: &Path) -> Result<(SourceMap, Vec<Diagnostic>), Error> {
    let model = Model::open(file)?;
    let warning = |remark: &String| Diagnostic::warning("W0600", remark.as_str());
    Ok((SourceMap::default(), model.remarks().iter().map(warning).collect()))
}

fn check_text(file: &Path, args: &Args) -> Result<(SourceMap, Vec<Diagnostic>), Error> {
    let Findings { sources, diagnostics } = crate::model::check(file, &args.lints.allow)?;
    Ok((sources, diagnostics))
}

fn find(sources: &mut SourceMap, root: FileId, file: &Path, args: &Args) -> Vec<Diagnostic> {
    lint::check(sources, root, &Options::default(), &mut FolderLoader::new(file), &args.lints.allow)
}

/// Takes the ways out of a file's mistakes, and says which.
fn mend(file: &Path, args: &Args) -> Outcome {
    let file = whole(file)?;
    if is_onnx(file) || !file.is_file() {
        return Err(Failure::usage(format!("{}: --fix changes model texts in files", file.display())));
    }
    let (sources, root) = read_text(file)?;
    let text = sources.file(root).text.clone();
    let mut check = |text: &str| {
        let mut sources = SourceMap::default();
        let root = sources.add(file.display().to_string(), text);
        let found = find(&mut sources, root, file, args);
        (root, found)
    };
    let Mended { text, taken } = fix::mend(text, &mut check);
    if !taken.is_empty() {
        write_atomically(file, |out| out.write_all(text.as_bytes()))?;
    }
    taken.iter().for_each(|(line, way)| tell(&format!("{}:{line}: {way}", file.display())));
    Ok(())
}
