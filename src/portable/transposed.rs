//! Transposed convolution: see [`crate::kernels::transposed`].

use super::memory::Pointer;
use super::{channelwise, conv, tasks};
use crate::kernels::transposed::{Code, PhaseCode};
use crate::kernels::{Family, Operand};

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let (first, words) = (conf.constants_operand(), conf.entry_words());
    // SAFETY: the operand is the conf's table, of so many words for each phase.
    let table = unsafe { Pointer::constant(operands, first).table::<i64>(conf.phases * words) };
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (phase, part) = conf.task(task);
        let [kernel, _, place, offsets @ ..] = &table[phase * words..][..words] else { unreachable!("of more words") };
        let kernel = &conf.kernels[*kernel as usize];
        if part >= kernel.tasks() {
            continue;
        }
        // Output and residual begin at the phase's first position, constants at the phase's own.
        let shifts = [*place, 0].into_iter().chain((0..conf.residuals).map(|_| *place)).chain(offsets.iter().copied());
        let shared = operands[..first].iter().chain(&operands[first + 1..]);
        let own = shared.zip(shifts).map(|(operand, shift)| Operand {
            data: operand.data.wrapping_offset(shift as isize),
            stride: operand.stride,
        });
        let (own, index) = (own.collect::<Vec<Operand>>(), sample * kernel.tasks() + part);
        // SAFETY: the operands are those of the phase's kernel, and the task is one of its.
        unsafe {
            match kernel {
                PhaseCode::Direct(code) => conv::run(code, &own, index, index + 1),
                PhaseCode::Channelwise(code) => channelwise::run(code, &own, index, index + 1),
            }
        }
    }
}
