//! Rounding errors of each form of Winograd convolution against sums in f64.

#[allow(dead_code, reason = "shared with the differential tests")]
mod common;

use common::*;
use std::borrow::Cow;
use svertka::interp;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, Param, Verified};
use svertka::kernels::Kernel;
use svertka::layers::{Accumulate, Conv, Padding, Window};
use svertka::runtime::{Forced, Options, Session};
use svertka::tensor::Tensor;

/// Kernel; for each size of tile, the error relative to the largest output that must not be passed.
type Form = ([usize; 2], &'static [(usize, f32)]);

const FORMS: &[Form] = &[
    ([2, 2], &[(2, 2e-6), (4, 1e-5), (6, 2e-5)]),
    ([3, 3], &[(2, 2e-6), (3, 4e-6), (4, 1e-5), (5, 2e-5), (6, 2e-5)]),
    ([5, 5], &[(2, 1e-5), (3, 2e-5), (4, 2e-5)]),
    ([3, 1], &[(4, 4e-6), (6, 1e-5)]),
    ([1, 7], &[(2, 1e-5), (3, 4e-5), (4, 4e-5)]),
    ([7, 1], &[(2, 1e-5), (3, 4e-5), (4, 4e-5)]),
    ([7, 3], &[(2, 4e-6), (4, 2e-5)]),
];

/// `cargo test --test winograd -- --nocapture` prints what is found.
#[test]
fn errors_of_every_form() {
    let mut failures = Vec::new();
    for (kernel, sizes) in FORMS {
        for &(m, limit) in *sizes {
            let window = Window {
                kernel: kernel.to_vec(),
                stride: vec![1; 2],
                dilation: vec![1; 2],
                padding: Padding::Half,
                ceil: false,
            };
            let graph =
                single(Conv { channels: 24, window, groups: 1, bias: true, weights: None }, &[64, 19, 23]).unwrap();
            let inputs = inputs(&graph, 2, 5);
            let expected = interp::run(&graph, &weights(3), &inputs, Accumulate::F64);
            let options = Options { forced: Forced { winograd: Some(m), chain: None }, ..Options::default() };
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

/// A convolution of 16 channels of 30x27 positions.
fn convolution(kernel: [usize; 2]) -> Verified<Graph> {
    let ones = vec![1; 2];
    let window =
        Window { kernel: kernel.to_vec(), stride: ones.clone(), dilation: ones, padding: Padding::Half, ceil: false };
    single(Conv { channels: 12, window, groups: 1, bias: true, weights: None }, &[16, 30, 27]).unwrap()
}

fn run(graph: &Verified<Graph>, m: usize, weights: &dyn WeightSource, input: &Tensor) -> Tensor {
    let options = Options { forced: Forced { winograd: Some(m), chain: None }, ..Options::default() };
    let mut session = Session::new(graph.clone(), weights, &options).unwrap();
    assert!(session.plan().steps.iter().any(|step| matches!(step.kernel, Kernel::Winograd(_))));
    session.run(std::slice::from_ref(input)).unwrap().remove(0)
}

/// A NaN or an infinity reaches the outputs that see it, and of the others those in the same tiles only, which are no
/// farther away than a tile is large; all else keeps its bits. An exact kernel keeps them apart.
#[test]
fn nan_and_infinity_stay_in_their_tiles() {
    let graph = convolution([3, 3]);
    let clean = inputs(&graph, 1, 5).remove(0);
    for value in [f32::NAN, f32::INFINITY] {
        let (row, column) = (13, 9);
        let mut input = clean.clone();
        input.plane_mut(0, 3)[row * 27 + column] = value;
        let distance = |position: usize| (position / 27).abs_diff(row).max((position % 27).abs_diff(column));
        for m in 2..=6 {
            let [expected, found] = [&clean, &input].map(|input| run(&graph, m, &weights(3), input));
            for channel in 0..12 {
                let pairs = expected.plane(0, channel).iter().zip(found.plane(0, channel));
                for (position, (expected, found)) in pairs.enumerate() {
                    match distance(position) {
                        0..=1 => assert!(!found.is_finite(), "{value}, tiles of {m}: {position} sees it"),
                        d if d > m => {
                            assert_eq!(expected.to_bits(), found.to_bits(), "{value}, tiles of {m}: {position}")
                        }
                        _ => {}
                    }
                }
            }
        }
        let exact = Options { exact: true, ..Options::default() };
        let found = Session::new(graph.clone(), &weights(3), &exact).unwrap().run(&[input]).unwrap().remove(0);
        let touched = (0..12).map(|channel| found.plane(0, channel).iter().filter(|x| !x.is_finite()).count());
        assert!(touched.clone().all(|count| count == 9), "{:?}", touched.collect::<Vec<_>>());
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

/// Inputs of 1e36 and `channels * x * w` of 1e34, the ends of the range that `kernels::winograd` states.
#[test]
fn nothing_overflows_in_the_stated_range() {
    for kernel in [[3, 3], [2, 2], [5, 5], [7, 3], [3, 1], [1, 7]] {
        let graph = convolution(kernel);
        let (x, w) = (1e36f32, 1e34 / 1e36 / 16.0);
        let draws = inputs(&graph, 1, 7).remove(0);
        let input = Tensor::new(draws.shape(), draws.data().iter().map(|d| x.copysign(*d)).collect());
        for m in 2..=6 {
            let found = run(&graph, m, &Alternating(w), &input);
            assert!(found.data().iter().all(|y| y.is_finite()), "{kernel:?}, tiles of {m}");
        }
    }
}
