//! Giving up what nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Tells a build to end, from another thread or after a time. By default it never does. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    called: Arc<AtomicBool>,
    at: Option<Instant>,
}

impl Stop {
    /// The same, and also after a time from now.
    pub fn within(&self, time: Duration) -> Stop {
        Stop { called: self.called.clone(), at: Instant::now().checked_add(time) }
    }

    pub fn call(&self) {
        self.called.store(true, Ordering::Relaxed);
    }

    /// By [`call`](Stop::call), whether or not its time is up.
    pub fn is_called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    pub fn is_due(&self) -> bool {
        self.is_called() || self.at.is_some_and(|at| at <= Instant::now())
    }
}
