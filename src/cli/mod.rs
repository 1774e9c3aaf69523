//! The command line: one file a verb.
//!
//! Exit codes: 0 fine, 1 the user's input is wrong, 2 wrong usage, 3 a defect of svertka's own.

mod args;
mod arguments;
mod bench;
mod check;
mod checked;
mod compile;
mod cores;
mod explain;
mod export;
mod fmt;
mod folder;
mod graph;
mod help;
mod import;
mod input;
#[cfg(feature = "lsp")]
mod lsp;
mod model;
mod new;
mod outputs;
mod peak;
mod progress;
mod quantize;
mod run;
mod show;
mod summary;
mod terminal;
mod tune;
mod tuned;
mod verify;
mod weights;

use crate::aot::AotError;
use crate::diagnostic::harmless;
use crate::error::Error;
use crate::io::IoError;
use crate::runtime::{RunError, SessionError};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;
use terminal::{print, print_raw, tell, tell_raw};

/// Compiles text descriptions of convolutional networks into vectorised CPU kernels.
#[derive(Parser)]
#[command(version, about, max_term_width = 100, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_long_help = arguments::ENVIRONMENT)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Whether messages are coloured; by default where a terminal shows them and neither NO_COLOR nor CLICOLOR_FORCE says
    /// otherwise
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN", env = "SVERTKA_COLOR")]
    color: terminal::When,
    /// Whether a line says how far long work is; by default on terminals, once it has taken a second
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN", env = "SVERTKA_PROGRESS")]
    progress: terminal::When,
}

#[derive(Subcommand)]
enum Verb {
    /// Turn an ONNX file into a text, a weight file and a card
    Import(import::Args),
    /// Report every error of model files, and what in them is odd or without effect
    Check(check::Args),
    /// Bring model files into the standard layout
    Fmt(fmt::Args),
    /// Shapes, parameters, multiply-accumulates, memory and receptive fields
    Summary(summary::Args),
    /// Draw the network
    Graph(graph::Args),
    /// Write a page to look into the network with: its graph, what a unit sees, what it computes
    Show(show::Args),
    /// Show which kernels were chosen and why, what was fused, and what bounds each step
    Explain(explain::Args),
    /// Run a model on pictures or arrays
    Run(run::Args),
    /// Compare the compiled model with the interpreter, layer by layer
    Verify(verify::Args),
    /// Write weights of eight bits, with which a network computes on whole numbers
    Quantize(quantize::Args),
    /// Measure how long models and their layers take
    Bench(bench::Args),
    /// Choose kernels by measuring them on this machine, for all other commands
    Tune(tune::Args),
    /// Measure what a core of this machine can do at most
    Peak(peak::Args),
    /// Write object files, libraries and headers that other programs link
    Compile(compile::Args),
    /// Write the model with its weights as ONNX
    Export(export::Args),
    /// Begin a model file, with a small network or one of the zoo
    New(new::Args),
    /// List the networks that come along, which go anywhere as `zoo:NAME`
    Zoo,
    /// The words of the language: layers, functions, items and combinators
    Layers(help::LayersArgs),
    /// Explain a command, a code of an error or warning, or a word of the language
    Help(help::HelpArgs),
    /// Serve an editor: diagnostics, shapes and more while one types
    #[cfg(feature = "lsp")]
    Lsp(lsp::Args),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page of svertka, or of one of its commands
    Man {
        /// For example `bench`
        command: Option<String>,
    },
}

/// Why a command ended without success. What there is to say is in the text.
#[derive(Debug)]
pub enum Failure {
    /// The user's input is wrong: exit code 1.
    Input(String),
    /// The same, as rendered diagnostics: printed as they are, with their colours.
    Diagnosed(String),
    /// The arguments do not go together: exit code 2.
    Usage(String),
}

impl Failure {
    /// A message about the user's input.
    pub fn input(message: impl std::fmt::Display) -> Failure {
        Failure::Input(format!("error: {message}"))
    }

    pub fn usage(message: impl std::fmt::Display) -> Failure {
        Failure::Usage(format!("error: {message}"))
    }
}

impl Failure {
    /// What is printed.
    fn text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Failure::Input(text) | Failure::Usage(text) => harmless(text),
            Failure::Diagnosed(text) => text.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Model(error) => Failure::Diagnosed(error.render(terminal::colour())),
            Error::Import { path, error } => {
                let text = error.render(terminal::colour());
                Failure::Diagnosed(not_imported(&path.display().to_string(), &text))
            }
            _ => Failure::input(format!("{error}{}", way_out(&error))),
        }
    }
}

/// What is refused of an ONNX file, which has no text to be shown, under its name.
fn not_imported(path: &str, diagnostics: &str) -> String {
    format!("{}: this network is not imported\n{diagnostics}", harmless(path))
}

/// Behind a limit of memory.
const RAISE_LIMIT: &str = " (raise it with --memory-limit)";

/// The option that helps.
fn way_out(error: &Error) -> &'static str {
    match error {
        Error::Session(SessionError::Memory { .. }) | Error::Run(RunError::Memory { .. }) => RAISE_LIMIT,
        Error::NoWeights { .. } => "; give a file with --weights, or ask for random ones with --random-weights",
        Error::Io(IoError::Dictionary { .. }) => "\nhelp: which one is said by --weights-key NAME",
        _ => "",
    }
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Failure {
        Error::from(error).into()
    }
}

impl From<AotError> for Failure {
    fn from(error: AotError) -> Failure {
        let way_out = if matches!(error, AotError::Memory { .. }) { RAISE_LIMIT } else { "" };
        Failure::input(format!("{error}{way_out}"))
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        Error::from(error).into()
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        Error::from(error).into()
    }
}

type Outcome = Result<(), Failure>;

/// Parses the arguments and runs the verb.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_defect));
    ExitCode::from(run_from(&std::env::args_os().collect::<Vec<_>>()))
}

/// The same with given arguments, the program's name first; gives the exit code. How panics are reported is the caller's
/// choice.
pub fn run_from(words: &[OsString]) -> u8 {
    let cli = match arguments::parse(words) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    terminal::choose(cli.color, cli.progress);
    match std::panic::catch_unwind(|| run(cli.verb, words)) {
        Ok(outcome) => end(outcome),
        Err(_) => 3,
    }
}

/// Says what there is to say of a failure, and gives its exit code.
fn end(outcome: Outcome) -> u8 {
    let Err(failure) = outcome else { return 0 };
    let text = failure.text();
    if !text.is_empty() {
        tell_raw(&format!("{text}\n"));
    }
    if matches!(failure, Failure::Usage(_)) { 2 } else { 1 }
}

/// `words` are those that the verb and its arguments are from.
fn run(verb: Verb, words: &[OsString]) -> Outcome {
    match verb {
        Verb::Import(args) => import::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Fmt(args) => fmt::run(&args),
        Verb::Summary(args) => summary::run(&args),
        Verb::Graph(args) => graph::run(&args),
        Verb::Show(args) => show::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Quantize(args) => quantize::run(&args),
        Verb::Bench(args) => bench::run(&args, words),
        Verb::Tune(args) => tune::run(&args),
        Verb::Peak(args) => peak::run(&args),
        Verb::Compile(args) => compile::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::New(args) => new::run(&args),
        Verb::Zoo => new::list(),
        Verb::Layers(args) => help::layers(&args),
        #[cfg(feature = "lsp")]
        Verb::Lsp(args) => lsp::run(&args),
        Verb::Help(args) => help::help(&args),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "svertka", &mut script);
            print_raw(&String::from_utf8_lossy(&script))
        }
        Verb::Man { command } => man(command.as_deref()),
    }
}

/// Prints a page in the format of `man`.
fn man(command: Option<&str>) -> Outcome {
    let all = <Cli as clap::CommandFactory>::command();
    let command = match command {
        None => all,
        Some(name) => {
            let found = all.find_subcommand(name).filter(|found| found.get_name() == name);
            let unknown = || Failure::usage(format!("there is no command `{name}`; `svertka help` lists them"));
            let page = format!("svertka-{name}");
            found.ok_or_else(unknown)?.clone().display_name(page).bin_name(format!("svertka {name}"))
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(Failure::input)?;
    print_raw(&String::from_utf8_lossy(&page))
}

/// A panic is never the user's fault.
fn report_defect(info: &std::panic::PanicHookInfo) {
    let place = info.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
    let text = info.payload_as_str().unwrap_or("no message");
    tell(&format!(
        "svertka {} met a defect of its own{place}: {text}\nplease report it with the command and the model",
        env!("CARGO_PKG_VERSION")
    ));
}
