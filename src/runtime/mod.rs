//! Running a plan: memory, threads, and calls of kernels.

mod at_once;
mod binding;
mod buffer;
mod checks;
mod code;
mod constants;
#[cfg(feature = "cli")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod library;
mod memory;
mod network;
mod observed;
mod packed;
mod session;
mod sizes;
mod stages;
mod sync;
mod threads;
mod watch;

pub(crate) use checks::inputs as check_inputs;
pub use memory::{check_calibration, check_interpreter, check_largest_weight, check_packing, check_planning};
pub use network::Network;
pub use observed::StepDone;
pub use session::{BuildTimes, Engine, Forced, Options, RunError, Session, SessionError};
pub use sizes::{Build, Sessions, SizedError, check_weights};
pub use watch::Share;
