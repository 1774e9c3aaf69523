//! The epilogue of all kernels, and the activations, on vectors.

use super::LANES;
use super::memory::Pointer;
use crate::kernels::Operand;
use crate::kernels::epilogue::{Epilogue, Item};
use crate::kernels::math::{RATIO, RATIO_SCALE};
use crate::layers::{Activation, SELU_ALPHA, SELU_SCALE};
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
        let at = p * epilogue.step(LANES);
        // SAFETY: the caller's.
        unsafe { out.at(at as i64).store(apply(epilogue, value, residual.at(at as i64), LANES)) };
    }
}

/// f(x) in each lane; NaN gives NaN.
pub fn activate(activation: Activation, x: f32x8) -> f32x8 {
    let (zero, one) = (f32x8::ZERO, f32x8::ONE);
    match activation {
        Activation::Relu => at_least(x, 0.0),
        Activation::Relu6 => at_most(at_least(x, 0.0), 6.0),
        Activation::LeakyRelu(slope) => x.simd_ge(zero).select(x, x * f32x8::splat(slope)),
        Activation::ThresholdedRelu(alpha) => x.simd_le(f32x8::splat(alpha)).select(zero, x),
        Activation::Elu(alpha) => elu(x, 1.0, alpha),
        Activation::Celu(alpha) => elu(x, 1.0 / alpha, alpha),
        Activation::Selu => elu(x, 1.0, SELU_ALPHA as f32) * f32x8::splat(SELU_SCALE as f32),
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => {
            let square = x * x;
            x * sigmoid(square.mul_add(f32x8::splat(0.071_354_814), f32x8::splat(1.595_769_2)) * x)
        }
        Activation::Silu => x * sigmoid(x),
        Activation::HardSwish => x * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Activation::Mish => {
            let e = at_most(x, 20.0).exp();
            let w = e * (e + f32x8::splat(2.0));
            x * (w / (w + f32x8::splat(2.0)))
        }
        Activation::Softplus => at_least(x, 0.0) + (-x.abs()).exp().ln_1p(),
        Activation::Softsign => x / (one + x.abs()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSigmoid { slope, offset } => hard_sigmoid(x, slope, offset),
        Activation::Clip { low, high } => at_most(at_least(x, low), high),
        Activation::Affine { scale, shift } => x * f32x8::splat(scale) + f32x8::splat(shift),
        Activation::Exp => x.exp(),
        Activation::Sqrt => x.sqrt(),
        Activation::Abs => x.abs(),
        Activation::Reciprocal => one / x,
    }
}

/// x above 0, alpha * (e^(rate x) - 1) below.
fn elu(x: f32x8, rate: f32, alpha: f32) -> f32x8 {
    let below = (at_most(x, 0.0) * f32x8::splat(rate)).exp_m1() * f32x8::splat(alpha);
    x.simd_gt(f32x8::ZERO).select(x, below)
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

/// As in generated code, and as exact where it becomes 0.
fn hard_sigmoid(x: f32x8, slope: f64, offset: f64) -> f32x8 {
    at_most(at_least(x + f32x8::splat((offset / slope) as f32), 0.0) * f32x8::splat(slope as f32), 1.0)
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

    const ALL: [Activation; 23] = [
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu(0.1),
        Activation::ThresholdedRelu(0.7),
        Activation::Elu(0.3),
        Activation::Celu(0.3),
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::HardSwish,
        Activation::Mish,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::HARD_SIGMOID,
        Activation::Clip { low: -1.0, high: 0.5 },
        Activation::Affine { scale: -2.5, shift: 0.0 },
        Activation::Exp,
        Activation::Sqrt,
        Activation::Abs,
        Activation::Reciprocal,
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
                // As `kernels::math::gelu_tanh` says.
                let relative = if activation == Activation::GeluTanh { 2e-5 } else { 1e-6 };
                let allowed = (relative * expected.abs()).max(11.0 * f32::MIN_POSITIVE);
                let same = found == expected || (found.is_nan() && expected.is_nan());
                let close = same || (found - expected).abs() <= allowed;
                assert!(close, "{activation} of {x}: {found}, not {expected}");
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
