//! The stages of a group of tiles.

use super::{Code, HALF};
use crate::codegen::vector::{R, V, VectorAsm, repeat};
use crate::kernels::fetch::Fetch;
use crate::kernels::taps::split;
use crate::machine::LINE;

/// Columns of a block of channels that are side by side in a vector of halves.
pub const COLUMNS: usize = 2;

impl Code {
    /// Bytes of a vector.
    fn vector(&self) -> i64 {
        4 * self.lanes as i64
    }

    /// The tile `(input, strip, vectors)`: B^T along the columns of a row of tiles, of one block of channels.
    pub(super) fn emit_columns(&self, asm: &mut dyn VectorAsm) {
        let [input, strip, count] = [0, 1, 2].map(|arg| asm.arg(arg));
        let looped = asm.loop_begin(count);
        let x: Vec<V> = (0..self.forms[0].size()).map(|_| asm.vec()).collect();
        for (row, &v) in x.iter().enumerate() {
            asm.load_byte_halves(v, input.at((row * self.input[1] * self.lanes) as i64));
        }
        self.forms[0].input(asm, &x, &mut |asm, frequency, v| {
            asm.store(strip.at((frequency * self.strip_stride()) as i64), v);
        });
        asm.add_imm(input, (COLUMNS * self.lanes) as i64);
        asm.add_imm(strip, self.vector());
        asm.loop_end(looped);
    }

    /// The tile `(strip, V, tiles)`: B^T along the rows of a strip. A vector has a column behind that of its tile, which is
    /// stored where the next tile's comes.
    pub(super) fn emit_rows(&self, asm: &mut dyn VectorAsm) {
        let [strip, v, count] = [0, 1, 2].map(|arg| asm.arg(arg));
        let (rows, columns) = (self.forms[0].size(), self.forms[1].size());
        let looped = asm.loop_begin(count);
        for row in 0..rows {
            let x: Vec<V> = (0..columns).map(|_| asm.vec()).collect();
            for (column, &v) in x.iter().enumerate() {
                asm.load(v, strip.at((row * self.strip_stride() + column * self.lanes * HALF) as i64));
            }
            self.forms[1].input(asm, &x, &mut |asm, frequency, value| {
                asm.store(v.at(((row * columns + frequency) * self.v_stride()) as i64), value);
            });
        }
        asm.add_imm(strip, (self.forms[1].outputs() * self.lanes * HALF) as i64);
        asm.add_imm(v, (self.lanes * HALF) as i64);
        asm.loop_end(looped);
    }

    /// The tile `(V, weights, M, next)`: the products of one frequency of so many tiles and a panel of so many blocks. Each
    /// run of tiles fetches its share of the next frequency's weights, which come from far away.
    pub(super) fn emit_products(&self, asm: &mut dyn VectorAsm, tiles: usize, vectors: usize) {
        let [v, m] = [0, 2].map(|arg| asm.arg(arg));
        let runs = split(tiles, self.run);
        let of_block = self.pairs() * vectors * self.vector() as usize;
        let lines = of_block.div_ceil(LINE * runs.len());
        let long = runs.iter().filter(|&&run| run == runs[0]).count();
        for (count, run) in [(long, runs[0]), (runs.len() - long, runs[0] - 1)] {
            repeat(asm, count, &mut |asm| {
                self.emit_run(asm, run, vectors, lines);
                asm.add_imm(v, (run * self.lanes * HALF) as i64);
                asm.add_imm(m, run as i64 * self.vector());
            });
        }
    }

    /// The products of tiles whose sums stay in registers.
    fn emit_run(&self, asm: &mut dyn VectorAsm, run: usize, vectors: usize, lines: usize) {
        let ([v, weights], next) = ([asm.int(), asm.int()], asm.arg(3));
        asm.copy_int(v, asm.arg(0));
        asm.copy_int(weights, asm.arg(1));
        let sums: Vec<Vec<V>> = (0..run).map(|_| (0..vectors).map(|_| asm.vec()).collect()).collect();
        sums.iter().flatten().for_each(|&sum| asm.splat_bits(sum, 0));
        repeat(asm, self.in_blocks(), &mut |asm| {
            let fetch = Fetch::new(next, 0, lines, self.pairs());
            for pair in 0..self.pairs() {
                fetch.step(asm, pair);
                self.emit_pair(asm, [v, weights], pair, &sums);
            }
            fetch.pass(asm);
            asm.add_imm(v, self.v_block() as i64);
            asm.add_imm(weights, (self.pairs() * vectors) as i64 * self.vector());
        });
        for (tile, sums) in sums.into_iter().enumerate() {
            for (block, sum) in sums.into_iter().enumerate() {
                let to = (block * self.m_block()) as i64 + tile as i64 * self.vector();
                asm.store(asm.arg(2).at(to), sum);
                asm.free(sum);
            }
        }
        [v, weights].into_iter().for_each(|r| asm.free_int(r));
    }

    /// The products of two channels.
    fn emit_pair(&self, asm: &mut dyn VectorAsm, [v, weights]: [R; 2], pair: usize, sums: &[Vec<V>]) {
        let row: Vec<V> = sums[0].iter().map(|_| asm.vec()).collect();
        let numbers = asm.vec();
        let product = (!self.dots).then(|| asm.vec());
        for (block, &w) in row.iter().enumerate() {
            asm.load(w, weights.at((pair * row.len() + block) as i64 * self.vector()));
        }
        for (tile, sums) in sums.iter().enumerate() {
            asm.broadcast(numbers, v.at((tile * self.lanes * HALF + 4 * pair) as i64));
            for (&sum, &w) in sums.iter().zip(&row) {
                let Some(product) = product else {
                    asm.dot_halves(sum, numbers, w);
                    continue;
                };
                asm.multiply_halves(product, numbers, w);
                asm.add_bits(sum, sum, product);
            }
        }
        row.into_iter().chain([numbers]).chain(product).for_each(|v| asm.free(v));
    }

    /// The tile `(M, out, residual, beginnings, factors, tiles)`: A^T on both sides of a block's products, and values of
    /// the sums, for tiles in a row that have so many rows and columns of outputs.
    pub(super) fn emit_output(&self, asm: &mut dyn VectorAsm, [rows, columns]: [usize; 2]) {
        let [m, out, residual, factors, count] = [0, 1, 2, 4, 5].map(|arg| asm.arg(arg));
        let looped = asm.loop_begin(count);
        let width = self.forms[1].size();
        let place = |row: usize, column: usize| m.at(((row * width + column) * self.m_stride()) as i64);
        for column in 0..width {
            let x: Vec<V> = (0..self.forms[0].size()).map(|_| asm.vec()).collect();
            x.iter().enumerate().for_each(|(row, &v)| asm.load(v, place(row, column)));
            // In the place of what they were made of.
            for (row, value) in self.forms[0].output(asm, &x).into_iter().enumerate() {
                asm.store(place(row, column), value);
                asm.free(value);
            }
        }
        for row in 0..rows {
            let x: Vec<V> = (0..width).map(|_| asm.vec()).collect();
            x.iter().enumerate().for_each(|(column, &v)| asm.load(v, place(row, column)));
            let mut sums = self.forms[1].output(asm, &x);
            sums.drain(columns..).for_each(|v| asm.free(v));
            self.emit_division(asm, &sums);
            let position = row * self.out[1];
            let to = out.at((position * self.ends.vector(self.lanes)) as i64);
            let residual = residual.at((position * self.lanes) as i64);
            self.ends.store(asm, &sums, factors.at(0), to, residual);
            sums.into_iter().for_each(|sum| asm.free(sum));
        }
        asm.add_imm(m, self.vector());
        asm.add_imm(out, (columns * self.ends.vector(self.lanes)) as i64);
        asm.add_imm(residual, (columns * self.lanes) as i64);
        asm.loop_end(looped);
    }

    /// Sums of what the transforms give, which is a multiple of them, modulo 2^32: see [`super::Centre`].
    fn emit_division(&self, asm: &mut dyn VectorAsm, sums: &[V]) {
        let (begin, [odd, shift]) = (asm.arg(3), self.scale());
        let value = asm.vec();
        if odd > 1 {
            asm.splat_bits(value, super::transform::inverse(odd));
            sums.iter().for_each(|&sum| asm.mul_bits(sum, sum, value));
        }
        asm.load(value, begin.at(0));
        for &sum in sums {
            asm.add_bits(sum, sum, value);
            asm.shr_signed(sum, sum, shift as u8);
        }
        asm.load(value, begin.at(self.vector()));
        sums.iter().for_each(|&sum| asm.add_bits(sum, sum, value));
        asm.free(value);
    }
}
