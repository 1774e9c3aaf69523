//! Max, mean and norm pooling over a sliding window.

use super::bands::{Descent, Planes, Unit, parts, rows_of_unit};
use super::epilogue::Epilogue;
use super::long::{CHAIN, Every, Total};
use super::math;
use super::nest::{self, KernelNest};
use super::rows::{Divisors, Located, RowBytes, RowShape, Rows, Tables};
use super::taps::{Segment, limit_columns, segments};
use super::{Constant, Family, Layout, Lowered, NodeView, Number, Target, Why};
use crate::codegen::vector::{Compare, Mem, R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::weights::Values;
use crate::layers::{Op, ResolvedWindow};
use std::ops::Range;

/// Every decision about one pooling that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub blocks: usize,
    pub mode: Mode,
    /// A window has more terms than one chain may add.
    pub long: bool,
    pub rows: RowShape,
    pub kernel_rows: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad: i64,
    pub input_columns: usize,
    pub input_positions: usize,
    pub columns: usize,
    pub segments: Vec<Segment>,
    pub epilogue: Epilogue,
    /// Output rows of a task: all of a block, or a part of them.
    pub task_rows: usize,
    /// What is in memory, where that is not all, and tasks go down the image: see [`super::bands`].
    pub planes: Option<Planes>,
}

pub type Conf = super::Conf<Code>;

/// How a window becomes one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// NaN in the window gives NaN.
    Max,
    /// The sum divided by one number.
    Mean(Number),
    /// The sum divided by a number for each output position.
    MeanOf,
    /// The root of the sum of the magnitudes to this power.
    Norm(usize),
}

/// Makes the conf of a pooling.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let input = node.inputs[0].ty.spatial();
    let (window, (mode, divisors)) = match node.op {
        Op::MaxPool(pool) => (pool.window.resolve(input).expect("verified"), (Mode::Max, Vec::new())),
        Op::AvgPool(pool) => (pool.window.resolve(input).expect("verified"), mean_mode(pool.divisors(input))),
        Op::LpPool(pool) => (pool.window.resolve(input).expect("verified"), (Mode::Norm(pool.p), Vec::new())),
        _ => return Err(Why::unfit("not a pooling")),
    };
    let mut conf = Conf::new(node, target, window, mode, divisors);
    if conf.code.has_free_rows() {
        conf.code.task_rows = conf.code.rows.of_task(Layout::Blocked.bytes(node.inputs[0].ty, target.lanes));
    }
    let kernel = conf.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None, padded: None })
}

/// And the divisors that are not in the mode.
fn mean_mode(divisors: Vec<f32>) -> (Mode, Vec<f32>) {
    match divisors.iter().all(|&d| d == divisors[0]) {
        true => (Mode::Mean(divisors[0].into()), Vec::new()),
        false => (Mode::MeanOf, divisors),
    }
}

impl Conf {
    fn new(node: &NodeView, target: &Target, window: ResolvedWindow, mode: Mode, divisors: Vec<f32>) -> Conf {
        let (window, input) = limit_columns(window, node.inputs[0].ty.spatial(), target.lanes * 4);
        let dim = window.out.len() - 1;
        let rows = Rows::new(&window, &input);
        let divisors = Divisors::new(&divisors, window.out[dim]);
        let long = mode != Mode::Max && window.kernel.iter().product::<usize>() > CHAIN;
        // A long sum needs registers for its total too, and a power one for its base.
        let (base, own) = (usize::from(matches!(mode, Mode::Norm(_))), 1 + Total::REGISTERS);
        let pixels = if long { (target.registers - 1 - base) / own } else { target.registers - 3 };
        let code = Code {
            lanes: target.lanes,
            blocks: node.output.channels().div_ceil(target.lanes),
            mode,
            long,
            rows: rows.shape().clone(),
            kernel_rows: window.kernel[..dim].iter().product(),
            kernel: window.kernel[dim],
            stride: window.stride[dim],
            dilation: window.dilation[dim],
            pad: -window.origin(dim, 0),
            input_columns: input[dim],
            input_positions: input.iter().product(),
            columns: window.out[dim],
            segments: segments(&window, input[dim], pixels.min(8)),
            epilogue: node.epilogue.clone(),
            task_rows: rows.shape().count,
            planes: None,
        };
        Conf { code, tables: Tables { rows, divisors } }
    }

    /// The same for an input of which `ring` rows are in memory: row `r` lies at `r` modulo `ring`.
    pub(super) fn in_ring(&self, ring: usize) -> Conf {
        let (code, tables) = (&self.code, &self.tables);
        let rows = tables.rows.in_ring(ring);
        let code = Code { rows: rows.shape().clone(), input_positions: ring * code.input_columns, ..code.clone() };
        Conf { code, tables: Tables { rows, divisors: tables.divisors.clone() } }
    }
}

impl Code {
    /// There are no weights.
    pub(crate) fn row_bytes(&self) -> RowBytes {
        RowBytes { input: self.input_columns as i64 * self.vector(), weights: 0 }
    }

    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Whether rows can be done in any order, by different tasks.
    fn has_free_rows(&self) -> bool {
        self.rows.dims.len() == 1
    }

    /// Positions of a block in memory.
    fn planes(&self) -> Planes {
        let all = Planes { input: self.input_positions, output: self.rows.count * self.columns };
        self.planes.unwrap_or(all)
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        let task_rows = rows_of_unit(self.rows.count);
        self.has_free_rows().then(|| Code { task_rows, planes: Some(planes), ..self.clone() })
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self, rows: &Rows) -> Descent {
        let unit = |of_unit: Range<usize>| Unit {
            reads: rows.needed_by(of_unit.clone(), self.input_columns),
            writes: of_unit.start * self.columns..of_unit.end * self.columns,
        };
        Descent { tasks: self.blocks, units: parts(self.rows.count, self.task_rows).map(unit).collect() }
    }
}

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        let mode = match self.mode {
            Mode::Max => "max".into(),
            Mode::Mean(_) | Mode::MeanOf => "mean".to_string(),
            Mode::Norm(p) => format!("norm{p}"),
        };
        format!("pool_{mode}_f32_{}c_{}x{}", self.lanes, self.kernel_rows, self.kernel)
    }

    fn tasks(&self) -> usize {
        self.blocks * self.rows.count.div_ceil(self.task_rows)
    }

    /// The residual operand: a light epilogue reads it where it is about to store.
    fn may_overwrite(&self, index: usize) -> bool {
        index == 1 && self.epilogue.is_light()
    }

    fn scratch(&self) -> usize {
        self.rows.scratch()
    }

    fn constants<'a>(&'a self, tables: &'a Tables, _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let RowBytes { input, weights } = self.row_bytes();
        vec![Constant::I64(tables.rows.table(input, weights)), Constant::U8(tables.divisors.table())]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tiles = self.generate_tiles(name, isa, module)?;
        nest::define(name, module, |nest| self.generate_nest(nest, &tiles))
    }
}

impl Code {
    /// The functions of the tiles, one for each segment.
    pub(super) fn generate_tiles(
        &self,
        name: &str,
        isa: Isa,
        module: &mut CodeModule,
    ) -> Result<Vec<FuncId>, CodeError> {
        let tiles = self.segments.iter().enumerate().map(|(index, segment)| {
            module.define_tile(&format!("{name}_tile{index}"), isa, 5, &mut |asm| self.emit(asm, segment))
        });
        tiles.collect()
    }

    fn generate_nest(&self, nest: &mut NestBuilder, tiles: &[FuncId]) {
        let planes = self.planes();
        let block_bytes = planes.output as i64 * self.vector();
        nest.for_tasks(self.tasks(), |nest, sample, task| {
            let (block, rows) = self.rows.emit_task(nest, task, self.blocks, self.task_rows);
            let rows = rows.unwrap_or_else(|| [0, self.rows.count as i64].map(|row| nest.iconst(row)));
            let out = nest.sample_pointer(0, sample);
            let out = nest.offset_by(out, block, block_bytes);
            let input = nest.sample_pointer(1, sample);
            let input = nest.offset_by(input, block, planes.input as i64 * self.vector());
            let residual = match self.epilogue.operands() {
                0 => out,
                _ => {
                    let pointer = nest.sample_pointer(2, sample);
                    nest.offset_by(pointer, block, block_bytes)
                }
            };
            let constants = 2 + self.epilogue.operands();
            let (table, divisors) = (nest.constant_pointer(constants), nest.constant_pointer(constants + 1));
            self.generate_rows(nest, rows, [input, out, residual, table, divisors], tiles);
        });
    }

    /// The given rows of one block: input, output, residual, table of rows, divisors.
    pub(super) fn generate_rows(
        &self,
        nest: &mut NestBuilder,
        [begin, end]: [Word; 2],
        pointers: [Word; 5],
        tiles: &[FuncId],
    ) {
        let [input, out, residual, table, divisors] = pointers;
        let columns = self.columns as i64;
        nest.for_range(begin, end, |nest, row| {
            let Located { input, taps } =
                self.rows.locate(nest, table, row, input, self.row_bytes(), (4 + self.epilogue.operands(), 0));
            let out = nest.offset_by(out, row, columns * self.vector());
            let residual = nest.offset_by(residual, row, columns * self.vector());
            let divisors = match self.mode {
                Mode::MeanOf => {
                    let entry = nest.offset_by(divisors, row, 8);
                    let line = nest.load(entry, 0);
                    nest.add(divisors, line)
                }
                _ => divisors,
            };
            for (segment, &tile) in self.segments.iter().zip(tiles) {
                nest.repeat(segment.repeat, |nest, index| {
                    let (start, step) = (segment.start as i64, segment.pixels as i64);
                    let first = start * self.stride as i64 - self.pad;
                    let input = nest.add_imm(input, first * self.vector());
                    let input = nest.offset_by(input, index, step * self.stride as i64 * self.vector());
                    let advance = |nest: &mut NestBuilder, pointer, unit: i64| {
                        let pointer = nest.add_imm(pointer, start * unit);
                        nest.offset_by(pointer, index, step * unit)
                    };
                    let out = advance(nest, out, self.vector());
                    let residual = advance(nest, residual, self.vector());
                    let divisors = advance(nest, divisors, 4);
                    nest.call(tile, &[input, out, residual, taps, divisors]);
                });
            }
        });
    }

    /// Emits one tile: `(input, output, residual, taps, divisors)`.
    fn emit(&self, asm: &mut dyn VectorAsm, segment: &Segment) {
        if self.long {
            return self.emit_long(asm, segment);
        }
        let start = if self.mode == Mode::Max { f32::NEG_INFINITY } else { 0.0 };
        let by_column = self.by_column(segment, asm.registers());
        let count = if by_column { segment.pixels + self.kernel - 1 } else { segment.pixels };
        let mut sums: Vec<V> = (0..count).map(|_| asm.vec()).collect();
        sums.iter().for_each(|&sum| asm.splat(sum, start));
        self.for_rows(asm, &mut |asm, input| match by_column {
            true => self.emit_columns(asm, segment, &sums, input),
            false => self.emit_row(asm, segment, &sums, input),
        });
        if by_column {
            self.combine_columns(asm, &mut sums, segment.pixels);
        }
        self.emit_divide(asm, &sums);
        let (out, residual) = (asm.arg(1), asm.arg(2));
        self.epilogue.finish(asm, &sums, out, residual, self.lanes);
    }

    /// As [`Code::emit`], for windows of many terms: chains of them are added to totals.
    fn emit_long(&self, asm: &mut dyn VectorAsm, segment: &Segment) {
        let parts: Vec<V> = (0..segment.pixels).map(|_| asm.vec()).collect();
        parts.iter().for_each(|&part| asm.splat(part, 0.0));
        let totals: Vec<Total> = parts.iter().map(|_| Total::new(asm)).collect();
        let add = |asm: &mut dyn VectorAsm| totals.iter().zip(&parts).for_each(|(total, &part)| total.add(asm, part));
        let every = Every::chain(asm, self.kernel);
        self.for_rows(asm, &mut |asm, input| {
            self.emit_row(asm, segment, &parts, input);
            every.pass(asm, add);
        });
        every.end(asm);
        add(asm);
        parts.into_iter().for_each(|part| asm.free(part));
        let sums: Vec<V> = totals.into_iter().map(|total| total.end(asm)).collect();
        self.emit_divide(asm, &sums);
        let (out, residual) = (asm.arg(1), asm.arg(2));
        self.epilogue.finish(asm, &sums, out, residual, self.lanes);
    }

    /// Runs `body(asm, input row)` for each kernel row inside the input.
    fn for_rows(&self, asm: &mut dyn VectorAsm, body: &mut dyn FnMut(&mut dyn VectorAsm, R)) {
        let (input, taps) = (asm.arg(0), asm.arg(3));
        self.rows.emit_taps(asm, taps, [input, input], self.row_bytes(), &mut |asm, input, _| body(asm, input));
    }

    /// Whether the rows of each input column are combined first, and then the columns of each window: neighbouring windows
    /// share them, and a single window's columns do not wait for each other.
    fn by_column(&self, segment: &Segment, registers: usize) -> bool {
        let shared = self.stride == 1 || segment.pixels == 1;
        let base = usize::from(matches!(self.mode, Mode::Norm(_)));
        shared && self.dilation == 1 && segment.pixels + self.kernel + base <= registers
    }

    /// One kernel row into a value for each input column; those of the padding stay as they begin.
    fn emit_columns(&self, asm: &mut dyn VectorAsm, segment: &Segment, columns: &[V], input: R) {
        let x = asm.vec();
        for (column, &value) in columns.iter().enumerate() {
            let seen = |p: usize| column >= p && column - p < self.kernel && segment.sees(p, column - p);
            if (0..segment.pixels).any(seen) {
                self.load(asm, x, input.at((column * self.lanes * 4) as i64));
                self.combine(asm, value, x);
            }
        }
        asm.free(x);
    }

    /// Windows from columns. The first column of each window is in none of the later ones: it takes the window's value.
    fn combine_columns(&self, asm: &mut dyn VectorAsm, columns: &mut Vec<V>, pixels: usize) {
        for p in 0..pixels {
            columns[p + 1..p + self.kernel].iter().for_each(|&other| self.combine(asm, columns[p], other));
        }
        columns.drain(pixels..).for_each(|v| asm.free(v));
    }

    /// value = value and x in one
    fn combine(&self, asm: &mut dyn VectorAsm, value: V, x: V) {
        match self.mode {
            Mode::Max => asm.max_nan(value, value, x),
            Mode::Mean(_) | Mode::MeanOf | Mode::Norm(_) => asm.add(value, value, x),
        }
    }

    /// x = an input vector, or its power.
    fn load(&self, asm: &mut dyn VectorAsm, x: V, input: Mem) {
        asm.load(x, input);
        let Mode::Norm(p) = self.mode else { return };
        let base = asm.vec();
        if p % 2 == 1 {
            asm.splat_bits(base, 0x7fff_ffff);
            asm.and(x, x, base);
        }
        asm.copy(base, x);
        (1..p).for_each(|_| asm.mul(x, x, base));
        asm.free(base);
    }

    /// One kernel row; each input vector is loaded once.
    fn emit_row(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V], input: R) {
        let x = asm.vec();
        for (column, users) in segment.meetings(self.stride, self.dilation) {
            self.load(asm, x, input.at((column * self.lanes * 4) as i64));
            users.into_iter().for_each(|(p, _)| self.combine(asm, sums[p], x));
        }
        asm.free(x);
    }

    fn emit_divide(&self, asm: &mut dyn VectorAsm, sums: &[V]) {
        if let Mode::Norm(p) = self.mode {
            return sums.iter().for_each(|&sum| emit_root(asm, p, sum));
        }
        let divisor = asm.vec();
        for (p, &sum) in sums.iter().enumerate() {
            match self.mode {
                Mode::Max | Mode::Norm(_) => {}
                Mode::Mean(value) => {
                    asm.splat(divisor, value.get());
                    asm.div(sum, sum, divisor);
                }
                Mode::MeanOf => {
                    asm.broadcast(divisor, asm.arg(4).at((p * 4) as i64));
                    asm.div(sum, sum, divisor);
                }
            }
        }
        asm.free(divisor);
    }
}

/// sum = its p-th root; zero, infinity and NaN stay.
fn emit_root(asm: &mut dyn VectorAsm, p: usize, sum: V) {
    match p {
        1 => return,
        2 => return asm.sqrt(sum, sum),
        4 => {
            asm.sqrt(sum, sum);
            return asm.sqrt(sum, sum);
        }
        _ => {}
    }
    let root = asm.vec();
    asm.copy(root, sum);
    math::ln(asm, root);
    let limit = asm.vec();
    asm.splat(limit, 1.0 / p as f32);
    asm.mul(root, root, limit);
    math::exp(asm, &[root]);
    asm.splat(limit, 0.0);
    asm.select(Compare::Gt, root, sum, limit, root, sum);
    asm.splat(limit, f32::INFINITY);
    asm.select(Compare::Lt, sum, sum, limit, root, sum);
    asm.free(limit);
    asm.free(root);
}
