//! The arithmetic of sliding windows, done once: which kernel rows an output row sees, and which kernel columns
//! each output pixel sees. Kernels read the former from a table and have the latter unrolled into their code, so
//! that no padding is ever stored or tested for at run time.

use super::Number;
use crate::layers::ResolvedWindow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// Wider kernels are not unrolled: see [`limit_columns`].
const MAX_COLUMNS: usize = 64;

/// The rows of the output: all spatial dimensions but the last, flattened.
#[derive(Clone, PartialEq, Hash)]
pub struct Rows {
    /// Input row under the kernel's first row (negative inside the padding), and index of the list of taps.
    rows: Vec<(i64, usize)>,
    /// Lists of (kernel row, input row relative to the kernel's first); only taps inside the input.
    lists: Vec<Vec<(usize, usize)>>,
}

/// What kernels of windows read from constants beside weights and biases.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Tables {
    pub rows: Rows,
    /// What sums are divided by, for each output position, where that is not one number for all.
    pub divisors: Vec<Number>,
}

impl From<Rows> for Tables {
    fn from(rows: Rows) -> Tables {
        Tables { rows, divisors: Vec::new() }
    }
}

/// What code knows of [`Rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowShape {
    pub count: usize,
    /// Whether every output row sees one kernel row, right under it.
    pub plain: bool,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {} lists of taps", self.rows.len(), self.lists.len())
    }
}

impl Rows {
    /// `input` is the spatial size of the input.
    pub fn new(window: &ResolvedWindow, input: &[usize]) -> Rows {
        let outer = window.out.len() - 1;
        let mut rows = vec![(0, Vec::new())];
        rows[0].1.push((0, 0));
        for (d, &size) in input[..outer].iter().enumerate() {
            rows = rows.iter().flat_map(|row| extend_rows(row, window, d, size)).collect();
        }
        Rows::with_lists(rows.into_iter())
    }

    /// From the input row under the kernel's first row and the taps of each row.
    fn with_lists(rows: impl Iterator<Item = (i64, Vec<(usize, usize)>)>) -> Rows {
        let mut index = HashMap::new();
        let mut lists = Vec::new();
        let rows = rows.map(|(base, taps)| {
            let next = lists.len();
            let list = *index.entry(taps.clone()).or_insert(next);
            if list == next {
                lists.push(taps);
            }
            (base, list)
        });
        Rows { rows: rows.collect(), lists }
    }

    #[allow(clippy::len_without_is_empty, reason = "there is at least one row")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn shape(&self) -> RowShape {
        RowShape { count: self.rows.len(), plain: self.lists == [[(0, 0)]] }
    }

    /// Input row under the kernel's first row, and the taps of an output row: (kernel row, input row relative to it).
    pub fn row(&self, row: usize) -> (i64, &[(usize, usize)]) {
        let (base, list) = self.rows[row];
        (base, &self.lists[list])
    }

    /// The same rows of an input of which `ring` rows are in memory, row `r` at `r` modulo `ring`. Rows whose taps do not
    /// go past the end keep their list.
    pub fn in_ring(&self, ring: usize) -> Rows {
        let rows = self.rows.iter().map(|&(base, list)| {
            let place = |row: usize| (base + row as i64).rem_euclid(ring as i64);
            let taps = &self.lists[list];
            let start = taps.first().map_or(0, |&(_, row)| place(row) - row as i64);
            match taps.iter().all(|&(_, row)| place(row) == start + row as i64) {
                true => (start, taps.clone()),
                false => (0, taps.iter().map(|&(tap, row)| (tap, place(row) as usize)).collect()),
            }
        });
        Rows::with_lists(rows)
    }

    /// The input rows that an output row needs, and those between them; `None` if it sees none.
    pub fn needed(&self, row: usize) -> Option<Range<usize>> {
        let (base, taps) = self.row(row);
        let place = |&(_, row): &(usize, usize)| (base + row as i64) as usize;
        Some(place(taps.first()?)..place(taps.last()?) + 1)
    }

    /// As words for a kernel: for each row the byte offset of its first input row and the byte offset of its list
    /// from the start of the table; then the lists: their length, then a pair of byte offsets (input, weights) for
    /// each tap.
    pub fn table(&self, input_row: i64, weight_row: i64) -> Vec<i64> {
        let mut starts = Vec::new();
        let mut tail = Vec::new();
        for list in &self.lists {
            starts.push(((self.rows.len() * 2 + tail.len()) * 8) as i64);
            tail.push(list.len() as i64);
            tail.extend(list.iter().flat_map(|&(tap, row)| [row as i64 * input_row, tap as i64 * weight_row]));
        }
        let head = self.rows.iter().flat_map(|&(base, list)| [base * input_row, starts[list]]);
        head.chain(tail).collect()
    }
}

/// The rows that one row becomes under one more dimension.
fn extend_rows(
    (base, taps): &(i64, Vec<(usize, usize)>),
    window: &ResolvedWindow,
    dim: usize,
    input: usize,
) -> Vec<(i64, Vec<(usize, usize)>)> {
    let (kernel, dilation) = (window.kernel[dim], window.dilation[dim]);
    (0..window.out[dim])
        .map(|at| {
            let origin = (at * window.stride[dim]) as i64 - window.pads[dim].0 as i64;
            let (first, last) = columns_inside(window, dim, at, input);
            let taps = taps
                .iter()
                .flat_map(|&(tap, row)| (first..last).map(move |k| (tap * kernel + k, row * input + k * dilation)));
            (base * input as i64 + origin, taps.collect())
        })
        .collect()
}

/// The kernel positions of one dimension that fall inside the input at output position `at`: first, and one past
/// the last.
fn columns_inside(window: &ResolvedWindow, dim: usize, at: usize, input: usize) -> (usize, usize) {
    let (kernel, dilation, pad) = (window.kernel[dim], window.dilation[dim], window.pads[dim].0);
    let origin = at * window.stride[dim];
    let first = pad.saturating_sub(origin).div_ceil(dilation).min(kernel);
    // k * dilation + origin < input + pad
    let last = (input + pad).saturating_sub(origin).div_ceil(dilation).min(kernel);
    (first, last.max(first))
}

/// Kernels of many columns are given a further dimension of size 1, so that their taps stand in the table of rows
/// and not in the code.
pub fn limit_columns(window: ResolvedWindow, input: &[usize]) -> (ResolvedWindow, Vec<usize>) {
    let mut input = input.to_vec();
    let ResolvedWindow { mut kernel, mut stride, mut dilation, mut pads, mut out } = window;
    if kernel.last().is_some_and(|&k| k > MAX_COLUMNS) {
        [&mut kernel, &mut stride, &mut dilation, &mut out, &mut input].into_iter().for_each(|v| v.push(1));
        pads.push((0, 0));
    }
    (ResolvedWindow { kernel, stride, dilation, pads, out }, input)
}

/// A run of equal column tiles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// First output column.
    pub start: usize,
    /// Output columns of one tile.
    pub pixels: usize,
    /// Tiles side by side.
    pub repeat: usize,
    /// For each pixel of the tile, the first kernel column inside the input and one past the last.
    pub columns: Vec<(usize, usize)>,
}

impl Segment {
    /// Whether kernel column `k` of pixel `p` is inside the input.
    pub fn sees(&self, p: usize, k: usize) -> bool {
        (self.columns[p].0..self.columns[p].1).contains(&k)
    }
}

/// Cuts the output columns into tiles of at most `max_pixels`, as equal as can be, and joins equal neighbours.
pub fn segments(window: &ResolvedWindow, input_columns: usize, max_pixels: usize) -> Vec<Segment> {
    let dim = window.out.len() - 1;
    let columns: Vec<(usize, usize)> =
        (0..window.out[dim]).map(|at| columns_inside(window, dim, at, input_columns)).collect();
    let mut segments: Vec<Segment> = Vec::new();
    let mut start = 0;
    for pixels in split(columns.len(), max_pixels) {
        let tile = &columns[start..start + pixels];
        match segments.last_mut() {
            Some(last) if last.columns == tile => last.repeat += 1,
            _ => segments.push(Segment { start, pixels, repeat: 1, columns: tile.to_vec() }),
        }
        start += pixels;
    }
    segments
}

/// `total` as the fewest parts of at most `max`, the larger ones first, sizes differing by at most one.
pub fn split(total: usize, max: usize) -> Vec<usize> {
    let parts = total.div_ceil(max);
    (0..parts).map(|i| total / parts + usize::from(i < total % parts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> ResolvedWindow {
        ResolvedWindow {
            kernel: vec![3, 3],
            stride: vec![1, 1],
            dilation: vec![1, 1],
            pads: vec![(1, 1), (1, 1)],
            out: vec![4, 14],
        }
    }

    #[test]
    fn rows_at_the_border_see_fewer_taps() {
        let rows = Rows::new(&window(), &[4, 14]);
        assert_eq!(rows.row(0), (-1, &[(1, 1), (2, 2)][..]));
        assert_eq!(rows.row(1), (0, &[(0, 0), (1, 1), (2, 2)][..]));
        assert_eq!(rows.row(3), (2, &[(0, 0), (1, 1)][..]));
        assert_eq!(rows.lists.len(), 3, "rows inside share a list");
    }

    #[test]
    fn rows_of_a_ring_lie_at_the_remainder() {
        // Of 4 rows of the image, 3 are in memory: the last two output rows see row 3 at place 0.
        let rows = Rows::new(&window(), &[4, 14]).in_ring(3);
        assert_eq!(rows.row(0), (-1, &[(1, 1), (2, 2)][..]), "as without a ring");
        assert_eq!(rows.row(1), (0, &[(0, 0), (1, 1), (2, 2)][..]));
        assert_eq!(rows.row(2), (0, &[(0, 1), (1, 2), (2, 0)][..]));
        assert_eq!(rows.row(3), (0, &[(0, 2), (1, 0)][..]));
        let needed: Vec<_> = (0..4).map(|row| Rows::new(&window(), &[4, 14]).needed(row).unwrap()).collect();
        assert_eq!(needed, [0..2, 0..3, 1..4, 2..4]);
    }

    #[test]
    fn segments_cover_all_columns_and_join_the_interior() {
        let segments = segments(&window(), 14, 3);
        assert_eq!(segments.iter().map(|s| s.pixels * s.repeat).sum::<usize>(), 14);
        assert_eq!(segments[0].columns, [(1, 3), (0, 3), (0, 3)]);
        assert_eq!(segments.last().unwrap().columns, [(0, 3), (0, 2)]);
        assert!(segments.iter().any(|s| s.repeat > 1));
    }

    #[test]
    fn dilated_columns_outside_the_input_are_left_out() {
        let mut window = window();
        window.dilation[1] = 5;
        window.pads[1] = (5, 5);
        assert_eq!(columns_inside(&window, 1, 0, 14), (1, 3));
        assert_eq!(columns_inside(&window, 1, 8, 14), (0, 3));
        assert_eq!(columns_inside(&window, 1, 9, 14), (0, 2));
    }

    #[test]
    fn split_is_even() {
        assert_eq!(split(49, 6), [6, 6, 6, 6, 5, 5, 5, 5, 5]);
        assert_eq!(split(3, 6), [3]);
    }
}
