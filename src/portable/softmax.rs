//! Softmax over the channels: see [`crate::kernels::softmax`].

use super::epilogue::max_nan;
use super::long::Totals;
use super::memory::Pointer;
use super::{LANES, tasks};
use crate::kernels::softmax::Code;
use crate::kernels::{Family, Operand};
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    for (sample, strip) in tasks(conf.tasks(), begin, end) {
        let input = Pointer::sample(operands, 1, sample).vector(strip);
        let out = Pointer::sample(operands, 0, sample).vector(strip);
        let count = LANES.min(conf.positions - strip * LANES);
        // SAFETY: input and output have `count` positions in this strip of each channel.
        unsafe { strip_of(conf, input, out, count) };
    }
}

/// All channels of `count` positions.
///
/// # Safety
/// They must be readable at `input` and writable at `out`.
unsafe fn strip_of(conf: &Code, input: Pointer, out: Pointer, count: usize) {
    let planes = (0..conf.channels).map(|channel| (channel * conf.positions * 4) as i64);
    // SAFETY: the caller's.
    unsafe {
        let start = f32x8::splat(f32::NEG_INFINITY);
        let largest = planes.clone().fold(start, |m, plane| max_nan(m, input.at(plane).load_first(count)));
        let (mut totals, mut sum) = (Totals::new(), [[f32x8::ZERO]]);
        for plane in planes.clone() {
            let x = (input.at(plane).load_first(count) - largest).exp();
            out.at(plane).store_first(x, count);
            sum[0][0] += x;
            totals.passed(1, &mut sum);
        }
        let sum = totals.finish(sum)[0][0];
        for plane in planes {
            let x = out.at(plane).load_first(count);
            out.at(plane).store_first(x / sum, count);
        }
    }
}
