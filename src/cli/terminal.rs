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

/// When something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

impl When {
    const ALL: [When; 3] = [When::Auto, When::Always, When::Never];

    fn load(from: &AtomicU8) -> When {
        When::ALL[usize::from(from.load(Ordering::Relaxed))]
    }
}

/// What this process was asked for, as a number of [`When`].
static COLOURS: AtomicU8 = AtomicU8::new(When::Auto as u8);
static PROGRESS: AtomicU8 = AtomicU8::new(When::Auto as u8);

/// Decides whether messages of this process are coloured, and whether it says how far it is.
pub fn choose(colours: When, progress: When) {
    COLOURS.store(colours as u8, Ordering::Relaxed);
    PROGRESS.store(progress as u8, Ordering::Relaxed);
}

/// When it is said how far long work is: never where nobody was asked and standard error is no terminal.
pub fn progress() -> When {
    match When::load(&PROGRESS) {
        When::Auto if !moves_cursor() => When::Never,
        when => when,
    }
}

/// Whether messages on standard error are coloured: as was chosen, else <https://no-color.org>, <https://bixense.com/clicolors>. Variables
/// that are empty count as not set.
pub fn colour() -> bool {
    match When::load(&COLOURS) {
        When::Always => return true,
        When::Never => return false,
        When::Auto => {}
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    set("CLICOLOR_FORCE").is_some_and(|value| value != "0") || moves_cursor()
}
