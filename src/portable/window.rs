//! What kernels with a sliding window have in common: the table of rows and the tiles of a row.

use super::memory::Pointer;
use crate::kernels::rows::{RowBytes, RowShape};
use crate::kernels::taps::Segment;
use std::ops::Range;

/// What the table (see [`Rows::table`](crate::kernels::rows::Rows::table)) says of one output row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub index: usize,
    /// Byte offset of the input row under the kernel's first row.
    pub input: i64,
    /// For each kernel row inside the input, byte offsets of the input row and of the weights.
    pub taps: &'a [[i64; 2]],
}

/// A table of rows, and what is known of it.
#[derive(Clone, Copy)]
pub struct RowTable<'a> {
    pub table: Pointer,
    pub shape: &'a RowShape,
    pub bytes: RowBytes,
}

impl RowTable<'_> {
    /// Where the row's input begins; its taps become those of the row.
    ///
    /// # Safety
    /// The table must have this row, and nobody may write it meanwhile.
    unsafe fn read(&self, row: usize, taps: &mut Vec<[i64; 2]>) -> i64 {
        taps.clear();
        // SAFETY: the caller's.
        unsafe { if self.shape.dims.len() < 2 { self.read_runs(row, taps) } else { self.read_box(row, taps) } }
    }

    /// # Safety
    /// As [`RowTable::read`], of rows of one dimension or none.
    unsafe fn read_runs(&self, row: usize, taps: &mut Vec<[i64; 2]>) -> i64 {
        // SAFETY: the caller's; the head of the table has a pair for each row, whose second word leads to a number of
        // runs, of three words each.
        let (base, runs) = unsafe {
            let [base, list] = self.table.at(row as i64 * 16).table::<[i64; 2]>(1)[0];
            let list = self.table.at(list);
            (base, list.at(8).table::<[i64; 3]>(list.table::<i64>(1)[0] as usize))
        };
        let step = if self.shape.dims.is_empty() { [0; 2] } else { self.step(0) };
        taps.extend(runs.iter().flat_map(|&[input, weights, count]| taps_from([input, weights], step, count)));
        base
    }

    /// # Safety
    /// As [`RowTable::read`], of rows of several dimensions.
    unsafe fn read_box(&self, row: usize, taps: &mut Vec<[i64; 2]>) -> i64 {
        taps.push([0; 2]);
        let (mut table, mut rest, mut behind) = (self.table, row, self.shape.count);
        for (d, dim) in self.shape.dims.iter().enumerate() {
            behind /= dim.count;
            // SAFETY: the caller's; the table has three words for each position of each dimension.
            let entries = unsafe { table.table::<[i64; 3]>(dim.count) };
            let [input, weights, count] = entries[rest / behind];
            (rest, table) = (rest % behind, table.at(size_of_val(entries) as i64));
            let step = self.step(d);
            let from = |at: &[i64; 2]| taps_from([at[0] + input, at[1] + weights], step, count);
            *taps = taps.iter().flat_map(from).collect();
        }
        0
    }

    /// Bytes of input and weights from one tap of a dimension to the next.
    fn step(&self, d: usize) -> [i64; 2] {
        let steps = self.shape.steps(d, self.bytes);
        [steps.input, steps.weights]
    }
}

/// `count` taps at equal distances.
fn taps_from(first: [i64; 2], step: [i64; 2], count: i64) -> impl Iterator<Item = [i64; 2]> {
    (0..count).map(move |tap| [first[0] + tap * step[0], first[1] + tap * step[1]])
}

/// Neighbouring output pixels that are computed together.
pub struct Tile {
    /// First output column.
    pub start: usize,
    pub pixels: usize,
    /// The kernel columns that all its pixels see.
    pub columns: Range<usize>,
}

impl Tile {
    /// The input column under kernel column 0 of the first pixel; negative inside the padding.
    pub fn input_column(&self, stride: usize, pad: i64) -> i64 {
        (self.start * stride) as i64 - pad
    }
}

/// The tiles of one output row. Generated code decides for each pixel of a segment which kernel columns it sees; here
/// segments at the border are cut into tiles whose pixels all see the same.
pub fn tiles(segments: &[Segment]) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for segment in segments {
        for index in 0..segment.repeat {
            let mut start = segment.start + index * segment.pixels;
            for run in segment.columns.chunk_by(|a, b| a == b) {
                let (first, last) = run[0];
                tiles.push(Tile { start, pixels: run.len(), columns: first..last });
                start += run.len();
            }
        }
    }
    tiles
}

/// Calls `body` for all tiles of some rows.
///
/// # Safety
/// The table must have these rows, and nobody may write it meanwhile.
pub unsafe fn for_tiles(table: RowTable, rows: Range<usize>, tiles: &[Tile], mut body: impl FnMut(Row, &Tile)) {
    let mut taps = Vec::new();
    for index in rows {
        // SAFETY: the caller's.
        let input = unsafe { table.read(index, &mut taps) };
        tiles.iter().for_each(|tile| body(Row { index, input, taps: &taps }, tile));
    }
}

/// Evaluates an expression in which `$P` is the number of pixels as a constant; of all numbers of pixels that confs
/// ask for, or of those that are listed.
macro_rules! with_pixels {
    ($pixels:expr, $P:ident => $call:expr) => {
        with_pixels!($pixels, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], $P => $call)
    };
    ($pixels:expr, [$($count:literal)+], $P:ident => $call:expr) => {
        match $pixels {
            $($count => {
                const $P: usize = $count;
                $call
            })+
            pixels => unreachable!("a tile of {pixels} pixels"),
        }
    };
}
pub(super) use with_pixels;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_row_and_their_pixels_see_the_same_columns() {
        let segments = [
            Segment { start: 0, pixels: 3, repeat: 1, columns: vec![(1, 3), (0, 3), (0, 3)] },
            Segment { start: 3, pixels: 2, repeat: 2, columns: vec![(0, 3), (0, 3)] },
            Segment { start: 7, pixels: 2, repeat: 1, columns: vec![(0, 3), (0, 2)] },
        ];
        let found: Vec<_> = tiles(&segments).into_iter().map(|t| (t.start, t.pixels, t.columns)).collect();
        let expected = [(0, 1, 1..3), (1, 2, 0..3), (3, 2, 0..3), (5, 2, 0..3), (7, 1, 0..3), (8, 1, 0..2)];
        assert_eq!(found, expected);
    }
}
