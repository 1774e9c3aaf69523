//! Values less their mean, divided by their deviation: see [`crate::kernels::normalise`].

use super::long::Totals;
use super::memory::Pointer;
use super::{LANES, VECTOR, tasks};
use crate::kernels::normalise::{Code, Over};
use crate::kernels::{Family, Operand};
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let (step, weight_step) = conf.task_steps();
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let input = Pointer::sample(operands, 1, sample).at(task as i64 * step);
        let out = Pointer::sample(operands, 0, sample).at(task as i64 * step);
        let weights = Pointer::constant(operands, 2).at(task as i64 * weight_step);
        // SAFETY: all vectors of the task are there in input, output and constants.
        unsafe {
            let mean = mean(conf, input, |x, _| x);
            let square = |x: f32x8, count| {
                let distance = x - first(mean, count);
                distance * distance
            };
            let factor = f32x8::ONE / (self::mean(conf, input, square) + f32x8::splat(conf.eps.get())).sqrt();
            let (terms, step) = conf.terms();
            for term in 0..terms as i64 {
                let weights = weights.at(term * conf.weight_step());
                let (weight, bias) = (weights.load(), weights.at(VECTOR).load());
                let x = (input.at(term * step).load() - mean) * factor;
                out.at(term * step).store(x.mul_add(weight, bias));
            }
        }
    }
}

/// The mean of `f` of the vectors and of the number of their lanes that count.
///
/// # Safety
/// They must be readable from `input` on.
unsafe fn mean(conf: &Code, input: Pointer, f: impl Fn(f32x8, usize) -> f32x8) -> f32x8 {
    let (terms, step) = conf.terms();
    let (mut totals, mut sum) = (Totals::new(), [[f32x8::ZERO]]);
    for term in 0..terms {
        let count = if term + 1 == terms && conf.tail() > 0 { conf.tail() } else { LANES };
        // SAFETY: the caller's.
        sum[0][0] += f(unsafe { input.at(term as i64 * step).load_first(count) }, count);
        totals.passed(1, &mut sum);
    }
    let sum = totals.finish(sum)[0][0];
    let sum = match conf.over {
        Over::Channels => f32x8::splat(sum.to_array().into_iter().sum()),
        Over::Positions => sum,
    };
    sum / f32x8::splat(conf.count() as f32)
}

/// The first lanes; the others are 0.
fn first(x: f32x8, count: usize) -> f32x8 {
    let mut lanes = x.to_array();
    lanes[count..].fill(0.0);
    f32x8::new(lanes)
}
