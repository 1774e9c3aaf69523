//! Local response normalisation: see [`crate::kernels::lrn`].

use super::long::Totals;
use super::memory::Pointer;
use super::{LANES, tasks};
use crate::kernels::lrn::Code;
use crate::kernels::{Family, Operand};
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    // SAFETY: the operand is the conf's table, two words for each task.
    let table = unsafe { Pointer::constant(operands, 2).table::<[i64; 2]>(conf.tasks()) };
    for (sample, channel) in tasks(conf.tasks(), begin, end) {
        let [first, channels] = table[channel];
        let plane = channel as i64 * conf.plane();
        let input = Pointer::sample(operands, 1, sample);
        let (window, center) = (input.at(first), input.at(plane));
        let out = Pointer::sample(operands, 0, sample).at(plane);
        for position in (0..conf.positions).step_by(LANES) {
            let count = LANES.min(conf.positions - position);
            let at = position as i64 * 4;
            // SAFETY: the table's windows lie inside the input, and every channel has `count` positions from here on.
            unsafe {
                let power = power(conf, square_sum(window.at(at), channels, conf.plane(), count));
                out.at(at).store_first(center.at(at).load_first(count) / power, count);
            }
        }
    }
}

/// The sum of the squares of `channels` channels at `count` positions.
///
/// # Safety
/// They must be readable from `window` on, `plane` bytes from one channel to the next.
unsafe fn square_sum(window: Pointer, channels: i64, plane: i64, count: usize) -> f32x8 {
    let (mut totals, mut sum) = (Totals::new(), [[f32x8::ZERO]]);
    for channel in 0..channels {
        // SAFETY: the caller's.
        let x = unsafe { window.at(channel * plane).load_first(count) };
        sum[0][0] = x.mul_add(x, sum[0][0]);
        totals.passed(1, &mut sum);
    }
    totals.finish(sum)[0][0]
}

/// (k + factor * sum)^beta
fn power(conf: &Code, sum: f32x8) -> f32x8 {
    let base = sum.mul_add(f32x8::splat(conf.factor.get()), f32x8::splat(conf.k.get()));
    if conf.beta.get() == 0.75 {
        // As in generated code.
        let root = base.sqrt();
        root * root.sqrt()
    } else {
        (base.ln() * f32x8::splat(conf.beta.get())).exp()
    }
}
