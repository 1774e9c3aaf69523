//! The numbers that make one value.

use super::base64::of_numbers;
use super::network::Made;
use super::values::Numbers;
use crate::ir::{NodeId, weights};
use crate::layers::{Op, ResolvedWindow};
use crate::tensor::Tensor;
use serde::Serialize;
use std::borrow::Cow;

/// One value of a layer and what it was made of.
#[derive(Serialize)]
pub struct Unit {
    channel: usize,
    /// None where there is no input: only the filter is known.
    at: Option<Vec<usize>>,
    /// The channels of the input whose terms are here, those that weigh most first.
    of: Vec<usize>,
    /// f32 in base64: value, bias and the sum of all other terms; then for each of the channels what the window sees,
    /// NaN in the padding, and the weights that it is multiplied by, if there are any.
    data: String,
}

/// What the units of a layer are made of.
pub struct Source<'a> {
    parts: Parts<'a>,
    window: Option<ResolvedWindow>,
    value: Option<&'a Tensor>,
    inputs: Vec<&'a Tensor>,
    /// Spatial sizes of the first input.
    sizes: Vec<usize>,
}

enum Parts<'a> {
    Sum {
        weight: Cow<'a, [f32]>,
        bias: Option<Cow<'a, [f32]>>,
        group_in: usize,
        group_out: usize,
    },
    /// The largest or the mean.
    Pool,
    /// Each position for itself.
    Each,
}

/// Channels whose terms are kept of a unit: of windows, and of single positions.
const WINDOWS: usize = 4;
const POSITIONS: usize = 12;
/// Taps of a window that is shown.
const MOST_TAPS: usize = 1024;

struct Term {
    channel: usize,
    seen: Vec<f32>,
    weights: Vec<f32>,
    /// What it adds; without an input, the size of its weights.
    sum: f64,
}

impl Term {
    fn new(channel: usize, seen: Vec<f32>, weights: Vec<f32>) -> Term {
        let product = |(x, w): (&f32, &f32)| if x.is_nan() { 0.0 } else { f64::from(*x) * f64::from(*w) };
        let sum = match seen.is_empty() {
            true => weights.iter().map(|w| f64::from(w * w)).sum::<f64>().sqrt(),
            false => seen.iter().zip(&weights).map(product).sum(),
        };
        Term { channel, seen, weights, sum }
    }
}

impl<'a> Source<'a> {
    /// `None` for layers whose values are not shown as made of others.
    pub fn new(numbers: &Numbers<'a>, id: NodeId) -> Option<Source<'a>> {
        let (graph, node) = (numbers.graph, &numbers.graph[id]);
        let types = graph.operand_types(node);
        let value = numbers.values.map(|values| &values[id.0 as usize]);
        let of_params = |group_in: usize, groups: usize| {
            let source = numbers.weights?;
            let weight = weights::values(graph, *node.params.first()?, source);
            let bias = node.params.get(1).map(|&bias| weights::values(graph, bias, source));
            Some(Parts::Sum { weight, bias, group_in, group_out: node.ty.channels() / groups })
        };
        let parts = match (Made::new(graph, node)?, &node.op) {
            (Made::Sum, Op::Conv(conv)) => of_params(conv.group_in(types[0]), conv.groups)?,
            (Made::Sum, _) => of_params(types[0].elements(), 1)?,
            _ if value.is_none() => return None,
            (Made::Max | Made::Mean, _) => Parts::Pool,
            (Made::Each, _) => Parts::Each,
        };
        let inputs =
            numbers.values.map_or(Vec::new(), |values| node.inputs.iter().map(|id| &values[id.0 as usize]).collect());
        let window = node.op.layer()?.window(&types);
        if window.as_ref().is_some_and(|window| window.kernel.iter().product::<usize>() > MOST_TAPS) {
            return None;
        }
        let sizes = types.first()?.spatial().to_vec();
        Some(Source { parts, window, value, inputs, sizes })
    }

    /// The unit of a channel at a position, or its filter.
    pub fn unit(&self, channel: usize, at: Option<&Vec<usize>>) -> Option<Unit> {
        let position = self.value.zip(at).map(|(value, at)| index(value.spatial(), at));
        let value = self.value.zip(position).map_or(f32::NAN, |(value, position)| value.plane(0, channel)[position]);
        let (bias, mut terms) = match &self.parts {
            Parts::Sum { weight, bias, group_in, group_out } => {
                let first = channel / group_out * group_in;
                let terms = (0..*group_in).map(|c| self.term(weight, channel * group_in + c, first + c, position));
                (bias.as_ref().map_or(0.0, |bias| bias[channel]), terms.collect())
            }
            Parts::Pool => (0.0, vec![Term::new(channel, self.seen(channel, position?), Vec::new())]),
            Parts::Each => {
                let seen = self.inputs.iter().map(|input| input.plane(0, channel)[position.unwrap_or(0)]);
                (0.0, vec![Term::new(channel, seen.collect(), Vec::new())])
            }
        };
        let rest = self.cut(&mut terms);
        let numbers = [value, bias, rest as f32]
            .into_iter()
            .chain(terms.iter().flat_map(|t| t.seen.iter().chain(&t.weights).copied()));
        let data = of_numbers(&numbers.collect::<Vec<f32>>());
        Some(Unit { channel, at: at.cloned(), of: terms.iter().map(|term| term.channel).collect(), data })
    }

    /// Keeps the terms that weigh most, and gives the sum of the others.
    fn cut(&self, terms: &mut Vec<Term>) -> f64 {
        let most = if self.taps() > 1 { WINDOWS } else { POSITIONS };
        terms.sort_by(|a, b| b.sum.abs().total_cmp(&a.sum.abs()));
        let rest = terms.split_off(terms.len().min(most));
        rest.iter().map(|term| term.sum).sum()
    }

    fn taps(&self) -> usize {
        self.window.as_ref().map_or(1, |window| window.kernel.iter().product())
    }

    /// The weights in the given row of kernels with what they meet.
    fn term(&self, weight: &[f32], row: usize, channel: usize, position: Option<usize>) -> Term {
        let weights = weight[row * self.taps()..][..self.taps()].to_vec();
        Term::new(channel, position.map_or(Vec::new(), |position| self.seen(channel, position)), weights)
    }

    /// What a window at a position of the output sees of a channel; NaN in the padding.
    fn seen(&self, channel: usize, position: usize) -> Vec<f32> {
        let Some(window) = &self.window else { return vec![self.inputs[0].data()[channel]] };
        let plane = self.inputs[0].plane(0, channel);
        let mut seen = vec![f32::NAN; self.taps()];
        window.taps(position, &self.sizes).into_iter().for_each(|(tap, index)| seen[tap] = plane[index]);
        seen
    }
}

/// The row-major index of a position.
fn index(sizes: &[usize], at: &[usize]) -> usize {
    sizes.iter().zip(at).fold(0, |index, (size, at)| index * size + at)
}
