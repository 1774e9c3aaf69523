//! The rows of sliding windows: which kernel rows an output row sees, from a table that kernels read.
//!
//! A *row* is all spatial dimensions but the last, flattened; a kernel row likewise. What an output row sees is a box of
//! kernel rows, one range in each dimension, so that tables grow with the sum of the dimensions, not their product.

use super::Number;
use super::nest::{KernelNest, Part, part};
use crate::codegen::vector::{R, VectorAsm};
use crate::codegen::{NestBuilder, Word};
use crate::layers::ResolvedWindow;
use crate::machine::costs::{NEAR_VALUE, TASKS};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// What kernels of windows read from constants beside weights and biases.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Tables {
    pub rows: Rows,
    /// What sums are divided by, where that is not one number for all.
    pub divisors: Divisors,
}

/// What sums are divided by at each output position: most rows have the same numbers as others.
#[derive(Clone, Default, Hash, PartialEq)]
pub struct Divisors {
    /// For each row, which of the lines is its own.
    of_rows: Vec<usize>,
    /// Of as many numbers as a row has.
    lines: Vec<Vec<Number>>,
}

impl fmt::Debug for Divisors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lines for {} rows", self.lines.len(), self.of_rows.len())
    }
}

impl Divisors {
    /// From those of all positions, in rows of so many.
    pub fn new(divisors: &[f32], columns: usize) -> Divisors {
        let mut found = Divisors::default();
        let mut known = HashMap::new();
        for row in divisors.chunks(columns.max(1)) {
            let line: Vec<Number> = row.iter().map(|&divisor| divisor.into()).collect();
            let next = found.lines.len();
            let index = *known.entry(line.clone()).or_insert(next);
            if index == next {
                found.lines.push(line);
            }
            found.of_rows.push(index);
        }
        found
    }

    /// As a kernel reads them: for each row a word, how many bytes behind the table's begin its line is; then the lines.
    pub fn table(&self) -> Vec<u8> {
        let (start, line) = (self.of_rows.len() * 8, self.lines.first().map_or(0, Vec::len) * 4);
        let words = self.of_rows.iter().flat_map(|&index| ((start + index * line) as i64).to_ne_bytes());
        let numbers = self.lines.iter().flatten().flat_map(|divisor| divisor.get().to_ne_bytes());
        words.chain(numbers).collect()
    }
}

impl From<Rows> for Tables {
    fn from(rows: Rows) -> Tables {
        Tables { rows, divisors: Divisors::default() }
    }
}

/// The rows of an output.
#[derive(Clone, PartialEq, Hash)]
pub struct Rows {
    shape: RowShape,
    /// For each dimension, what its output positions see.
    dims: Vec<Vec<Seen>>,
    /// Input rows that are in memory, row `r` at `r` modulo this; only where there is one dimension.
    ring: Option<usize>,
}

/// What code knows of [`Rows`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowShape {
    pub count: usize,
    /// Whether every output row sees one kernel row, right under it.
    pub plain: bool,
    pub dims: Vec<RowDim>,
}

/// One dimension of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowDim {
    /// Output positions.
    pub count: usize,
    /// Input rows, and kernel rows, from one kernel position to the next.
    pub input_step: usize,
    pub kernel_step: usize,
}

/// What an output position of one dimension sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    /// Input row under the first kernel position; negative inside the padding.
    base: i64,
    /// First kernel position inside the input, and one past the last.
    first: u64,
    last: u64,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.shape.count)
    }
}

impl Rows {
    /// `input` is the spatial size of the input.
    pub fn new(window: &ResolvedWindow, input: &[usize]) -> Rows {
        let outer = window.out.len() - 1;
        let behind = |sizes: &[usize], d: usize| sizes[d + 1..outer].iter().product::<usize>();
        let seen = |d: usize, at: usize| {
            let inside = window.inside(d, at, input[d]);
            // Where no tap is inside, nobody uses the product.
            let base = window.origin(d, at).wrapping_mul(behind(input, d) as i64);
            Seen { base, first: inside.start as u64, last: inside.end as u64 }
        };
        let dims: Vec<Vec<Seen>> = (0..outer).map(|d| (0..window.out[d]).map(|at| seen(d, at)).collect()).collect();
        let shape = |d: usize| RowDim {
            count: window.out[d],
            // A kernel of one has no next tap.
            input_step: if window.kernel[d] == 1 { 0 } else { window.dilation[d] * behind(input, d) },
            kernel_step: behind(&window.kernel, d),
        };
        let one_under = |seen: &Seen| (seen.first, seen.last) == (0, 1);
        let shape = RowShape {
            count: window.out[..outer].iter().product(),
            plain: dims.iter().flatten().all(one_under),
            dims: (0..outer).map(shape).collect(),
        };
        Rows { shape, dims, ring: None }
    }

    pub fn count(&self) -> usize {
        self.shape.count
    }

    pub fn shape(&self) -> &RowShape {
        &self.shape
    }

    /// Whether they are those of an image: of one dimension.
    pub fn of_image(&self) -> bool {
        self.dims.len() == 1
    }

    /// The dimension, where there is just one.
    fn only(&self) -> Option<(&RowDim, &[Seen])> {
        match (&self.shape.dims[..], &self.dims[..]) {
            ([dim], [seen]) => Some((dim, seen)),
            _ => None,
        }
    }

    /// Input row under the kernel's first row, and the kernel rows inside the input; of rows of one dimension only.
    pub fn row(&self, row: usize) -> Option<(i64, Range<usize>)> {
        let (_, seen) = self.only()?;
        Some((seen[row].base, seen[row].first as usize..seen[row].last as usize))
    }

    /// The same rows of an input of which `ring` rows are in memory, row `r` at `r` modulo `ring`.
    ///
    /// # Panics
    /// Where rows have other than one dimension: only images are kept in rings.
    pub fn in_ring(&self, ring: usize) -> Rows {
        assert!(self.only().is_some(), "rows of an image have one dimension");
        Rows { ring: Some(ring), ..self.clone() }
    }

    /// The input rows that an output row of an image needs, and those between them; `None` if it sees none.
    pub fn needed(&self, row: usize) -> Option<Range<usize>> {
        let (dim, seen) = self.only().expect("rows of an image have one dimension");
        let Seen { base, first, last } = seen[row];
        let place = |tap: u64| (base + (tap as usize * dim.input_step) as i64) as usize;
        (first < last).then(|| place(first)..place(last - 1) + 1)
    }

    /// The positions of the input, whose rows have so many, that the output rows of an image need.
    pub fn needed_by(&self, rows: Range<usize>, width: usize) -> Range<usize> {
        let needed = rows.filter_map(|row| self.needed(row));
        let both = needed.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
        both.start * width..both.end * width
    }

    /// As words for a kernel, with the bytes of an input row and of the weights of a kernel row.
    ///
    /// Of one dimension or none, for each row the byte offset of its first input row and the byte offset of its list from
    /// the start of the table; then the lists: the number of *runs*, then for each the byte offsets of its first tap
    /// (input, weights) and the number of its taps, which lie at equal distances.
    ///
    /// Of several dimensions, for each dimension after the other and each of its positions three words: byte
    /// offsets of input and weights of the first tap, and the number of taps.
    pub fn table(&self, input_row: i64, weight_row: i64) -> Vec<i64> {
        match self.dims.len() {
            0 => vec![0, 16, 1, 0, 0, 1],
            1 => self.table_of_runs(input_row, weight_row),
            _ => self.table_of_dims(input_row, weight_row),
        }
    }

    fn table_of_runs(&self, input_row: i64, weight_row: i64) -> Vec<i64> {
        let (mut index, mut lists, mut head) = (HashMap::new(), Vec::new(), Vec::new());
        let start = self.count() * 2 * 8;
        for row in 0..self.count() {
            let (base, runs) = self.runs(row);
            let list = *index.entry(runs).or_insert_with_key(|runs| {
                let place = (start + lists.len() * 8) as i64;
                lists.push(runs.len() as i64);
                let words = |run: &Run| [run.input * input_row, run.tap as i64 * weight_row, run.taps as i64];
                lists.extend(runs.iter().flat_map(words));
                place
            });
            head.extend([base.wrapping_mul(input_row), list]);
        }
        head.extend(lists);
        head
    }

    /// Where the runs of a row are counted from, and the runs: one, or in a ring one for each tap, because the taps of a
    /// row may go past its end.
    fn runs(&self, row: usize) -> (i64, Vec<Run>) {
        let (dim, seen) = (self.shape.dims[0], self.dims[0][row]);
        let taps = (seen.last - seen.first) as usize;
        let place = |tap: u64| (tap as usize * dim.input_step) as i64;
        match self.ring {
            None if taps == 0 => (seen.base, Vec::new()),
            None => (seen.base, vec![Run { input: place(seen.first), tap: seen.first as usize, taps }]),
            Some(ring) => {
                let in_ring = |tap: u64| (seen.base + place(tap)).rem_euclid(ring as i64);
                let start = if taps > 0 { in_ring(seen.first) - place(seen.first) } else { 0 };
                let whole = (seen.first..seen.last).all(|tap| in_ring(tap) == start + place(tap));
                let base = if whole { start } else { 0 };
                let run = |tap| Run { input: in_ring(tap) - base, tap: tap as usize, taps: 1 };
                (base, (seen.first..seen.last).map(run).collect())
            }
        }
    }

    fn table_of_dims(&self, input_row: i64, weight_row: i64) -> Vec<i64> {
        let outer = self.shape.dims.iter().zip(&self.dims);
        let words = outer.flat_map(|(dim, seen)| {
            seen.iter().flat_map(move |&Seen { base, first, last }| {
                let (taps, first) = ((last - first) as i64, first as i64);
                // Where there are no taps, nobody uses the products.
                let input = base.wrapping_add(first.wrapping_mul(dim.input_step as i64));
                let weights = first.wrapping_mul(dim.kernel_step as i64);
                [input.wrapping_mul(input_row), weights.wrapping_mul(weight_row), taps]
            })
        });
        words.collect()
    }
}

/// Words of an output position in a table of several dimensions.
const ENTRY_WORDS: i64 = 3;

/// Taps at equal distances.
#[derive(PartialEq, Eq, Hash)]
struct Run {
    /// Input row of the first, relative to the row's.
    input: i64,
    /// Kernel row of the first.
    tap: usize,
    taps: usize,
}

/// What a tile is told of a row.
pub struct Located {
    pub input: Word,
    /// What the tile's [`RowShape::emit_taps`] reads.
    pub taps: Word,
}

/// Bytes of an input row and of the weights of a kernel row.
#[derive(Clone, Copy)]
pub struct RowBytes {
    pub input: i64,
    pub weights: i64,
}

impl RowShape {
    /// Rows of a task that has one block of channels, where the input has so many bytes: all of them while it stays near; else
    /// a share, and tasks of the same rows follow each other. Convolutions of large maps are shared by rows too, so that a
    /// thread reads what it has written.
    pub fn of_task(&self, input: usize) -> usize {
        if input <= NEAR_VALUE { self.count } else { self.count.div_ceil(TASKS) }
    }

    /// The block of channels and the rows of a task, of so many blocks and so many rows each.
    pub fn task(&self, task: usize, blocks: usize, rows: usize) -> (usize, Range<usize>) {
        let first = task / blocks * rows;
        (task % blocks, first..self.count.min(first + rows))
    }

    /// The same in generated code; no rows where a task has all of them.
    pub fn emit_task(&self, nest: &mut NestBuilder, task: Word, blocks: usize, rows: usize) -> (Word, Part) {
        if rows >= self.count {
            return (task, None);
        }
        let index = nest.div_imm(task, blocks as i64);
        (nest.rem_imm(task, blocks as i64), Some(part(nest, index, rows, self.count)))
    }

    /// Bytes of scratch memory that [`RowShape::locate`] needs.
    pub fn scratch(&self) -> usize {
        if self.dims.len() < 2 { 0 } else { (self.dims.len() * 3 - 1) * 8 }
    }

    /// Finds a row in the table; `input` is where the input begins, and what it needs of scratch memory begins
    /// `scratch.1` bytes into operand `scratch.0`.
    pub fn locate(
        &self,
        nest: &mut NestBuilder,
        table: Word,
        row: Word,
        input: Word,
        bytes: RowBytes,
        scratch: (usize, i64),
    ) -> Located {
        if self.dims.len() < 2 {
            let entry = nest.offset_by(table, row, 16);
            let (base, list) = (nest.load(entry, 0), nest.load(entry, 8));
            return Located { input: nest.add(input, base), taps: nest.add(table, list) };
        }
        let taps = nest.constant_pointer(scratch.0);
        let taps = nest.add_imm(taps, scratch.1);
        let input = self.locate_box(nest, table, row, input, bytes, taps);
        Located { input, taps }
    }

    /// Of several dimensions: combines the entries of all, and writes to `taps` what the tile reads: byte offset of the
    /// first tap's weights; the number of taps of each dimension; then for each but the last, how far input and weights
    /// have to go from the end of the next dimension's taps to its own next tap.
    fn locate_box(
        &self,
        nest: &mut NestBuilder,
        table: Word,
        row: Word,
        input: Word,
        bytes: RowBytes,
        taps: Word,
    ) -> Word {
        let (mut input, mut weights) = (input, nest.iconst(0));
        let (mut rest, mut table) = (row, table);
        let mut behind: usize = self.count;
        let mut counts = Vec::new();
        for (d, dim) in self.dims.iter().enumerate() {
            behind /= dim.count;
            let at = nest.div_imm(rest, behind as i64);
            rest = nest.rem_imm(rest, behind as i64);
            let entry = nest.offset_by(table, at, ENTRY_WORDS * 8);
            let [input_offset, weight_offset, count] = [0, 8, 16].map(|word| nest.load(entry, word));
            (input, weights) = (nest.add(input, input_offset), nest.add(weights, weight_offset));
            nest.store(count, taps, self.count_at(d));
            counts.push(count);
            table = nest.add_imm(table, dim.count as i64 * ENTRY_WORDS * 8);
        }
        nest.store(weights, taps, 0);
        for d in 0..self.dims.len() - 1 {
            let steps = [self.steps(d, bytes), self.steps(d + 1, bytes)];
            for (index, [own, next]) in [(0, steps.map(|s| s.input)), (1, steps.map(|s| s.weights))] {
                let gone = nest.mul_imm(counts[d + 1], -next);
                let left = nest.add_imm(gone, own);
                nest.store(left, taps, self.left_at(d, index));
            }
        }
        input
    }

    /// Where a dimension's number of taps is among what a tile reads.
    fn count_at(&self, d: usize) -> i32 {
        8 + 8 * d as i32
    }

    /// Where it reads how far the input (0) or the weights (1) have to go.
    fn left_at(&self, d: usize, pointer: usize) -> i32 {
        (8 + (self.dims.len() + 2 * d + pointer) * 8) as i32
    }

    /// Bytes from one tap of a dimension to the next.
    pub(crate) fn steps(&self, d: usize, bytes: RowBytes) -> RowBytes {
        let RowDim { input_step, kernel_step, .. } = self.dims[d];
        RowBytes { input: input_step as i64 * bytes.input, weights: kernel_step as i64 * bytes.weights }
    }

    /// Emits `body(asm, input, weights)` for the taps of the row that `taps` was [located](RowShape::locate) for, of the
    /// lines at `line`. The body may change its registers, if it changes them back.
    pub fn emit_taps(
        &self,
        asm: &mut dyn VectorAsm,
        taps: R,
        line: [R; 2],
        bytes: RowBytes,
        body: &mut dyn FnMut(&mut dyn VectorAsm, R, R),
    ) {
        let walk = Walk { shape: self, bytes, pointers: [asm.int(), asm.int()] };
        if self.dims.len() < 2 {
            walk.runs(asm, taps, line, body);
        } else {
            let [input, weights] = walk.pointers;
            asm.copy_int(input, line[0]);
            asm.load_int(weights, taps.at(0));
            asm.add_int(weights, line[1]);
            walk.taps_of(asm, 0, taps, body);
        }
        walk.pointers.into_iter().for_each(|pointer| asm.free_int(pointer));
    }
}

/// Emits the loops over the taps of a row.
struct Walk<'a> {
    shape: &'a RowShape,
    bytes: RowBytes,
    /// Of the input and the weights of the current tap.
    pointers: [R; 2],
}

type Body<'b> = &'b mut dyn FnMut(&mut dyn VectorAsm, R, R);

impl Walk<'_> {
    /// The runs of a list.
    fn runs(&self, asm: &mut dyn VectorAsm, list: R, line: [R; 2], body: Body) {
        let [run, runs, taps] = [0; 3].map(|_| asm.int());
        asm.copy_int(run, list);
        asm.load_int(runs, run.at(0));
        let any = asm.if_nonzero(runs);
        let looped = asm.loop_begin(runs);
        for (index, (&pointer, line)) in self.pointers.iter().zip(line).enumerate() {
            asm.load_int(pointer, run.at(8 + 8 * index as i64));
            asm.add_int(pointer, line);
        }
        asm.load_int(taps, run.at(24));
        asm.add_imm(run, 24);
        let of_run = asm.loop_begin(taps);
        let [input, weights] = self.pointers;
        body(asm, input, weights);
        if !self.shape.dims.is_empty() {
            self.advance(asm, self.shape.steps(0, self.bytes));
        }
        asm.loop_end(of_run);
        asm.loop_end(looped);
        asm.end_if(any);
        [run, runs, taps].into_iter().for_each(|r| asm.free_int(r));
    }

    /// The taps of a dimension and those behind it.
    fn taps_of(&self, asm: &mut dyn VectorAsm, d: usize, taps: R, body: Body) {
        let count = asm.int();
        asm.load_int(count, taps.at(self.shape.count_at(d)));
        let any = asm.if_nonzero(count);
        let looped = asm.loop_begin(count);
        if d + 1 < self.shape.dims.len() {
            self.taps_of(asm, d + 1, taps, body);
            let left = asm.int();
            for (index, &pointer) in self.pointers.iter().enumerate() {
                asm.load_int(left, taps.at(self.shape.left_at(d, index)));
                asm.add_int(pointer, left);
            }
            asm.free_int(left);
        } else {
            let [input, weights] = self.pointers;
            body(asm, input, weights);
            self.advance(asm, self.shape.steps(d, self.bytes));
        }
        asm.loop_end(looped);
        asm.end_if(any);
        asm.free_int(count);
    }

    fn advance(&self, asm: &mut dyn VectorAsm, steps: RowBytes) {
        let [input, weights] = self.pointers;
        asm.add_imm(input, steps.input);
        if steps.weights != 0 {
            asm.add_imm(weights, steps.weights);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows of kernel over an image of four, with padding around it.
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
    fn rows_at_the_border_see_fewer_taps() {
        let rows = Rows::new(&window(), &[4, 14]);
        assert_eq!(rows.row(0), Some((-1, 1..3)));
        assert_eq!(rows.row(1), Some((0, 0..3)));
        assert_eq!(rows.row(3), Some((2, 0..2)));
        // Places of the input in tens, of the weights in hundreds.
        let table = rows.table(10, 100);
        assert_eq!(table[..8], [-10, 64, 0, 96, 10, 96, 20, 128]);
        assert_eq!(table[8..], [1, 10, 100, 2, 1, 0, 0, 3, 1, 0, 0, 2], "rows inside share a list");
    }

    #[test]
    fn rows_of_a_ring_lie_at_the_remainder() {
        // Of 4 rows of the image, 3 are in memory: the last two output rows see row 3 at place 0.
        let rows = Rows::new(&window(), &[4, 14]).in_ring(3);
        let runs = |row: usize| {
            let (base, runs) = rows.runs(row);
            (base, runs.iter().map(|run| (run.tap, run.input)).collect::<Vec<_>>())
        };
        assert_eq!(runs(0), (-1, vec![(1, 1), (2, 2)]), "as without a ring");
        assert_eq!(runs(1), (0, vec![(0, 0), (1, 1), (2, 2)]));
        assert_eq!(runs(2), (0, vec![(0, 1), (1, 2), (2, 0)]));
        assert_eq!(runs(3), (0, vec![(0, 2), (1, 0)]));
        let needed: Vec<_> = (0..4).map(|row| Rows::new(&window(), &[4, 14]).needed(row).unwrap()).collect();
        assert_eq!(needed, [0..2, 0..3, 1..4, 2..4]);
    }

    #[test]
    fn tables_grow_with_the_sum_of_the_dimensions() {
        let sizes = vec![500, 400, 1];
        let window = ResolvedWindow {
            kernel: vec![127, 127, 1],
            stride: vec![1; 3],
            dilation: vec![1; 3],
            pads: vec![(63, 63), (63, 63), (0, 0)],
            skip: vec![0; 3],
            out: sizes.clone(),
        };
        let rows = Rows::new(&window, &sizes);
        assert_eq!((rows.count(), rows.shape().plain), (200_000, false));
        let table = rows.table(1, 1);
        assert_eq!(table.len(), 900 * ENTRY_WORDS as usize);
        // The first position of the first dimension sees kernel rows 63 to 126, each 400 input rows from the other.
        assert_eq!(table[..3], [0, 63 * 127, 64]);
    }

    #[test]
    fn rows_of_one_tap_are_plain() {
        let one = |pads| ResolvedWindow { kernel: vec![1, 3], pads: vec![pads, (1, 1)], ..window() };
        assert!(Rows::new(&one((0, 0)), &[4, 14]).shape().plain);
        assert!(!Rows::new(&one((1, 0)), &[3, 14]).shape().plain, "the first row sees padding");
    }
}
