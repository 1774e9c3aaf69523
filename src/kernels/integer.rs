//! Layers on whole numbers ([`crate::ir::integer`]), and copies of them. One task for each block of output channels, or part of it.
//!
//! Values are blocked, as those of f32 are: a block has as many channels, a quarter of the bytes.

use super::bands::{Descent, Planes};
use super::geometry::Padded;
use super::spans::{self, Spans};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Value, Why, bytes, lanes};
use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, Isa};
use crate::ir::integer::{Integer, multiplier, table};
use crate::ir::weights::Values;
use crate::layers::{AvgPool, Each, Op};
use crate::tensor::TensorType;

/// Every decision about one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    /// Of the output.
    pub positions: usize,
    pub work: Work,
    /// What is put around the output of [`Work::Elements`].
    pub padded: Option<Padded>,
    /// What its tiles can do with bytes; nothing where the portable kernels do it.
    pub bytes: Bytes,
    /// Where not all positions of a block are in memory: see [`super::bands`].
    pub planes: Option<Planes>,
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
    /// The input, with a number around it.
    Pad(Padded),
    /// Channels of the output that are copied: each with its operand and the channel there.
    Copy { channels: Vec<(usize, usize, usize)>, inputs: Vec<Layout>, output: Layout },
}

/// The input channels that a block of output channels reads. Outputs that are not of their group have weights of 0 for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// So many, from a whole block on, for all lanes: see [`Code::first_read`].
    Shared(usize),
    /// That of its own number for each lane.
    Own,
}

impl Reads {
    /// Pairs of channels that weights are packed for.
    pub fn pairs(self) -> usize {
        match self {
            Reads::Shared(channels) => channels.div_ceil(2),
            Reads::Own => 1,
        }
    }
}

/// [`Each`], for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    OfElement,
    OfChannel,
    OfPosition,
    OfSample,
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
                let spans = Spans::of_window(&conv.window.resolve(spatial).expect("verified"), spatial);
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
    let mut code = Code::new(node.output, work, target);
    code.padded = node.padded.filter(|padded| code.fits(padded));
    let kernel = Conf { code, tables: () }.into();
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
pub fn pad(ty: &TensorType, padded: Padded, target: &Target) -> Conf<Code> {
    Conf { code: Code::new(ty, Work::Pad(padded), target), tables: () }
}

impl Code {
    fn new(output: &TensorType, work: Work, target: &Target) -> Code {
        let (channels, positions) = (output.channels(), output.spatial().iter().product());
        let bytes = target.bytes;
        Code { lanes: target.lanes, channels, positions, work, padded: None, bytes, planes: None }
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        let code = Code { planes: Some(planes), ..self.clone() };
        bytes::goes_down(self).then_some(code)
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Option<Descent> {
        self.planes.map(|_| bytes::descent(self))
    }

    /// What it writes around its output.
    pub fn padded(&self) -> Option<Padded> {
        match self.work {
            Work::Pad(padded) => Some(padded),
            _ => self.padded,
        }
    }

    /// Whether it can write a map with something around it: bytes of a plane with several rows.
    fn fits(&self, padded: &Padded) -> bool {
        let makes_bytes = match self.work {
            Work::Elements { integer, .. } => !matches!(integer, Integer::Dequantise(_)),
            _ => false,
        };
        self.bytes != Bytes::None && makes_bytes && padded.sizes[0] == 1 && padded.sizes[1] > 1
    }

    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// Of a product of so many input channels in groups, what a block of output channels reads.
    pub fn reads(&self, inputs: usize, groups: usize) -> Reads {
        if groups == 1 {
            return Reads::Shared(inputs);
        }
        if groups == inputs && groups == self.channels {
            return Reads::Own;
        }
        let (of_input, of_output) = (inputs / groups, self.channels / groups);
        let blocks = (0..self.blocks()).map(|block| {
            let last = ((block + 1) * self.lanes).min(self.channels) - 1;
            let behind = ((last / of_output + 1) * of_input).div_ceil(self.lanes);
            behind - block * self.lanes / of_output * of_input / self.lanes
        });
        Reads::Shared(blocks.max().unwrap_or(0) * self.lanes)
    }

    /// The first block of input channels that a block of output channels reads, if it reads so many channels.
    pub fn first_read(&self, inputs: usize, groups: usize, channels: usize, block: usize) -> usize {
        let last = self.last_read(inputs, channels);
        (block * self.lanes / (self.channels / groups) * (inputs / groups) / self.lanes).min(last)
    }

    /// No block begins to read further behind.
    pub fn last_read(&self, inputs: usize, channels: usize) -> usize {
        inputs.div_ceil(self.lanes).saturating_sub(channels.div_ceil(self.lanes))
    }

    /// `[output block][tap][pair of input channels][lane][2]`
    fn packed<'a>(&'a self, weights: &'a [i8], spans: &Spans, inputs: usize, groups: usize) -> Constant<'a> {
        let (taps, reads) = (spans.taps(), self.reads(inputs, groups));
        let len = [self.blocks(), taps, reads.pairs(), self.lanes * 2].into_iter().fold(1, usize::saturating_mul);
        Constant::I16(len, Box::new(move |packed, _| self.pack(weights, taps, [inputs, groups], packed)))
    }

    /// Over zeros.
    fn pack(&self, weights: &[i8], taps: usize, [inputs, groups]: [usize; 2], packed: &mut [i16]) {
        let (lanes, reads) = (self.lanes, self.reads(inputs, groups));
        let (of_input, of_output) = (inputs / groups, self.channels / groups);
        for (index, &w) in weights.iter().enumerate() {
            let (o, c, tap) = (index / taps / of_input, index / taps % of_input, index % taps);
            let channel = match reads {
                Reads::Own => 0,
                Reads::Shared(read) => {
                    o / of_output * of_input + c - self.first_read(inputs, groups, read, o / lanes) * lanes
                }
            };
            let row = (o / lanes * taps + tap) * reads.pairs() + channel / 2;
            packed[(row * lanes + o % lanes) * 2 + channel % 2] = w.into();
        }
    }

    /// For each block of output channels, what the sums of its lanes begin with, then the bits of what they are multiplied by.
    fn ends(&self, begin: impl Fn(usize) -> i32, factor: impl Fn(usize) -> f32) -> Vec<i32> {
        let lane = |of: &dyn Fn(usize) -> i32, c: usize| if c < self.channels { of(c) } else { 0 };
        let bits = |c: usize| factor(c).to_bits() as i32;
        let of_block = |block: usize| {
            let lanes = block * self.lanes..(block + 1) * self.lanes;
            let begin: Vec<i32> = lanes.clone().map(|c| lane(&begin, c)).collect();
            [begin, lanes.map(|c| lane(&bits, c)).collect()].concat()
        };
        (0..self.blocks()).flat_map(of_block).collect()
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
            Work::Product { .. } => "conv",
            Work::Mean { .. } => "mean",
            Work::Max { .. } => "max",
            Work::Pad(_) => "pad",
            Work::Copy { .. } => "copy",
        };
        let by = if self.bytes == Bytes::None { "portable" } else { lanes::isa(self.lanes) };
        format!("{what}_u8_{}c_{by}", self.lanes)
    }

    fn scratch(&self) -> usize {
        bytes::scratch(self).max(spans::scratch(self))
    }

    fn tasks(&self) -> usize {
        match &self.work {
            Work::Copy { channels, .. } => bytes::parts(self).count() * channels.len(),
            // The portable kernels do whole blocks.
            _ if self.bytes == Bytes::None => self.blocks(),
            _ => bytes::parts(self).count() * self.blocks(),
        }
    }

    fn constants<'a>(&'a self, (): &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let own = match &self.work {
            Work::Elements { integer: Integer::Table { activation, input, output }, .. } => {
                vec![Constant::U8(table(*activation, *input, *output).to_vec())]
            }
            Work::Product { integer: Integer::Product { input, output, .. }, spans, inputs, groups } => {
                let (weights, scales) = params[0].weights_i8().expect("weights of whole numbers");
                let divisor = output.scale();
                let bias = params.get(1).map(|bias| bias.bias_i32().expect("a bias of whole numbers"));
                let begin = |c: usize| bias.map_or(0, |bias| bias[c]);
                let factor = |c: usize| multiplier([input.scale(), scales[c]], divisor);
                vec![self.packed(weights, spans, *inputs, *groups), Constant::I32(self.ends(begin, factor))]
            }
            Work::Mean { integer: Integer::Mean { input, output }, divisors, .. } => {
                let m = |count: &usize| mean_multiplier(input.scale(), *count, output.quantisation.scale());
                vec![Constant::F32(divisors.iter().map(m).collect())]
            }
            _ => Vec::new(),
        };
        // What only generated code reads.
        let table = spans::table(self).or_else(|| bytes::table(self));
        own.into_iter().chain(table.map(Constant::I64)).collect()
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        match spans::generate(self, name, isa, module)? {
            Some(kernel) => Ok(kernel),
            None => bytes::generate(self, name, isa, module),
        }
    }
}

/// What the sum over `count` positions is multiplied by.
pub(super) fn mean_multiplier(input: f32, count: usize, output: f32) -> f32 {
    (f64::from(input) / (f64::from(output) * count as f64)) as f32
}
