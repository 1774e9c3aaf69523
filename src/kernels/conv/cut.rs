//! How a convolution is cut: the register tile, what of the weights stays near, and what tasks share.

use super::{Split, TASKS, Target, Tile};
use crate::codegen::Isa;
use crate::kernels::taps::split;
use crate::layers::ResolvedWindow;
use crate::machine::STANDARD;
use crate::machine::costs::{FAR_PANEL_BYTES, MAX_UNROLLED, PANEL_BYTES, WIDE_VECTORS};

/// Input blocks of a chunk: `panel` bytes of weights for each of `blocks`, which `tiles` tiles read. The same on every
/// machine: chains of sums end with a chunk.
pub(super) fn chunk_blocks(blocks: usize, panel: usize, taps: usize, tiles: usize) -> usize {
    let most = (PANEL_BYTES / panel).max(1);
    let whole = if taps == 1 { PANEL_BYTES + PANEL_BYTES / 2 } else { FAR_PANEL_BYTES };
    if tiles < 3 || blocks * panel <= whole {
        return blocks;
    }
    blocks.div_ceil(blocks.div_ceil(most))
}

/// What the tiles of a convolution pass over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    pub rows: usize,
    pub columns: usize,
    /// Each weight is read once, so that reading them is all that takes time.
    pub weights_once: bool,
}

impl Map {
    /// Output positions that read each weight once.
    pub(super) fn once(columns: usize) -> Map {
        Map { rows: 1, columns, weights_once: true }
    }
}

/// Cuts the positions of a window over an input of the given size into other rows, if they are free to be.
pub(super) type CutRows = fn(ResolvedWindow, &[usize]) -> (ResolvedWindow, Vec<usize>);

/// A 1x1 convolution does not care where rows end: its positions are cut into rows that suit tiles and caches.
pub(super) fn flatten_pointwise(window: ResolvedWindow, spatial: &[usize]) -> (ResolvedWindow, Vec<usize>) {
    if !keeps_positions(&window) {
        return (window, spatial.to_vec());
    }
    let positions: usize = spatial.iter().product();
    let all = (8..=MAX_FLAT.min(positions)).rev().filter(|c| positions.is_multiple_of(*c));
    let Some(largest) = all.clone().next() else { return pointwise_rows(positions, positions) };
    // An odd number of rows has no equal shares.
    let even = all.filter(|c| c * 4 >= largest * 3).find(|c| positions.is_multiple_of(2 * c));
    pointwise_rows(positions, even.unwrap_or(largest))
}

/// As [`flatten_pointwise`], but joins whole rows of the image only.
pub(super) fn join_pointwise(window: ResolvedWindow, spatial: &[usize]) -> (ResolvedWindow, Vec<usize>) {
    let &[rows, columns] = spatial else { return (window, spatial.to_vec()) };
    if !keeps_positions(&window) {
        return (window, spatial.to_vec());
    }
    let joined = (1..=rows).rev().find(|n| rows.is_multiple_of(*n) && n * columns <= MAX_FLAT).unwrap_or(1);
    pointwise_rows(rows * columns, joined * columns)
}

/// Columns of a row that was cut out of positions, at most.
const MAX_FLAT: usize = 128;

/// Whether each output position sees the same input position alone.
fn keeps_positions(window: &ResolvedWindow) -> bool {
    window.is_pointwise() && window.stride.iter().all(|&stride| stride == 1)
}

/// The window of one tap over rows of `columns` columns.
fn pointwise_rows(positions: usize, columns: usize) -> (ResolvedWindow, Vec<usize>) {
    let dims = vec![positions / columns, columns];
    let ones = vec![1, 1];
    let pads = vec![(0, 0); 2];
    let (kernel, stride, skip) = (ones.clone(), ones.clone(), vec![0; 2]);
    (ResolvedWindow { kernel, stride, dilation: ones, pads, skip, out: dims.clone() }, dims)
}

impl Split {
    /// Sizes of input and weights are in elements.
    pub(super) fn choose(rows: usize, vector_groups: usize, input: usize, weights: usize) -> Split {
        if rows > 1 && (input >= weights || vector_groups < TASKS.min(rows)) {
            Split::Rows
        } else {
            Split::VectorGroups
        }
    }
}

impl Tile {
    /// One tile for each number of vectors, those with the least estimated time for a whole row of all output channels
    /// first, on the [`STANDARD`] machine: how many channels are unrolled orders the sums. Of equal ones for a single column,
    /// whose weights are the most of what there is, the one with the least padding.
    ///
    /// In 512 bits an element can be an operand of each product, which leaves a register more and loads it for each vector:
    /// best where weights are read once, and for one vector. Where two such tiles hold the whole `map`, weights are read only
    /// twice and sums need not wait; that is faster than two vectors and more, which read a larger map fewer times.
    pub(super) fn all(target: &Target, map: Map, out_blocks: usize, block: usize, kernel: usize) -> Vec<Tile> {
        let columns = map.columns;
        let wide = target.isa == Isa::Avx512;
        let embed = wide && map.weights_once;
        let two_hold_all = wide && !embed && map.rows == 1 && columns <= 2 * (target.registers - 1);
        let unroll = |pixels: usize, vectors: usize| {
            (1..=block)
                .rev()
                .find(|u| block.is_multiple_of(*u) && u * kernel * pixels * vectors <= MAX_UNROLLED)
                .unwrap_or(1)
        };
        let registers = target.plain_registers;
        let most = if wide && !embed { WIDE_VECTORS } else { registers / 2 - 1 };
        let max_vectors = out_blocks.min(most);
        let mut tiles: Vec<Tile> = (1..=max_vectors)
            .filter_map(|vectors| {
                let embedded = embed || vectors == 1;
                let spare = vectors + usize::from(!embedded);
                let registers = if embedded { target.registers } else { registers };
                let pixels = ((registers - spare) / vectors).min(columns);
                (pixels > 0).then(|| Tile { pixels, vectors, unroll: unroll(pixels, vectors), embedded })
            })
            .collect();
        tiles.sort_by_key(|tile| {
            let padded = if columns == 1 { out_blocks.next_multiple_of(tile.vectors) } else { 0 };
            let size = tile.pixels * tile.vectors;
            (two_hold_all && tile.vectors > 1, tile.row_cycles(columns, out_blocks), padded, usize::MAX - size)
        });
        assert!(!tiles.is_empty(), "a tile of one vector fits every target");
        tiles
    }

    /// Four times the cycles that one input channel and tap take for a whole row of all output channels.
    pub(super) fn row_cycles(&self, columns: usize, out_blocks: usize) -> usize {
        let row = |vectors| split(columns, self.pixels).iter().map(|&p| self.cycles(p, vectors)).sum::<usize>();
        let rest = match out_blocks % self.vectors {
            0 => 0,
            vectors => row(vectors),
        };
        row(self.vectors) * (out_blocks / self.vectors) + rest
    }

    /// Four times the cycles that one input channel and tap take.
    fn cycles(&self, pixels: usize, vectors: usize) -> usize {
        let (starts, loads) = (STANDARD.fma(Isa::Avx2), STANDARD.loads(Isa::Avx2));
        let fmas = 4 / starts * pixels * vectors;
        let broadcasts = if self.embedded { pixels * vectors } else { pixels };
        let loads = 4 / loads * (broadcasts + vectors);
        fmas.max(loads).max(4 * STANDARD.latency())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use target_lexicon::Architecture;

    #[test]
    fn positions_are_cut_into_rows_that_two_threads_can_share() {
        let rows = |size: usize| {
            let ones = || vec![1; 2];
            let window = ResolvedWindow {
                kernel: ones(),
                stride: ones(),
                dilation: ones(),
                pads: vec![(0, 0); 2],
                skip: vec![0; 2],
                out: vec![size; 2],
            };
            flatten_pointwise(window, &[size; 2]).1
        };
        assert_eq!([28, 56, 14, 30].map(rows), [[8, 98], [28, 112], [2, 98], [10, 90]]);
        assert_eq!([7, 17, 39].map(rows), [[1, 49], [17, 17], [13, 117]], "where there are none");
    }

    #[test]
    fn dense_layers_pad_no_more_than_they_must() {
        let target = Target::of(Isa::Avx2, Architecture::X86_64);
        let vectors = |out_blocks: usize| Tile::all(&target, Map::once(1), out_blocks, 8, 1)[0].vectors;
        // LeNet-5's: three tiles of five are as fast as two of seven and one of one.
        assert_eq!((vectors(15), vectors(11)), (5, 6));
    }
}
