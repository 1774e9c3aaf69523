//! Rounding errors of each form of Winograd convolution against sums in f64.

#[allow(dead_code, reason = "shared with the differential tests")]
mod common;

use common::*;
use svertka::interp;
use svertka::kernels::Kernel;
use svertka::layers::{Accumulate, Conv, Padding, Window};
use svertka::runtime::{Options, Session};

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
            let options = Options { force_winograd: Some(m), ..Options::default() };
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
