//! The loops of a Winograd convolution around its tiles.

use super::Code;
use super::groups::Rows;
use super::stages::{GUARDS, Range, Stages};
use super::table::{GROUP_WORDS, ROW_WORDS, SINGLE_COLUMN_WORDS, SINGLE_ROW_WORDS, STRIP_WORDS};
use crate::codegen::vector::VectorAsm;
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::kernels::nest::{KernelNest, call_one_of, part};

/// The functions that the loops call.
pub struct Functions {
    clear: FuncId,
    /// For each kind of row of tiles.
    input_columns: Vec<FuncId>,
    /// For each size of tile, in columns of outputs.
    input_rows: Vec<FuncId>,
    /// For each length of run: full panels, and the last.
    products: Vec<(usize, [FuncId; 2])>,
    /// `[rows of outputs][columns of outputs]`
    output: Vec<Vec<FuncId>>,
    single: Single,
}

/// The functions of tiles of one output.
struct Single {
    /// For each kind of row of outputs.
    input_columns: Vec<FuncId>,
    input_rows: FuncId,
    /// Full panels, and the last.
    products: [FuncId; 2],
    output: FuncId,
}

impl Functions {
    pub fn define(stages: &Stages, name: &str, isa: Isa, module: &mut CodeModule) -> Result<Functions, CodeError> {
        let conf = stages.conf;
        let [rows, columns] = &conf.dims;
        let clear = module.define_tile(&format!("{name}_clear"), isa, 2, &mut |asm| stages.clear_columns(asm))?;
        let (mut input_columns, mut input_rows, mut products, mut output) = (vec![], vec![], vec![], vec![]);
        for (index, span) in rows.kinds().into_iter().enumerate() {
            let name = format!("{name}_in{index}");
            let build = &mut |asm: &mut dyn VectorAsm| stages.input_columns(asm, span, Range::Unknown);
            input_columns.push(module.define_tile(&name, isa, 5, build)?);
        }
        for outputs in columns.sizes() {
            let name = format!("{name}_in_x{outputs}");
            input_rows.push(module.define_tile(&name, isa, 5, &mut |asm| stages.input_rows(asm, outputs))?);
        }
        for run in conf.run_lengths() {
            products.push((run, conf.product.generate(name, isa, run, module)?));
        }
        for height in rows.sizes() {
            let define = |width: usize| {
                let name = format!("{name}_out{height}x{width}");
                module.define_tile(&name, isa, 6, &mut |asm| stages.output(asm, [height, width], Range::Known))
            };
            output.push(columns.sizes().into_iter().map(define).collect::<Result<_, _>>()?);
        }
        let single = Single::define(stages, &format!("{name}_single"), isa, module)?;
        Ok(Functions { clear, input_columns, input_rows, products, output, single })
    }
}

impl Single {
    fn define(stages: &Stages, name: &str, isa: Isa, module: &mut CodeModule) -> Result<Single, CodeError> {
        let mut input_columns = vec![];
        for (index, span) in stages.conf.dims[0].single_kinds().into_iter().enumerate() {
            let build = &mut |asm: &mut dyn VectorAsm| stages.input_columns(asm, span, Range::Any);
            input_columns.push(module.define_tile(&format!("{name}_in{index}"), isa, 4, build)?);
        }
        let build = &mut |asm: &mut dyn VectorAsm| stages.input_rows(asm, 1);
        let input_rows = module.define_tile(&format!("{name}_in_x"), isa, 5, build)?;
        let products = stages.conf.product.generate(name, isa, 1, module)?;
        let build = &mut |asm: &mut dyn VectorAsm| stages.output(asm, [1, 1], Range::Any);
        let output = module.define_tile(&format!("{name}_out"), isa, 6, build)?;
        Ok(Single { input_columns, input_rows, products, output })
    }
}

/// Emits the loops.
pub struct NestEmitter<'a> {
    pub conf: &'a Code,
    pub functions: Functions,
}

/// What the stages of a task read and write.
struct Task {
    sample: Word,
    image: Word,
    /// First row of tiles and one past the last.
    rows: [Word; 2],
    /// Not zero but in the last row of groups.
    is_inner: Word,
    /// Entry of the group of columns, and of its first strip.
    columns: Word,
    first_strip: Word,
    /// First panel and one past the last, and first output block and one past the last.
    panels: [Word; 2],
    blocks: [Word; 2],
    /// Parts of the scratch memory.
    frame: Word,
    strip: Word,
    v: Word,
    m: Word,
    /// Constants: transformed weights of the task, bias, coefficients of the transforms, table.
    weights: Word,
    bias: Word,
    coefficients: Word,
    table: Word,
}

impl NestEmitter<'_> {
    pub fn emit(&self, nest: &mut NestBuilder) {
        let (conf, tasks) = (self.conf, self.conf.task_count());
        nest.for_tasks(tasks, |nest, sample, index| {
            let chunks = conf.chunks() as i64;
            let (group, chunk) = (nest.div_imm(index, chunks), nest.rem_imm(index, chunks));
            let task = self.task(nest, sample, group, chunk);
            // V is there already if the task before in this call had the same tiles.
            let begin = nest.arg(1);
            let position = nest.mul_imm(sample, tasks as i64);
            let position = nest.add(position, index);
            let done = nest.sub(position, begin);
            let known = nest.mul(done, chunk);
            nest.if_else(known, |_| {}, |nest| self.transform_input(nest, &task));
            let any = self.guard(nest, &task);
            nest.if_else(
                any,
                |nest| self.single_outputs(nest, &task),
                |nest| {
                    self.multiply(nest, &task);
                    self.transform_output(nest, &task);
                },
            );
        });
    }

    /// Whether the group's inputs may be anything: not zero where they may.
    fn guard(&self, nest: &mut NestBuilder, task: &Task) -> Word {
        let (conf, vector) = (self.conf, self.conf.vector());
        let word = |nest: &mut NestBuilder, offset: i64| nest.load(task.frame, (GUARDS + offset) as i32);
        let mut any = nest.iconst(0);
        for offset in (0..vector).step_by(8) {
            let word = word(nest, offset);
            any = nest.or(any, word);
        }
        // What lies behind the last channel has no say.
        let tail = (conf.channels_in % conf.lanes) as i64 * 4;
        for offset in (0..tail).step_by(8) {
            let word = word(nest, vector + offset);
            let word = if tail - offset < 8 { nest.mul_imm(word, 1 << 32) } else { word };
            any = nest.or(any, word);
        }
        any
    }

    /// Clears the guards.
    fn clear_guards(&self, nest: &mut NestBuilder, task: &Task) {
        let zero = nest.iconst(0);
        for offset in (0..2 * self.conf.vector()).step_by(8) {
            nest.store(zero, task.frame, (GUARDS + offset) as i32);
        }
    }

    /// The guard of a block of channels.
    fn guard_of(&self, nest: &mut NestBuilder, task: &Task, block: Word) -> Word {
        let conf = self.conf;
        let whole = nest.add_imm(task.frame, GUARDS);
        if conf.channels_in.is_multiple_of(conf.lanes) {
            return whole;
        }
        let partial = nest.add_imm(task.frame, GUARDS + conf.vector());
        let last = nest.iconst(conf.in_blocks() as i64 - 1);
        let is_whole = nest.differ(block, last);
        nest.select(is_whole, whole, partial)
    }

    fn task(&self, nest: &mut NestBuilder, sample: Word, group: Word, chunk: Word) -> Task {
        let conf = self.conf;
        let constants = 2 + conf.epilogue.operands();
        let [weights, coefficients, table, frame] = [0, 2, 3, 4].map(|i| nest.constant_pointer(constants + i));
        let bias = nest.constant_pointer(constants + 1);
        let column_groups = conf.groups(1) as i64;
        let (row, column) = (nest.div_imm(group, column_groups), nest.rem_imm(group, column_groups));
        let row_groups = conf.groups(0) as i64;
        let (image, row) = (nest.div_imm(row, row_groups), nest.rem_imm(row, row_groups));
        let offsets = conf.offsets();
        let columns = nest.offset_by(table, column, GROUP_WORDS as i64 * 8);
        let columns = nest.add_imm(columns, offsets.groups);
        let first_strip = nest.offset_by(table, column, (conf.strips_of_group() * STRIP_WORDS) as i64 * 8);
        let first_strip = nest.add_imm(first_strip, offsets.strips);
        let panels = part(nest, chunk, conf.task_panels, conf.product.panels());
        let out_blocks = nest.iconst(conf.product.out_blocks as i64);
        let blocks = panels.map(|panel| {
            let block = nest.mul_imm(panel, conf.product.vectors as i64);
            nest.smin(block, out_blocks)
        });
        let strip = nest.add_imm(frame, conf.patch_bytes());
        let v = nest.add_imm(strip, conf.strip_bytes());
        Task {
            sample,
            image,
            is_inner: nest.add_imm(row, 1 - row_groups),
            rows: part(nest, row, conf.group[0], conf.dims[0].tiles()),
            columns,
            first_strip,
            panels,
            weights: nest.offset_by(weights, blocks[0], conf.frequencies() as i64 * conf.product.column_bytes()),
            blocks,
            frame,
            strip,
            v,
            m: nest.add_imm(v, conf.frequencies() as i64 * conf.v_stride()),
            bias,
            coefficients,
            table,
        }
    }

    fn transform_input(&self, nest: &mut NestBuilder, task: &Task) {
        let conf = self.conf;
        let input = self.input(nest, task);
        self.clear_guards(nest, task);
        nest.repeat(conf.in_blocks(), |nest, block| {
            let guard = self.guard_of(nest, task, block);
            let input = nest.offset_by(input, block, conf.input_plane());
            let v = nest.offset_by(task.v, block, conf.block_stride());
            let [begin, end] = task.rows;
            nest.for_range(begin, end, |nest, row| {
                let row = nest.offset_by(task.table, row, ROW_WORDS as i64 * 8);
                nest.repeat(conf.strips_of_group(), |nest, entry| {
                    let entry = nest.offset_by(task.first_strip, entry, STRIP_WORDS as i64 * 8);
                    self.transform_strip(nest, task, [input, v, guard], row, entry);
                });
            });
        });
    }

    /// The tiles of a strip of columns in one row and one block, of which are its input, V and the guard.
    fn transform_strip(
        &self,
        nest: &mut NestBuilder,
        task: &Task,
        [input, v, guard]: [Word; 3],
        row: Word,
        entry: Word,
    ) {
        let (conf, functions) = (self.conf, &self.functions);
        let [kind, offset, size] = [0, 8, 16].map(|word| nest.load(row, word));
        let [column, left, real, right] = [0, 8, 16, 24].map(|word| nest.load(entry, word));
        let [tiles, edge, place] = [32, 40, 48].map(|word| nest.load(entry, word));
        let [v_full, v_edge] = [24, 32].map(|word| {
            let offset = nest.load(row, word);
            nest.add(v, offset)
        });
        let v_full = nest.add(v_full, place);
        let input = nest.add(input, offset);
        let input = nest.add(input, column);
        // Where the rows' transform does nothing, the columns' goes straight to V.
        if conf.dims[1].is_plain() {
            let args = [input, v_full, real, task.coefficients, guard];
            return nest.if_nonzero(real, |nest| call_one_of(nest, kind, &functions.input_columns, &args));
        }
        let strip = nest.offset_by(task.strip, left, conf.vector());
        nest.if_nonzero(left, |nest| nest.call(functions.clear, &[task.strip, left]));
        nest.if_nonzero(right, |nest| {
            let strip = nest.offset_by(strip, real, conf.vector());
            nest.call(functions.clear, &[strip, right]);
        });
        nest.if_nonzero(real, |nest| {
            let args = [input, strip, real, task.coefficients, guard];
            call_one_of(nest, kind, &functions.input_columns, &args);
        });
        nest.if_nonzero(tiles, |nest| {
            nest.call(functions.input_rows[0], &[task.strip, v_full, size, tiles, task.coefficients]);
        });
        if let Some(&function) = functions.input_rows.get(1) {
            nest.if_nonzero(edge, |nest| {
                let strip = nest.offset_by(task.strip, tiles, conf.dims[1].m as i64 * conf.vector());
                nest.call(function, &[strip, v_edge, size, edge, task.coefficients]);
            });
        }
    }

    fn multiply(&self, nest: &mut NestBuilder, task: &Task) {
        match self.conf.kinds_of_groups()[..] {
            [inner, last] => nest.if_else(
                task.is_inner,
                |nest| self.multiply_group(nest, task, inner),
                |nest| self.multiply_group(nest, task, last),
            ),
            _ => self.multiply_group(nest, task, Rows::Last),
        }
    }

    /// All frequencies of a group of tiles.
    fn multiply_group(&self, nest: &mut NestBuilder, task: &Task, kind: Rows) {
        let conf = self.conf;
        let [rows, columns] = &conf.dims;
        let runs = conf.runs(kind);
        if runs.iter().all(|run| *run == runs[0]) {
            let range = [0, conf.frequencies() as i64].map(|frequency| nest.iconst(frequency));
            return self.multiply_range(nest, task, range, runs[0]);
        }
        // Frequencies that fewer tiles have come last, in each row of them and in the rows.
        for rows in rows.parts() {
            let range = [rows.start, rows.end].map(|row| nest.iconst(row as i64));
            nest.for_range(range[0], range[1], |nest, row| {
                for part in columns.parts() {
                    let start = nest.mul_imm(row, columns.size() as i64);
                    let range = [part.start, part.end].map(|column| nest.add_imm(start, column as i64));
                    self.multiply_range(nest, task, range, conf.run(kind, [rows.start, part.start]));
                }
            });
        }
    }

    /// The products of some frequencies, which the tiles of a run have.
    fn multiply_range(&self, nest: &mut NestBuilder, task: &Task, range: [Word; 2], (start, length): (usize, usize)) {
        if length > 0 {
            let (_, functions) =
                self.functions.products.iter().find(|(run, _)| *run == length).expect("a run of the conf");
            self.multiply_run(nest, task, range, start, *functions);
        }
    }

    /// The products of some frequencies, of the tiles from `start` on that `functions` are for.
    fn multiply_run(
        &self,
        nest: &mut NestBuilder,
        task: &Task,
        [begin, end]: [Word; 2],
        start: usize,
        functions: [FuncId; 2],
    ) {
        let (conf, product) = (self.conf, &self.conf.product);
        let blocks = nest.sub(task.blocks[1], task.blocks[0]);
        let frequency_bytes = nest.mul_imm(blocks, product.column_bytes());
        let panel_bytes = product.vectors as i64 * product.column_bytes();
        nest.for_range(begin, end, |nest, frequency| {
            let v = nest.offset_by(task.v, frequency, conf.v_stride());
            let v = nest.add_imm(v, start as i64 * conf.vector());
            let m = nest.offset_by(task.m, frequency, conf.m_stride());
            let m = nest.add_imm(m, start as i64 * conf.vector());
            let offset = nest.mul(frequency, frequency_bytes);
            let weights = nest.add(task.weights, offset);
            let [begin, end] = task.panels;
            nest.for_range(begin, end, |nest, panel| {
                let index = nest.sub(panel, begin);
                let weights = nest.offset_by(weights, index, panel_bytes);
                let m = nest.offset_by(m, index, product.vectors as i64 * conf.block_stride());
                let next = nest.add_imm(weights, panel_bytes);
                let args = [v, weights, m, next];
                let from_last = nest.add_imm(panel, 1 - product.panels() as i64);
                match functions {
                    [full, last] if full == last => nest.call(full, &args),
                    [full, last] => {
                        nest.if_else(from_last, |nest| nest.call(full, &args), |nest| nest.call(last, &args));
                    }
                }
            });
        });
    }

    fn transform_output(&self, nest: &mut NestBuilder, task: &Task) {
        let (conf, functions) = (self.conf, &self.functions);
        let [out, residual] = self.outputs(nest, task);
        let [tiles, edge, column] = [0, 8, 16].map(|word| nest.load(task.columns, word));
        self.for_blocks(nest, task, |nest, m, plane| {
            let plane_offset = nest.add(column, plane);
            let [first_row, last_row] = task.rows;
            nest.for_range(first_row, last_row, |nest, row| {
                let entry = nest.offset_by(task.table, row, ROW_WORDS as i64 * 8);
                let offset = nest.offset_by(plane_offset, row, conf.dims[0].m as i64 * conf.output_row());
                let height = nest.load(entry, 40);
                for (width, count) in [tiles, edge].into_iter().enumerate() {
                    let functions: Vec<FuncId> =
                        functions.output.iter().filter_map(|widths| widths.get(width).copied()).collect();
                    if functions.is_empty() {
                        continue;
                    }
                    nest.if_nonzero(count, |nest| {
                        let m_offset = nest.load(entry, 24 + width as i32 * 8);
                        let m = nest.add(m, m_offset);
                        let offset = match width {
                            0 => offset,
                            _ => nest.offset_by(offset, tiles, conf.dims[1].m as i64 * conf.vector()),
                        };
                        let (out, residual) = (nest.add(out, offset), nest.add(residual, offset));
                        let args = [m, out, residual, task.frame, count, task.coefficients];
                        call_one_of(nest, height, &functions, &args);
                    });
                }
            });
        });
    }
}

impl NestEmitter<'_> {
    /// The image's input.
    fn input(&self, nest: &mut NestBuilder, task: &Task) -> Word {
        let input = nest.sample_pointer(1, task.sample);
        nest.offset_by(input, task.image, self.conf.input_image())
    }

    /// The image's output, and what the epilogue adds.
    fn outputs(&self, nest: &mut NestBuilder, task: &Task) -> [Word; 2] {
        let out = nest.sample_pointer(0, task.sample);
        let residual = match self.conf.epilogue.operands() {
            0 => out,
            _ => nest.sample_pointer(2, task.sample),
        };
        [out, residual].map(|output| nest.offset_by(output, task.image, self.conf.output_image()))
    }

    /// Runs `body(M, offset in the output)` for each of the task's output blocks, whose bias is where tiles find it.
    fn for_blocks(&self, nest: &mut NestBuilder, task: &Task, body: impl FnOnce(&mut NestBuilder, Word, Word)) {
        let conf = self.conf;
        let plane = conf.output_plane();
        let [begin, end] = task.blocks;
        nest.for_range(begin, end, |nest, block| {
            let index = nest.sub(block, begin);
            let m = nest.offset_by(task.m, index, conf.block_stride());
            let bias = nest.offset_by(task.bias, block, conf.vector());
            nest.store(bias, task.frame, 0);
            let plane = nest.mul_imm(block, plane);
            body(nest, m, plane);
        });
    }

    /// The outputs of a group whose inputs may be anything, one by one: each is a tile by itself, the first of V and M.
    fn single_outputs(&self, nest: &mut NestBuilder, task: &Task) {
        let [rows, columns] = &self.conf.dims;
        let [tiles, edges, column] = [0, 8, 16].map(|word| nest.load(task.columns, word));
        let column = nest.div_imm(column, self.conf.vector());
        let width = nest.mul_imm(tiles, columns.m as i64);
        let width = nest.offset_by(width, edges, columns.edge() as i64);
        let end_column = nest.add(column, width);
        let all = nest.iconst(rows.output as i64);
        let [row, end_row] = task.rows.map(|row| {
            let row = nest.mul_imm(row, rows.m as i64);
            nest.smin(row, all)
        });
        nest.for_range(row, end_row, |nest, row| {
            nest.for_range(column, end_column, |nest, column| {
                self.single_input(nest, task, row, column);
                for frequency in 0..rows.taps {
                    let begin = nest.iconst((frequency * columns.size()) as i64);
                    let end = nest.add_imm(begin, columns.taps as i64);
                    self.multiply_run(nest, task, [begin, end], 0, self.functions.single.products);
                }
                self.single_output(nest, task, row, column);
            });
        });
    }

    fn single_input(&self, nest: &mut NestBuilder, task: &Task, row: Word, column: Word) {
        let (conf, functions) = (self.conf, &self.functions.single);
        let offsets = conf.offsets();
        let [rows, columns] =
            [offsets.single_rows, offsets.single_columns].map(|offset| nest.add_imm(task.table, offset));
        let row = nest.offset_by(rows, row, SINGLE_ROW_WORDS as i64 * 8);
        let column = nest.offset_by(columns, column, SINGLE_COLUMN_WORDS as i64 * 8);
        let [kind, input_row] = [0, 8].map(|word| nest.load(row, word));
        let [input_column, strip_column, count] = [0, 8, 16].map(|word| nest.load(column, word));
        let input = self.input(nest, task);
        let input = nest.add(input, input_row);
        let input = nest.add(input, input_column);
        let direct = conf.dims[1].is_plain();
        let strip = nest.add(task.strip, strip_column);
        if !direct {
            let taps = nest.iconst(conf.dims[1].taps as i64);
            nest.call(self.functions.clear, &[task.strip, taps]);
        }
        let plane = conf.input_plane();
        let [size, one] = [conf.dims[0].taps as i64, 1].map(|n| nest.iconst(n));
        nest.repeat(conf.in_blocks(), |nest, block| {
            let input = nest.offset_by(input, block, plane);
            let v = nest.offset_by(task.v, block, conf.block_stride());
            nest.if_nonzero(count, |nest| {
                let args = [input, if direct { v } else { strip }, count, task.coefficients];
                call_one_of(nest, kind, &functions.input_columns, &args);
            });
            if !direct {
                nest.call(functions.input_rows, &[task.strip, v, size, one, task.coefficients]);
            }
        });
    }

    fn single_output(&self, nest: &mut NestBuilder, task: &Task, row: Word, column: Word) {
        let conf = self.conf;
        let [out, residual] = self.outputs(nest, task);
        let one = nest.iconst(1);
        self.for_blocks(nest, task, |nest, m, plane| {
            let offset = nest.offset_by(plane, row, conf.output_row());
            let offset = nest.offset_by(offset, column, conf.vector());
            let (out, residual) = (nest.add(out, offset), nest.add(residual, offset));
            let args = [m, out, residual, task.frame, one, task.coefficients];
            nest.call(self.functions.single.output, &args);
        });
    }
}
