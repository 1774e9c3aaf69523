//! One spatial dimension of a Winograd convolution: how its outputs are cut into tiles.

use super::transform::Matrices;
use std::ops::Range;

/// Tiles of `m` outputs and, where `m` does not divide the outputs, one smaller tile at the end, the *edge*.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dim {
    pub taps: usize,
    pub m: usize,
    pub input: usize,
    /// Padding before the input.
    pub pad: usize,
    pub output: usize,
}

/// What a tile sees and makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First of its inputs that is not padding, and one past the last.
    pub first: usize,
    pub last: usize,
    pub outputs: usize,
}

impl Dim {
    /// Tiles of `m` outputs.
    pub fn full(&self) -> usize {
        self.output / self.m
    }

    /// Outputs of the edge; 0 where there is none.
    pub fn edge(&self) -> usize {
        self.output % self.m
    }

    pub fn tiles(&self) -> usize {
        self.output.div_ceil(self.m)
    }

    /// Frequencies, and inputs of a full tile.
    pub fn size(&self) -> usize {
        self.m + self.taps - 1
    }

    /// Frequencies, and inputs of a tile of `outputs` outputs.
    pub fn size_of(&self, outputs: usize) -> usize {
        outputs + self.taps - 1
    }

    /// All frequencies, cut where those of the edge end if there is one.
    pub fn parts(&self) -> Vec<Range<usize>> {
        let cut = if self.edge() == 0 { self.size() } else { self.size_of(self.edge()) };
        [0..cut, cut..self.size()].into_iter().filter(|part| !part.is_empty()).collect()
    }

    /// Whether the edge, if there is one, has this frequency.
    pub fn edge_has(&self, frequency: usize) -> bool {
        self.edge() == 0 || frequency < self.size_of(self.edge())
    }

    /// Whether there is nothing to transform.
    pub fn is_plain(&self) -> bool {
        self.size() == 1
    }

    pub fn outputs(&self, tile: usize) -> usize {
        self.m.min(self.output - tile * self.m)
    }

    pub fn matrices(&self, outputs: usize) -> Matrices {
        Matrices::new(outputs, self.m, self.taps)
    }

    /// Sizes of tiles that occur, in outputs: the full one first.
    pub fn sizes(&self) -> Vec<usize> {
        let edge = (self.edge() > 0).then(|| self.edge());
        std::iter::once(self.m).chain(edge).collect()
    }

    pub fn span(&self, tile: usize) -> Span {
        self.span_at(tile * self.m, self.outputs(tile))
    }

    /// Of the tile of one output that this output is.
    pub fn single_span(&self, output: usize) -> Span {
        self.span_at(output, 1)
    }

    /// Of the tile of so many outputs from `start` on.
    fn span_at(&self, start: usize, outputs: usize) -> Span {
        let clip = |position: usize| position.saturating_sub(start).min(self.size_of(outputs));
        let last = clip(self.input + self.pad);
        Span { first: clip(self.pad).min(last), last, outputs }
    }

    /// Different spans, in order of their first tile.
    pub fn kinds(&self) -> Vec<Span> {
        different((0..self.tiles()).map(|tile| self.span(tile)))
    }

    /// Different spans of tiles of one output.
    pub fn single_kinds(&self) -> Vec<Span> {
        different((0..self.output).map(|output| self.single_span(output)))
    }
}

/// Each once, in order.
fn different(spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut kinds: Vec<Span> = Vec::new();
    for span in spans {
        if !kinds.contains(&span) {
            kinds.push(span);
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_leave_the_padding_out() {
        let dim = Dim { taps: 3, m: 4, input: 7, pad: 1, output: 7 };
        assert_eq!(dim.span(0), Span { first: 1, last: 6, outputs: 4 });
        assert_eq!(dim.span(1), Span { first: 0, last: 4, outputs: 3 });
        assert!(dim.edge_has(4) && !dim.edge_has(5));
        let dim = Dim { taps: 3, m: 2, input: 1, pad: 3, output: 5 };
        assert_eq!(dim.span(0), Span { first: 3, last: 4, outputs: 2 });
        assert_eq!(dim.span(2), Span { first: 0, last: 0, outputs: 1 });
        assert_eq!(dim.single_span(4), dim.span(2));
        assert_eq!(dim.single_span(1), Span { first: 2, last: 3, outputs: 1 });
        assert_eq!(dim.single_kinds().len(), 5);
    }
}
