//! Direct convolution: see [`crate::kernels::conv`].

use super::long::Totals;
use super::memory::Pointer;
use super::window::{Row, RowTable, Tile, for_tiles, tiles, with_pixels};
use super::{LANES, VECTOR, epilogue, tasks};
use crate::kernels::conv::Code;
use crate::kernels::{Family, Operand};
use std::ops::Range;
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let [bias, table] = [0, 1].map(|index| Pointer::constant(operands, conf.bias_operand() + index));
    let row_tiles = tiles(&conf.segments);
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (channel_group, rows, vector_groups) = conf.task(task);
        for vector_group in vector_groups {
            let group = channel_group * conf.vector_groups() + vector_group;
            let block = channel_group * conf.out_blocks + vector_group * conf.tile.vectors;
            let out = block as i64 * conf.out_block_stride();
            let call = Call {
                conf,
                input: Pointer::sample(operands, 1, sample).at(channel_group as i64 * conf.input.group_stride),
                weights: Pointer::sample(operands, conf.weights_operand(), sample)
                    .at(group as i64 * conf.weight_group()),
                bias: bias.at(group as i64 * conf.bias_stride()),
                table,
                out: Pointer::sample(operands, 0, sample).at(out),
                residual: epilogue::residual(&conf.epilogue, operands, conf.residual_operand(), sample).at(out),
            };
            // SAFETY: the operand is the conf's table of rows; the pointers are those of one task.
            unsafe { call.rows(vector_group, rows.clone(), &row_tiles) };
        }
    }
}

/// The arguments that all tiles of a task share.
pub(super) struct Call<'a> {
    pub conf: &'a Code,
    pub input: Pointer,
    /// Of the vector group, as the biases.
    pub weights: Pointer,
    pub bias: Pointer,
    pub table: Pointer,
    pub out: Pointer,
    pub residual: Pointer,
}

/// Input channels that lie side by side, and their weights.
struct Block {
    input: Pointer,
    weights: Pointer,
    channels: usize,
    /// Channels of a chunk in the order of the weights.
    unroll: usize,
}

impl Call<'_> {
    /// The given rows of a vector group.
    ///
    /// # Safety
    /// The pointers must be those of the vector group, the tiles those of the conf's segments, and the rows the conf's.
    pub unsafe fn rows(&self, vector_group: usize, rows: Range<usize>, row_tiles: &[Tile]) {
        let table = RowTable { table: self.table, shape: &self.conf.rows, bytes: self.conf.row_bytes() };
        let last = vector_group + 1 == self.conf.vector_groups();
        let vectors = if last { self.conf.last_vectors() } else { self.conf.tile.vectors };
        // SAFETY: the caller's.
        unsafe { for_tiles(table, rows, row_tiles, |row, tile| self.tile(row, tile, vectors, last)) };
    }

    /// One tile of `vectors` vectors: the sizes are those that `kernels::conv::Tile::all` finds for up to 15
    /// registers, and smaller ones.
    ///
    /// # Safety
    /// Row, tile and number of vectors must be some of the conf's for this task, whose vector group is the `last` or not.
    unsafe fn tile(&self, row: Row, tile: &Tile, vectors: usize, last: bool) {
        // SAFETY: the caller's.
        unsafe {
            match vectors {
                1 => with_pixels!(tile.pixels, P => self.sized_tile::<1, P>(row, tile, last)),
                2 => with_pixels!(tile.pixels, [1 2 3 4 5 6], P => self.sized_tile::<2, P>(row, tile, last)),
                3 => with_pixels!(tile.pixels, [1 2 3], P => self.sized_tile::<3, P>(row, tile, last)),
                4 => with_pixels!(tile.pixels, [1 2], P => self.sized_tile::<4, P>(row, tile, last)),
                5 => with_pixels!(tile.pixels, [1], P => self.sized_tile::<5, P>(row, tile, last)),
                6 => with_pixels!(tile.pixels, [1], P => self.sized_tile::<6, P>(row, tile, last)),
                _ => unreachable!("a tile of {vectors} vectors"),
            }
        }
    }

    /// # Safety
    /// As [`Call::tile`], for a tile of `V` vectors and `P` pixels.
    unsafe fn sized_tile<const V: usize, const P: usize>(&self, row: Row, tile: &Tile, last: bool) {
        let input = &self.conf.input;
        let column = tile.input_column(self.conf.window.stride, self.conf.window.pad);
        let mut block = Block {
            input: self.input.at(row.input + column * input.pixel_stride),
            weights: self.weights,
            channels: input.block,
            unroll: self.conf.tile.unroll,
        };
        // SAFETY: the conf's strides and table lead to elements of the operands only.
        unsafe {
            let mut sums: [[f32x8; V]; P] = [std::array::from_fn(|v| self.bias.vector(v).load()); P];
            let mut totals = Totals::new();
            for _ in 0..input.blocks {
                sums = self.add_rows(sums, &mut totals, &block, row, tile);
                block.input = block.input.at(input.block_stride);
                block.weights = block.weights.at(self.conf.weight_block());
            }
            if input.tail > 0 {
                (block.channels, block.unroll) = (input.tail, input.tail);
                sums = self.add_rows(sums, &mut totals, &block, row, tile);
            }
            let sums = totals.finish(sums);
            let position =
                self.conf.out_position(row.index) + tile.start * self.conf.epilogue.step(LANES) / VECTOR as usize;
            self.store(sums, position, last);
        }
    }

    /// The kernel rows of one input block.
    ///
    /// # Safety
    /// As [`Call::sized_tile`].
    #[inline(always)]
    unsafe fn add_rows<const V: usize, const P: usize>(
        &self,
        mut sums: [[f32x8; V]; P],
        totals: &mut Totals<V, P>,
        block: &Block,
        row: Row,
        tile: &Tile,
    ) -> [[f32x8; V]; P] {
        let window = &self.conf.window;
        let (pixel, weight) = (self.conf.input.pixel_stride, self.conf.weight_stride());
        for &[input_row, weight_row] in row.taps {
            for chunk in 0..block.channels / block.unroll {
                let input = block.input.at(input_row).at((chunk * block.unroll * 4) as i64);
                let weights = block.weights.at(weight_row).at((chunk * block.unroll * window.kernel) as i64 * weight);
                for column in tile.columns.clone() {
                    let input = input.at((column * window.dilation) as i64 * pixel);
                    let weights = weights.at((column * block.unroll) as i64 * weight);
                    let step = window.stride as i64 * pixel;
                    // SAFETY: the caller's; the taps and the tile's columns are inside the input.
                    sums = unsafe {
                        match self.conf.half {
                            None => {
                                let load = |at: Pointer, v| at.vector(v).load();
                                add_channels(sums, [input, weights], [step, weight], block.unroll, load)
                            }
                            Some(half) => {
                                let load = |at: Pointer, v| at.at(v as i64 * VECTOR / 2).load_wide(half);
                                add_channels(sums, [input, weights], [step, weight], block.unroll, load)
                            }
                        }
                    };
                }
            }
            totals.passed(tile.columns.len() * block.channels, &mut sums);
        }
        sums
    }

    /// Epilogue and stores of the pixels from `position` on, one output block after the other.
    ///
    /// # Safety
    /// The pixels must be of this task, whose vector group is the `last` or not.
    #[inline(always)]
    unsafe fn store<const V: usize, const P: usize>(&self, sums: [[f32x8; V]; P], position: usize, last: bool) {
        let exact = self.conf.exact.filter(|_| last).unwrap_or(LANES);
        for v in 0..V {
            let count = if v + 1 == V { exact } else { LANES };
            let block = v as i64 * self.conf.out_block_stride();
            for (p, sum) in sums.iter().enumerate() {
                let at = block + position as i64 * VECTOR + p as i64 * self.conf.out_column();
                // SAFETY: the caller's; output and residual have the same layout.
                unsafe {
                    let value = epilogue::apply(&self.conf.epilogue, sum[v], self.residual.at(at), count);
                    self.out.at(at).store_first(value, count);
                }
            }
        }
    }
}

/// One kernel column of `channels` channels: the innermost loop.
///
/// # Safety
/// At `input` and each `input_step` bytes further for each of the `P` pixels there must be `channels` elements, and
/// at `weights` and each `weight_step` bytes further for each channel the `V` vectors that `load` loads.
#[inline(always)]
unsafe fn add_channels<const V: usize, const P: usize>(
    mut sums: [[f32x8; V]; P],
    [input, weights]: [Pointer; 2],
    [input_step, weight_step]: [i64; 2],
    channels: usize,
    load: impl Fn(Pointer, usize) -> f32x8,
) -> [[f32x8; V]; P] {
    for channel in 0..channels as i64 {
        let weights = weights.at(channel * weight_step);
        // SAFETY: the caller's.
        unsafe {
            let weights: [f32x8; V] = std::array::from_fn(|v| load(weights, v));
            for (p, sum) in sums.iter_mut().enumerate() {
                let x = input.at(p as i64 * input_step + channel * 4).broadcast();
                for (sum, weight) in sum.iter_mut().zip(weights) {
                    *sum = weight.mul_add(x, *sum);
                }
            }
        }
    }
    sums
}
