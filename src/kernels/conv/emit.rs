//! The code of a direct convolution: the loop nest around its tiles, and the tiles.

use super::{Code, LINE, Phase, Split};
use crate::codegen::vector::{Mem, R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::kernels::epilogue::Epilogue;
use crate::kernels::fetch::Fetch;
use crate::kernels::long::Every;
use crate::kernels::nest::{KernelNest, part};
use crate::kernels::rows::Located;
use crate::kernels::taps::Segment;
use crate::machine::costs::STREAM_AHEAD;

/// Pointers of one channel group of one sample.
struct Line {
    input: Word,
    weights: Word,
    bias: Word,
    out: Word,
    residual: Word,
    table: Word,
    pair: Word,
}

/// The functions of a convolution's tiles, one for each segment in each phase.
pub(in crate::kernels) struct Tiles {
    full: Vec<Vec<FuncId>>,
    /// Those of the last vector group, where it differs.
    last: Option<Vec<Vec<FuncId>>>,
}

impl Code {
    pub(in crate::kernels) fn generate_tiles(
        &self,
        name: &str,
        isa: Isa,
        module: &mut CodeModule,
    ) -> Result<Tiles, CodeError> {
        let full = self.generate_phases(name, self.tile.vectors, None, isa, module)?;
        let differs = self.last_vectors() != self.tile.vectors || self.exact.is_some();
        let last = match differs {
            true => Some(self.generate_phases(name, self.last_vectors(), self.exact, isa, module)?),
            false => None,
        };
        Ok(Tiles { full, last })
    }

    /// The tiles of all segments in all phases.
    fn generate_phases(
        &self,
        name: &str,
        vectors: usize,
        exact: Option<usize>,
        isa: Isa,
        module: &mut CodeModule,
    ) -> Result<Vec<Vec<FuncId>>, CodeError> {
        let exactly = if exact.is_some() { "e" } else { "" };
        let raw = self.epilogue.without_items();
        let phases = self.phases();
        let tiles = phases.iter().enumerate().map(|(number, phase)| {
            let epilogue = if phase.last { &self.epilogue } else { &raw };
            let tiles = self.segments.iter().enumerate().map(|(index, segment)| {
                let emitter = TileEmitter { conf: self, segment, vectors, exact, phase, epilogue };
                let name = format!("{name}_tile{vectors}{exactly}_{number}_{index}");
                module.define_tile(&name, isa, 6, &mut |asm| emitter.emit(asm))
            });
            tiles.collect()
        });
        tiles.collect()
    }

    pub(super) fn generate_nest(&self, nest: &mut NestBuilder, tiles: &Tiles) {
        let all_rows = self.rows.count as i64;
        if self.is_by_rows() {
            return self.generate_by_rows(nest, tiles);
        }
        nest.for_lines(self.line_tasks(), |nest, line, [first, last]| {
            let groups = self.groups as i64;
            let (sample, channel_group) = (nest.div_imm(line, groups), nest.rem_imm(line, groups));
            let [zero, rows, vector_groups] =
                [0, all_rows, self.vector_groups() as i64].map(|value| nest.iconst(value));
            let ([begin, end], vector_groups) = match self.split {
                Split::VectorGroups => ([zero, rows], [first, last]),
                Split::Rows => {
                    let [begin, end] = [first, last].map(|task| nest.mul_imm(task, self.task_rows as i64));
                    ([begin, nest.smin(end, rows)], [zero, vector_groups])
                }
            };
            let line = self.line(nest, sample, channel_group);
            nest.for_range_step(begin, end, self.block_rows as i64, |nest, row| {
                let block_end = nest.add_imm(row, self.block_rows as i64);
                let block_end = nest.smin(block_end, end);
                self.generate_block(nest, [row, block_end], vector_groups, &line, tiles);
            });
        });
    }

    /// Of each task some rows of a channel group, those of all groups before the next ones.
    fn generate_by_rows(&self, nest: &mut NestBuilder, tiles: &Tiles) {
        let groups = self.groups as i64;
        let vector_groups = [0, self.vector_groups() as i64].map(|value| nest.iconst(value));
        nest.for_tasks(self.groups * self.line_tasks(), |nest, sample, task| {
            let (index, channel_group) = (nest.div_imm(task, groups), nest.rem_imm(task, groups));
            let rows = part(nest, index, self.task_rows, self.rows.count);
            let line = self.line(nest, sample, channel_group);
            self.generate_block(nest, rows, vector_groups, &line, tiles);
        });
    }

    fn line(&self, nest: &mut NestBuilder, sample: Word, channel_group: Word) -> Line {
        let input = nest.sample_pointer(1, sample);
        let out = nest.sample_pointer(0, sample);
        let residual = match self.epilogue.operands() {
            0 => out,
            _ => nest.sample_pointer(self.residual_operand(), sample),
        };
        let out_offset = nest.mul_imm(channel_group, self.out_blocks as i64 * self.out_block_stride());
        let panel = nest.mul_imm(channel_group, self.vector_groups() as i64);
        let weights = nest.sample_pointer(self.weights_operand(), sample);
        let bias = nest.constant_pointer(self.bias_operand());
        let table = nest.constant_pointer(self.bias_operand() + 1);
        Line {
            input: nest.offset_by(input, channel_group, self.input.group_stride),
            weights: nest.offset_by(weights, panel, self.weight_group()),
            bias: nest.offset_by(bias, panel, self.bias_stride()),
            out: nest.add(out, out_offset),
            residual: nest.add(residual, out_offset),
            table,
            pair: match self.ahead() {
                None => table,
                Some(_) => {
                    let scratch = nest.constant_pointer(self.bias_operand() + 2);
                    nest.add_imm(scratch, self.rows.scratch() as i64)
                }
            },
        }
    }

    /// A block of rows: a chunk of its input stays in the second-level cache while one vector group after the other
    /// passes over it.
    fn generate_block(
        &self,
        nest: &mut NestBuilder,
        rows: [Word; 2],
        [begin, end]: [Word; 2],
        line: &Line,
        tiles: &Tiles,
    ) {
        self.for_chunks(nest, |nest, chunk| {
            nest.for_range(begin, end, |nest, group| {
                let out_offset = nest.mul_imm(group, self.tile.vectors as i64 * self.out_block_stride());
                let pointers = [
                    line.input,
                    nest.offset_by(line.weights, group, self.weight_group()),
                    nest.offset_by(line.bias, group, self.bias_stride()),
                    nest.add(line.out, out_offset),
                    nest.add(line.residual, out_offset),
                    line.table,
                    line.pair,
                ];
                self.generate_chunk(nest, group, chunk, rows, pointers, tiles);
            });
        });
    }

    /// The given rows of one vector group: input, weights, bias, output, residual, table of rows, and [`Code::pair_bytes`] of
    /// scratch memory.
    pub(in crate::kernels) fn generate_group(
        &self,
        nest: &mut NestBuilder,
        vector_group: Word,
        rows: [Word; 2],
        pointers: [Word; 7],
        tiles: &Tiles,
    ) {
        self.for_chunks(nest, |nest, chunk| self.generate_chunk(nest, vector_group, chunk, rows, pointers, tiles));
    }

    /// Calls `body` for each chunk: its phase's index, and its own.
    fn for_chunks(&self, nest: &mut NestBuilder, body: impl Fn(&mut NestBuilder, (usize, Word))) {
        for (index, phase) in self.phases().iter().enumerate() {
            nest.repeat(phase.chunks.len(), |nest, chunk| {
                let chunk = nest.add_imm(chunk, phase.chunks.start as i64);
                body(nest, (index, chunk));
            });
        }
    }

    fn generate_chunk(
        &self,
        nest: &mut NestBuilder,
        vector_group: Word,
        (phase, chunk): (usize, Word),
        rows: [Word; 2],
        [input, weights, bias, out, residual, table, pair]: [Word; 7],
        tiles: &Tiles,
    ) {
        let input = nest.offset_by(input, chunk, self.chunk_blocks as i64 * self.input.block_stride);
        let weights = nest.offset_by(weights, chunk, self.panel());
        let pointers = [input, weights, bias, out, residual, table, pair];
        match &tiles.last {
            None => self.generate_rows(nest, rows, pointers, &tiles.full[phase]),
            Some(last) => {
                let from_last = nest.add_imm(vector_group, 1 - self.vector_groups() as i64);
                nest.if_else(
                    from_last,
                    |nest| self.generate_rows(nest, rows, pointers, &tiles.full[phase]),
                    |nest| self.generate_rows(nest, rows, pointers, &last[phase]),
                );
            }
        }
    }

    fn generate_rows(&self, nest: &mut NestBuilder, [begin, end]: [Word; 2], pointers: [Word; 7], tiles: &[FuncId]) {
        let [input, weights, bias, out, residual, table, pair] = pointers;
        let pixel = self.out_column();
        if self.ahead().is_some() {
            nest.store(bias, pair, 0);
        }
        nest.for_range(begin, end, |nest, row| {
            let Located { input, taps } =
                self.rows.locate(nest, table, row, input, self.row_bytes(), (self.bias_operand() + 2, 0));
            let [out, residual] = self.generate_places(nest, row, [out, residual]);
            let tiles_before = nest.sub(row, begin);
            let tiles_before = nest.mul_imm(tiles_before, self.row_tiles() as i64);
            let mut row_tiles_before = 0;
            for (segment, &tile) in self.segments.iter().zip(tiles) {
                nest.repeat(segment.repeat, |nest, index| {
                    let step = segment.pixels as i64;
                    let in_step = step * self.window.stride as i64 * self.input.pixel_stride;
                    let input = nest.add_imm(input, self.column_offset(segment.start));
                    let input = nest.offset_by(input, index, in_step);
                    let column = segment.start as i64 * pixel;
                    let out = nest.add_imm(out, column);
                    let out = nest.offset_by(out, index, step * pixel);
                    let residual = nest.add_imm(residual, column);
                    let residual = nest.offset_by(residual, index, step * pixel);
                    let mut args = [input, weights, bias, out, residual, taps];
                    if let Some(lines) = self.ahead() {
                        let tile = nest.add(tiles_before, index);
                        let tile = nest.add_imm(tile, row_tiles_before);
                        let share = self.generate_share(nest, lines, weights, tile);
                        nest.store(share, pair, 8);
                        args[2] = pair;
                    }
                    nest.call(tile, &args);
                });
                row_tiles_before += segment.repeat as i64;
            }
        });
    }

    /// Where a row begins in output and residual.
    fn generate_places(&self, nest: &mut NestBuilder, row: Word, pointers: [Word; 2]) -> [Word; 2] {
        let (place, bytes) = match &self.interleave {
            Some(whole) => (whole.emit_row(nest, row, &self.rows), self.lanes * 4),
            None if self.out_rows < self.rows.count => {
                (nest.rem_imm(row, self.out_rows as i64), self.columns * self.lanes * 4)
            }
            None => (row, self.columns * self.lanes * 4),
        };
        pointers.map(|pointer| nest.offset_by(pointer, place, bytes as i64))
    }

    /// Where a tile's share of the next panel begins, by its number among those that read the panel at `weights`.
    fn generate_share(&self, nest: &mut NestBuilder, lines: usize, weights: Word, tile: Word) -> Word {
        let share = (self.chunk_blocks * lines) as i64 * LINE;
        let last = nest.iconst((self.panel() - 1) / share);
        let tile = nest.smin(tile, last);
        let next = nest.add_imm(weights, self.weight_group());
        nest.offset_by(next, tile, share)
    }
}

/// Emits one tile: `(input, weights, bias, out, residual, taps)`. Where it asks for weights ahead, the third is a pair of
/// pointers: the bias, and its share of the next panel.
struct TileEmitter<'a> {
    conf: &'a Code,
    segment: &'a Segment,
    vectors: usize,
    exact: Option<usize>,
    phase: &'a Phase,
    epilogue: &'a Epilogue,
}

/// Integer registers of a tile.
struct Pointers {
    input: R,
    weights: R,
    taps: R,
    /// When totals are brought up to date, if they wait in the output.
    totals: Option<Every>,
}

impl TileEmitter<'_> {
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let sums: Vec<Vec<V>> =
            (0..self.segment.pixels).map(|_| (0..self.vectors).map(|_| asm.vec()).collect()).collect();
        let fetch = self.fetch(asm);
        self.emit_begin(asm, &sums);
        let input = &self.conf.input;
        let row = self.conf.window.kernel * input.block * self.conf.terms();
        // The bias has been read.
        let spare = asm.arg(2);
        let totals = self.conf.is_long().then(|| Every::chain_in(asm, spare, row));
        let pointers = Pointers { input: asm.arg(0), weights: asm.arg(1), taps: asm.arg(5), totals };
        let others = self.conf.chunk_blocks * (self.conf.chunks() - 1);
        let blocks = if self.phase.last { input.blocks - others } else { self.conf.chunk_blocks };
        if blocks > 0 {
            let counter = asm.int();
            asm.set_int(counter, blocks as i64);
            let blocks = asm.loop_begin(counter);
            self.emit_rows(asm, &sums, &pointers, [input.block, self.conf.tile.unroll], fetch.as_ref());
            asm.add_imm(pointers.input, input.block_stride);
            asm.add_imm(pointers.weights, self.conf.weight_block());
            asm.loop_end(blocks);
            asm.free_int(counter);
        }
        fetch.into_iter().for_each(|fetch| fetch.end(asm));
        if input.tail > 0 && self.phase.last {
            self.emit_rows(asm, &sums, &pointers, [input.tail; 2], None);
        }
        self.emit_end(asm, &sums);
    }

    /// Sums begin with the bias, or at zero where a total waits in the output: that of the chunks before, or the bias.
    fn emit_begin(&self, asm: &mut dyn VectorAsm, sums: &[Vec<V>]) {
        if self.phase.first {
            let bias = asm.arg(2);
            for v in 0..self.vectors {
                asm.load(sums[0][v], bias.at((v * self.conf.lanes * 4) as i64));
                sums[1..].iter().for_each(|pixel| asm.copy(pixel[v], sums[0][v]));
            }
            if self.conf.is_long() {
                self.for_outputs(asm, sums, &mut |asm, sum, out, lanes| asm.store_first(out, sum, lanes));
            }
        }
        if self.total_waits() {
            sums.iter().flatten().for_each(|&sum| asm.splat(sum, 0.0));
        }
    }

    /// Whether the output holds a total that the sums are still to be added to.
    fn total_waits(&self) -> bool {
        !self.phase.first || self.conf.is_long()
    }

    /// Adds the sums to the totals in the output, and begins anew at zero. Takes an integer register.
    fn emit_total(&self, asm: &mut dyn VectorAsm, sums: &[Vec<V>]) {
        let total = asm.vec();
        self.for_outputs(asm, sums, &mut |asm, sum, out, lanes| {
            asm.load_first(total, out, lanes);
            asm.add(total, total, sum);
            asm.store_first(out, total, lanes);
            asm.splat(sum, 0.0);
        });
        asm.free(total);
    }

    /// Calls `f(asm, sum, its place in the output, lanes)` for every sum. Takes an integer register.
    fn for_outputs(
        &self,
        asm: &mut dyn VectorAsm,
        sums: &[Vec<V>],
        f: &mut dyn FnMut(&mut dyn VectorAsm, V, Mem, usize),
    ) {
        let out = asm.int();
        asm.copy_int(out, asm.arg(3));
        for v in 0..self.vectors {
            for (p, pixel) in sums.iter().enumerate() {
                f(asm, pixel[v], out.at(p as i64 * self.conf.out_column()), self.lanes(v));
            }
            asm.add_imm(out, self.conf.out_block_stride());
        }
        asm.free_int(out);
    }

    /// Lanes of a vector of outputs that may be touched.
    fn lanes(&self, v: usize) -> usize {
        self.exact.filter(|_| v + 1 == self.vectors).unwrap_or(self.conf.lanes)
    }

    /// The kernel rows of one input block of `channels` channels, of which `unroll` are unrolled.
    fn emit_rows(
        &self,
        asm: &mut dyn VectorAsm,
        sums: &[Vec<V>],
        pointers: &Pointers,
        [channels, unroll]: [usize; 2],
        fetch: Option<&Fetch>,
    ) {
        let row_done = |asm: &mut dyn VectorAsm| {
            pointers.totals.iter().for_each(|every| every.pass(asm, |asm| self.emit_total(asm, sums)));
        };
        if self.conf.rows.plain && channels == unroll {
            self.emit_taps(asm, sums, pointers.input, pointers.weights, unroll, fetch);
            return row_done(asm);
        }
        let rows = &self.conf.rows;
        let line = [pointers.input, pointers.weights];
        rows.emit_taps(asm, pointers.taps, line, self.conf.row_bytes(), &mut |asm, input, weights| {
            if channels == unroll {
                self.emit_taps(asm, sums, input, weights, unroll, fetch);
                return row_done(asm);
            }
            let (chunks, counter) = ((channels / unroll) as i64, asm.int());
            let steps = [unroll as i64 * 4, (unroll * self.conf.window.kernel) as i64 * self.conf.weight_stride()];
            asm.set_int(counter, chunks);
            let looped = asm.loop_begin(counter);
            self.emit_taps(asm, sums, input, weights, unroll, fetch);
            [input, weights].into_iter().zip(steps).for_each(|(pointer, step)| asm.add_imm(pointer, step));
            asm.loop_end(looped);
            [input, weights].into_iter().zip(steps).for_each(|(pointer, step)| asm.add_imm(pointer, -chunks * step));
            asm.free_int(counter);
            row_done(asm);
        });
    }

    /// The kernel columns of `unroll` channels of one row, unrolled.
    fn emit_taps(
        &self,
        asm: &mut dyn VectorAsm,
        sums: &[Vec<V>],
        input: R,
        weights: R,
        unroll: usize,
        fetch: Option<&Fetch>,
    ) {
        let conf = self.conf;
        let row: Vec<V> = (0..self.vectors).map(|_| asm.vec()).collect();
        let element = (!conf.tile.embedded).then(|| asm.vec());
        let streamed = conf.is_streamed();
        for column in 0..conf.window.kernel {
            let users: Vec<usize> = (0..self.segment.pixels)
                .filter(|&p| (self.segment.columns[p].0..self.segment.columns[p].1).contains(&column))
                .collect();
            if users.is_empty() {
                continue;
            }
            for channel in 0..unroll {
                let step = column * unroll + channel;
                fetch.iter().for_each(|fetch| fetch.step(asm, step));
                let position = step as i64 * conf.weight_stride();
                for (v, &weight) in row.iter().enumerate() {
                    let at = position + v as i64 * conf.weight_vector();
                    self.load_weights(asm, weight, weights.at(at));
                    if streamed && at % LINE == 0 {
                        asm.prefetch(weights.at(at + STREAM_AHEAD));
                    }
                }
                for &p in &users {
                    let x = self.element(input, p, column, channel);
                    match element {
                        Some(element) => {
                            asm.broadcast(element, x);
                            row.iter().zip(&sums[p]).for_each(|(&w, &sum)| match conf.pairs {
                                false => asm.fma(sum, w, element),
                                true => asm.dot_pairs(sum, w, element),
                            });
                        }
                        None => row.iter().zip(&sums[p]).for_each(|(&w, &sum)| match conf.pairs {
                            false => asm.fma_broadcast(sum, w, x),
                            true => asm.dot_pairs_broadcast(sum, w, x),
                        }),
                    }
                }
            }
        }
        fetch.iter().for_each(|fetch| fetch.pass(asm));
        row.into_iter().chain(element).for_each(|v| asm.free(v));
    }

    fn load_weights(&self, asm: &mut dyn VectorAsm, to: V, from: Mem) {
        match self.conf.half {
            None => asm.load(to, from),
            Some(half) => asm.load_wide(to, from, half),
        }
    }

    /// Lines of the next panel of weights, an integer register among them.
    fn fetch(&self, asm: &mut dyn VectorAsm) -> Option<Fetch> {
        let lines = self.conf.ahead()? / self.conf.turns();
        let (pair, share) = (asm.arg(2), asm.int());
        asm.load_int(share, pair.at(8));
        asm.load_int(pair, pair.at(0));
        Some(Fetch::new(share, 0, lines, self.conf.window.kernel * self.conf.tile.unroll))
    }

    /// The input element of a pixel under a kernel column.
    fn element(&self, input: R, pixel: usize, column: usize, channel: usize) -> Mem {
        let window = &self.conf.window;
        let position = (pixel * window.stride + column * window.dilation) as i64 * self.conf.input.pixel_stride;
        input.at(position + channel as i64 * 4)
    }

    /// Epilogue and stores, one output block after the other.
    fn emit_end(&self, asm: &mut dyn VectorAsm, sums: &[Vec<V>]) {
        if self.total_waits() {
            let total = asm.vec();
            self.for_outputs(asm, sums, &mut |asm, sum, out, lanes| {
                asm.load_first(total, out, lanes);
                asm.add(sum, sum, total);
            });
            asm.free(total);
        }
        let epilogue = self.epilogue;
        let block = |v: usize| sums.iter().map(|pixel| pixel[v]).collect::<Vec<V>>();
        if epilogue.is_light() {
            self.for_blocks(asm, |asm, v, out, residual, lanes| epilogue.finish(asm, &block(v), out, residual, lanes));
        } else {
            // The epilogue needs the registers of the sums: they wait in the output.
            let none = epilogue.without_items();
            self.for_blocks(asm, |asm, v, out, residual, lanes| none.finish(asm, &block(v), out, residual, lanes));
            let pixels = self.segment.pixels;
            self.for_blocks(asm, |asm, _, out, residual, lanes| epilogue.rework(asm, pixels, out, residual, lanes));
        }
    }

    /// Calls `f(asm, vector, output, residual, lanes)` for every output block.
    fn for_blocks(&self, asm: &mut dyn VectorAsm, mut f: impl FnMut(&mut dyn VectorAsm, usize, R, R, usize)) {
        let (out, residual) = (asm.int(), asm.int());
        asm.copy_int(out, asm.arg(3));
        asm.copy_int(residual, asm.arg(4));
        for v in 0..self.vectors {
            f(asm, v, out, residual, self.lanes(v));
            asm.add_imm(out, self.conf.out_block_stride());
            asm.add_imm(residual, self.conf.out_block_stride());
        }
        asm.free_int(out);
        asm.free_int(residual);
    }
}
