//! Pooling: see [`crate::kernels::pool`].

use super::epilogue::{self, max_nan};
use super::long::Totals;
use super::memory::Pointer;
use super::window::{Row, RowTable, Tile, for_tiles, tiles, with_pixels};
use super::{VECTOR, tasks};
use crate::kernels::pool::{Code, Mode};
use crate::kernels::{Family, Operand};
use std::ops::Range;
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let constants = 2 + conf.epilogue.operands();
    let [table, divisors] = [0, 1].map(|index| Pointer::constant(operands, constants + index));
    let row_tiles = tiles(&conf.segments);
    let positions = conf.rows.count * conf.columns;
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (block, rows) = conf.rows.task(task, conf.blocks, conf.task_rows);
        let call = Call {
            conf,
            input: Pointer::sample(operands, 1, sample).vector(block * conf.input_positions),
            divisors,
            table,
            out: Pointer::sample(operands, 0, sample).vector(block * positions),
            residual: epilogue::residual(&conf.epilogue, operands, 2, sample).vector(block * positions),
        };
        // SAFETY: the operand is the conf's table of rows; the tiles are those of a row of the conf, and the pointers
        // those of one task of it.
        unsafe { call.rows(rows, &row_tiles) };
    }
}

/// The arguments that all tiles of a task share.
pub(super) struct Call<'a> {
    pub conf: &'a Code,
    pub input: Pointer,
    pub divisors: Pointer,
    pub table: Pointer,
    pub out: Pointer,
    pub residual: Pointer,
}

impl Call<'_> {
    /// The given rows of a block.
    ///
    /// # Safety
    /// The pointers must be those of the block, the tiles those of the conf's segments, and the rows the conf's.
    pub unsafe fn rows(&self, rows: Range<usize>, row_tiles: &[Tile]) {
        let table = RowTable { table: self.table, shape: &self.conf.rows, bytes: self.conf.row_bytes() };
        // SAFETY: the caller's.
        unsafe {
            for_tiles(table, rows, row_tiles, |row, tile| {
                with_pixels!(tile.pixels, P => self.tile::<P>(row, tile));
            });
        }
    }

    /// # Safety
    /// Row and tile, of `P` pixels, must be some of the conf's.
    unsafe fn tile<const P: usize>(&self, row: Row, tile: &Tile) {
        let position = row.index * self.conf.columns + tile.start;
        // SAFETY: the caller's; there is a divisor for each position where there is more than one.
        unsafe {
            let values: [f32x8; P] = match self.conf.mode {
                Mode::Max => self.fold(row, tile, f32::NEG_INFINITY, max_nan, |_, _| {}),
                Mode::Mean(divisor) => {
                    let sums = self.sums(row, tile);
                    sums.map(|sum| sum / f32x8::splat(divisor.get()))
                }
                Mode::Norm(p) => {
                    let sums = self.sums(row, tile);
                    sums.map(|sum| root(p, sum))
                }
                Mode::MeanOf => {
                    let sums: [f32x8; P] = self.sums(row, tile);
                    let line = self.divisors.table::<i64>(row.index + 1)[row.index];
                    let divisors = self.divisors.at(line + tile.start as i64 * 4);
                    std::array::from_fn(|p| sums[p] / divisors.at(p as i64 * 4).broadcast())
                }
            };
            let (out, residual) = (self.out.vector(position), self.residual.vector(position));
            epilogue::finish(&self.conf.epilogue, &values, out, residual);
        }
    }

    /// The sums of the windows of a tile's pixels.
    ///
    /// # Safety
    /// As [`Call::tile`].
    #[inline(always)]
    unsafe fn sums<const P: usize>(&self, row: Row, tile: &Tile) -> [f32x8; P] {
        let mut totals = Totals::new();
        let passed = |terms, sums: &mut [f32x8; P]| totals.passed(terms, std::array::from_mut(sums));
        // SAFETY: the caller's.
        let sums = unsafe {
            match self.conf.mode {
                Mode::Norm(p) => self.fold(row, tile, 0.0, |sum, x| sum + power(p, x), passed),
                _ => self.fold(row, tile, 0.0, |sum, x| sum + x, passed),
            }
        };
        let [sums] = totals.finish([sums]);
        sums
    }

    /// Combines the windows of a tile's pixels, beginning with `start`; says behind each kernel row how many values of
    /// each were combined.
    ///
    /// # Safety
    /// As [`Call::tile`].
    #[inline(always)]
    unsafe fn fold<const P: usize>(
        &self,
        row: Row,
        tile: &Tile,
        start: f32,
        combine: impl Fn(f32x8, f32x8) -> f32x8,
        mut passed: impl FnMut(usize, &mut [f32x8; P]),
    ) -> [f32x8; P] {
        let conf = self.conf;
        let input = self.input.at(row.input + tile.input_column(conf.stride, conf.pad) * VECTOR);
        let mut values = [f32x8::splat(start); P];
        for &[input_row, _] in row.taps {
            for column in tile.columns.clone() {
                let input = input.at(input_row).vector(column * conf.dilation);
                for (p, value) in values.iter_mut().enumerate() {
                    // SAFETY: the caller's; the taps and the tile's columns are inside the input.
                    *value = combine(*value, unsafe { input.vector(p * conf.stride).load() });
                }
            }
            passed(tile.columns.len(), &mut values);
        }
        values
    }
}

/// |x|^p; 0 for a denormal.
fn power(p: usize, x: f32x8) -> f32x8 {
    let x = x.abs();
    let power = (1..p).fold(x, |power, _| power * x);
    power.simd_lt(f32x8::splat(f32::MIN_POSITIVE)).select(f32x8::ZERO, power)
}

/// The p-th root, as in generated code; zero, infinity and NaN stay.
fn root(p: usize, sum: f32x8) -> f32x8 {
    match p {
        1 => sum,
        2 => sum.sqrt(),
        4 => sum.sqrt().sqrt(),
        _ => {
            let root = (sum.ln() * f32x8::splat(1.0 / p as f32)).exp();
            (sum.simd_gt(f32x8::ZERO) & sum.simd_lt(f32x8::splat(f32::INFINITY))).select(root, sum)
        }
    }
}
