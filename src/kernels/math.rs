//! Elementary functions on vectors, in the instructions of the vector assembler.
//!
//! Errors were measured against f64 over all finite inputs of each binade; the tests hold them.

#![allow(clippy::excessive_precision, reason = "coefficients stand as they were published")]

use crate::codegen::vector::{Compare, V, VectorAsm};

/// ln 2 in two parts: the products of the first with integers below 2^15 are exact.
const LN2_HIGH: f32 = 0.693_359_375;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Values that [`exp`] and the functions made of it take together in fourteen registers.
pub const EXP_GROUP: usize = 3;

/// P of e^r = 1 + r + r^2 P(r) for |r| <= ln 2 / 2 (coefficients of the Cephes library, expf.c).
const EXP: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// A value, and two registers to compute with.
type Step = [V; 3];

/// One register a value, and those to give back.
fn with_registers<const N: usize>(
    asm: &mut dyn VectorAsm,
    values: &[V],
    f: impl FnOnce(&mut dyn VectorAsm, V, &[[V; N]]),
) {
    let k = asm.vec();
    let steps: Vec<[V; N]> =
        values.iter().map(|&value| std::array::from_fn(|i| if i == 0 { value } else { asm.vec() })).collect();
    f(asm, k, &steps);
    steps.iter().flat_map(|registers| &registers[1..]).chain([&k]).for_each(|&v| asm.free(v));
}

/// Sets each of `values` to e^value. Takes `2 * values + 1` registers beside the values. Relative error below 2 ulp;
/// infinite above 88.73, and what is no normal number is flushed to zero.
pub fn exp(asm: &mut dyn VectorAsm, values: &[V]) {
    with_registers(asm, values, |asm, k, steps: &[Step]| exp_steps(asm, k, steps));
}

/// [`exp`] of the first of each three registers; `k` is for constants.
///
/// 2^n * e^r with n = round(x / ln 2), r = x - n ln 2 in two steps (Cody and Waite 1980, chapter 6).
fn exp_steps(asm: &mut dyn VectorAsm, k: V, steps: &[Step]) {
    // NaN passes.
    asm.splat(k, 89.0);
    steps.iter().for_each(|&[x, ..]| asm.at_most(x, x, k));
    asm.splat(k, -104.0);
    steps.iter().for_each(|&[x, ..]| asm.at_least(x, x, k));
    reduce(asm, k, steps);
    add_one(asm, k, steps);
    // 2^n as a product of two powers: n may be 128, whose power alone is infinite.
    asm.splat(k, 0.5);
    for &[half, n, _] in steps {
        asm.mul(half, n, k);
        asm.round(half, half);
        asm.sub(n, n, half);
    }
    asm.splat_bits(k, 127);
    for &[half, n, p] in steps {
        power_of_two(asm, half, k);
        power_of_two(asm, n, k);
        asm.mul(p, p, half);
        asm.mul(half, p, n);
    }
}

/// As [`exp`], of values that are not above 0: what is below -87.7 gives 0.
pub fn exp_below_one(asm: &mut dyn VectorAsm, values: &[V]) {
    with_registers(asm, values, |asm, k, steps: &[Step]| {
        // There 2^n is 0, by its bits. NaN passes.
        asm.splat(k, -88.0);
        steps.iter().for_each(|&[x, ..]| asm.at_least(x, x, k));
        reduce(asm, k, steps);
        add_one(asm, k, steps);
        asm.splat_bits(k, 127);
        for &[x, n, p] in steps {
            power_of_two(asm, n, k);
            asm.mul(x, p, n);
        }
    });
}

/// Makes of x, n and p of each step r, n and P(r).
fn reduce(asm: &mut dyn VectorAsm, k: V, steps: &[Step]) {
    asm.splat(k, std::f32::consts::LOG2_E);
    for &[x, n, _] in steps {
        asm.mul(n, x, k);
        asm.round(n, n);
    }
    for part in [LN2_HIGH, LN2_LOW] {
        asm.splat(k, -part);
        steps.iter().for_each(|&[x, n, _]| asm.fma(x, n, k));
    }
    polynomials(asm, k, &EXP, steps.iter().map(|&[r, _, p]| [p, r]));
}

/// Makes of each P(r) e^r, as 1 + (r + r^2 P).
fn add_one(asm: &mut dyn VectorAsm, k: V, steps: &[Step]) {
    asm.splat(k, 1.0);
    for &[r, _, p] in steps {
        asm.mul(p, p, r);
        asm.horner(p, r, r);
        asm.add(p, p, k);
    }
}

/// v = 2^v for integral v in -126..=127, and 0 for -127; `bias` holds 127.
fn power_of_two(asm: &mut dyn VectorAsm, v: V, bias: V) {
    asm.float_to_int(v, v);
    asm.add_bits(v, v, bias);
    asm.shl(v, v, 23);
}

/// high * x for x > 0, low * (e^(rate x) - 1) below: elu and its like. The first and last factor are above 0.
#[derive(Clone, Copy, Debug)]
pub struct Elu {
    pub rate: f32,
    pub low: f32,
    pub high: f32,
}

/// Sets each of `values` to its elu. Takes `3 * values + 1` registers beside the values. Relative error below 4 ulp: of
/// 2^n e^r - 1 = 2^n (e^r - 1) + (2^n - 1) nothing cancels.
pub fn elu(asm: &mut dyn VectorAsm, elu: Elu, values: &[V]) {
    with_registers(asm, values, |asm, k, all: &[[V; 4]]| {
        let steps: Vec<Step> = all.iter().map(|&[_, r, n, p]| [r, n, p]).collect();
        // r = max(min(x, 0) * rate, -87). NaN passes.
        asm.splat(k, 0.0);
        all.iter().for_each(|&[x, r, ..]| asm.at_most(r, x, k));
        multiply(asm, k, elu.rate, steps.iter().map(|step| step[0]));
        asm.splat(k, -87.0);
        steps.iter().for_each(|&[r, ..]| asm.at_least(r, r, k));
        reduce(asm, k, &steps);
        asm.splat_bits(k, 127);
        for &[r, n, p] in &steps {
            asm.mul(p, p, r);
            asm.horner(p, r, r);
            power_of_two(asm, n, k);
        }
        asm.splat(k, 1.0);
        for &[r, n, p] in &steps {
            asm.sub(r, n, k);
            asm.horner(p, n, r);
        }
        multiply(asm, k, elu.low, steps.iter().map(|step| step[2]));
        multiply(asm, k, elu.high, all.iter().map(|registers| registers[0]));
        asm.splat(k, 0.0);
        all.iter().for_each(|&[x, _, _, p]| asm.select(Compare::Gt, x, x, k, x, p));
    });
}

/// Multiplies registers with a number; `k` is for constants.
fn multiply(asm: &mut dyn VectorAsm, k: V, factor: f32, registers: impl Iterator<Item = V>) {
    if factor != 1.0 {
        asm.splat(k, factor);
        registers.for_each(|v| asm.mul(v, v, k));
    }
}

/// Q of ln(1 + t) = z Q(z^2) with z = 2 t / (2 + t), for t from 0 to 1: a minimax approximation, relative error 5.4e-9.
const LN_1P: [f32; 5] =
    [2.801_069_3e-1 / 512.0, 2.800_204_8e-1 / 128.0, 4.002_151_5e-1 / 32.0, 6.666_642e-1 / 8.0, 1.0];

/// Sets each of `values` to ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|). Takes `3 * values + 1` registers beside the values.
/// Relative error below 4 ulp.
pub fn softplus(asm: &mut dyn VectorAsm, values: &[V]) {
    with_registers(asm, values, |asm, k, all: &[[V; 4]]| {
        let steps: Vec<Step> = all.iter().map(|&[_, t, n, p]| [t, n, p]).collect();
        asm.splat_bits(k, 0x8000_0000);
        all.iter().for_each(|&[x, t, ..]| asm.or(t, x, k));
        exp_steps(asm, k, &steps);
        asm.splat(k, 2.0);
        for &[z, square, _] in &steps {
            asm.add(square, z, k);
            asm.add(z, z, z);
            asm.div(z, z, square);
            asm.mul(square, z, z);
        }
        polynomials(asm, k, &LN_1P, steps.iter().map(|&[_, square, p]| [p, square]));
        asm.splat(k, 0.0);
        for &[x, z, _, p] in all {
            asm.at_least(x, x, k);
            asm.fma(x, p, z);
        }
    });
}

/// Sets each of `values` to x tanh(ln(1 + e^x)) = x w / (w + 2) with w = e^x (e^x + 2), in which nothing cancels. Takes
/// `3 * values + 1` registers beside the values. Relative error below 6 ulp; zero where e^x is no normal number.
pub fn mish(asm: &mut dyn VectorAsm, values: &[V]) {
    with_registers(asm, values, |asm, k, all: &[[V; 4]]| {
        let steps: Vec<Step> = all.iter().map(|&[_, e, n, p]| [e, n, p]).collect();
        // From here on the quotient is 1.
        asm.splat(k, 20.0);
        all.iter().for_each(|&[x, e, ..]| asm.at_most(e, x, k));
        exp_steps(asm, k, &steps);
        asm.splat(k, 2.0);
        for &[x, w, sum, _] in all {
            asm.add(sum, w, k);
            asm.mul(w, w, sum);
            asm.add(sum, w, k);
            asm.div(w, w, sum);
            asm.mul(x, x, w);
        }
    });
}

/// p = ((c0 * x + c1) * x + c2) ... for each pair of registers p and x, all of them one step after the other; `k` is for
/// constants.
fn polynomials(asm: &mut dyn VectorAsm, k: V, coefficients: &[f32], registers: impl Iterator<Item = [V; 2]> + Clone) {
    asm.splat(k, coefficients[0]);
    registers.clone().for_each(|[p, _]| asm.copy(p, k));
    for &c in &coefficients[1..] {
        asm.splat(k, c);
        registers.clone().for_each(|[p, x]| asm.horner(p, x, k));
    }
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

/// What [`logistic`] makes of a value x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logistic {
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// x / (1 + e^-x)
    Silu,
}

/// C(z) = c0 * z + c1, so that (C(f^2) + f) / (C(f^2) - f) is 2^f for |f| <= 1/2: a minimax approximation, relative error
/// 4.4e-7 and none at 0. A polynomial of as many instructions has a third of that, but all its steps are multiplications,
/// and it took a fifth more time.
const EXP2: [f32; 2] = [0.115_236_07, 2.885_408_1];

/// Values that [`logistic`] takes together in fourteen registers.
pub const LOGISTIC_GROUP: usize = 3;

/// Sets each of `values` to its sigmoid or silu. Takes `3 * values + 2` registers beside the values.
///
/// Relative error below 8.5e-7 (13 ulp) from -16 on and below 2e-7 (3 ulp) from 2 on; it grows to 1.8e-6 (29 ulp) at -87,
/// where the rounding of log2 e counts. Further left, where a sigmoid is no normal number, both are zero.
///
/// All values go through each step together: a step's constant is loaded once, and no value waits for the one before it
/// to come to its end, which is sixty cycles away.
///
/// e^-x = 2^n * 2^f with n = round(-x log2 e). With 2^f = a / b, a = C + f and b = C - f, the division that the
/// function has anyway serves both: 1 / (1 + e^-x) = b / (b + 2^n a). That is thirteen instructions in all.
pub fn logistic(asm: &mut dyn VectorAsm, kind: Logistic, values: &[V]) {
    // Adding this rounds, and leaves n and the bias of an exponent in the low bits of the sum.
    const ROUNDER: f32 = 12_582_912.0 + 127.0;
    let (c, d) = (asm.vec(), asm.vec());
    let steps: Vec<[V; 4]> = values.iter().map(|&value| [value, asm.vec(), asm.vec(), asm.vec()]).collect();
    // In [-88, 86], so that 2^n is a normal number; on the far left its product with a is infinite and the quotient zero.
    // NaN passes.
    asm.splat(c, 86.0);
    asm.splat(d, -88.0);
    for &[value, x, ..] in &steps {
        asm.at_most(x, value, c);
        asm.at_least(x, x, d);
    }
    asm.splat(c, -std::f32::consts::LOG2_E);
    asm.splat(d, ROUNDER);
    for &[_, x, n, f] in &steps {
        asm.copy(n, d);
        asm.fma(n, x, c);
        asm.sub(f, d, n);
        asm.fma(f, x, c);
    }
    asm.splat(c, EXP2[0]);
    asm.splat(d, EXP2[1]);
    for &[_, z, _, f] in &steps {
        asm.mul(z, f, f);
        asm.horner(z, c, d);
    }
    for &[value, b, n, f] in &steps {
        asm.shl(n, n, 23);
        asm.add(c, b, f);
        asm.sub(b, b, f);
        asm.horner(n, c, b);
        match kind {
            Logistic::Sigmoid => asm.div(value, b, n),
            Logistic::Silu => {
                asm.div(n, b, n);
                asm.mul(value, value, n);
            }
        }
    }
    steps.iter().flat_map(|registers| &registers[1..]).chain(&[c, d]).for_each(|&v| asm.free(v));
}

/// P and W of 2 tanh(x / 2) = x P(x^2) / (1 + x^2 W(x^2)) for |x| <= [`TANH_LAST`]: a minimax approximation, relative error
/// 1.2e-9 where it counts in full. Coefficients from that of the highest power on.
const TANH_P: [f32; 4] = [8.926_694e-8, 1.619_532_8e-4, 3.157_365_4e-2, 1.0];
const TANH_W: [f32; 3] = [2.800_647_5e-6, 1.404_207_7e-3, 0.114_906_98];

/// From here on tanh rounds to 1.
const TANH_LAST: f32 = 9.02;

/// Values that [`tanh`] takes together in fourteen registers.
pub const TANH_GROUP: usize = 3;

/// Sets each of `values` to its tanh, at most 1. Takes `3 * values + 1` registers beside the values. Relative error below
/// 4 ulp.
///
/// 2 t / (1 + t^2) with 2 t = 2 tanh(x / 2) = m / (1 + w): (m + m w) / (1 + (w (w + 2) + m^2 / 4)). Rounding errors of m and w
/// cancel as the value nears 1, and those of what is added to 1 are small where it is far from 1.
pub fn tanh(asm: &mut dyn VectorAsm, values: &[V]) {
    with_registers(asm, values, |asm, k, all: &[[V; 4]]| {
        // NaN passes.
        let clip = |asm: &mut dyn VectorAsm, limit: f32| {
            asm.splat(k, limit);
            all.iter().for_each(|&[x, ..]| asm.at_most(x, x, k));
            asm.splat(k, -limit);
            all.iter().for_each(|&[x, ..]| asm.at_least(x, x, k));
        };
        clip(asm, TANH_LAST);
        all.iter().for_each(|&[x, square, ..]| asm.mul(square, x, x));
        polynomials(asm, k, &TANH_P, all.iter().map(|&[_, square, p, _]| [p, square]));
        polynomials(asm, k, &TANH_W, all.iter().map(|&[_, square, _, w]| [w, square]));
        for &[x, square, m, w] in all {
            asm.mul(w, w, square);
            asm.mul(m, x, m);
            let dividend = square;
            asm.copy(dividend, m);
            asm.horner(dividend, w, m);
        }
        asm.splat(k, 2.0);
        for &[sum, _, _, w] in all {
            asm.add(sum, w, k);
            asm.mul(w, w, sum);
        }
        asm.splat(k, 0.25);
        for &[divisor, _, m, of_w] in all {
            asm.mul(divisor, m, k);
            asm.horner(divisor, m, of_w);
        }
        asm.splat(k, 1.0);
        for &[x, dividend, ..] in all {
            asm.add(x, x, k);
            asm.div(x, dividend, x);
        }
        clip(asm, 1.0);
    });
}

/// R(z) = t * P(t) with t = 1 / (1 + RATIO_SCALE * z) is e^(z^2 / 2) times what a normal distribution has beyond z, for z
/// from 0 to 13.5, whence on gelu is no normal number: a minimax approximation, relative error 9.4e-8. Coefficients from
/// that of the highest power on.
pub(crate) const RATIO: [f32; 8] = [
    3.662_594_8e-2,
    -1.560_365_6e-1,
    1.960_991_5e-1,
    -4.604_753e-2,
    1.249_476_2e-1,
    1.017_552_3e-1,
    1.218_232_3e-1,
    1.208_328_9e-1,
];
pub(crate) const RATIO_SCALE: f32 = 0.303;

/// e^(-y / 2) for |y| <= ln 2: a minimax approximation, relative error 2.8e-9.
const HALF_EXP: [f32; 7] = [2.197_643e-5, -2.618_742e-4, 2.604_043_6e-3, -2.083_294_1e-2, 0.125, -0.5, 1.0];

/// Values that [`gelu`] takes together in fourteen registers.
pub const GELU_GROUP: usize = 3;

/// Sets each of `values` to x * (1 + erf(x / sqrt 2)) / 2. Takes `3 * values + 1` registers beside the values.
///
/// Relative error below 5e-7 (8 ulp) for all x, down to where the value is no normal number (-13.1): it is
/// max(x, 0) - |x| q, where q = R(|x|) e^(-x^2 / 2) is what a normal distribution has beyond |x|, and nothing cancels.
///
/// Twelve bits of x have an exact square; what is missing of x^2, whose rounding alone would make 80 ulp, is added when
/// the powers of two are off. q is kept 2^8 times too large, so that it is a normal number as long as the value is; that
/// of |x| = 13.5, which stands for all behind it, is none and flushed to zero.
pub fn gelu(asm: &mut dyn VectorAsm, values: &[V]) {
    const MAGNITUDE: u32 = 0x7fff_ffff;
    const LAST: f32 = 13.5;
    const SCALE: u32 = 8;
    let k = asm.vec();
    let steps: Vec<[V; 4]> = values.iter().map(|&value| [value, asm.vec(), asm.vec(), asm.vec()]).collect();
    // z = min(|x|, LAST). NaN passes.
    let magnitude = |asm: &mut dyn VectorAsm, register: usize| {
        asm.splat_bits(k, MAGNITUDE);
        steps.iter().for_each(|step| asm.and(step[register], step[0], k));
        asm.splat(k, LAST);
        steps.iter().for_each(|step| asm.at_most(step[register], step[register], k));
    };
    magnitude(asm, 1);
    // z^2 = high^2 + (z - high) (z + high)
    asm.splat_bits(k, 0xffff_f000);
    for &[_, low, high, sum] in &steps {
        asm.and(high, low, k);
        asm.add(sum, low, high);
        asm.sub(low, low, high);
        asm.mul(low, low, sum);
        asm.mul(high, high, high);
    }
    // z^2 = y - 2 n ln 2
    asm.splat(k, -0.5 * std::f32::consts::LOG2_E);
    for &[_, _, high, n] in &steps {
        asm.mul(n, high, k);
        asm.round(n, n);
    }
    asm.splat(k, 2.0 * LN2_HIGH);
    steps.iter().for_each(|&[_, _, y, n]| asm.fma(y, n, k));
    asm.splat(k, 2.0 * LN2_LOW);
    for &[_, low, y, n] in &steps {
        asm.fma(y, n, k);
        asm.add(y, y, low);
    }
    // e^(-y / 2) 2^(n + SCALE)
    polynomials(asm, k, &HALF_EXP, steps.iter().map(|&[_, power, y, _]| [power, y]));
    asm.splat_bits(k, 127 + SCALE);
    for &[_, power, _, n] in &steps {
        asm.float_to_int(n, n);
        asm.add_bits(n, n, k);
        asm.shl(n, n, 23);
        asm.mul(power, power, n);
    }
    magnitude(asm, 2);
    asm.splat(k, RATIO_SCALE);
    steps.iter().for_each(|&[_, _, z, _]| asm.mul(z, z, k));
    asm.splat(k, 1.0);
    for &[_, _, z, t] in &steps {
        asm.add(t, z, k);
        asm.div(t, k, t);
    }
    polynomials(asm, k, &RATIO, steps.iter().map(|&[_, _, ratio, t]| [ratio, t]));
    // Of x above LAST no more than LAST: infinity times a q of zero would be NaN.
    asm.splat(k, LAST);
    for &[x, power, ratio, t] in &steps {
        asm.mul(ratio, ratio, t);
        asm.mul(ratio, ratio, power);
        asm.at_most(t, x, k);
    }
    asm.splat_bits(k, MAGNITUDE);
    steps.iter().for_each(|&[.., t]| asm.and(t, t, k));
    asm.splat_bits(k, (127 - SCALE) << 23);
    for &[_, _, ratio, t] in &steps {
        asm.mul(ratio, ratio, t);
        asm.mul(ratio, ratio, k);
    }
    asm.splat(k, 0.0);
    for &[x, _, ratio, _] in &steps {
        asm.at_least(x, x, k);
        asm.sub(x, x, ratio);
    }
    steps.iter().flat_map(|registers| &registers[1..]).chain([&k]).for_each(|&v| asm.free(v));
}

/// Values that [`gelu_tanh`] takes together in fourteen registers.
pub const GELU_TANH_GROUP: usize = 2;

/// Sets each of `values` to x (1 + tanh u) / 2 = x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3). Takes
/// `4 * values + 2` registers beside the values.
///
/// Relative error below 8.5e-7 (13 ulp) from -2 on. 2 u is rounded three times before the power is taken, which makes
/// 2e-5 on the far left; where the sigmoid is no normal number, from -10 on, the value is zero.
pub fn gelu_tanh(asm: &mut dyn VectorAsm, values: &[V]) {
    // 2 sqrt(2 / pi)
    const FACTOR: f32 = 1.595_769_2;
    let (c, d) = (asm.vec(), asm.vec());
    asm.splat(c, 0.044_715 * FACTOR);
    asm.splat(d, FACTOR);
    let twice = values.iter().map(|&x| {
        let twice = asm.vec();
        asm.mul(twice, x, x);
        asm.horner(twice, c, d);
        asm.mul(twice, twice, x);
        twice
    });
    let twice: Vec<V> = twice.collect();
    [c, d].into_iter().for_each(|v| asm.free(v));
    logistic(asm, Logistic::Sigmoid, &twice);
    for (&x, sigmoid) in values.iter().zip(twice) {
        asm.mul(x, x, sigmoid);
        asm.free(sigmoid);
    }
}

/// value = ln(value) for positive normal values; infinity and NaN stay what they are. Takes five registers.
///
/// x = 2^e * m with m in [sqrt(1/2), sqrt(2)), ln(1 + f) by the polynomial of Cephes' logf.c.
pub fn ln(asm: &mut dyn VectorAsm, value: V) {
    let (e, t, p, own) = (asm.vec(), asm.vec(), asm.vec(), asm.vec());
    asm.copy(own, value);
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
    asm.splat(t, f32::MAX);
    asm.sub(p, own, own);
    asm.select(Compare::Gt, p, own, t, own, p);
    asm.add(value, value, p);
    [e, t, p, own, square].into_iter().for_each(|v| asm.free(v));
}
