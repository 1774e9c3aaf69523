//! Outputs that lie between those of other kernels: of a value whose positions several kernels write, each those that
//! follow each other at the distances of a stride.

use super::rows::RowShape;
use crate::codegen::{NestBuilder, Word};
use crate::layers::ResolvedWindow;

/// Where rows and columns of an output lie, in positions of the whole value, counted from the kernel's first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interleave {
    /// Of the whole value.
    pub positions: usize,
    /// From one position of each dimension of the rows to the next.
    pub rows: Vec<usize>,
}

/// Steps of all dimensions of an output.
#[derive(Clone, Debug)]
pub struct Places {
    pub positions: usize,
    pub steps: Vec<usize>,
}

impl Places {
    /// With so many of the dimensions as rows, and the positions from one column to the next; dimensions behind the steps
    /// have one position.
    pub fn of(self, rows: usize) -> (Interleave, usize) {
        let Places { positions, mut steps } = self;
        steps.resize(rows + 1, 1);
        let column = steps.pop().expect("one more than rows");
        (Interleave { positions, rows: steps }, column)
    }
}

/// A convolution whose output is a part of a value.
#[derive(Clone, Debug)]
pub struct Part {
    pub window: ResolvedWindow,
    /// Spatial size of the input.
    pub input: Vec<usize>,
    pub places: Places,
}

impl Interleave {
    /// The position at which a row begins, for the portable engine.
    pub fn row(&self, row: usize, shape: &RowShape) -> usize {
        let dims = shape.dims.iter().zip(&self.rows).rev();
        let (place, _) =
            dims.fold((0, row), |(place, rest), (dim, step)| (place + rest % dim.count * step, rest / dim.count));
        place
    }

    /// The same in a nest.
    pub fn emit_row(&self, nest: &mut NestBuilder, row: Word, shape: &RowShape) -> Word {
        let (mut place, mut rest) = (nest.iconst(0), row);
        for (d, (dim, &step)) in shape.dims.iter().zip(&self.rows).enumerate().rev() {
            let at = if d == 0 { rest } else { nest.rem_imm(rest, dim.count as i64) };
            place = nest.offset_by(place, at, step as i64);
            if d > 0 {
                rest = nest.div_imm(rest, dim.count as i64);
            }
        }
        place
    }
}
