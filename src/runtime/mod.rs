//! Running a plan: memory, threads, and calls of kernels.

mod binding;
mod buffer;
mod constants;
#[cfg(feature = "cli")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod library;
mod memory;
mod network;
mod session;
mod sizes;
mod sync;
mod threads;

pub use memory::{check_interpreter, check_largest_weight, check_packing, check_planning};
pub use network::Network;
pub(crate) use session::check_inputs;
pub use session::{BuildTimes, Engine, Forced, Options, RunError, Session, SessionError, StepDone};
pub use sizes::{Build, Sessions, SizedError, check_weights};
