//! Merges groups of a convolution that are narrower than a block of channels: with zeros between their weights they are
//! one wider group. The zeros cost multiplications, but kernels that read each lane's own input channels need the
//! input rearranged first, which costs more.

use super::{Config, Report};
use crate::ir::{self, Graph, NodeId, Param, ParamSource};
use crate::layers::{Conv, Op};
use std::collections::HashSet;

pub fn run(graph: &mut Graph, config: &Config, report: &mut Report) {
    // A zero times infinity is NaN, and the sums of the layer's definition have no such products.
    if config.exact {
        return;
    }
    let with_mean: HashSet<_> = graph.nodes.iter().filter(|node| node.beside).map(|node| node.inputs[0]).collect();
    for id in graph.ids().filter(|id| !with_mean.contains(id)) {
        let Some(merged) = merged(graph, id, config.channel_block) else { continue };
        merge(graph, id, merged);
        let path = graph[id].origin.path.clone();
        report.done(&path, format!("{merged} groups computed as one, with zeros between their weights"));
    }
}

/// How many groups to make one of; `None` where the convolution is better left as it is.
fn merged(graph: &Graph, id: NodeId, lanes: usize) -> Option<usize> {
    let node = &graph[id];
    if ir::integer::concerns(graph, node) {
        return None;
    }
    let Op::Conv(conv @ Conv { groups: 2.., weights: None, .. }) = &node.op else { return None };
    let (group_in, group_out) = (conv.group_in(&graph[node.inputs[0]].ty), conv.channels / conv.groups);
    let aligned =
        |merged: usize| (group_in * merged).is_multiple_of(lanes) && (group_out * merged).is_multiple_of(lanes);
    let depthwise = group_in == 1 && group_out == 1;
    if depthwise || aligned(1) {
        return None;
    }
    let merged = (2..=conv.groups).find(|&m| conv.groups.is_multiple_of(m) && aligned(m))?;
    let taps: usize = conv.window.kernel.iter().product();
    (merged_cost(taps, merged) < spread_cost(taps, lanes)).then_some(merged)
}

/// Cycles for each vector of outputs and input channel of its group, times twenty, where groups are merged: two
/// multiply-accumulates a cycle, nearly.
fn merged_cost(taps: usize, merged: usize) -> usize {
    11 * taps * merged
}

/// The same where each lane reads its own group: the multiplications, and moving one channel into each lane, element
/// by element.
fn spread_cost(taps: usize, lanes: usize) -> usize {
    13 * taps + 24 * lanes
}

fn merge(graph: &mut Graph, id: NodeId, merged: usize) {
    let Op::Conv(conv) = &mut graph[id].op else { unreachable!("checked by `merged`") };
    let groups = conv.groups;
    conv.groups /= merged;
    let weight = graph[id].params[0];
    let Param { name, mut dims, init, .. } = graph[weight].clone();
    dims[1] *= merged;
    let source = ParamSource::Merged { weight, groups, merged };
    graph[id].params[0] = graph.add_param(Param { name: format!("{name}.merged"), dims, source, init });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp;
    use crate::ir::weights::RandomWeights;
    use crate::ir::{Output, Verified, verify};
    use crate::layers::{Accumulate, Padding, Window};
    use crate::tensor::{Batch, DType, Tensor, TensorType};

    fn network(channels: [usize; 2], groups: usize, kernel: usize) -> Graph {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![channels[0], 5, 5] };
        let x = graph.add_input("x", ty);
        let window = Window {
            kernel: vec![kernel; 2],
            stride: vec![1; 2],
            dilation: vec![1; 2],
            padding: Padding::Half,
            ceil: false,
        };
        let conv = Conv { channels: channels[1], window, groups, bias: true, weights: None };
        let y = graph.add_layer(conv, &[x], "conv").unwrap();
        graph.outputs.push(Output { name: "y".into(), node: y });
        graph
    }

    #[test]
    fn narrow_groups_are_merged_up_to_a_block_where_it_pays() {
        let cases = [
            ([32, 32], 8, 3, 8, Some(2)),
            ([32, 64], 8, 3, 8, Some(2)),
            ([64, 64], 16, 3, 16, Some(4)),
            ([12, 12], 4, 1, 4, Some(4)),
            // Whole blocks of inputs, but not of outputs, and the other way.
            ([64, 32], 8, 3, 8, Some(2)),
            ([32, 64], 8, 1, 8, Some(2)),
            // Many zeros.
            ([32, 32], 16, 3, 8, None),
            // Whole blocks already; each channel for itself; one group; no number of groups fills blocks.
            ([32, 32], 4, 3, 8, None),
            ([32, 32], 32, 3, 8, None),
            ([32, 32], 32, 1, 8, None),
            ([32, 32], 1, 3, 8, None),
            ([12, 12], 3, 3, 8, None),
        ];
        for (channels, groups, kernel, lanes, expected) in cases {
            let graph = network(channels, groups, kernel);
            let node = graph.outputs[0].node;
            assert_eq!(merged(&graph, node, lanes), expected, "{channels:?} in {groups} groups, {lanes} lanes");
        }
    }

    #[test]
    fn the_merged_convolution_is_the_same_function() {
        let graph = network([32, 64], 8, 3);
        let config = Config { channel_block: 8, exact: false, rounds: None };
        let graph = verify(graph).unwrap();
        let (wide, _) = super::super::run(graph.clone(), &config);
        let (exact, _) = super::super::run(graph.clone(), &Config { exact: true, ..config });
        let groups = |graph: &Graph| match &graph[graph.outputs[0].node].op {
            Op::Conv(conv) => conv.groups,
            other => panic!("{other:?}"),
        };
        assert_eq!((groups(&wide), groups(&exact)), (4, 8));
        let inputs = [Tensor::new([2, 32, 5, 5], (0..1600).map(|i| (i as f32).sin()).collect())];
        let run = |graph: &Verified<Graph>| interp::run(graph, &RandomWeights { seed: 3 }, &inputs, Accumulate::F64);
        assert_eq!(run(&wide), run(&graph));
    }
}
