//! The decisions about a kernel in words, for who reads a plan.

use super::channelwise::Interior;
use super::conv::{ColumnWindow, Split, Tile};
use super::geometry::Padded;
use super::integer::Work;
use super::normalise::{Extent, Measure, Weights};
use super::permute::Kind;
use super::pointwise::Function;
use super::pool::Mode;
use super::taps::Segment;
use super::transposed::PhaseCode;
use super::{
    Code, chain, channelwise, conv, depthwise, dots, integer, lrn, normalise, permute, pointwise, pool, reduce,
};
use super::{resample, rounding, softmax, whole_winograd, windows, winograd};
use crate::layers::{LpNorm, Reduced};

/// What a decision is about, and what it is.
pub type Fact = (&'static str, String);

impl Code {
    /// In the order in which they are read.
    pub fn facts(&self) -> Vec<Fact> {
        let facts = match self {
            Code::Winograd(code) => code.facts(),
            Code::Conv(code) => code.facts(),
            Code::Channelwise(code) => code.facts(),
            Code::Transposed(code) => code.facts(),
            Code::Pool(code) => code.facts(),
            Code::Reduce(code) => code.facts(),
            Code::Resample(code) => code.facts(),
            Code::Pointwise(code) => code.facts(),
            Code::Lrn(code) => code.facts(),
            Code::Normalise(code) => code.facts(),
            Code::Softmax(code) => code.facts(),
            Code::Permute(code) => code.facts(),
            Code::Scale(code) => [vec![("does", "weights times a gate".into())], code.conv.facts()].concat(),
            Code::Chain(code) => code.facts(),
            Code::WholeWinograd(code) => code.facts(),
            Code::Dots(code) => code.facts(),
            Code::Depthwise(code) => code.facts(),
            Code::Windows(code) => code.facts(),
            Code::Integer(code) => code.facts(),
            Code::Rounding(code) => code.facts(),
        };
        facts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }
}

/// `3 to 64`, `64 to 64 in 2 groups`
fn channels(from: usize, to: usize, groups: usize) -> Fact {
    let groups = if groups > 1 { format!(" in {groups} groups") } else { String::new() };
    ("channels", format!("{from} to {to}{groups}"))
}

/// `3 rows of 3, stride 2, pad 1`
fn window(rows: usize, kernel: usize, stride: usize, dilation: usize, pad: i64) -> Fact {
    let but = |name: &str, value: i64, plain: i64| match value == plain {
        true => String::new(),
        false => format!(", {name} {value}"),
    };
    let more = [but("stride", stride as i64, 1), but("dilation", dilation as i64, 1), but("pad", pad, 0)].concat();
    let shape = if rows == 1 { format!("{kernel} taps") } else { format!("{rows} rows of {kernel}") };
    ("window", format!("{shape}; in a row{}", if more.is_empty() { ": side by side" } else { &more[1..] }))
}

/// `56 columns: 6 x 8, 1 x 8`: tiles, and the positions of each.
fn row(columns: usize, segments: &[Segment]) -> Fact {
    let tiles: Vec<String> =
        segments.iter().map(|segment| format!("{} x {}", segment.repeat, segment.pixels)).collect();
    ("row", format!("{columns} columns: {}", tiles.join(", ")))
}

fn vectors(lanes: usize, positions: usize) -> Fact {
    ("vectors", format!("of {lanes} channels; {positions} positions"))
}

/// `zeros, to 114x114`
fn around(padded: Option<Padded>) -> Fact {
    let sizes = |Padded { inner: [planes, ..], sizes: [all, rows, columns], .. }| match (planes, all) {
        (1, 1) => format!("zeros, to {rows}x{columns}"),
        _ => format!("zeros, to {all}x{rows}x{columns}"),
    };
    ("around", padded.map_or(String::new(), sizes))
}

/// Rows of a task, where those are not all.
fn shared(task_rows: usize, rows: usize) -> Fact {
    some("order", task_rows < rows, &format!("tasks of {task_rows} rows of a block"))
}

fn some(what: &'static str, when: bool, text: &str) -> Fact {
    (what, if when { text.into() } else { String::new() })
}

impl conv::Code {
    fn facts(&self) -> Vec<Fact> {
        let ColumnWindow { kernel_rows, kernel, stride, dilation, pad } = self.window;
        let Tile { pixels, vectors, unroll, embedded } = self.tile;
        let from = self.groups * self.channels_in() * self.terms();
        let operand = if embedded { "read by each product" } else { "kept in a register" };
        let order = match self.split {
            Split::Rows => format!("tasks of {} rows, up to {} at a time", self.task_rows, self.block_rows),
            Split::VectorGroups => format!("tasks are groups of {vectors} vectors; {} rows at a time", self.block_rows),
        };
        vec![
            channels(from, self.channels_out, self.groups),
            window(kernel_rows, kernel, stride, dilation, pad),
            (
                "tile",
                format!(
                    "{pixels} positions x {vectors} vectors of {}; {unroll} inputs unrolled, {operand}",
                    self.lanes
                ),
            ),
            row(self.columns, &self.segments),
            ("order", format!("{order}; {} blocks of inputs at a time", self.chunk_blocks)),
            some("multiplies", self.pairs, "pairs of input channels, in bf16"),
            some("weights of", self.gated, "each sample"),
            some("starts", self.bias, "with the bias"),
            ("then", self.epilogue.words()),
        ]
    }
}

impl channelwise::Code {
    fn facts(&self) -> Vec<Fact> {
        let interior = self.interior.as_ref().map_or(String::new(), |Interior { count, chunk, .. }| {
            format!("{count} of {} with all taps unrolled, {chunk} at a time", self.rows.count)
        });
        vec![
            channels(self.channels * self.multiplicity, self.channels, self.channels),
            window(self.kernel_rows, self.kernel, self.stride, self.dilation, self.pad),
            row(self.columns, &self.segments),
            ("rows", interior),
            shared(self.task_rows, self.rows.count),
            some("also", self.mean, "the mean of each channel"),
            some("starts", self.bias, "with the bias"),
            ("then", self.epilogue.words()),
        ]
    }
}

impl pool::Code {
    fn facts(&self) -> Vec<Fact> {
        let does = match self.mode {
            Mode::Max => "the largest".into(),
            Mode::Mean(divisor) => format!("the sum over {}", divisor.get()),
            Mode::MeanOf => "the sum over as many as there are".into(),
            Mode::Norm(power) => format!("the root of powers of {power}"),
        };
        vec![
            ("does", does),
            ("vectors", format!("{} of channels", self.blocks)),
            window(self.kernel_rows, self.kernel, self.stride, self.dilation, self.pad),
            row(self.columns, &self.segments),
            shared(self.task_rows, self.rows.count),
            ("then", self.epilogue.words()),
        ]
    }
}

impl chain::Code {
    fn facts(&self) -> Vec<Fact> {
        let second = match &self.second {
            chain::Second::Channelwise(code) => code.facts(),
            chain::Second::Pool(code) => code.facts(),
        };
        let bands = &self.bands;
        let own = (
            "bands",
            format!("{} of {} rows, {} rows between the layers in memory", bands.count, bands.rows, bands.ring),
        );
        [vec![own], self.first.facts(), vec![("second", "reads what the first has made:".into())], second].concat()
    }
}

impl winograd::Code {
    fn facts(&self) -> Vec<Fact> {
        let [rows, columns] = &self.dims;
        let product = &self.product;
        vec![
            channels(self.channels_in, self.channels_out, 1),
            ("window", format!("{} rows of {}", rows.taps, columns.taps)),
            ("tile", format!("{}x{} outputs of {}x{}", rows.m, columns.m, rows.output, columns.output)),
            some("images", self.images > 1, &self.images.to_string()),
            ("group", format!("{}x{} tiles are transformed together", self.group[0], self.group[1])),
            ("product", format!("panels of {} vectors, {} of them a task", product.vectors, self.task_panels)),
            some("starts", self.bias, "with the bias"),
            ("then", self.epilogue.words()),
        ]
    }
}

impl super::transposed::Code {
    fn facts(&self) -> Vec<Fact> {
        let own = ("phases", format!("{}, of {} kernels:", self.phases, self.kernels.len()));
        let kernels = self.kernels.iter().flat_map(|kernel| match kernel {
            PhaseCode::Direct(code) => code.facts(),
            PhaseCode::Channelwise(code) => code.facts(),
        });
        [own].into_iter().chain(kernels).collect()
    }
}

impl reduce::Code {
    fn facts(&self) -> Vec<Fact> {
        let over = match self.over {
            Reduced::Channels => "the channels of each position",
            Reduced::Positions => "the positions of each channel",
        };
        vec![("does", format!("the {} of {over}", self.how.word())), vectors(self.lanes, self.positions)]
    }
}

impl resample::Code {
    fn facts(&self) -> Vec<Fact> {
        let does = match (self.fill.is_some(), self.largest) {
            (true, _) => "copies positions",
            (_, true) => "the largest of some positions",
            _ => "weighted sums of positions",
        };
        let sizes = format!("{} positions to {} rows of {}", self.input_positions, self.rows, self.columns);
        let vectors = ("vectors", format!("{} of channels", self.blocks));
        vec![("does", does.into()), ("sizes", sizes), vectors, ("then", self.epilogue.words())]
    }
}

impl pointwise::Code {
    fn facts(&self) -> Vec<Fact> {
        let does = match &self.function {
            Function::Activation(activation) => activation.to_string(),
            Function::Add(_) => "adds".into(),
            Function::Mul(_) => "multiplies".into(),
            Function::Affine => "a scale and a shift for each channel".into(),
            Function::Slopes => "a slope for each channel".into(),
        };
        let operands = some("operands", self.operands > 1, &self.operands.to_string());
        vec![("does", does), operands, vectors(self.lanes, self.positions), ("then", self.epilogue.words())]
    }
}

impl lrn::Code {
    fn facts(&self) -> Vec<Fact> {
        let (front, behind) = self.reach;
        vec![("over", format!("{front} channels in front and {behind} behind")), vectors(self.lanes, self.positions)]
    }
}

impl normalise::Code {
    fn facts(&self) -> Vec<Fact> {
        let over = match &self.extent {
            Extent::Channels => "the channels of each position".into(),
            Extent::Positions(runs) => format!("{} positions of each channel", runs.count),
            Extent::Groups(channels) => format!("{channels} channels with all their positions"),
        };
        let measure = match self.measure {
            Measure::Deviation(_) => "the deviation, less the mean",
            Measure::Norm(LpNorm::L1, _) => "the sum of the magnitudes",
            Measure::Norm(LpNorm::L2, _) => "the root of the sum of the squares",
        };
        let weights = match self.weights {
            Weights::None => "",
            Weights::Channels => "for each channel",
            Weights::Places => "for each place",
            Weights::Elements => "for each element",
        };
        let vectors = vectors(self.lanes, self.positions);
        vec![("over", over), ("divides by", measure.into()), ("weights are", weights.into()), vectors]
    }
}

impl softmax::Code {
    fn facts(&self) -> Vec<Fact> {
        let over = format!("{} elements, {} times", self.runs.count, self.runs.outer * self.runs.inner);
        vec![
            ("over", over),
            some("does", self.log, "the logarithm"),
            ("tile", format!("{} vectors of {}", self.vectors, self.lanes)),
        ]
    }
}

impl permute::Code {
    fn facts(&self) -> Vec<Fact> {
        let kind = |kind: &Kind| match kind {
            Kind::Channel(_) => "channels".into(),
            Kind::Zero => "zeros".into(),
            Kind::Vectors => "blocks of channels".into(),
            Kind::Run(_, run) => format!("{run} elements side by side"),
        };
        let moves: Vec<String> = self.kinds.iter().map(kind).collect();
        let walk = &self.shape.walk;
        let walk =
            format!("{} positions in rows of {}, from {} operands", walk.count, walk.row, self.shape.inputs.len());
        vec![("moves", moves.join(", ")), ("over", walk), ("tasks are", format!("{} groups of channels", self.groups))]
    }
}

impl whole_winograd::Code {
    fn facts(&self) -> Vec<Fact> {
        let ([rows, columns], [m, n]) = (self.group, self.forms.map(|form| form.outputs()));
        vec![
            channels(self.channels_in, self.channels_out, 1),
            ("transforms", format!("{m}x{n} outputs of 3x3 taps, exactly")),
            ("groups", format!("{rows} rows of {columns} tiles")),
            some("then", self.ends.residual.is_some(), "adds"),
        ]
    }
}

impl dots::Code {
    fn facts(&self) -> Vec<Fact> {
        vec![
            channels(self.channels.inputs, self.channels.outputs, self.channels.groups),
            self.window.fact(),
            (
                "tile",
                format!(
                    "{} positions x {} blocks; reads {} of {} blocks, {} a product",
                    self.rows * self.run,
                    self.blocks,
                    self.reads,
                    self.channels.in_blocks(),
                    self.products.in_words()
                ),
            ),
            some("then", self.ends.residual.is_some(), "adds"),
            around(self.padded),
        ]
    }
}

impl depthwise::Code {
    fn facts(&self) -> Vec<Fact> {
        vec![
            ("channels", format!("{} in {} blocks", self.channels, self.blocks)),
            self.window.fact(),
            ("tile", format!("{} positions; taps of {} loads a row", self.run, self.row(self.run).len())),
            some("then", self.ends.residual.is_some(), "adds"),
        ]
    }
}

impl windows::Code {
    fn facts(&self) -> Vec<Fact> {
        vec![
            vectors(self.lanes, self.window.positions()),
            self.window.fact(),
            ("tile", format!("{} positions", self.run)),
        ]
    }
}

impl integer::Code {
    fn facts(&self) -> Vec<Fact> {
        let groups = match &self.work {
            Work::Product { groups, .. } if *groups > 1 => format!("{groups}"),
            _ => String::new(),
        };
        vec![vectors(self.lanes, self.positions), ("groups", groups), around(self.padded())]
    }
}

impl rounding::Code {
    fn facts(&self) -> Vec<Fact> {
        vec![("does", "rounds to eight bits of precision".into())]
    }
}
