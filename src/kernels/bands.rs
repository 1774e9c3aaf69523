//! Kernels that go down a picture a band of rows at a time, with other kernels: which tasks make which positions of what, and
//! the same kernels on values of which only some rows are in memory.
//!
//! Positions are counted as rows follow each other. Of a value in blocks of channels that is in memory in part, each
//! block has its place for so many positions, and a kernel is given the address at which position 0 would be.

use super::integer::Work;
use super::{Conf, Kernel};
use std::ops::Range;

/// Where steps go down the picture together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bands {
    /// Where values take much memory otherwise, or stay in a core's own cache so.
    #[default]
    WhereLarge,
    Never,
    /// Wherever it is possible, in so many bands; for tests.
    Always(usize),
    /// The same of a few steps each, where a thread does a sample alone.
    Alone(usize),
}

/// Positions of each channel block that are in memory: of a layer's operands, and of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planes {
    pub input: usize,
    pub output: usize,
}

/// How a kernel goes down the picture: its tasks in units, one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Descent {
    /// Tasks of each unit.
    pub tasks: usize,
    pub units: Vec<Unit>,
}

/// What the tasks of a unit touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Positions of the first operand. Of others it reads those that it writes.
    pub reads: Range<usize>,
    pub writes: Range<usize>,
}

/// Units of a picture at most: bands end where units do.
const UNITS: usize = 512;

/// Rows of a unit, of so many in all.
pub(super) fn rows_of_unit(rows: usize) -> usize {
    rows.div_ceil(UNITS).max(1)
}

/// `total` in parts of `size`, of which the last may be smaller.
pub(super) fn parts(total: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total).step_by(size.max(1)).map(move |start| start..total.min(start + size.max(1)))
}

/// From the begin of the first of some ranges to the end of the last; empty ones are nowhere.
pub fn around(ranges: impl Iterator<Item = Range<usize>>) -> Range<usize> {
    let touched = ranges.filter(|range| !range.is_empty());
    touched.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
}

impl Kernel {
    /// The same kernel, in tasks that go down the picture, on values of which so many positions are in memory. It gives the
    /// same bits. `None` where this family, or this kernel of it, knows no such tasks.
    pub fn banded(&self, planes: Planes) -> Option<Kernel> {
        match self {
            Kernel::Conv(Conf { code, tables }) => {
                code.banded(planes).map(|code| Conf { code, tables: tables.clone() }.into())
            }
            Kernel::Winograd(Conf { code, .. }) => code.banded(planes).map(|code| Conf { code, tables: () }.into()),
            Kernel::Pool(Conf { code, tables }) => {
                code.banded(planes).map(|code| Conf { code, tables: tables.clone() }.into())
            }
            Kernel::Resample(Conf { code, tables }) => {
                Some(Conf { code: code.banded(planes), tables: tables.clone() }.into())
            }
            Kernel::Permute(conf) => conf.banded(planes).map(Kernel::from),
            Kernel::Channelwise(Conf { code, tables }) => {
                code.banded(planes).map(|code| Conf { code, tables: tables.clone() }.into())
            }
            Kernel::Pointwise(Conf { code, tables }) => {
                Some(Conf { code: code.banded(planes), tables: *tables }.into())
            }
            Kernel::Transposed(Conf { code, tables }) => {
                code.banded(planes, tables).map(|code| Conf { code, tables: tables.clone() }.into())
            }
            Kernel::Chain(conf) => conf.banded(planes).map(Kernel::from),
            Kernel::WholeWinograd(Conf { code, .. }) => Some(Conf { code: code.banded(planes), tables: () }.into()),
            Kernel::Dots(Conf { code, .. }) => code.banded(planes).map(|code| Conf { code, tables: () }.into()),
            Kernel::Depthwise(Conf { code, .. }) => code.banded(planes).map(|code| Conf { code, tables: () }.into()),
            Kernel::Windows(Conf { code, .. }) => code.banded(planes).map(|code| Conf { code, tables: () }.into()),
            Kernel::Integer(Conf { code, .. }) => code.banded(planes).map(|code| Conf { code, tables: () }.into()),
            _ => None,
        }
    }

    /// How one that [`Kernel::banded`] made goes down the picture; `None` for all others.
    pub fn descent(&self) -> Option<Descent> {
        match self {
            Kernel::Conv(Conf { code, tables }) if code.out_plane.is_some() => Some(code.descent(&tables.rows)),
            Kernel::Winograd(Conf { code, .. }) if code.planes.is_some() => Some(code.descent()),
            Kernel::Pool(Conf { code, tables }) if code.planes.is_some() => Some(code.descent(&tables.rows)),
            Kernel::Resample(Conf { code, tables }) if code.planes.is_some() => Some(code.descent(tables)),
            Kernel::Permute(Conf { code, .. }) if code.by_rows => Some(code.descent()),
            Kernel::Channelwise(Conf { code, tables }) if code.planes.is_some() => Some(code.descent(&tables.rows)),
            Kernel::Pointwise(Conf { code, .. }) if code.planes.is_some() => Some(code.descent()),
            Kernel::Transposed(Conf { code, tables }) => {
                code.banded.and_then(|positions| code.descent(positions, tables))
            }
            Kernel::Chain(conf) => conf.descent(),
            Kernel::WholeWinograd(Conf { code, .. }) => code.descent(),
            Kernel::Dots(Conf { code, .. }) => code.descent(),
            Kernel::Depthwise(Conf { code, .. }) => code.descent(),
            Kernel::Windows(Conf { code, .. }) => code.descent(),
            Kernel::Integer(Conf { code, .. }) => code.descent(),
            _ => None,
        }
    }

    /// Whether it copies: all its operands lie alike, and its output as it likes. Of others, those behind the first lie as the
    /// output does.
    pub fn copies(&self) -> bool {
        match self {
            Kernel::Permute(_) => true,
            Kernel::Integer(Conf { code, .. }) => matches!(code.work, Work::Copy { .. }),
            _ => false,
        }
    }
}
