//! Weighted sums of positions: see [`crate::kernels::resample`].

use super::memory::Pointer;
use super::{epilogue, tasks};
use crate::kernels::resample::Code;
use crate::kernels::{Family, Operand};
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let table = Pointer::constant(operands, 2 + conf.epilogue.operands());
    for (sample, block) in tasks(conf.tasks(), begin, end) {
        let input = Pointer::sample(operands, 1, sample).vector(block * conf.input_positions);
        let out = Pointer::sample(operands, 0, sample).vector(block * conf.output_positions);
        let residual = epilogue::residual(&conf.epilogue, operands, 2, sample).vector(block * conf.output_positions);
        for position in 0..conf.output_positions {
            // SAFETY: the pointers are those of one task of the conf, the operand is its table.
            unsafe {
                let sum = position_sum(input, table, position);
                epilogue::finish(&conf.epilogue, &[sum], out.vector(position), residual.vector(position));
            }
        }
    }
}

/// # Safety
/// `table` is a conf's, which has this position, and `input` is a block of its input.
unsafe fn position_sum(input: Pointer, table: Pointer, position: usize) -> f32x8 {
    // SAFETY: the caller's; the table has a word for each position, which leads to a length that so many pairs follow.
    let taps = unsafe {
        let list = table.at(table.at(position as i64 * 8).table::<i64>(1)[0]);
        let count = list.table::<i64>(1)[0] as usize;
        list.at(8).table::<[i64; 2]>(count)
    };
    taps.iter().fold(f32x8::ZERO, |sum, &[offset, weight]| {
        // SAFETY: the table's offsets are those of positions of the input.
        let x = unsafe { input.at(offset).load() };
        x.mul_add(f32x8::splat(f32::from_bits(weight as u32)), sum)
    })
}
