//! Running a plan: memory, threads, and calls of kernels.

mod binding;
mod buffer;
mod constants;
pub mod library;
mod session;
mod sizes;
mod sync;
mod threads;

pub use session::{Engine, Options, RunError, Session, SessionError, StepDone, check_planning};
pub use sizes::{Sessions, SizedError, check_weights};
