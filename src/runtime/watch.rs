//! What each thread does of a step, and for how long.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one thread did of a step without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The caller's is 0.
    pub thread: usize,
    /// From its first task to the end of its last.
    pub time: Duration,
    /// How many tasks it did.
    pub tasks: usize,
    /// How many all threads together were given.
    pub tasks_of_all: usize,
}

/// The shares of a step, from all of its threads, and the time that it took.
#[derive(Default)]
pub(super) struct Watch {
    shares: Mutex<Vec<Share>>,
    time: Duration,
}

impl Watch {
    /// Does the work of `thread`, which are so many of all tasks.
    pub fn time(&self, thread: usize, tasks: usize, tasks_of_all: usize, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        let share = Share { thread, time: start.elapsed(), tasks, tasks_of_all };
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).push(share);
    }

    /// Adds to the time of the step.
    pub fn add(&mut self, time: Duration) {
        self.time += time;
    }

    /// The time of the step.
    pub fn total(&self) -> Duration {
        self.time
    }

    /// Those that have ended, in that order.
    pub fn shares(&mut self) -> &mut Vec<Share> {
        self.shares.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
