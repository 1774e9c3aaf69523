//! Measuring: how fast a network runs, how fast each of its steps does, and how fast this machine could.

pub mod baseline;
pub mod clock;
pub mod disturbance;
pub mod html;
pub mod machine;
pub mod measure;
pub mod occupation;
pub mod peak;
pub mod pin;
pub mod profile;
pub mod report;
pub mod stats;
pub mod student;
pub mod suite;
pub mod table;
pub mod tune;
pub mod work;

/// Schema of the JSON that is written and read here; it grows with every change that an older reader would
/// misunderstand.
pub const SCHEMA_VERSION: u32 = 4;

/// Units of work a second; 0 where no time passed between two ticks of the clock.
fn rate(work: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { work / seconds } else { 0.0 }
}
