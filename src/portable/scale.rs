//! Weights times a gate: see [`crate::kernels::scale`].

use super::memory::Pointer;
use super::tasks;
use crate::kernels::scale::Code;
use crate::kernels::{Family, Operand};

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let row = conf.vectors();
    for (sample, group) in tasks(conf.tasks(), begin, end) {
        let gate = Pointer::sample(operands, 1, sample);
        let out = Pointer::sample(operands, 0, sample).at(group as i64 * conf.conv.weight_group());
        let weights = Pointer::constant(operands, 2).at(group as i64 * conf.conv.weight_group());
        for channel in 0..conf.channels() {
            // SAFETY: the gate has a number for each channel, and a vector group so many rows of weights.
            unsafe {
                let factor = gate.at(channel as i64 * 4).broadcast();
                for vector in channel * row..(channel + 1) * row {
                    out.vector(vector).store(weights.vector(vector).load() * factor);
                }
            }
        }
    }
}
