//! Where the positions of strips lie, and in which turns a stage is done.
//!
//! Position `p` of a strip lies at `p` modulo its ring. *Lap* is what lies from one begin of the ring to the next. A task that
//! touches positions of two laps goes on over the end, where the strip has memory for that, and what the one side is to see
//! of the other is copied (an [`Echo`]) when it has been written.

use super::super::BufferId;
use super::flow::{Done, Flow};
use super::{Echo, Strip, Turn, blocks};
use crate::kernels::bands::{Descent, Unit};
use std::collections::BTreeMap;
use std::ops::Range;

/// For the first position of each lap of a buffer, how many positions tasks that begin in the lap before go on over it.
type OverEnds = BTreeMap<usize, usize>;

/// Of a buffer, with a ring of so many positions.
pub fn over_ends(flow: &Flow, buffer: BufferId, ring: usize) -> OverEnds {
    let mut found = OverEnds::new();
    for (_, step, descent) in flow.steps() {
        for (index, _) in step.views().enumerate().filter(|(_, view)| view.buffer == buffer) {
            for Range { start, end } in descent.units.iter().map(|unit| touched(unit, index)) {
                let next = lap(start, ring) + ring;
                if end > next {
                    let over = found.entry(next).or_default();
                    *over = (end - next).max(*over);
                }
            }
        }
    }
    found
}

/// The positions that a unit touches of a value: the output, or an operand.
fn touched(unit: &Unit, view: usize) -> Range<usize> {
    if view == 1 { unit.reads.clone() } else { unit.writes.clone() }
}

/// The first position of the lap that a position is in.
fn lap(position: usize, ring: usize) -> usize {
    position / ring * ring
}

/// The turns of a stage of which so much is done before its first wave, and after each.
pub fn turns(flow: &Flow, strips: &[Strip], done: &[Done]) -> Vec<Turn> {
    let ring = |&strip: &Strip| Ring { strip, over_ends: over_ends(flow, strip.buffer, strip.ring) };
    let rings: Vec<Ring> = strips.iter().map(ring).collect();
    let steps = flow.steps().map(|(index, step, descent)| Turning {
        index,
        descent,
        rings: step.views().map(|view| rings.iter().find(|ring| ring.strip.buffer == view.buffer)).collect(),
        written: blocks(&step.output, step.output.positions(), flow.lanes()),
    });
    let steps: Vec<Turning> = steps.collect();
    let wave = |wave: &[Done]| -> Vec<Turn> {
        let units = wave[0].iter().zip(&wave[1]).map(|(&before, &after)| before..after);
        steps.iter().zip(units).flat_map(|(step, units)| step.turns(units)).collect()
    };
    done.windows(2).flat_map(wave).collect()
}

struct Ring {
    strip: Strip,
    over_ends: OverEnds,
}

impl Ring {
    fn lap(&self, position: usize) -> usize {
        lap(position, self.strip.ring)
    }

    /// What of some positions, which were written as one lap has them, the laps before and behind it must see too.
    fn echoes(&self, written: Range<usize>, blocks: &Range<usize>) -> Vec<Echo> {
        let Strip { ring, .. } = self.strip;
        let first = self.lap(written.start);
        let Range { start, end } = written.start - first..written.end - first;
        let seen_before = self.over_ends.get(&first).map_or(0, |&over| end.min(over));
        let echo = |part: Range<usize>, to: usize| {
            let (from, count) = (part.start, part.len());
            (count > 0).then(|| Echo { strip: self.strip, blocks: blocks.clone(), from, to, count })
        };
        [echo(ring..end, 0), echo(start..seen_before, ring + start)].into_iter().flatten().collect()
    }
}

/// A step of a stage.
struct Turning<'r> {
    /// In the plan.
    index: usize,
    descent: &'r Descent,
    /// Of each of its values that has one.
    rings: Vec<Option<&'r Ring>>,
    /// The blocks that it writes.
    written: Range<usize>,
}

impl Turning<'_> {
    /// Those in which it does some units: within one, each of its values is seen from one lap.
    fn turns(&self, units: Range<usize>) -> Vec<Turn> {
        let seen: Vec<(usize, Vec<usize>)> = units.map(|unit| (unit, self.before(unit))).collect();
        let alike = seen.chunk_by(|(_, a), (_, b)| a == b);
        let turn = |same: &[(usize, Vec<usize>)]| {
            let units = same[0].0..same[0].0 + same.len();
            let tasks = units.start * self.descent.tasks..units.end * self.descent.tasks;
            Turn { step: self.index, tasks, before: same[0].1.clone(), echoes: self.echoes(units) }
        };
        alike.map(turn).collect()
    }

    /// So many bytes before the memory of each value its position 0 would lie, for a unit.
    fn before(&self, unit: usize) -> Vec<usize> {
        let unit = &self.descent.units[unit];
        let of_value = |(value, ring): (usize, &Option<&Ring>)| {
            ring.map_or(0, |ring| ring.lap(touched(unit, value).start) * ring.strip.vector)
        };
        self.rings.iter().enumerate().map(of_value).collect()
    }

    fn echoes(&self, units: Range<usize>) -> Vec<Echo> {
        let of = &self.descent.units[units];
        let written = of[0].writes.start..of[of.len() - 1].writes.end;
        self.rings[0].map_or(Vec::new(), |ring| ring.echoes(written, &self.written))
    }
}
