//! Memory is asked for before it is taken: estimates against a limit in bytes.

use super::SessionError;
use crate::interp;
use crate::ir::Graph;
use crate::quant;
use crate::schedule;

/// Refuses tables of kernels above the limit, which planning makes.
///
/// # Errors
/// [`SessionError::Memory`].
pub fn check_planning(graph: &Graph, limit: usize) -> Result<(), SessionError> {
    check_limit("tables of the kernels", schedule::planning_bytes(graph), limit)
}

/// Refuses weights above the limit, which are packed or written as a whole.
///
/// # Errors
/// [`SessionError::Memory`].
pub fn check_packing(graph: &Graph, limit: usize) -> Result<(), SessionError> {
    check_limit("weights of the model", schedule::weight_bytes(graph), limit)
}

/// Refuses a single weight above the limit, of which one at a time is held.
///
/// # Errors
/// [`SessionError::Memory`].
pub fn check_largest_weight(graph: &Graph, limit: usize) -> Result<(), SessionError> {
    let largest = graph.params.iter().map(|param| param.bytes()).max().unwrap_or(0);
    check_limit("largest weight", largest, limit)
}

/// Refuses what the interpreter takes for a batch, where it is above the limit; who keeps all values for comparison keeps
/// them as `copies`.
///
/// # Errors
/// [`SessionError::Memory`].
pub fn check_interpreter(graph: &Graph, batch: usize, copies: u64, limit: usize) -> Result<(), SessionError> {
    check_limit("values of the interpreter", interp::bytes(graph, batch).saturating_mul(copies), limit)
}

/// Refuses what [`crate::quant::quantise`] takes for examples of this batch, where it is above the limit: values in f32 are
/// kept until those on whole numbers have been compared with them.
///
/// # Errors
/// [`SessionError::Memory`].
pub fn check_calibration(graph: &Graph, batch: usize, limit: usize) -> Result<(), SessionError> {
    let values = interp::bytes(graph, batch).saturating_mul(2);
    check_limit("values and their moments", values.saturating_add(quant::moments_bytes(graph)), limit)
}

fn check_limit(what: &'static str, bytes: u64, limit: usize) -> Result<(), SessionError> {
    match usize::try_from(bytes).unwrap_or(usize::MAX) {
        bytes if bytes > limit => Err(SessionError::Memory { what, bytes, limit }),
        _ => Ok(()),
    }
}
