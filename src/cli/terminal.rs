//! Standard output and standard error: neither a full disk nor a reader that went away ends the program with a panic, and
//! no string of a stranger's file reaches a terminal with escape sequences in it.

use super::{Failure, Outcome};
use crate::diagnostic::harmless;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

/// Prints a text, made [`harmless`], and a newline to standard output. A reader that went away (`| head`) is no failure: what else there is
/// to do goes on.
///
/// # Errors
/// Where it cannot be written, for example to a full disk.
pub fn print(text: &str) -> Outcome {
    print_raw(&harmless(text))
}

/// The same of what is somebody's file, or a program's own text, as it is.
pub fn print_raw(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    let newline: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    written(out.write_all(text.as_bytes()).and_then(|()| out.write_all(newline)).and_then(|()| out.flush()))
}

/// What became of writing to standard output.
pub fn written(result: io::Result<()>) -> Outcome {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::input(format!("standard output: cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a note, a warning or an error, made [`harmless`], and a newline to standard error. Where it cannot be written
/// there is nobody left to tell; the exit code says what it would have said.
pub fn tell(text: &str) {
    tell_raw(&format!("{}\n", harmless(text)));
}

/// The same as it is, without a newline: diagnostics in colour, and what moves the cursor.
pub fn tell_raw(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Whether standard error is a terminal that knows escape sequences.
pub fn moves_cursor() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// When messages are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Colours {
    Auto,
    Always,
    Never,
}

/// What this process was asked for, as a number of [`Colours`].
static COLOURS: AtomicU8 = AtomicU8::new(Colours::Auto as u8);

/// Decides whether messages of this process are coloured.
pub fn choose_colours(colours: Colours) {
    COLOURS.store(colours as u8, Ordering::Relaxed);
}

/// Whether messages on standard error are coloured: as was chosen, else <https://no-color.org>, <https://bixense.com/clicolors>. Variables
/// that are empty count as not set.
pub fn colour() -> bool {
    match COLOURS.load(Ordering::Relaxed) {
        always if always == Colours::Always as u8 => return true,
        never if never == Colours::Never as u8 => return false,
        _ => {}
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    set("CLICOLOR_FORCE").is_some_and(|value| value != "0") || moves_cursor()
}
