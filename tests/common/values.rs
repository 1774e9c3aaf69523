//! What graphs compute with, and what they computed.

use std::borrow::Cow;
use svertka::interp;
use svertka::ir::weights::{RandomWeights, WeightSource};
use svertka::ir::{Graph, NodeId, Param, Verified};
use svertka::layers::{Accumulate, Init};
use svertka::tensor::Tensor;

/// Inputs for a graph: values in [-2, 2) that depend on the seed only.
pub fn inputs(graph: &Graph, batch: usize, seed: u64) -> Vec<Tensor> {
    let mut state = seed;
    let mut draw = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 * 4.0 - 2.0
    };
    let tensor = |id: &NodeId| {
        let shape = graph[*id].ty.shape(batch);
        let len = shape.iter().product();
        Tensor::new(shape, std::iter::repeat_with(&mut draw).take(len).collect())
    };
    graph.inputs.iter().map(tensor).collect()
}

/// Random weights of channels that differ much in size: what is wrong in a small one must not hide behind a large one.
#[derive(Clone, Copy, Debug)]
pub struct UnevenWeights {
    seed: u64,
}

pub fn weights(seed: u64) -> UnevenWeights {
    UnevenWeights { seed }
}

impl WeightSource for UnevenWeights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        let mut values = RandomWeights { seed: self.seed }.values(param).into_owned();
        // Scales and variances of batch norms stay as they are.
        if param.init != Init::NearOne {
            let row = values.len() / param.dims[0];
            for (channel, values) in values.chunks_mut(row).enumerate() {
                let draw = (channel as u64 + 1).wrapping_mul(self.seed | 1) >> 7;
                let factor = [1.0, 1.0, 0.125, 1.0 / 1024.0][(draw % 4) as usize];
                values.iter_mut().for_each(|value| *value *= factor);
            }
        }
        Cow::Owned(values)
    }
}

/// The largest difference relative to the largest magnitude of `expected`; NaN and infinities must agree.
pub fn difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    let scale = expected.data().iter().filter(|x| x.is_finite()).fold(1e-6f32, |m, x| m.max(x.abs()));
    let pairs = found.data().iter().zip(expected.data());
    let of_pair = |(&a, &b): (&f32, &f32)| match a.is_finite() && b.is_finite() {
        true => (a - b).abs() / scale,
        false if a == b || (a.is_nan() && b.is_nan()) => 0.0,
        false => f32::INFINITY,
    };
    pairs.map(of_pair).fold(0.0, f32::max)
}

/// What a network's outputs may differ by, as [`difference`] has it, if each of its values is off by a tenth of `tolerance`
/// of its terms: much where terms cancel, as in the mean of a value that was normalised. It is large only of networks that no engine
/// can compute well, and is asked for after a difference was found.
pub fn noise(graph: &Verified<Graph>, weights: &dyn WeightSource, inputs: &[Tensor], tolerance: f32) -> f32 {
    let run = |seed, size: f32| {
        let mut state: u64 = seed;
        interp::run_changed(graph, weights, inputs, Accumulate::F64, &mut |value, terms| {
            let most = terms.data().iter().filter(|x| x.is_finite()).fold(0f32, |most, x| most.max(x.abs()));
            for x in value.data_mut() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *x += size * most * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0);
            }
        })
    };
    let exact = run(0, 0.0);
    // Of each draw its opposite as well: an activation may hide one of the two.
    let draws = (1..4).flat_map(|seed| [run(seed, tolerance / 10.0), run(seed, -tolerance / 10.0)]);
    let worst = |found: Vec<Tensor>| found.iter().zip(&exact).map(|(a, b)| difference(a, b)).fold(0.0, f32::max);
    draws.map(worst).fold(0.0, f32::max)
}
