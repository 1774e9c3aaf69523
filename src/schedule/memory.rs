//! What planning and weights take at least or at most, counted before it is taken.

use crate::ir::{Graph, Node, Param};
use crate::layers::Op;

/// Bytes that plans keep for each position of a dimension of a layer's value: the rows and columns that a window sees, the
/// taps of a resampled position, where a channel comes from. More than any of these.
const POSITION_BYTES: u64 = 64;

/// Bytes that planning a graph takes at most, beside some kilobytes for each layer: tables grow with the sum of a value's
/// sizes, and with the positions of pools that divide each by a number of its own.
pub fn planning_bytes(graph: &Graph) -> u64 {
    let node = |node: &Node| {
        let sizes: u64 = graph.operand_types(node).into_iter().chain([&node.ty]).map(sizes).sum();
        let divisors = match node.op {
            Op::AvgPool(_) => node.ty.spatial().iter().map(|&size| size as u64).product::<u64>() * 4,
            _ => 0,
        };
        sizes * POSITION_BYTES + divisors
    };
    graph.nodes.iter().map(node).sum()
}

fn sizes(ty: &crate::tensor::TensorType) -> u64 {
    ty.dims.iter().map(|&size| size as u64).sum()
}

/// Bytes of a graph's kernels as f32, which none is packed into less than.
pub fn weight_bytes(graph: &Graph) -> u64 {
    let kernels = graph.params.iter().filter(|param| param.dims.len() > 1);
    kernels.map(Param::bytes).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::model;

    #[test]
    fn tables_and_kernels_are_counted() {
        let graph = model("model m\ninput x: f32[N, 3, 100, 200]\nnet { avgpool 3x3, stride 1, pad 1 }");
        // The input, and the pool with its operand; and a divisor for each position.
        let sizes = 3 * (3 + 100 + 200);
        assert_eq!((planning_bytes(&graph), weight_bytes(&graph)), (sizes * POSITION_BYTES + 4 * 100 * 200, 0));
        let graph = model("model m\ninput x: f32[N, 3, 10]\nnet { c: conv 3, 7, half, bias }");
        let sizes = 2 * (3 + 10) + 7 + 10;
        assert_eq!((planning_bytes(&graph), weight_bytes(&graph)), (sizes * POSITION_BYTES, 4 * 7 * 3 * 3));
    }
}
