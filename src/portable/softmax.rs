//! Softmax and its logarithm: see [`crate::kernels::softmax`].

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
    let [outer_step, strip_step, step] = conf.steps();
    let strips = conf.strips();
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let at = (task / strips) as i64 * outer_step + (task % strips) as i64 * strip_step;
        let [out, input] = [0, 1].map(|operand| Pointer::sample(operands, operand, sample).at(at));
        // SAFETY: the runs of the task are there in input and output.
        unsafe {
            if conf.is_along() {
                let count = |first| LANES.min(conf.runs.count - first);
                let places = (0..conf.runs.count).step_by(LANES).map(|first| (first as i64 * 4, count(first)));
                runs(conf, input, out, places);
                continue;
            }
            let width = strip_step as usize / 4;
            let first = task % strips * width;
            for vector in (0..width.min(conf.runs.inner - first)).step_by(LANES) {
                let (at, count) = (vector as i64 * 4, LANES.min(conf.runs.inner - first - vector));
                let places = (0..conf.runs.count as i64).map(|element| (element * step, count));
                runs(conf, input.at(at), out.at(at), places);
            }
        }
    }
}

/// One run, or one in each lane, whose elements are at these places: bytes and lanes.
///
/// # Safety
/// They must be readable from `input` and writable from `out` on.
unsafe fn runs(conf: &Code, input: Pointer, out: Pointer, places: impl Iterator<Item = (i64, usize)> + Clone) {
    // SAFETY: the caller's.
    unsafe {
        let mut largest = f32x8::splat(f32::NEG_INFINITY);
        for (at, count) in places.clone() {
            largest = max_nan(largest, filled(input.at(at).load_first(count), count, f32::NEG_INFINITY));
        }
        if conf.is_along() {
            largest = across(largest, |a, b| max_nan(f32x8::splat(a), f32x8::splat(b)).to_array()[0]);
        }
        let (mut totals, mut sum) = (Totals::new(), [[f32x8::ZERO]]);
        for (at, count) in places.clone() {
            let power = (input.at(at).load_first(count) - largest).exp();
            if !conf.log {
                out.at(at).store_first(power, count);
            }
            sum[0][0] += filled(power, count, 0.0);
            totals.passed(1, &mut sum);
        }
        let sum = totals.finish(sum)[0][0];
        let sum = if conf.is_along() { across(sum, |a, b| a + b) } else { sum };
        let (log, factor) = (sum.ln(), f32x8::ONE / sum);
        for (at, count) in places {
            let y = match conf.log {
                true => input.at(at).load_first(count) - largest - log,
                false => out.at(at).load_first(count) * factor,
            };
            out.at(at).store_first(y, count);
        }
    }
}

/// The first lanes, with this value in the others.
fn filled(x: f32x8, count: usize, value: f32) -> f32x8 {
    let mut lanes = x.to_array();
    lanes[count..].fill(value);
    f32x8::new(lanes)
}

/// What all lanes make, in each of them.
fn across(x: f32x8, combine: fn(f32, f32) -> f32) -> f32x8 {
    let [first, others @ ..] = x.to_array();
    f32x8::splat(others.into_iter().fold(first, combine))
}
