//! The line that tells how far long work is.

use super::terminal::{self, When};
use crate::diagnostic::harmless;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A line on standard error that says what goes on, where [`terminal::progress`] wants it.
pub struct Progress {
    when: When,
    shown: Option<Instant>,
}

impl Progress {
    /// Least time between two changes of the line, which are not free.
    const PAUSE: Duration = Duration::from_millis(200);
    /// Goes to the first column and clears the line (ECMA-48: CR, EL).
    const CLEAR: &str = "\r\x1b[K";

    pub fn new() -> Progress {
        Progress { when: terminal::progress(), shown: None }
    }

    /// Columns of the bar.
    const WIDTH: usize = 24;

    /// A bar of which `part`, 0 to 1, is full, and a text.
    pub fn show_bar(&mut self, part: f64, text: &str) {
        let full = (part * Self::WIDTH as f64) as usize;
        let bar: String = (0..Self::WIDTH).map(|column| if column < full { '#' } else { '.' }).collect();
        self.show(&format!("[{bar}] {:3.0} % {text}", 100.0 * part));
    }

    pub fn show(&mut self, text: &str) {
        if self.when != When::Never && self.shown.is_none_or(|shown| shown.elapsed() > Self::PAUSE) {
            terminal::tell_raw(&format!("{}{}", Self::CLEAR, harmless(text)));
            self.shown = Some(Instant::now());
        }
    }
}

/// What takes longer is said to be going on.
const LONG: Duration = Duration::from_secs(1);

/// Does work that cannot tell how far it is; where it takes long, the line says what it is, and for how long it has been going on.
pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let first = match terminal::progress() {
        When::Never => return work(),
        When::Auto => LONG,
        When::Always => {
            Progress::new().show(what);
            Progress::PAUSE
        }
    };
    let (under_way, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (start, mut line, mut wait) = (Instant::now(), Progress::new(), first);
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                line.show(&format!("{what} {} s", start.elapsed().as_secs()));
                wait = Progress::PAUSE;
            }
        });
        // Dropped with a panic too, and before the thread is waited for.
        let _under_way = under_way;
        work()
    })
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            terminal::tell_raw(Self::CLEAR);
        }
    }
}
