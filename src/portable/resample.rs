//! Weighted sums of positions: see [`crate::kernels::resample`].

use super::long::Totals;
use super::memory::Pointer;
use super::{epilogue, tasks};
use crate::kernels::resample::Code;
use crate::kernels::{Family, Operand};
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let table = Pointer::constant(operands, 2 + conf.epilogue.operands());
    // SAFETY: the operand is the conf's table, which begins with the places of the rows' lists and of the columns'.
    let (starts, columns) = unsafe {
        let starts = table.table::<i64>(conf.rows + 1);
        (starts, columns_of(table.at(starts[conf.rows]), conf.columns))
    };
    for (sample, block) in tasks(conf.tasks(), begin, end) {
        let input = Pointer::sample(operands, 1, sample).vector(block * conf.input_positions);
        let out = Pointer::sample(operands, 0, sample).vector(block * conf.positions());
        let residual = epilogue::residual(&conf.epilogue, operands, 2, sample).vector(block * conf.positions());
        for position in 0..conf.positions() {
            let (row, column) = (position / conf.columns, position % conf.columns);
            // SAFETY: the pointers are those of one task of the conf, the lists are of its table.
            unsafe {
                let rows = list(table.at(starts[row]));
                let sum = match (conf.fill, rows, columns[column]) {
                    (None, rows, columns) if conf.largest => {
                        largest(rows, |at| largest(columns, |x| input.at(at + x).load()))
                    }
                    (None, rows, columns) => weighted(rows, |at| weighted(columns, |x| input.at(at + x).load())),
                    (Some(_), [[row, _], ..], [[column, _], ..]) => input.at(row + column).load(),
                    (Some(fill), ..) => f32x8::splat(fill.get()),
                };
                epilogue::finish(&conf.epilogue, &[sum], out.vector(position), residual.vector(position));
            }
        }
    }
}

/// Byte offsets and weights.
type List<'a> = &'a [[i64; 2]];

/// # Safety
/// A list of a conf's table must begin here, which nobody writes during `'a`.
unsafe fn list<'a>(at: Pointer) -> List<'a> {
    // SAFETY: the caller's; a list begins with its length.
    unsafe { at.at(8).table(at.table::<i64>(1)[0] as usize) }
}

/// # Safety
/// As [`list`], for `count` lists one behind the other.
unsafe fn columns_of<'a>(mut at: Pointer, count: usize) -> Vec<List<'a>> {
    let next = |_| {
        // SAFETY: the caller's.
        let list = unsafe { list(at) };
        at = at.at(8 + size_of_val(list) as i64);
        list
    };
    (0..count).map(next).collect()
}

/// The largest of what lies at each offset.
fn largest(list: List, value: impl Fn(i64) -> f32x8) -> f32x8 {
    list.iter().fold(f32x8::splat(f32::NEG_INFINITY), |most, &[offset, _]| epilogue::max_nan(most, value(offset)))
}

/// The sum of what lies at each offset, times its weight.
fn weighted(list: List, value: impl Fn(i64) -> f32x8) -> f32x8 {
    let (mut totals, mut sum) = (Totals::new(), [[f32x8::ZERO]]);
    for &[offset, weight] in list {
        sum[0][0] = value(offset).mul_add(f32x8::splat(f32::from_bits(weight as u32)), sum[0][0]);
        totals.passed(1, &mut sum);
    }
    totals.finish(sum)[0][0]
}
