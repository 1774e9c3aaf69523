//! Convolution lane by lane: see [`crate::kernels::channelwise`].

use super::long::Totals;
use super::memory::Pointer;
use super::window::{Row, RowTable, Tile, for_tiles, tiles, with_pixels};
use super::{LANES, VECTOR, epilogue, tasks};
use crate::kernels::channelwise::Code;
use crate::kernels::{Family, Operand};
use std::ops::Range;
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let constants = conf.constants_operand();
    let [weights, table] = [0, 1].map(|index| Pointer::constant(operands, constants + index));
    let row_tiles = tiles(&conf.segments);
    let positions = conf.out_positions();
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (block, rows) = conf.rows.task(task, conf.blocks(), conf.task_rows);
        let call = Call {
            conf,
            input: Pointer::sample(operands, 1, sample).vector(block * conf.multiplicity * conf.input_positions),
            weights: weights.at(block as i64 * conf.weight_block()).vector(1),
            table,
            out: Pointer::sample(operands, 0, sample).vector(block * positions),
            residual: epilogue::residual(&conf.epilogue, operands, 2, sample).vector(block * positions),
        };
        // SAFETY: the operand is the conf's table of rows; the tiles are those of a row of the conf, and the pointers
        // those of one task of it, whose means have a vector for the block.
        unsafe {
            call.rows(rows, &row_tiles);
            if conf.mean {
                call.mean(Pointer::sample(operands, constants - 1, sample).vector(block));
            }
        }
    }
}

/// The arguments that all tiles of a task share.
pub(super) struct Call<'a> {
    pub conf: &'a Code,
    pub input: Pointer,
    /// Of the block; its biases lie before them.
    pub weights: Pointer,
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

    /// Writes the mean of each channel of a block.
    ///
    /// # Safety
    /// All rows of the block must be done, and a vector must be writable at `mean`.
    pub unsafe fn mean(&self, mean: Pointer) {
        let positions = self.conf.positions();
        // SAFETY: the caller's.
        unsafe {
            let (mut totals, mut sum) = (Totals::new(), [[f32x8::ZERO]]);
            for position in 0..positions {
                sum[0][0] += self.out.vector(position).load();
                totals.passed(1, &mut sum);
            }
            mean.store(totals.finish(sum)[0][0] / f32x8::splat(positions as f32));
        }
    }

    /// # Safety
    /// Row and tile, of `P` pixels, must be some of the conf's.
    unsafe fn tile<const P: usize>(&self, row: Row, tile: &Tile) {
        let conf = self.conf;
        let mut input = self.input.at(row.input + tile.input_column(conf.stride, conf.pad) * VECTOR);
        let mut weights = self.weights;
        let position = conf.out_position(row.index) + tile.start * conf.epilogue.step(LANES) / VECTOR as usize;
        // SAFETY: the conf's sizes and table lead to elements of the operands only.
        unsafe {
            let mut sums = [[self.weights.at(-VECTOR).load(); P]];
            let mut totals = Totals::new();
            for _ in 0..conf.multiplicity {
                add_rows(conf, &mut sums, &mut totals, input, weights, row, tile);
                input = input.vector(conf.input_positions);
                weights = weights.vector(conf.taps());
            }
            let [sums] = totals.finish(sums);
            epilogue::finish(&conf.epilogue, &sums, self.out.vector(position), self.residual.vector(position));
        }
    }
}

/// The kernel rows of one input vector of each lane's group.
///
/// # Safety
/// As [`Call::tile`].
#[inline(always)]
unsafe fn add_rows<const P: usize>(
    conf: &Code,
    sums: &mut [[f32x8; P]; 1],
    totals: &mut Totals<P, 1>,
    input: Pointer,
    weights: Pointer,
    row: Row,
    tile: &Tile,
) {
    for &[input_row, weight_row] in row.taps {
        let (input, weights) = (input.at(input_row), weights.at(weight_row));
        for column in tile.columns.clone() {
            let input = input.vector(column * conf.dilation);
            // SAFETY: the caller's; the taps and the tile's columns are inside the input.
            unsafe {
                let weight = weights.vector(column).load();
                for (p, sum) in sums[0].iter_mut().enumerate() {
                    *sum = input.vector(p * conf.stride).load().mul_add(weight, *sum);
                }
            }
        }
        totals.passed(tile.columns.len(), sums);
    }
}
