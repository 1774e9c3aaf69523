//! How far the steps of a stage are after each of its waves, and what is in memory then.

use super::super::{Buffer, BufferId, Place, Plan, Step, View};
use super::{Stage, Strip, blocks, ring};
use crate::kernels::bands::{Descent, Planes, Unit};
use crate::kernels::{Kernel, Layout};
use std::ops::Range;

/// How each of some steps that follow each other goes down the picture, if it can.
pub struct Paths {
    steps: Range<usize>,
    paths: Vec<Option<Path>>,
}

/// How a step goes down the picture.
struct Path {
    descent: Descent,
    /// For each unit, the first position of the first operand that it or one behind it reads.
    oldest: Vec<usize>,
    /// And one past the last that it or one before it reads.
    newest: Vec<usize>,
    /// For each operand, the steps that make it; then those that have written where the step writes.
    writers: Vec<Vec<usize>>,
    /// The steps that have read where it writes, with the operand that it was.
    readers: Vec<(usize, usize)>,
}

/// Values of a step at most: runs copy its operands for each wave.
const MOST_VIEWS: usize = 8;

impl Paths {
    /// Of all steps.
    pub fn new(plan: &Plan) -> Paths {
        Paths::of(plan, 0..plan.steps.len())
    }

    /// Of some, for stages of no others.
    pub fn of(plan: &Plan, steps: Range<usize>) -> Paths {
        let of_step = |(index, step): (usize, &Step)| {
            let kernel = banded(plan, step)?;
            let descent = kernel.descent().expect("a kernel in bands");
            let before = || (steps.start..).zip(&plan.steps[steps.start..index]);
            let made = |view: &View| {
                before().filter(|(_, other)| overlap(plan, &other.output, view)).map(|(index, _)| index).collect()
            };
            // Where a block has channels of two, the one that writes only its own comes behind the one that writes all.
            let writers = step.inputs.iter().chain([&step.output]).map(made).collect();
            let read = before().flat_map(|(index, other)| {
                let operands = other.inputs.iter().enumerate();
                let here = operands.filter(|(_, view)| overlap(plan, view, &step.output));
                here.map(move |(operand, _)| (index, operand))
            });
            Some(Path::new(descent, writers, read.collect()))
        };
        let paths = (steps.start..).zip(&plan.steps[steps.clone()]).map(of_step).collect();
        Paths { steps, paths }
    }

    fn get(&self, steps: Range<usize>) -> &[Option<Path>] {
        &self.paths[steps.start - self.steps.start..steps.end - self.steps.start]
    }

    /// Whether all of these steps can go down the picture.
    pub fn all(&self, steps: Range<usize>) -> bool {
        self.get(steps).iter().all(Option::is_some)
    }

    /// The longest runs of steps that can.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut end = self.steps.start;
        self.paths.chunk_by(|a, b| a.is_some() == b.is_some()).filter_map(move |run| {
            end += run.len();
            run[0].is_some().then(|| end - run.len()..end)
        })
    }
}

/// The kernel of a step that can go down the picture, with all positions in memory.
fn banded(plan: &Plan, step: &Step) -> Option<Kernel> {
    let alone = step.beside.is_none() && !step.kernel.is_joint(&plan.target);
    if !alone || step.views().count() > MOST_VIEWS || step.output.positions() == 1 {
        return None;
    }
    step.kernel.banded(Planes { input: step.inputs[0].positions(), output: step.output.positions() })
}

/// Whether two views have blocks in common.
fn overlap(plan: &Plan, a: &View, b: &View) -> bool {
    let [of_a, of_b] = [a, b].map(|view| blocks(view, view.positions(), plan.target.lanes));
    a.buffer == b.buffer && of_a.start < of_b.end && of_b.start < of_a.end
}

impl Path {
    fn new(descent: Descent, writers: Vec<Vec<usize>>, readers: Vec<(usize, usize)>) -> Path {
        let units = &descent.units;
        let mut end = 0;
        let further = |unit: &Unit| {
            end = end.max(unit.reads.end);
            end
        };
        let newest = units.iter().map(further).collect();
        let (mut oldest, mut start) = (vec![0; units.len()], usize::MAX);
        for (oldest, unit) in oldest.iter_mut().zip(units).rev() {
            // One that reads nothing needs nothing.
            start = if unit.reads.is_empty() { start } else { start.min(unit.reads.start) };
            *oldest = start;
        }
        Path { descent, oldest, newest, writers, readers }
    }

    fn units(&self) -> usize {
        self.descent.units.len()
    }

    /// The first position that is not made after so many units.
    fn made(&self, done: usize) -> usize {
        self.descent.units.get(done).map_or(usize::MAX, |unit| unit.writes.start)
    }

    /// So many units need nothing of an operand behind its first `made` positions.
    fn within(&self, operand: usize, made: usize) -> usize {
        match operand {
            0 => self.newest.partition_point(|&end| end <= made),
            _ => self.descent.units.partition_point(|unit| unit.writes.end <= made),
        }
    }

    /// From the first position of an operand that the unit behind so many, or one behind it, needs to the last that it
    /// needs itself.
    fn needs(&self, operand: usize, done: usize) -> Option<Range<usize>> {
        let unit = self.descent.units.get(done)?;
        Some(if operand == 0 { self.oldest[done]..self.newest[done] } else { unit.writes.clone() })
    }
}

/// The steps of a stage.
pub struct Flow<'p> {
    plan: &'p Plan,
    steps: Range<usize>,
    paths: Vec<&'p Path>,
}

/// For each step of a stage, the units that are done.
pub type Done = Vec<usize>;

/// What decides about a stage.
pub struct Outline {
    pub steps: Range<usize>,
    pub strips: Vec<Strip>,
    /// Before the first wave, and after each.
    done: Vec<Done>,
}

/// Who touches a buffer, of the steps of a stage.
struct Touched {
    writers: Vec<usize>,
    /// With the operand that it is.
    readers: Vec<(usize, usize)>,
}

impl<'p> Flow<'p> {
    /// Of steps that can go down the picture.
    pub fn new(plan: &'p Plan, paths: &'p Paths, steps: Range<usize>) -> Flow<'p> {
        let of_steps = paths.get(steps.clone()).iter().map(|path| path.as_ref().expect("it can"));
        Flow { plan, paths: of_steps.collect(), steps }
    }

    /// In so many waves and those in which steps wait for others; `None` where nothing has a strip.
    pub fn outline(&self, waves: usize) -> Option<Outline> {
        let done = self.advance(waves.max(1))?;
        let strips = self.strips(&done);
        (!strips.is_empty()).then(|| Outline { steps: self.steps.clone(), strips, done })
    }

    /// The stage of which it is the outline.
    pub fn stage(&self, Outline { steps, strips, done }: Outline) -> Stage {
        let turns = ring::turns(self, &strips, &done);
        Stage { steps, waves: done.len() - 1, strips, turns, alone: false }
    }

    /// The most positions of a buffer that must be in memory in a wave.
    fn most_held(&self, buffer: BufferId, done: &[Done]) -> usize {
        let touched = self.touched(buffer);
        done.windows(2).map(|wave| self.held(&touched, wave).len()).max().unwrap_or(0)
    }

    /// The steps, with their places in the plan and how each goes down the picture.
    pub fn steps(&self) -> impl Iterator<Item = (usize, &'p Step, &'p Descent)> {
        let steps = self.steps.clone().zip(&self.paths);
        steps.map(|(index, path)| (index, &self.plan.steps[index], &path.descent))
    }

    /// Lanes of a vector.
    pub fn lanes(&self) -> usize {
        self.plan.target.lanes
    }

    /// What is done before the first wave, and after each.
    fn advance(&self, waves: usize) -> Option<Vec<Done>> {
        let mut all: Vec<Done> = vec![vec![0; self.paths.len()]];
        loop {
            let before = all.last().expect("the beginning");
            let mut done = before.clone();
            for (index, path) in self.paths.iter().enumerate() {
                let most = path.units().min(done[index] + path.units().div_ceil(waves));
                done[index] = done[index].max(most.min(self.ready(path, &done)));
            }
            if done == *before {
                let complete = done.iter().zip(&self.paths).all(|(&done, path)| done == path.units());
                return complete.then_some(all);
            }
            all.push(done);
        }
    }

    /// The units of a step of which all that they read is made, and all that they write over has been read.
    fn ready(&self, path: &Path, done: &Done) -> usize {
        let own = |step: &usize| step.checked_sub(self.steps.start);
        let of_operand = |(operand, writers): (usize, &Vec<usize>)| {
            let writers = writers.iter().filter_map(own);
            let made = writers.map(|writer| self.paths[writer].made(done[writer])).min().unwrap_or(usize::MAX);
            path.within(operand, made)
        };
        let made = path.writers.iter().enumerate().map(of_operand).min().unwrap_or(0);
        let readers = path.readers.iter().filter_map(|(reader, operand)| Some((own(reader)?, operand)));
        let needed = readers.filter_map(|(reader, &operand)| self.paths[reader].needs(operand, done[reader]));
        let read = needed.map(|needed| needed.start).min().unwrap_or(usize::MAX);
        made.min(path.descent.units.partition_point(|unit| unit.writes.end <= read))
    }

    fn touched(&self, buffer: BufferId) -> Touched {
        let steps = || self.plan.steps[self.steps.clone()].iter().enumerate();
        let writers = steps().filter(|(_, step)| step.output.buffer == buffer).map(|(index, _)| index).collect();
        let readers = steps().flat_map(|(index, step)| {
            let operands = step.inputs.iter().enumerate().filter(|(_, view)| view.buffer == buffer);
            operands.map(move |(operand, _)| (index, operand))
        });
        Touched { writers, readers: readers.collect() }
    }

    /// The positions of a buffer that are in memory from a wave's begin to its end.
    fn held(&self, Touched { writers, readers }: &Touched, wave: &[Done]) -> Range<usize> {
        let made = |done: &Done, &step: &usize| self.paths[step].made(done[step]);
        let all =
            writers.iter().map(|&step| self.plan.steps[self.steps.start + step].output.positions()).max().unwrap_or(0);
        let written = writers.iter().map(|step| made(&wave[0], step));
        let read = readers.iter().filter_map(|&(step, operand)| self.paths[step].needs(operand, wave[0][step]));
        let start = written.chain(read.map(|range| range.start)).min().unwrap_or(all);
        let end = writers.iter().map(|step| made(&wave[1], step)).max().unwrap_or(0);
        start.min(all)..end.min(all)
    }

    /// Of all values that may have one and gain by it. What tasks go on over the ends of rings takes a sixth of them: of HED's
    /// 235 MiB at 1088x1920, 39.
    fn strips(&self, done: &[Done]) -> Vec<Strip> {
        let of_class = |class: &Vec<BufferId>| {
            let ring = class.iter().map(|&buffer| self.most_held(buffer, done)).max().unwrap_or(0).max(1);
            let over = class.iter().flat_map(|&buffer| ring::over_ends(self, buffer, ring)).map(|(_, over)| over);
            let room = ring + over.max().unwrap_or(0);
            class.iter().map(|&buffer| self.strip(buffer, ring, room)).collect::<Option<Vec<Strip>>>()
        };
        self.classes().iter().filter_map(of_class).flatten().collect()
    }

    /// Buffers that the stage writes, together with those that must lie as they do: what a kernel adds lies as its output does,
    /// and what is copied together lies alike.
    fn classes(&self) -> Vec<Vec<BufferId>> {
        let mut classes: Vec<Vec<BufferId>> = Vec::new();
        for step in &self.plan.steps[self.steps.clone()] {
            let alike: Vec<BufferId> = match step.kernel.copies() {
                true => step.inputs.iter().map(|view| view.buffer).collect(),
                false => {
                    // One number a channel lies as it likes.
                    let like = |view: &&View| view.positions() == step.output.positions();
                    let others = step.inputs[1..].iter().filter(like);
                    [&step.output].into_iter().chain(others).map(|view| view.buffer).collect()
                }
            };
            join(&mut classes, alike);
            join(&mut classes, vec![step.output.buffer]);
        }
        classes
    }

    /// With so many positions in a ring, and memory for so many; `None` where the whole value must be in memory, or may as
    /// well.
    fn strip(&self, buffer: BufferId, ring: usize, room: usize) -> Option<Strip> {
        let Buffer { place, bytes, live } = self.plan.buffers[buffer.0];
        let inside = self.steps.contains(&live.0) && self.steps.contains(&live.1);
        let steps = &self.plan.steps[self.steps.clone()];
        let views: Vec<&View> = steps.iter().flat_map(Step::views).filter(|view| view.buffer == buffer).collect();
        let all = views.first()?.positions();
        let vector = self.plan.target.lanes * views[0].ty.dtype.bytes();
        let alike = views.iter().all(|view| {
            view.layout == Layout::Blocked && view.positions() == all && view.offset.is_multiple_of(all * vector)
        });
        let fits = matches!(place, Place::Arena(_)) && inside && alike && room < all;
        fits.then(|| Strip { buffer, blocks: bytes / (all * vector), ring, positions: room, vector })
    }
}

/// Joins all classes that have one of these.
fn join(classes: &mut Vec<Vec<BufferId>>, mut alike: Vec<BufferId>) {
    let (with, without): (Vec<_>, Vec<_>) =
        classes.drain(..).partition(|class| class.iter().any(|id| alike.contains(id)));
    *classes = without;
    alike.extend(with.into_iter().flatten());
    alike.sort_unstable();
    alike.dedup();
    classes.push(alike);
}
