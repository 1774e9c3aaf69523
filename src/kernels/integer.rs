//! Layers on whole numbers ([`crate::ir::integer`]), and copies of them. One task for each block of output channels.
//!
//! Values are blocked, as those of f32 are: a block has as many channels, a quarter of the bytes. Where there is no
//! generated code (`bytes`), the portable kernels do them in every engine that runs in process.

use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Value, Why, bytes};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::integer::{Integer, multiplier, table};
use crate::ir::weights::Values;
use crate::layers::{AdaptiveAvgPool, AvgPool, Each, Op, ResolvedWindow};
use crate::tensor::TensorType;

/// Every decision about one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    /// Of the output.
    pub positions: usize,
    pub work: Work,
    /// Whether there is code for it.
    pub generated: bool,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Element by element: [`Integer::Quantise`] of a value in this layout, [`Integer::Dequantise`], [`Integer::Table`] and
    /// [`Integer::Sum`].
    Elements { integer: Integer, input: Layout },
    /// [`Integer::Gate`], whose second operand has a number for each of these.
    Gate { integer: Integer, each: Number },
    /// [`Integer::Product`] of all input channels, or of those of a group.
    Product { integer: Integer, spans: Spans, inputs: usize, groups: usize },
    /// [`Integer::Mean`].
    Mean { integer: Integer, spans: Spans, divisors: Vec<usize> },
    /// The largest number of each window.
    Max { spans: Spans },
    /// The input, with a number around it: rows and columns in front, and the sizes of both.
    Pad { front: [usize; 2], input: [usize; 2], output: [usize; 2], number: u8 },
    /// Channels of the output that are copied: each with its operand and the channel there.
    Copy { channels: Vec<(usize, usize, usize)>, inputs: Vec<Layout>, output: Layout },
}

/// [`Each`], for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    OfElement,
    OfChannel,
    OfPosition,
    OfSample,
}

/// What windows see, dimension by dimension; there are three, the first of which may be of size 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spans {
    /// Sizes of the input and of the kernel.
    pub input: [usize; 3],
    pub kernel: [usize; 3],
    /// The distance of two taps.
    pub step: [usize; 3],
    /// For each output position of a dimension.
    pub spans: [Vec<Span>; 3],
}

/// The taps of a window in one dimension that lie in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub first_tap: usize,
    /// The position under it.
    pub start: usize,
    pub count: usize,
}

impl Spans {
    fn of_window(window: &ResolvedWindow, input: &[usize]) -> Spans {
        let span = |d: usize, at: usize| {
            let taps = window.inside(d, at, input[d]);
            let start = window.positions(d, at, input[d]).next().unwrap_or(0);
            Span { first_tap: taps.start, start, count: taps.len() }
        };
        let of_dim = |d: usize| (0..window.out[d]).map(|at| span(d, at)).collect();
        Spans::new(input, &window.kernel, &window.dilation, (0..input.len()).map(of_dim).collect())
    }

    fn adaptive(input: &[usize], out: &[usize]) -> Spans {
        let span = |d: usize, at: usize| {
            let region = AdaptiveAvgPool::region(at, input[d], out[d]);
            Span { first_tap: 0, start: region.start, count: region.len() }
        };
        let of_dim = |d: usize| (0..out[d]).map(|at| span(d, at)).collect();
        Spans::new(input, input, &vec![1; input.len()], (0..input.len()).map(of_dim).collect())
    }

    /// Everything at one position.
    fn point() -> Spans {
        Spans::new(&[], &[], &[], Vec::new())
    }

    fn new(input: &[usize], kernel: &[usize], step: &[usize], spans: Vec<Vec<Span>>) -> Spans {
        let missing = 3 - input.len();
        let three = |sizes: &[usize]| std::array::from_fn(|d| if d < missing { 1 } else { sizes[d - missing] });
        let one = vec![Span { first_tap: 0, start: 0, count: 1 }];
        let mut spans = spans.into_iter();
        let spans = std::array::from_fn(|d| if d < missing { one.clone() } else { spans.next().expect("as many") });
        Spans { input: three(input), kernel: three(kernel), step: three(step), spans }
    }

    pub fn positions(&self) -> usize {
        self.input.iter().product()
    }

    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
}

/// Makes the kernel of a layer on whole numbers.
///
/// # Errors
/// That it is none.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let integer = node.integer.ok_or_else(|| Why::unfit("not on whole numbers"))?;
    let layout = node.inputs[0].layout;
    let spatial = node.inputs[0].ty.spatial();
    let blocked = vec![Layout::Blocked; node.inputs.len()];
    let (work, inputs) = match integer {
        Integer::Quantise(_) => (Work::Elements { integer, input: layout }, vec![layout]),
        Integer::Dequantise(_) | Integer::Table { .. } | Integer::Sum { .. } => {
            (Work::Elements { integer, input: Layout::Blocked }, blocked)
        }
        Integer::Gate { .. } => {
            let each = match Each::of(node.inputs[0].ty, node.inputs[1].ty).expect("verified") {
                Each::Element => Number::OfElement,
                Each::Channel => Number::OfChannel,
                Each::Position => Number::OfPosition,
                Each::Sample => Number::OfSample,
            };
            (Work::Gate { integer, each }, blocked)
        }
        Integer::Product { .. } => match node.op {
            Op::Conv(conv) => {
                let window = conv.window.resolve(spatial).expect("verified");
                let spans = Spans::of_window(&window, spatial);
                let inputs = node.inputs[0].channels();
                (Work::Product { integer, spans, inputs, groups: conv.groups }, blocked)
            }
            _ => {
                let inputs = node.inputs[0].ty.elements();
                (Work::Product { integer, spans: Spans::point(), inputs, groups: 1 }, vec![Layout::Nchw])
            }
        },
        Integer::Mean { .. } => {
            let (spans, divisors) = mean(node.op, spatial, node.output);
            (Work::Mean { integer, spans, divisors }, blocked)
        }
        Integer::Move => return Ok(moving(node, target)),
    };
    let kernel = Conf { code: Code::new(node.output, work, target), tables: () }.into();
    Ok(Lowered { kernel, inputs, output: Layout::Blocked, spread: None, padded: None })
}

fn mean(op: &Op, spatial: &[usize], output: &TensorType) -> (Spans, Vec<usize>) {
    let of_pool = |pool: &AvgPool| {
        let window = pool.window.resolve(spatial).expect("verified");
        let divisors = pool.divisors(spatial).into_iter().map(|divisor| divisor as usize);
        (Spans::of_window(&window, spatial), divisors.collect())
    };
    match op {
        Op::AvgPool(pool) => of_pool(pool),
        Op::AdaptiveAvgPool(pool) => {
            let divisors = pool.seen(spatial).iter().map(Vec::len).collect();
            (Spans::adaptive(spatial, output.spatial()), divisors)
        }
        _ => of_pool(&AvgPool { window: crate::layers::Window::whole(spatial), count_pad: true }),
    }
}

/// The kernel of a layer that passes numbers on.
fn moving(node: &NodeView, target: &Target) -> Lowered {
    let spatial = node.inputs[0].ty.spatial();
    let blocked = vec![Layout::Blocked; node.inputs.len()];
    let make = |work, inputs, output| {
        let kernel = Conf { code: Code::new(node.output, work, target), tables: () }.into();
        Lowered { kernel, inputs, output, spread: None, padded: None }
    };
    let window = match node.op {
        Op::MaxPool(pool) => Some(pool.window.clone()),
        Op::GlobalMaxPool(_) => Some(crate::layers::Window::whole(spatial)),
        _ => None,
    };
    if let Some(window) = window {
        let window = window.resolve(spatial).expect("verified");
        return make(Work::Max { spans: Spans::of_window(&window, spatial) }, blocked, Layout::Blocked);
    }
    // A flat value is the row-major one.
    let output = if matches!(node.op, Op::Flatten(_)) { Layout::Nchw } else { Layout::Blocked };
    let channels = match node.op {
        Op::ChannelShuffle(shuffle) => {
            let each = node.output.channels() / shuffle.groups;
            let source = |channel: usize| channel % shuffle.groups * each + channel / shuffle.groups;
            (0..node.output.channels()).map(|channel| (channel, 0, source(channel))).collect()
        }
        Op::ChannelSlice(slice) => slice.channels.clone().enumerate().map(|(to, from)| (to, 0, from)).collect(),
        _ => (0..node.inputs[0].channels()).map(|channel| (channel, 0, channel)).collect(),
    };
    let mut lowered = make(Work::Copy { channels, inputs: vec![Layout::Blocked], output }, blocked, output);
    if let super::Kernel::Integer(conf) = &mut lowered.kernel {
        conf.code.positions = spatial.iter().product();
    }
    lowered
}

/// Copies channels of values to those of another one, which has as many positions.
pub fn copy(inputs: &[Layout], channels: Vec<(usize, usize, usize)>, to: &Value, target: &Target) -> Conf<Code> {
    let work = Work::Copy { channels, inputs: inputs.to_vec(), output: to.layout };
    Conf { code: Code::new(to.ty, work, target), tables: () }
}

/// Puts numbers that stand for 0 around a value.
pub fn pad(from: &TensorType, to: &TensorType, padded: &super::dots::Padded, target: &Target) -> Conf<Code> {
    let two = |ty: &TensorType| match *ty.spatial() {
        [rows, columns] => [rows, columns],
        _ => [1, ty.spatial().iter().product()],
    };
    let work = Work::Pad { front: padded.front, input: two(from), output: padded.sizes, number: padded.zero_point };
    Conf { code: Code::new(to, work, target), tables: () }
}

impl Code {
    fn new(output: &TensorType, work: Work, target: &Target) -> Code {
        let (channels, positions) = (output.channels(), output.spatial().iter().product());
        let generated = bytes::can(&work, channels, positions, target);
        Code { lanes: target.lanes, channels, positions, work, generated }
    }

    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// Whether each output channel reads the input channel of the same number, and no other.
    pub fn is_depthwise(&self) -> bool {
        matches!(self.work, Work::Product { groups, inputs, .. } if groups > 1 && groups == inputs && groups == self.channels)
    }

    /// Weights in pairs of input channels: `[output block][tap][pair][lane][2]`; of depthwise layers
    /// `[output block][tap][lane]`, of other groups as they are.
    fn pack(&self, weights: &[i8], spans: &Spans, inputs: usize, groups: usize) -> Vec<i16> {
        let (taps, lanes) = (spans.taps(), self.lanes);
        if groups > 1 && !self.is_depthwise() {
            return weights.iter().map(|&w| w.into()).collect();
        }
        let inputs = inputs / groups;
        let pairs = if groups > 1 { 1 } else { self.pairs(inputs) };
        let width = if groups > 1 { 1 } else { 2 };
        let mut packed = vec![0; self.blocks() * taps * pairs * lanes * width];
        for (index, &w) in weights.iter().enumerate() {
            let (o, c, tap) = (index / taps / inputs, index / taps % inputs, index % taps);
            let row = (o / lanes * taps + tap) * pairs + c / width;
            packed[(row * lanes + o % lanes) * width + c % width] = w.into();
        }
        packed
    }

    /// Pairs of input channels, whole blocks of them.
    pub fn pairs(&self, inputs: usize) -> usize {
        inputs.next_multiple_of(self.lanes).div_ceil(2)
    }

    /// One number for each output channel, with zeros behind them.
    fn per_channel<T: Copy + Default>(&self, of: impl Fn(usize) -> T) -> Vec<T> {
        let padded = 0..self.blocks() * self.lanes;
        padded.map(|c| if c < self.channels { of(c) } else { T::default() }).collect()
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let what = match &self.work {
            Work::Elements { integer: Integer::Quantise(_), .. } => "quantise",
            Work::Elements { integer: Integer::Dequantise(_), .. } => "dequantise",
            Work::Elements { integer: Integer::Sum { .. }, .. } => "add",
            Work::Elements { .. } => "table",
            Work::Gate { .. } => "mul",
            Work::Product { .. } if self.is_depthwise() => "conv_depthwise",
            Work::Product { .. } => "conv",
            Work::Mean { .. } => "mean",
            Work::Max { .. } => "max",
            Work::Pad { .. } => "pad",
            Work::Copy { .. } => "copy",
        };
        let by = match (self.generated, self.lanes) {
            (false, _) => "portable",
            (true, 8) => "avx2",
            (true, _) => "avx512",
        };
        format!("{what}_u8_{}c_{by}", self.lanes)
    }

    fn scratch(&self) -> usize {
        bytes::scratch(self)
    }

    fn tasks(&self) -> usize {
        match &self.work {
            Work::Copy { channels, .. } => channels.len(),
            _ => self.blocks(),
        }
    }

    fn constants<'a>(&'a self, (): &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        match &self.work {
            Work::Elements { integer: Integer::Table { activation, input, output }, .. } => {
                vec![Constant::U8(table(*activation, *input, *output).to_vec())]
            }
            Work::Product { integer: Integer::Product { input, output, .. }, spans, inputs, groups } => {
                let (weights, scales) = params[0].weights_i8().expect("weights of whole numbers");
                let divisor = output.scale();
                let bias = params.get(1).map(|bias| bias.bias_i32().expect("a bias of whole numbers"));
                vec![
                    Constant::I16(self.pack(weights, spans, *inputs, *groups)),
                    Constant::I32(self.per_channel(|c| bias.map_or(0, |bias| bias[c]))),
                    Constant::F32(self.per_channel(|c| multiplier([input.scale(), scales[c]], divisor))),
                ]
            }
            Work::Mean { integer: Integer::Mean { input, output }, divisors, .. } => {
                let m = |count: &usize| mean_multiplier(input.scale(), *count, output.quantisation.scale());
                vec![Constant::F32(divisors.iter().map(m).collect())]
            }
            _ => Vec::new(),
        }
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        bytes::generate(self, name, isa, module)
    }
}

/// What the sum over `count` positions is multiplied by.
pub(super) fn mean_multiplier(input: f32, count: usize, output: f32) -> f32 {
    (f64::from(input) / (f64::from(output) * count as f64)) as f32
}
