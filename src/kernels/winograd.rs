//! Winograd convolution F(m x m, 3x3) for 3x3 kernels of stride 1: a tile of m x m outputs costs (m + 2)^2
//! multiplications for each pair of channels, not 9 m^2 (see `transform` for the formula and its source).
//!
//! A task takes a group of tiles through all three stages: transform of the input to V, one matrix product M = V U
//! for each frequency, transform of M to the output. V and M lie in the thread's scratch memory as
//! `[frequency][channel block][tile][lane]`. The weights are transformed when they are packed.
//!
//! Rounding errors are larger than those of the direct sum, the more so the larger m is; a NaN or an infinity in
//! the input reaches all outputs of its tile.

mod transform;
mod weights;

use super::epilogue::Epilogue;
use super::nest::{self, KernelNest, call_one_of};
use super::packing::{self, Packing};
use super::{Constant, Family, Kernel, Layout, Lowered, NodeView, Target, conv};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::weights::Values;
use crate::layers::{Op, ResolvedWindow};
use transform::{Emitter, KERNEL, Matrices};
use weights::WeightTransform;

/// Output tiles that are considered. F(6x6) measured within 10 % of F(4x4) on ResNet's and VGG's layers, at a larger
/// error, so it is left to the tests.
const SIZES: [usize; 2] = [2, 4];

/// Tiles of a group at most: V and M of a group stay in a second-level cache of 512 KiB.
const GROUP: usize = 48;

/// Every decision about one convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Conf {
    pub lanes: usize,
    /// Rows and columns of an output tile.
    pub m: usize,
    pub channels_in: usize,
    /// Rows and columns of the input, the padding before them, and those of the output.
    pub input: [usize; 2],
    pub pad: [usize; 2],
    pub output: [usize; 2],
    /// The product of one frequency for one group of tiles.
    pub product: conv::Conf,
    /// Vector groups of the product that one task computes.
    pub task_groups: usize,
    pub epilogue: Epilogue,
    pub bias: bool,
}

/// What a tile sees and makes in one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    /// First of its inputs that is not padding, and one past the last.
    first: usize,
    last: usize,
    /// Outputs that exist.
    out: usize,
}

/// Makes the conf of a convolution.
///
/// # Errors
/// Why this kernel cannot do it, or is not expected to be faster than the direct one.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, String> {
    let problem = Problem::new(node)?;
    if target.exact {
        return Err("its rounding errors are larger (--exact)".into());
    }
    let conf = match target.force_winograd {
        Some(m) => problem.conf(m, target),
        None => problem.fastest(target)?,
    };
    let kernel = Kernel::Winograd(conf);
    Ok(Lowered { inputs: vec![Layout::Blocked], output: Layout::Blocked, kernel, spread: None })
}

struct Problem<'a> {
    node: &'a NodeView<'a>,
    window: ResolvedWindow,
    channels_out: usize,
    bias: bool,
}

impl<'a> Problem<'a> {
    fn new(node: &'a NodeView) -> Result<Problem<'a>, String> {
        let Op::Conv(conv) = node.op else { return Err("not a convolution".into()) };
        let window = conv.window.resolve(node.inputs[0].ty.spatial()).expect("verified");
        let all_are = |values: &[usize], n: usize| values.iter().all(|&v| v == n);
        if conv.groups > 1
            || window.kernel != [KERNEL; 2]
            || !all_are(&window.stride, 1)
            || !all_are(&window.dilation, 1)
        {
            return Err("not 3x3 with stride 1, dilation 1 and one group".into());
        }
        Ok(Problem { node, window, channels_out: conv.channels, bias: conv.bias })
    }

    fn pair(values: &[usize]) -> [usize; 2] {
        [values[0], values[1]]
    }

    /// The tile with the least estimated time, if that is below the estimate of the direct kernel.
    fn fastest(&self, target: &Target) -> Result<Conf, String> {
        let direct = match conv::lower(self.node, target)?.kernel {
            Kernel::Conv(conf) => conf.cycles() + stream_cycles(conf.weight_bytes()),
            other => unreachable!("{other:?}"),
        };
        let confs = SIZES.into_iter().map(|m| self.conf(m, target));
        let best = confs.min_by_key(Conf::cycles).expect("there are sizes");
        if best.cycles() < direct {
            return Ok(best);
        }
        let thousands = |cycles: usize| cycles.div_ceil(1000);
        Err(format!(
            "estimated at {} thousand cycles, the direct kernel at {}",
            thousands(best.cycles()),
            thousands(direct)
        ))
    }

    fn conf(&self, m: usize, target: &Target) -> Conf {
        let tiles: usize = self.window.out.iter().map(|out| out.div_ceil(m)).product();
        let groups = tiles.div_ceil(GROUP);
        let output = Self::pair(&self.window.out);
        let channels_in = self.node.inputs[0].channels();
        let product = conv::Conf::matrix_product(target, tiles.div_ceil(groups), channels_in, self.channels_out);
        Conf {
            lanes: target.lanes,
            m,
            channels_in,
            input: Self::pair(self.node.inputs[0].ty.spatial()),
            pad: [self.window.pads[0].0, self.window.pads[1].0],
            output,
            task_groups: product.vector_groups().div_ceil(TASKS.div_ceil(groups)),
            product,
            epilogue: self.node.epilogue.clone(),
            bias: self.bias,
        }
    }
}

/// Where there are fewer groups of tiles than this, tasks share them and do different output channels.
const TASKS: usize = 8;

/// Words of a row of tiles in the table: byte offset of its first input row that is not padding; input rows of
/// padding before, rows of input, rows of padding behind; output rows.
const ROW_WORDS: usize = 5;
const ROW_BYTES: i64 = ROW_WORDS as i64 * 8;

impl Conf {
    /// Estimated cycles of one sample: products, transforms, and reading the weights once for each group of tiles.
    fn cycles(&self) -> usize {
        let products = self.groups() * self.frequencies() * self.product.cycles();
        let blocks = self.in_blocks() + self.product.out_blocks;
        let transforms = self.tiles() * blocks * self.frequencies() * TRANSFORM_CYCLES;
        let weights = self.frequencies() * self.product.weight_bytes();
        products + transforms + self.groups() * stream_cycles(weights)
    }

    /// Inputs of a tile in one dimension, and frequencies.
    fn size(&self) -> usize {
        self.m + KERNEL - 1
    }

    fn frequencies(&self) -> usize {
        self.size() * self.size()
    }

    /// Rows and columns of tiles.
    fn grid(&self) -> [usize; 2] {
        self.output.map(|out| out.div_ceil(self.m))
    }

    fn tiles(&self) -> usize {
        self.grid().iter().product()
    }

    /// Tiles of a group; the last may have fewer.
    fn group(&self) -> usize {
        self.product.columns
    }

    fn groups(&self) -> usize {
        self.tiles().div_ceil(self.group())
    }

    /// Tasks of a group of tiles.
    fn chunks(&self) -> usize {
        self.product.vector_groups().div_ceil(self.task_groups)
    }

    /// Output blocks of a task; the last may have fewer.
    fn task_blocks(&self) -> usize {
        self.task_groups * self.product.tile.vectors
    }

    fn in_blocks(&self) -> usize {
        self.channels_in.div_ceil(self.lanes)
    }

    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Bytes of one block of channels of a group of tiles.
    fn block_stride(&self) -> i64 {
        self.group() as i64 * self.vector()
    }

    /// Bytes from one frequency of V to the next.
    fn v_stride(&self) -> i64 {
        odd_lines(self.in_blocks() as i64 * self.block_stride())
    }

    /// Bytes from one frequency of M to the next.
    fn m_stride(&self) -> i64 {
        odd_lines(self.task_blocks() as i64 * self.block_stride())
    }

    /// Bytes of a tile between the two halves of a transform; then begins V.
    fn patch_bytes(&self) -> i64 {
        self.frequencies() as i64 * self.vector()
    }

    fn spans(&self, dim: usize) -> Vec<Span> {
        let (m, input, pad, output) = (self.m, self.input[dim], self.pad[dim], self.output[dim]);
        let clip = |position: usize, start: usize| (position.max(start) - start).min(self.size());
        let span = |tile: usize| {
            let start = tile * m;
            let (first, last) = (clip(pad, start), clip(input + pad, start));
            Span { first: first.min(last), last, out: m.min(output - start) }
        };
        (0..self.grid()[dim]).map(span).collect()
    }

    /// Kinds of columns of tiles, the most frequent first; the code of each is its own.
    fn column_kinds(&self) -> Vec<Span> {
        let spans = self.spans(1);
        let mut kinds: Vec<Span> = Vec::new();
        for &span in &spans {
            if !kinds.contains(&span) {
                kinds.push(span);
            }
        }
        kinds.sort_by_key(|kind| usize::MAX - spans.iter().filter(|span| *span == kind).count());
        kinds
    }

    /// Entries of [`ROW_WORDS`] for each row of tiles; the kind of each column of tiles; the table of the product.
    fn table(&self) -> Vec<i64> {
        let mut table = Vec::new();
        for (tile, span) in self.spans(0).iter().enumerate() {
            let row = (tile * self.m + span.first) as i64 - self.pad[0] as i64;
            let rows = [span.first, span.last - span.first, self.size() - span.last, span.out];
            table.push(row * self.input[1] as i64 * self.vector());
            table.extend(rows.map(|n| n as i64));
        }
        let kinds = self.column_kinds();
        table.extend(self.spans(1).iter().map(|s| kinds.iter().position(|k| k == s).expect("a kind") as i64));
        table.extend(self.product.rows.table(0, 0));
        table
    }

    /// `[frequency]` of what the product packs.
    fn pack_weights<'a>(&'a self, weight: &'a Values<'a>) -> Packing<'a> {
        let rows = packing::Rows::new(weight, self.channels_in * KERNEL * KERNEL);
        let transform = WeightTransform::new(self.m);
        let (places, stride) = (self.product.weight_places(), self.product.tile.vectors * self.lanes);
        let sizes = [self.frequencies(), self.product.vector_groups(), self.product.weight_group() as usize / 4];
        Packing::new(sizes, move |part, to| {
            transform.pack(&rows, self.product.rows_of_part(part, rows.count()), &places, stride, to);
        })
    }

    /// `[frequency]` of what the product packs: the bias where the inverse transform adds it to each output, 0
    /// elsewhere.
    fn pack_bias(&self, bias: Option<&[f32]>) -> Vec<f32> {
        let everywhere = transform::ONE * self.size() + transform::ONE;
        let of_frequency = |f: usize| self.product.pack_bias(bias.filter(|_| f == everywhere));
        (0..self.frequencies()).flat_map(of_frequency).collect()
    }
}

/// Cycles of a transform for each vector of a tile, measured.
const TRANSFORM_CYCLES: usize = 5;

/// Estimated cycles to read weights of this size once, beyond what arithmetic hides: nothing from the second-level
/// cache, 27 bytes a cycle from the third, 8 from memory (measured on Zen 3 and Zen 4 servers).
fn stream_cycles(bytes: usize) -> usize {
    match bytes {
        0..0x8_0000 => 0,
        0x8_0000..0x100_0000 => bytes / 27,
        _ => bytes / 8,
    }
}

/// At least `bytes`, as an odd number of cache lines: frequencies then fall into different sets of the cache.
fn odd_lines(bytes: i64) -> i64 {
    (bytes.unsigned_abs().div_ceil(64) | 1) as i64 * 64
}

impl Family for Conf {
    fn name(&self) -> String {
        let (m, tile) = (self.m, &self.product.tile);
        format!("conv_winograd_f32_{}c{}x{}_f{m}x{m}", self.lanes, tile.pixels, tile.vectors)
    }

    fn tasks(&self) -> usize {
        self.groups() * self.chunks()
    }

    fn scratch(&self) -> usize {
        (odd_lines(self.patch_bytes()) + self.frequencies() as i64 * (self.v_stride() + self.m_stride())) as usize
    }

    /// The residual operand: a light epilogue reads it where it is about to store.
    fn may_overwrite(&self, index: usize) -> bool {
        index == 1 && self.epilogue.is_light()
    }

    fn constants<'a>(&'a self, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![
            Constant::Packed(self.pack_weights(&params[0])),
            Constant::F32(self.pack_bias(self.bias.then(|| &*params[1]))),
            Constant::F32(Matrices::new(self.m).table(self.lanes)),
            Constant::I64(self.table()),
        ]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let matrices = Matrices::new(self.m);
        let product = self.product.generate_tiles(name, isa, module)?;
        let (mut input, mut output) = (Vec::new(), Vec::new());
        for (index, kind) in self.column_kinds().into_iter().enumerate() {
            let emitter = TileEmitter { conf: self, matrices: &matrices, kind };
            input.push(module.define_tile(&format!("{name}_in{index}"), isa, 5, &mut |asm| emitter.input(asm))?);
            output.push(module.define_tile(&format!("{name}_out{index}"), isa, 6, &mut |asm| emitter.output(asm))?);
        }
        let nest_emitter = NestEmitter { conf: self, input, product, output };
        nest::define(name, module, |nest| nest_emitter.emit(nest))
    }
}

/// Emits the loops. The transforms have a tile for each kind of column.
struct NestEmitter<'a> {
    conf: &'a Conf,
    input: Vec<FuncId>,
    product: conv::Tiles,
    output: Vec<FuncId>,
}

/// What the stages of a task read and write.
struct Task {
    /// First tile and one past the last.
    tiles: [Word; 2],
    /// First vector group and one past the last.
    groups: [Word; 2],
    /// Parts of the scratch memory.
    patch: Word,
    v: Word,
    m: Word,
    /// Constants: coefficients of the transforms, and table.
    coefficients: Word,
    table: Word,
}

impl NestEmitter<'_> {
    fn emit(&self, nest: &mut NestBuilder) {
        let conf = self.conf;
        let (tasks, chunks) = (conf.tasks(), conf.chunks() as i64);
        let constants = 2 + conf.epilogue.operands();
        nest.for_tasks(tasks, |nest, sample, index| {
            let (group, chunk) = (nest.div_imm(index, chunks), nest.rem_imm(index, chunks));
            let patch = nest.constant_pointer(constants + 4);
            let v = nest.add_imm(patch, odd_lines(conf.patch_bytes()));
            let task = Task {
                tiles: part(nest, group, conf.group(), conf.tiles()),
                groups: part(nest, chunk, conf.task_groups, conf.product.vector_groups()),
                patch,
                v,
                m: nest.add_imm(v, conf.frequencies() as i64 * conf.v_stride()),
                coefficients: nest.constant_pointer(constants + 2),
                table: nest.constant_pointer(constants + 3),
            };
            // V is there already if the task before in this call had the same tiles.
            let begin = nest.arg(1);
            let position = nest.mul_imm(sample, tasks as i64);
            let position = nest.add(position, index);
            let done = nest.sub(position, begin);
            let known = nest.mul(done, chunk);
            nest.if_else(known, |_| {}, |nest| self.transform_input(nest, sample, &task));
            self.multiply(nest, &task);
            self.transform_output(nest, sample, &task);
        });
    }

    fn transform_input(&self, nest: &mut NestBuilder, sample: Word, task: &Task) {
        let conf = self.conf;
        let input = nest.sample_pointer(1, sample);
        let input = nest.add_imm(input, -(conf.pad[1] as i64) * conf.vector());
        let plane = conf.input.iter().product::<usize>() as i64 * conf.vector();
        nest.repeat(conf.in_blocks(), |nest, block| {
            let input = nest.offset_by(input, block, plane);
            let v = nest.offset_by(task.v, block, conf.block_stride());
            self.for_tiles(nest, task, |nest, tile, row, column| {
                let entry = nest.offset_by(task.table, row, ROW_BYTES);
                let base = nest.load(entry, 0);
                let input = nest.add(input, base);
                let input = nest.offset_by(input, column, conf.m as i64 * conf.vector());
                let v = nest.offset_by(v, tile, conf.vector());
                let args = [input, v, task.patch, task.coefficients, entry];
                self.call_of_column(nest, task, column, &self.input, &args);
            });
        });
    }

    fn multiply(&self, nest: &mut NestBuilder, task: &Task) {
        let (conf, product) = (self.conf, &self.conf.product);
        let constants = 2 + conf.epilogue.operands();
        let (weights, bias) = (nest.constant_pointer(constants), nest.constant_pointer(constants + 1));
        let rows = [nest.iconst(0), nest.iconst(1)];
        let [tile_rows, tile_columns] = conf.grid();
        let table = nest.add_imm(task.table, tile_rows as i64 * ROW_BYTES + tile_columns as i64 * 8);
        let per_frequency = |bytes: i64| product.vector_groups() as i64 * bytes;
        nest.repeat(conf.frequencies(), |nest, frequency| {
            let v = nest.offset_by(task.v, frequency, conf.v_stride());
            let m = nest.offset_by(task.m, frequency, conf.m_stride());
            let weights = nest.offset_by(weights, frequency, per_frequency(product.weight_group()));
            let bias = nest.offset_by(bias, frequency, per_frequency(product.weight_stride()));
            let [begin, end] = task.groups;
            nest.for_range(begin, end, |nest, group| {
                let weights = nest.offset_by(weights, group, product.weight_group());
                let bias = nest.offset_by(bias, group, product.weight_stride());
                let index = nest.sub(group, begin);
                let m = nest.offset_by(m, index, product.tile.vectors as i64 * conf.block_stride());
                product.generate_group(nest, group, rows, [v, weights, bias, m, m, table], &self.product);
            });
        });
    }

    fn transform_output(&self, nest: &mut NestBuilder, sample: Word, task: &Task) {
        let conf = self.conf;
        let vectors = conf.product.tile.vectors as i64;
        let [begin, end] = task.groups.map(|group| nest.mul_imm(group, vectors));
        let blocks = nest.iconst(conf.product.out_blocks as i64);
        let end = nest.smin(end, blocks);
        let out = nest.sample_pointer(0, sample);
        let residual = match conf.epilogue.operands() {
            0 => out,
            _ => nest.sample_pointer(2, sample),
        };
        let row_bytes = conf.output[1] as i64 * conf.vector();
        let plane = conf.output[0] as i64 * row_bytes;
        nest.for_range(begin, end, |nest, block| {
            let index = nest.sub(block, begin);
            let m = nest.offset_by(task.m, index, conf.block_stride());
            let plane_offset = nest.mul_imm(block, plane);
            self.for_tiles(nest, task, |nest, tile, row, column| {
                let m = nest.offset_by(m, tile, conf.vector());
                let offset = nest.offset_by(plane_offset, row, conf.m as i64 * row_bytes);
                let offset = nest.offset_by(offset, column, conf.m as i64 * conf.vector());
                let (out, residual) = (nest.add(out, offset), nest.add(residual, offset));
                let entry = nest.offset_by(task.table, row, ROW_BYTES);
                let args = [m, out, residual, task.patch, task.coefficients, entry];
                self.call_of_column(nest, task, column, &self.output, &args);
            });
        });
    }

    /// Runs `body(tile in its group, row of tiles, column of tiles)` for the tiles of a task.
    fn for_tiles(&self, nest: &mut NestBuilder, task: &Task, body: impl FnOnce(&mut NestBuilder, Word, Word, Word)) {
        let columns = self.conf.grid()[1] as i64;
        let [begin, end] = task.tiles;
        nest.for_range(begin, end, |nest, tile| {
            let (row, column) = (nest.div_imm(tile, columns), nest.rem_imm(tile, columns));
            let index = nest.sub(tile, begin);
            body(nest, index, row, column);
        });
    }

    /// Calls the function for the kind of a column of tiles.
    fn call_of_column(&self, nest: &mut NestBuilder, task: &Task, column: Word, functions: &[FuncId], args: &[Word]) {
        let entry = nest.offset_by(task.table, column, 8);
        let kind = nest.load(entry, (self.conf.grid()[0] * ROW_WORDS * 8) as i32);
        call_one_of(nest, kind, functions, args);
    }
}

/// The `index`-th part of `total` things in parts of `size`: first, and one past the last.
fn part(nest: &mut NestBuilder, index: Word, size: usize, total: usize) -> [Word; 2] {
    let begin = nest.mul_imm(index, size as i64);
    let end = nest.add_imm(begin, size as i64);
    let total = nest.iconst(total as i64);
    [begin, nest.smin(end, total)]
}

/// Emits the tiles of the transforms, of one tile of outputs and one block of channels each. Both transform rows
/// first, then columns (or frequencies in the same way), with the patch between.
struct TileEmitter<'a> {
    conf: &'a Conf,
    matrices: &'a Matrices,
    kind: Span,
}

impl TileEmitter<'_> {
    /// `(input, V, patch, coefficients, row entry)`. The input pointer is that of the tile's first column, padding
    /// or not, in its first row that is not padding.
    fn input(&self, asm: &mut dyn VectorAsm) {
        let (conf, size) = (self.conf, self.conf.size());
        let vector = conf.vector() as i32;
        let (input, v, entry) = (asm.arg(0), asm.arg(1), asm.arg(4));
        let emitter = Emitter { matrices: self.matrices, table: asm.arg(3) };
        let (patch, rows) = (asm.int(), asm.int());
        asm.copy_int(patch, asm.arg(2));
        self.zero_rows(asm, patch, entry, 8);
        asm.load_int(rows, entry.at(16));
        let any = asm.if_nonzero(rows);
        let looped = asm.loop_begin(rows);
        let x: Vec<Option<V>> = (0..size)
            .map(|column| {
                (self.kind.first..self.kind.last).contains(&column).then(|| {
                    let x = asm.vec();
                    asm.load(x, input.at(column as i32 * vector));
                    x
                })
            })
            .collect();
        emitter.input(asm, &x, &mut |asm, f, value| asm.store(patch.at(f as i32 * vector), value));
        x.into_iter().flatten().for_each(|v| asm.free(v));
        asm.add_imm(input, conf.input[1] as i64 * conf.vector());
        asm.add_imm(patch, size as i64 * conf.vector());
        asm.loop_end(looped);
        asm.end_if(any);
        self.zero_rows(asm, patch, entry, 24);

        asm.copy_int(patch, asm.arg(2));
        asm.set_int(rows, size as i64);
        let looped = asm.loop_begin(rows);
        let x: Vec<Option<V>> = self.load_all(asm, patch, size as i64 * conf.vector()).into_iter().map(Some).collect();
        let stride = size as i64 * conf.v_stride();
        emitter.input(asm, &x, &mut |asm, f, value| asm.store(v.at((f as i64 * stride) as i32), value));
        x.into_iter().flatten().for_each(|v| asm.free(v));
        asm.add_imm(patch, conf.vector());
        asm.add_imm(v, conf.v_stride());
        asm.loop_end(looped);
    }

    /// Fills as many rows of the patch with zeros as the entry says at `offset`.
    fn zero_rows(&self, asm: &mut dyn VectorAsm, patch: R, entry: R, offset: i32) {
        let (rows, zero) = (asm.int(), asm.vec());
        asm.load_int(rows, entry.at(offset));
        asm.splat(zero, 0.0);
        let any = asm.if_nonzero(rows);
        let looped = asm.loop_begin(rows);
        for column in 0..self.conf.size() {
            asm.store(patch.at(column as i32 * self.conf.vector() as i32), zero);
        }
        asm.add_imm(patch, self.conf.size() as i64 * self.conf.vector());
        asm.loop_end(looped);
        asm.end_if(any);
        asm.free_int(rows);
        asm.free(zero);
    }

    /// One vector for each frequency of one dimension.
    fn load_all(&self, asm: &mut dyn VectorAsm, base: R, stride: i64) -> Vec<V> {
        let load = |f: usize| {
            let x = asm.vec();
            asm.load(x, base.at((f as i64 * stride) as i32));
            x
        };
        (0..self.conf.size()).map(load).collect()
    }

    /// `(M, output, residual, patch, coefficients, row entry)`
    fn output(&self, asm: &mut dyn VectorAsm) {
        let (conf, size) = (self.conf, self.conf.size());
        let vector = conf.vector();
        let (m, out, residual, entry) = (asm.arg(0), asm.arg(1), asm.arg(2), asm.arg(5));
        let emitter = Emitter { matrices: self.matrices, table: asm.arg(4) };
        let (patch, count) = (asm.int(), asm.int());
        asm.copy_int(patch, asm.arg(3));
        asm.set_int(count, size as i64);
        let looped = asm.loop_begin(count);
        let x = self.load_all(asm, m, size as i64 * conf.m_stride());
        for (row, value) in emitter.output(asm, x, conf.m).into_iter().enumerate() {
            asm.store(patch.at((row * size) as i32 * vector as i32), value);
            asm.free(value);
        }
        asm.add_imm(m, conf.m_stride());
        asm.add_imm(patch, vector);
        asm.loop_end(looped);

        asm.copy_int(patch, asm.arg(3));
        asm.load_int(count, entry.at(32));
        let looped = asm.loop_begin(count);
        let x = self.load_all(asm, patch, vector);
        let row = emitter.output(asm, x, self.kind.out);
        conf.epilogue.finish(asm, &row, out, residual, conf.lanes);
        asm.add_imm(patch, size as i64 * vector);
        asm.add_imm(out, conf.output[1] as i64 * vector);
        asm.add_imm(residual, conf.output[1] as i64 * vector);
        asm.loop_end(looped);
    }
}
