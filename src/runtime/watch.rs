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

/// The shares of a step, from all of its threads.
#[derive(Default)]
pub(super) struct Watch(Mutex<Vec<Share>>);

impl Watch {
    /// Does the work of `thread`, which are so many of all tasks.
    pub fn time(&self, thread: usize, tasks: usize, tasks_of_all: usize, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        let share = Share { thread, time: start.elapsed(), tasks, tasks_of_all };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(share);
    }

    /// Those that have ended, in that order.
    pub fn shares(&mut self) -> &mut Vec<Share> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
