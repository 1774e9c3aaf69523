//! Which steps go down the picture together: those of a few layers each, between which little is kept.

use super::super::{Buffer, Place, Plan};
use super::flow::{Flow, Outline, Paths};
use super::{LARGE, WAVES};
use std::ops::Range;

/// The steps of the stages with which the values that are alive at the same time take the least memory, or not much more, with the fewest
/// steps in stages.
pub fn stages(plan: &Plan, paths: &Paths) -> Vec<Range<usize>> {
    let cuts = cuts(plan);
    let segments = segments(plan, paths, &cuts);
    let least = way(&segments, cuts.len(), |most: usize, segment| most.max(segment.bytes));
    let least = least.iter().map(|segment| segment.bytes).max().unwrap_or(0);
    let enough = (least / 20 * 21).max(LARGE / 2);
    let allowed: Vec<Segment> = segments.into_iter().filter(|segment| segment.bytes <= enough).collect();
    let fewest = way(&allowed, cuts.len(), |steps: usize, segment| steps + segment.steps_in_stages());
    fewest.into_iter().filter_map(|segment| segment.stage.clone()).collect()
}

/// Some steps, one after the other or in a stage.
struct Segment {
    /// From which cut to which.
    cuts: Range<usize>,
    /// The steps, if they go down the picture together.
    stage: Option<Range<usize>>,
    /// Of all values that are alive at the same time, at most.
    bytes: usize,
}

impl Segment {
    fn steps_in_stages(&self) -> usize {
        self.stage.as_ref().map_or(0, Range::len)
    }
}

/// Of so many cuts, the segments from the first to the last with the least cost, which grows as `add` says.
fn way(segments: &[Segment], cuts: usize, add: impl Fn(usize, &Segment) -> usize) -> Vec<&Segment> {
    let mut best: Vec<Option<(usize, Option<&Segment>)>> = vec![None; cuts];
    best[0] = Some((0, None));
    for end in 1..cuts {
        let to_end = segments.iter().filter(|segment| segment.cuts.end == end);
        let ways = to_end.filter_map(|segment| {
            let (before, _) = best[segment.cuts.start]?;
            Some((add(before, segment), Some(segment)))
        });
        best[end] = ways.min_by_key(|(cost, _)| *cost);
    }
    let (mut found, mut at) = (Vec::new(), cuts - 1);
    while let Some((_, Some(segment))) = best[at] {
        found.push(segment);
        at = segment.cuts.start;
    }
    found.reverse();
    found
}

/// Places between steps at which stages may begin and end, at most.
const MOST_CUTS: usize = 12;

/// Places between steps at which less memory is kept than before or behind them; the first and the last are those before and
/// behind all steps.
fn cuts(plan: &Plan) -> Vec<usize> {
    let steps = plan.steps.len();
    let kept: Vec<usize> = (0..=steps).map(|step| bytes(plan, |b| b.live.0 < step && step <= b.live.1)).collect();
    let low = |&step: &usize| kept[step] <= kept[step - 1] && kept[step] <= kept[step + 1];
    let mut cuts: Vec<usize> = (1..steps).filter(low).collect();
    cuts.sort_by_key(|&step| kept[step]);
    cuts.truncate(MOST_CUTS);
    cuts.extend([0, steps]);
    cuts.sort_unstable();
    cuts
}

/// Those of one cut to the next, and all stages.
fn segments(plan: &Plan, paths: &Paths, cuts: &[usize]) -> Vec<Segment> {
    let mut found = Vec::new();
    for start in 0..cuts.len() {
        for end in start + 1..cuts.len() {
            let steps = cuts[start]..cuts[end];
            if end == start + 1 {
                let most = steps.clone().map(|step| alive(plan, step..step + 1)).max().unwrap_or(0);
                found.push(Segment { cuts: start..end, stage: None, bytes: most });
            }
            if steps.len() < 2 || !paths.all(steps.clone()) {
                continue;
            }
            if let Some(outline) = Flow::new(plan, paths, steps).outline(WAVES) {
                found.push(Segment { cuts: start..end, bytes: bytes_in(plan, &outline), stage: Some(outline.steps) });
            }
        }
    }
    found
}

/// Of all values that are alive during a stage.
fn bytes_in(plan: &Plan, stage: &Outline) -> usize {
    let whole: usize = stage.strips.iter().map(|strip| plan.buffers[strip.buffer.0].bytes).sum();
    let strips: usize = stage.strips.iter().map(|strip| strip.bytes()).sum();
    alive(plan, stage.steps.clone()) - whole + strips
}

/// Bytes of the values that are alive during any of some steps.
fn alive(plan: &Plan, steps: Range<usize>) -> usize {
    bytes(plan, |buffer| buffer.live.0 < steps.end && steps.start <= buffer.live.1)
}

fn bytes(plan: &Plan, counted: impl Fn(&Buffer) -> bool) -> usize {
    let in_arena = |buffer: &&Buffer| matches!(buffer.place, Place::Arena(_)) && counted(buffer);
    plan.buffers.iter().filter(in_arena).map(|buffer| buffer.bytes).sum()
}
