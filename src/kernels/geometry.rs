//! Windows over an input that has its padding around it already, so that they look alike everywhere: what kernels on whole
//! numbers slide. There are three dimensions, the first of which may be of size 1.

use super::Why;
use super::bands::{Descent, Planes, Unit};
use super::facts::Fact;
use super::nest::{self, Part, Parts};
use crate::codegen::{FuncId, NestBuilder, Word};
use crate::layers::ResolvedWindow;
use std::ops::Range;

/// Numbers around a value: its sizes, how many are in front of it in each dimension, and the sizes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Padded {
    pub inner: [usize; 3],
    pub front: [usize; 3],
    pub sizes: [usize; 3],
    pub number: u8,
}

impl Padded {
    /// Positions in memory of the value's first one.
    pub fn first(&self) -> usize {
        (0..3).map(|d| self.front[d] * behind(&self.sizes, d)).sum()
    }

    pub fn positions(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Positions in memory of some rows of the only plane, with what is beside them, and what is in front of the first and
    /// behind the last if these are among them.
    pub fn around(&self, rows: Range<usize>) -> Range<usize> {
        let [front, inner, all] = [self.front, self.inner, self.sizes].map(|sizes| sizes[1]);
        let begin = if rows.start == 0 { 0 } else { front + rows.start };
        let end = if rows.end == inner { all } else { front + rows.end };
        begin * self.sizes[2]..end * self.sizes[2]
    }

    /// Positions in memory of the value's own, in their order.
    pub fn places(&self) -> Vec<usize> {
        let [planes, rows, columns] = self.inner;
        let place = |plane, row, column| {
            let inner = [plane, row, column];
            (0..3).map(|d| (self.front[d] + inner[d]) * behind(&self.sizes, d)).sum()
        };
        let rows = (0..planes).flat_map(|plane| (0..rows).map(move |row| (plane, row)));
        rows.flat_map(|(plane, row)| (0..columns).map(move |column| place(plane, row, column))).collect()
    }
}

/// Where the position of a loop is in an operand.
pub struct Cursor {
    at: Word,
    /// Bytes from one plane, row and column to the next.
    steps: [usize; 3],
}

impl Cursor {
    /// Through a map of these sizes, whose positions have so many bytes each.
    pub fn new(at: Word, sizes: &[usize; 3], bytes: usize) -> Cursor {
        Cursor { at, steps: std::array::from_fn(|d| behind(sizes, d) * bytes) }
    }

    fn moved(&self, nest: &mut NestBuilder, d: usize, index: Word) -> Cursor {
        Cursor { at: nest.offset_by(self.at, index, self.steps[d] as i64), steps: self.steps }
    }
}

/// A window, with its padding as part of the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub input: [usize; 3],
    pub kernel: [usize; 3],
    pub out: [usize; 3],
    pub stride: [usize; 3],
    pub dilation: [usize; 3],
}

/// Sizes of three dimensions.
pub fn three(sizes: &[usize]) -> [usize; 3] {
    let missing = 3 - sizes.len();
    std::array::from_fn(|d| if d < missing { 1 } else { sizes[d - missing] })
}

impl Geometry {
    pub fn point() -> Geometry {
        let ones = [1; 3];
        Geometry { input: ones, kernel: ones, out: ones, stride: ones, dilation: ones }
    }

    /// With how much is in front of the input.
    ///
    /// # Errors
    /// Windows that begin behind the first position.
    pub fn of(window: &ResolvedWindow, sizes: &[usize]) -> Result<([usize; 3], Geometry), Why> {
        let (mut geometry, mut fronts) = (Geometry::point(), [0; 3]);
        let missing = 3 - sizes.len();
        for (d, &size) in sizes.iter().enumerate() {
            let origin = window.origin(d, 0);
            if origin > 0 {
                return Err("positions in front that no window sees".into());
            }
            let front = origin.unsigned_abs() as usize;
            let last = (window.out[d] - 1) * window.stride[d] + (window.kernel[d] - 1) * window.dilation[d] + 1;
            let to = missing + d;
            (fronts[to], geometry.input[to]) = (front, last.max(front + size));
            (geometry.kernel[to], geometry.out[to]) = (window.kernel[d], window.out[d]);
            (geometry.stride[to], geometry.dilation[to]) = (window.stride[d], window.dilation[d]);
        }
        Ok((fronts, geometry))
    }

    /// What must be around an input of these sizes.
    pub fn padded(&self, front: [usize; 3], sizes: &[usize], number: u8) -> Option<Padded> {
        let inner = three(sizes);
        (self.input != inner).then_some(Padded { inner, front, sizes: self.input, number })
    }

    /// The same with long rows: where windows see one position of the last dimension, next to each other, it and the one
    /// before are one.
    pub fn merged(mut self) -> Geometry {
        for _ in 0..2 {
            let alike = self.kernel[2] == 1 && self.stride[2] == 1 && self.input[2] == self.out[2];
            if !alike || (self.stride[1] > 1 && self.out[1] > 1) {
                break;
            }
            let columns = self.out[2];
            let of_row = |sizes: &[usize; 3]| [1, sizes[0], sizes[1] * columns];
            (self.input, self.out, self.dilation) = (of_row(&self.input), of_row(&self.out), of_row(&self.dilation));
            (self.kernel, self.stride) = ([1, self.kernel[0], self.kernel[1]], [1, self.stride[0], 1]);
        }
        self
    }

    /// Of the output.
    pub fn positions(&self) -> usize {
        self.out.iter().product()
    }

    /// Of the input.
    pub fn seen(&self) -> usize {
        self.input.iter().product()
    }

    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Positions of the input from one tap of a dimension to the next.
    pub fn step(&self, d: usize) -> usize {
        self.dilation[d] * behind(&self.input, d)
    }

    /// For `svertka explain`.
    pub fn fact(&self) -> Fact {
        let [planes, rows, columns] = self.kernel;
        let [forth, down, across] = self.stride;
        let text = match (self.out[0], planes) {
            (1, 1) => format!("{rows} rows of {columns}, stride {down}x{across}"),
            _ => format!("{planes} planes of {rows} rows of {columns}, stride {forth}x{down}x{across}"),
        };
        ("window", text)
    }

    /// The dimension that tasks share, and its steps: planes, else rows or so many of them, else runs of a row.
    fn steps(&self, [rows, run]: [usize; 2]) -> (usize, usize) {
        match self.out {
            [(2..), ..] => (0, self.out[0]),
            [_, (2..), _] => (1, self.out[1].div_ceil(rows)),
            _ => (2, self.out[2].div_ceil(run)),
        }
    }

    /// Parts of the positions, where there are so many other tasks and tiles of so many rows or positions.
    pub fn parts(&self, tile: [usize; 2], tasks: usize) -> Parts {
        Parts::new(self.steps(tile).1, tasks)
    }

    /// The same for a kernel of which so many positions are in memory, if it is one: as many as there are units.
    pub fn parts_of(&self, planes: Option<Planes>, tile: [usize; 2], tasks: usize) -> Parts {
        match planes {
            None => self.parts(tile, tasks),
            Some(_) => Parts::units(self.steps(tile).1),
        }
    }

    /// Positions of a block in memory.
    pub fn planes(&self, planes: Option<Planes>) -> Planes {
        planes.unwrap_or(Planes { input: self.seen(), output: self.positions() })
    }

    /// Whether windows can go down the picture: there is one plane of it.
    pub fn goes_down(&self) -> bool {
        self.input[0] == 1 && (self.out[1] > 1 || self.input[1] == 1)
    }

    /// How they do, in tasks as [`Geometry::parts_of`] has them, of so many for each part.
    pub fn descent(&self, [rows, run]: [usize; 2], tasks: usize) -> Descent {
        let d = self.steps([rows, run]).0;
        let size = if d == 1 { rows } else { run };
        let unit = |steps: Range<usize>| {
            let (first, end) = (steps.start * size, self.out[d].min(steps.end * size));
            let last = (end - 1) * self.stride[d] + (self.kernel[d] - 1) * self.dilation[d];
            let in_positions =
                |range: Range<usize>, sizes: &[usize; 3]| range.start * behind(sizes, d)..range.end * behind(sizes, d);
            Unit {
                reads: in_positions(first * self.stride[d]..last + 1, &self.input),
                writes: in_positions(first..end, &self.out),
            }
        };
        Descent { tasks, units: Parts::units(self.steps([rows, run]).1).each().map(unit).collect() }
    }

    /// From the first window of the input to the others.
    pub fn of_input(&self, at: Word, bytes: usize) -> Cursor {
        Cursor { at, steps: std::array::from_fn(|d| self.stride[d] * behind(&self.input, d) * bytes) }
    }

    /// Through the output, or what lies as it does.
    pub fn of_output(&self, at: Word, bytes: usize) -> Cursor {
        Cursor::new(at, &self.out, bytes)
    }

    /// Calls `call` with a tile for each run of positions of a row, of all rows, as `nest::for_runs`; or for each so many
    /// rows; of all or of one of the [`parts`](Geometry::parts). It is given where the cursors are then.
    pub fn for_runs(
        &self,
        nest: &mut NestBuilder,
        [rows, run]: [usize; 2],
        tiles: [Option<FuncId>; 2],
        part: Part,
        cursors: &[Cursor],
        call: impl Fn(&mut NestBuilder, FuncId, &[Word]),
    ) {
        let moved = |nest: &mut NestBuilder, from: &[Cursor], d: usize, index: Word| -> Vec<Cursor> {
            from.iter().map(|cursor| cursor.moved(nest, d, index)).collect()
        };
        let call = |nest: &mut NestBuilder, tile: FuncId, from: &[Cursor], d: usize, index: Word| {
            let at: Vec<Word> = moved(nest, from, d, index).iter().map(|cursor| cursor.at).collect();
            call(nest, tile, &at);
        };
        let (shared, _) = self.steps([rows, run]);
        let part = |d: usize| part.filter(|_| d == shared);
        nest::repeat_part(nest, self.out[0], part(0), |nest, plane| {
            let of_plane = moved(nest, cursors, 0, plane);
            if rows > 1 {
                return nest::for_runs(nest, self.out[1], rows, tiles, part(1), |nest, tile, first| {
                    call(nest, tile, &of_plane, 1, first);
                });
            }
            nest::repeat_part(nest, self.out[1], part(1), |nest, row| {
                let of_row = moved(nest, &of_plane, 1, row);
                nest::for_runs(nest, self.out[2], run, tiles, part(2), |nest, tile, first| {
                    call(nest, tile, &of_row, 2, first);
                });
            });
        });
    }
}

/// The product of the sizes behind a dimension.
fn behind(sizes: &[usize; 3], d: usize) -> usize {
    sizes[d + 1..].iter().product()
}
