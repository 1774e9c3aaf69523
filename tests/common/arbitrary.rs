//! Arbitrary graphs, most of them wrong, made of bytes: for property tests and for fuzzing.

use crate::common::{difference, inputs, noise, weights};
use svertka::interp;
use svertka::ir::*;
use svertka::layers::*;
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::tensor::{Batch, DType, TensorType};

/// What is run must be small: all values together, and the multiplications for them.
const MOST_ELEMENTS: usize = 20_000;
const MOST_MACS: u64 = 2_000_000;

/// Verifies the graph that some bytes stand for. If it is one, the interpreter and the engines must run it, as it is and
/// optimised, and agree. Gives whether it is one, and whether it was small enough to be run.
///
/// # Panics
/// If anything fails that should not.
pub fn check_graph(bytes: &[u8], engines: &[Engine]) -> (bool, bool) {
    let Ok(graph) = verify(Bytes(bytes).graph()) else { return (false, false) };
    print(&graph);
    if !is_small(&graph) {
        return (true, false);
    }
    let batch = graph.inputs.iter().find_map(|&id| match graph[id].ty.batch {
        Batch::Fixed(batch) => Some(batch),
        Batch::Symbolic(_) => None,
    });
    let inputs = inputs(&graph, batch.unwrap_or(2), 1);
    let expected = interp::run(&graph, &weights(1), &inputs, Accumulate::F64);
    for &engine in engines {
        for chain in [None, Some(2)] {
            let options =
                Options { engine, exact: true, forced: Forced { chain, ..Forced::default() }, ..Options::default() };
            let mut session = Session::new(graph.clone(), &weights(1), &options).unwrap();
            let found = session.run(&inputs).unwrap();
            // What the passes made is a graph as well.
            let optimised = session.plan().graph.clone();
            let again = Session::new(optimised, &weights(1), &options).unwrap().run(&inputs).unwrap();
            for (found, expected) in found.iter().chain(&again).zip(expected.iter().chain(&expected)) {
                let difference = difference(found, expected);
                let close = difference <= 1e-4 || difference <= noise(&graph, &weights(1), &inputs, 1e-4);
                assert!(close, "{options:?}: {difference}\n{}", print(&graph));
            }
        }
    }
    (true, true)
}

fn is_small(graph: &Verified<Graph>) -> bool {
    let figures = svertka::analysis::figures(graph);
    let values = graph.nodes.iter().map(|node| &node.ty.dims).chain(graph.params.iter().map(|param| &param.dims));
    let elements = values.map(|dims| dims.iter().product::<usize>()).fold(0, usize::saturating_add);
    let batch = graph.inputs.iter().any(|&id| matches!(graph[id].ty.batch, Batch::Fixed(5..)));
    elements <= MOST_ELEMENTS && figures.macs() <= MOST_MACS && !batch
}

/// Decisions, one after the other; 0 where there are no more bytes.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// One of `n` decisions.
    fn below(&mut self, n: usize) -> usize {
        self.byte() as usize % n
    }

    /// True once in `n` times, and not where bytes have run out.
    fn seldom(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// A size, hardly ever one that makes no sense.
    fn size(&mut self, most: usize) -> usize {
        const ODD: [usize; 8] = [0, 0, usize::MAX, 1 << 62, 1 << 36, (1 << 36) + 1, 1 << 20, u32::MAX as usize];
        if self.seldom(64) { ODD[self.below(ODD.len())] } else { 1 + self.below(most) }
    }

    fn sizes(&mut self, count: usize, most: usize) -> Vec<usize> {
        let count = if self.seldom(64) { self.below(6) } else { count };
        (0..count).map(|_| self.size(most)).collect()
    }

    fn number(&mut self) -> f64 {
        const ODD: [f64; 5] = [f64::NAN, f64::INFINITY, -1.0, 1e300, 0.0];
        if self.seldom(32) { ODD[self.below(ODD.len())] } else { 0.25 * (1.0 + f64::from(self.byte() % 8)) }
    }

    fn graph(mut self) -> Graph {
        let mut graph = Graph { name: "arbitrary".into(), ..Graph::default() };
        let (dims, batch) = (self.dims(), self.batch());
        for index in 0..1 + usize::from(self.seldom(4)) {
            let dims = if self.seldom(8) { self.dims() } else { dims.clone() };
            let batch = if self.seldom(16) { self.batch() } else { batch.clone() };
            graph.add_input(&format!("in{index}"), TensorType { dtype: DType::F32, batch, dims });
        }
        while !self.0.is_empty() && graph.nodes.len() < 40 {
            self.node(&mut graph);
        }
        for index in 0..1 + self.below(3) {
            // The last value is an output, so that something is computed.
            let last = NodeId(graph.nodes.len() as u32 - 1);
            let node = if index == 0 && !self.seldom(16) { last } else { self.value(&graph) };
            graph.outputs.push(Output { name: format!("y{index}"), node });
        }
        if self.seldom(4) {
            self.break_something(&mut graph);
        }
        graph
    }

    fn dims(&mut self) -> Vec<usize> {
        let rank = [2, 2, 2, 1, 0, 3][self.below(6)];
        let channels = if self.flag() { 8 } else { self.size(20) };
        [vec![channels], self.sizes(rank, 9)].concat()
    }

    fn batch(&mut self) -> Batch {
        match self.below(4) {
            0 => Batch::Fixed(self.size(3)),
            _ => Batch::Symbolic("N".into()),
        }
    }

    /// A node that exists, most of the time, and of these one of the last.
    fn value(&mut self, graph: &Graph) -> NodeId {
        let nodes = graph.nodes.len();
        match self.byte() {
            255 => NodeId(u32::MAX),
            254 => NodeId(nodes as u32 + 1),
            byte @ 200.. => NodeId((byte as usize % nodes) as u32),
            byte => NodeId((nodes - 1 - byte as usize % nodes.min(3)) as u32),
        }
    }

    /// Adds a layer to the graph, as it is meant to be, or as nobody would.
    fn node(&mut self, graph: &mut Graph) {
        let x = self.value(graph);
        let known = graph.nodes.get(x.0 as usize).map(|node| node.ty.clone());
        let Some(ty) = known else { return };
        let op = self.op(&ty);
        let more = match op {
            Op::Concat(_) => self.below(3),
            Op::Add(_) | Op::Mul(_) => 1,
            _ => usize::from(self.seldom(64)),
        };
        let inputs: Vec<NodeId> = [x].into_iter().chain((0..more).map(|_| self.value(graph))).collect();
        let path = format!("n{}", graph.nodes.len());
        let exist = inputs.iter().all(|input| (input.0 as usize) < graph.nodes.len());
        let id = match exist && !matches!(op, Op::Input) {
            true => graph.add_layer(op.clone(), &inputs, &path).ok(),
            false => None,
        };
        let id = match id {
            Some(id) => id,
            // Now and then as if it fitted.
            None if self.seldom(32) => {
                let ty = TensorType { dims: self.dims(), ..ty };
                graph.add_node(Node::new(op, inputs, Vec::new(), ty, Origin { path, span: None }))
            }
            None => return,
        };
        self.marks(graph, id);
    }

    /// What passes do to a node.
    fn marks(&mut self, graph: &mut Graph, id: NodeId) {
        match self.byte() {
            0..20 => {
                let activation = self.activation();
                graph[id].epilogue.push(Epilogue::Activation(activation));
            }
            20..40 => {
                let same = graph.ids().take(id.0 as usize).filter(|&other| graph[other].ty == graph[id].ty).last();
                let Some(other) = same else { return };
                let input = graph[id].inputs.len();
                graph[id].inputs.push(other);
                graph[id].epilogue.push(Epilogue::Add { input });
            }
            40..60 => {
                let channels = graph[id].inputs.first().map(|x| graph[*x].ty.channels());
                let fits = |other: &NodeId| {
                    let ty = &graph[*other].ty;
                    Some(ty.channels()) == channels && ty.spatial().iter().all(|&size| size == 1)
                };
                let Some(gate) = graph.ids().take(id.0 as usize).find(fits) else { return };
                graph[id].inputs.insert(1, gate);
                graph[id].gated = true;
            }
            60..90 if matches!(graph[id].op, Op::AvgPool(_)) => graph[id].beside = true,
            90..120 if matches!(graph[id].op, Op::Concat(_)) => {
                let operand = graph[id].inputs[0];
                graph[operand].slice_of = Some(Slice { concat: id, channel: 0 });
            }
            _ => {}
        }
    }

    fn activation(&mut self) -> Activation {
        use Activation::*;
        let [a, b] = [self.number(), self.number()];
        let (number, other) = (a as f32, b as f32);
        let all = [
            Relu,
            Relu6,
            LeakyRelu(number),
            ThresholdedRelu(number),
            Elu(number),
            Selu,
            Celu(number),
            Gelu,
            GeluTanh,
            Silu,
            HardSwish,
            Mish,
            Softplus,
            Softsign,
            Tanh,
            Sigmoid,
            HardSigmoid { slope: a, offset: b },
            Clip { low: number, high: other },
            Affine { scale: number, shift: other },
            Exp,
            Sqrt,
            Abs,
            Reciprocal,
        ];
        all[self.below(all.len())]
    }

    fn window(&mut self, rank: usize) -> Window {
        let kernel = self.sizes(rank, 4);
        let (stride, dilation) = (self.sizes(rank, 3), self.sizes(rank, 2));
        let padding = match self.below(8) {
            0 => Padding::Valid,
            1 => Padding::Same,
            2 => Padding::All(self.size(2)),
            3 => Padding::Sides((0..rank).map(|_| (self.size(3), self.below(3))).collect()),
            4 if self.seldom(8) => Padding::Sides(vec![(1, usize::MAX); self.below(4)]),
            _ => Padding::Half,
        };
        Window { kernel, stride, dilation, padding, ceil: self.seldom(8) }
    }

    fn op(&mut self, x: &TensorType) -> Op {
        let (rank, channels) = (x.dims.len().saturating_sub(1), x.dims.first().copied().unwrap_or(1));
        match self.below(28) {
            0..5 => self.conv(rank, channels),
            5 => self.conv_transpose(rank, channels),
            6 => Dense { features: self.size(20), bias: self.flag(), flatten: self.flag() }.into(),
            7 => MaxPool { window: self.window(rank) }.into(),
            8 => AvgPool { window: self.window(rank), count_pad: self.flag() }.into(),
            9 => AvgPool { window: Window::whole(x.dims.get(1..).unwrap_or(&[])), count_pad: true }.into(),
            10 if self.flag() => AdaptiveAvgPool { size: self.sizes(rank, 5) }.into(),
            10 if self.flag() => LpPool { window: self.window(rank), p: self.below(8) }.into(),
            10 => AdaptiveMaxPool { size: self.sizes(rank, 5) }.into(),
            11 => {
                let how = [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min][self.below(4)];
                let softmax = Softmax { over: self.over(), log: self.flag() };
                let over = if self.flag() { Reduced::Channels } else { Reduced::Positions };
                let all: [Op; 5] = [
                    GlobalAvgPool.into(),
                    GlobalMaxPool.into(),
                    softmax.into(),
                    Identity.into(),
                    Reduce { how, over }.into(),
                ];
                all[self.below(5)].clone()
            }
            12 => match self.below(5) {
                0 => BatchNorm { eps: self.number(), affine: self.flag() }.into(),
                1 => LayerNorm { over: self.over(), eps: self.number(), affine: self.flag() }.into(),
                2 => GroupNorm { groups: self.size(4), eps: self.number(), affine: self.flag() }.into(),
                3 => {
                    let norm = if self.flag() { LpNorm::L1 } else { LpNorm::L2 };
                    UnitNorm { norm, over: self.over(), eps: self.number() }.into()
                }
                _ => InstanceNorm { eps: self.number(), affine: self.flag() }.into(),
            },
            13 => {
                // Of a sum above 0, whose powers are numbers.
                let [alpha, beta, k] =
                    [self.number(), self.number(), self.number()].map(|n| if n > -2.0 { n.max(0.25) } else { n });
                let longer = if self.flag() { Side::Front } else { Side::Back };
                LocalResponseNorm { size: self.size(6), alpha, beta, k, longer }.into()
            }
            14 => self.activation().into(),
            15 => {
                [Op::from(self.activation()), Scale { bias: self.flag() }.into(), PRelu { shared: self.flag() }.into()]
                    [self.below(3)]
                .clone()
            }
            16 => Dropout { p: self.number() }.into(),
            17 => Flatten.into(),
            18 => Pad {
                sides: self.pad(rank),
                channels: (self.below(3), self.size(9).wrapping_sub(usize::from(self.flag()))),
                fill: match self.below(6) {
                    0 => Fill::Constant(self.number() as f32),
                    1 => Fill::Reflect,
                    2 => Fill::Edge,
                    _ => Fill::ZEROS,
                },
            }
            .into(),
            19 if self.flag() => self.resize(rank),
            19 => {
                let align_corners = self.flag();
                let mode = if self.flag() { Interpolation::Nearest } else { Interpolation::Bilinear { align_corners } };
                Upsample { scale: self.sizes(rank, 3), mode }.into()
            }
            20 => ChannelShuffle { groups: self.size(4) }.into(),
            21 => Concat.into(),
            22 => Add.into(),
            23 => {
                let start = [0, 4, 8][self.below(3)];
                ChannelSlice { channels: start..self.size(20).saturating_add(start) }.into()
            }
            24 => {
                let order = if self.flag() { BlockOrder::Crd } else { BlockOrder::Dcr };
                match self.flag() {
                    true => DepthToSpace { block: self.sizes(rank, 2), order }.into(),
                    false => SpaceToDepth { block: self.sizes(rank, 2), order }.into(),
                }
            }
            25 => Subsample { step: self.sizes(rank, 3), at: (0..rank).map(|_| self.below(3)).collect() }.into(),
            26 if self.flag() => Unflatten { size: self.sizes(2, 2) }.into(),
            26 => Permute { order: (0..rank + 1).map(|_| self.below(4)).collect() }.into(),
            27 if self.seldom(64) => Op::Input,
            _ => Mul.into(),
        }
    }

    fn over(&mut self) -> Over {
        Over::ALL[self.below(Over::ALL.len())]
    }

    fn conv(&mut self, rank: usize, channels: usize) -> Op {
        let (groups, channels) = match self.below(4) {
            0 => (channels, channels),
            1 => (self.size(4), 8),
            2 => (1, self.size(24)),
            _ => (1, 8),
        };
        let window = match self.flag() {
            true => self.window(rank),
            false => Window::whole(&vec![1; rank]),
        };
        let taps = window.kernel.iter().fold(1usize, |taps, &size| taps.saturating_mul(size)).min(64);
        let weights = self.seldom(16).then(|| vec![0.5; taps.saturating_sub(self.below(2))].into());
        Conv { channels, window, groups, bias: self.flag(), weights }.into()
    }

    fn conv_transpose(&mut self, rank: usize, channels: usize) -> Op {
        let Op::Conv(Conv { channels, groups, bias, .. }) = self.conv(rank, channels) else {
            unreachable!("asked for")
        };
        let window = Window { ceil: false, ..self.window(rank) };
        let output_padding = (0..rank).map(|_| self.size(3).wrapping_sub(1)).collect();
        ConvTranspose { channels, window, output_padding, groups, bias, output_major: self.seldom(8) }.into()
    }

    fn resize(&mut self, rank: usize) -> Op {
        use Coordinates::*;
        let extent = match self.below(4) {
            0 => return Crop { sides: self.pad(rank) }.into(),
            1 => Extent::Size(self.sizes(rank, 9)),
            _ => Extent::Scale((0..rank).map(|_| self.number()).collect()),
        };
        let roundings = [Rounding::Floor, Rounding::Ceil, Rounding::PreferFloor, Rounding::PreferCeil];
        let filter = match self.below(3) {
            0 => Filter::Nearest(roundings[self.below(4)]),
            1 => Filter::Linear,
            _ => Filter::Cubic(self.number()),
        };
        let all = [HalfPixel, PytorchHalfPixel, AlignCorners, Asymmetric, HalfPixelSymmetric];
        Resize { extent, filter, coordinates: all[self.below(5)] }.into()
    }

    fn pad(&mut self, rank: usize) -> PadArg {
        match self.below(8) {
            0 => PadArg::All(self.size(2)),
            1 => PadArg::Half,
            2 => PadArg::All(0),
            _ => PadArg::List((0..2 * rank).map(|_| self.below(3)).collect()),
        }
    }

    /// Changes one thing of a finished graph.
    fn break_something(&mut self, graph: &mut Graph) {
        let node = NodeId(self.below(graph.nodes.len()) as u32);
        let other = self.value(graph);
        match self.below(14) {
            0 => graph[node].inputs.push(other),
            1 => graph[node].inputs.clear(),
            2 => graph[node].params.push(ParamId(self.byte().into())),
            3 => graph[node].params.clear(),
            4 => graph[node].epilogue.push(Epilogue::Add { input: self.byte().into() }),
            5 => graph[node].gated = true,
            6 => graph[node].beside = true,
            7 => graph[node].slice_of = Some(Slice { concat: other, channel: self.size(9) }),
            8 => graph[node].ty.dims = self.dims(),
            9 => graph.inputs.push(other),
            10 => graph.outputs.push(Output { name: "odd".into(), node: other }),
            11 => graph.outputs.clear(),
            12 => graph[node].op = Op::Input,
            _ => self.break_param(graph),
        }
    }

    fn break_param(&mut self, graph: &mut Graph) {
        let mut handle = || ParamId(self.byte().into());
        let statistics = Statistics { mean: handle(), variance: handle(), eps: 1e-5 };
        let [gamma, beta, weight] = [handle(), handle(), handle()];
        let norm = Norm { gamma: Some(gamma), beta: Some(beta), statistics: self.flag().then_some(statistics) };
        let source = match self.below(5) {
            0 => ParamSource::Scaled { weight: Some(weight), norm },
            1 => ParamSource::Shifted { bias: None, norm },
            2 => ParamSource::Merged { weight, groups: self.below(4), merged: self.below(4) },
            3 => ParamSource::Fixed(vec![0.0; self.below(9)].into()),
            _ => ParamSource::File,
        };
        if let Some(param) = graph.params.last_mut() {
            param.source = source;
            if self.flag() {
                param.dims = self.dims();
            }
        }
    }
}
