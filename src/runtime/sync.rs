//! What the thread pool is built from: the standard library's. `tests/threads` builds the same pool from models of these,
//! and lets them happen in every order.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub use std::sync::{Arc, Mutex};
pub use std::thread;

use std::cell::UnsafeCell;
use std::time::Duration;

/// How long a worker looks for work before it parks.
pub const SPIN: Duration = Duration::from_micros(100);
/// Looks before the core is offered to others: some microseconds.
pub const LOOKS: usize = 200;

/// A value that several threads get at; who does so sees to it that nobody writes meanwhile.
pub struct Shareable<T>(UnsafeCell<T>);

impl<T> Shareable<T> {
    pub fn new(value: T) -> Shareable<T> {
        Shareable(UnsafeCell::new(value))
    }

    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
