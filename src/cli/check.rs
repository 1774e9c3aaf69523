//! `svertka check`: every error of every variant of every file, what breaks a rule of thumb, and what has no effect.

use super::args::LintArgs;
use super::{Failure, Outcome, model as arguments, not_imported, print, print_raw, progress, tell, tell_raw};
use crate::analysis::lint;
use crate::diagnostic::fix::{self, Mended};
use crate::diagnostic::report::{self, Report};
use crate::diagnostic::{Diagnostic, Severity};
use crate::front::text::build::Options;
use crate::io::text;
use crate::io::write::write_atomically;
use crate::model::{self, Findings, FolderLoader, is_onnx, zoo};
use crate::source::SourceMap;
use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Model files, each with a variant behind a colon if it alone is meant; `-` for standard input, `zoo:NAME` for a network
    /// that comes along
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lints: LintArgs,
    /// Fail on warnings too
    #[arg(long, env = "SVERTKA_CHECK_STRICT", value_parser = BoolishValueParser::new())]
    strict: bool,
    /// Change the files as the messages say, where it is known what was meant; what is left is reported
    #[arg(long)]
    fix: bool,
    /// How it is said: for people, or for programs on standard output
    #[arg(long, value_enum, default_value = "human", env = "SVERTKA_CHECK_FORMAT")]
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
        args.files.iter().try_for_each(|file| can_be_mended(file))?;
        args.files.iter().try_for_each(|file| mend(file, args))?;
    }
    let check = || args.files.iter().map(|file| check(file, args)).collect::<Vec<Checked>>();
    let checked = progress::during("checking", check);
    if args.format == Format::Human { for_people(&checked, args) } else { for_programs(&checked, args) }
}

/// What was found in a file.
struct Checked {
    file: String,
    sources: SourceMap,
    found: Vec<Diagnostic>,
    /// Why it could not be read, as it is printed.
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
        let text = || arguments::diagnostics(&self.found, &self.sources);
        match &self.unread {
            Some(text) => text.clone(),
            None if is_onnx(self.file.as_ref()) && self.fails(false) => not_imported(&self.file, &text()),
            None => text(),
        }
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
    let what = if args.strict { "errors or warnings" } else { "errors" };
    match checked.iter().filter(|file| file.fails(args.strict)).count() {
        0 => Ok(()),
        1 => Err(Failure::input(format!("one file has {what}"))),
        n => Err(Failure::input(format!("{n} files have {what}"))),
    }
}

fn check(file: &Path, args: &Args) -> Checked {
    let name = file.display().to_string();
    match model::check(file, &args.lints.allow) {
        Ok(Findings { sources, diagnostics: found }) => Checked { file: name, sources, found, unread: None },
        Err(error) => {
            let text = Failure::from(error).text().into_owned();
            let found = vec![Diagnostic::error("E0602", text.trim_start_matches("error: "))];
            Checked { file: name, sources: SourceMap::default(), found, unread: Some(text) }
        }
    }
}

fn can_be_mended(file: &Path) -> Outcome {
    let why = "--fix changes model texts in files, as a whole";
    let shown = file.display();
    if zoo::named(file).is_some() {
        let message = format!("{shown}: {why}; `svertka new NAME --from {shown}` makes one of this network");
        return Err(Failure::usage(message));
    }
    if is_onnx(file) || !file.is_file() {
        return Err(Failure::usage(format!("{shown}: {why}")));
    }
    Ok(())
}

/// Takes the ways out of a file's mistakes, and says which.
fn mend(file: &Path, args: &Args) -> Outcome {
    let text = text::read(file)?;
    let mut check = |text: &str| {
        let mut sources = SourceMap::default();
        let root = sources.add(model::shown(file), text);
        let mut loader = FolderLoader::new(file);
        (root, lint::check(&mut sources, root, &Options::default(), &mut loader, &args.lints.allow))
    };
    let Mended { text, taken } = fix::mend(text, &mut check);
    if !taken.is_empty() {
        write_atomically(file, |out| out.write_all(text.as_bytes()))?;
    }
    taken.iter().for_each(|(line, way)| tell(&format!("{}:{line}: {way}", file.display())));
    Ok(())
}
