//! The portable engine against generated code, kernel family by kernel family: they read the same packed constants
//! and tables, so they differ in rounding only.

use crate::common::*;
use svertka::codegen::Isa;
use svertka::ir::{Graph, Verified};
use svertka::kernels::Kernel;
use svertka::layers::*;
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::tensor::Tensor;

/// Relative to the largest output.
const TOLERANCE: f32 = 1e-6;

/// Checks that every engine gives the same, and that a kernel of the family is among those that ran.
fn agree(graph: &Verified<Graph>, family: fn(&Kernel) -> bool) {
    let inputs = inputs(graph, 2, 7);
    agree_on(graph, &inputs, family);
}

fn agree_on(graph: &Verified<Graph>, inputs: &[Tensor], family: fn(&Kernel) -> bool) {
    let mut portable = session(graph, Engine::Portable);
    assert!(portable.plan().steps.iter().any(|step| family(&step.kernel)), "{}", svertka::ir::print(graph));
    let found = portable.run(inputs).unwrap();
    for isa in Isa::available() {
        let generated = session(graph, Engine::Jit(isa)).run(inputs).unwrap();
        for (found, expected) in found.iter().zip(&generated) {
            let difference = difference(found, expected);
            assert!(difference <= TOLERANCE, "{isa}: {difference}\n{}", svertka::ir::print(graph));
        }
    }
}

/// Rust code runs in the mode it was compiled for, in which denormals are numbers; generated code flushes them.
#[test]
fn only_generated_code_flushes_denormals() {
    let graph = layer(Activation::LeakyRelu(0.1), &[3, 50]);
    let input = [Tensor::new([2, 3, 50], vec![-2e-38; 300])];
    let outputs = |engine| session(&graph, engine).run(&input).unwrap().remove(0).into_data();
    assert!(outputs(Engine::Portable).iter().all(|&y| (y / -2e-39 - 1.0).abs() < 1e-3));
    let emulated = [Isa::Avx2, Isa::Avx512].map(Engine::Emulated);
    for engine in Isa::available().into_iter().map(Engine::Jit).chain(emulated) {
        assert!(outputs(engine).iter().all(|&y| y == 0.0), "{engine:?}");
    }
}

/// Pairs of layers are done by one kernel, in bands of two rows.
fn session(graph: &Verified<Graph>, engine: Engine) -> Session {
    let options =
        Options { engine, exact: true, forced: Forced { chain: Some(2), ..Forced::default() }, ..Options::default() };
    Session::new(graph.clone(), &weights(3), &options).unwrap()
}

fn layer(op: impl Into<Op>, dims: &[usize]) -> Verified<Graph> {
    single(op, dims).unwrap()
}

/// x -> f(x) + g(x), whose addition is fused into one of the two if that is possible.
fn sum_of(f: impl Into<Op>, g: impl Into<Op>, activation: Activation, dims: &[usize]) -> Verified<Graph> {
    let (mut graph, x) = graph_of(dims);
    let f = graph.add_layer(f, &[x], "f").unwrap();
    let g = graph.add_layer(g, &[x], "g").unwrap();
    let sum = graph.add_layer(Add, &[f, g], "sum").unwrap();
    let y = graph.add_layer(activation, &[sum], "activation").unwrap();
    output(&mut graph, y);
    verified(graph)
}

fn window(kernel: usize, stride: usize, dilation: usize, padding: Padding) -> Window {
    Window { kernel: vec![kernel; 2], stride: vec![stride; 2], dilation: vec![dilation; 2], padding, ceil: false }
}

fn convolution(channels: usize, groups: usize, window: Window) -> Conv {
    Conv { channels, window, groups, bias: true, weights: None }
}

#[test]
fn conv() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Conv(_));
    let plain = |channels, kernel| convolution(channels, 1, window(kernel, 1, 1, Padding::Half));
    for channels in [3, 8, 20, 44] {
        agree(&layer(plain(channels, 3), &[3, 9, 15]), family);
        agree(&layer(plain(channels, 1), &[13, 5, 6]), family);
    }
    agree(&layer(convolution(16, 1, window(3, 2, 2, Padding::All(2))), &[9, 11, 13]), family);
    agree(&layer(convolution(32, 2, window(3, 1, 1, Padding::Half)), &[16, 6, 7]), family);
    agree(&sum_of(plain(12, 3), plain(12, 1), Activation::Relu, &[12, 7, 7]), family);
    agree(&sum_of(plain(12, 3), plain(12, 1), Activation::Silu, &[12, 7, 7]), family);
    for features in [8, 10, 37] {
        agree(&layer(Dense { features, bias: true, flatten: true }, &[5, 3, 3]), family);
    }
}

#[test]
fn channelwise() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Channelwise(_));
    let depthwise = |kernel, stride| convolution(12, 12, window(kernel, stride, 1, Padding::Half));
    agree(&layer(depthwise(3, 1), &[12, 9, 17]), family);
    agree(&layer(depthwise(5, 2), &[12, 9, 17]), family);
    agree(&layer(convolution(12, 4, window(3, 1, 2, Padding::All(1))), &[8, 9, 9]), family);
    agree(&sum_of(depthwise(3, 1), depthwise(5, 1), Activation::HardSwish, &[12, 6, 6]), family);
}

#[test]
fn pool() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Pool(_));
    let window = |padding| window(3, 2, 1, padding);
    for dims in [[5, 9, 9], [16, 8, 31]] {
        agree(&layer(MaxPool { window: window(Padding::All(1)) }, &dims), family);
        for count_pad in [false, true] {
            agree(&layer(AvgPool { window: window(Padding::All(1)), count_pad }, &dims), family);
        }
    }
    // Neighbours that see the same columns, one with a further column in the counted padding, one with it behind.
    let overhanging = Window { ceil: true, ..self::window(3, 2, 3, Padding::All(2)) };
    agree(&layer(AvgPool { window: overhanging, count_pad: true }, &[5, 10, 10]), family);
    let (max, mean) = (window(Padding::Valid), window(Padding::Valid));
    agree(
        &sum_of(MaxPool { window: max }, AvgPool { window: mean, count_pad: true }, Activation::Relu6, &[9, 9, 9]),
        family,
    );
}

#[test]
fn chain() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Chain(_));
    let pair = |first: Conv, second: Op, dims: &[usize]| {
        let (mut graph, x) = graph_of(dims);
        let first = graph.add_layer(first, &[x], "first").unwrap();
        let second = graph.add_layer(second, &[first], "second").unwrap();
        output(&mut graph, second);
        verified(graph)
    };
    let half = |kernel, stride| window(kernel, stride, 1, Padding::Half);
    for channels in [4, 8, 20, 44] {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            let depthwise = convolution(channels, channels, half(kernel, stride));
            agree(&pair(convolution(channels, 1, half(1, 1)), depthwise.clone().into(), &[11, 12, 9]), family);
            agree(&pair(convolution(channels, 1, half(3, 2)), depthwise.into(), &[3, 25, 18]), family);
        }
        let pooling = MaxPool { window: half(3, 2) };
        agree(&pair(convolution(channels, 1, half(3, 1)), pooling.into(), &[3, 13, 9]), family);
        let pooling = AvgPool { window: half(3, 2), count_pad: false };
        agree(&pair(convolution(channels, 1, half(3, 1)), pooling.into(), &[3, 13, 9]), family);
    }
}

#[test]
fn max_pool_keeps_nan() {
    let graph = layer(MaxPool { window: window(2, 1, 1, Padding::Valid) }, &[3, 5, 5]);
    let mut inputs = inputs(&graph, 1, 7);
    let data = inputs[0].data_mut();
    (data[12], data[30], data[31]) = (f32::NAN, f32::NEG_INFINITY, f32::INFINITY);
    agree_on(&graph, &inputs, |kernel| matches!(kernel, Kernel::Pool(_)));
    let found = session(&graph, Engine::Portable).run(&inputs).unwrap();
    assert_eq!(found[0].data().iter().filter(|x| x.is_nan()).count(), 4, "the windows that contain the NaN");
}

#[test]
fn resample() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Resample(_));
    for mode in [
        Interpolation::Nearest,
        Interpolation::Bilinear { align_corners: false },
        Interpolation::Bilinear { align_corners: true },
    ] {
        agree(&layer(Upsample { scale: vec![2, 3], mode }, &[11, 4, 5]), family);
    }
    agree(&layer(AdaptiveAvgPool { size: vec![3, 2] }, &[11, 7, 5]), family);
    agree(&layer(AdaptiveMaxPool { size: vec![3, 2] }, &[11, 7, 5]), family);
    agree(
        &layer(Pad { sides: PadArg::List(vec![1, 0, 2, 3]), channels: (0, 0), fill: Fill::ZEROS }, &[11, 4, 5]),
        family,
    );
}

#[test]
fn pointwise() {
    use Activation::*;
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Pointwise(_));
    let hard_sigmoid = HardSigmoid { slope: 0.3, offset: 0.4 };
    let rectifiers = [Relu, Relu6, LeakyRelu(0.1), ThresholdedRelu(0.1), Elu(0.5), Selu, Celu(0.5)];
    let smooth = [Tanh, Sigmoid, Silu, HardSwish, hard_sigmoid, Gelu, GeluTanh, Mish, Softplus, Softsign, Exp];
    let clip = Clip { low: -0.5, high: 1.0 };
    let others = [clip, Affine { scale: 0.3, shift: -0.2 }, Sqrt, Abs];
    for activation in rectifiers.into_iter().chain(smooth).chain(others) {
        agree(&layer(activation, &[11, 5, 5]), family);
    }
    for flag in [true, false] {
        agree(&layer(BatchNorm { eps: 1e-5, affine: flag }, &[11, 5, 5]), family);
        agree(&layer(Scale { bias: flag }, &[11, 5, 5]), family);
        agree(&layer(PRelu { shared: flag }, &[11, 5, 5]), family);
    }
    agree(&gated(), family);
    let pair = [Op::from(Add), Op::from(Mul)];
    pair.into_iter().for_each(|op| agree(&of_two_inputs(op), family));
}

/// x * sigmoid(mean of x)
fn gated() -> Verified<Graph> {
    let (mut graph, x) = graph_of(&[11, 5, 5]);
    let pooled = graph.add_layer(GlobalAvgPool, &[x], "pool").unwrap();
    let gate = graph.add_layer(Activation::Sigmoid, &[pooled], "sigmoid").unwrap();
    let y = graph.add_layer(Mul, &[x, gate], "gate").unwrap();
    output(&mut graph, y);
    verified(graph)
}

fn of_two_inputs(op: Op) -> Verified<Graph> {
    let (mut graph, x) = graph_of(&[11, 3, 5]);
    let other = graph.add_input("other", input_type(&[11, 3, 5]));
    let y = graph.add_layer(op, &[x, other], "layer").unwrap();
    output(&mut graph, y);
    verified(graph)
}

#[test]
fn permute() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Permute(_));
    agree(&layer(ChannelShuffle { groups: 3 }, &[12, 4, 5]), family);
    agree(&layer(Pad { sides: PadArg::List(vec![0; 4]), channels: (2, 3), fill: Fill::ZEROS }, &[12, 4, 5]), family);
    agree(&layer(Flatten, &[12, 4, 5]), family);
    agree(&layer(ChannelSlice { channels: 3..11 }, &[12, 4, 5]), family);
    for order in [BlockOrder::Crd, BlockOrder::Dcr] {
        agree(&layer(DepthToSpace { block: vec![2], order }, &[48, 4, 5]), family);
        agree(&layer(SpaceToDepth { block: vec![2, 3], order }, &[9, 4, 15]), family);
    }
    agree(&layer(Subsample { step: vec![2, 3], at: vec![1, 0] }, &[12, 7, 40]), family);
    for order in [[1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        agree(&layer(Permute { order: order.to_vec() }, &[11, 3, 10]), family);
    }
    agree(&layer(Permute { order: vec![2, 1] }, &[3, 300]), family);
    agree(&layer(Permute { order: vec![2, 4, 1, 3] }, &[3, 9, 4, 5]), family);
}

#[test]
fn lrn() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Lrn(_));
    for beta in [0.75, 0.6] {
        agree(&layer(LocalResponseNorm { size: 4, alpha: 0.1, beta, k: 1.5, longer: Side::Back }, &[11, 5, 5]), family);
    }
}

#[test]
fn normalise() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Normalise(_));
    for dims in [&[11, 5, 5][..], &[16, 40], &[3, 700]] {
        agree(&layer(LayerNorm { over: Over::Channels, eps: 1e-5, affine: true }, dims), family);
        agree(&layer(InstanceNorm { eps: 1e-5, affine: true }, dims), family);
    }
    agree(&layer(LayerNorm { over: Over::Channels, eps: 1e-5, affine: false }, &[37]), family);
    for dims in [[11, 3, 5, 7], [24, 1, 2, 43], [40, 2, 1, 3]] {
        for over in Over::ALL {
            agree(&layer(LayerNorm { over, eps: 1e-5, affine: true }, &dims), family);
            for norm in [LpNorm::L1, LpNorm::L2] {
                agree(&layer(UnitNorm { norm, over, eps: 1e-5 }, &dims), family);
            }
        }
        for groups in (1..=40).filter(|&groups| dims[0].is_multiple_of(groups)) {
            agree(&layer(GroupNorm { groups, eps: 1e-5, affine: groups % 2 == 0 }, &dims), family);
        }
    }
    agree(&layer(GroupNorm { groups: 10, eps: 1e-5, affine: true }, &[120, 3, 3]), family);
    agree(&layer(GroupNorm { groups: 10, eps: 1e-5, affine: true }, &[100, 2, 2]), family);
}

#[test]
fn reduce() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Reduce(_));
    for how in [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min] {
        for dims in [&[11, 5, 5][..], &[16, 40], &[3, 7], &[37]] {
            agree(&layer(Reduce { how, over: Reduced::Channels }, dims), family);
        }
    }
    for how in [Reduction::Sum, Reduction::Min] {
        for dims in [&[11, 5, 5][..], &[16, 2]] {
            agree(&layer(Reduce { how, over: Reduced::Positions }, dims), family);
        }
    }
}

#[test]
fn softmax() {
    let family = |kernel: &Kernel| matches!(kernel, Kernel::Softmax(_));
    for over in Over::ALL {
        for log in [false, true] {
            agree(&layer(Softmax { over, log }, &[11, 3, 5, 7]), family);
            agree(&layer(Softmax { over, log }, &[2, 1, 2, 43]), family);
        }
    }
    agree(&layer(Softmax::CHANNELS, &[37]), family);
    agree(&layer(Softmax { over: Over::Positions, log: false }, &[1, 40, 40]), family);
}

/// Prints the time of one convolution on each engine: `cargo test --release --test all portable:: -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed_of_a_convolution() {
    let graph = layer(convolution(64, 1, window(3, 1, 1, Padding::Half)), &[64, 56, 56]);
    let inputs = inputs(&graph, 1, 7);
    for engine in Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]) {
        let mut session = session(&graph, engine);
        let time = |_| {
            let start = std::time::Instant::now();
            session.run(&inputs).unwrap();
            start.elapsed()
        };
        let best = (0..20).map(time).min().unwrap();
        println!("{engine:?}: {best:?}, with the copies of input and output");
    }
}
