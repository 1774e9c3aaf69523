//! Every activation on every engine, over all exponents: relative errors in ulps, and what becomes of NaN, infinities,
//! zeros and denormals.

use crate::common::*;
use svertka::codegen::Isa;
use svertka::layers::Activation::{self, *};
use svertka::runtime::{Engine, Options, Session};
use svertka::tensor::Tensor;

const ALL: [Activation; 35] = [
    Relu,
    Relu6,
    LeakyRelu(0.1),
    LeakyRelu(1.5),
    ThresholdedRelu(1.0),
    ThresholdedRelu(-0.3),
    Elu(1.0),
    Elu(-0.3),
    Selu,
    Celu(1.0),
    Celu(0.3),
    Celu(40.0),
    Gelu,
    GeluTanh,
    Silu,
    HardSwish,
    Mish,
    Softplus,
    Softsign,
    Tanh,
    Sigmoid,
    Activation::HARD_SIGMOID,
    HardSigmoid { slope: 0.2, offset: 0.5 },
    HardSigmoid { slope: 3.7, offset: -1.3 },
    Clip { low: -1.5, high: 2.5 },
    Clip { low: f32::NEG_INFINITY, high: -1.0 },
    Clip { low: 0.1, high: f32::INFINITY },
    Affine { scale: 2.5, shift: 0.0 },
    Affine { scale: 1.0, shift: -3.0 },
    Affine { scale: -0.3, shift: 0.7 },
    Affine { scale: 1e-30, shift: 0.7 },
    Exp,
    Sqrt,
    Abs,
    Reciprocal,
];

/// Every instruction set, in the emulator where the machine lacks it, and the portable engine.
fn engines() -> Vec<Engine> {
    let native = |isa: Isa| Isa::available().into_iter().find(|host| *host == isa);
    let generated = Isa::ALL.into_iter().map(|isa| native(isa).map_or(Engine::Emulated(isa), Engine::Jit));
    generated.chain([Engine::Portable]).collect()
}

/// Ulps of distance from the true value that are allowed at `x`.
fn promised(activation: Activation, x: f64) -> f64 {
    match activation {
        Relu | Relu6 | ThresholdedRelu(_) | Clip { .. } | Abs => 0.0,
        LeakyRelu(_) | Sqrt | Reciprocal => 0.5,
        Affine { .. } => 1.5,
        Softsign => 1.5,
        Exp | HardSigmoid { .. } => 2.0,
        HardSwish => 2.5,
        Elu(_) | Celu(_) | Selu | Softplus | Tanh => 4.0,
        Mish => 6.0,
        Gelu => 8.0,
        // As `kernels::math::logistic` says; one more where a multiply-add rounds twice.
        Sigmoid | Silu if x >= 2.0 => 4.0,
        Sigmoid | Silu if x >= -16.0 => 14.0,
        Sigmoid | Silu => 30.0,
        // As `kernels::math::gelu_tanh` says.
        GeluTanh if x >= -2.0 => 14.0,
        GeluTanh => 200.0,
    }
}

/// What may be flushed to zero: what is no normal number; of silu and its like, whatever has a factor that is none.
fn flushed(activation: Activation) -> f64 {
    let factor = match activation {
        Silu | Mish => 92.0,
        GeluTanh => 11.0,
        Celu(alpha) => f64::from(alpha).max(1.0),
        _ => 1.0,
    };
    factor * f64::from(f32::MIN_POSITIVE)
}

/// From one f32 of the magnitude of `y` to the next.
fn ulp(y: f64) -> f64 {
    let y = (y.abs() as f32).clamp(f32::MIN_POSITIVE, f32::MAX.next_down());
    f64::from(y.next_up()) - f64::from(y)
}

fn run(activation: Activation, engine: Engine, values: &[f32]) -> Vec<f32> {
    let graph = single(activation, &[1, values.len()]).unwrap();
    let x = Tensor::new([1, 1, values.len()], values.to_vec());
    let options = Options { engine, ..Options::default() };
    Session::new(graph, &weights(1), &options).unwrap().run(&[x]).unwrap().remove(0).into_data()
}

/// Some values of each exponent, of both signs; more where functions bend, and neighbours of their corners.
fn values() -> Vec<f32> {
    let bits = (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).step_by(200_003);
    let bends = (0..=140_000).map(|i| (i as f32 * 1e-3).to_bits());
    let corners = [0.3f32, 0.7, 1.0, 1.3 / 3.7, 2.5, 3.0, 6.0, 0.625, 16.0]
        .into_iter()
        .flat_map(|x| x.to_bits() - 20..=x.to_bits() + 20);
    let last = f32::MAX.to_bits();
    let magnitudes = bits.chain(bends).chain(corners).chain([last]).map(f32::from_bits);
    magnitudes.flat_map(|x| [x, -x]).collect()
}

/// Set `SHOW_ULPS` to see what is found.
#[test]
fn errors_in_ulps_over_all_exponents() {
    let values = values();
    let mut failures = Vec::new();
    for activation in ALL {
        let expected: Vec<f64> = values.iter().map(|&x| activation.evaluate(x.into())).collect();
        for engine in engines() {
            let found = run(activation, engine, &values);
            let mut worst = (0.0, 0.0, 0.0);
            for ((&x, &expected), &found) in values.iter().zip(&expected).zip(&found) {
                let distance = (f64::from(found) - expected).abs();
                let same = found == expected as f32 || (found.is_nan() && expected.is_nan());
                if distance <= flushed(activation) || same {
                    continue;
                }
                let ulps = if distance.is_nan() { f64::INFINITY } else { distance / ulp(activation.terms(x.into())) };
                // What comes nearest to what is promised.
                let share = ulps / promised(activation, x.into()).max(0.5);
                if share > worst.0 {
                    worst = (share, ulps, x);
                }
            }
            let (share, ulps, x) = worst;
            let text = format!("{engine:?}: {activation} of {x:?} is {ulps:.2} ulp off, {share:.2} of what is allowed");
            if std::env::var_os("SHOW_ULPS").is_some() {
                println!("{text}");
            }
            if ulps > promised(activation, x.into()) {
                failures.push(text);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn special_values() {
    let values = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40, -1e-40, f32::MAX, f32::MIN];
    for activation in ALL {
        for engine in engines() {
            for (&x, found) in values.iter().zip(run(activation, engine, &values)) {
                let expected = activation.apply(x);
                // Denormals, in and out, count as zero.
                let close = |expected: f32| (found - expected).abs() <= f32::MIN_POSITIVE || found == expected;
                let close = close(expected) || (x.is_subnormal() && close(activation.apply(0.0)));
                let both_nan = found.is_nan() && expected.is_nan();
                assert!(close || both_nan, "{engine:?}: {activation} of {x:?}: {found:?}, not {expected:?}");
            }
        }
    }
}

/// An output that is nothing else than the left tail of gelu, whose largest element is 1.4e-6.
#[test]
fn the_left_tail_of_gelu_is_exact_by_itself() {
    let values: Vec<f32> = (0..700).map(|i| -5.0 - i as f32 * 0.01).collect();
    for engine in engines() {
        for (&x, found) in values.iter().zip(run(Gelu, engine, &values)) {
            let expected = Gelu.evaluate(x.into());
            let relative = (f64::from(found) - expected).abs() / expected.abs();
            assert!(relative <= 5e-7, "{engine:?}: gelu of {x}: {found:e}, not {expected:e}");
        }
    }
}
