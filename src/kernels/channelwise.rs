//! Convolution in which each output lane reads its own input lanes: depthwise convolution, where the input is
//! taken as it is, and convolution of small groups, whose input channels were spread by a permute kernel so that
//! vector `m` of an output block holds the `m`-th input channel of each lane's group.
//!
//! An input vector is loaded once for a row of the tile and used under every kernel column that meets it.

use super::bands::{Descent, Planes, Unit, parts, rows_of_unit};
use super::epilogue::Epilogue;
use super::interleave::{Interleave, Part};
use super::long::{CHAIN, Every};
use super::nest::{self, KernelNest};
use super::permute::Source;
use super::rows::{Located, RowBytes, RowShape, Rows, Tables};
use super::taps::{Segment, limit_columns, segments};
use super::{Constant, Family, Layout, Lowered, NodeView, Target, Why};
use crate::codegen::vector::{Compare, Mem, R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::weights::Values;
use crate::layers::{Conv, Op, ResolvedWindow};
use crate::machine::costs::{MAX_UNROLLED, NEAREST};
use std::ops::Range;

/// Every decision about one channelwise convolution that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    /// Input channels of one group: input vectors for each output vector.
    pub multiplicity: usize,
    pub rows: RowShape,
    pub kernel_rows: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad: i64,
    /// Size of the last input dimension, and of all.
    pub input_columns: usize,
    pub input_positions: usize,
    pub columns: usize,
    /// Where the output lies between those of other kernels, if it does: see [`super::transposed`].
    pub interleave: Option<Interleave>,
    pub segments: Vec<Segment>,
    /// Rows whose kernel rows are all inside the input, where they are unrolled.
    pub interior: Option<Interior>,
    /// All rows that see all kernel rows have them unrolled, wherever the input rows lie: those of a ring.
    pub whole: bool,
    pub epilogue: Epilogue,
    pub bias: bool,
    /// Writes the mean of each channel too.
    pub mean: bool,
    /// Output rows of a task: all of a block, or a part of them.
    pub task_rows: usize,
    /// Where it goes down the picture with others, row by row, and not block by block.
    pub planes: Option<Planes>,
}

pub type Conf = super::Conf<Code>;

/// Output rows that differ in nothing but where they are: one call of a tile does several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interior {
    /// First output row.
    pub start: usize,
    /// Input row under its first tap's kernel row; negative inside the padding.
    pub base: i64,
    pub count: usize,
    /// Output rows of one call of a tile, before the next tile does them: all where the input stays in the nearest
    /// cache; else one, so that memory is read in its order.
    pub chunk: usize,
    /// Input rows from one output row to the next.
    pub step: usize,
    /// Input rows under the kernel's rows, counted from the first.
    pub taps: Vec<usize>,
}

/// Registers that a tile's part of the mean takes beside the values.
const MEAN_REGISTERS: usize = 3;

impl Interior {
    /// The longest run of rows of an image with all `kernel_rows` taps, which lie at equal distances; `row` is an input
    /// row's bytes.
    fn find(rows: &Rows, kernel_rows: usize, row: usize) -> Option<Interior> {
        let &[dim] = &rows.shape().dims[..] else { return None };
        let seen: Option<Vec<_>> = (0..rows.count()).map(|r| rows.row(r)).collect();
        let seen = seen?;
        let base = |r: usize| seen[r].0;
        let whole = |r: &usize| seen[*r].1.len() == kernel_rows;
        let mut best: Option<Interior> = None;
        let mut start = 0;
        while let Some(first) = (start..seen.len()).find(whole) {
            let step = if first + 1 < seen.len() { base(first + 1) - base(first) } else { 0 };
            let run = (first + 1..seen.len()).take_while(|&r| whole(&r) && base(r) - base(r - 1) == step);
            let count = 1 + run.count();
            start = first + count;
            if let (Ok(step), true) = (usize::try_from(step), best.as_ref().is_none_or(|b| b.count < count)) {
                let taps = (0..kernel_rows).map(|tap| tap * dim.input_step).collect();
                let chunk = if row * step * count <= NEAREST { count } else { 1 };
                best = Some(Interior { start: first, base: base(first), count, chunk, step, taps });
            }
        }
        best
    }
}

/// Makes the conf of a convolution in groups.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Op::Conv(conv) = node.op else { return Err(Why::unfit("not a convolution")) };
    let input = &node.inputs[0];
    if conv.groups == 1 {
        return Err("one group".into());
    }
    let multiplicity = conv.group_in(input.ty);
    let spatial = input.ty.spatial();
    let window = conv.window.resolve(spatial).expect("verified");
    let mut made = conf(node, conv, (window, spatial), target);
    if made.code.has_free_rows() {
        made.code.task_rows = made.code.rows.of_task(Layout::Blocked.bytes(input.ty, target.lanes));
    }
    let kernel = made.into();
    let spread = spread(conv, multiplicity, target.lanes);
    Ok(Lowered { inputs: vec![Layout::Blocked], output: Layout::Blocked, kernel, spread, padded: None })
}

/// As [`lower`], of a convolution whose output is a part of another one: the conf, and what its input must be rearranged to.
pub(super) fn interleaved(node: &NodeView, conv: &Conv, part: Part, target: &Target) -> (Conf, Option<Vec<Source>>) {
    let mut conf = conf(node, conv, (part.window, &part.input), target);
    let (interleave, column) = part.places.of(conf.code.rows.dims.len());
    conf.code.epilogue = conf.code.epilogue.with_step(column * target.lanes * 4);
    conf.code.interleave = Some(interleave);
    let spread = spread(conv, conf.code.multiplicity, target.lanes);
    (conf, spread)
}

/// The input channel that each channel of the spread input holds, if it is to be spread.
fn spread(conv: &Conv, multiplicity: usize, lanes: usize) -> Option<Vec<Source>> {
    if multiplicity == 1 && conv.channels == conv.groups {
        return None;
    }
    let group_out = conv.channels / conv.groups;
    let blocks = conv.channels.div_ceil(lanes);
    let channel = |index: usize| {
        let (vector, lane) = (index / lanes, index % lanes);
        let (block, member) = (vector / multiplicity, vector % multiplicity);
        // Lanes behind the last channel repeat it: what they compute is padding.
        let out = (block * lanes + lane).min(conv.channels - 1);
        Source { operand: 0, channel: out / group_out * multiplicity + member }
    };
    Some((0..blocks * multiplicity * lanes).map(channel).collect())
}

fn conf(node: &NodeView, conv: &Conv, (window, spatial): (ResolvedWindow, &[usize]), target: &Target) -> Conf {
    let multiplicity = conv.group_in(node.inputs[0].ty);
    let (window, input) = limit_columns(window, spatial, target.lanes * 4);
    let dim = window.out.len() - 1;
    // Beside the sums: one register for each kernel column and one for the input, or one for a weight only. The mean takes
    // some at the end.
    let others = if node.mean { MEAN_REGISTERS } else { 1 };
    let by_input = target.registers.saturating_sub(others.max(window.kernel[dim] + 1));
    let pixels = if by_input >= 4 { by_input } else { target.registers - others };
    let rows = Rows::new(&window, &input);
    let kernel_rows: usize = window.kernel[..dim].iter().product();
    // Taps are reached with 32-bit offsets.
    let columns = (window.kernel[dim] - 1) * window.dilation[dim] + pixels * window.stride[dim];
    let reach = (input.iter().product::<usize>() + columns) * target.lanes * 4;
    let taps = kernel_rows * window.kernel[dim];
    let unrolled = multiplicity == 1 && taps <= CHAIN && taps * pixels <= MAX_UNROLLED && i32::try_from(reach).is_ok();
    let interior = Interior::find(&rows, kernel_rows, input[dim] * target.lanes * 4)
        .filter(|interior| unrolled && interior.count > 1);
    let code = Code {
        lanes: target.lanes,
        channels: conv.channels,
        multiplicity,
        rows: rows.shape().clone(),
        kernel_rows,
        interior,
        whole: false,
        kernel: window.kernel[dim],
        stride: window.stride[dim],
        dilation: window.dilation[dim],
        pad: -window.origin(dim, 0),
        input_columns: input[dim],
        input_positions: input.iter().product(),
        columns: window.out[dim],
        interleave: None,
        segments: segments(&window, input[dim], pixels),
        epilogue: node.epilogue.clone(),
        bias: conv.bias,
        mean: node.mean,
        task_rows: rows.shape().count,
        planes: None,
    };
    Conf { code, tables: rows.into() }
}

impl Conf {
    /// The same for an input of which `ring` rows are in memory: row `r` lies at `r` modulo `ring`.
    pub(super) fn in_ring(&self, ring: usize) -> Conf {
        let (code, rows) = (&self.code, self.tables.rows.in_ring(ring));
        let (whole, input_positions) = (code.interior.is_some(), ring * code.input_columns);
        let code = Code { rows: rows.shape().clone(), interior: None, whole, input_positions, ..code.clone() };
        Conf { code, tables: rows.into() }
    }
}

impl Code {
    pub(super) fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Positions of the output.
    pub(crate) fn positions(&self) -> usize {
        self.rows.count * self.columns
    }

    /// Positions of a block of the value that the output is, or is a part of, in memory.
    pub(crate) fn out_positions(&self) -> usize {
        let own = self.planes.map_or(self.positions(), |planes| planes.output);
        self.interleave.as_ref().map_or(own, |whole| whole.positions)
    }

    /// Whether rows can be done in any order, by different tasks.
    fn has_free_rows(&self) -> bool {
        self.rows.dims.len() == 1 && !self.mean && self.interleave.is_none()
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        let task_rows = rows_of_unit(self.rows.count);
        let code = || Code { task_rows, planes: Some(planes), input_positions: planes.input, ..self.clone() };
        self.has_free_rows().then(code)
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self, rows: &Rows) -> Descent {
        let unit = |of_unit: Range<usize>| Unit {
            reads: rows.needed_by(of_unit.clone(), self.input_columns),
            writes: of_unit.start * self.columns..of_unit.end * self.columns,
        };
        Descent { tasks: self.blocks(), units: parts(self.rows.count, self.task_rows).map(unit).collect() }
    }

    /// The output position at which a row begins.
    pub(crate) fn out_position(&self, row: usize) -> usize {
        self.interleave.as_ref().map_or(row * self.columns, |whole| whole.row(row, &self.rows))
    }

    /// Index of the operand that holds the weights; the table of rows comes behind it, and before it the means, where
    /// they are wanted.
    pub(crate) fn constants_operand(&self) -> usize {
        2 + self.epilogue.operands() + usize::from(self.mean)
    }

    pub(crate) fn row_bytes(&self) -> RowBytes {
        RowBytes { input: self.input_row(), weights: self.kernel as i64 * self.vector() }
    }

    /// Bytes of a total for the mean of a block: the sum, and what rounding has lost of it.
    pub(super) fn total_bytes(&self) -> i64 {
        2 * self.vector()
    }

    /// Bytes of scratch memory for the total, if there is one.
    fn own_scratch(&self) -> i64 {
        if self.mean { self.total_bytes() } else { 0 }
    }

    /// Whether more tiles than one chain may add share a total.
    fn has_long_mean(&self) -> bool {
        self.rows.count * self.segments.iter().map(|segment| segment.repeat).sum::<usize>() > CHAIN
    }

    /// Bytes of an input row.
    fn input_row(&self) -> i64 {
        self.input_columns as i64 * self.vector()
    }

    pub(crate) fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel_rows * self.kernel
    }

    /// For each block a row of biases, then `[member of the group][kernel row][kernel column][lane]`.
    fn pack(&self, weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let (m, taps) = (self.multiplicity, self.taps());
        let mut packed = Vec::with_capacity(self.blocks() * (m * taps + 1) * self.lanes);
        for block in 0..self.blocks() {
            let value = |lane: usize, values: &[f32], index: usize, stride: usize| {
                let channel = block * self.lanes + lane;
                if channel < self.channels { values[channel * stride + index] } else { 0.0 }
            };
            packed.extend((0..self.lanes).map(|lane| bias.map_or(0.0, |b| value(lane, b, 0, 1))));
            for index in 0..m * taps {
                packed.extend((0..self.lanes).map(|lane| value(lane, weight, index, m * taps)));
            }
        }
        packed
    }

    /// Bytes of the biases and weights of one block; tiles are given the place of the weights.
    pub(crate) fn weight_block(&self) -> i64 {
        (self.multiplicity * self.taps() + 1) as i64 * self.vector()
    }

    /// Whether there are more terms than one chain may add, so that a tile's totals wait in the output meanwhile.
    fn is_long(&self) -> bool {
        self.multiplicity * self.taps() > CHAIN
    }

    /// The weights of a kernel row stay in registers.
    fn weights_fit(&self, registers: usize, pixels: usize) -> bool {
        pixels + self.kernel < registers
    }
}

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        let kind = if self.multiplicity == 1 { "depthwise" } else { "grouped" };
        let pixels = self.segments.iter().map(|s| s.pixels).max().unwrap_or(0);
        format!("conv_{kind}_f32_{}c{pixels}_{}x{}", self.lanes, self.kernel_rows, self.kernel)
    }

    fn tasks(&self) -> usize {
        self.blocks() * self.rows.count.div_ceil(self.task_rows)
    }

    /// The residual operand: a light epilogue reads it where it is about to store.
    fn may_overwrite(&self, index: usize) -> bool {
        index == 1 && self.epilogue.is_light() && !self.is_long()
    }

    /// A total, and what finding rows needs.
    fn scratch(&self) -> usize {
        self.own_scratch() as usize + self.rows.scratch()
    }

    fn constants<'a>(&'a self, tables: &'a Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let row = self.input_row();
        vec![
            Constant::F32(self.pack(&params[0], self.bias.then(|| &*params[1]))),
            Constant::I64(tables.rows.table(row, self.kernel as i64 * self.vector())),
        ]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tiles = self.generate_tiles(name, isa, module)?;
        nest::define(name, module, |nest| self.generate_nest(nest, &tiles))
    }
}

/// The functions of the tiles, one for each segment.
pub(super) struct Tiles {
    rows: Vec<FuncId>,
    /// Those that do several rows of the interior.
    interior: Vec<FuncId>,
    /// Those that do a row with all kernel rows, wherever its input rows lie.
    whole: Vec<FuncId>,
    mean: Option<MeanTiles>,
}

/// What is done to the sums of a block before its first row, and behind its last.
struct MeanTiles {
    zero: FuncId,
    divide: FuncId,
}

impl Code {
    pub(super) fn generate_tiles(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<Tiles, CodeError> {
        let tiles: Vec<FuncId> = self
            .segments
            .iter()
            .enumerate()
            .map(|(index, segment)| {
                module.define_tile(&format!("{name}_tile{index}"), isa, 6, &mut |asm| self.emit(asm, segment))
            })
            .collect::<Result<_, _>>()?;
        let interior = self.interior.iter().flat_map(|interior| {
            self.segments.iter().enumerate().map(move |(index, segment)| (index, segment, interior))
        });
        let interior: Vec<FuncId> = interior
            .map(|(index, segment, interior)| {
                let name = format!("{name}_rows{index}");
                module.define_tile(&name, isa, 6, &mut |asm| self.emit_interior(asm, segment, interior))
            })
            .collect::<Result<_, _>>()?;
        let whole = self.segments.iter().filter(|_| self.whole).enumerate();
        let whole: Vec<FuncId> = whole
            .map(|(index, segment)| {
                module.define_tile(&format!("{name}_whole{index}"), isa, 6, &mut |asm| self.emit_whole(asm, segment))
            })
            .collect::<Result<_, _>>()?;
        let mean = match self.mean {
            false => None,
            true => Some(MeanTiles {
                zero: module.define_tile(&format!("{name}_mean0"), isa, 1, &mut |asm| self.emit_zero(asm))?,
                divide: module.define_tile(&format!("{name}_mean1"), isa, 2, &mut |asm| self.emit_mean(asm))?,
            }),
        };
        Ok(Tiles { rows: tiles, interior, whole, mean })
    }

    fn generate_nest(&self, nest: &mut NestBuilder, tiles: &Tiles) {
        let residual = self.epilogue.operands();
        let block_bytes = self.out_positions() as i64 * self.vector();
        let input_bytes = (self.multiplicity * self.input_positions) as i64 * self.vector();
        nest.for_tasks(self.tasks(), |nest, sample, task| {
            let (block, of_task) = self.rows.emit_task(nest, task, self.blocks(), self.task_rows);
            let out = nest.sample_pointer(0, sample);
            let out = nest.offset_by(out, block, block_bytes);
            let input = nest.sample_pointer(1, sample);
            let input = nest.offset_by(input, block, input_bytes);
            let residual = match residual {
                0 => out,
                _ => {
                    let pointer = nest.sample_pointer(2, sample);
                    nest.offset_by(pointer, block, block_bytes)
                }
            };
            let constants = self.constants_operand();
            let weights = nest.constant_pointer(constants);
            let weights = nest.offset_by(weights, block, self.weight_block());
            let weights = nest.add_imm(weights, self.vector());
            let table = nest.constant_pointer(constants + 1);
            let [mean, total] = match self.mean {
                false => [out; 2],
                true => {
                    let means = nest.sample_pointer(constants - 1, sample);
                    [nest.offset_by(means, block, self.vector()), nest.constant_pointer(constants + 2)]
                }
            };
            self.generate_zero(nest, total, tiles);
            let pointers = [input, weights, out, residual, table, total];
            match of_task {
                None => self.generate_block(nest, pointers, tiles),
                Some(rows) => self.generate_part(nest, rows, pointers, tiles),
            }
            self.generate_divide(nest, total, mean, tiles);
        });
    }

    /// Before the first row of a block: its total for the mean, if that is wanted.
    pub(super) fn generate_zero(&self, nest: &mut NestBuilder, total: Word, tiles: &Tiles) {
        tiles.mean.iter().for_each(|mean| nest.call(mean.zero, &[total]));
    }

    /// Behind the last row of a block: the mean from the total.
    pub(super) fn generate_divide(&self, nest: &mut NestBuilder, total: Word, mean: Word, tiles: &Tiles) {
        tiles.mean.iter().for_each(|tiles| nest.call(tiles.divide, &[total, mean]));
    }

    /// The given rows of one block, one by one: input, weights, output, residual, table of rows, sums for the mean.
    pub(super) fn generate_rows(
        &self,
        nest: &mut NestBuilder,
        [begin, end]: [Word; 2],
        pointers: [Word; 6],
        tiles: &Tiles,
    ) {
        let [input, weights, out, residual, table, total] = pointers;
        nest.for_range(begin, end, |nest, row| {
            let Located { input, taps } = self.rows.locate(
                nest,
                table,
                row,
                input,
                self.row_bytes(),
                (self.constants_operand() + 2, self.own_scratch()),
            );
            let arguments = [input, weights, out, residual, taps, total];
            if !self.whole {
                return self.generate_row(nest, row, arguments, &tiles.rows);
            }
            let count = nest.load(taps, 0);
            let missing = nest.add_imm(count, -(self.kernel_rows as i64));
            nest.if_else(
                missing,
                |nest| self.generate_row(nest, row, arguments, &tiles.rows),
                |nest| self.generate_row(nest, row, arguments, &tiles.whole),
            );
        });
    }

    /// All rows of one block.
    fn generate_block(&self, nest: &mut NestBuilder, pointers: [Word; 6], tiles: &Tiles) {
        let rows = |nest: &mut NestBuilder, rows: Range<usize>| {
            if !rows.is_empty() {
                let ends = [rows.start, rows.end].map(|row| nest.iconst(row as i64));
                self.generate_rows(nest, ends, pointers, tiles);
            }
        };
        let all = self.rows.count;
        let Some(interior) = &self.interior else { return rows(nest, 0..all) };
        rows(nest, 0..interior.start);
        let ends = [interior.start, interior.start + interior.count].map(|row| nest.iconst(row as i64));
        self.generate_interior(nest, interior, ends, pointers, &tiles.interior);
        rows(nest, interior.start + interior.count..all);
    }

    /// The given rows of one block, each by the tile that does it when all are done together.
    fn generate_part(&self, nest: &mut NestBuilder, [begin, end]: [Word; 2], pointers: [Word; 6], tiles: &Tiles) {
        let Some(interior) = &self.interior else { return self.generate_rows(nest, [begin, end], pointers, tiles) };
        let [first, behind] = [interior.start, interior.start + interior.count].map(|row| nest.iconst(row as i64));
        let before = nest.smin(end, first);
        self.generate_rows(nest, [begin, before], pointers, tiles);
        let inside = [nest.smax(begin, first), nest.smin(end, behind)];
        self.generate_interior(nest, interior, inside, pointers, &tiles.interior);
        let rest = nest.smax(begin, behind);
        self.generate_rows(nest, [rest, end], pointers, tiles);
    }

    /// Rows of the interior, some at a time.
    fn generate_interior(
        &self,
        nest: &mut NestBuilder,
        interior: &Interior,
        [begin, end]: [Word; 2],
        pointers: [Word; 6],
        tiles: &[FuncId],
    ) {
        let [input, weights, out, residual, _, total] = pointers;
        let step = interior.step as i64 * self.input_row();
        let input = nest.add_imm(input, interior.base * self.input_row() - interior.start as i64 * step);
        nest.for_range_step(begin, end, interior.chunk as i64, |nest, row| {
            let left = nest.sub(end, row);
            let chunk = nest.iconst(interior.chunk as i64);
            let count = nest.smin(left, chunk);
            let input = nest.offset_by(input, row, step);
            self.generate_row(nest, row, [input, weights, out, residual, count, total], tiles);
        });
    }

    /// All tiles from one row on. The input is that row's; the fifth argument is the tile's own affair.
    fn generate_row(&self, nest: &mut NestBuilder, row: Word, arguments: [Word; 6], tiles: &[FuncId]) {
        let [input, weights, out, residual, fifth, total] = arguments;
        let place = match &self.interleave {
            Some(whole) => whole.emit_row(nest, row, &self.rows),
            None => nest.mul_imm(row, self.columns as i64),
        };
        let [out, residual] = [out, residual].map(|pointer| nest.offset_by(pointer, place, self.vector()));
        for (segment, &tile) in self.segments.iter().zip(tiles) {
            nest.repeat(segment.repeat, |nest, index| {
                let first = (segment.start * self.stride) as i64 - self.pad;
                let input = nest.add_imm(input, first * self.vector());
                let input = nest.offset_by(input, index, (segment.pixels * self.stride) as i64 * self.vector());
                let step = self.epilogue.step(self.lanes) as i64;
                let [out, residual] = [out, residual].map(|pointer| {
                    let first = nest.add_imm(pointer, segment.start as i64 * step);
                    nest.offset_by(first, index, segment.pixels as i64 * step)
                });
                nest.call(tile, &[input, weights, out, residual, fifth, total]);
            });
        }
    }

    /// Emits one tile of the interior: `(input, weights, out, residual, rows, total)`.
    fn emit_interior(&self, asm: &mut dyn VectorAsm, segment: &Segment, interior: &Interior) {
        let [input, weights, out, residual, rows] = [0, 1, 2, 3, 4].map(|index| asm.arg(index));
        let looped = asm.loop_begin(rows);
        let sums = self.emit_bias(asm, segment);
        for (tap, row) in interior.taps.iter().enumerate() {
            let input = input.at(*row as i64 * self.input_row());
            let weights = weights.at((tap * self.kernel) as i64 * self.vector());
            self.emit_row(asm, segment, &sums, input, weights);
        }
        self.emit_end(asm, &sums);
        let row = self.out_position(1) as i64 * self.vector();
        asm.add_imm(input, interior.step as i64 * self.input_row());
        asm.add_imm(out, row);
        asm.add_imm(residual, row);
        asm.loop_end(looped);
    }

    /// Emits one tile of a row with all kernel rows: `(input, weights, out, residual, taps, total)`.
    fn emit_whole(&self, asm: &mut dyn VectorAsm, segment: &Segment) {
        let [input, weights, taps] = [0, 1, 4].map(|index| asm.arg(index));
        let sums = self.emit_bias(asm, segment);
        let row = asm.int();
        for tap in 0..self.kernel_rows {
            // A run for each tap: see `Rows::in_ring`.
            asm.load_int(row, taps.at(8 + 24 * tap as i64));
            asm.add_int(row, input);
            let weights = weights.at((tap * self.kernel) as i64 * self.vector());
            self.emit_row(asm, segment, &sums, row.at(0), weights);
        }
        asm.free_int(row);
        self.emit_end(asm, &sums);
    }

    /// The sums of a tile, which begin as the bias.
    fn emit_bias(&self, asm: &mut dyn VectorAsm, segment: &Segment) -> Vec<V> {
        let sums: Vec<V> = (0..segment.pixels).map(|_| asm.vec()).collect();
        let bias = asm.arg(1).at(-self.vector());
        asm.load_copies(&sums, bias);
        sums
    }

    /// Epilogue and stores; gives the sums back.
    fn emit_end(&self, asm: &mut dyn VectorAsm, sums: &[V]) {
        let (out, residual, total) = (asm.arg(2), asm.arg(3), asm.arg(5));
        let long = self.has_long_mean();
        let mut add = |asm: &mut dyn VectorAsm, values: &[V]| add_to_total(asm, values, total, long);
        let mut nothing = |_: &mut dyn VectorAsm, _: &[V]| {};
        let use_values: &mut dyn FnMut(&mut dyn VectorAsm, &[V]) = if self.mean { &mut add } else { &mut nothing };
        self.epilogue.finish_and(asm, sums, out, residual, self.lanes, use_values);
    }

    /// Emits one tile: `(input, weights, out, residual, taps, total)`.
    fn emit(&self, asm: &mut dyn VectorAsm, segment: &Segment) {
        let (input, weights) = (asm.arg(0), asm.arg(1));
        let sums = self.emit_bias(asm, segment);
        let totals = self.is_long().then(|| Every::chain(asm, self.kernel));
        if totals.is_some() {
            self.emit_total(asm, &sums, |asm, sum, _, out| {
                asm.store(out, sum);
                asm.splat(sum, 0.0);
            });
        }
        let members = asm.int();
        asm.set_int(members, self.multiplicity as i64);
        let group = asm.loop_begin(members);
        self.emit_rows(asm, segment, &sums, totals.as_ref());
        asm.add_imm(input, self.input_positions as i64 * self.vector());
        asm.add_imm(weights, self.taps() as i64 * self.vector());
        asm.loop_end(group);
        asm.free_int(members);
        if let Some(every) = totals {
            every.end(asm);
            self.emit_total(asm, &sums, |asm, sum, total, out| {
                asm.load(total, out);
                asm.add(sum, sum, total);
            });
        }
        self.emit_end(asm, &sums);
    }

    /// Calls `f(asm, sum, free register, its place in the output)` for every sum.
    fn emit_total(&self, asm: &mut dyn VectorAsm, sums: &[V], f: impl Fn(&mut dyn VectorAsm, V, V, Mem)) {
        let (out, total, step) = (asm.arg(2), asm.vec(), self.epilogue.step(self.lanes));
        sums.iter().enumerate().for_each(|(p, &sum)| f(asm, sum, total, out.at((p * step) as i64)));
        asm.free(total);
    }

    /// Emits the tile `(total)`: that of a block before the first row.
    fn emit_zero(&self, asm: &mut dyn VectorAsm) {
        let zero = asm.vec();
        asm.splat(zero, 0.0);
        asm.store(asm.arg(0).at(0), zero);
        asm.store(asm.arg(0).at(self.vector()), zero);
    }

    /// Emits the tile `(total, mean)`.
    fn emit_mean(&self, asm: &mut dyn VectorAsm) {
        let (sum, count) = (asm.vec(), asm.vec());
        asm.load(sum, asm.arg(0).at(0));
        asm.splat(count, self.positions() as f32);
        asm.div(sum, sum, count);
        asm.store(asm.arg(1).at(0), sum);
    }

    fn emit_rows(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V], totals: Option<&Every>) {
        let (line, taps) = ([asm.arg(0), asm.arg(1)], asm.arg(4));
        let add_to_total = |asm: &mut dyn VectorAsm| {
            self.emit_total(asm, sums, |asm, sum, total, out| {
                asm.load(total, out);
                asm.add(total, total, sum);
                asm.store(out, total);
                asm.splat(sum, 0.0);
            });
        };
        self.rows.emit_taps(asm, taps, line, self.row_bytes(), &mut |asm, input, weights| {
            self.emit_row(asm, segment, sums, input.at(0), weights.at(0));
            totals.iter().for_each(|every| every.pass(asm, add_to_total));
        });
    }

    /// One kernel row.
    fn emit_row(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V], input: Mem, weights: Mem) {
        if self.weights_fit(asm.registers(), sums.len()) {
            self.emit_by_input(asm, segment, sums, input, weights);
        } else {
            self.emit_by_tap(asm, segment, sums, input, weights);
        }
    }

    /// The vector with this index from `mem` on.
    fn vector_at(&self, mem: Mem, index: usize) -> Mem {
        mem.base.at(i64::from(mem.offset) + (index * self.lanes * 4) as i64)
    }

    /// One kernel row: all its weights in registers, each input vector loaded once.
    fn emit_by_input(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V], input: Mem, weights: Mem) {
        let row: Vec<V> = (0..self.kernel).map(|_| asm.vec()).collect();
        for (k, &w) in row.iter().enumerate() {
            asm.load(w, self.vector_at(weights, k));
        }
        let x = asm.vec();
        for (column, users) in segment.meetings(self.stride, self.dilation) {
            asm.load(x, self.vector_at(input, column));
            users.iter().for_each(|&(p, k)| asm.fma(sums[p], x, row[k]));
        }
        row.into_iter().chain([x]).for_each(|v| asm.free(v));
    }

    /// One kernel row, one weight at a time: for wide kernels.
    fn emit_by_tap(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V], input: Mem, weights: Mem) {
        let w = asm.vec();
        for k in 0..self.kernel {
            asm.load(w, self.vector_at(weights, k));
            for (p, &sum) in sums.iter().enumerate().filter(|&(p, _)| segment.sees(p, k)) {
                asm.fma_load(sum, w, self.vector_at(input, p * self.stride + k * self.dilation));
            }
        }
        asm.free(w);
    }
}

/// total += the sum of the values, in a fixed order; keeping what rounding loses of a `long` total, as
/// [`super::long::Total`] does. Takes [`MEAN_REGISTERS`].
fn add_to_total(asm: &mut dyn VectorAsm, values: &[V], total: R, long: bool) {
    let [part, other, sum] = [0; MEAN_REGISTERS].map(|_| asm.vec());
    // Two sums side by side, so that a row does not wait for one addition after the other.
    for (index, &value) in values.iter().enumerate() {
        match index {
            0 => asm.copy(part, value),
            1 => asm.copy(other, value),
            _ => {
                let sum = if index % 2 == 0 { part } else { other };
                asm.add(sum, sum, value);
            }
        }
    }
    if values.len() > 1 {
        asm.add(part, part, other);
    }
    asm.load(other, total.at(0));
    if long {
        let lost = total.at((asm.lanes() * 4) as i64);
        asm.load(sum, lost);
        asm.sub(part, part, sum);
        asm.add(sum, other, part);
        asm.store(total.at(0), sum);
        asm.sub(other, sum, other);
        asm.sub(other, other, part);
        // What an infinite sum has lost is infinite or NaN, and forgotten: the difference from itself is no number.
        asm.splat(part, 0.0);
        asm.sub(sum, other, other);
        asm.select(Compare::Eq, other, sum, part, other, part);
        asm.store(lost, other);
    } else {
        asm.add(other, other, part);
        asm.store(total.at(0), other);
    }
    [part, other, sum].into_iter().for_each(|v| asm.free(v));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Padding, Window};

    fn interior(kernel: usize, stride: usize, dilation: usize, input: [usize; 2]) -> Option<Interior> {
        let per_dim = |n| vec![n; 2];
        let (kernel, stride, dilation) = (per_dim(kernel), per_dim(stride), per_dim(dilation));
        let window = Window { kernel: kernel.clone(), stride, dilation, padding: Padding::Half, ceil: false };
        Interior::find(&Rows::new(&window.resolve(&input).unwrap(), &input), kernel[0], 1)
    }

    #[test]
    fn the_interior_sees_all_kernel_rows() {
        let found = interior(3, 1, 1, [14, 5]).unwrap();
        assert_eq!((found.start, found.count, found.step, found.taps), (1, 12, 1, vec![0, 1, 2]));
        let found = interior(5, 2, 1, [9, 5]).unwrap();
        assert_eq!((found.start, found.count, found.step), (1, 3, 2));
        assert_eq!(interior(3, 1, 2, [9, 5]).unwrap().taps, [0, 2, 4]);
        assert_eq!(interior(7, 1, 1, [3, 5]), None);
    }
}
