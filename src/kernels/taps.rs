//! The columns of sliding windows: which kernel columns each output pixel sees. They are unrolled into code, so that no
//! padding is ever stored or tested for at run time. The rows are in [`super::rows`].

use crate::layers::ResolvedWindow;
use std::collections::BTreeMap;

/// Wider kernels are not unrolled: see [`limit_columns`].
const MAX_COLUMNS: usize = 64;

/// Pixels of a tile at most, of any kernel.
const MAX_PIXELS: usize = 32;

/// Kernels of many columns, or of columns too far from each other for the offset of a memory operand, are given a further
/// dimension of size 1, so that their taps stand in the table of rows and not in the code. Input columns lie `pixel` bytes
/// from each other.
pub fn limit_columns(window: ResolvedWindow, input: &[usize], pixel: usize) -> (ResolvedWindow, Vec<usize>) {
    let last = window.kernel.len() - 1;
    let reach = (window.kernel[last] - 1).saturating_mul(window.dilation[last]);
    let reach = reach.saturating_add(window.stride[last].saturating_mul(MAX_PIXELS)).saturating_mul(pixel);
    match window.kernel[last] > MAX_COLUMNS || i32::try_from(reach).is_err() {
        true => (window.with_column(), [input, &[1]].concat()),
        false => (window, input.to_vec()),
    }
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

    /// The input columns that a tile sees, counted from the first pixel's under kernel column 0, each with the pixels and
    /// kernel columns that meet there.
    pub fn meetings(&self, stride: usize, dilation: usize) -> BTreeMap<usize, Vec<(usize, usize)>> {
        let mut meetings: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (p, &(first, last)) in self.columns.iter().enumerate() {
            (first..last).for_each(|k| meetings.entry(p * stride + k * dilation).or_default().push((p, k)));
        }
        meetings
    }
}

/// Cuts the output columns into tiles of at most `max_pixels`, as equal as can be, and joins equal neighbours.
pub fn segments(window: &ResolvedWindow, input_columns: usize, max_pixels: usize) -> Vec<Segment> {
    let dim = window.out.len() - 1;
    let columns: Vec<(usize, usize)> = (0..window.out[dim])
        .map(|at| window.inside(dim, at, input_columns))
        .map(|taps| (taps.start, taps.end))
        .collect();
    segments_of(&columns, max_pixels)
}

/// The same of columns that each see these kernel columns.
pub fn segments_of(columns: &[(usize, usize)], max_pixels: usize) -> Vec<Segment> {
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
            skip: vec![0; 2],
            out: vec![4, 14],
        }
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
        assert_eq!(window.inside(1, 0, 14), 1..3);
        assert_eq!(window.inside(1, 8, 14), 0..3);
        assert_eq!(window.inside(1, 9, 14), 0..2);
    }

    #[test]
    fn split_is_even() {
        assert_eq!(split(49, 6), [6, 6, 6, 6, 5, 5, 5, 5, 5]);
        assert_eq!(split(3, 6), [3]);
    }
}
