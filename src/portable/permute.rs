//! Moving channels: see [`crate::kernels::permute`].

use super::memory::Pointer;
use super::tasks;
use crate::kernels::permute::Conf;
use crate::kernels::{Family, Operand};

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Conf, operands: &[Operand], begin: usize, end: usize) {
    let table = Pointer::constant(operands, conf.inputs.len() + 2);
    let (_, out_step) = conf.place(conf.output, 0);
    // SAFETY: the operand is the conf's table, four words for each task.
    let table = unsafe { table.table::<[i64; 4]>(conf.tasks()) };
    for (sample, channel) in tasks(conf.tasks(), begin, end) {
        let [operand, offset, step, out_offset] = table[channel];
        let operand = operand as usize / size_of::<Operand>();
        let input = Pointer::sample(operands, operand, sample).at(offset);
        let out = Pointer::sample(operands, 0, sample).at(out_offset);
        for position in 0..conf.positions as i64 {
            // SAFETY: the table's offsets and steps are those of channels of the operands.
            unsafe { out.at(position * out_step).store_element(input.at(position * step).element()) };
        }
    }
}
