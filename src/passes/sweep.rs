//! Removes nodes whose value nothing reads, and parameters of no node. Inputs of the model stay.

use crate::ir::{Graph, Node, NodeId, Param, ParamId, ParamSource};
use crate::layers::Op;

pub fn run(graph: &mut Graph) {
    sweep_nodes(graph);
    sweep_params(graph);
}

fn sweep_nodes(graph: &mut Graph) {
    let mut live = vec![false; graph.nodes.len()];
    graph.outputs.iter().for_each(|o| live[o.node.0 as usize] = true);
    for id in graph.ids().rev() {
        let node = &graph[id];
        live[id.0 as usize] |= matches!(node.op, Op::Input);
        if live[id.0 as usize] {
            node.inputs.iter().for_each(|i| live[i.0 as usize] = true);
        }
    }
    let new = renumbering(&live);
    let rename = |id: &mut NodeId| *id = NodeId(new[id.0 as usize]);
    graph.nodes =
        std::mem::take(&mut graph.nodes).into_iter().zip(&live).filter(|(_, l)| **l).map(|(n, _)| n).collect();
    for Node { inputs, slice_of, .. } in &mut graph.nodes {
        inputs.iter_mut().for_each(rename);
        // Whoever reads a slice's whole is gone only together with the slice's other readers.
        *slice_of = slice_of.filter(|s| live[s.concat.0 as usize]);
        slice_of.iter_mut().for_each(|s| rename(&mut s.concat));
    }
    graph.inputs.iter_mut().for_each(rename);
    graph.outputs.iter_mut().for_each(|o| rename(&mut o.node));
}

/// Removes parameters that no node is made of.
pub(crate) fn sweep_params(graph: &mut Graph) {
    let mut live = vec![false; graph.params.len()];
    let mut todo: Vec<ParamId> = graph.nodes.iter().flat_map(|n| n.params.iter().copied()).collect();
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut live[id.0 as usize], true) {
            todo.extend(graph[id].source.parts());
        }
    }
    let new = renumbering(&live);
    let rename = |id: &mut ParamId| *id = ParamId(new[id.0 as usize]);
    graph.params =
        std::mem::take(&mut graph.params).into_iter().zip(&live).filter(|(_, l)| **l).map(|(p, _)| p).collect();
    graph.nodes.iter_mut().for_each(|n| n.params.iter_mut().for_each(rename));
    graph.params.iter_mut().for_each(|Param { source, .. }| for_parts(source, rename));
}

/// [`ParamSource::parts`], to be changed.
fn for_parts(source: &mut ParamSource, mut f: impl FnMut(&mut ParamId)) {
    match source {
        ParamSource::File | ParamSource::Half(_) | ParamSource::Fixed(_) | ParamSource::Integers { .. } => {}
        ParamSource::Merged { weight: base, .. }
        | ParamSource::OutputMajor { weight: base, .. }
        | ParamSource::Subpixel { weight: base, .. }
        | ParamSource::Repeated { values: base, .. } => f(base),
        ParamSource::Scaled { weight: inner, norm } | ParamSource::Shifted { bias: inner, norm } => {
            inner.iter_mut().for_each(&mut f);
            norm.parts_mut().for_each(f);
        }
    }
}

/// New index of everything that lives.
fn renumbering(live: &[bool]) -> Vec<u32> {
    let mut next = 0;
    live.iter()
        .map(|&l| {
            next += u32::from(l);
            next.wrapping_sub(1)
        })
        .collect()
}
