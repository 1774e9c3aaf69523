//! Moving channels: see [`crate::kernels::permute`].

use super::memory::Pointer;
use super::tasks;
use crate::kernels::permute::{CHUNK, Code, ENTRY_WORDS, Kind};
use crate::kernels::{Family, Operand};

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let table = Pointer::constant(operands, conf.shape.inputs.len() + 1);
    let (kinds, groups) = (&conf.kinds, conf.tasks() / conf.shape.chunks());
    // SAFETY: the operand is the conf's table, which begins with a word for each group and one more.
    let starts = unsafe { table.table::<i64>(groups + 1) };
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (group, chunk) = (task / conf.shape.chunks(), task % conf.shape.chunks());
        let positions = chunk * CHUNK..conf.shape.positions.min((chunk + 1) * CHUNK);
        let count = (starts[group + 1] - starts[group]) as usize / (ENTRY_WORDS * 8);
        // SAFETY: the group's entries are there in the table.
        let entries = unsafe { table.at(starts[group]).table::<[i64; ENTRY_WORDS]>(count) };
        for &[kind, operand, input, _, out] in entries {
            let operand = operand as usize / size_of::<Operand>();
            let input = Pointer::sample(operands, operand, sample).at(input);
            let out = Pointer::sample(operands, 0, sample).at(out);
            let kind = kinds[kind as usize];
            let (step, out_step) = conf.shape.steps(kind);
            for position in positions.clone() {
                let (from, to) = (input.at(position as i64 * step), out.at(position as i64 * out_step));
                // SAFETY: the table's offsets and the kind's steps are those of channels of the operands.
                unsafe {
                    match kind {
                        Kind::Channel(_) => to.store_element(from.element()),
                        Kind::Zero => to.store_element(0.0),
                        Kind::Vectors => to.store(from.load()),
                    }
                }
            }
        }
    }
}
