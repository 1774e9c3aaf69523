//! Rules about what values see of the input.

use super::{Finding, Subject};
use crate::analysis::receptive_field::{Axis, Field, positions_read};
use crate::ir::{Graph, NodeId};
use crate::layers::ResolvedWindow;
use std::collections::{BTreeSet, HashSet};

/// What no feature sees as a whole, the classifier can only count.
pub fn small(subject: &Subject) -> Vec<Finding> {
    let graph = subject.graph;
    let (Some(features), [output, ..], [input, ..]) = (subject.fields.features, &graph.outputs[..], &graph.inputs[..])
    else {
        return Vec::new();
    };
    let (Field::Local(axes), Field::Whole) = (subject.fields.of(features), subject.fields.of(output.node)) else {
        return Vec::new();
    };
    let (sees, input): (Vec<u64>, _) = (axes.iter().map(Axis::size).collect(), graph[*input].ty.spatial());
    if sees.iter().zip(input).all(|(&sees, &size)| sees >= size as u64) {
        return Vec::new();
    }
    let text = |sizes: Vec<String>| sizes.join("x");
    vec![Finding {
        node: features,
        message: "the features before the classifier see a part of the input only".into(),
        label: format!(
            "each sees {} of {}",
            text(sees.iter().map(u64::to_string).collect()),
            text(input.iter().map(usize::to_string).collect())
        ),
        help: "more layers, strides or dilation before the classifier make them see more".into(),
    }]
}

/// The most positions that are followed through a network: enough for 500 layers with maps of 10,000 positions a side.
const MAX_WORK: usize = 5_000_000;

/// Two patterns: positions of a value that nothing reads, since a stride is larger than its window; and positions
/// of the input that a feature passes over, since dilations have a common factor or grow too fast (Wang et al. 2018,
/// "Understanding convolution for semantic segmentation", section 3.2: gridding).
pub fn checkerboard(subject: &Subject) -> Vec<Finding> {
    let graph = subject.graph;
    let rank = graph.inputs.first().map_or(0, |&id| graph[id].ty.spatial().len());
    let of_dim = |dim| unread(graph, dim).into_iter().chain(gridding(subject, dim));
    let mut known = HashSet::new();
    (0..rank).flat_map(of_dim).filter(|finding| known.insert(finding.node)).collect()
}

fn unread(graph: &Graph, dim: usize) -> Vec<Finding> {
    let everything = |id: NodeId| (0..graph[id].ty.spatial().get(dim).copied().unwrap_or(1)).collect();
    let seeds = graph.outputs.iter().map(|output| (output.node, everything(output.node)));
    let Some(read) = follow(graph, seeds, dim) else { return Vec::new() };
    let finding = |node: NodeId| {
        let window = window(graph, node, dim)?;
        let input = &read[graph[node].inputs[0].0 as usize];
        (steps_over(&window, dim) && has_holes(input)).then(|| Finding {
            node,
            message: "a stride that leaves a grid of unread positions".into(),
            label: format!("a stride of {} passes over positions that nothing else reads", window.stride[dim]),
            help: "stride where the kernel is at least as large as the stride, or pool".into(),
        })
    };
    graph.ids().filter_map(finding).collect()
}

fn gridding(subject: &Subject, dim: usize) -> Option<Finding> {
    let graph = subject.graph;
    let features = subject.fields.features?;
    let middle = graph[features].ty.spatial().get(dim)? / 2;
    let read = follow(graph, vec![(features, BTreeSet::from([middle]))], dim)?;
    let of_inputs: BTreeSet<usize> = graph.inputs.iter().flat_map(|id| read[id.0 as usize].iter().copied()).collect();
    if !has_holes(&of_inputs) {
        return None;
    }
    let dilates = |id: &NodeId| {
        let dilation = |window: ResolvedWindow| window.dilation[dim] > 1 && window.kernel[dim] > 1;
        window(graph, *id, dim).is_some_and(dilation) && has_holes(&read[graph[*id].inputs[0].0 as usize])
    };
    let (first, last) = (*of_inputs.first()?, *of_inputs.last()?);
    Some(Finding {
        node: graph.ids().find(dilates)?,
        message: "dilations that leave a grid of unseen positions".into(),
        label: format!("a feature sees {} of the {} positions of its field", of_inputs.len(), last - first + 1),
        help: "let dilations grow no faster than what the layers before see, without a common factor: 1, 2, 5".into(),
    })
}

/// For each value, its positions along `dim` that the seeds see; `None` if they are too many, before they are made.
fn follow(
    graph: &Graph,
    seeds: impl IntoIterator<Item = (NodeId, BTreeSet<usize>)>,
    dim: usize,
) -> Option<Vec<BTreeSet<usize>>> {
    let size = |id: &NodeId| graph[*id].ty.spatial().get(dim).copied().unwrap_or(1);
    if graph.ids().map(|id| size(&id)).try_fold(0, usize::checked_add)? > MAX_WORK {
        return None;
    }
    let mut seen = vec![BTreeSet::new(); graph.nodes.len()];
    seeds.into_iter().for_each(|(id, positions)| seen[id.0 as usize].extend(positions));
    let mut work = 0;
    for id in graph.ids().rev() {
        for (operand, &input) in graph[id].inputs.iter().enumerate() {
            let read = positions_read(graph, id, operand, dim);
            for &at in &seen[id.0 as usize].clone() {
                let positions = read(at);
                work += positions.len();
                if work > MAX_WORK {
                    return None;
                }
                seen[input.0 as usize].extend(positions);
            }
        }
    }
    Some(seen)
}

/// The window of a layer that has one along `dim`.
fn window(graph: &Graph, id: NodeId, dim: usize) -> Option<ResolvedWindow> {
    let node = &graph[id];
    node.op.layer()?.window(&graph.operand_types(node)).filter(|window| dim < window.kernel.len())
}

fn steps_over(window: &ResolvedWindow, dim: usize) -> bool {
    window.stride[dim] > window.kernel[dim] || (window.stride[dim] > 1 && window.dilation[dim] > 1)
}

fn has_holes(positions: &BTreeSet<usize>) -> bool {
    let (Some(first), Some(last)) = (positions.first(), positions.last()) else { return false };
    last - first >= positions.len()
}
