//! Which steps go down the picture together so that what lies between them stays in a core's own cache, where it would go to the
//! third level and back.

use super::super::bound::{self, Bound};
use super::super::{BufferId, Place, Plan, Step, View};
use super::flow::{Flow, Outline, Paths};
use super::{Stage, bytes};
use crate::kernels::Kernel;
use std::cmp::Reverse;
use std::ops::Range;

/// Steps of a stage at most.
const MOST_STEPS: usize = 4;

/// Waves in which a step would do all of its tasks: the first with which the strips stay near, or the last.
const TRIED_WAVES: [usize; 4] = [4, 8, 16, 32];

/// A stage gains if its steps take so many parts of a hundred less, by their bounds. On an Emerald Rapids MobileNetV2's two,
/// 58 and 52 less by their bounds, take 12 less of their 0.82 ms; for batch norms with the 1x1 convolutions behind them, and for
/// stems with their pools, 14 less by theirs, networks took 0.98 to 1.00 of their time.
const LEAST_GAIN: usize = 20;

/// Values must be so many times as large as their strips.
const LEAST_SAVED: usize = 2;

/// Of those stages that gain most together. What a stage asks of the plan grows with its own steps alone, of which it has few:
/// plans may have many thousand.
pub fn stages(plan: &Plan) -> Vec<Stage> {
    let all_weights = bound::all_weights(plan);
    // Up to each step, the gain of all stages, and the stage that ends there.
    let mut best: Vec<(usize, Option<Stage>)> = vec![(0, None)];
    for end in 1..=plan.steps.len() {
        let starts = end.saturating_sub(MOST_STEPS)..end.saturating_sub(1);
        let gains = starts.filter(|&start| can(&plan.steps[start..end])).map(|start| {
            let gain = gain(plan, start..end, all_weights);
            (best[start].0 + gain, gain, start..end)
        });
        let mut gains: Vec<_> = gains.filter(|&(total, gain, _)| gain > 0 && total > best[end - 1].0).collect();
        gains.sort_by_key(|&(total, ..)| Reverse(total));
        let found = gains.into_iter().find_map(|(total, _, steps)| Some((total, Some(stage(plan, steps)?))));
        best.push(found.unwrap_or((best[end - 1].0, None)));
    }
    let (mut found, mut at) = (Vec::new(), plan.steps.len());
    while at > 0 {
        at = match best[at].1.take() {
            Some(stage) => {
                let start = stage.steps.start;
                found.push(stage);
                start
            }
            None => at - 1,
        };
    }
    found.reverse();
    found
}

/// Of all steps that can, a few together, in so many waves.
pub fn everywhere(plan: &Plan, waves: usize) -> Vec<Stage> {
    let (paths, mut found, mut start) = (Paths::new(plan), Vec::new(), 0);
    while start < plan.steps.len() {
        let ends = (start + 2..=plan.steps.len().min(start + MOST_STEPS)).rev();
        let can = |end: &usize| paths.all(start..*end) && plan.steps[start..*end].iter().all(has_same_constants);
        let mut stages = ends.filter(can).filter_map(|end| {
            let flow = Flow::new(plan, &paths, start..end);
            flow.outline(waves).filter(|outline| begins_first(plan, outline)).map(|outline| alone(&flow, outline))
        });
        let stage = stages.next();
        start = stage.as_ref().map_or(start + 1, |stage| stage.steps.end);
        found.extend(stage);
    }
    found
}

/// Whether these do few rows as fast as many, and wait for what they move. Pairs of layers keep rows of their own; a pool that
/// makes as much as it reads computes longer.
fn can(steps: &[Step]) -> bool {
    let moves = |step: &Step| match step.kernel {
        Kernel::Pool(_) => step.output.positions() < step.inputs[0].positions(),
        _ => true,
    };
    steps.iter().all(|step| has_same_constants(step) && moves(step))
}

/// Whether a step's kernel in bands takes the constants of the other, as both are given the same: others have tables of their
/// bands.
fn has_same_constants(step: &Step) -> bool {
    matches!(step.kernel, Kernel::Conv(_) | Kernel::Channelwise(_) | Kernel::Pointwise(_) | Kernel::Pool(_))
}

/// Cycles by which the bounds of some steps are less where what only they touch stays near; none if that is little.
fn gain(plan: &Plan, steps: Range<usize>, all_weights: usize) -> usize {
    let between = |buffer: BufferId| {
        let live = plan.buffers[buffer.0].live;
        matches!(plan.buffers[buffer.0].place, Place::Arena(_)) && steps.contains(&live.0) && steps.contains(&live.1)
    };
    let cycles = |near: &dyn Fn(&View) -> bool| -> usize {
        let of_steps = plan.steps[steps.clone()].iter();
        of_steps.map(|step| Bound::where_near(plan, step, all_weights, near).cycles()).sum()
    };
    let (far, near) = (cycles(&|_| false), cycles(&|view| between(view.buffer)));
    let gain = far.saturating_sub(near);
    if 100 * gain >= LEAST_GAIN * far { gain } else { 0 }
}

/// With strips that stay near.
fn stage(plan: &Plan, steps: Range<usize>) -> Option<Stage> {
    let paths = Paths::of(plan, steps.clone());
    let flow = paths.all(steps.clone()).then(|| Flow::new(plan, &paths, steps))?;
    let near = plan.target.machine.stays_second();
    // Beside them passes what the stage reads and writes.
    let enough = near / 2;
    let bytes = |outline: &Outline| bytes(plan, &outline.steps, &outline.strips);
    let mut tried = TRIED_WAVES.iter().filter_map(|&waves| flow.outline(waves));
    let mut found = tried.next()?;
    for next in tried {
        if bytes(&found)[0] <= enough {
            break;
        }
        found = next;
    }
    let [strips, whole] = bytes(&found);
    let gains = strips <= near && LEAST_SAVED * strips <= whole;
    (gains && begins_first(plan, &found)).then(|| alone(&flow, found))
}

/// The stage of an outline, for threads that do a sample alone.
fn alone(flow: &Flow, outline: Outline) -> Stage {
    Stage { alone: true, ..flow.stage(outline) }
}

/// Whether all values that have strips begin where their buffers do, so that they do as a whole too.
fn begins_first(plan: &Plan, Outline { steps, strips, .. }: &Outline) -> bool {
    let has_strip = |view: &&View| strips.iter().any(|strip| strip.buffer == view.buffer);
    plan.steps[steps.clone()].iter().flat_map(Step::views).filter(has_strip).all(|view| view.offset == 0)
}

#[cfg(test)]
mod tests {
    use super::super::Strip;
    use super::*;
    use crate::analysis::testing::model;
    use crate::kernels::Target;
    use crate::machine::Known;
    use crate::schedule::plan;

    /// Of a network on an input of 32 channels, on a machine with 2 MiB of a second level.
    fn planned(size: usize, net: &str) -> Plan {
        let text = format!("model m\ninput x: f32[N, 32, {size}, {size}]\ndefaults conv half\nnet {{\n{net}\n}}\n");
        plan(model(&text), Target::on(Known::named("emeraldrapids").unwrap(), None).unwrap())
    }

    #[test]
    fn what_is_moved_more_than_computed_stays_near() {
        let net = "conv 1x1, 32 | conv 3x3, 32, groups 32 | relu | a: conv 1x1, 32 | conv 3x3, 32, stride 2";
        let plan = planned(112, net);
        let [stage] = &plan.stages[..] else { panic!("{:?}", plan.steps) };
        assert!(stage.steps.len() >= 2 && !stage.strips.is_empty(), "{stage:?}");
        let strips: usize = stage.strips.iter().map(Strip::bytes).sum();
        assert!(strips <= plan.target.machine.stays_second(), "{:?}", stage.strips);
        assert!(stage.alone && plan.steps[stage.steps.clone()].iter().all(|step| step.banded.is_some()));
        assert!(planned(14, net).stages.is_empty(), "all of it is near");
    }

    #[test]
    fn what_computes_long_is_done_one_after_the_other() {
        let plan = planned(112, "conv 5x5, 32 | relu | conv 5x5, 32 | relu | conv 5x5, 32, stride 2");
        assert!(plan.stages.is_empty(), "{:?}", plan.stages);
    }
}
