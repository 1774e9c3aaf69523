//! How near a network on whole numbers is to that in f32.

use super::apply::Applied;
use super::structure::Structure;
use crate::interp;
use crate::ir::NodeId;
use crate::ir::weights::WeightSource;
use crate::layers::Accumulate;
use crate::tensor::{DType, Tensor};

/// How near the value of a layer is to that in f32, with all errors of the layers before it.
#[derive(Clone, Debug)]
pub struct Fidelity {
    /// Of the structure.
    pub node: NodeId,
    /// The squares of the values over those of the errors, in decibels; infinite where there are no errors.
    pub snr_db: f64,
}

/// Of a whole network, on some examples.
#[derive(Clone, Debug)]
pub struct Measured {
    pub layers: Vec<Fidelity>,
    pub samples: usize,
    /// Samples of which the first output is largest at the same place as in f32.
    pub agreeing: usize,
}

/// Compares a network on whole numbers with its structure in f32.
pub fn measure(
    structure: &Structure,
    weights: &dyn WeightSource,
    applied: &Applied,
    examples: &[Vec<Tensor>],
    progress: &mut dyn FnMut(usize),
) -> Measured {
    let Applied { graph, nodes } = applied;
    let mut sums = vec![(0.0, 0.0); nodes.len()];
    let (mut samples, mut agreeing) = (0, 0);
    for (index, inputs) in examples.iter().enumerate() {
        let mut expected: Vec<Option<Tensor>> = vec![None; structure.graph.nodes.len()];
        let mut keep = |id: NodeId, value: &Tensor| expected[id.0 as usize] = Some(value.clone());
        let real = interp::run_observed(&structure.graph, weights, inputs, Accumulate::F32, &mut keep);
        let mut compare = |id: NodeId, value: &Tensor| {
            let Some(at) = nodes.iter().position(|(_, new)| *new == id) else { return };
            let expected = expected[nodes[at].0.0 as usize].as_ref().expect("each was seen");
            add_errors(&mut sums[at], value, graph[id].ty.dtype, expected);
        };
        let whole = interp::run_observed(graph, weights, inputs, Accumulate::F32, &mut compare);
        samples += inputs[0].batch();
        agreeing += classes(&real[0]).zip(classes(&whole[0])).filter(|(a, b)| a == b).count();
        progress(index);
    }
    let decibels =
        |(power, error): (f64, f64)| if error == 0.0 { f64::INFINITY } else { 10.0 * (power / error).log10() };
    let layers = nodes.iter().zip(sums).map(|(&(node, _), sums)| Fidelity { node, snr_db: decibels(sums) });
    Measured { layers: layers.collect(), samples, agreeing }
}

fn add_errors(sums: &mut (f64, f64), found: &Tensor, dtype: DType, expected: &Tensor) {
    for (&found, &expected) in found.data().iter().zip(expected.data()) {
        let found = match dtype {
            DType::U8(quantisation) => quantisation.real(found as u8),
            DType::F32 | DType::Bf16 => found,
        };
        sums.0 += f64::from(expected).powi(2);
        sums.1 += (f64::from(found) - f64::from(expected)).powi(2);
    }
}

/// Where each sample is largest.
pub fn classes(output: &Tensor) -> impl Iterator<Item = usize> {
    let len = (output.data().len() / output.batch()).max(1);
    output.data().chunks(len).map(|scores| {
        let largest = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        largest.map_or(0, |(index, _)| index)
    })
}
