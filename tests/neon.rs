//! What code for AArch64 does with what is no number, under an emulator: there bounds and maxima have instructions of their
//! own.

use crate::aot::{Build, LIBRARY, options};
use svertka::aot::{self, Weights};
use svertka::codegen::Isa;
use svertka::interp;
use svertka::kernels::Target;
use svertka::layers::Accumulate;
use svertka::tensor::Tensor;
use svertka::{Model, schedule};

/// Every kind of kernel with a bound or a maximum in it.
const MODEL: &str = "model m
input x: f32[N, 8, 12, 12]
net {
  concat {
    relu
    relu6
    clip -1.5, 0.5
    silu
    gelu
    elu 0.5
    hard_swish
    softplus
    maxpool 3x3, stride 1, half
    deep: conv 3x3, 8, half, groups 8 | relu6
    wide: conv 1x1, 8 | relu
  }
}
";

/// Numbers, and here and there what is none, an infinity, a zero with a sign.
fn inputs() -> Vec<Tensor> {
    let at = |index: usize| match index % 97 {
        13 => f32::NAN,
        31 => f32::INFINITY,
        53 => f32::NEG_INFINITY,
        71 => -0.0,
        other => (other as f32 - 40.0) * 0.17,
    };
    vec![Tensor::new([2, 8, 12, 12], (0..2 * 8 * 12 * 12).map(at).collect())]
}

#[test]
#[cfg_attr(not(tool = "aarch64"), ignore = "needs a cross compiler and an emulator for AArch64")]
fn bounds_and_maxima_keep_nan_and_infinities() {
    let model = Model::parse(MODEL).unwrap();
    let weights = model.bind(&svertka::Weights::random(3)).unwrap();
    let graph = weights.network(&model);
    let options = options("aarch64-generic", &LIBRARY, Weights::Embed);
    let plan = schedule::plan(graph.clone(), Target::of(Isa::Clif, options.cpu.architecture()));
    let build = Build::new(&aot::compile(&plan, &weights, &options).unwrap());
    build.compile_c("aarch64-linux-gnu-gcc", "driver.c", "net", &["-static"]);
    let expected = interp::run(graph, &weights, &inputs(), Accumulate::F64).remove(0);
    let found = build.drive(Some("qemu-aarch64"), "serial", &inputs(), None);
    let numbers = expected.data().iter().filter(|x| x.is_finite()).count();
    assert!(found.len() == expected.data().len() && numbers > found.len() / 2 && numbers < found.len());
    for (index, (&found, &expected)) in found.iter().zip(expected.data()).enumerate() {
        let near = (found - expected).abs() <= 1e-4 * expected.abs().max(1.0);
        let same = found == expected || near || (found.is_nan() && expected.is_nan());
        assert!(same, "channel {}, value {index}: {found}, not {expected}", index / 144 % 88);
    }
}
