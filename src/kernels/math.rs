//! Elementary functions on vectors, in the instructions of the vector assembler.
//!
//! Errors were measured against f64 over all finite inputs of each binade; the tests hold them.

#![allow(clippy::excessive_precision, reason = "coefficients stand as they were published")]

use crate::codegen::vector::{Compare, V, VectorAsm};

/// value = e^value. Relative error below 2 ulp; the argument is clamped to -87.33..88.72, so there are
/// neither denormals nor an infinity.
///
/// 2^n * e^r with n = round(x / ln 2), r = x - n ln 2 in two steps (Cody and Waite 1980, chapter 6) and a
/// degree-6 Taylor-like polynomial of e^r on |r| <= ln 2 / 2 (coefficients of the Cephes library, expf.c).
pub fn exp(asm: &mut dyn VectorAsm, value: V) {
    let (n, t, p) = (asm.vec(), asm.vec(), asm.vec());
    // NaN passes: min and max give their second operand.
    asm.splat(t, 88.722_84);
    asm.min(value, t, value);
    asm.splat(t, -87.336_55);
    asm.max(value, t, value);
    asm.splat(t, std::f32::consts::LOG2_E);
    asm.mul(n, value, t);
    asm.round(n, n);
    asm.splat(t, -0.693_359_375);
    asm.fma(value, n, t);
    asm.splat(t, 2.121_944_4e-4);
    asm.fma(value, n, t);
    polynomial(
        asm,
        p,
        t,
        value,
        &[1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0],
    );
    // 2^n as a product of two powers: n may be 128, whose power alone is infinite.
    asm.splat(t, 0.5);
    asm.mul(t, n, t);
    asm.round(t, t);
    asm.sub(n, n, t);
    power_of_two(asm, t);
    asm.mul(p, p, t);
    power_of_two(asm, n);
    asm.mul(value, p, n);
    [n, t, p].into_iter().for_each(|v| asm.free(v));
}

/// p = ((c0 * x + c1) * x + c2) ...; uses `t`.
fn polynomial(asm: &mut dyn VectorAsm, p: V, t: V, x: V, coefficients: &[f32]) {
    let (mut p, mut t) = (p, t);
    let swaps = coefficients.len() - 1;
    if swaps % 2 == 1 {
        std::mem::swap(&mut p, &mut t);
    }
    asm.splat(p, coefficients[0]);
    for &c in &coefficients[1..] {
        asm.splat(t, c);
        asm.fma(t, p, x);
        std::mem::swap(&mut p, &mut t);
    }
}

/// v = 2^v for integral v in -126..=127.
fn power_of_two(asm: &mut dyn VectorAsm, v: V) {
    let bias = asm.vec();
    asm.float_to_int(v, v);
    asm.splat_bits(bias, 127);
    asm.add_bits(v, v, bias);
    asm.shl(v, v, 23);
    asm.free(bias);
}

/// What [`logistic`] makes of a value x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logistic {
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// x / (1 + e^-x)
    Silu,
}

/// Coefficients of 2^f for |f| <= 1/2, the highest first: a minimax polynomial (Remez' algorithm), relative error
/// 1.6e-7.
const EXP2: [f32; 6] = [1.327_647_2e-3, 9.675_541e-3, 5.550_713e-2, 2.402_212e-1, 6.931_469_4e-1, 1.0];

/// Values that [`logistic`] takes together in fourteen registers.
pub const LOGISTIC_GROUP: usize = 6;

/// Sets each of `values` to the sigmoid or silu of its argument, which `argument(asm, index, register)` loads; relative
/// error below 1e-6. Takes `values + 2` registers beside the values.
///
/// All values go through each step together: a step's constant is loaded once, and no value waits for the one before it
/// to come to its end, which is sixty cycles away. To have registers for that, arguments are loaded again where they
/// are needed again.
///
/// e^-x = 2^n * 2^f with n = round(-x log2 e); adding 1.5 * 2^23 rounds, and leaves n in the low bits of the sum.
pub fn logistic(
    asm: &mut dyn VectorAsm,
    kind: Logistic,
    values: &[V],
    argument: &mut dyn FnMut(&mut dyn VectorAsm, usize, V),
) {
    const ROUNDER: f32 = 12_582_912.0;
    let (c, d) = (asm.vec(), asm.vec());
    let parts: Vec<V> = values.iter().map(|_| asm.vec()).collect();
    let pairs = || values.iter().copied().zip(parts.iter().copied());
    // In [-88, 86], so that 2^n is a normal number; its reciprocal is flushed to zero on the far left. NaN passes: min
    // and max give their second operand.
    let mut clamped = |asm: &mut dyn VectorAsm, registers: &[V]| {
        asm.splat(c, 86.0);
        asm.splat(d, -88.0);
        for (index, &x) in registers.iter().enumerate() {
            argument(asm, index, x);
            asm.min(x, c, x);
            asm.max(x, d, x);
        }
        asm.splat(c, -std::f32::consts::LOG2_E);
        asm.splat(d, ROUNDER);
    };
    clamped(asm, values);
    for (x, f) in pairs() {
        asm.copy(f, d);
        asm.fma(f, x, c);
        asm.sub(f, d, f);
        asm.fma(f, x, c);
    }
    asm.splat(d, EXP2[0]);
    values.iter().for_each(|&p| asm.copy(p, d));
    for coefficient in &EXP2[1..] {
        asm.splat(c, *coefficient);
        pairs().for_each(|(p, f)| asm.horner(p, f, c));
    }
    clamped(asm, &parts);
    parts.iter().for_each(|&n| asm.horner(n, c, d));
    asm.splat(c, 1.0);
    for (p, n) in pairs() {
        asm.shl(n, n, 23);
        asm.add_bits(n, n, c);
        asm.horner(n, p, c);
        match kind {
            Logistic::Sigmoid => asm.div(p, c, n),
            Logistic::Silu => asm.div(n, c, n),
        }
    }
    if kind == Logistic::Silu {
        for (index, (x, factor)) in pairs().enumerate() {
            argument(asm, index, x);
            asm.mul(x, x, factor);
        }
    }
    parts.iter().copied().chain([c, d]).for_each(|v| asm.free(v));
}

/// value = tanh(value).
///
/// sign(x) * (1 - 2 / (e^2|x| + 1)) from |x| = 0.625 on, below it the odd polynomial of Cephes' tanhf.c, since the
/// first form cancels.
pub fn tanh(asm: &mut dyn VectorAsm, value: V) {
    let (magnitude, sign, large, t) = (asm.vec(), asm.vec(), asm.vec(), asm.vec());
    asm.splat_bits(t, 0x8000_0000);
    asm.and(sign, value, t);
    asm.xor(magnitude, value, sign);
    asm.add(large, magnitude, magnitude);
    asm.free(t);
    exp(asm, large);
    let one = asm.vec();
    asm.splat(one, 1.0);
    asm.add(large, large, one);
    asm.div(large, one, large);
    asm.add(large, large, large);
    asm.sub(large, one, large);
    asm.or(large, large, sign);
    asm.free(sign);
    // Small magnitudes: x + x * x^2 * P(x^2).
    let (square, p) = (asm.vec(), asm.vec());
    asm.mul(square, value, value);
    polynomial(
        asm,
        p,
        one,
        square,
        &[-5.704_988_7e-3, 2.063_908_9e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328_2e-1],
    );
    asm.mul(p, p, square);
    asm.mul(p, p, value);
    asm.add(p, p, value);
    asm.splat(square, 0.625);
    asm.select(Compare::Lt, value, magnitude, square, p, large);
    [magnitude, large, one, square, p].into_iter().for_each(|v| asm.free(v));
}

/// value = x * (1 + erf(x / sqrt 2)) / 2.
///
/// erf by formula 7.1.26 of Abramowitz and Stegun 1964 (absolute error 1.5e-7).
pub fn gelu(asm: &mut dyn VectorAsm, value: V) {
    let (z, sign, t) = (asm.vec(), asm.vec(), asm.vec());
    asm.splat_bits(t, 0x8000_0000);
    asm.and(sign, value, t);
    asm.xor(z, value, sign);
    asm.splat(t, std::f32::consts::FRAC_1_SQRT_2);
    asm.mul(z, z, t);
    // s = 1 / (1 + 0.3275911 z)
    let (s, p) = (asm.vec(), asm.vec());
    asm.splat(s, 0.327_591_1);
    asm.splat(t, 1.0);
    asm.fma(t, s, z);
    asm.splat(s, 1.0);
    asm.div(s, s, t);
    polynomial(asm, p, t, s, &[1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6]);
    asm.mul(p, p, s);
    asm.free(s);
    // erf(z) = 1 - p e^(-z^2)
    asm.mul(z, z, z);
    negate(asm, z, z);
    asm.free(t);
    exp(asm, z);
    let one = asm.vec();
    asm.mul(p, p, z);
    asm.splat(one, 1.0);
    asm.sub(p, one, p);
    asm.or(p, p, sign);
    asm.add(p, p, one);
    asm.splat(one, 0.5);
    asm.mul(value, value, one);
    asm.mul(value, value, p);
    [z, sign, p, one].into_iter().for_each(|v| asm.free(v));
}

/// value = ln(value) for finite positive normal values.
///
/// x = 2^e * m with m in [sqrt(1/2), sqrt(2)), ln(1 + f) by the polynomial of Cephes' logf.c.
pub fn ln(asm: &mut dyn VectorAsm, value: V) {
    let (e, t, p) = (asm.vec(), asm.vec(), asm.vec());
    // Adding the distance of sqrt(1/2) from 1 moves the exponent's step to sqrt(1/2).
    asm.splat_bits(t, 0x3f80_0000 - 0x3f35_04f3);
    asm.add_bits(value, value, t);
    asm.shr(e, value, 23);
    asm.splat_bits(t, (-127i32) as u32);
    asm.add_bits(e, e, t);
    asm.int_to_float(e, e);
    asm.splat_bits(t, 0x007f_ffff);
    asm.and(value, value, t);
    asm.splat_bits(t, 0x3f35_04f3);
    asm.add_bits(value, value, t);
    asm.splat(t, 1.0);
    asm.sub(value, value, t);
    polynomial(
        asm,
        p,
        t,
        value,
        &[
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_7e-1,
            2.000_071_4e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    // ln m = f - f^2 / 2 + f^3 P(f)
    let square = asm.vec();
    asm.mul(square, value, value);
    asm.mul(p, p, square);
    asm.mul(p, p, value);
    asm.splat(t, -0.5);
    asm.fma(p, square, t);
    asm.add(value, value, p);
    asm.splat(t, std::f32::consts::LN_2);
    asm.fma(value, e, t);
    [e, t, p, square].into_iter().for_each(|v| asm.free(v));
}

fn negate(asm: &mut dyn VectorAsm, dst: V, x: V) {
    let sign = asm.vec();
    asm.splat_bits(sign, 0x8000_0000);
    asm.xor(dst, x, sign);
    asm.free(sign);
}
