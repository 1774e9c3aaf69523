//! Moving channels: see [`crate::kernels::permute`].

use super::memory::Pointer;
use super::tasks;
use crate::kernels::permute::{Code, ENTRY_WORDS, Kind};
use crate::kernels::{Family, Operand};

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let table = Pointer::constant(operands, conf.shape.inputs.len() + 1);
    let (kinds, groups, walk) = (&conf.kinds, conf.groups, conf.shape.walk);
    // SAFETY: the operand is the conf's table, which begins with a word for each group and one more.
    let starts = unsafe { table.table::<i64>(groups + 1) };
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (group, row) = (task / conf.shape.rows(), task % conf.shape.rows());
        let columns = walk.row.min(walk.count - row * walk.row);
        let count = (starts[group + 1] - starts[group]) as usize / (ENTRY_WORDS * 8);
        // SAFETY: the group's entries are there in the table.
        let entries = unsafe { table.at(starts[group]).table::<[i64; ENTRY_WORDS]>(count) };
        for &[kind, operand, input, in_row, out] in entries {
            let operand = operand as usize / size_of::<Operand>();
            let input = Pointer::sample(operands, operand, sample).at(input + row as i64 * in_row);
            let out = Pointer::sample(operands, 0, sample).at(out + row as i64 * conf.shape.out_row());
            let kind = kinds[kind as usize];
            let (step, out_step) = conf.shape.steps(kind);
            for column in 0..columns as i64 {
                let (from, to) = (input.at(column * step), out.at(column * out_step));
                // SAFETY: the table's offsets and the kind's steps are those of channels of the operands.
                unsafe {
                    match kind {
                        Kind::Channel(_) => to.store_element(from.element()),
                        Kind::Zero => to.store_element(0.0),
                        Kind::Vectors => to.store(from.load()),
                        Kind::Run(_, count) => to.store_first(from.load_first(count), count),
                    }
                }
            }
        }
    }
}
