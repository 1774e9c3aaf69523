//! The cores on which something is measured, and what else they do.

use super::tell;
use crate::bench::disturbance::{self, Busy};
use crate::bench::pin;
use std::time::Duration;

/// How long is looked for other load before anything is measured.
const LOOK: Duration = Duration::from_millis(100);
/// Other load that is warned of, in cores.
const LOAD: f64 = 0.2;

/// Those that this process may use, and how busy they were before.
pub struct Cores {
    busy: Vec<Busy>,
    pin: bool,
}

impl Cores {
    /// Looks for other load, and warns of it. Without `pin` threads are left where the system puts them.
    pub fn look(pin: bool) -> Cores {
        let cores = Cores { busy: disturbance::busy(&pin::allowed(), LOOK), pin };
        if let Some(load) = cores.load().filter(|&load| load > LOAD) {
            let of = cores.busy.len();
            tell(&format!("warning: other processes use {load:.1} of {of} cores; they will disturb what is measured"));
        }
        cores
    }

    /// How many cores other processes had before; `None` where unknown.
    pub fn load(&self) -> Option<f64> {
        (!self.busy.is_empty()).then(|| self.busy.iter().map(|busy| busy.part).sum())
    }

    /// All of them; none where unknown.
    pub fn all(&self) -> Vec<usize> {
        self.busy.iter().map(|busy| busy.core).collect()
    }

    /// One for each of so many threads; none where they are not to be pinned, or cannot be.
    pub fn choose(&self, threads: usize) -> Vec<usize> {
        if self.pin { pin::choose(threads, &self.busy).unwrap_or_default() } else { Vec::new() }
    }
}
