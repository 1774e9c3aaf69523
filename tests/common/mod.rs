//! Random layers and networks for the differential tests, and what else tests share.

pub mod arbitrary;
pub mod lab;
pub mod text;
mod values;

pub use values::*;

use proptest::prelude::*;
use svertka::interp;
use svertka::ir::{Graph, NodeId, Output, ParamSource, Verified, verify};
use svertka::layers::*;
use svertka::runtime::{Options, Session};
use svertka::tensor::{Batch, DType, Half, Tensor, TensorType};

/// The type of an input with a free batch.
pub fn input_type(dims: &[usize]) -> TensorType {
    TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: dims.to_vec() }
}

/// A graph with one input.
pub fn graph_of(dims: &[usize]) -> (Graph, NodeId) {
    let mut graph = Graph { name: "test".into(), ..Graph::default() };
    let input = graph.add_input("x", input_type(dims));
    (graph, input)
}

/// Makes `node` the next output.
pub fn output(graph: &mut Graph, node: NodeId) {
    graph.outputs.push(Output { name: format!("y{}", graph.outputs.len()), node });
}

/// A graph that is complete.
pub fn verified(graph: Graph) -> Verified<Graph> {
    verify(graph).unwrap()
}

/// A graph of one layer.
pub fn single(op: impl Into<Op>, dims: &[usize]) -> Result<Verified<Graph>, ShapeError> {
    let (mut graph, x) = graph_of(dims);
    let y = graph.add_layer(op, &[x], "layer")?;
    output(&mut graph, y);
    Ok(verified(graph))
}

/// Layers that take any input of `rank` spatial dimensions, most of the time.
pub fn layer(rank: usize) -> BoxedStrategy<Op> {
    prop_oneof![30 => tame_layer(rank), 1 => steep().prop_map(Op::from)].boxed()
}

/// Those that may stand before others.
fn tame_layer(rank: usize) -> BoxedStrategy<Op> {
    let rank = rank.max(1);
    prop_oneof![
        6 => conv(rank),
        3 => conv_transpose(rank),
        2 => pool(rank),
        1 => adaptive(rank),
        1 => lp_pool(rank),
        1 => Just(GlobalAvgPool.into()),
        1 => Just(GlobalMaxPool.into()),
        2 => reduce(),
        1 => any::<bool>().prop_map(|affine| BatchNorm { eps: 1e-5, affine }.into()),
        1 => any::<bool>().prop_map(|bias| Scale { bias }.into()),
        1 => any::<bool>().prop_map(|shared| PRelu { shared }.into()),
        1 => lrn(),
        3 => (over(), any::<bool>()).prop_map(|(over, affine)| LayerNorm { over, eps: 1e-3, affine }.into()),
        2 => any::<bool>().prop_map(|affine| InstanceNorm { eps: 1e-3, affine }.into()),
        2 => (1usize..5, any::<bool>()).prop_map(|(groups, affine)| GroupNorm { groups, eps: 1e-3, affine }.into()),
        2 => (over(), any::<bool>()).prop_map(|(over, l1)| unit_norm(over, l1).into()),
        3 => activation().prop_map(Op::from),
        2 => (over(), any::<bool>()).prop_map(|(over, log)| Softmax { over, log }.into()),
        1 => Just(Flatten.into()),
        2 => dense(),
        5 => resample(rank),
        1 => (1usize..4).prop_map(|groups| ChannelShuffle { groups }.into()),
        1 => slice(),
        3 => rearrangement(rank),
        1 => prop_oneof![Just(Identity.into()), Just(Dropout { p: 0.5 }.into())],
    ]
    .boxed()
}

pub fn conv(rank: usize) -> BoxedStrategy<Op> {
    let per_dim = |range| prop::collection::vec(range, rank);
    let groups =
        prop_oneof![4 => Just((1, 1)), 1 => (1usize..5, 1usize..4), 1 => (4usize..20, 1usize..3), 1 => Just((8, 8))];
    (per_dim(1usize..5), per_dim(1usize..4), per_dim(1usize..3), padding(rank), 1usize..40, groups, any::<bool>())
        .prop_map(|(kernel, stride, dilation, padding, channels, (groups, each), bias)| {
            let channels = if groups == 1 { channels } else { groups * each };
            let window = Window { kernel, stride, dilation, padding, ceil: false };
            Conv { channels, window, groups, bias, weights: None }.into()
        })
        .boxed()
}

pub fn conv_transpose(rank: usize) -> BoxedStrategy<Op> {
    let per_dim = |range| prop::collection::vec(range, rank);
    let groups =
        prop_oneof![4 => Just((1, 1)), 1 => (1usize..5, 1usize..4), 1 => (4usize..20, 1usize..3), 1 => Just((8, 8))];
    let sizes = (per_dim(1usize..5), per_dim(1usize..4), per_dim(1usize..3), padding(rank), per_dim(0usize..4));
    (sizes, 1usize..40, groups, any::<bool>())
        .prop_map(|((kernel, stride, dilation, padding, output_padding), channels, (groups, each), bias)| {
            let channels = if groups == 1 { channels } else { groups * each };
            let window = Window { kernel, stride, dilation, padding, ceil: false };
            ConvTranspose { channels, window, output_padding, groups, bias, output_major: false }.into()
        })
        .boxed()
}

/// Channels and sizes of images that have many Winograd tiles.
pub fn images() -> BoxedStrategy<Vec<usize>> {
    prop_oneof![
        (1usize..40, 1usize..20, 1usize..20).prop_map(|(c, h, w)| vec![c, h, w]),
        (1usize..10, 20usize..60, 20usize..60).prop_map(|(c, h, w)| vec![c, h, w]),
    ]
    .boxed()
}

/// The same convolutions of each image of a series.
pub fn of_series(part: Part) -> Part {
    fn widen(window: &mut Window) {
        window.padding = match std::mem::replace(&mut window.padding, Padding::Valid) {
            Padding::All(n) => Padding::Sides(vec![(0, 0), (n, n), (n, n)]),
            Padding::Sides(sides) => Padding::Sides([vec![(0, 0)], sides].concat()),
            other => other,
        };
        [&mut window.kernel, &mut window.stride, &mut window.dilation].into_iter().for_each(|v| v.insert(0, 1));
    }
    let op = |mut op: Op| {
        match &mut op {
            Op::Conv(conv) => widen(&mut conv.window),
            Op::ConvTranspose(conv) => {
                widen(&mut conv.window);
                conv.output_padding.insert(0, 0);
            }
            _ => {}
        }
        op
    };
    match part {
        Part::Layer(layer) => Part::Layer(op(layer)),
        Part::Residual(layers) => Part::Residual(layers.into_iter().map(op).collect()),
        other => other,
    }
}

/// Convolutions of stride 1 that Winograd kernels can do, with what can be fused behind them.
pub fn winograd_part() -> BoxedStrategy<Part> {
    let kernel = prop_oneof![
        4 => Just([3, 3]),
        1 => Just([5, 5]),
        1 => Just([3, 1]),
        1 => Just([1, 7]),
        1 => Just([7, 1]),
        1 => [1usize..6, 1usize..6],
    ];
    let conv = (kernel, padding(2), 1usize..40, any::<bool>()).prop_map(|(kernel, padding, channels, bias)| {
        let window = Window { kernel: kernel.to_vec(), stride: vec![1; 2], dilation: vec![1; 2], padding, ceil: false };
        Part::Layer(Conv { channels, window, groups: 1, bias, weights: None }.into())
    });
    prop_oneof![
        3 => conv,
        2 => prop::collection::vec(same_size(2), 1..3).prop_map(Part::Residual),
        1 => activation().prop_map(|activation| Part::Layer(activation.into())),
    ]
    .boxed()
}

/// A convolution, perhaps with an activation, and a layer that one kernel can do with it: a pooling or a depthwise
/// convolution; perhaps with an activation or an addition behind it.
pub fn chained() -> BoxedStrategy<Vec<Part>> {
    let window = |kernels: Vec<usize>| {
        let sizes = prop::collection::vec((prop::sample::select(kernels), 1usize..4, 1usize..3), 2);
        (sizes, padding(2)).prop_map(|(sizes, padding)| Window {
            kernel: sizes.iter().map(|&(kernel, ..)| kernel).collect(),
            stride: sizes.iter().map(|&(_, stride, _)| stride).collect(),
            dilation: sizes.iter().map(|&(.., dilation)| dilation).collect(),
            padding,
            ceil: false,
        })
    };
    let ones = vec![1; 2];
    let pointwise =
        Window { kernel: ones.clone(), stride: ones.clone(), dilation: ones, padding: Padding::Valid, ceil: false };
    let first = (1usize..40, prop_oneof![3 => Just(pointwise), 2 => window(vec![1, 3, 7])], any::<bool>());
    let second = prop_oneof![2 => window(vec![1, 2, 3, 5]).prop_map(Ok), 1 => pool(2).prop_map(Err)];
    let activations = prop::collection::vec(prop::option::of(activation()), 2);
    (first, second, activations, any::<bool>())
        .prop_map(|((channels, window, bias), second, activations, residual)| {
            let conv = |window, groups| Op::from(Conv { channels, window, groups, bias, weights: None });
            let second = second.map_or_else(|pool| pool, |window| conv(window, channels));
            let [before, behind] = [0, 1].map(|index: usize| activations[index].map(Op::from));
            let ops: Vec<Op> = [Some(conv(window, 1)), before, Some(second), behind].into_iter().flatten().collect();
            match residual {
                true => vec![Part::Residual(ops)],
                false => ops.into_iter().map(Part::Layer).collect(),
            }
        })
        .boxed()
}

/// Convolutions and window layers behind each other in any order, so that many have neighbours on both sides with which
/// one kernel could do them; some in branches, with sums around them, or with values between them that are outputs.
pub fn neighbours() -> BoxedStrategy<Vec<Part>> {
    let ops = || prop::collection::vec(neighbour(), 1..5);
    let part = prop_oneof![
        6 => neighbour().prop_map(Part::Layer),
        2 => ops().prop_map(Part::Residual),
        2 => prop::collection::vec(ops(), 2..4).prop_map(Part::Concat),
        1 => ops().prop_map(Part::Grow),
        1 => Just(Part::Output),
    ];
    prop::collection::vec(part, 2..8).boxed()
}

/// Of few different numbers of channels, so that groups fit and sums are possible.
fn neighbour() -> BoxedStrategy<Op> {
    let sizes = (prop::sample::select(vec![1usize, 2, 3, 5]), 1usize..3, 1usize..3);
    let window = prop::collection::vec(sizes, 2).prop_map(|sizes| Window {
        kernel: sizes.iter().map(|&(kernel, ..)| kernel).collect(),
        stride: sizes.iter().map(|&(_, stride, _)| stride).collect(),
        dilation: sizes.iter().map(|&(.., dilation)| dilation).collect(),
        padding: Padding::Half,
        ceil: false,
    });
    let conv = |kernel: usize, stride: usize, channels, groups| {
        let (kernel, stride, dilation) = (vec![kernel; 2], vec![stride; 2], vec![1; 2]);
        let window = Window { kernel, stride, dilation, padding: Padding::Half, ceil: false };
        Op::from(Conv { channels, window, groups, bias: true, weights: None })
    };
    let channels = || prop::sample::select(vec![8usize, 16, 24]);
    let groups = prop::sample::select(vec![(8usize, 8usize), (16, 16), (24, 24), (16, 8), (8, 2), (24, 2)]);
    prop_oneof![
        4 => channels().prop_map(move |channels| conv(1, 1, channels, 1)),
        1 => channels().prop_map(move |channels| conv(3, 2, channels, 1)),
        4 => (groups, window.clone(), any::<bool>()).prop_map(|((channels, groups), window, bias)| {
            Conv { channels, window, groups, bias, weights: None }.into()
        }),
        3 => (window, any::<bool>(), any::<bool>()).prop_map(|(window, max, count_pad)| match max {
            true => MaxPool { window }.into(),
            false => AvgPool { window, count_pad }.into(),
        }),
        2 => activation().prop_map(Op::from),
        1 => Just(GlobalAvgPool.into()),
        1 => Just(BatchNorm { eps: 1e-3, affine: true }.into()),
    ]
    .boxed()
}

pub fn pool(rank: usize) -> BoxedStrategy<Op> {
    let per_dim = |range| prop::collection::vec(range, rank);
    let padding = prop_oneof![Just(Padding::Valid), Just(Padding::All(1)), Just(Padding::Same), Just(Padding::Half)];
    (per_dim(1usize..5), per_dim(1usize..4), per_dim(1usize..3), padding, any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(kernel, stride, dilation, padding, ceil, max, count_pad)| {
            let window = Window { kernel, stride, dilation, padding, ceil };
            if max { MaxPool { window }.into() } else { AvgPool { window, count_pad }.into() }
        })
        .boxed()
}

fn padding(rank: usize) -> BoxedStrategy<Padding> {
    prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Half),
        Just(Padding::Same),
        (0usize..4).prop_map(Padding::All),
        prop::collection::vec((0usize..4, 0usize..4), rank).prop_map(Padding::Sides),
    ]
    .boxed()
}

fn adaptive(rank: usize) -> BoxedStrategy<Op> {
    let size = prop::collection::vec(1usize..6, rank);
    let either = |(size, max)| if max { AdaptiveMaxPool { size }.into() } else { AdaptiveAvgPool { size }.into() };
    (size, any::<bool>()).prop_map(either).boxed()
}

fn lp_pool(rank: usize) -> BoxedStrategy<Op> {
    let window = pool(rank).prop_filter_map("a pooling", |op| match op {
        Op::MaxPool(MaxPool { window }) | Op::AvgPool(AvgPool { window, .. }) => Some(window),
        _ => None,
    });
    (window, 1..=LpPool::MAX_P).prop_map(|(window, p)| LpPool { window, p }.into()).boxed()
}

fn reduce() -> BoxedStrategy<Op> {
    let how = prop::sample::select(vec![Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min]);
    (how, prop_oneof![2 => Just(Reduced::Channels), 1 => Just(Reduced::Positions)])
        .prop_map(|(how, over)| Reduce { how, over }.into())
        .boxed()
}

fn unit_norm(over: Over, l1: bool) -> UnitNorm {
    UnitNorm { norm: if l1 { LpNorm::L1 } else { LpNorm::L2 }, over, eps: 1e-3 }
}

/// Mostly what any input has.
fn over() -> BoxedStrategy<Over> {
    let some = prop::sample::select(vec![Over::Channels, Over::All]);
    prop_oneof![1 => some, 1 => prop::sample::select(Over::ALL.to_vec())].boxed()
}

fn lrn() -> BoxedStrategy<Op> {
    (1usize..7, prop_oneof![Just(0.75), 0.3f64..1.5])
        .prop_flat_map(|(size, beta)| {
            let longer = if size % 2 == 0 { vec![Side::Front, Side::Back] } else { vec![Side::Front] };
            let lrn = move |longer| LocalResponseNorm { size, alpha: 0.1, beta, k: 1.5, longer }.into();
            prop::sample::select(longer).prop_map(lrn)
        })
        .boxed()
}

/// Activations that keep all values near those that they get.
pub fn activation() -> impl Strategy<Value = Activation> {
    use Activation::*;
    prop::sample::select(vec![
        Relu,
        Relu6,
        LeakyRelu(0.1),
        LeakyRelu(1.5),
        Elu(0.7),
        Selu,
        Celu(0.5),
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
        Clip { low: -0.5, high: 1.5 },
        Clip { low: -1.0, high: f32::INFINITY },
        Affine { scale: -0.5, shift: 0.25 },
        Abs,
    ])
}

/// Activations that make large differences of small ones, or NaN.
fn steep() -> impl Strategy<Value = Activation> {
    prop::sample::select(vec![
        Activation::ThresholdedRelu(0.5),
        Activation::Exp,
        Activation::Sqrt,
        Activation::Reciprocal,
    ])
}

fn dense() -> BoxedStrategy<Op> {
    (1usize..70, any::<bool>(), any::<bool>())
        .prop_map(|(features, bias, flatten)| Dense { features, bias, flatten }.into())
        .boxed()
}

/// Padding, cropping and other sizes.
pub fn resample(rank: usize) -> BoxedStrategy<Op> {
    prop_oneof![1 => pad(rank), 1 => crop(rank), 1 => upsample(rank), 2 => resize(rank)].boxed()
}

fn pad(rank: usize) -> BoxedStrategy<Op> {
    let fill = prop::sample::select(vec![Fill::ZEROS, Fill::ZEROS, Fill::Constant(-1.5), Fill::Reflect, Fill::Edge]);
    (prop::collection::vec(0usize..3, 2 * rank), (0usize..5, 0usize..5), fill)
        .prop_map(|(sides, channels, fill)| {
            let channels = if fill == Fill::ZEROS { channels } else { (0, 0) };
            Pad { sides: PadArg::List(sides), channels, fill }.into()
        })
        .boxed()
}

fn crop(rank: usize) -> BoxedStrategy<Op> {
    prop::collection::vec(0usize..3, 2 * rank).prop_map(|sides| Crop { sides: PadArg::List(sides) }.into()).boxed()
}

fn resize(rank: usize) -> BoxedStrategy<Op> {
    use Coordinates::*;
    let extent = prop_oneof![
        prop::collection::vec(1usize..20, rank).prop_map(Extent::Size),
        prop::collection::vec(0.2f64..3.0, rank).prop_map(Extent::Scale),
    ];
    let roundings = [Rounding::Floor, Rounding::Ceil, Rounding::PreferFloor, Rounding::PreferCeil];
    let filter = prop_oneof![
        prop::sample::select(roundings.to_vec()).prop_map(Filter::Nearest),
        Just(Filter::Linear),
        prop::sample::select(vec![0.75, 0.5]).prop_map(Filter::Cubic),
    ];
    let all = vec![HalfPixel, PytorchHalfPixel, AlignCorners, Asymmetric, HalfPixelSymmetric];
    (extent, filter, prop::sample::select(all))
        .prop_map(|(extent, filter, coordinates)| Resize { extent, filter, coordinates }.into())
        .boxed()
}

fn upsample(rank: usize) -> BoxedStrategy<Op> {
    use Interpolation::*;
    let mode = prop::sample::select(vec![Nearest, Bilinear { align_corners: false }, Bilinear { align_corners: true }]);
    (prop::collection::vec(1usize..4, rank), mode).prop_map(|(scale, mode)| Upsample { scale, mode }.into()).boxed()
}

/// At and beside the borders of blocks.
fn slice() -> BoxedStrategy<Op> {
    let start = prop_oneof![Just(0usize), Just(4), Just(8), Just(16), 0usize..20];
    (start, prop_oneof![1usize..20, Just(4), Just(8), Just(16)])
        .prop_map(|(start, count)| ChannelSlice { channels: start..start + count }.into())
        .boxed()
}

/// Layers that move positions; few sizes fit the blocks.
fn rearrangement(rank: usize) -> BoxedStrategy<Op> {
    let per_dim = |range| prop::collection::vec(range, rank);
    let order = prop::sample::select(vec![BlockOrder::Crd, BlockOrder::Dcr]);
    let block = || prop_oneof![(1usize..3).prop_map(|size| vec![size]), per_dim(1usize..4)];
    prop_oneof![
        3 => (block(), order.clone()).prop_map(|(block, order)| DepthToSpace { block, order }.into()),
        3 => (block(), order).prop_map(|(block, order)| SpaceToDepth { block, order }.into()),
        2 => (per_dim(1usize..4), per_dim(0usize..3)).prop_map(|(step, at)| Subsample { step, at }.into()),
        1 => prop::collection::vec(1usize..4, 1..4).prop_map(|size| Unflatten { size }.into()),
        3 => Just((1..rank + 2).collect::<Vec<_>>()).prop_shuffle().prop_map(|order| Permute { order }.into()),
    ]
    .boxed()
}

/// Channels and spatial sizes of an input.
pub fn dims() -> BoxedStrategy<Vec<usize>> {
    let spatial = prop_oneof![
        4 => prop::collection::vec(1usize..15, 2),
        1 => prop::collection::vec(prop::sample::select(vec![2usize, 4, 6, 12]), 1..4),
        2 => prop::collection::vec(1usize..40, 1),
        1 => prop::collection::vec(1usize..7, 3),
        1 => Just(vec![]),
    ];
    let channels = prop_oneof![4 => 1usize..20, 2 => Just(16), 2 => Just(32), 1 => Just(72), 2 => 30usize..40];
    (channels, spatial).prop_map(|(channels, spatial)| [vec![channels], spatial].concat()).boxed()
}

/// One step of a random network.
#[derive(Clone, Debug)]
pub enum Part {
    Layer(Op),
    /// x + f(x), where the shapes allow it; else f(x).
    Residual(Vec<Op>),
    /// [f(x), g(x), ...], of the branches that fit together.
    Concat(Vec<Vec<Op>>),
    /// [x, f(x)]
    Grow(Vec<Op>),
    /// x * g(x), or x + g(x) (`true`), where g(x) has one number for each of these.
    Gate(Activation, Each, bool),
    /// [a, f(b)] of two parts of the channels, the second of which f works on, or of the first (`true`).
    Split(usize, Vec<Op>, bool),
    /// An inverted residual: see [`Mobile`].
    Mobile(Mobile),
    /// The value is an output too.
    Output,
}

/// x -> 1x1 convolution -> depthwise convolution -> squeeze and excitation -> 1x1 convolution, plus x where the shapes
/// allow it.
#[derive(Clone, Debug)]
pub struct Mobile {
    pub expanded: usize,
    pub kernel: usize,
    pub stride: usize,
    pub activation: Activation,
    /// Channels between the two layers of the gate, and its activation; `None` without a gate.
    pub squeeze: Option<(usize, Activation)>,
    pub channels: usize,
    pub norm: bool,
    /// The depthwise convolution's value is an output of the model.
    pub shown: bool,
}

pub fn mobile() -> impl Strategy<Value = Mobile> {
    let gate = prop::option::weighted(0.8, (1usize..12, activation()));
    let kernel = prop::sample::select(vec![1usize, 3, 5, 7]);
    let shown = prop::bool::weighted(0.1);
    (1usize..40, kernel, 1usize..3, activation(), gate, 1usize..40, any::<bool>(), shown).prop_map(
        |(expanded, kernel, stride, activation, squeeze, channels, norm, shown)| Mobile {
            expanded,
            kernel,
            stride,
            activation,
            squeeze,
            channels,
            norm,
            shown,
        },
    )
}

impl Mobile {
    /// Adds it to a graph with two spatial dimensions.
    fn add(&self, graph: &mut Graph, x: NodeId, path: &str) -> Option<NodeId> {
        let conv = |channels: usize, kernel: usize, stride: usize, groups: usize| -> Op {
            let window = Window {
                kernel: vec![kernel; 2],
                stride: vec![stride; 2],
                dilation: vec![1; 2],
                padding: Padding::Half,
                ceil: false,
            };
            Conv { channels, window, groups, bias: !self.norm, weights: None }.into()
        };
        let wide = conv(self.expanded, 1, 1, 1);
        let deep = conv(self.expanded, self.kernel, self.stride, self.expanded);
        let act = Op::from(self.activation);
        let norm = |op: Op| if self.norm { vec![op, BatchNorm { eps: 1e-3, affine: true }.into()] } else { vec![op] };
        let ops = [norm(wide), vec![act.clone()], norm(deep), vec![act]].concat();
        let deep = chain(graph, x, &ops, &format!("{path}.deep"))?;
        let gated = match self.squeeze {
            None => deep,
            Some((channels, activation)) => {
                let ops: [Op; 5] = [
                    GlobalAvgPool.into(),
                    conv(channels, 1, 1, 1),
                    activation.into(),
                    conv(self.expanded, 1, 1, 1),
                    Activation::Sigmoid.into(),
                ];
                let gate = chain(graph, deep, &ops, &format!("{path}.gate"))?;
                add(graph, Mul, &[deep, gate], &format!("{path}.mul"))?
            }
        };
        let y = chain(graph, gated, &norm(conv(self.channels, 1, 1, 1)), &format!("{path}.narrow"))?;
        if self.shown {
            output(graph, deep);
            // Its mean, in a concatenation.
            let mean = add(graph, GlobalAvgPool, &[deep], &format!("{path}.mean"))?;
            let both = add(graph, Concat, &[mean, mean], &format!("{path}.means"))?;
            output(graph, both);
        }
        if graph[y].ty == graph[x].ty { add(graph, Add, &[y, x], &format!("{path}.add")) } else { Some(y) }
    }
}

pub fn part(rank: usize) -> BoxedStrategy<Part> {
    let chain = move || prop::collection::vec(same_size(rank), 1..3);
    let each = prop::sample::select(vec![Each::Element, Each::Channel, Each::Position, Each::Sample]);
    prop_oneof![
        5 => tame_layer(rank).prop_map(Part::Layer),
        3 => chain().prop_map(Part::Residual),
        2 => prop::collection::vec(chain(), 1..4).prop_map(Part::Concat),
        2 => chain().prop_map(Part::Grow),
        2 => (activation(), each, any::<bool>()).prop_map(|(activation, each, sum)| Part::Gate(activation, each, sum)),
        2 => (1usize..20, chain(), any::<bool>()).prop_map(|(at, ops, swap)| Part::Split(at, ops, swap)),
        1 => Just(Part::Output),
    ]
    .boxed()
}

/// Layers that keep the spatial size.
fn same_size(rank: usize) -> BoxedStrategy<Op> {
    let kernel = prop::collection::vec(prop::sample::select(vec![1usize, 3]), rank);
    let channels = prop::sample::select(vec![4usize, 8, 12, 16, 32]);
    let conv = (kernel, channels, any::<bool>(), 0..5).prop_map(move |(kernel, channels, bias, transposed)| {
        let window =
            Window { stride: vec![1; rank], dilation: vec![1; rank], padding: Padding::Half, kernel, ceil: false };
        let output_padding = vec![0; rank];
        match transposed {
            0 => ConvTranspose { channels, window, output_padding, groups: 1, bias, output_major: false }.into(),
            _ => Conv { channels, window, groups: 1, bias, weights: None }.into(),
        }
    });
    prop_oneof![
        4 => conv,
        2 => activation().prop_map(Op::from),
        1 => scaling(),
        1 => any::<bool>().prop_map(|shared| PRelu { shared }.into()),
        1 => Just(Dropout { p: 0.5 }.into()),
    ]
    .boxed()
}

/// What can be folded into a layer before it.
fn scaling() -> BoxedStrategy<Op> {
    prop_oneof![
        any::<bool>().prop_map(|affine| BatchNorm { eps: 1e-3, affine }.into()),
        any::<bool>().prop_map(|bias| Scale { bias }.into()),
        Just(Activation::Affine { scale: -0.75, shift: 0.5 }.into()),
    ]
    .boxed()
}

/// Builds a network of the parts that fit; its last value is the first output.
pub fn network(dims: &[usize], parts: &[Part]) -> Verified<Graph> {
    let (mut graph, mut x) = graph_of(dims);
    let mut extra = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let path = format!("p{index}");
        x = add_part(&mut graph, x, part, &path).unwrap_or(x);
        if matches!(part, Part::Output) {
            extra.push(x);
        }
    }
    output(&mut graph, x);
    extra.into_iter().for_each(|node| output(&mut graph, node));
    verified(graph)
}

fn add_part(graph: &mut Graph, x: NodeId, part: &Part, path: &str) -> Option<NodeId> {
    match part {
        Part::Layer(op) => add(graph, op.clone(), &[x], path),
        Part::Output => None,
        Part::Mobile(mobile) => mobile.add(graph, x, path),
        Part::Residual(ops) => {
            let y = chain(graph, x, ops, path)?;
            if graph[y].ty != graph[x].ty {
                return Some(y);
            }
            add(graph, Add, &[y, x], &format!("{path}.add"))
        }
        Part::Concat(branches) => {
            let ends = branches.iter().enumerate().filter_map(|(i, ops)| chain(graph, x, ops, &format!("{path}.b{i}")));
            let ends: Vec<NodeId> = ends.collect();
            add(graph, Concat, &ends, &format!("{path}.concat"))
        }
        Part::Grow(ops) => {
            let y = chain(graph, x, ops, path)?;
            add(graph, Concat, &[x, y], &format!("{path}.grow"))
        }
        Part::Split(at, ops, swap) => {
            let channels = graph[x].ty.channels();
            let mut halves = [0..*at, *at..channels]
                .map(|channels| add(graph, ChannelSlice { channels }, &[x], &format!("{path}.slice")));
            let [_, Some(worked)] = &mut halves else { return None };
            *worked = chain(graph, *worked, ops, path)?;
            if *swap {
                halves.reverse();
            }
            add(graph, Concat, &[halves[0]?, halves[1]?], &format!("{path}.joined"))
        }
        Part::Gate(activation, each, sum) => {
            let step = |name: &str| format!("{path}.{name}");
            let pooled = match each {
                Each::Channel | Each::Sample => add(graph, GlobalAvgPool, &[x], &step("pool"))?,
                Each::Element | Each::Position => x,
            };
            let narrow = match each {
                Each::Position | Each::Sample => {
                    add(graph, to_one_channel(graph[x].ty.spatial().len()), &[pooled], &step("narrow"))?
                }
                Each::Element | Each::Channel => pooled,
            };
            let gate = add(graph, *activation, &[narrow], &step("act"))?;
            match sum {
                true => add(graph, Add, &[x, gate], &step("sum")),
                false => add(graph, Mul, &[x, gate], &step("gate")),
            }
        }
    }
}

/// A 1x1 convolution that leaves one number for each position.
fn to_one_channel(rank: usize) -> Conv {
    let ones = vec![1; rank];
    let window =
        Window { kernel: ones.clone(), stride: ones.clone(), dilation: ones, padding: Padding::Valid, ceil: false };
    Conv { channels: 1, window, groups: 1, bias: true, weights: None }
}

fn chain(graph: &mut Graph, x: NodeId, ops: &[Op], path: &str) -> Option<NodeId> {
    ops.iter().enumerate().try_fold(x, |x, (i, op)| add(graph, op.clone(), &[x], &format!("{path}.{i}")))
}

/// Adds a layer if it fits and stays small.
fn add(graph: &mut Graph, op: impl Into<Op>, inputs: &[NodeId], path: &str) -> Option<NodeId> {
    if inputs.is_empty() {
        return None;
    }
    let op = op.into();
    let types: Vec<&TensorType> = inputs.iter().map(|&id| &graph[id].ty).collect();
    let small = op.layer()?.shape(&types).is_ok_and(|ty| ty.elements() <= 40_000);
    small.then(|| graph.add_layer(op, inputs, path).ok()).flatten()
}

/// A network whose kernels are stored in this type.
pub fn in_halves(graph: Verified<Graph>, half: Option<Half>) -> Verified<Graph> {
    let Some(half) = half else { return graph };
    let mut graph = graph.into_inner();
    let kernels = graph.params.iter_mut().filter(|param| param.is_read() && param.dims.len() > 1);
    kernels.for_each(|param| param.source = ParamSource::Half(half));
    verified(graph)
}

/// Runs a network and checks that every channel of each of its layers, taken by itself, is within `tolerance` of its terms.
pub fn run_judged(
    session: &mut Session,
    options: &Options,
    inputs: &[Tensor],
    seed: u64,
    tolerance: f32,
) -> Vec<Tensor> {
    let mut found = vec![None; session.plan().graph.nodes.len()];
    let outputs = session.run_collected(inputs, &mut |done| {
        done.values().into_iter().for_each(|(node, value)| found[node.0 as usize] = Some(value));
    });
    let fused = &session.plan().graph;
    let errors = interp::channel_errors(fused, &weights(seed), inputs, found);
    for (id, worst) in fused.ids().zip(errors).filter_map(|(id, worst)| Some((id, worst?))) {
        let path = &fused[id].origin.path;
        assert!(worst.error <= tolerance, "{options:?}, {path}: {worst:?}\n{}", svertka::ir::print(fused));
    }
    outputs.unwrap()
}

/// Layers that read one value and differ in one argument: each is an output, behind an activation of its own slope.
pub fn siblings() -> BoxedStrategy<Verified<Graph>> {
    dims()
        .prop_flat_map(|dims| {
            let rank = (dims.len() - 1).max(1);
            let paddings = prop::collection::vec(padding(rank), 2..5);
            let depthwise = Just((dims[0], dims[0]));
            let window = prop_oneof![2 => conv(rank), 1 => pool(rank)];
            let windows = (window, paddings, prop_oneof![1 => Just((0, 0)), 1 => depthwise]);
            let windows = windows.prop_map(|(op, paddings, groups)| {
                paddings.into_iter().map(|padding| with_padding(&op, padding, groups)).collect()
            });
            let other = prop_oneof![
                prop::collection::vec(lrn(), 2..4),
                prop::collection::vec(pad(rank), 2..4),
                prop::collection::vec(upsample(rank), 2..4),
                prop::collection::vec(adaptive(rank), 2..4),
                prop::collection::vec((1usize..5).prop_map(|groups| ChannelShuffle { groups }.into()), 2..4),
                prop::collection::vec(
                    (1u32..9).prop_map(|eps| BatchNorm { eps: eps.into(), affine: true }.into()),
                    2..4
                ),
            ];
            (Just(dims), prop_oneof![3 => windows, 2 => other], any::<bool>())
        })
        .prop_map(|(dims, ops, activated): (Vec<usize>, Vec<Op>, bool)| {
            let (mut graph, x) = graph_of(&dims);
            for (index, op) in ops.into_iter().enumerate() {
                let slope = Activation::LeakyRelu(0.1 + index as f32);
                let y = add(&mut graph, op, &[x], &format!("l{index}")).unwrap_or(x);
                let y = if activated { add(&mut graph, slope, &[y], &format!("a{index}")).unwrap_or(y) } else { y };
                output(&mut graph, y);
            }
            verified(graph)
        })
        .boxed()
}

/// The same layer with another padding, and in as many groups of as many channels if there are any.
fn with_padding(op: &Op, padding: Padding, (groups, channels): (usize, usize)) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::Conv(conv) => {
            conv.window.padding = padding;
            if groups > 0 {
                (conv.groups, conv.channels) = (groups, channels);
            }
        }
        Op::MaxPool(pool) => pool.window.padding = padding,
        Op::AvgPool(pool) => pool.window.padding = padding,
        _ => {}
    }
    op
}

/// An input's sizes, and a layer that takes it most of the time.
pub fn any_layer() -> impl Strategy<Value = (Vec<usize>, Op)> {
    dims().prop_flat_map(|dims| {
        let layer = layer(dims.len() - 1);
        (Just(dims), layer)
    })
}

/// A network with one input.
pub fn any_network() -> impl Strategy<Value = Verified<Graph>> {
    parts().prop_map(|(dims, parts)| network(&dims, &parts))
}

/// An input's sizes, and what [`network`] makes of them.
pub fn parts() -> impl Strategy<Value = (Vec<usize>, Vec<Part>)> {
    dims().prop_flat_map(|dims| {
        let parts = prop::collection::vec(part(dims.len() - 1), 1..8);
        (Just(dims), parts)
    })
}
