//! A convolution and the window layer behind it: see [`crate::kernels::chain`].

use super::memory::Pointer;
use super::window::{Tile, tiles};
use super::{channelwise, conv, epilogue, pool, tasks};
use crate::kernels::chain::{Bands, Code, Conf, Second};
use crate::kernels::{Family, Operand};
use std::ops::Range;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(Conf { code: conf, tables }: &Conf, operands: &[Operand], begin: usize, end: usize) {
    let bands: &Bands = &tables.bands;
    let (first_tiles, second_tiles) = (tiles(&conf.first.segments), tiles(conf.second.segments()));
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (part, group) = conf.task(task);
        let call = Call { conf, operands, sample, first_tiles: &first_tiles, second_tiles: &second_tiles };
        for (new_rows, rows) in bands.of(part, conf.second.rows().count) {
            // SAFETY: the operands are those of the conf, and group and rows some of it; the bands are done in their
            // order, so that the rows that one needs are in the ring.
            unsafe {
                call.first(group, new_rows);
                call.blocks(group).for_each(|block| call.second(group, block, rows.clone()));
            }
        }
        // SAFETY: as above; all bands of the blocks are done.
        unsafe { call.blocks(group).for_each(|block| call.mean(group, block)) };
    }
}

/// What all bands of a vector group share.
struct Call<'a> {
    conf: &'a Code,
    operands: &'a [Operand],
    sample: usize,
    first_tiles: &'a [Tile],
    second_tiles: &'a [Tile],
}

impl Call<'_> {
    fn constant(&self, index: usize) -> Pointer {
        Pointer::constant(self.operands, self.conf.constants_operand() + index)
    }

    fn ring(&self) -> Pointer {
        Pointer::constant(self.operands, self.conf.scratch_operand())
    }

    /// The channel blocks of a vector group.
    fn blocks(&self, group: usize) -> Range<usize> {
        let first = group * self.conf.first.tile.vectors;
        first..self.conf.first.out_blocks.min(first + self.conf.first.tile.vectors)
    }

    /// Rows of the first, into the ring.
    ///
    /// # Safety
    /// Operands, vector group and rows must be the conf's.
    unsafe fn first(&self, group: usize, rows: Range<usize>) {
        let conf = &self.conf.first;
        let call = conv::Call {
            conf,
            input: Pointer::sample(self.operands, 1, self.sample),
            weights: self.constant(0).at(group as i64 * conf.weight_group()),
            bias: self.constant(1).at(group as i64 * conf.bias_stride()),
            table: self.constant(2),
            out: self.ring(),
            residual: self.ring(),
        };
        // SAFETY: the caller's; the scratch memory is a ring for one vector group at least.
        unsafe { call.rows(group, rows, self.first_tiles) };
    }

    /// Rows of a block of the second, from the ring.
    ///
    /// # Safety
    /// Operands, vector group, block and rows must be the conf's, and the rows that they need in the ring.
    unsafe fn second(&self, group: usize, block: usize, rows: Range<usize>) {
        // SAFETY: the caller's.
        unsafe {
            match &self.conf.second {
                Second::Channelwise(conf) => self.channelwise(conf, group, block).rows(rows, self.second_tiles),
                Second::Pool(conf) => self.pool(conf, group, block).rows(rows, self.second_tiles),
            }
        }
    }

    /// The mean of each channel of a block, if it is wanted.
    ///
    /// # Safety
    /// As [`Call::second`]; all rows of the block must be done.
    unsafe fn mean(&self, group: usize, block: usize) {
        match &self.conf.second {
            Second::Channelwise(conf) if conf.mean => {
                let means = Pointer::sample(self.operands, self.conf.mean_operand(), self.sample);
                // SAFETY: the caller's; the means have a vector for each block.
                unsafe { self.channelwise(conf, group, block).mean(means.vector(block)) };
            }
            Second::Channelwise(_) | Second::Pool(_) => {}
        }
    }

    fn channelwise<'a>(
        &self,
        conf: &'a crate::kernels::channelwise::Code,
        group: usize,
        block: usize,
    ) -> channelwise::Call<'a> {
        let out = block as i64 * self.conf.out_block_stride();
        channelwise::Call {
            conf,
            input: self.block_of_ring(group, block),
            weights: self.constant(4).at(block as i64 * conf.weight_block()).vector(1),
            table: self.constant(5),
            out: Pointer::sample(self.operands, 0, self.sample).at(out),
            residual: epilogue::residual(&conf.epilogue, self.operands, 2, self.sample).at(out),
        }
    }

    fn pool<'a>(&self, conf: &'a crate::kernels::pool::Code, group: usize, block: usize) -> pool::Call<'a> {
        let out = block as i64 * self.conf.out_block_stride();
        pool::Call {
            conf,
            input: self.block_of_ring(group, block),
            table: self.constant(4),
            divisors: self.constant(5),
            out: Pointer::sample(self.operands, 0, self.sample).at(out),
            residual: epilogue::residual(&conf.epilogue, self.operands, 2, self.sample).at(out),
        }
    }

    /// Where a block of a vector group lies in the ring.
    fn block_of_ring(&self, group: usize, block: usize) -> Pointer {
        let place = (block - self.blocks(group).start) as i64;
        self.ring().at(place * self.conf.first.out_block_stride())
    }
}
