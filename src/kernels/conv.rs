//! Direct convolution, also 1x1 and dense layers: a tile of `pixels` x `vectors` sums stays in registers while
//! the input channels and the kernel's taps pass by; each input element is broadcast against a row of packed
//! weights (Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD
//! architectures", section II).

mod cut;
mod emit;
mod joint;
mod pack;

use cut::{CutRows, Map, chunk_blocks, flatten_pointwise, join_pointwise};
pub(super) use emit::Tiles;
pub use joint::{JOINT, Strides};

use super::bands::{Descent, Planes, Unit, parts, rows_of_unit};
use super::epilogue::Epilogue;
use super::interleave::{Interleave, Part};
use super::long::CHAIN;
use super::nest::{self, Order, even_size};
use super::rows::{RowBytes, RowShape, Rows, Tables};
use super::taps::{Segment, limit_columns, segments};
use super::{Constant, Family, Layout, Lowered, NodeView, TASKS, Target, Value, Why};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::{Conv, Op, ResolvedWindow};
use crate::machine::costs::NEAR_WEIGHTS;
use crate::tensor::{DType, Half};
use std::ops::Range;

/// Every decision about one convolution that its code depends on. Strides are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub input: Input,
    pub rows: RowShape,
    pub window: ColumnWindow,
    /// Output columns in one row.
    pub columns: usize,
    /// Rows that the output's memory has room for: row `r` lies at `r` modulo this. All, except where another kernel
    /// takes them away at once: see [`super::chain`].
    pub out_rows: usize,
    /// Positions of an output block that are in memory, where those are not all: see [`super::bands`].
    pub out_plane: Option<usize>,
    /// Where the output lies between those of other kernels, if it does: see [`super::transposed`].
    pub interleave: Option<Interleave>,
    pub groups: usize,
    /// Output channels of all groups.
    pub channels_out: usize,
    /// Vectors of output channels in one group.
    pub out_blocks: usize,
    pub tile: Tile,
    pub segments: Vec<Segment>,
    pub split: Split,
    /// Rows of a task, where rows are what tasks share.
    pub task_rows: usize,
    /// Rows whose input stays in the second-level cache while vector groups pass over it: tasks that follow each other are
    /// done together, because every block reads all weights.
    pub block_rows: usize,
    /// Input blocks whose weights stay in the first-level cache while the rows of a block pass over them; the sums wait
    /// in the output until the next ones come.
    pub chunk_blocks: usize,
    pub epilogue: Epilogue,
    /// Real lanes of the very last output vector where the padding behind it must not be written.
    pub exact: Option<usize>,
    pub bias: bool,
    /// The weights are packed in 16 bits, which tiles widen: of what waits for weights from memory alone.
    pub half: Option<Half>,
    /// An element of the input is a pair of channels of bf16, and so is one of the weights: an instruction adds both
    /// products. Channels of the input are counted in pairs here.
    pub pairs: bool,
    /// The packed weights are those of each sample: an operand behind the input, made by [`super::scale`].
    pub gated: bool,
}

pub type Conf = super::Conf<Code>;

/// What a task does of one channel group of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// A block of rows of all output channels: where the input is larger than the weights, which every task reads.
    Rows,
    /// One vector group of all rows.
    VectorGroups,
}

/// How the input of one group lies in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// Channels that lie side by side.
    pub block: usize,
    /// Whole blocks.
    pub blocks: usize,
    /// Channels of the last, partial block.
    pub tail: usize,
    pub block_stride: i64,
    pub pixel_stride: i64,
    /// From one input row to the next.
    pub row_stride: i64,
    pub group_stride: i64,
}

/// The window along the last spatial dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnWindow {
    /// Kernel rows: the product of all kernel sizes but the last.
    pub kernel_rows: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad: i64,
}

/// The register tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    pub pixels: usize,
    pub vectors: usize,
    /// Channels of a block that are unrolled; a loop does the rest.
    pub unroll: usize,
    /// The input element is a memory operand of each FMA, not a register that is broadcast once.
    pub embedded: bool,
}

/// Makes the conf of a convolution or dense layer.
///
/// # Errors
/// Why this kernel cannot do it, for `explain`.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let problem = Problem::new(node, target, flatten_pointwise)?;
    Ok(problem.lowered(problem.best(node, target)))
}

/// As [`lower`], with one or more whole rows of the image in each row: the conf, and the layout of its input. Where tasks
/// share nothing but the vector groups, these are such that two threads have equal shares, if that is faster.
pub(super) fn conf_of_image_rows(node: &NodeView, target: &Target, shares: Shares) -> Result<(Conf, Layout), Why> {
    let problem = Problem::new(node, target, join_pointwise)?;
    let conf = match shares {
        Shares::Any => problem.best(node, target),
        Shares::VectorGroups => problem.conf(node, target, problem.evenest_tile(target)),
    };
    Ok((conf, problem.layout))
}

/// What tasks have of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shares {
    VectorGroups,
    Any,
}

/// The conf of a convolution with this window, over an input of this spatial size, whose output is a part of another one;
/// and the layout of its input.
pub(super) fn interleaved(node: &NodeView, conv: &Conv, part: Part, target: &Target) -> Result<(Conf, Layout), Why> {
    let problem = Problem::of_conv(&node.inputs[0], conv, (part.window, part.input), target)?;
    let mut conf = problem.best(node, target);
    let (interleave, column) = part.places.of(conf.code.rows.dims.len());
    conf.code.epilogue = conf.code.epilogue.with_step(column * target.lanes * 4);
    conf.code.interleave = Some(interleave);
    Ok((conf, problem.layout))
}

/// The kernel that `lower` makes, then others that differ from it in one decision.
pub fn candidates(node: &NodeView, target: &Target) -> Vec<Lowered> {
    let Ok(problem) = Problem::new(node, target, flatten_pointwise) else { return Vec::new() };
    let first = problem.best(node, target);
    let tiles = problem.tiles(target).into_iter().skip(1).take(OTHER_TILES);
    let others = tiles.map(|tile| problem.conf(node, target, tile));
    let variants = first.code.variants().into_iter().map(|code| Conf { code, ..first.clone() });
    let confs = [vec![first.clone()], others.collect(), variants.collect()].concat();
    confs.into_iter().map(|conf| problem.lowered(conf)).collect()
}

/// Tiles that are considered beside the one with the least estimated time.
const OTHER_TILES: usize = 3;

/// A layer brought to the form that the kernel computes.
struct Problem {
    layout: Layout,
    window: ResolvedWindow,
    /// Spatial size of the input.
    input: Vec<usize>,
    /// Channels of one group.
    channels_in: usize,
    channels_out: usize,
    groups: usize,
    bias: bool,
    half: Option<Half>,
    /// See [`Code::pairs`].
    pairs: bool,
    /// Output and input are all that each sample has of its own, and nothing else writes the output.
    alone: bool,
}

impl Problem {
    fn new(node: &NodeView, target: &Target, cut: CutRows) -> Result<Problem, Why> {
        let input = &node.inputs[0];
        let alone = !node.gated && node.epilogue.operands() == 0;
        let spatial = input.ty.spatial();
        match node.op {
            Op::Conv(conv) => {
                let window = conv.window.resolve(spatial).expect("verified");
                let problem = Problem { alone, ..Problem::of_conv(input, conv, cut(window, spatial), target)? };
                Ok(problem.with_half(node, target).with_pairs(node))
            }
            Op::Dense(dense) => {
                // All positions are the window of the one output pixel. Where the positions of one channel lie side
                // by side, they are just more channels.
                let flat = input.layout == Layout::Nchw || input.positions() == 1;
                let (channels_in, spatial) =
                    if flat { (input.ty.elements(), vec![1]) } else { (input.channels(), spatial.to_vec()) };
                let layout = if flat { Layout::Nchw } else { Layout::Blocked };
                let (window, spatial) = limit_columns(whole(&spatial), &spatial, target.lanes * 4);
                let (channels_out, bias) = (dense.features, dense.bias);
                let (groups, half, pairs, input) = (1, None, false, spatial);
                let problem =
                    Problem { layout, window, input, channels_in, channels_out, groups, bias, half, pairs, alone };
                Ok(problem.with_half(node, target).with_pairs(node))
            }
            _ => Err(Why::unfit("not a convolution")),
        }
    }

    /// A convolution with this window, over an input of this spatial size.
    fn of_conv(
        input: &Value,
        conv: &Conv,
        (window, spatial): (ResolvedWindow, Vec<usize>),
        target: &Target,
    ) -> Result<Problem, Why> {
        let (channels_in, channels_out) = (conv.group_in(input.ty), conv.channels / conv.groups);
        let aligned = |n: usize| conv.groups == 1 || n.is_multiple_of(target.lanes);
        if !aligned(channels_out) || (input.layout == Layout::Blocked && !aligned(channels_in)) {
            let (from, to, block) = (channels_in, channels_out, target.lanes);
            return Err(
                format!("groups of {from} -> {to} channels are no multiple of the {block}-channel block").into()
            );
        }
        let (window, spatial) = limit_columns(window, &spatial, target.lanes * 4);
        let (groups, bias) = (conv.groups, conv.bias);
        let (layout, half, pairs, alone, input) = (input.layout, None, false, false, spatial);
        Ok(Problem { layout, window, input, channels_in, channels_out, groups, bias, half, pairs, alone })
    }

    /// With weights in 16 bits where the layer has such, and nothing else takes its time than to read them.
    fn with_half(self, node: &NodeView, target: &Target) -> Problem {
        let half =
            node.half.filter(|&half| target.isa.widens(half) && self.reads_far_weights_once(target) && !node.gated);
        Problem { half, ..self }
    }

    /// With pairs of channels in the place of channels, where the input has such.
    fn with_pairs(self, node: &NodeView) -> Problem {
        match node.inputs[0].ty.dtype {
            DType::Bf16 => Problem { channels_in: self.channels_in.div_ceil(2), half: None, pairs: true, ..self },
            _ => self,
        }
    }

    fn lowered(&self, conf: Conf) -> Lowered {
        Lowered { inputs: vec![self.layout], output: Layout::Blocked, kernel: conf.into(), spread: None, padded: None }
    }

    /// Channels, or pairs of them, that lie side by side in the input.
    fn block(&self, target: &Target) -> usize {
        // One position: the channels lie side by side in both layouts.
        let blocked = self.layout == Layout::Blocked || self.input.iter().product::<usize>() == 1;
        match (blocked, self.pairs) {
            (true, false) => target.lanes,
            (true, true) => target.lanes / 2,
            (false, _) => 1,
        }
    }

    /// See [`Tile::all`].
    fn tiles(&self, target: &Target) -> Vec<Tile> {
        let dimension = "windows have a dimension";
        let kernel = *self.window.kernel.last().expect(dimension);
        let (&columns, rows) = self.window.out.split_last().expect(dimension);
        let rows = rows.iter().product::<usize>();
        let map = Map { rows, columns, weights_once: rows * columns == 1 };
        let out_blocks = self.channels_out.div_ceil(target.lanes);
        match self.is_joint(target) {
            false => Tile::all(target, map, out_blocks, self.block(target), kernel),
            true => joint::tiles(target, out_blocks, self.block(target), kernel),
        }
    }

    /// The tile with the least estimated time on the busier of two threads that share the vector groups.
    fn evenest_tile(&self, target: &Target) -> Tile {
        let out_blocks = self.channels_out.div_ceil(target.lanes);
        let columns = *self.window.out.last().expect("windows have a dimension");
        let time = |tile: &Tile| {
            let first = out_blocks.div_ceil(tile.vectors) / 2 * tile.vectors;
            tile.row_cycles(columns, out_blocks) * first.max(out_blocks - first) / out_blocks
        };
        self.tiles(target).into_iter().min_by_key(time).expect("there are tiles")
    }

    /// The conf with the least estimated time.
    fn best(&self, node: &NodeView, target: &Target) -> Conf {
        self.conf(node, target, self.tiles(target).remove(0))
    }

    /// The conf with this tile, and the blocking that is expected to suit it.
    fn conf(&self, node: &NodeView, target: &Target, tile: Tile) -> Conf {
        let rows = Rows::new(&self.window, &self.input);
        Conf { code: self.code(node, target, tile, rows.shape().clone()), tables: rows.into() }
    }

    fn code(&self, node: &NodeView, target: &Target, mut tile: Tile, rows: RowShape) -> Code {
        let lanes = target.lanes;
        let dim = self.window.out.len() - 1;
        let positions: usize = self.input.iter().product();
        let out_blocks = self.channels_out.div_ceil(lanes);
        let block = self.block(target);
        let pixel = block * 4;
        let input = Input {
            block,
            blocks: self.channels_in / block,
            tail: self.channels_in % block,
            block_stride: (positions * pixel) as i64,
            pixel_stride: pixel as i64,
            row_stride: (self.input[dim] * pixel) as i64,
            group_stride: (self.channels_in * positions * 4) as i64,
        };
        let window = ColumnWindow {
            kernel_rows: self.window.kernel[..dim].iter().product(),
            kernel: self.window.kernel[dim],
            stride: self.window.stride[dim],
            dilation: self.window.dilation[dim],
            pad: -self.window.origin(dim, 0),
        };
        let columns = self.window.out[dim];
        // One that suits several samples has more.
        tile.pixels = tile.pixels.min(columns);
        let flat_output = columns * rows.count == 1;
        let tail = (self.channels_out * self.groups) % lanes;
        let vector_groups = out_blocks.div_ceil(tile.vectors);
        let taps: usize = self.window.kernel.iter().product();
        let split = Split::choose(
            rows.count,
            vector_groups,
            self.channels_in * positions,
            self.channels_in * taps * self.channels_out,
        );
        let panel = taps * block * tile.vectors * lanes * 4;
        let row_tiles = columns.div_ceil(tile.pixels);
        let chunk_blocks = chunk_blocks(input.blocks, panel, taps, rows.count * row_tiles);
        // Of several chunks, sums wait in the output beside the input of one.
        let row_bytes = match chunk_blocks < input.blocks {
            false => (self.channels_in * positions * 4).div_ceil(rows.count),
            true => (chunk_blocks * block * positions * 4).div_ceil(rows.count) + columns * out_blocks * lanes * 4,
        };
        let most = target.machine.block_bytes() / row_bytes.max(1);
        let blocks = rows.count.div_ceil(most.max(1));
        let block_rows = rows.count.div_ceil(blocks);
        Code {
            lanes,
            split,
            task_rows: even_size(rows.count, block_rows.min(rows.count.div_ceil(TASKS)), self.groups, Order::Lines),
            block_rows,
            chunk_blocks,
            out_rows: rows.count,
            out_plane: None,
            interleave: None,
            rows,
            columns,
            groups: self.groups,
            channels_out: self.channels_out * self.groups,
            out_blocks,
            segments: segments(&self.window, self.input[dim], tile.pixels),
            tile,
            epilogue: node.epilogue.clone(),
            exact: (flat_output && tail != 0).then_some(tail),
            bias: self.bias,
            half: self.half,
            pairs: self.pairs,
            gated: node.gated,
            input,
            window,
        }
    }
}

/// The window that covers the whole input once.
fn whole(spatial: &[usize]) -> ResolvedWindow {
    let ones = vec![1; spatial.len()];
    ResolvedWindow {
        kernel: spatial.to_vec(),
        stride: ones.clone(),
        dilation: ones.clone(),
        pads: vec![(0, 0); spatial.len()],
        skip: vec![0; spatial.len()],
        out: ones,
    }
}

const LINE: i64 = crate::machine::LINE as i64;

impl Code {
    /// Describes all that was decided.
    pub(super) fn decision(&self) -> String {
        let Tile { pixels, vectors, .. } = self.tile;
        let split = match self.split {
            Split::Rows => "rows",
            Split::VectorGroups => "vectors",
        };
        let (rows, chunk) = (self.block_rows, self.chunk_blocks);
        format!("direct {pixels}x{vectors}, by {split}, blocks of {rows} rows, chunks of {chunk}")
    }

    /// Confs that differ in the split, the rows of a block, or the chunks.
    fn variants(&self) -> Vec<Code> {
        let (rows, blocks) = (self.rows.count, self.input.blocks);
        let mut confs = Vec::new();
        if self.split == Split::Rows && self.vector_groups() > 1 {
            confs.push(Code { split: Split::VectorGroups, ..self.clone() });
        } else if self.split == Split::VectorGroups && rows > 1 {
            confs.push(Code { split: Split::Rows, ..self.clone() });
        }
        let halves = |n: usize, most: usize| [n.div_ceil(2), (2 * n).min(most)].into_iter().filter(move |&m| m != n);
        confs.extend(halves(self.block_rows, rows).map(|block_rows| Code { block_rows, ..self.clone() }));
        let chunks = halves(self.chunk_blocks, blocks).chain((self.chunk_blocks < blocks).then_some(blocks));
        confs.extend(chunks.map(|chunk_blocks| Code { chunk_blocks, ..self.clone() }));
        confs
    }

    /// Bytes of all packed weights.
    pub(super) fn weight_bytes(&self) -> usize {
        self.groups * self.vector_groups() * self.weight_group() as usize
    }

    /// Estimated cycles of one sample on the [`STANDARD`](crate::machine::STANDARD) machine, with everything in the nearest
    /// cache.
    pub(super) fn cycles(&self) -> usize {
        let steps = self.groups * self.rows.count * self.channels_in() * self.window.kernel_rows * self.window.kernel;
        steps * self.tile.row_cycles(self.columns, self.out_blocks) / 4
    }

    /// Index of the operand that holds the packed weights. Constants have the same address for all samples.
    pub(crate) fn weights_operand(&self) -> usize {
        if self.gated { 2 } else { 2 + self.epilogue.operands() }
    }

    pub(crate) fn residual_operand(&self) -> usize {
        if self.gated { 3 } else { 2 }
    }

    /// Index of the operand that holds the biases; the table of rows comes behind it.
    pub(crate) fn bias_operand(&self) -> usize {
        3 + self.epilogue.operands()
    }

    /// Input channels of one group.
    pub(crate) fn channels_in(&self) -> usize {
        self.input.blocks * self.input.block + self.input.tail
    }

    /// Vector groups of one channel group.
    pub(crate) fn vector_groups(&self) -> usize {
        self.out_blocks.div_ceil(self.tile.vectors)
    }

    /// Vectors of the last vector group of each channel group.
    pub(crate) fn last_vectors(&self) -> usize {
        self.out_blocks - (self.vector_groups() - 1) * self.tile.vectors
    }

    /// Whether nothing is written behind the last output channel.
    pub fn writes_exactly(&self) -> bool {
        self.exact.is_some() || self.channels_out.is_multiple_of(self.lanes)
    }

    /// Tasks of one channel group of one sample.
    fn line_tasks(&self) -> usize {
        match self.split {
            Split::Rows => self.rows.count.div_ceil(self.task_rows),
            Split::VectorGroups => self.vector_groups(),
        }
    }

    /// Tasks that follow each other which one block does.
    pub(super) fn tasks_of_block(&self) -> usize {
        match self.split {
            Split::Rows => (self.block_rows / self.task_rows).max(1),
            Split::VectorGroups => self.vector_groups(),
        }
    }

    /// Whether all channel groups do some rows before the next ones.
    pub(super) fn is_by_rows(&self) -> bool {
        self.out_plane.is_some() && self.groups > 1
    }

    /// Channel group, rows and vector groups of a task of a sample, where each group does all rows before the next one.
    pub(crate) fn task(&self, task: usize) -> (usize, Range<usize>, Range<usize>) {
        let (group, index) = (task / self.line_tasks(), task % self.line_tasks());
        let (rows, groups) = (self.rows.count, self.vector_groups());
        match self.split {
            Split::Rows => {
                let first = index * self.task_rows;
                (group, first..rows.min(first + self.task_rows), 0..groups)
            }
            Split::VectorGroups => (group, 0..rows, index..index + 1),
        }
    }

    /// Bytes of one row of weights: all vectors of a tile.
    pub(crate) fn weight_stride(&self) -> i64 {
        self.tile.vectors as i64 * self.weight_vector()
    }

    /// Bytes of a vector of weights.
    pub(crate) fn weight_vector(&self) -> i64 {
        (self.lanes * if self.half.is_some() { 2 } else { 4 }) as i64
    }

    /// Bytes of the biases of a vector group.
    pub(crate) fn bias_stride(&self) -> i64 {
        (self.tile.vectors * self.lanes * 4) as i64
    }

    /// Bytes of the weights of one kernel row of one input block.
    fn weight_row(&self) -> i64 {
        (self.window.kernel * self.input.block) as i64 * self.weight_stride()
    }

    pub(crate) fn row_bytes(&self) -> RowBytes {
        RowBytes { input: self.input.row_stride, weights: self.weight_row() }
    }

    /// Bytes of the weights of one input block.
    pub(crate) fn weight_block(&self) -> i64 {
        self.window.kernel_rows as i64 * self.weight_row()
    }

    /// Bytes of the weights of one vector group.
    pub(crate) fn weight_group(&self) -> i64 {
        self.input_blocks() as i64 * self.weight_block()
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        if self.interleave.is_some() {
            return None;
        }
        let task_rows = rows_of_unit(self.rows.count).min(self.block_rows);
        let code = Code { groups: 1, ..self.clone() }.in_rows(planes, task_rows)?;
        let group_stride = (self.channels_in() * planes.input * 4) as i64;
        Some(Code { groups: self.groups, input: Input { group_stride, ..code.input }, ..code })
    }

    /// The same in tasks of so many rows, which are no more than a block's; the output may lie between others'.
    pub(super) fn in_rows(&self, planes: Planes, task_rows: usize) -> Option<Code> {
        let whole_rows = self.out_rows == self.rows.count && self.exact.is_none();
        if self.rows.dims.len() != 1 || self.groups > 1 || self.gated || !whole_rows {
            return None;
        }
        let block_stride = planes.input as i64 * self.input.pixel_stride;
        let positions = planes.output;
        Some(Code {
            input: Input { block_stride, ..self.input.clone() },
            out_plane: Some(positions),
            interleave: self.interleave.clone().map(|interleave| Interleave { positions, ..interleave }),
            split: Split::Rows,
            task_rows,
            ..self.clone()
        })
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self, rows: &Rows) -> Descent {
        let unit = |of_unit: Range<usize>| Unit {
            reads: rows.needed_by(of_unit.clone(), self.input_columns()),
            writes: of_unit.start * self.columns..of_unit.end * self.columns,
        };
        Descent { tasks: self.groups, units: parts(self.rows.count, self.task_rows).map(unit).collect() }
    }

    /// Positions of a row of the input.
    pub(super) fn input_columns(&self) -> usize {
        (self.input.row_stride / self.input.pixel_stride) as usize
    }

    /// Parts of the input channels; at least one.
    fn chunks(&self) -> usize {
        self.input.blocks.div_ceil(self.chunk_blocks.max(1)).max(1)
    }

    /// The kinds of chunks, in order.
    fn phases(&self) -> Vec<Phase> {
        let last = self.chunks() - 1;
        let all = [0..1, 1..last, last.max(1)..last + 1].into_iter().filter(|chunks| !chunks.is_empty());
        all.map(|chunks| Phase { first: chunks.start == 0, last: chunks.end == last + 1, chunks }).collect()
    }

    /// Whether a chunk has more terms than one chain may add, so that a tile's totals wait in the output meanwhile.
    fn is_long(&self) -> bool {
        let channels = self.chunk_blocks.min(self.input.blocks) * self.input.block + self.input.tail;
        channels * self.window.kernel_rows * self.window.kernel * self.terms() > CHAIN
    }

    /// Products of an element of the input and one of the weights.
    pub(super) fn terms(&self) -> usize {
        if self.pairs { 2 } else { 1 }
    }

    /// Bytes of the weights of one chunk of one vector group.
    fn panel(&self) -> i64 {
        self.chunk_blocks as i64 * self.weight_block()
    }

    /// Tiles of one row.
    fn row_tiles(&self) -> usize {
        self.segments.iter().map(|segment| segment.repeat).sum()
    }

    /// Whether each weight is read once, from far away: by the only tile that a group of vectors has.
    fn is_streamed(&self) -> bool {
        self.weight_bytes() > NEAR_WEIGHTS && self.row_tiles() * self.out_rows == 1
    }

    /// The cache lines of the next panel of weights, which comes from memory, that a tile asks for with each input block, if
    /// it does: its share, because memory gives lines no faster than a few tiles compute.
    fn ahead(&self) -> Option<usize> {
        let far = self.weight_bytes() > NEAR_WEIGHTS && !self.is_streamed();
        if !far || !(1..=NEAR_WEIGHTS as i64).contains(&self.panel()) {
            return None;
        }
        let turns = self.row_tiles() * self.block_rows * self.chunk_blocks * self.turns();
        Some(((self.panel() / LINE) as usize).div_ceil(turns) * self.turns())
    }

    /// Bytes of the two pointers that a tile finds where it asks for weights ahead: its bias and its share.
    pub(super) fn pair_bytes(&self) -> usize {
        if self.ahead().is_some() { 16 } else { 0 }
    }

    /// How often the unrolled part of a tile runs for each input block.
    fn turns(&self) -> usize {
        self.window.kernel_rows * self.input.block / self.tile.unroll
    }

    fn input_blocks(&self) -> usize {
        self.input.blocks + usize::from(self.input.tail > 0)
    }

    /// Bytes from one output block to the next.
    pub(crate) fn out_block_stride(&self) -> i64 {
        let own = self.out_plane.unwrap_or(self.out_rows * self.columns);
        let positions = self.interleave.as_ref().map_or(own, |whole| whole.positions);
        (positions * self.lanes * 4) as i64
    }

    /// Bytes from one output column to the next.
    pub(crate) fn out_column(&self) -> i64 {
        self.epilogue.step(self.lanes) as i64
    }

    /// The output position at which a row begins.
    pub(crate) fn out_position(&self, row: usize) -> usize {
        match &self.interleave {
            Some(whole) => whole.row(row, &self.rows),
            None => row % self.out_rows * self.columns,
        }
    }

    /// Channels of the input block `block`, and how many of them are unrolled.
    fn block_shape(&self, block: usize) -> (usize, usize) {
        if block < self.input.blocks {
            (self.input.block, self.tile.unroll)
        } else {
            (self.input.tail, self.input.tail)
        }
    }

    /// Byte offset of the input column of a segment's first pixel; negative inside the padding.
    fn column_offset(&self, column: usize) -> i64 {
        ((column * self.window.stride) as i64 - self.window.pad) * self.input.pixel_stride
    }
}

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        let Tile { pixels, vectors, .. } = self.tile;
        let shape = format!("{}x{}", self.window.kernel_rows, self.window.kernel);
        let weights = match self.half {
            _ if self.pairs => String::from("bf16x2"),
            Some(half) => half.to_string(),
            None => String::from("f32"),
        };
        format!("conv_direct_{weights}_{}c{pixels}x{vectors}_{shape}", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.groups * self.line_tasks()
    }

    /// The residual operand: a light epilogue reads it where it is about to store. Not where totals wait in the output
    /// before.
    fn may_overwrite(&self, index: usize) -> bool {
        index + 1 == self.residual_operand() && self.epilogue.is_light() && self.chunks() == 1 && !self.is_long()
    }

    /// What rows need, and the pair.
    fn scratch(&self) -> usize {
        self.rows.scratch() + self.pair_bytes()
    }

    fn constants<'a>(&'a self, tables: &'a Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let (weights, rest) = if self.gated { (None, params) } else { (Some(&params[0]), &params[1..]) };
        let weights = weights.map(|weights| match self.half {
            None if self.pairs => self.pack_pairs(weights),
            None => Constant::Packed(self.pack_weights(weights)),
            Some(_) => self.pack_halves(weights),
        });
        let bias = Constant::F32(self.pack_bias(self.bias.then(|| &*rest[0])));
        let row = self.row_bytes();
        let table = Constant::I64(tables.rows.table(row.input, row.weights));
        weights.into_iter().chain([bias, table]).collect()
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tiles = self.generate_tiles(name, isa, module)?;
        nest::define(name, module, |nest| self.generate_nest(nest, &tiles))
    }
}

/// Where chunks of the input channels stand among all.
struct Phase {
    chunks: Range<usize>,
    /// Sums begin with the bias; those of the others are added to what waits in the output.
    first: bool,
    /// Sums are complete.
    last: bool,
}

#[cfg(test)]
mod tests {
    use super::super::Kernel;
    use super::super::testing::with_convolution;
    use super::*;
    use target_lexicon::Architecture;

    #[test]
    fn vector_groups_that_are_all_to_share_are_even() {
        let target = Target::of(Isa::Avx512, Architecture::X86_64);
        let groups = |channels: usize, shares| {
            with_convolution([16, 112, 112], channels, [1, 1], |node| {
                conf_of_image_rows(node, &target, shares).unwrap().0.code.vector_groups()
            })
        };
        assert_eq!([Shares::Any, Shares::VectorGroups].map(|shares| groups(96, shares)), [3, 6]);
        // Five of nine blocks are the busier thread's in any case.
        assert_eq!(groups(144, Shares::VectorGroups), 5);
    }

    #[test]
    fn tiles_ask_for_all_of_the_next_panel() {
        let target = Target::of(Isa::Avx2, Architecture::X86_64);
        for (channels_in, channels_out, kernel) in [(2048, 512, 1), (512, 2048, 1), (512, 512, 3), (1000, 333, 1)] {
            let lowered = with_convolution([channels_in, 7, 7], channels_out, [kernel; 2], |node| lower(node, &target));
            let Ok(Lowered { kernel: Kernel::Conv(conf), .. }) = lowered else { panic!("a convolution") };
            let conf = conf.code;
            let lines = conf.ahead().expect("more weights than are near");
            let tiles = conf.row_tiles() * conf.block_rows;
            let lines = (tiles * conf.chunk_blocks * lines) as i64;
            assert!((conf.panel() / LINE..3 * conf.panel() / LINE).contains(&lines), "{lines} of {conf:?}");
            let phases = conf.phases();
            assert_eq!(phases.iter().map(|phase| phase.chunks.len()).sum::<usize>(), conf.chunks());
            assert!(phases[0].first && phases.last().unwrap().last);
        }
    }
}
