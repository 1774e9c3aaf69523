//! Random layers and networks: the interpreter, the portable engine and generated code of every instruction set
//! must agree. `PROPTEST_CASES` sets how many are drawn.

use crate::common::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::borrow::Cow;
use std::collections::HashSet;
use svertka::codegen::Isa;
use svertka::interp;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, NodeId, Param, Verified};
use svertka::kernels::Target;
use svertka::kernels::bands::Bands;
use svertka::layers::{self, *};
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::schedule::{Step, plan};
use svertka::tensor::{Half, Tensor};

fn engines() -> Vec<Engine> {
    let jit = Isa::available().into_iter().map(Engine::Jit);
    jit.chain([Engine::Portable]).collect()
}

/// Runs a graph on some engines, with one and with more threads, against the interpreter: once exactly, once with the
/// Winograd kernels that the seed picks; in both cases with the pairs of layers that it picks.
fn check(graph: &Verified<Graph>, batch: usize, seed: u64, engines: &[Engine]) {
    let (inputs, weights) = (inputs(graph, batch, seed), weights(seed));
    let expected = interp::run(graph, &weights, &inputs, Accumulate::F64);
    for &engine in engines {
        let options = Options { engine, ..forced(seed) };
        for (options, tolerance) in [(Options { exact: true, ..options }, 1e-5), (options, 1e-4)] {
            let threads = 2 + (seed % 3) as usize;
            let new = |threads| Session::new(graph.clone(), &weights, &Options { threads, ..options }).unwrap();
            let mut several = new(threads);
            // The same code, or made again where tiles are watched.
            let mut single = several.network().session(1).unwrap_or_else(|_| new(1));
            let one = run_judged(&mut single, &options, &inputs, seed, tolerance);
            for ((found, expected), output) in one.iter().zip(&expected).zip(&graph.outputs) {
                let (difference, output) = (difference(found, expected), &output.name);
                assert!(
                    difference <= tolerance || difference <= noise(graph, &weights, &inputs, tolerance),
                    "{options:?}, output {output}: {difference}\n{}",
                    svertka::ir::print(graph)
                );
            }
            let several = run(&mut several, &inputs);
            assert_eq!(bits(&several), bits(&one), "{options:?}: {threads} threads give other bits");
        }
    }
}

/// In which NaN is equal to itself.
fn bits(tensors: &[Tensor]) -> Vec<(&[usize], Vec<u32>)> {
    tensors.iter().map(|tensor| (tensor.shape(), tensor.data().iter().map(|x| x.to_bits()).collect())).collect()
}

/// Options with the Winograd tile and the bands of pairs of layers that are forced for a seed, if any, and with layers that
/// take several samples at a time for every other one; most go down the picture in bands.
fn forced(seed: u64) -> Options {
    let outputs = [seed % 6 + 1, seed / 6 % 6 + 1].map(|outputs| outputs as usize);
    let winograd = (!(seed / 36).is_multiple_of(6)).then_some(outputs);
    let chain = [None, Some(1), Some(2), Some(3), Some(5)][(seed / 6 % 5) as usize];
    let joint = seed / 30 % 2 == 1;
    let bands = [Bands::WhereLarge, Bands::Always(2), Bands::Always(5), Bands::Alone(4)][(seed / 60 % 4) as usize];
    Options { forced: Forced { winograd, chain, joint, bands, ..Forced::default() }, ..Options::default() }
}

/// As `check`, for code that may have to be emulated; where a tile can do both, the emulator must give the bits that
/// the processor gives.
fn check_wide(graph: &Verified<Graph>, batch: usize, seed: u64) {
    let widest = Isa::Avx512.on_host().map_or(Engine::Emulated(Isa::Avx512), Engine::Jit);
    check(graph, batch, seed, &[widest]);
    let inputs = inputs(graph, batch, seed);
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Clif) {
        let [native, emulated] = [Engine::Jit(isa), Engine::Emulated(isa.into())].map(|engine| {
            let options = Options { engine, ..forced(seed) };
            let outputs = run(&mut Session::new(graph.clone(), &weights(seed), &options).unwrap(), &inputs);
            outputs.iter().flat_map(|tensor| tensor.data()).map(|x| x.to_bits()).collect::<Vec<_>>()
        });
        assert_eq!(native, emulated, "{isa}: native against emulated\n{}", svertka::ir::print(graph));
    }
}

/// The outputs of a batch, of which the last sample has the same ones by itself.
fn run(session: &mut Session, inputs: &[Tensor]) -> Vec<Tensor> {
    let outputs = session.run(inputs).unwrap();
    let last = |tensors: &[Tensor]| tensors.iter().map(last_sample).collect::<Vec<_>>();
    assert_eq!(bits(&session.run(&last(inputs)).unwrap()), bits(&last(&outputs)), "a sample by itself");
    outputs
}

fn last_sample(tensor: &Tensor) -> Tensor {
    let elements = tensor.data().len() / tensor.batch();
    let shape = [&[1], &tensor.shape()[1..]].concat();
    Tensor::new(shape, tensor.data()[tensor.data().len() - elements..].to_vec())
}

/// Convolutions whose weights are too many for the nearest caches: their sums wait in memory between parts of the
/// input channels.
fn deep_convolution() -> impl Strategy<Value = (Vec<usize>, Op)> {
    let sizes = (100usize..900, 3usize..9, 3usize..9, 1usize..60, prop_oneof![Just(1usize), Just(3)], 1usize..3);
    sizes.prop_map(|(channels_in, height, width, channels, kernel, stride)| {
        let (kernel, stride, dilation) = (vec![kernel; 2], vec![stride; 2], vec![1; 2]);
        let window = Window { kernel, stride, dilation, padding: Padding::Half, ceil: false };
        let conv = Conv { channels, window, groups: 1, bias: true, weights: None };
        (vec![channels_in, height, width], conv.into())
    })
}

/// Layers that resample positions.
fn resampling() -> impl Strategy<Value = (Vec<usize>, Op)> {
    dims().prop_filter("has positions", |dims| dims.len() > 1).prop_flat_map(|dims| {
        let layer = resample(dims.len() - 1);
        (Just(dims), layer)
    })
}

/// Transposed convolutions with what can be fused behind them.
fn transposed() -> impl Strategy<Value = (Vec<usize>, Vec<Part>)> {
    let dims = prop_oneof![
        4 => (1usize..20, prop::collection::vec(1usize..9, 2)),
        1 => (1usize..20, prop::collection::vec(1usize..20, 1)),
        1 => (1usize..10, prop::collection::vec(1usize..5, 3)),
    ];
    dims.prop_flat_map(|(channels, spatial)| {
        let behind =
            prop_oneof![Just(Op::from(BatchNorm { eps: 1e-3, affine: true })), activation().prop_map(Op::from),];
        let rank = spatial.len();
        let parts = (conv_transpose(rank), prop::collection::vec(behind, 0..3), any::<bool>());
        let parts = parts.prop_map(move |(first, behind, residual)| match residual {
            true => vec![Part::Layer(first.clone()), Part::Residual([vec![same_again(&first)], behind].concat())],
            false => [first].into_iter().chain(behind).map(Part::Layer).collect(),
        });
        (Just([vec![channels], spatial].concat()), parts)
    })
}

/// A transposed convolution that keeps the size and the channels of what another one makes.
fn same_again(op: &Op) -> Op {
    let Op::ConvTranspose(conv) = op else { unreachable!("asked for one") };
    let rank = conv.window.rank();
    let stride = vec![1; rank];
    let window =
        Window { kernel: vec![3; rank], padding: Padding::Half, dilation: stride.clone(), stride, ceil: false };
    ConvTranspose { window, output_padding: vec![0; rank], ..conv.clone() }.into()
}

/// Layers of one output position, one behind the other: what may take several samples at a time.
fn of_one_position() -> impl Strategy<Value = (Vec<usize>, Vec<Part>)> {
    let channels = prop_oneof![3 => 1usize..40, 1 => 150usize..300];
    let dims = (channels, prop::collection::vec(1usize..4, 0..3));
    let dense = || (1usize..80, any::<bool>(), prop::option::of(activation()), any::<bool>());
    (dims, prop::collection::vec(dense(), 1..4)).prop_map(|((channels, spatial), layers)| {
        let mut parts = Vec::new();
        for (features, bias, activation, output) in layers {
            parts.push(Part::Layer(Dense { features, bias, flatten: true }.into()));
            parts.extend(activation.map(|activation| Part::Layer(activation.into())));
            parts.extend(output.then_some(Part::Output));
        }
        ([vec![channels], spatial].concat(), parts)
    })
}

/// One of [`of_one_position`], with kernels in f32 or in numbers of 16 bits, and a seed of those that force them.
fn joint() -> impl Strategy<Value = (Verified<Graph>, u64)> {
    let seeds = (0u64..1000).prop_map(|seed| seed / 30 * 60 + 30 + seed % 30);
    let half = prop_oneof![Just(None), Just(Some(Half::F16)), Just(Some(Half::Bf16))];
    let graph = (of_one_position(), half).prop_map(|((dims, parts), half)| in_halves(network(&dims, &parts), half));
    (graph, seeds)
}

/// Weights that are denormals in 16 bits, and infinite ones, where denormals of f32 count as 0.
#[test]
fn halves_have_the_values_of_their_bits() {
    let (mut graph, x) = graph_of(&[700]);
    let dense = graph.add_layer(Dense { features: 300, bias: false, flatten: true }, &[x], "dense").unwrap();
    output(&mut graph, dense);
    let graph = in_halves(verified(graph), Some(Half::F16));
    struct Bits;
    impl WeightSource for Bits {
        fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
            let (zeros, row) = (vec![0u16; param.elements()], param.dims[1]);
            let bits = zeros.iter().enumerate().map(|(at, _)| match (at / row, at % row) {
                (7, 3) => 0x7c00,
                (7, _) => 0,
                (_, column) => ((column as u16 * 37) % 0x3ff) | ((column as u16 & 1) << 15),
            });
            bits.map(|bits| Half::F16.widen(bits)).collect()
        }
    }
    let input = Tensor::new(vec![1, 700], (0..700).map(|at| (at % 13) as f32 * 1e6 + 1e6).collect());
    let inputs = [input];
    let expected = interp::run(&graph, &Bits, &inputs, Accumulate::F64);
    assert_eq!(expected[0].data().iter().filter(|x| x.is_infinite()).count(), 1);
    for engine in engines() {
        let options = Options { engine, exact: true, ..Options::default() };
        let found = Session::new(graph.clone(), &Bits, &options).unwrap().run(&inputs).unwrap();
        let difference = difference(&found[0], &expected[0]);
        assert!(difference <= 1e-5, "{options:?}: {difference}");
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() }
}

/// A layer that is added to the language must be added to `common::layer`.
#[test]
fn every_layer_is_drawn() {
    let mut runner = TestRunner::deterministic();
    let layers = layer(2);
    let draw = |_| layers.new_tree(&mut runner).unwrap().current();
    let drawn: Vec<Op> = (0..2000).map(draw).collect();
    let drawn: HashSet<&str> = drawn.iter().map(|op| op.layer().unwrap().spec().keyword).collect();
    let missing = layers::entries().find(|entry| !drawn.contains(entry.spec.keyword));
    assert_eq!(missing.map(|entry| entry.spec.keyword), None);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_layers((dims, op) in any_layer(), batch in 1usize..4, seed: u64) {
        if let Ok(graph) = single(op, &dims) {
            check(&graph, batch, seed, &engines());
        }
    }

    #[test]
    fn random_deep_convolutions((dims, op) in deep_convolution(), batch in 1usize..3, seed: u64) {
        check(&single(op, &dims).unwrap(), batch, seed, &engines());
    }

    #[test]
    fn random_resampling((dims, op) in resampling(), batch in 1usize..3, seed: u64) {
        if let Ok(graph) = single(op, &dims) {
            check(&graph, batch, seed, &engines());
        }
    }

    #[test]
    fn random_transposed_convolutions((dims, parts) in transposed(), batch in 1usize..3, seed: u64) {
        check(&network(&dims, &parts), batch, seed, &engines());
    }

    #[test]
    fn random_layers_of_one_position((graph, seed) in joint(), batch in 1usize..20) {
        check(&graph, batch, seed, &engines());
    }

    #[test]
    fn random_networks(graph in any_network(), batch in 1usize..3, seed: u64) {
        check(&graph, batch, seed, &engines());
    }
    #[test]
    fn random_winograd_convolutions((dims, parts) in images().prop_flat_map(|d| {
        let p = prop::collection::vec(winograd_part(), 1..4);
        (Just(d), p)
    }), batch in 1usize..4, seed: u64) {
        check(&network(&dims, &parts), batch, seed, &engines());
    }

    #[test]
    fn random_winograd_convolutions_of_series((dims, parts) in images().prop_flat_map(|d| {
        let p = prop::collection::vec(winograd_part().prop_map(of_series), 1..3);
        (Just(d), p)
    }), images in 1usize..5, batch in 1usize..3, seed: u64) {
        let dims = [dims[0], images, dims[1], dims[2]];
        check(&network(&dims, &parts), batch, seed, &engines());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_inverted_residuals(
        dims in prop::collection::vec(1usize..25, 3),
        parts in prop::collection::vec(mobile(), 1..4),
        batch in 1usize..4,
        seed: u64,
    ) {
        let parts: Vec<Part> = parts.into_iter().map(Part::Mobile).collect();
        check(&network(&dims, &parts), batch, seed, &engines());
    }
}

proptest! {
    #![proptest_config(config())]

    /// Kernels that differ in a table share a function, those that differ in code do not.
    #[test]
    fn random_layers_that_differ_in_one_argument(graph in siblings(), batch in 1usize..3, seed: u64) {
        check(&graph, batch, seed, &engines());
    }
}

#[test]
fn random_layers_that_differ_in_one_argument_in_wide_vectors() {
    run_wide((siblings(), 1usize..3, any::<u64>()), |(graph, batch, seed)| check_wide(&graph, batch, seed));
}

/// The mean of what was normalised is nothing but rounding errors: layer by layer all is well, and the outputs are judged
/// by what such errors come to.
#[test]
fn means_of_normalised_values() {
    for dims in [[1, 2, 2], [3, 1, 8]] {
        let (mut graph, x) = graph_of(&dims);
        let y = graph.add_layer(InstanceNorm { eps: 1e-3, affine: false }, &[x], "norm").unwrap();
        let mean = graph.add_layer(GlobalAvgPool, &[y], "mean").unwrap();
        let gate = graph.add_layer(Activation::Relu, &[mean], "act").unwrap();
        let gated = graph.add_layer(Mul, &[y, gate], "gate").unwrap();
        for node in [mean, gated] {
            output(&mut graph, node);
        }
        let graph = verified(graph);
        (0..30).for_each(|seed| check(&graph, 2, seed, &engines()));
    }
}

/// A gate that is little but the errors of a mean, in front of a norm that enlarges what is left.
#[test]
fn norms_of_values_gated_by_a_mean_of_normalised_ones() {
    let (mut graph, x) = graph_of(&[13, 14, 14]);
    let mut add = |op: Op, inputs: &[NodeId], path| graph.add_layer(op, inputs, path).unwrap();
    let norm = || Op::from(InstanceNorm { eps: 1e-3, affine: true });
    let least = add(Reduce { how: Reduction::Min, over: Reduced::Channels }.into(), &[x], "p0");
    let y = add(norm(), &[least], "p1");
    let mean = add(GlobalAvgPool.into(), &[y], "p2.pool");
    let gate = add(Activation::HardSwish.into(), &[mean], "p2.act");
    let gated = add(Mul.into(), &[y, gate], "p2.gate");
    let last = add(norm(), &[gated], "p5");
    [last, gated].into_iter().for_each(|node| output(&mut graph, node));
    check(&verified(graph), 2, 123_566_376_836_343_914, &engines());
}

/// Sixth powers of about 1e-38, of which some were flushed and others were not.
#[test]
fn norms_of_powers_at_the_end_of_the_range() {
    let (mut graph, x) = graph_of(&[3, 5, 6]);
    let window = window(&[2, 3], &[2, 1], &[1; 2], Padding::Half);
    let pool = graph.add_layer(LpPool { window, p: 6 }, &[x], "pool").unwrap();
    output(&mut graph, pool);
    let graph = verified(graph);
    let values = (0..90).map(|i| (2.0 + 4.0 * ((i * 37) % 90) as f32 / 90.0) * 1e-7).collect();
    let inputs = [Tensor::new([1, 3, 5, 6], values)];
    let expected = interp::run(&graph, &weights(1), &inputs, Accumulate::F64);
    for engine in engines() {
        let options = Options { engine, ..Options::default() };
        let found = Session::new(graph.clone(), &weights(1), &options).unwrap().run(&inputs).unwrap();
        let largest = expected[0].data().iter().fold(0f32, |largest, x| largest.max(*x));
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-5 * largest;
        let differing = found[0].data().iter().zip(expected[0].data()).filter(|&(a, b)| differs((a, b))).count();
        assert!(largest > 4e-7 && differing == 0, "{options:?}: {differing} differ");
    }
}

fn window(kernel: &[usize], stride: &[usize], dilation: &[usize], padding: Padding) -> Window {
    let [kernel, stride, dilation] = [kernel, stride, dilation].map(<[usize]>::to_vec);
    Window { kernel, stride, dilation, padding, ceil: false }
}

/// Two depthwise convolutions of one network, of which the second ran the code of the first: they differ only in where
/// the rows lie that see all of the kernel.
#[test]
fn depthwise_convolutions_that_differ_in_padding() {
    let window = |kernel: [usize; 2], stride: [usize; 2], padding| window(&kernel, &stride, &[1; 2], padding);
    let sides = |rows| Padding::Sides(vec![rows, (1, 1)]);
    for (dims, windows) in [
        ([8, 12, 4], [Padding::Half, Padding::Same].map(|padding| window([5, 1], [2, 1], padding))),
        ([8, 10, 10], [(1, 1), (2, 0)].map(|rows| window([3, 3], [2, 2], sides(rows)))),
    ] {
        let (mut graph, x) = graph_of(&dims);
        for (index, window) in windows.into_iter().enumerate() {
            let conv = Conv { channels: dims[0], window, groups: dims[0], bias: false, weights: None };
            let y = graph.add_layer(conv, &[x], &format!("conv{index}")).unwrap();
            output(&mut graph, y);
        }
        check(&verified(graph), 2, 0, &engines());
    }
}

/// Maps of more than 512 KiB, of which threads have rows: those of tasks end within what is unrolled, before and behind it.
#[test]
fn depthwise_convolutions_and_pools_of_large_maps() {
    let dims = [24, 79, 71];
    let (mut graph, x) = graph_of(&dims);
    let window = |kernel, stride, padding| window(&[kernel; 2], &[stride; 2], &[1; 2], Padding::All(padding));
    let conv = |window| Conv { channels: dims[0], window, groups: dims[0], bias: true, weights: None };
    let layers: [Op; 4] = [
        conv(window(3, 1, 1)).into(),
        conv(window(5, 2, 2)).into(),
        MaxPool { window: window(3, 2, 1) }.into(),
        AvgPool { window: window(2, 1, 1), count_pad: false }.into(),
    ];
    for (index, op) in layers.into_iter().enumerate() {
        let y = graph.add_layer(op, &[x], &format!("layer{index}")).unwrap();
        output(&mut graph, y);
    }
    let graph = verified(graph);
    // The number of threads, and whether bands are forced, come from the seed.
    (0..2).for_each(|seed| check(&graph, 2, seed, &engines()));
    let steps = plan(graph, Target::new(Isa::detect())).steps;
    let by_rows = |step: &Step| step.kernel.code().facts().iter().any(|(_, text)| text.ends_with("rows of a block"));
    assert_eq!(steps.iter().filter(|step| by_rows(step)).count(), 4);
}

/// Pairs whose rows are not those of an image, because the columns of one layer stand in its table of rows, although the
/// image has one column.
#[test]
fn pairs_over_images_of_one_column() {
    let window = |kernel: [usize; 2], stride: [usize; 2], padding| window(&kernel, &stride, &[1; 2], padding);
    let conv = |window, groups| Op::from(Conv { channels: 64, window, groups, bias: true, weights: None });
    let pool = |window| Op::from(MaxPool { window });
    let valid = Padding::Valid;
    let cases = [
        (
            [3, 194, 3],
            conv(window([3, 3], [1, 4_194_304], valid.clone()), 1),
            pool(window([2, 1], [2, 1], valid.clone())),
        ),
        (
            [1, 192, 1],
            conv(window([1, 1], [1, 1], valid.clone()), 1),
            conv(window([65, 65], [2, 2], Padding::Half), 64),
        ),
        (
            [1, 192, 1],
            conv(window([1, 1], [1, 1], valid), 1),
            pool(window([2, 65], [2, 1], Padding::Sides(vec![(0, 0), (0, 64)]))),
        ),
    ];
    for (dims, first, second) in cases {
        let parts = [first, second].map(Part::Layer);
        // A seed that makes one kernel of the two where it can.
        (1..3).for_each(|band| check(&network(&dims, &parts), 1, 6 * band, &engines()));
    }
}

/// Windows whose numbers are far larger than their input.
#[test]
fn windows_far_larger_than_their_input() {
    let window =
        |kernel: &[usize], dilation: &[usize], padding| window(kernel, &vec![1; kernel.len()], dilation, padding);
    let pool = MaxPool { window: window(&[(1 << 33) + 1], &[1], Padding::Half) };
    check(&single(pool, &[2, 4]).unwrap(), 1, 0, &engines());
    let pool = MaxPool { window: window(&[1, 2], &[1 << 36, 1], Padding::Valid) };
    check(&single(pool, &[2, 3, 40_000]).unwrap(), 1, 0, &engines());
}

/// Whole networks of volumes, of every layer that has positions.
#[test]
fn networks_of_three_dimensions() {
    let window = |kernel: usize, stride: usize| window(&[kernel; 3], &[stride; 3], &[1; 3], Padding::Half);
    let conv = |channels, kernel, stride, groups| {
        Part::Layer(Conv { channels, window: window(kernel, stride), groups, bias: true, weights: None }.into())
    };
    let transposed = ConvTranspose {
        channels: 12,
        window: window(3, 2),
        output_padding: vec![1, 0, 1],
        groups: 1,
        bias: false,
        output_major: false,
    };
    let resize = |filter, coordinates| Resize { extent: Extent::Size(vec![5, 3, 4]), filter, coordinates };
    let sides = PadArg::List(vec![1, 0, 1, 1, 0, 1]);
    let parts = [
        conv(8, 3, 1, 1),
        Part::Layer(BatchNorm { eps: 1e-3, affine: true }.into()),
        Part::Layer(Activation::Relu.into()),
        Part::Residual(vec![Conv { channels: 8, window: window(3, 1), groups: 8, bias: true, weights: None }.into()]),
        Part::Layer(MaxPool { window: window(3, 2) }.into()),
        Part::Output,
        conv(12, 3, 1, 4),
        Part::Layer(transposed.into()),
        Part::Layer(BatchNorm { eps: 1e-3, affine: true }.into()),
        Part::Layer(AvgPool { window: window(2, 2), count_pad: false }.into()),
        Part::Layer(Pad { sides: sides.clone(), channels: (0, 0), fill: Fill::Reflect }.into()),
        Part::Layer(Upsample { scale: vec![1, 2, 2], mode: Interpolation::Bilinear { align_corners: false } }.into()),
        Part::Layer(Crop { sides }.into()),
        Part::Output,
        Part::Layer(resize(Filter::Cubic(0.75), Coordinates::HalfPixel).into()),
        Part::Layer(Pad { sides: PadArg::All(1), channels: (0, 0), fill: Fill::Constant(0.5) }.into()),
        Part::Layer(GlobalAvgPool.into()),
        Part::Layer(Dense { features: 5, bias: true, flatten: true }.into()),
    ];
    check(&network(&[3, 5, 6, 7], &parts), 2, 0, &engines());
    check_wide(&network(&[3, 5, 6, 7], &parts), 1, 0);
}

/// Rows of several dimensions: the tile walks a box of taps, and its weights do not begin at the block's first.
#[test]
fn channelwise_convolutions_of_three_dimensions() {
    for (kernel, dilation, groups) in [([1, 2, 2], [1, 2, 1], 2), ([2, 3, 4], [1, 1, 1], 16), ([3, 3, 3], [2, 1, 2], 4)]
    {
        let (kernel, dilation) = (kernel.to_vec(), dilation.to_vec());
        let window = Window { kernel, stride: vec![1; 3], dilation, padding: Padding::Half, ceil: false };
        let conv = Conv { channels: 2 * groups, window, groups, bias: true, weights: None };
        check(&single(conv, &[groups, 5, 3, 4]).unwrap(), 2, 0, &engines());
    }
}

/// Windows with more columns than are unrolled, and those whose columns lie far from each other.
fn wide_window() -> impl Strategy<Value = (Vec<usize>, Op)> {
    let sizes = (1usize..4, 1usize..8, 65usize..80, 1usize..12, 1usize..3, any::<bool>(), 0usize..3);
    (sizes, 0usize..5).prop_map(|((channels, more, columns, rows, stride, flat, kind), pad)| {
        let kernel = if flat { vec![columns] } else { vec![rows, columns] };
        let image: Vec<usize> = kernel.iter().map(|k| k + more).collect();
        let sides = kernel.iter().map(|&k| (pad.min(k / 2), pad.min(k / 3))).collect();
        let (stride, dilation) = (vec![stride; kernel.len()], vec![1; kernel.len()]);
        let window = Window { kernel, stride, dilation, padding: Padding::Sides(sides), ceil: false };
        let op = match kind {
            0 => Conv { channels, window, groups: 1, bias: true, weights: None }.into(),
            1 => MaxPool { window }.into(),
            _ => AvgPool { window, count_pad: false }.into(),
        };
        ([vec![channels], image].concat(), op)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 8 + 1, ..config() })]

    #[test]
    fn random_wide_windows((dims, op) in wide_window(), seed: u64) {
        check(&single(op, &dims).unwrap(), 1, seed, &engines());
    }
}

/// Sigmoids close to a half, whose rounding errors are all that is left of them.
#[test]
fn an_affine_map_that_cancels_an_activation() {
    let ones = vec![1];
    let window =
        Window { kernel: ones.clone(), stride: ones.clone(), dilation: ones, padding: Padding::Valid, ceil: false };
    let conv = Conv { channels: 1, window, groups: 1, bias: false, weights: None };
    let affine = Activation::Affine { scale: -0.5, shift: 0.25 };
    let parts = [conv.into(), Activation::Sigmoid.into(), affine.into()].map(Part::Layer);
    check(&network(&[1, 1], &parts), 2, 30 * 832 + 12, &engines());
}

#[test]
fn random_layers_of_one_position_in_wide_vectors() {
    run_wide((joint(), 1usize..12), |((graph, seed), batch)| check_wide(&graph, batch, seed));
}

#[test]
fn random_transposed_convolutions_in_wide_vectors() {
    run_wide((transposed(), any::<u64>()), |((dims, parts), seed)| check_wide(&network(&dims, &parts), 1, seed));
}

#[test]
fn random_wide_windows_in_wide_vectors() {
    run_wide((wide_window(), any::<u64>()), |((dims, op), seed)| check_wide(&single(op, &dims).unwrap(), 1, seed));
}

/// Offsets of more than 32 bits: of columns under one kernel, and of columns under neighbouring outputs.
#[test]
fn columns_far_from_each_other() {
    let far = 40_000_000;
    for (stride, dilation) in [(1, far), (far, 1)] {
        let window = |padding| window(&[2], &[stride], &[dilation], Padding::Sides(vec![padding]));
        let pads = if stride == 1 { (far - 1, 2) } else { (0, 3 * far) };
        for op in [
            Op::from(Conv { channels: 3, window: window(pads), groups: 1, bias: true, weights: None }),
            Conv { channels: 2, window: window(pads), groups: 2, bias: true, weights: None }.into(),
        ] {
            let graph = single(op, &[2, 3]).unwrap();
            check(&graph, 1, 0, &engines());
        }
    }
}

/// A convolution and a window layer behind it.
fn any_pair() -> impl Strategy<Value = Verified<Graph>> {
    let dims = (1usize..40, 1usize..24, 1usize..24).prop_map(|(c, h, w)| vec![c, h, w]);
    (dims, chained()).prop_map(|(dims, parts)| network(&dims, &parts))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_pairs(graph in any_pair(), batch in 1usize..4, band in 1u64..5, seed in 0u64..1000) {
        check(&graph, batch, 30 * seed + 6 * band, &engines());
    }
}

/// Several layers that could be paired, with whatever may stand around them.
fn any_neighbours() -> impl Strategy<Value = Verified<Graph>> {
    let channels = prop::sample::select(vec![8usize, 16, 24]);
    let dims = (channels, 1usize..20, 1usize..20).prop_map(|(c, h, w)| vec![c, h, w]);
    (dims, neighbours()).prop_map(|(dims, parts)| network(&dims, &parts))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_neighbours_of_pairs(graph in any_neighbours(), batch in 1usize..3, band in 1u64..5, seed in 0u64..1000) {
        check(&graph, batch, 30 * seed + 6 * band, &engines());
    }
}

#[test]
fn random_pairs_in_wide_vectors() {
    run_wide((any_pair(), 1usize..3, 1u64..5, 0u64..1000), |(graph, batch, band, seed)| {
        check_wide(&graph, batch, 30 * seed + 6 * band);
    });
}

/// `proptest!` would let `PROPTEST_CASES` set the number, which is for tests that emulate nothing.
fn run_wide<S: Strategy>(cases: S, check: impl Fn(S::Value)) {
    let config = ProptestConfig { cases: (config().cases / 10).max(50), failure_persistence: None, ..config() };
    let run = |case| {
        check(case);
        Ok(())
    };
    TestRunner::new(config).run(&cases, run).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_layers_in_wide_vectors() {
    run_wide((any_layer(), 1usize..4, any::<u64>()), |((dims, op), batch, seed)| {
        if let Ok(graph) = single(op, &dims) {
            check_wide(&graph, batch, seed);
        }
    });
}

#[test]
fn random_networks_in_wide_vectors() {
    run_wide((any_network(), 1usize..3, any::<u64>()), |(graph, batch, seed)| check_wide(&graph, batch, seed));
}

#[test]
fn random_inverted_residuals_in_wide_vectors() {
    let parts = prop::collection::vec(mobile().prop_map(Part::Mobile), 1..3);
    let cases = (prop::collection::vec(1usize..12, 3), parts, 1usize..3, any::<u64>());
    run_wide(cases, |(dims, parts, batch, seed)| check_wide(&network(&dims, &parts), batch, seed));
}
