//! A direct convolution and the channel-wise window layer behind it, depthwise convolution or pooling, as one kernel:
//! what lies between the two never leaves the second-level cache. (Fused layers: Alwani et al. 2016, "Fused-layer CNN
//! accelerators", section III; here too the rows that neighbouring windows share are kept, not computed again.)
//!
//! A task has some vector groups of the first layer, which are channel blocks of the second. It goes down the image in
//! *bands* of the second's output rows. For each band the first makes the rows that the band needs and that are not made
//! yet, in the thread's scratch memory, a *ring* of rows: row `r` lies at `r` modulo the ring's size. Then the second
//! makes the band from it. Where rows lie in the ring is known beforehand: it is in the second's table of rows.
//!
//! Where there are few vector groups, tasks share the rows too, in *parts*: the rows that two of them need are made twice.

use super::bands::{Descent, Planes, Unit, around};
use super::conv::Shares;
use super::nest::{self, KernelNest};
use super::rows::{self, RowShape, Rows};
use super::taps::Segment;
use super::{Constant, Family, Kernel, Layout, Lowered, NodeView, TASKS, Target, Why, channelwise, conv, pool};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::weights::Values;
use crate::layers::{Conv, Op};
use crate::machine::costs::{CHAIN_MACS, NEAR_VALUE, RING_BYTES};
use std::fmt;
use std::ops::Range;

/// Every decision about one pair of layers that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Its output is the ring; each of its rows is one or more rows of the image.
    pub first: Box<conv::Code>,
    /// Its input is the ring.
    pub second: Second,
    pub bands: BandShape,
    /// Vector groups of the first that pass over a band before the next band: they share its input, and the ring's memory.
    pub groups: usize,
    /// Positions of an output block in memory, where those are not all: see [`super::bands`].
    pub out_plane: Option<usize>,
}

/// What the code reads from constants beside weights and biases.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Tables {
    pub first: rows::Tables,
    pub second: rows::Tables,
    pub bands: Bands,
}

pub type Conf = super::Conf<Code>;

/// The layer that takes the first one's output away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Second {
    Channelwise(channelwise::Code),
    Pool(pool::Code),
}

/// The second's output rows, some at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BandShape {
    /// Output rows of a band; the last may have fewer.
    pub rows: usize,
    /// Bands that one task does.
    pub of_part: usize,
    /// Bands in all.
    pub count: usize,
    /// Rows of the first that are needed at the same time, at most.
    pub ring: usize,
}

impl fmt::Debug for BandShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BandShape { rows, of_part, count, ring } = self;
        write!(f, "{count} of {rows} rows, {of_part} a task, in a ring of {ring}")
    }
}

/// What must be there of the first's rows for each band.
#[derive(Clone, PartialEq, Hash)]
pub struct Bands {
    pub shape: BandShape,
    /// For each band, the rows of the first that are made before the second does it.
    pub new_rows: Vec<Range<usize>>,
}

impl fmt::Debug for Bands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bands", self.new_rows.len())
    }
}

/// The pair is made by [`lower_pair`]: this kernel does no layer alone.
pub fn lower(_node: &NodeView, _target: &Target) -> Result<Lowered, Why> {
    Err("does pairs of layers only".into())
}

/// Makes the conf of a convolution and its only reader, whose input must be given as `Blocked`.
///
/// # Errors
/// Why this kernel cannot do the two, or is not expected to be faster than two kernels.
pub fn lower_pair(first: &NodeView, second: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Op::Conv(conv) = first.op else { return Err(Why::unfit("not behind a convolution")) };
    if conv.groups > 1 || first.gated || first.mean || first.epilogue.operands() > 0 {
        return Err("the layer before has groups, a gate, a mean or an addition".into());
    }
    if target.force_chain.is_none() {
        check_gain(conv, first, second, target)?;
    }
    match super::choose(first, target).0.kernel {
        Kernel::Conv(_) => {}
        other => return Err(format!("the layer before is done by {}", other.name()).into()),
    }
    let second = WindowLayer::new(second, target)?;
    // A mean is the sum of one task, so that tasks cannot share the rows.
    let shares = if second.code().mean() { Shares::VectorGroups } else { Shares::Any };
    let (first, layout) = conv::conf_of_image_rows(first, target, shares)?;
    let conf = Conf::new(first, second, target)?;
    Ok(Lowered { kernel: conf.into(), inputs: vec![layout], output: Layout::Blocked, spread: None, padded: None })
}

/// Output rows of a band that the ring has room for at least, where it can: with fewer, tiles of the first are called for
/// few rows at a time, and the input that they share is none that had to be fetched often.
const BAND: usize = 4;

/// Whether much is moved for little arithmetic. That is not so either where the second layer writes as much as it reads:
/// such pairs took from 0.98 to 1.02 of the time of two kernels, with 7 MB between them.
fn check_gain(conv: &Conv, first: &NodeView, second: &NodeView, target: &Target) -> Result<(), Why> {
    let [between, out] = [first, second].map(|node| Layout::Blocked.elements(node.output, target.lanes) * 4);
    if between <= NEAR_VALUE {
        return Err(format!("the {} KiB between the layers stay in the second-level cache", between >> 10).into());
    }
    if 2 * out > between {
        return Err("the second layer writes about as much as it reads".into());
    }
    let macs = conv.group_in(first.inputs[0].ty) * conv.window.kernel.iter().product::<usize>();
    if macs > CHAIN_MACS {
        return Err(
            format!("the layer before has {macs} multiply-accumulates for each value that would not be moved").into()
        );
    }
    Ok(())
}

/// A layer that may be the second of a pair.
enum WindowLayer {
    Channelwise(channelwise::Conf),
    Pool(pool::Conf),
}

impl WindowLayer {
    /// Of a layer whose input is the whole image.
    fn new(node: &NodeView, target: &Target) -> Result<WindowLayer, Why> {
        let &[_, columns] = node.inputs[0].ty.spatial() else { return Err(Why::unfit("not of two dimensions")) };
        let lowered = channelwise::lower(node, target).or_else(|_| pool::lower(node, target))?;
        let second = match lowered.kernel {
            _ if lowered.spread.is_some() => return Err("groups of several channels".into()),
            Kernel::Channelwise(conf) => WindowLayer::Channelwise(conf),
            Kernel::Pool(conf) => WindowLayer::Pool(conf),
            other => unreachable!("{other:?}"),
        };
        match second.code().input_columns() == columns && second.tables().rows.of_image() {
            true => Ok(second),
            false => Err("too many kernel columns".into()),
        }
    }

    /// For an input of which `ring` rows are in memory.
    fn in_ring(&self, ring: usize) -> WindowLayer {
        match self {
            WindowLayer::Channelwise(conf) => WindowLayer::Channelwise(conf.in_ring(ring)),
            WindowLayer::Pool(conf) => WindowLayer::Pool(conf.in_ring(ring)),
        }
    }

    fn code(&self) -> Second {
        match self {
            WindowLayer::Channelwise(conf) => Second::Channelwise(conf.code.clone()),
            WindowLayer::Pool(conf) => Second::Pool(conf.code.clone()),
        }
    }

    fn tables(&self) -> &rows::Tables {
        match self {
            WindowLayer::Channelwise(conf) => &conf.tables,
            WindowLayer::Pool(conf) => &conf.tables,
        }
    }
}

impl Second {
    fn name(&self) -> String {
        match self {
            Second::Channelwise(code) => code.name(),
            Second::Pool(code) => code.name(),
        }
    }

    /// Bytes of a total for the mean of a block.
    fn total_bytes(&self) -> i64 {
        match self {
            Second::Channelwise(code) if code.mean => code.total_bytes(),
            Second::Channelwise(_) | Second::Pool(_) => 0,
        }
    }

    fn may_overwrite(&self, index: usize) -> bool {
        match self {
            Second::Channelwise(code) => code.may_overwrite(index),
            Second::Pool(code) => code.may_overwrite(index),
        }
    }

    fn constants<'a>(&'a self, tables: &'a rows::Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        match self {
            Second::Channelwise(code) => code.constants(tables, params),
            Second::Pool(code) => code.constants(tables, params),
        }
    }

    fn input_columns(&self) -> usize {
        match self {
            Second::Channelwise(conf) => conf.input_columns,
            Second::Pool(conf) => conf.input_columns,
        }
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        match self {
            Second::Channelwise(conf) => &conf.segments,
            Second::Pool(conf) => &conf.segments,
        }
    }

    pub(crate) fn rows(&self) -> &RowShape {
        match self {
            Second::Channelwise(conf) => &conf.rows,
            Second::Pool(conf) => &conf.rows,
        }
    }

    /// Of a row of the output.
    fn columns(&self) -> usize {
        match self {
            Second::Channelwise(conf) => conf.columns,
            Second::Pool(conf) => conf.columns,
        }
    }

    /// Operands that its epilogue reads: 0 or 1.
    fn residuals(&self) -> usize {
        match self {
            Second::Channelwise(conf) => conf.epilogue.operands(),
            Second::Pool(conf) => conf.epilogue.operands(),
        }
    }

    /// Whether it makes the mean of each channel too.
    fn mean(&self) -> bool {
        matches!(self, Second::Channelwise(conf) if conf.mean)
    }
}

impl Bands {
    /// Also the vector groups that share the ring, the more the less often the first's input is read.
    fn choose(first: &conv::Code, second: &WindowLayer, joined: usize, target: &Target) -> Result<(Bands, usize), Why> {
        let (all, rows) = (first.vector_groups(), &second.tables().rows);
        // A mean is the sum of one task.
        let most_parts = |parts: usize| if second.code().mean() { 1 } else { parts };
        if let Some(band) = target.force_chain {
            let of_part = rows.count().div_ceil(band).div_ceil(most_parts(1 + band % 3));
            return Ok((Bands::new(rows, band, of_part, joined), all.min(1 + band % 2)));
        }
        let row_bytes = first.tile.vectors * first.columns * first.lanes * 4;
        let most =
            |band: usize| all.min(RING_BYTES / (Bands::new(rows, band, rows.count(), joined).shape.ring * row_bytes));
        let least = (1..=BAND.min(rows.count())).rev().find(|&band| most(band) > 0);
        let Some(least) = least else { return Err("rows are too long for the second-level cache".into()) };
        let groups = all.div_ceil(all.div_ceil(most(least)));
        let largest = largest_where(least..rows.count(), |band| most(band) >= groups);
        // An even number of tasks has equal shares.
        let parts = TASKS.div_ceil(all);
        let parts = most_parts(parts + parts * all % 2);
        let of_part = |band: usize| rows.count().div_ceil(band).div_ceil(parts);
        // Of the sizes near the largest, one that gives equal parts.
        let band = (largest.div_ceil(2)..=largest).rev().min_by_key(|&band| of_part(band) * band).unwrap_or(largest);
        Ok((Bands::new(rows, band, of_part(band), joined), groups))
    }

    /// `joined` rows of the image are one row of the first.
    fn new(rows: &Rows, band: usize, of_part: usize, joined: usize) -> Bands {
        let oldest = oldest_needed(rows);
        let (mut new_rows, mut ring, mut made) = (Vec::new(), 1, 0);
        for (index, start) in (0..rows.count()).step_by(band).enumerate() {
            if index % of_part == 0 {
                made = 0;
            }
            let ends = (start..rows.count().min(start + band)).filter_map(|row| rows.needed(row)).map(|rows| rows.end);
            let (oldest, end) = (oldest[start] / joined, ends.max().unwrap_or(0).div_ceil(joined));
            let begin = made.max(oldest);
            made = begin.max(end);
            ring = ring.max(made - oldest);
            new_rows.push(begin..made);
        }
        Bands { shape: BandShape { rows: band, of_part, count: new_rows.len(), ring }, new_rows }
    }

    /// For each band of a part the rows of the first that are made before it, and its output rows, of `rows` of all.
    pub(crate) fn of(&self, part: usize, rows: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let BandShape { rows: band_rows, of_part, count, .. } = self.shape;
        let bands = part * of_part..count.min((part + 1) * of_part);
        bands.map(move |band| (self.new_rows[band].clone(), band * band_rows..rows.min((band + 1) * band_rows)))
    }

    /// As words for a kernel: for each band the first row that is made before it, and the one behind the last.
    fn table(&self) -> Vec<i64> {
        self.new_rows.iter().flat_map(|rows| [rows.start as i64, rows.end as i64]).collect()
    }
}

impl BandShape {
    fn parts(&self) -> usize {
        self.count.div_ceil(self.of_part)
    }
}

/// The largest of a range and its end for which the condition, which holds for the first and fails from some number on,
/// holds.
fn largest_where(range: Range<usize>, condition: impl Fn(usize) -> bool) -> usize {
    let (mut holds, mut end) = (range.start, range.end.max(range.start) + 1);
    while holds + 1 < end {
        let middle = holds + (end - holds) / 2;
        if condition(middle) { holds = middle } else { end = middle }
    }
    holds
}

/// For each output row, the first input row that it or one behind it needs. With dilation the first row that sees no
/// padding may need an older one than those before it.
fn oldest_needed(rows: &Rows) -> Vec<usize> {
    let needed: Vec<Option<Range<usize>>> = (0..rows.count()).map(|row| rows.needed(row)).collect();
    let mut oldest = needed.iter().flatten().map(|rows| rows.end).max().unwrap_or(0);
    let backwards = needed.iter().rev().map(|rows| {
        oldest = rows.as_ref().map_or(oldest, |rows| oldest.min(rows.start));
        oldest
    });
    let mut found: Vec<usize> = backwards.collect();
    found.reverse();
    found
}

impl Conf {
    /// Of a second layer whose input is the whole image, and a first whose rows are whole rows of it.
    fn new(first: conv::Conf, second: WindowLayer, target: &Target) -> Result<Conf, Why> {
        let (code, columns) = (first.code, second.code().input_columns());
        if code.exact.is_some() || !first.tables.rows.of_image() || !code.columns.is_multiple_of(columns) {
            return Err("rows of the convolution before are not those of the image".into());
        }
        let joined = code.columns / columns;
        let (bands, groups) = Bands::choose(&code, &second, joined, target)?;
        let second = second.in_ring(bands.shape.ring * joined);
        let code = Box::new(conv::Code { out_rows: bands.shape.ring, ..code });
        let tables = Tables { first: first.tables, second: second.tables().clone(), bands };
        Ok(Conf {
            code: Code { first: code, second: second.code(), bands: tables.bands.shape, groups, out_plane: None },
            tables,
        })
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Conf> {
        let (Code { first, second, bands, .. }, Tables { second: rows, .. }) = (&self.code, &self.tables);
        let of_part = bands.of_part.min(bands.count.div_ceil(PARTS));
        let Bands { shape, new_rows } = Bands::new(&rows.rows, bands.rows, of_part, self.code.joined());
        // The second's table knows where rows lie in a ring of this size.
        if second.mean() || shape.ring > bands.ring {
            return None;
        }
        let bands = Bands { shape: BandShape { ring: bands.ring, ..shape }, new_rows };
        let input = conv::Input { block_stride: planes.input as i64 * first.input.pixel_stride, ..first.input.clone() };
        let code = Code {
            first: Box::new(conv::Code { input, ..(**first).clone() }),
            bands: bands.shape,
            out_plane: Some(planes.output),
            ..self.code.clone()
        };
        Some(Conf { code, tables: Tables { bands, ..self.tables.clone() } })
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Option<Descent> {
        let (Code { first, second, bands, out_plane, .. }, tables) = (&self.code, &self.tables);
        let (rows, columns) = (second.rows().count, second.columns());
        let unit = |part: usize| {
            let of_part = || tables.bands.of(part, rows);
            let new_rows = of_part().map(|(new_rows, _)| new_rows);
            let written = around(of_part().map(|(_, rows)| rows));
            let reads = tables.first.rows.needed_by(around(new_rows), first.input_columns());
            Unit { reads, writes: written.start * columns..written.end * columns }
        };
        out_plane.map(|_| Descent { tasks: first.vector_groups(), units: (0..bands.parts()).map(unit).collect() })
    }
}

/// Parts of a picture in bands: of those that have more rows, few are made twice.
const PARTS: usize = 32;

impl Code {
    /// Rows of the image that are one row of the first.
    fn joined(&self) -> usize {
        self.first.columns / self.second.input_columns()
    }

    /// Bytes of an output block.
    pub(crate) fn out_block_stride(&self) -> i64 {
        let all = self.second.rows().count * self.second.columns();
        (self.out_plane.unwrap_or(all) * self.first.lanes * 4) as i64
    }

    /// Part of the rows and vector group of a task of a sample.
    pub(crate) fn task(&self, task: usize) -> (usize, usize) {
        (task / self.first.vector_groups(), task % self.first.vector_groups())
    }

    /// Index of the operand that holds the means.
    pub(crate) fn mean_operand(&self) -> usize {
        2 + self.second.residuals()
    }

    /// Index of the first of the constants: weights, biases and rows of the first, the bands, what the second has.
    pub(crate) fn constants_operand(&self) -> usize {
        self.mean_operand() + usize::from(self.second.mean())
    }

    /// Index of the operand that holds the ring. The second has two constants.
    pub(crate) fn scratch_operand(&self) -> usize {
        self.constants_operand() + 6
    }

    /// Bytes of the rings of the vector groups that are done together; the totals of their blocks lie behind them.
    fn rings(&self) -> i64 {
        self.groups as i64 * self.group_ring()
    }

    /// Bytes of the totals.
    fn totals(&self) -> usize {
        self.groups * self.first.tile.vectors * self.second.total_bytes() as usize
    }

    /// Bytes of the ring of one vector group.
    fn group_ring(&self) -> i64 {
        self.first.tile.vectors as i64 * self.first.out_block_stride()
    }
}

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        format!("{}_{}", self.first.name(), self.second.name())
    }

    fn tasks(&self) -> usize {
        self.bands.parts() * self.first.vector_groups()
    }

    /// Rings, totals, and what the first needs.
    fn scratch(&self) -> usize {
        self.rings() as usize + self.totals() + self.first.pair_bytes()
    }

    /// The residual operand of the second.
    fn may_overwrite(&self, index: usize) -> bool {
        self.second.may_overwrite(index)
    }

    fn constants<'a>(&'a self, tables: &'a Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let (of_first, of_second) = params.split_at(1 + usize::from(self.first.bias));
        let mut constants = self.first.constants(&tables.first, of_first);
        constants.push(Constant::I64(tables.bands.table()));
        constants.extend(self.second.constants(&tables.second, of_second));
        constants
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let first = self.first.generate_tiles(&format!("{name}_first"), isa, module)?;
        let second = SecondTiles::generate(&self.second, &format!("{name}_second"), isa, module)?;
        nest::define(name, module, |nest| NestEmitter { conf: self, first, second }.emit(nest))
    }
}

/// What the nest is made of.
struct NestEmitter<'a> {
    conf: &'a Code,
    first: conv::Tiles,
    second: SecondTiles<'a>,
}

/// Pointers of one sample.
struct Sample {
    input: Word,
    out: Word,
    residual: Word,
    /// The means of the channels, where they are wanted.
    means: Word,
}

impl NestEmitter<'_> {
    fn emit(&self, nest: &mut NestBuilder) {
        let conf = self.conf;
        let parts = conf.bands.parts() as i64;
        nest.for_lines(conf.first.vector_groups(), |nest, line, [first, last]| {
            let (sample, part) = (nest.div_imm(line, parts), nest.rem_imm(line, parts));
            let out = nest.sample_pointer(0, sample);
            let sample = Sample {
                input: nest.sample_pointer(1, sample),
                out,
                residual: if conf.second.residuals() > 0 { nest.sample_pointer(2, sample) } else { out },
                means: if conf.second.mean() { nest.sample_pointer(conf.mean_operand(), sample) } else { out },
            };
            nest.for_range_step(first, last, conf.groups as i64, |nest, begin| {
                let end = nest.add_imm(begin, conf.groups as i64);
                let end = nest.smin(end, last);
                self.emit_groups(nest, part, [begin, end], &sample);
            });
        });
    }

    /// The bands of a part of some vector groups.
    fn emit_groups(&self, nest: &mut NestBuilder, part: Word, [begin, end]: [Word; 2], sample: &Sample) {
        let conf = self.conf;
        let table = nest.constant_pointer(conf.constants_operand() + 3);
        let rings = nest.constant_pointer(conf.scratch_operand());
        self.for_blocks(nest, [begin, end], |nest, block| {
            let total = self.total(nest, begin, block);
            self.second.emit_zero(nest, total);
        });
        let all = nest.iconst(conf.bands.count as i64);
        let first_band = nest.mul_imm(part, conf.bands.of_part as i64);
        let behind = nest.add_imm(first_band, conf.bands.of_part as i64);
        let behind = nest.smin(behind, all);
        nest.for_range(first_band, behind, |nest, band| {
            let entry = nest.offset_by(table, band, 16);
            let new_rows = [nest.load(entry, 0), nest.load(entry, 8)];
            nest.for_range(begin, end, |nest, group| {
                let place = nest.sub(group, begin);
                let ring = nest.offset_by(rings, place, conf.group_ring());
                self.emit_first(nest, group, new_rows, ring, sample);
                self.emit_second(nest, [begin, group], band, ring, sample);
            });
        });
        self.for_blocks(nest, [begin, end], |nest, block| {
            let total = self.total(nest, begin, block);
            self.second.emit_divide(nest, block, total, sample.means);
        });
    }

    /// Where a block's total for its mean is, of those from the vector group `first_group` on.
    fn total(&self, nest: &mut NestBuilder, first_group: Word, block: Word) -> Word {
        let (conf, second) = (self.conf, &self.conf.second);
        let first_block = nest.mul_imm(first_group, conf.first.tile.vectors as i64);
        let place = nest.sub(block, first_block);
        let scratch = nest.constant_pointer(conf.scratch_operand());
        let totals = nest.add_imm(scratch, conf.rings());
        nest.offset_by(totals, place, second.total_bytes())
    }

    /// Calls `body` for the channel blocks of some vector groups.
    fn for_blocks(&self, nest: &mut NestBuilder, groups: [Word; 2], body: impl FnOnce(&mut NestBuilder, Word)) {
        let [begin, end] = groups.map(|group| nest.mul_imm(group, self.conf.first.tile.vectors as i64));
        let all = nest.iconst(self.conf.first.out_blocks as i64);
        let end = nest.smin(end, all);
        nest.for_range(begin, end, |nest, block| body(nest, block));
    }

    /// The given rows of a vector group of the first, into its ring.
    fn emit_first(&self, nest: &mut NestBuilder, group: Word, rows: [Word; 2], ring: Word, sample: &Sample) {
        let constants = self.conf.constants_operand();
        let [weights, bias, table] = [0, 1, 2].map(|index| nest.constant_pointer(constants + index));
        let weights = nest.offset_by(weights, group, self.conf.first.weight_group());
        let bias = nest.offset_by(bias, group, self.conf.first.bias_stride());
        let scratch = nest.constant_pointer(self.conf.scratch_operand());
        let pair = nest.add_imm(scratch, self.conf.rings() + self.conf.totals() as i64);
        let pointers = [sample.input, weights, bias, ring, ring, table, pair];
        self.conf.first.generate_group(nest, group, rows, pointers, &self.first);
    }

    /// A band of the channel blocks of a vector group, from its ring; the first group of those that are done together.
    fn emit_second(
        &self,
        nest: &mut NestBuilder,
        [first_group, group]: [Word; 2],
        band: Word,
        ring: Word,
        sample: &Sample,
    ) {
        let (conf, second) = (self.conf, &self.conf.second);
        let all = nest.iconst(second.rows().count as i64);
        let begin = nest.mul_imm(band, conf.bands.rows as i64);
        let end = nest.add_imm(begin, conf.bands.rows as i64);
        let rows = [begin, nest.smin(end, all)];
        let first_block = nest.mul_imm(group, conf.first.tile.vectors as i64);
        let next = nest.add_imm(group, 1);
        self.for_blocks(nest, [group, next], |nest, block| {
            let place = nest.sub(block, first_block);
            let pointers = BlockPointers {
                block,
                input: nest.offset_by(ring, place, conf.first.out_block_stride()),
                out: nest.offset_by(sample.out, block, conf.out_block_stride()),
                residual: nest.offset_by(sample.residual, block, conf.out_block_stride()),
                total: self.total(nest, first_group, block),
                constants: [4, 5].map(|index| nest.constant_pointer(conf.constants_operand() + index)),
            };
            self.second.emit_rows(nest, rows, &pointers);
        });
    }
}

/// The second layer and the functions of its tiles.
enum SecondTiles<'a> {
    Channelwise(&'a channelwise::Code, channelwise::Tiles),
    Pool(&'a pool::Code, Vec<FuncId>),
}

/// Pointers of one channel block of the second.
struct BlockPointers {
    block: Word,
    input: Word,
    out: Word,
    residual: Word,
    /// For the mean.
    total: Word,
    /// Those of the second, for all blocks.
    constants: [Word; 2],
}

impl SecondTiles<'_> {
    fn generate<'a>(
        second: &'a Second,
        name: &str,
        isa: Isa,
        module: &mut CodeModule,
    ) -> Result<SecondTiles<'a>, CodeError> {
        Ok(match second {
            Second::Channelwise(conf) => SecondTiles::Channelwise(conf, conf.generate_tiles(name, isa, module)?),
            Second::Pool(conf) => SecondTiles::Pool(conf, conf.generate_tiles(name, isa, module)?),
        })
    }

    fn emit_rows(&self, nest: &mut NestBuilder, rows: [Word; 2], pointers: &BlockPointers) {
        let &BlockPointers { block, input, out, residual, total, constants } = pointers;
        match self {
            SecondTiles::Channelwise(conf, tiles) => {
                let [weights, table] = constants;
                let weights = nest.offset_by(weights, block, conf.weight_block());
                let weights = nest.add_imm(weights, conf.vector());
                conf.generate_rows(nest, rows, [input, weights, out, residual, table, total], tiles);
            }
            SecondTiles::Pool(conf, tiles) => {
                let [table, divisors] = constants;
                conf.generate_rows(nest, rows, [input, out, residual, table, divisors], tiles);
            }
        }
    }

    /// Before the first band of a block.
    fn emit_zero(&self, nest: &mut NestBuilder, total: Word) {
        if let SecondTiles::Channelwise(conf, tiles) = self {
            conf.generate_zero(nest, total, tiles);
        }
    }

    /// Behind the last band of a block.
    fn emit_divide(&self, nest: &mut NestBuilder, block: Word, total: Word, means: Word) {
        if let SecondTiles::Channelwise(conf, tiles) = self {
            let mean = nest.offset_by(means, block, conf.vector());
            conf.generate_divide(nest, total, mean, tiles);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Graph, Output, verify};
    use crate::kernels::Refusal;
    use crate::layers::{Activation, MaxPool, Padding, Window};
    use crate::schedule::{Plan, plan};
    use crate::tensor::{Batch, DType, TensorType};

    fn window(kernel: usize, stride: usize) -> Window {
        let dilation = vec![1; 2];
        Window { kernel: vec![kernel; 2], stride: vec![stride; 2], dilation, padding: Padding::Half, ceil: false }
    }

    /// Of a square window over an image of that many rows.
    fn rows(kernel: usize, stride: usize, image: usize) -> Rows {
        let input = [image, 5];
        Rows::new(&window(kernel, stride).resolve(&input).unwrap(), &input)
    }

    #[test]
    fn bands_make_each_row_once() {
        let bands = Bands::new(&rows(3, 1, 10), 4, 3, 1);
        assert_eq!(bands.new_rows, [0..5, 5..9, 9..10]);
        assert_eq!(bands.shape.ring, 6, "rows 3 to 8, for output rows 4 to 7");
        let bands = Bands::new(&rows(5, 2, 10), 1, 5, 1);
        assert_eq!(bands.new_rows, [0..3, 3..5, 5..7, 7..9, 9..10]);
        assert_eq!(bands.shape.ring, 5);
        // Two rows of the image in each of the first's.
        let bands = Bands::new(&rows(3, 1, 10), 4, 3, 2);
        assert_eq!(bands.new_rows, [0..3, 3..5, 5..5]);
        assert_eq!(bands.shape.ring, 4);
        // What lies between windows is not made.
        assert_eq!(Bands::new(&rows(1, 3, 8), 1, 3, 1).new_rows, [0..1, 3..4, 6..7]);
    }

    #[test]
    fn rows_behind_the_padding_may_need_older_ones() {
        // A kernel of 3 rows, 2 apart, behind one row of padding: output row 0 sees rows 1 and 3, row 1 sees 0, 2 and 4.
        let (dilation, padding) = (vec![2, 1], Padding::Sides(vec![(1, 0), (0, 0)]));
        let window = Window { dilation, padding, ceil: false, ..window(3, 1) };
        let rows = Rows::new(&window.resolve(&[7, 5]).unwrap(), &[7, 5]);
        let bands = Bands::new(&rows, 1, 4, 1);
        assert_eq!(bands.new_rows, [0..4, 4..5, 5..6, 6..7]);
        assert_eq!(bands.shape.ring, 5);
    }

    #[test]
    fn parts_make_what_they_need_themselves() {
        let bands = Bands::new(&rows(3, 1, 10), 2, 3, 1);
        assert_eq!(bands.new_rows, [0..3, 3..5, 5..7, 5..9, 9..10]);
        assert_eq!((bands.shape.parts(), bands.shape.ring), (2, 4));
        assert_eq!(bands.of(1, 10).collect::<Vec<_>>(), [(5..9, 6..8), (9..10, 8..10)]);
    }

    /// A convolution of stride 2 to 64 channels with an activation, and a pooling of 3x3.
    fn pair(image: usize, kernel: usize, stride: usize, shown: bool) -> Plan {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![3, image, image] };
        let x = graph.add_input("x", ty);
        let [first, second] = [window(kernel, 2), window(3, stride)];
        let conv = Conv { channels: 64, window: first, groups: 1, bias: true, weights: None };
        let conv = graph.add_layer(conv, &[x], "conv").unwrap();
        let relu = graph.add_layer(Activation::Relu, &[conv], "relu").unwrap();
        let pool = graph.add_layer(MaxPool { window: second }, &[relu], "pool").unwrap();
        let outputs = [pool].into_iter().chain(shown.then_some(relu));
        graph.outputs.extend(outputs.map(|node| Output { name: "y".into(), node }));
        plan(verify(graph).unwrap(), Target::new(Isa::Clif))
    }

    fn chains(plan: &Plan) -> Vec<&Conf> {
        let confs = plan.steps.iter().filter_map(|step| match &step.kernel {
            Kernel::Chain(conf) => Some(conf),
            _ => None,
        });
        confs.collect()
    }

    #[test]
    fn pairs_are_taken_where_much_lies_between_them_and_little_behind() {
        let stem = pair(224, 3, 2, false);
        let [conf] = chains(&stem)[..] else { panic!("{:?}", stem.steps) };
        assert!(conf.code.scratch() <= RING_BYTES, "{conf:?}");
        assert!(conf.code.bands.ring < 112, "{conf:?}");
        assert!(conf.code.tasks() >= TASKS, "{conf:?}");
        let step = stem.steps.iter().find(|step| step.chained.is_some()).unwrap();
        assert!(stem.values[step.chained.unwrap().0 as usize].is_none(), "nobody can see what lies between");
        let others = [
            (pair(56, 3, 2, false), "stay in the second-level cache"),
            (pair(224, 3, 1, false), "as much as it reads"),
            (pair(224, 7, 2, false), "147 multiply-accumulates"),
        ];
        for (plan, why) in others {
            assert!(chains(&plan).is_empty());
            let refusals: Vec<&Refusal> = plan.steps.iter().flat_map(|step| &step.refusals).collect();
            assert!(
                refusals.iter().any(|refusal| refusal.family == "chain" && refusal.to_string().contains(why)),
                "{refusals:?}"
            );
        }
        assert!(chains(&pair(224, 3, 2, true)).is_empty(), "an output of the model is seen");
    }
}
