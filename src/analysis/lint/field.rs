//! Rules about what values see of the input.

use super::{Finding, Subject};
use crate::analysis::receptive_field::{Axis, Field, positions_read};
use crate::ir::{Graph, NodeId};
use crate::layers::ResolvedWindow;
use std::collections::HashSet;
use std::ops::Range;

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
    let wide = |id: &NodeId| window(graph, *id, dim).is_some_and(|window| steps_over(&window, dim));
    let wide: Vec<NodeId> = graph.ids().filter(wide).collect();
    let seeds = graph.outputs.iter().map(|output| (output.node, 0..size(graph, output.node, dim)));
    let Some(read) = follow(graph, &wide, seeds, dim) else { return Vec::new() };
    let finding = |node: NodeId| {
        let window = window(graph, node, dim)?;
        has_holes(&read[graph[node].inputs[0].0 as usize]).then(|| Finding {
            node,
            message: "a stride that leaves a grid of unread positions".into(),
            label: format!("a stride of {} passes over positions that nothing else reads", window.stride[dim]),
            help: "stride where the kernel is at least as large as the stride, or pool".into(),
        })
    };
    wide.into_iter().filter_map(finding).collect()
}

fn gridding(subject: &Subject, dim: usize) -> Option<Finding> {
    let graph = subject.graph;
    let features = subject.fields.features?;
    let middle = graph[features].ty.spatial().get(dim)? / 2;
    let dilation = |window: ResolvedWindow| window.dilation[dim] > 1 && window.kernel[dim] > 1;
    let dilated: Vec<NodeId> = graph.ids().filter(|&id| window(graph, id, dim).is_some_and(dilation)).collect();
    let read = follow(graph, &dilated, [(features, middle..middle + 1)], dim)?;
    let longest = graph.inputs.iter().map(|id| read[id.0 as usize].len()).max()?;
    let of_inputs = (0..longest).map(|at| graph.inputs.iter().any(|id| read[id.0 as usize].get(at) == Some(&true)));
    let of_inputs: Vec<bool> = of_inputs.collect();
    if !has_holes(&of_inputs) {
        return None;
    }
    let (field, seen) = (extent(&of_inputs)?.len(), of_inputs.iter().filter(|&&seen| seen).count());
    Some(Finding {
        node: dilated.into_iter().find(|&id| has_holes(&read[graph[id].inputs[0].0 as usize]))?,
        message: "dilations that leave a grid of unseen positions".into(),
        label: format!("a feature sees {seen} of the {field} positions of its field"),
        help: "let dilations grow no faster than what the layers before see, without a common factor: 1, 2, 5".into(),
    })
}

fn size(graph: &Graph, id: NodeId, dim: usize) -> usize {
    graph[id].ty.spatial().get(dim).copied().unwrap_or(1)
}

/// For each value and each of its positions along `dim`, whether the seeds see it; `None` if they are too many, before they
/// are made, and if the answer is asked about no node.
fn follow(
    graph: &Graph,
    about: &[NodeId],
    seeds: impl IntoIterator<Item = (NodeId, Range<usize>)>,
    dim: usize,
) -> Option<Vec<Vec<bool>>> {
    let positions = graph.ids().map(|id| size(graph, id, dim)).try_fold(0, usize::checked_add)?;
    if about.is_empty() || positions > MAX_WORK {
        return None;
    }
    let mut seen: Vec<Vec<bool>> = graph.ids().map(|id| vec![false; size(graph, id, dim)]).collect();
    seeds.into_iter().for_each(|(id, positions)| seen[id.0 as usize][positions].fill(true));
    let mut work = 0;
    for id in graph.ids().rev() {
        let (before, behind) = seen.split_at_mut(id.0 as usize);
        for (operand, &input) in graph[id].inputs.iter().enumerate() {
            let read = positions_read(graph, id, operand, dim);
            for (at, _) in behind[0].iter().enumerate().filter(|(_, seen)| **seen) {
                read(at, &mut |position| {
                    work += 1;
                    before[input.0 as usize][position] = true;
                });
                if work > MAX_WORK {
                    return None;
                }
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

/// From the first to the last position that is seen.
fn extent(seen: &[bool]) -> Option<&[bool]> {
    let at = |seen: &bool| *seen;
    Some(&seen[seen.iter().position(at)?..=seen.iter().rposition(at)?])
}

fn has_holes(seen: &[bool]) -> bool {
    extent(seen).is_some_and(|extent| extent.contains(&false))
}
