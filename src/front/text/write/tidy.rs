//! The same network in other words: what can be said in several ways is said in one.

use crate::ir::{Graph, Node};
use crate::layers::{Op, Padding};

/// Says the padding of 1x1 convolutions, which is none in any words, as that of the others.
pub fn padding(graph: &mut Graph) {
    let larger = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Conv(conv) if conv.window.kernel.iter().any(|&size| size > 1) => Some(&conv.window.padding),
        _ => None,
    });
    let (half, others): (Vec<_>, Vec<_>) = larger.partition(|padding| **padding == Padding::Half);
    let usual = if half.len() > others.len() { Padding::Half } else { Padding::Valid };
    for Node { op, .. } in &mut graph.nodes {
        if let Op::Conv(conv) = op
            && conv.window.kernel.iter().all(|&size| size == 1)
            && matches!(conv.window.padding, Padding::Half | Padding::Valid)
        {
            conv.window.padding = usual.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Conv, Window};
    use crate::tensor::{Batch, DType, TensorType};

    #[test]
    fn small_kernels_follow_the_large_ones() {
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![2, 9, 9] };
        let mut graph = Graph::default();
        let mut node = graph.add_input("x", ty);
        for (size, padding) in [(1, Padding::Valid), (3, Padding::Half), (1, Padding::All(2))] {
            let window =
                Window { kernel: vec![size; 2], stride: vec![1; 2], dilation: vec![1; 2], padding, ceil: false };
            let conv = Conv { channels: 2, window, groups: 1, bias: false, weights: None };
            node = graph.add_layer(conv, &[node], "").unwrap();
        }
        padding(&mut graph);
        let layers: Vec<String> = graph.nodes[1..].iter().map(|node| node.op.layer().unwrap().to_string()).collect();
        assert_eq!(layers, ["conv 1x1, 2, half", "conv 3x3, 2, half", "conv 1x1, 2, pad 2"]);
    }
}
