//! What kernels with a sliding window have in common: the table of rows and the tiles of a row.

use super::memory::Pointer;
use crate::kernels::taps::Segment;
use std::ops::Range;

/// What the table (see [`Rows::table`](crate::kernels::taps::Rows::table)) says of one output row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub index: usize,
    /// Byte offset of the input row under the kernel's first row.
    pub input: i64,
    /// For each kernel row inside the input, byte offsets of the input row and of the weights.
    pub taps: &'a [[i64; 2]],
}

impl<'a> Row<'a> {
    /// # Safety
    /// `table` is a table of rows that has this row, and that nobody writes during `'a`.
    pub unsafe fn read(table: Pointer, index: usize) -> Row<'a> {
        // SAFETY: the caller's; the head of the table has a pair for each row, whose second word leads to a length
        // that so many pairs follow.
        unsafe {
            let [input, list] = table.at(index as i64 * 16).table::<[i64; 2]>(1)[0];
            let list = table.at(list);
            let count = list.table::<i64>(1)[0] as usize;
            Row { index, input, taps: list.at(8).table(count) }
        }
    }
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
    pub fn input_column(&self, stride: usize, pad: usize) -> i64 {
        (self.start * stride) as i64 - pad as i64
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
/// `table` is a table of rows that has these, and that nobody writes meanwhile.
pub unsafe fn for_tiles(table: Pointer, rows: Range<usize>, tiles: &[Tile], mut body: impl FnMut(Row, &Tile)) {
    for row in rows {
        // SAFETY: the caller's.
        let row = unsafe { Row::read(table, row) };
        tiles.iter().for_each(|tile| body(row, tile));
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
