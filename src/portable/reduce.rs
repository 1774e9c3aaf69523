//! One number of channels or positions: see [`crate::kernels::reduce`].

use super::epilogue::max_nan;
use super::long::Totals;
use super::memory::Pointer;
use super::{LANES, tasks};
use crate::kernels::reduce::Code;
use crate::kernels::{Family, Operand};
use crate::layers::{Reduced, Reduction};
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (input, out) = (Pointer::sample(operands, 1, sample), Pointer::sample(operands, 0, sample));
        // SAFETY: all channels of the task's positions, or all positions of its channels, are there in input and output.
        unsafe {
            match conf.over {
                Reduced::Positions => {
                    let value = lanes(conf, input.vector(task * conf.positions));
                    out.vector(task).store(finish(conf, value));
                }
                Reduced::Channels => {
                    let positions = task * conf.chunk()..conf.positions.min((task + 1) * conf.chunk());
                    for position in positions {
                        let value = channels(conf, input.vector(position));
                        out.vector(position).store(finish(conf, f32x8::splat(value)));
                    }
                }
            }
        }
    }
}

/// All channels of a position.
///
/// # Safety
/// They must be readable.
unsafe fn channels(conf: &Code, input: Pointer) -> f32 {
    let last = input.vector(conf.full_blocks() * conf.positions);
    // SAFETY: the caller's; the last block has so many channels.
    let (full, rest) = unsafe { (lanes(conf, input), last.load_first(conf.channels % LANES)) };
    let all = full.to_array().into_iter().chain(negated(conf, rest).to_array().into_iter().take(conf.channels % LANES));
    all.map(f32x8::splat).fold(f32x8::splat(conf.start()), |value, x| combine(conf, value, x)).to_array()[0]
}

/// What is taken together lane by lane.
///
/// # Safety
/// The terms must be readable from `input` on.
unsafe fn lanes(conf: &Code, input: Pointer) -> f32x8 {
    let (terms, step) = conf.terms();
    let (mut totals, mut value) = (Totals::new(), [[f32x8::splat(conf.start())]]);
    let is_sum = matches!(conf.how, Reduction::Mean | Reduction::Sum);
    for term in 0..terms {
        // SAFETY: the caller's.
        let x = unsafe { input.at(term as i64 * step).load() };
        value[0][0] = combine(conf, value[0][0], negated(conf, x));
        if is_sum {
            totals.passed(1, &mut value);
        }
    }
    if is_sum { totals.finish(value)[0][0] } else { value[0][0] }
}

fn combine(conf: &Code, value: f32x8, x: f32x8) -> f32x8 {
    match conf.how {
        Reduction::Mean | Reduction::Sum => value + x,
        Reduction::Max | Reduction::Min => max_nan(value, x),
    }
}

/// -x where the smallest is looked for, which is the largest then.
fn negated(conf: &Code, x: f32x8) -> f32x8 {
    if conf.how == Reduction::Min { -x } else { x }
}

fn finish(conf: &Code, value: f32x8) -> f32x8 {
    let value = if conf.how == Reduction::Mean { value / f32x8::splat(conf.count() as f32) } else { value };
    negated(conf, value)
}
