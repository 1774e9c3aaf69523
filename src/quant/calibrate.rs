//! What values a network has on examples, and which whole numbers stand for them best.

use super::Structure;
use super::moments::{Moments, Sums};
use crate::interp;
use crate::ir::NodeId;
use crate::ir::weights::WeightSource;
use crate::layers::Accumulate;
use crate::tensor::{Quantisation, Tensor};
use std::collections::HashMap;

/// How the range is found that whole numbers cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// All that was seen.
    MinMax,
    /// All but so much of it, in percent, at each end.
    Percentile(f64),
    /// That with the least squared error.
    LeastSquares,
}

/// Bars of a histogram.
const BARS: usize = 2048;

/// What was seen of the values of a node.
#[derive(Clone, Debug)]
pub struct Seen {
    low: f32,
    high: f32,
    /// How many values lie in each of the equal parts between the two.
    bars: Vec<u64>,
}

/// What was seen of all values, by node, and of what layers with weights of eight bits read.
pub struct Observed {
    seen: Vec<Seen>,
    moments: HashMap<NodeId, Moments>,
}

/// Runs a network on examples, each a list of inputs, in f32.
pub fn observe(
    structure: &Structure,
    weights: &dyn WeightSource,
    examples: &[Vec<Tensor>],
    progress: &mut dyn FnMut(usize),
) -> Observed {
    let graph = &structure.graph;
    let none = Seen { low: 0.0, high: 0.0, bars: Vec::new() };
    let mut seen = vec![none; graph.nodes.len()];
    let mut sums = Sums::new(structure);
    let mut run = |look: &mut dyn FnMut(NodeId, &Tensor)| {
        for (index, inputs) in examples.iter().enumerate() {
            interp::run_observed(graph, weights, inputs, Accumulate::F32, look);
            progress(index);
        }
    };
    run(&mut |id, value| {
        seen[id.0 as usize].widen(value);
        sums.add(id, value);
    });
    run(&mut |id, value| seen[id.0 as usize].count(value));
    Observed { seen, moments: sums.moments() }
}

impl Observed {
    pub fn of(&self, id: NodeId) -> &Seen {
        &self.seen[id.0 as usize]
    }

    /// Of what a layer with weights of eight bits reads.
    pub fn moments(&self, id: NodeId) -> &Moments {
        &self.moments[&id]
    }

    /// The numbers for values of several nodes that share them.
    pub fn quantisation(&self, ids: &[NodeId], method: Method, top: u8) -> Quantisation {
        let seen: Vec<&Seen> = ids.iter().map(|&id| self.of(id)).collect();
        let low = seen.iter().fold(0f32, |low, seen| low.min(seen.low));
        let high = seen.iter().fold(0f32, |high, seen| high.max(seen.high));
        match method {
            Method::MinMax => numbers(low, high, top),
            Method::Percentile(percent) => {
                let (from, to) = percentile(&seen, percent / 100.0);
                numbers(from.clamp(low, 0.0), to.clamp(0.0, high), top)
            }
            Method::LeastSquares => best(&seen, low, high, top),
        }
    }

    /// The squared error of numbers, over the squares of the values.
    pub fn noise(&self, id: NodeId, numbers: Quantisation) -> f64 {
        let seen = self.of(id);
        let power: f64 = seen.counted().map(|(x, count)| count * f64::from(x).powi(2)).sum();
        seen.error(numbers) / power.max(f64::MIN_POSITIVE)
    }
}

impl Seen {
    fn widen(&mut self, value: &Tensor) {
        let finite = value.data().iter().filter(|x| x.is_finite());
        (self.low, self.high) = finite.fold((self.low, self.high), |(low, high), &x| (low.min(x), high.max(x)));
    }

    fn count(&mut self, value: &Tensor) {
        self.bars.resize(BARS, 0);
        let width = self.width();
        for &x in value.data().iter().filter(|x| x.is_finite()) {
            let bar = if width > 0.0 { ((x - self.low) / width) as usize } else { 0 };
            self.bars[bar.min(BARS - 1)] += 1;
        }
    }

    fn width(&self) -> f32 {
        (self.high - self.low) / BARS as f32
    }

    /// The middle of each bar and how many values lie there.
    fn counted(&self) -> impl Iterator<Item = (f32, f64)> {
        let (low, width) = (self.low, self.width());
        let bars = self.bars.iter().enumerate().filter(|(_, count)| **count > 0);
        bars.map(move |(bar, &count)| (low + (bar as f32 + 0.5) * width, count as f64))
    }

    fn error(&self, numbers: Quantisation) -> f64 {
        // 0 is exact, and behind limits most values are.
        let of_bar = |(x, count): (f32, f64)| {
            let zero = x.abs() <= self.width() / 2.0 && self.low == 0.0;
            if zero { 0.0 } else { count * f64::from(numbers.real(numbers.quantise(x)) - x).powi(2) }
        };
        self.counted().map(of_bar).sum()
    }
}

/// Numbers that cover a range, which 0 is part of.
fn numbers(low: f32, high: f32, top: u8) -> Quantisation {
    let steps = f32::from(top);
    let (least, most) = (*Quantisation::SCALES.start(), *Quantisation::SCALES.end());
    let scale = ((high - low) / steps).clamp(least, most);
    let zero = (-low / scale).round_ties_even().clamp(0.0, steps) as u8;
    Quantisation::new(scale, zero, top).expect("a scale within the limits")
}

/// Where the given share of all values lies below, and above.
fn percentile(seen: &[&Seen], share: f64) -> (f32, f32) {
    let mut counted: Vec<(f32, f64)> = seen.iter().flat_map(|seen| seen.counted()).collect();
    counted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let cut = counted.iter().map(|(_, count)| count).sum::<f64>() * share;
    (first_above(counted.iter(), cut), first_above(counted.iter().rev(), cut))
}

/// Where the sum of counts first exceeds `cut`.
fn first_above<'c>(mut counted: impl Iterator<Item = &'c (f32, f64)>, cut: f64) -> f32 {
    let mut sum = 0.0;
    let found = counted.find(|(_, count)| {
        sum += count;
        sum > cut
    });
    found.map_or(0.0, |(x, _)| *x)
}

/// Ranges that are tried for the least error, as parts of the whole one at each end.
const TRIED: usize = 40;

fn best(seen: &[&Seen], low: f32, high: f32, top: u8) -> Quantisation {
    let error = |numbers: &Quantisation| seen.iter().map(|seen| seen.error(*numbers)).sum::<f64>();
    let part = |i: usize| 1.0 - i as f32 / (TRIED as f32 * 1.25);
    // First both ends together, then each by itself.
    let together = (0..TRIED).map(|i| (part(i) * low, part(i) * high));
    let least = |ranges: &mut dyn Iterator<Item = (f32, f32)>| {
        let errors = ranges.map(|(low, high)| (error(&numbers(low, high, top)), (low, high)));
        errors.min_by(|a, b| a.0.total_cmp(&b.0)).expect("a range").1
    };
    let (low, high) = least(&mut together.into_iter());
    let (low, high) = least(&mut (0..TRIED).map(|i| (part(i) * low, high)));
    let (low, high) = least(&mut (0..TRIED).map(|i| (low, part(i) * high)));
    numbers(low, high, top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: &[f32]) -> Observed {
        let value = Tensor::new([1, 1, values.len()], values.to_vec());
        let mut seen = Seen { low: 0.0, high: 0.0, bars: Vec::new() };
        seen.widen(&value);
        seen.count(&value);
        Observed { seen: vec![seen], moments: HashMap::new() }
    }

    #[test]
    fn ranges_hold_zero_exactly() {
        for values in [[1.0, 3.0], [-1.0, 3.0], [-3.0, -1.0], [0.0, 0.0]] {
            for method in [Method::MinMax, Method::Percentile(0.1), Method::LeastSquares] {
                let q = seen(&values).quantisation(&[NodeId(0)], method, 255);
                assert_eq!(q.real(q.zero_point()), 0.0);
            }
        }
        let q = seen(&[-1.0, 2.0]).quantisation(&[NodeId(0)], Method::MinMax, 255);
        assert_eq!((q.quantise(-1.0), q.quantise(2.0), q.zero_point()), (0, 255, 85));
        let q = seen(&[-1.0, 2.0]).quantisation(&[NodeId(0)], Method::MinMax, 127);
        assert_eq!((q.quantise(-1.0), q.quantise(2.0), q.zero_point()), (0, 127, 42));
    }

    /// One value of a thousand is a hundred times as large.
    #[test]
    fn what_is_rare_is_cut_off() {
        let mut values: Vec<f32> = (0..10_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        values[0] = 2.0;
        let observed = seen(&values);
        let [all, most, least] = [Method::MinMax, Method::Percentile(0.1), Method::LeastSquares]
            .map(|method| observed.quantisation(&[NodeId(0)], method, 255));
        assert!(all.scale() > 1.9 / 255.0 && most.scale() < 1.1 / 255.0, "{all} {most}");
        assert!(observed.noise(NodeId(0), least) <= observed.noise(NodeId(0), all));
    }
}
