//! Judges what an engine computed, layer by layer and channel by channel.

use super::{evaluate, magnitude};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, NodeId};
use crate::layers::Accumulate;
use crate::tensor::Tensor;

/// The channel of a layer that is farthest off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelError {
    pub channel: usize,
    /// The largest difference in this channel of one sample, relative to the largest sum of the magnitudes of the terms
    /// of an element of it: what rounding errors are in proportion to, whether or not the terms cancel. Infinite where
    /// NaN or infinities differ.
    pub error: f32,
}

/// Magnitudes below this count as this: denormals are flushed.
const SMALLEST: f32 = 1e-30;

/// Judges each layer by itself: what it should have given is evaluated from the values that the engine gave it. Errors of
/// the layers before, which it may amplify, are theirs alone.
///
/// `found` has the engine's value of each node; what is `None` in it (a value that no kernel writes) is evaluated, and
/// not judged.
///
/// # Panics
/// If shapes or numbers do not fit the graph.
pub fn channel_errors(
    graph: &Graph,
    weights: &dyn WeightSource,
    inputs: &[Tensor],
    mut found: Vec<Option<Tensor>>,
) -> Vec<Option<ChannelError>> {
    // Of values that no kernel wrote, for their rounding errors are those of who reads them.
    let mut magnitudes: Vec<Option<Tensor>> = vec![None; found.len()];
    let mut errors = Vec::with_capacity(found.len());
    for id in graph.ids() {
        let index = id.0 as usize;
        let value = |id: NodeId| found[id.0 as usize].as_ref();
        let expected = evaluate(graph, id, value, weights, inputs, Accumulate::F64);
        let source = |id: NodeId| magnitudes[id.0 as usize].as_ref().or(value(id));
        let magnitude = magnitude(graph, id, source, weights, &expected);
        match value(id) {
            Some(found) => errors.push(Some(worst_channel(found, &expected, &magnitude))),
            None => {
                errors.push(None);
                (found[index], magnitudes[index]) = (Some(expected), Some(magnitude));
            }
        }
    }
    errors
}

fn worst_channel(found: &Tensor, expected: &Tensor, magnitude: &Tensor) -> ChannelError {
    assert_eq!(found.shape(), expected.shape());
    let planes = (0..found.batch()).flat_map(|n| (0..found.channels()).map(move |c| (n, c)));
    let errors = planes.map(|(n, channel)| {
        let scale = magnitude.plane(n, channel).iter().fold(SMALLEST, |most, &m| most.max(m));
        let pairs = found.plane(n, channel).iter().zip(expected.plane(n, channel));
        let difference = pairs.map(|(&a, &b)| distance(a, b)).fold(0.0, f32::max);
        let error = if difference == f32::INFINITY { difference } else { difference / scale };
        ChannelError { channel, error }
    });
    errors.max_by(|a, b| a.error.total_cmp(&b.error)).expect("a channel")
}

/// Infinite where NaN or infinities differ.
pub fn distance(a: f32, b: f32) -> f32 {
    if a == b || (a.is_nan() && b.is_nan()) {
        0.0
    } else if a.is_finite() && b.is_finite() {
        (a - b).abs()
    } else {
        f32::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second channel's terms are a thousandth of the first's, and cancel.
    #[test]
    fn channels_are_judged_by_their_own_terms() {
        let tensor = |values: [f32; 4]| Tensor::new([1, 2, 2], values.to_vec());
        let (expected, magnitude) = (tensor([1.0, 2.0, 1e-6, -1e-6]), tensor([4.0, 5.0, 1e-3, 2e-3]));
        let worst = |found| worst_channel(&tensor(found), &expected, &magnitude);
        assert_eq!(worst([1.0, 2.0, 1e-6, -1e-6]).error, 0.0);
        let ChannelError { channel, error } = worst([1.0, 2.0 + 5e-5, 1e-6, 1e-6]);
        assert_eq!(channel, 1);
        assert!((error - 1e-3).abs() < 1e-6, "{error}");
        assert_eq!(worst([1.0, f32::NAN, 0.0, 0.0]), ChannelError { channel: 0, error: f32::INFINITY });
    }
}
