//! The epilogue of all kernels, and the activations, on vectors.

use super::LANES;
use super::memory::Pointer;
use crate::kernels::Operand;
use crate::kernels::epilogue::{Epilogue, Item};
use crate::kernels::math::{RATIO, RATIO_SCALE};
use crate::layers::Activation;
use wide::f32x8;

/// The given sample of the residual operand, which would be operand `index`; where there is none, of the output, and
/// nothing is read there.
pub fn residual(epilogue: &Epilogue, operands: &[Operand], index: usize, sample: usize) -> Pointer {
    Pointer::sample(operands, if epilogue.operands() == 0 { 0 } else { index }, sample)
}

/// The epilogue of a vector; `residual` is the memory of the residual operand, of which `count` lanes are read.
///
/// # Safety
/// If the epilogue has an operand, `count` f32, at most eight, must be readable at `residual`.
#[inline]
pub unsafe fn apply(epilogue: &Epilogue, value: f32x8, residual: Pointer, count: usize) -> f32x8 {
    epilogue.items().iter().fold(value, |x, item| match item {
        // SAFETY: the caller's; an addition is the operand.
        Item::Add => x + unsafe { residual.load_first(count) },
        Item::Activation(activation) => activate(*activation, x),
    })
}

/// Applies the epilogue to the vectors of a row, and stores them.
///
/// # Safety
/// The vectors must be writable at `out` and, if the epilogue has an operand, readable at `residual`.
#[inline]
pub unsafe fn finish(epilogue: &Epilogue, row: &[f32x8], out: Pointer, residual: Pointer) {
    for (p, &value) in row.iter().enumerate() {
        let at = p * epilogue.step();
        // SAFETY: the caller's.
        unsafe { out.vector(at).store(apply(epilogue, value, residual.vector(at), LANES)) };
    }
}

/// f(x) in each lane; NaN gives NaN.
pub fn activate(activation: Activation, x: f32x8) -> f32x8 {
    let zero = f32x8::ZERO;
    match activation {
        Activation::Relu => at_least(x, 0.0),
        Activation::Relu6 => at_most(at_least(x, 0.0), 6.0),
        Activation::LeakyRelu(slope) => x.simd_ge(zero).select(x, x * f32x8::splat(slope)),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu => x * sigmoid(x),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => x * hard_sigmoid(x),
        Activation::Gelu => gelu(x),
    }
}

/// The larger; NaN where x is. (What `f32x8::max` makes of NaN is not this, and `fast_max` leaves it open.)
fn at_least(x: f32x8, low: f32) -> f32x8 {
    let low = f32x8::splat(low);
    x.simd_lt(low).select(low, x)
}

/// The smaller; NaN where x is.
fn at_most(x: f32x8, high: f32) -> f32x8 {
    let high = f32x8::splat(high);
    x.simd_gt(high).select(high, x)
}

/// The larger; NaN where either is.
#[inline(always)]
pub fn max_nan(a: f32x8, b: f32x8) -> f32x8 {
    (a.simd_lt(b) | b.is_nan()).select(b, a)
}

fn sigmoid(x: f32x8) -> f32x8 {
    f32x8::ONE / (f32x8::ONE + (-x).exp())
}

fn hard_sigmoid(x: f32x8) -> f32x8 {
    at_most(at_least(x + f32x8::splat(3.0), 0.0), 6.0) / f32x8::splat(6.0)
}

/// As [`crate::kernels::math::gelu`], which says why it is exact to the left.
fn gelu(x: f32x8) -> f32x8 {
    let z = at_most(x.abs(), 16.0);
    let high = z & f32x8::splat(f32::from_bits(0xffff_f000));
    let half = f32x8::splat(-0.5);
    let y = (z - high) * (z + high) * half;
    // y is below 1/16.
    let rest = polynomial(y, &[1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]);
    let t = f32x8::ONE / (z * f32x8::splat(RATIO_SCALE) + f32x8::ONE);
    let ratio = polynomial(t, &RATIO) * t * at_most(x, 16.0).abs();
    at_least(x, 0.0) - ratio * rest * (high * high * half).exp()
}

/// (c0 * x + c1) * x + c2 ...
fn polynomial(x: f32x8, coefficients: &[f32]) -> f32x8 {
    coefficients.iter().fold(f32x8::ZERO, |p, &c| p.mul_add(x, f32x8::splat(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 9] = [
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu(0.1),
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::Gelu,
    ];

    /// Every 10007th f32 between -80 and 80.
    fn values() -> impl Iterator<Item = f32> {
        (0..=80f32.to_bits()).step_by(10_007).flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
    }

    #[test]
    fn activations_are_accurate() {
        for activation in ALL {
            for x in values() {
                let (found, expected) = (activate(activation, f32x8::splat(x)).to_array()[3], activation.apply(x));
                let allowed = (1e-6 * expected.abs()).max(f32::MIN_POSITIVE);
                assert!((found - expected).abs() <= allowed, "{activation} of {x}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn activations_pass_nan_and_infinity_on() {
        for activation in ALL {
            for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0] {
                let (found, expected) = (activate(activation, f32x8::splat(x)).to_array()[5], activation.apply(x));
                assert!(found == expected || (found.is_nan() && expected.is_nan()), "{activation} of {x}: {found}");
            }
        }
    }

    #[test]
    fn the_maximum_keeps_nan() {
        let a = f32x8::new([1.0, f32::NAN, 2.0, f32::NAN, f32::NEG_INFINITY, 0.0, -3.0, 4.0]);
        let b = f32x8::new([2.0, 1.0, f32::NAN, f32::NAN, f32::NEG_INFINITY, 1.0, -4.0, 4.0]);
        let found = max_nan(a, b).to_array();
        assert!(found[1..4].iter().all(|x| x.is_nan()));
        assert_eq!([found[0], found[4], found[5], found[6], found[7]], [2.0, f32::NEG_INFINITY, 1.0, -3.0, 4.0]);
    }
}
