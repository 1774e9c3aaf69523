//! Weights in the order in which kernels read them, made at the speed of memory.
//!
//! A row of a layer's weights belongs to one output channel, and kernels want output channels side by side in the
//! lanes of vectors: packing is a transposition. It is done in small squares inside registers, over parts of rows
//! that fill whole cache lines; the factor with which a batch norm scales a row is applied on the way.

use crate::ir::weights::Values;
use std::ops::Range;
use std::thread;
use wide::f32x4;

/// Weights that are packed where they are to stay, once the memory is there.
///
/// They are `[outer][part][element]`, and parts can be packed at the same time.
pub struct Packing<'a> {
    outer: usize,
    parts: usize,
    elements: usize,
    fill: Box<Fill<'a>>,
}

/// Packs a part: its elements of each outer index, zeros before. Calls the last argument as [`Packing::write`] does.
type Fill<'a> = dyn Fn(usize, &mut [&mut [f32]], &Used) + Sync + 'a;

/// Called by the threads that pack, each time that one has packed another part of the weights.
pub type Used<'a> = dyn Fn() + Sync + 'a;

/// Packed elements from one call of [`Used`] to the next: 8 MiB.
const USED: usize = 2 << 20;

/// Packed elements below which another thread costs more than it brings.
const SPLIT: usize = 100_000;

impl<'a> Packing<'a> {
    /// `fill(part, slices)` gets one slice of `elements` zeros for each outer index.
    pub fn new(
        [outer, parts, elements]: [usize; 3],
        fill: impl Fn(usize, &mut [&mut [f32]], &Used) + Sync + 'a,
    ) -> Packing<'a> {
        Packing { outer, parts, elements, fill: Box::new(fill) }
    }

    /// Elements of all parts.
    pub fn size(&self) -> usize {
        self.outer * self.parts * self.elements
    }

    /// All packed, on this thread.
    pub fn to_vec(&self) -> Vec<f32> {
        let mut packed = vec![0.0; self.size()];
        self.write(&mut packed, 1, &|| ());
        packed
    }

    /// Packs into `to`: [`size`](Self::size) zeros. Now and then calls `used`: what was read so far is not read again.
    ///
    /// # Panics
    /// Where `to` has another length, or a thread cannot be started.
    pub fn write(&self, to: &mut [f32], threads: usize, used: &Used) {
        assert_eq!(to.len(), self.size());
        if to.is_empty() {
            return;
        }
        let mut parts: Vec<Vec<&mut [f32]>> = (0..self.parts).map(|_| Vec::with_capacity(self.outer)).collect();
        for outer in to.chunks_exact_mut(self.parts * self.elements) {
            parts.iter_mut().zip(outer.chunks_exact_mut(self.elements)).for_each(|(part, slice)| part.push(slice));
        }
        let threads = threads.min(self.size() / SPLIT).max(1);
        let share = self.parts.div_ceil(threads);
        let often = (USED / (self.outer * self.elements)).max(1);
        let fill_share = |index: usize, parts: &mut [Vec<&mut [f32]>]| {
            for (i, slices) in parts.iter_mut().enumerate() {
                (self.fill)(index * share + i, slices, used);
                if (i + 1).is_multiple_of(often) {
                    used();
                }
            }
        };
        thread::scope(|scope| {
            let mut shares = parts.chunks_mut(share).enumerate();
            let own = shares.next();
            shares.for_each(|(index, parts)| {
                scope.spawn(move || fill_share(index, parts));
            });
            own.into_iter().for_each(|(index, parts)| fill_share(index, parts));
        });
    }
}

/// Weights as a matrix: a row for each output channel, with the factor that its elements still need.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    factors: Option<&'a [f64]>,
    columns: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// Where `values` are not whole rows of `columns`.
    pub fn new(values: &'a Values, columns: usize) -> Rows<'a> {
        assert!(values.base().len().is_multiple_of(columns), "whole rows");
        Rows { values: values.base(), factors: values.factors(), columns }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len() / self.columns
    }

    /// `N` scaled elements of a row, from `column` on.
    #[inline(always)]
    fn load<const N: usize>(&self, row: usize, column: usize) -> [f32; N] {
        let start = row * self.columns + column;
        let mut values = *self.values[start..].first_chunk::<N>().expect("inside of the row");
        if let Some(factors) = self.factors {
            let factor = factors[row];
            // A plain loop, which is vectorised where this is inlined. Rounded once, as the interpreter does it.
            for value in &mut values {
                *value = (f64::from(*value) * factor) as f32;
            }
        }
        values
    }
}

/// Columns of all rows that are transposed before the next ones: four cache lines of each row, since single lines of many
/// rows, which lie far apart, come slowly from memory (loading ResNet-50 took 1.2 times as long).
const RUN: usize = 64;
/// Elements of a cache line: so many rows of each column are written together at least.
const LINE: usize = 16;
/// Rows and columns of the square that is transposed in registers.
const SIDE: usize = 4;

/// Some rows and columns of a matrix.
pub struct Part<'a> {
    pub matrix: &'a Rows<'a>,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Part<'_> {
    /// As [`Part::transpose`], some rows after the other, and calls `used` between them: a system may map much of a file
    /// around each place that is read, so that places far from each other take memory between two calls.
    pub fn transpose_in_slices(&self, places: &[usize], stride: usize, to: &mut [f32], used: &Used) {
        let rows = (USED / places.len().max(1)).next_multiple_of(LINE);
        for first in self.rows.clone().step_by(rows) {
            if first > self.rows.start {
                used();
            }
            let slice = first..self.rows.end.min(first + rows);
            let part = Part { matrix: self.matrix, rows: slice, columns: self.columns.clone() };
            part.transpose(places, stride, &mut to[first - self.rows.start..]);
        }
    }

    /// Puts element `column` of each row at `to[places[column] * stride + row]`, rows and columns counted from the first.
    pub fn transpose(&self, places: &[usize], stride: usize, to: &mut [f32]) {
        assert_eq!(places.len(), self.columns.len());
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2.
            return unsafe { self.transpose_avx2(places, stride, to) };
        }
        self.transpose_any(places, stride, to);
    }

    /// [`Self::transpose_any`], which the compiler may vectorise with AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn transpose_avx2(&self, places: &[usize], stride: usize, to: &mut [f32]) {
        self.transpose_any(places, stride, to);
    }

    #[inline(always)]
    fn transpose_any(&self, places: &[usize], stride: usize, to: &mut [f32]) {
        let Part { matrix, rows, columns } = self;
        for (run, places) in places.chunks(RUN).enumerate() {
            for first in rows.clone().step_by(SIDE) {
                let (lane, count) = (first - rows.start, SIDE.min(rows.end - first));
                for (square, places) in places.chunks(SIDE).enumerate() {
                    let column = columns.start + run * RUN + square * SIDE;
                    if count == SIDE && places.len() == SIDE {
                        let mut loaded = [f32x4::splat(0.0); SIDE];
                        for (i, row) in loaded.iter_mut().enumerate() {
                            *row = f32x4::new(matrix.load::<SIDE>(first + i, column));
                        }
                        for (transposed, place) in f32x4::transpose(loaded).iter().zip(places) {
                            let to = to[place * stride + lane..].first_chunk_mut::<SIDE>().expect("inside of the row");
                            *to = transposed.to_array();
                        }
                    } else {
                        for (i, j) in (0..count).flat_map(|i| (0..places.len()).map(move |j| (i, j))) {
                            [to[places[j] * stride + lane + i]] = matrix.load::<1>(first + i, column + j);
                        }
                    }
                }
            }
        }
    }
}

/// Puts element `column` of each row at `to[places[column] + row * step]`. Rows are numbers of 16 bits, as many as there
/// are places.
pub fn transpose_halves(rows: &[u16], places: &[usize], step: usize, to: &mut [u16]) {
    let columns = places.len();
    // What is written lies side by side in runs of columns, of which the lines stay near until all rows are there.
    for (run, places) in places.chunks(RUN).enumerate() {
        for (row, elements) in rows.chunks_exact(columns).enumerate() {
            let elements = &elements[run * RUN..];
            places.iter().zip(elements).for_each(|(place, &element)| to[place + row * step] = element);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn values(rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|i| i as f32 + 0.25).collect()
    }

    #[test]
    fn every_element_gets_to_its_place_scaled() {
        let all = |columns: usize| 0..columns;
        for (rows, columns, part, taken) in [
            (4, 4, 0..4, all(4)),
            (8, 37, 0..8, all(37)),
            (8, 37, 0..8, 3..31),
            (11, 18, 3..10, all(18)),
            (9, 3, 2..9, 1..3),
            (1, 1, 0..1, all(1)),
        ] {
            let base = values(rows, columns);
            let factors: Vec<f64> = (0..rows).map(|row| 1.0 / (row + 3) as f64).collect();
            for factors in [None, Some(factors)] {
                let weights = Values::new(Cow::Borrowed(&base), factors.clone());
                let source = Rows::new(&weights, columns);
                let places: Vec<usize> = (0..taken.len()).rev().collect();
                let stride = part.len() + 1;
                let whole = Part { matrix: &source, rows: part.clone(), columns: taken.clone() };
                for run in [Part::transpose, Part::transpose_any] {
                    let mut to = vec![-1.0; taken.len() * stride];
                    run(&whole, &places, stride, &mut to);
                    for (column, place) in taken.clone().zip(&places) {
                        for (lane, row) in part.clone().enumerate() {
                            assert_eq!(to[place * stride + lane], weights[row * columns + column]);
                        }
                        assert_eq!(to[place * stride + part.len()], -1.0, "behind the rows");
                    }
                }
            }
        }
    }

    #[test]
    fn any_number_of_threads_packs_the_same() {
        let sizes = [3, 5, SPLIT];
        let packing = Packing::new(sizes, |part, slices, _| {
            slices.iter_mut().enumerate().for_each(|(outer, slice)| slice.fill((outer * 10 + part) as f32));
        });
        let packed = |threads| {
            let mut to = vec![0.0; packing.size()];
            packing.write(&mut to, threads, &|| ());
            to
        };
        let expected = packed(1);
        assert_eq!((expected[0], expected[SPLIT], expected[5 * SPLIT]), (0.0, 1.0, 10.0));
        for threads in [2, 3, 4, 7] {
            assert!(packed(threads) == expected, "{threads} threads");
        }
    }
}
