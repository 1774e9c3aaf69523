//! Rounding errors of each form of Winograd convolution against sums in f64.

use crate::common::*;
use std::borrow::Cow;
use svertka::codegen::{HostIsa, Isa};
use svertka::interp;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, Param, Verified};
use svertka::kernels::Kernel;
use svertka::layers::{Accumulate, Activation, Conv, Op, Padding, Window};
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::tensor::Tensor;

/// Kernel; for each size of tile, the error relative to the largest output that must not be passed.
type Form = ([usize; 2], &'static [([usize; 2], f32)]);

const FORMS: &[Form] = &[
    ([2, 2], &[([2, 2], 2e-6), ([4, 4], 1e-5), ([6, 6], 2e-5), ([1, 2], 1e-6)]),
    ([3, 3], &[([2, 2], 2e-6), ([3, 3], 4e-6), ([4, 4], 1e-5), ([5, 5], 2e-5), ([6, 6], 2e-5), ([4, 2], 1e-5)]),
    ([3, 3], &[([1, 2], 1e-6), ([2, 1], 1e-6), ([1, 4], 4e-6), ([6, 1], 1e-5), ([1, 1], 1e-6)]),
    ([5, 5], &[([2, 2], 1e-5), ([3, 3], 2e-5), ([4, 4], 2e-5), ([1, 3], 1e-5), ([2, 1], 4e-6)]),
    ([3, 1], &[([4, 1], 4e-6), ([6, 1], 1e-5)]),
    ([1, 7], &[([1, 2], 1e-5), ([1, 3], 4e-5), ([1, 4], 4e-5)]),
    ([7, 1], &[([2, 1], 1e-5), ([3, 1], 4e-5), ([4, 1], 4e-5)]),
    ([7, 3], &[([2, 2], 4e-6), ([4, 4], 2e-5), ([1, 4], 4e-6)]),
];

/// `cargo test --test all winograd:: -- --nocapture` prints what is found.
#[test]
fn errors_of_every_form() {
    let mut failures = Vec::new();
    for (kernel, sizes) in FORMS {
        for &(m, limit) in *sizes {
            let conv = Conv { channels: 24, window: half(*kernel), groups: 1, bias: true, weights: None };
            let graph = single(conv, &[64, 19, 23]).unwrap();
            let inputs = inputs(&graph, 2, 5);
            let expected = interp::run(&graph, &weights(3), &inputs, Accumulate::F64);
            let options = Options { forced: Forced { winograd: Some(m), ..Forced::default() }, ..Options::default() };
            let mut session = Session::new(graph, &weights(3), &options).unwrap();
            let found = session.run(&inputs).unwrap();
            let is_winograd = |kernel: &Kernel| matches!(kernel, Kernel::Winograd(_));
            let steps = &session.plan().steps;
            let name = steps.iter().find(|step| is_winograd(&step.kernel)).map(|step| step.kernel.name());
            let name = name.unwrap_or_else(|| panic!("no Winograd kernel for {kernel:?}"));
            let error = difference(&found[0], &expected[0]);
            println!("{name}: {error:.1e}");
            if error > limit {
                failures.push(format!("{name}: {error} is above {limit}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// A window of stride 1 that keeps the size where it is odd.
fn half(kernel: [usize; 2]) -> Window {
    let ones = vec![1; 2];
    Window { kernel: kernel.to_vec(), stride: ones.clone(), dilation: ones, padding: Padding::Half, ceil: false }
}

/// A convolution of 30x27 positions.
fn convolution(kernel: [usize; 2], channels: usize) -> Verified<Graph> {
    single(Conv { channels: 12, window: half(kernel), groups: 1, bias: true, weights: None }, &[channels, 30, 27])
        .unwrap()
}

/// The outputs on every instruction set of the machine.
fn run_all(
    graph: &Verified<Graph>,
    m: [usize; 2],
    weights: &dyn WeightSource,
    input: &Tensor,
) -> Vec<(HostIsa, Tensor)> {
    let run = |isa| {
        let options = Options {
            engine: Engine::Jit(isa),
            forced: Forced { winograd: Some(m), ..Forced::default() },
            ..Options::default()
        };
        let mut session = Session::new(graph.clone(), weights, &options).unwrap();
        assert!(session.plan().steps.iter().any(|step| matches!(step.kernel, Kernel::Winograd(_))));
        (isa, session.run(std::slice::from_ref(input)).unwrap().remove(0))
    };
    Isa::available().into_iter().map(run).collect()
}

/// A NaN or an infinity reaches the outputs that see it and no others, which are as near to the direct sum as ever.
#[test]
fn nan_and_infinity_stay_where_they_are_seen() {
    for (kernel, channels) in [([3, 3], 16), ([3, 3], 13), ([5, 2], 16), ([1, 7], 9), ([7, 1], 16)] {
        let graph = convolution(kernel, channels);
        let clean = inputs(&graph, 1, 5).remove(0);
        for (value, [row, column]) in [(f32::NAN, [13, 9]), (f32::INFINITY, [0, 26])] {
            let mut input = clean.clone();
            // The last channel, behind which a block may have room.
            input.plane_mut(0, channels - 1)[row * 27 + column] = value;
            let before = &interp::run(&graph, &weights(3), std::slice::from_ref(&clean), Accumulate::F64)[0];
            let largest = before.data().iter().fold(0f32, |most, y| most.max(y.abs()));
            let exact = Options { exact: true, ..Options::default() };
            let expected = Session::new(graph.clone(), &weights(3), &exact).unwrap().run(&[input.clone()]).unwrap();
            for m in [[4, 4], [6, 6], [1, 2], [4, 1]] {
                for (isa, found) in run_all(&graph, m, &weights(3), &input) {
                    for (position, (found, expected)) in found.data().iter().zip(expected[0].data()).enumerate() {
                        let name = format!("{kernel:?}, {value}, tiles of {m:?}, {isa:?}: {position}");
                        assert_eq!(found.is_finite(), expected.is_finite(), "{name}: {found}, not {expected}");
                        let near = !expected.is_finite() || (found - expected).abs() < 1e-4 * largest;
                        assert!(near, "{name}: {found}, not {expected}");
                    }
                }
            }
        }
    }
}

/// In a series of images they stay in their image.
#[test]
fn nan_stays_in_its_image() {
    let window =
        Window { kernel: vec![1, 3, 3], stride: vec![1; 3], dilation: vec![1; 3], padding: Padding::Half, ceil: false };
    let graph = single(Conv { channels: 12, window, groups: 1, bias: true, weights: None }, &[9, 3, 30, 27]).unwrap();
    let mut input = inputs(&graph, 2, 5).remove(0);
    let image = 30 * 27;
    input.plane_mut(1, 8)[image..2 * image][27 * 13 + 9] = f32::NAN;
    let seen = |position: usize| position / (12 * 3 * image) == 1 && position / image % 3 == 1;
    for (isa, found) in run_all(&graph, [4, 4], &weights(3), &input) {
        let wrong: Vec<usize> = found.data().iter().enumerate().filter(|(_, y)| y.is_nan()).map(|(p, _)| p).collect();
        assert_eq!(wrong.len(), 12 * 9, "{isa:?}: {wrong:?}");
        assert!(wrong.iter().all(|&position| seen(position)), "{isa:?}: {wrong:?}");
    }
}

/// What the direct sum can give does not overflow, though the transformed input would.
#[test]
fn nothing_overflows_that_the_direct_sum_can_give() {
    for kernel in [[3, 3], [2, 2], [5, 5], [7, 3], [3, 1], [1, 7]] {
        let graph = convolution(kernel, 16);
        for (x, w) in [(3e38, 1e-3), (1e30, 1e4), (1e17, 1e6)] {
            let draws = inputs(&graph, 1, 7).remove(0);
            let input = Tensor::new(draws.shape(), draws.data().iter().map(|d| d * x).collect());
            let weights = Alternating(w);
            let expected = &interp::run(&graph, &weights, std::slice::from_ref(&input), Accumulate::F64)[0];
            for m in [[3, 3], [6, 6], [1, 4], [2, 1]] {
                for (isa, found) in run_all(&graph, m, &weights, &input) {
                    let error = difference(&found, expected);
                    assert!(error < 1e-4, "{kernel:?}, {x} and {w}, tiles of {m:?}, {isa:?}: {error}");
                }
            }
        }
    }
}

/// A residual block of convolutions whose output lies over what it adds: outputs are made once, whatever the inputs.
#[test]
fn values_that_are_added_are_read_once() {
    let conv = || Op::from(Conv { channels: 16, window: half([3, 3]), groups: 1, bias: true, weights: None });
    let relu = || Op::from(Activation::Relu);
    let inner = Part::Residual(vec![conv(), relu(), conv()]);
    let graph = network(&[16, 12, 12], &[Part::Layer(conv()), Part::Layer(relu()), inner, Part::Layer(relu())]);
    let clean = inputs(&graph, 2, 5).remove(0);
    let mut input = clean.clone();
    input.data_mut()[100] = 1e25;
    let expected = &interp::run(&graph, &weights(3), std::slice::from_ref(&input), Accumulate::F64)[0];
    for threads in [1, 3] {
        let options =
            Options { forced: Forced { winograd: Some([4, 4]), ..Forced::default() }, threads, ..Options::default() };
        let mut session = Session::new(graph.clone(), &weights(3), &options).unwrap();
        let found = session.run(std::slice::from_ref(&input)).unwrap().remove(0);
        assert!(difference(&found, expected) < 1e-4);
    }
}

/// Alternating signs, the worst for the transforms.
struct Alternating(f32);

impl WeightSource for Alternating {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        let sign = |i: usize| if i.is_multiple_of(2) { self.0 } else { -self.0 };
        Cow::Owned((0..param.dims.iter().product()).map(sign).collect())
    }
}
