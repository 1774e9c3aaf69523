//! Long sums hold what is promised: 1e-5 of the largest output for exact kernels, 1e-4 for all, up to means of a million
//! positions and sums of 25,000 terms. Equal terms are the worst case, since all roundings go the same way: one chain of
//! additions is off by n * 2^-25.

use crate::common::*;
use std::borrow::Cow;
use svertka::codegen::Isa;
use svertka::interp;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, Param, Verified};
use svertka::kernels::Kernel;
use svertka::layers::*;
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::tensor::Tensor;

/// Every weight is this.
struct Equal(f32);

impl WeightSource for Equal {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        Cow::Owned(vec![self.0; param.dims.iter().product()])
    }
}

fn filled(graph: &Verified<Graph>, value: f32) -> Tensor {
    let shape = graph[graph.inputs[0]].ty.shape(1);
    let elements = shape.iter().product();
    Tensor::new(shape, vec![value; elements])
}

/// Checks a network on every engine, as it is and exactly, and the interpreter in f32.
fn check(graph: &Verified<Graph>, input: Tensor, weights: &dyn WeightSource) {
    check_within(graph, input, weights, Options::default(), 1e-5);
}

/// With what an exact kernel may be off.
fn check_within(graph: &Verified<Graph>, input: Tensor, weights: &dyn WeightSource, options: Options, of_exact: f32) {
    let inputs = [input];
    let expected = interp::run(graph, weights, &inputs, Accumulate::F64);
    let single = interp::run(graph, weights, &inputs, Accumulate::F32);
    for (found, expected) in single.iter().zip(&expected) {
        assert!(difference(found, expected) <= 1e-5, "f32: {}", difference(found, expected));
    }
    for engine in Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]) {
        for (exact, tolerance) in [(true, of_exact), (false, 1e-4)] {
            let options = Options { engine, exact, ..options };
            let mut session = Session::new(graph.clone(), weights, &options).unwrap();
            let found = session.run(&inputs).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                let error = difference(found, expected);
                assert!(error <= tolerance, "{options:?}: {error:e}\n{}", svertka::ir::print(graph));
            }
        }
    }
}

fn layer(op: impl Into<Op>, dims: &[usize]) -> Verified<Graph> {
    single(op, dims).unwrap()
}

fn window(kernel: &[usize]) -> Window {
    let ones = vec![1; kernel.len()];
    Window { kernel: kernel.to_vec(), stride: ones.clone(), dilation: ones, padding: Padding::Valid, ceil: false }
}

fn conv(kernel: [usize; 2], channels: usize, groups: usize) -> Conv {
    Conv { channels, window: window(&kernel), groups, bias: true, weights: None }
}

/// Was 0.10099.
#[test]
fn mean_of_1024x1024_values_of_a_tenth() {
    let graph = layer(GlobalAvgPool, &[1, 1024, 1024]);
    check(&graph, filled(&graph, 0.1), &Equal(0.0));
}

/// The mean of 5000x5000 ones was 0.67, since 2^24 + 1 is 2^24. Here the first of the values is 2^24, which the ones of
/// its own chain are still lost to.
#[test]
fn ones_are_added_to_a_large_sum() {
    let graph = layer(GlobalAvgPool, &[1, 512, 1024]);
    let mut input = filled(&graph, 1.0);
    input.data_mut()[0] = (1 << 24) as f32;
    check_within(&graph, input, &Equal(0.0), Options::default(), 1e-4);
    let ones = vec![1.0; 25_000_000];
    assert_eq!(Accumulate::F32.sum(&ones), 25_000_000.0);
}

/// A convolution and a dense layer of 256x6x6 equal products were off by 1.1e-4.
#[test]
fn sums_of_9216_equal_products() {
    let graph = layer(conv([6, 6], 3, 1), &[256, 6, 6]);
    check(&graph, filled(&graph, 1.0), &Equal(1.0 / 9216.0));
    let graph = layer(Dense { features: 37, bias: true, flatten: true }, &[256, 6, 6]);
    check(&graph, filled(&graph, 1.0), &Equal(1.0 / 9216.0));
}

#[test]
fn sums_of_25000_equal_products() {
    for op in [conv([1, 1], 9, 1), conv([5, 5], 9, 1)] {
        let taps = op.window.kernel.iter().product::<usize>();
        // One output position, and several in rows.
        for size in [1, 5].map(|more| op.window.kernel[0] + more - 1) {
            let graph = layer(op.clone(), &[25_000usize.div_ceil(taps), size, size]);
            check(&graph, filled(&graph, 0.7), &Equal(0.3));
        }
    }
    let graph = layer(Dense { features: 9, bias: true, flatten: false }, &[25_000]);
    check(&graph, filled(&graph, 0.7), &Equal(0.3));
}

/// More taps than a chain may have, in each channel: in rows of the kernel, in one wide row, and by channels.
#[test]
fn sums_over_large_windows() {
    for op in [conv([29, 31], 5, 1), conv([29, 31], 12, 12), conv([7, 90], 12, 12), conv([29, 31], 12, 4)] {
        let size = [0, 1].map(|d| op.window.kernel[d] + 3);
        let graph = layer(op, &[12, size[0], size[1]]);
        check(&graph, filled(&graph, 0.7), &Equal(0.3));
    }
    for kernel in [[40, 30], [3, 300], [300, 3]] {
        let (pool, max) = (AvgPool { window: window(&kernel), count_pad: true }, MaxPool { window: window(&kernel) });
        for op in [Op::from(pool), Op::from(max)] {
            let graph = layer(op, &[3, kernel[0] + 2, kernel[1] + 5]);
            check(&graph, filled(&graph, 0.7), &Equal(0.0));
        }
    }
    let waveform = Conv { channels: 4, window: window(&[2001]), groups: 1, bias: true, weights: None };
    let graph = layer(waveform, &[1, 2020]);
    check(&graph, filled(&graph, 0.7), &Equal(0.3));
}

#[test]
fn means_of_regions_and_of_channels() {
    let graph = layer(AdaptiveAvgPool { size: vec![3, 2] }, &[5, 301, 303]);
    check(&graph, filled(&graph, 0.7), &Equal(0.0));
    let graph = layer(Softmax::CHANNELS, &[25_000]);
    check(&graph, filled(&graph, 0.7), &Equal(0.0));
    for dims in [&[2_000][..], &[2_000, 3]] {
        let graph = layer(Softmax::CHANNELS, dims);
        check(&graph, filled(&graph, 0.7), &Equal(0.0));
        let graph =
            layer(LocalResponseNorm { size: 1_500, alpha: 100.0, beta: 0.75, k: 1.0, longer: Side::Front }, dims);
        check(&graph, filled(&graph, 0.7), &Equal(0.0));
    }
}

#[test]
fn reductions_of_many_values() {
    for how in [Reduction::Mean, Reduction::Sum, Reduction::Min] {
        for dims in [&[25_000][..], &[9_001, 6]] {
            let graph = layer(Reduce { how, over: Reduced::Channels }, dims);
            check(&graph, filled(&graph, 0.1), &Equal(0.0));
        }
        let graph = layer(Reduce { how, over: Reduced::Positions }, &[3, 1024, 1024]);
        check(&graph, filled(&graph, 0.1), &Equal(0.0));
    }
}

fn layer_norm(over: Over) -> Op {
    LayerNorm { over, eps: 1e-5, affine: true }.into()
}

/// The mean is far from 0, and the distances from it are small.
#[test]
fn normalisations_of_many_values() {
    for (op, dims) in [
        (Op::from(InstanceNorm { eps: 1e-5, affine: true }), &[2, 512, 1024][..]),
        (layer_norm(Over::Channels), &[25_000]),
        (layer_norm(Over::Channels), &[9_000, 3]),
        (layer_norm(Over::Height), &[3, 9_000, 3]),
        (layer_norm(Over::Positions), &[3, 200, 200]),
        (layer_norm(Over::All), &[12, 200, 200]),
        (GroupNorm { groups: 3, eps: 1e-5, affine: true }.into(), &[30, 100, 100]),
        (UnitNorm { norm: LpNorm::L1, over: Over::All, eps: 1.0 }.into(), &[30, 100, 100]),
        (UnitNorm { norm: LpNorm::L2, over: Over::Channels, eps: 1.0 }.into(), &[9_000, 3]),
    ] {
        let graph = layer(op, dims);
        let mut input = filled(&graph, 0.1);
        input.data_mut().iter_mut().step_by(7).for_each(|x| *x = 0.6);
        check(&graph, input, &Equal(0.3));
    }
}

/// Totals that keep what rounding loses of them, of parts whose sum is beyond f32.
#[test]
fn sums_beyond_f32_are_infinite() {
    let graph = layer(GlobalAvgPool, &[1, 64, 64]);
    for engine in Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]) {
        let mut session = Session::new(graph.clone(), &Equal(0.0), &Options { engine, ..Options::default() }).unwrap();
        let found = session.run(&[filled(&graph, 5e35)]).unwrap();
        assert_eq!(found[0].data(), [f32::INFINITY], "{engine:?}");
    }
}

/// Squares beyond f32 count as infinite, for the interpreter too.
#[test]
fn norms_of_squares_beyond_f32() {
    let lrn = |beta| LocalResponseNorm { size: 3, alpha: 1.0, beta, k: 1.0, longer: Side::Front };
    for op in
        [lrn(0.75).into(), lrn(0.6).into(), Op::from(UnitNorm { norm: LpNorm::L2, over: Over::Channels, eps: 1.0 })]
    {
        let graph = layer(op, &[9, 5]);
        let input = filled(&graph, 3e19);
        let expected = interp::run(&graph, &Equal(0.0), std::slice::from_ref(&input), Accumulate::F64);
        assert!(expected[0].data().iter().all(|&y| y == 0.0));
        for engine in Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]) {
            let options = Options { engine, ..Options::default() };
            let mut session = Session::new(graph.clone(), &Equal(0.0), &options).unwrap();
            assert_eq!(session.run(std::slice::from_ref(&input)).unwrap(), expected, "{engine:?}");
        }
    }
}

/// Rows of columns, both shorter than what one chain may add, but not together; in regions of different sizes.
#[test]
fn means_of_uneven_regions() {
    let pool = AdaptiveAvgPool { size: vec![2, 2] };
    let graph = layer(pool, &[1, 1_001, 1_003]);
    check(&graph, filled(&graph, 0.1), &Equal(0.3));
}

/// The mean that the kernel of a depthwise convolution writes beside its output.
#[test]
fn means_beside_a_depthwise_convolution() {
    let (mut graph, x) = graph_of(&[3, 700, 700]);
    let depthwise = graph.add_layer(conv([1, 3], 3, 3), &[x], "depthwise").unwrap();
    let mean = graph.add_layer(GlobalAvgPool, &[depthwise], "mean").unwrap();
    let gate = graph.add_layer(Mul, &[depthwise, mean], "gate").unwrap();
    output(&mut graph, mean);
    output(&mut graph, gate);
    let graph = verified(graph);
    let session = Session::new(graph.clone(), &Equal(0.3), &Options::default()).unwrap();
    assert!(session.plan().steps.iter().any(|step| step.beside.is_some()));
    check(&graph, filled(&graph, 0.7), &Equal(0.3));
}

/// Sums over the channels of each frequency.
#[test]
fn winograd_of_many_channels() {
    let graph = layer(conv([3, 3], 3, 1), &[2_777, 8, 9]);
    for m in [2, 4, 6] {
        let options = Options { forced: Forced { winograd: Some([m, m]), ..Forced::default() }, ..Options::default() };
        check_within(&graph, filled(&graph, 0.7), &Equal(0.3), options, 1e-5);
        let session = Session::new(graph.clone(), &Equal(0.3), &options).unwrap();
        assert!(session.plan().steps.iter().any(|step| matches!(step.kernel, Kernel::Winograd(_))));
    }
}

/// What passes through a total: an infinity stays one, NaN too.
#[test]
fn long_means_keep_nan_and_infinity() {
    let graph = layer(GlobalAvgPool, &[3, 64, 64]);
    let mut input = filled(&graph, 1.0);
    (input.data_mut()[5], input.data_mut()[4096 + 5]) = (f32::INFINITY, f32::NAN);
    check(&graph, input, &Equal(0.0));
}
