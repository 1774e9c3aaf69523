//! What can be said of a network without running it: figures, receptive fields, a summary, rules of thumb, drawings.

#[cfg_attr(not(internals), doc(hidden))]
pub mod draw;
#[cfg_attr(not(internals), doc(hidden))]
pub mod figures;
#[cfg_attr(not(internals), doc(hidden))]
pub mod lint;
#[cfg_attr(not(internals), doc(hidden))]
pub mod receptive_field;
pub mod summary;

pub use figures::figures;
pub use lint::lint;
pub use receptive_field::receptive_field;
pub use summary::summary;

#[cfg(test)]
pub(crate) mod testing;
