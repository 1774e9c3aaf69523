//! The loops around the stages of tiles.

use super::tiles::COLUMNS;
use super::{Code, HALF};
use crate::codegen::vector::VectorAsm;
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::kernels::nest::{KernelNest, part};

/// The functions that the loops call.
pub struct Functions {
    columns: FuncId,
    rows: FuncId,
    /// For full groups and those of the last rows: of full panels, and of the last.
    products: [[FuncId; 2]; 2],
    /// For whole rows of outputs and what is left, and columns, where there are such tiles.
    output: [[Option<FuncId>; 2]; 2],
}

/// What the stages of a task read and write.
struct Task {
    sample: Word,
    /// First row and column of tiles, and one past the last.
    rows: [Word; 2],
    columns: [Word; 2],
    /// Parts of the scratch memory.
    strip: Word,
    v: Word,
    m: Word,
}

impl Functions {
    pub fn define(code: &Code, name: &str, isa: Isa, module: &mut CodeModule) -> Result<Functions, CodeError> {
        let mut tile = |kind: &str, args: usize, build: &mut dyn FnMut(&mut dyn VectorAsm)| {
            module.define_tile(&format!("{name}_{kind}"), isa, args, build)
        };
        let columns = tile("columns", 3, &mut |asm| code.emit_columns(asm))?;
        let rows = tile("rows", 3, &mut |asm| code.emit_rows(asm))?;
        let mut products = |tiles: usize| -> Result<[FuncId; 2], CodeError> {
            let mut panel = |vectors: usize| {
                let kind = format!("products{tiles}x{vectors}");
                tile(&kind, 4, &mut |asm| code.emit_products(asm, tiles, vectors))
            };
            let full = panel(code.vectors)?;
            Ok([full, if code.last_vectors() == code.vectors { full } else { panel(code.last_vectors())? }])
        };
        let full = products(code.of_group())?;
        let last = if code.of_last() == code.of_group() { full } else { products(code.of_last())? };
        let mut output = [[None; 2]; 2];
        let [heights, widths] = [0, 1].map(|d| code.sizes(d));
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (Some(height), Some(width)) = (heights[row], widths[column]) else { continue };
            let kind = format!("output{height}x{width}");
            let function = tile(&kind, 6, &mut |asm| code.emit_output(asm, [height, width]))?;
            output[row][column] = Some(function);
        }
        Ok(Functions { columns, rows, products: [full, last], output })
    }

    /// All stages of a task.
    pub fn task(&self, code: &Code, nest: &mut NestBuilder, sample: Word, index: Word) {
        let chunks = code.chunks() as i64;
        let (group, chunk) = (nest.div_imm(index, chunks), nest.rem_imm(index, chunks));
        let column_groups = code.groups(1) as i64;
        let (row, column) = (nest.div_imm(group, column_groups), nest.rem_imm(group, column_groups));
        let strip = nest.constant_pointer(code.constant(3));
        let v = nest.add_imm(strip, code.strip_bytes() as i64);
        let task = Task {
            sample,
            rows: part(nest, row, code.group[0], code.tiles(0)),
            columns: part(nest, column, code.group[1], code.tiles(1)),
            strip,
            v,
            m: nest.add_imm(v, (code.frequencies() * code.v_stride()) as i64),
        };
        // V is there already if the task before in this call had the same tiles.
        let begin = nest.arg(1);
        let position = nest.mul_imm(sample, code.all_groups() as i64 * chunks);
        let position = nest.add(position, index);
        let done = nest.sub(position, begin);
        let known = nest.mul(done, chunk);
        nest.if_else(known, |_| {}, |nest| self.transform_input(code, nest, &task));
        let [begin, end] = part(nest, chunk, code.task_panels, code.panels());
        nest.for_range(begin, end, |nest, panel| {
            self.multiply(code, nest, &task, row, panel);
            self.transform_output(code, nest, &task, panel);
        });
    }

    fn transform_input(&self, code: &Code, nest: &mut NestBuilder, task: &Task) {
        let [rows, columns] = code.forms.map(|form| form.outputs() * code.lanes);
        let input = nest.sample_pointer(1, task.sample);
        let input = nest.offset_by(input, task.columns[0], columns as i64);
        let tiles = nest.sub(task.columns[1], task.columns[0]);
        let vectors = nest.mul_imm(tiles, (code.forms[1].outputs() / COLUMNS) as i64);
        let vectors = nest.add_imm(vectors, 1);
        nest.repeat(code.in_blocks(), |nest, block| {
            let input = nest.offset_by(input, block, (code.planes().input * code.lanes) as i64);
            let v = nest.offset_by(task.v, block, code.v_block() as i64);
            nest.for_range(task.rows[0], task.rows[1], |nest, row| {
                let input = nest.offset_by(input, row, (code.input[1] * rows) as i64);
                let own = nest.sub(row, task.rows[0]);
                let v = nest.offset_by(v, own, (code.group[1] * code.lanes * HALF) as i64);
                nest.call(self.columns, &[input, task.strip, vectors]);
                nest.call(self.rows, &[task.strip, v, tiles]);
            });
        });
    }

    /// M of a panel.
    fn multiply(&self, code: &Code, nest: &mut NestBuilder, task: &Task, row: Word, panel: Word) {
        let weights = nest.constant_pointer(code.constant(0));
        let weights =
            nest.offset_by(weights, panel, (code.vectors * code.frequencies() * code.weights_of_block()) as i64);
        let last_panel = code.panels() as i64 - 1;
        let last_row = code.groups(0) as i64 - 1;
        let is_before = |nest: &mut NestBuilder, index: Word, last: i64| nest.add_imm(index, -last);
        let (row, panel) = (is_before(nest, row, last_row), is_before(nest, panel, last_panel));
        let all = |nest: &mut NestBuilder, function: FuncId, vectors: usize| {
            nest.repeat(code.frequencies(), |nest, frequency| {
                let v = nest.offset_by(task.v, frequency, code.v_stride() as i64);
                let weights = nest.offset_by(weights, frequency, (vectors * code.weights_of_block()) as i64);
                let m = nest.offset_by(task.m, frequency, code.m_stride() as i64);
                let next = nest.add_imm(weights, (vectors * code.weights_of_block()) as i64);
                nest.call(function, &[v, weights, m, next]);
            });
        };
        let of_rows = |nest: &mut NestBuilder, [full, last]: [FuncId; 2]| match full == last {
            true => all(nest, full, code.vectors),
            false => {
                nest.if_else(panel, |nest| all(nest, full, code.vectors), |nest| all(nest, last, code.last_vectors()))
            }
        };
        match self.products {
            [full, last] if full == last => of_rows(nest, full),
            [full, last] => nest.if_else(row, |nest| of_rows(nest, full), |nest| of_rows(nest, last)),
        }
    }

    /// The values of a panel.
    fn transform_output(&self, code: &Code, nest: &mut NestBuilder, task: &Task, panel: Word) {
        let begin = nest.mul_imm(panel, code.vectors as i64);
        let end = nest.add_imm(begin, code.vectors as i64);
        let blocks = nest.iconst(code.out_blocks() as i64);
        let end = nest.smin(end, blocks);
        nest.for_range(begin, end, |nest, block| {
            let own = nest.sub(block, begin);
            let m = nest.offset_by(task.m, own, code.m_block() as i64);
            let ends = [(1, 8), (2, 4)].map(|(constant, bytes)| {
                let constant = nest.constant_pointer(code.constant(constant));
                nest.offset_by(constant, block, bytes * code.lanes as i64)
            });
            let values = self.values(code, nest, task, block);
            nest.for_range(task.rows[0], task.rows[1], |nest, row| {
                let own = nest.sub(row, task.rows[0]);
                let m = nest.offset_by(m, own, (code.group[1] * 4 * code.lanes) as i64);
                let outputs = code.forms[0].outputs();
                let [out, residual] = code.bytes_of_values().map(|bytes| (outputs * code.out[1] * bytes) as i64);
                let (out, residual) = (nest.offset_by(values[0], row, out), nest.offset_by(values[1], row, residual));
                let rest = nest.iconst((code.out[0] / outputs) as i64);
                let is_whole = nest.less(row, rest);
                let args = [m, out, residual, ends[0], ends[1]];
                let [high, low] = self.output;
                nest.if_else(
                    is_whole,
                    |nest| Functions::output_row(code, nest, task, high, args),
                    |nest| Functions::output_row(code, nest, task, low, args),
                );
            });
        });
    }

    /// Where the first values of a block in the columns of a task are, those of the output and of what is added.
    fn values(&self, code: &Code, nest: &mut NestBuilder, task: &Task, block: Word) -> [Word; 2] {
        let operands = [0, if code.ends.residual.is_some() { 2 } else { 0 }];
        let bytes = code.bytes_of_values();
        [0, 1].map(|index| {
            let first = nest.sample_pointer(operands[index], task.sample);
            let first = nest.offset_by(first, block, (code.planes().output * bytes[index]) as i64);
            nest.offset_by(first, task.columns[0], (code.forms[1].outputs() * bytes[index]) as i64)
        })
    }

    /// Tiles side by side, of which the last of a row may have fewer columns.
    fn output_row(
        code: &Code,
        nest: &mut NestBuilder,
        task: &Task,
        [wide, narrow]: [Option<FuncId>; 2],
        [m, out, residual, begin, factors]: [Word; 5],
    ) {
        let [first, end] = task.columns;
        let outputs = code.forms[1].outputs();
        let behind = nest.iconst((code.out[1] / outputs) as i64);
        let behind = nest.smin(behind, end);
        let tiles = nest.sub(behind, first);
        if let Some(wide) = wide {
            nest.if_nonzero(tiles, |nest| nest.call(wide, &[m, out, residual, begin, factors, tiles]));
        }
        if let Some(narrow) = narrow {
            let more = nest.sub(end, behind);
            nest.if_nonzero(more, |nest| {
                let m = nest.offset_by(m, tiles, 4 * code.lanes as i64);
                let [of_out, of_residual] = code.bytes_of_values().map(|bytes| (outputs * bytes) as i64);
                let out = nest.offset_by(out, tiles, of_out);
                let residual = nest.offset_by(residual, tiles, of_residual);
                nest.call(narrow, &[m, out, residual, begin, factors, more]);
            });
        }
    }
}

impl Code {
    /// Number of the operand that is so far behind the first constant; scratch memory is behind all three.
    fn constant(&self, index: usize) -> usize {
        2 + usize::from(self.ends.residual.is_some()) + index
    }

    /// Bytes of a position of a block of the output, and of what is added.
    fn bytes_of_values(&self) -> [usize; 2] {
        let out = self.ends.vector(self.lanes);
        [out, if self.ends.residual.is_some() { self.lanes } else { out }]
    }

    /// Outputs of tiles in a dimension: of whole ones, and of the last, where there are such.
    fn sizes(&self, d: usize) -> [Option<usize>; 2] {
        let outputs = self.forms[d].outputs();
        let left = self.out[d] % outputs;
        [(self.out[d] >= outputs).then_some(outputs), (left > 0).then_some(left)]
    }
}
