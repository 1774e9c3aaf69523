//! Whether the turns of stages do what their steps would do one after the other: a pure function of a plan that is made.
//!
//! A turn must find, at each position of each block that it touches, the writing of exactly those steps that come before its
//! own and write there; and the memory that its kernel is given for a position must hold that position. Who made the plan
//! does not matter: nothing is read of it but the steps, the strips and the turns.

use super::super::{BufferId, Plan, Step, View};
use super::{Echo, Stage, Strip, Turn, blocks};
use crate::kernels::bands::{Descent, around};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// What is wrong with a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A step that does not go down the picture.
    Path { step: usize },
    /// Tasks that do not follow those that the step did before, or that are not whole units.
    Tasks { turn: usize },
    /// Tasks that are left when all turns are done.
    Left { step: usize },
    /// A turn before one that has to come first, of a step that writes the same blocks.
    Order { turn: usize, of: usize },
    /// A turn that would touch memory of another block, or copy such.
    Outside { turn: usize },
    /// A turn that would read other positions than those that it means.
    Lost { turn: usize },
}

/// All stages of a plan.
pub fn check(plan: &Plan) -> Result<(), Fault> {
    plan.stages.iter().try_for_each(|stage| Walk::new(plan, stage)?.all())
}

/// A stage at one of its turns.
struct Walk<'p> {
    plan: &'p Plan,
    stage: &'p Stage,
    paths: Vec<Descent>,
    /// Of each step, the units that are done.
    done: Vec<usize>,
    /// Of each block of each strip.
    memory: HashMap<(BufferId, usize), Memory>,
}

impl<'p> Walk<'p> {
    fn new(plan: &'p Plan, stage: &'p Stage) -> Result<Walk<'p>, Fault> {
        let path = |step: usize| plan.steps[step].kernel_of_turns().descent().ok_or(Fault::Path { step });
        let paths: Vec<Descent> = stage.steps.clone().map(path).collect::<Result<_, _>>()?;
        // Whole values lie where they always do.
        let blocks = stage.strips.iter().flat_map(|strip| (0..strip.blocks).map(|block| (strip.buffer, block)));
        let memory = blocks.map(|block| (block, Memory::default())).collect();
        Ok(Walk { plan, stage, done: vec![0; paths.len()], paths, memory })
    }

    fn all(mut self) -> Result<(), Fault> {
        for (index, turn) in self.stage.turns.iter().enumerate() {
            self.turn(index, turn)?;
        }
        let left = (0..self.done.len()).find(|&place| self.done[place] < self.paths[place].units.len());
        left.map_or(Ok(()), |place| Err(Fault::Left { step: self.stage.steps.start + place }))
    }

    fn turn(&mut self, index: usize, turn: &Turn) -> Result<(), Fault> {
        let inside = self.stage.steps.contains(&turn.step) && turn.before.len() == self.step(turn).views().count();
        let units = inside.then(|| self.units(turn)).flatten().ok_or(Fault::Tasks { turn: index })?;
        self.reads(index, turn, &units)?;
        self.writes(index, turn, &units)?;
        self.done[turn.step - self.stage.steps.start] = units.end;
        turn.echoes.iter().try_for_each(|echo| self.echo(index, echo))
    }

    fn step(&self, turn: &Turn) -> &'p Step {
        &self.plan.steps[turn.step]
    }

    /// The units of a turn, if they follow those that are done.
    fn units(&self, turn: &Turn) -> Option<Range<usize>> {
        let place = turn.step - self.stage.steps.start;
        let Descent { tasks, units } = &self.paths[place];
        let whole = turn.tasks.start == self.done[place] * tasks && turn.tasks.end.is_multiple_of(*tasks);
        let found = self.done[place]..turn.tasks.end / tasks;
        (whole && !found.is_empty() && found.end <= units.len()).then_some(found)
    }

    fn reads(&self, index: usize, turn: &Turn, units: &Range<usize>) -> Result<(), Fault> {
        let units = &self.paths[turn.step - self.stage.steps.start].units[units.clone()];
        for (operand, view) in self.step(turn).inputs.iter().enumerate() {
            let ranges = units.iter().map(|unit| if operand == 0 { unit.reads.clone() } else { unit.writes.clone() });
            // One number a channel is read by all.
            let one = operand > 0 && view.positions() == 1;
            let range = if one { 0..1 } else { around(ranges) };
            if range.is_empty() {
                continue;
            }
            self.in_order(index, turn.step, view, &range)?;
            let lies = self.lies(index, view, &range, turn.before[1 + operand])?;
            let mut memory = self.blocks(view).filter_map(|block| self.memory.get(&(view.buffer, block)));
            memory.all(|memory| memory.holds(&lies, range.start)).then_some(()).ok_or(Fault::Lost { turn: index })?;
        }
        Ok(())
    }

    fn writes(&mut self, index: usize, turn: &Turn, units: &Range<usize>) -> Result<(), Fault> {
        let view = &self.step(turn).output;
        let units = &self.paths[turn.step - self.stage.steps.start].units[units.clone()];
        let range = around(units.iter().map(|unit| unit.writes.clone()));
        self.in_order(index, turn.step, view, &range)?;
        let lies = self.lies(index, view, &range, turn.before[0])?;
        for block in self.blocks(view) {
            if let Some(memory) = self.memory.get_mut(&(view.buffer, block)) {
                memory.put(lies.clone(), range.start);
            }
        }
        Ok(())
    }

    /// Whether of some positions of a view all that steps before a step write is written, and nothing that steps behind it
    /// write.
    fn in_order(&self, turn: usize, step: usize, view: &View, range: &Range<usize>) -> Result<(), Fault> {
        for (place, other) in self.plan.steps[self.stage.steps.clone()].iter().enumerate() {
            let of = self.stage.steps.start + place;
            if of == step || other.output.buffer != view.buffer || !self.meet(&other.output, view) {
                continue;
            }
            let units = &self.paths[place].units;
            let made = units.get(self.done[place]).map_or(other.output.positions(), |unit| unit.writes.start);
            let right = if of < step { range.end <= made } else { made <= range.start };
            (right && other.output.positions() == view.positions()).then_some(()).ok_or(Fault::Order { turn, of })?;
        }
        Ok(())
    }

    fn meet(&self, a: &View, b: &View) -> bool {
        let [a, b] = [a, b].map(|view| self.blocks(view));
        a.start < b.end && b.start < a.end
    }

    /// Where the kernel of a turn finds some positions of a block, of those that there is memory for.
    fn lies(&self, turn: usize, view: &View, range: &Range<usize>, before: usize) -> Result<Range<usize>, Fault> {
        let strip = self.strip(view.buffer);
        let first = strip.map_or(0, |strip| before / strip.vector);
        let found = range.start.checked_sub(first).map(|start| start..range.end - first);
        let aligned = strip.map_or(before == 0, |strip| before.is_multiple_of(strip.vector));
        found.filter(|lies| aligned && lies.end <= self.plane(view)).ok_or(Fault::Outside { turn })
    }

    fn echo(&mut self, turn: usize, Echo { strip, blocks, from, to, count }: &Echo) -> Result<(), Fault> {
        let known = self.strip(strip.buffer) == Some(strip) && blocks.end <= strip.blocks;
        let apart = from + count <= *to || to + count <= *from;
        if !known || !apart || from.max(to) + count > strip.positions {
            return Err(Fault::Outside { turn });
        }
        for block in blocks.clone() {
            let memory = self.memory.get_mut(&(strip.buffer, block)).ok_or(Fault::Outside { turn })?;
            memory.copy(*from..from + count, *to);
        }
        Ok(())
    }

    fn strip(&self, buffer: BufferId) -> Option<&'p Strip> {
        self.stage.strips.iter().find(|strip| strip.buffer == buffer)
    }

    fn plane(&self, view: &View) -> usize {
        self.strip(view.buffer).map_or(view.positions(), |strip| strip.positions)
    }

    fn blocks(&self, view: &View) -> Range<usize> {
        blocks(view, self.plane(view), self.plan.target.lanes)
    }
}

/// Which positions of a value lie in the memory of a block: for places from each begin to an end, the position of the first.
#[derive(Clone, Default)]
struct Memory(BTreeMap<usize, (usize, usize)>);

impl Memory {
    /// The parts of some places of which something is known, with the position of the first of each.
    fn parts(&self, places: &Range<usize>) -> Vec<(Range<usize>, usize)> {
        let before = self.0.range(..places.end).rev().take_while(|(_, (end, _))| *end > places.start);
        let part = |(&begin, &(end, position)): (&usize, &(usize, usize))| {
            let start = begin.max(places.start);
            (start..end.min(places.end), position + (start - begin))
        };
        before.map(part).collect()
    }

    fn put(&mut self, places: Range<usize>, position: usize) {
        self.forget(&places);
        // One part with what goes on before it, so that there are few.
        let joined = self.0.range(..places.start).next_back().map(|(&begin, &part)| (begin, part));
        match joined {
            Some((begin, (end, first))) if end == places.start && first + (end - begin) == position => {
                self.0.insert(begin, (places.end, first));
            }
            _ => {
                self.0.insert(places.start, (places.end, position));
            }
        }
    }

    fn forget(&mut self, places: &Range<usize>) {
        let around = self.0.range(..places.end).rev().take_while(|(_, (end, _))| *end > places.start);
        let around: Vec<(usize, (usize, usize))> = around.map(|(&begin, &part)| (begin, part)).collect();
        for (begin, (end, first)) in around {
            self.0.remove(&begin);
            if begin < places.start {
                self.0.insert(begin, (places.start, first));
            }
            if places.end < end {
                self.0.insert(places.end, (end, first + (places.end - begin)));
            }
        }
    }

    fn copy(&mut self, from: Range<usize>, to: usize) {
        let parts = self.parts(&from);
        self.forget(&(to..to + from.len()));
        for (part, position) in parts {
            let start = part.start - from.start + to;
            self.put(start..start + part.len(), position);
        }
    }

    fn holds(&self, places: &Range<usize>, position: usize) -> bool {
        let parts = self.parts(places);
        let known: usize = parts.iter().map(|(part, _)| part.len()).sum();
        known == places.len() && parts.iter().all(|(part, first)| first + places.start == position + part.start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{U, planned};
    use super::*;
    use crate::kernels::bands::Bands;
    use proptest::prelude::*;

    fn in_bands() -> Plan {
        let plan = planned([100, 20], U, Bands::Always(8));
        assert_eq!(check(&plan), Ok(()));
        plan
    }

    /// What is found when a stage is broken.
    fn fault(broken: impl FnOnce(&mut Stage)) -> Fault {
        let mut plan = in_bands();
        broken(&mut plan.stages[0]);
        check(&plan).unwrap_err()
    }

    /// The first turn that reads what the one before it wrote.
    fn reader(plan: &Plan) -> usize {
        let turns = &plan.stages[0].turns;
        let reads = |turn: &Turn, other: &Turn| {
            let written = plan.steps[other.step].output.buffer;
            plan.steps[turn.step].inputs.iter().any(|view| view.buffer == written) && turn.step != other.step
        };
        (1..turns.len()).find(|&at| reads(&turns[at], &turns[at - 1])).unwrap()
    }

    #[test]
    fn a_reader_that_runs_ahead_is_found() {
        let plan = in_bands();
        let reader = reader(&plan);
        let of = plan.stages[0].turns[reader - 1].step;
        let found = fault(|stage| stage.turns.swap(reader - 1, reader));
        assert_eq!(found, Fault::Order { turn: reader - 1, of });
    }

    #[test]
    fn tasks_that_are_done_twice_or_not_at_all_are_found() {
        let found = fault(|stage| stage.turns.insert(1, stage.turns[0].clone()));
        assert_eq!(found, Fault::Tasks { turn: 1 });
        let found = fault(|stage| stage.turns.truncate(stage.turns.len() - 1));
        assert!(matches!(found, Fault::Left { .. }), "{found:?}");
    }

    #[test]
    fn what_lies_elsewhere_is_found() {
        let vectors = |stage: &Stage| stage.strips[0].vector;
        let at = |stage: &Stage| stage.turns.iter().position(|turn| turn.before[0] > 0).unwrap();
        let moved = fault(|stage| {
            let (at, vector) = (at(stage), vectors(stage));
            stage.turns[at].before[0] -= vector;
        });
        assert!(matches!(moved, Fault::Lost { .. } | Fault::Outside { .. }), "{moved:?}");
        let silent = fault(|stage| stage.turns.iter_mut().for_each(|turn| turn.echoes.clear()));
        assert!(matches!(silent, Fault::Lost { .. }), "{silent:?}");
        let outside = fault(|stage| {
            let echo = stage.turns.iter_mut().flat_map(|turn| &mut turn.echoes).next().unwrap();
            echo.to = echo.strip.positions;
        });
        assert!(matches!(outside, Fault::Outside { .. }), "{outside:?}");
    }

    /// A ring that is too small: what is still read is written over.
    #[test]
    fn what_is_written_over_too_early_is_found() {
        let found = fault(|stage| {
            let strip = stage.strips[0];
            let small = strip.ring / 2;
            for turn in &mut stage.turns {
                turn.echoes.retain(|echo| echo.strip.buffer != strip.buffer);
                turn.before
                    .iter_mut()
                    .for_each(|before| *before = *before / (strip.ring * strip.vector) * small * strip.vector);
            }
        });
        assert!(matches!(found, Fault::Lost { .. } | Fault::Outside { .. }), "{found:?}");
    }

    proptest! {
        /// Beside a memory in which each place is remembered by itself.
        #[test]
        fn memory_knows_what_lies_where(moves in prop::collection::vec((0usize..40, 1usize..9, 0usize..99, any::<bool>()), 1..30)) {
            let (mut memory, mut places) = (Memory::default(), [None; 99]);
            for (at, count, to, copies) in moves {
                match copies {
                    false => {
                        memory.put(at..at + count, to);
                        (0..count).for_each(|place| places[at + place] = Some(to + place));
                    }
                    true => {
                        let to = if to % 50 < at { 0 } else { at + count };
                        let count = count.min(if to == 0 { at } else { count });
                        memory.copy(at..at + count, to);
                        places.copy_within(at..at + count, to);
                    }
                }
            }
            for (at, place) in places.iter().enumerate() {
                let position = place.unwrap_or(0);
                prop_assert_eq!(memory.holds(&(at..at + 1), position), place.is_some());
                prop_assert!(!memory.holds(&(at..at + 1), position + 1));
            }
        }
    }
}
