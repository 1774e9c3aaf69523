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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Norm, Origin, Statistics};
    use crate::layers::{Activation, Init};
    use crate::tensor::{Batch, DType, TensorType};

    /// Weights of every kind that are made of others stay so when one in front of all goes.
    #[test]
    fn what_weights_are_made_of_is_renumbered() {
        let mut graph = Graph::default();
        let mut add = |source| graph.add_param(Param { name: String::new(), dims: vec![1], source, init: Init::Small });
        add(ParamSource::File);
        let [a, b, c, d, e] = [0; 5].map(|_| add(ParamSource::File));
        let norm =
            Norm { gamma: Some(b), beta: Some(c), statistics: Some(Statistics { mean: d, variance: e, eps: 0.0 }) };
        let sources = [
            ParamSource::Merged { weight: a, groups: 1, merged: 1 },
            ParamSource::OutputMajor { weight: b, groups: 1 },
            ParamSource::Subpixel { weight: c, taps: vec![] },
            ParamSource::Repeated { values: d, times: 1 },
            ParamSource::Scaled { weight: Some(a), norm },
            ParamSource::Shifted { bias: Some(a), norm },
            ParamSource::Scaled { weight: None, norm },
        ];
        let before: Vec<Vec<ParamId>> = sources.iter().map(ParamSource::parts).collect();
        let made: Vec<ParamId> = sources.into_iter().map(&mut add).collect();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![1] };
        let origin = Origin { path: String::new(), span: None };
        graph.add_node(Node::new(Activation::Relu.into(), vec![], made, ty, origin));
        sweep_params(&mut graph);
        assert_eq!(graph.params.len(), 12);
        let lower = |ids: &[ParamId]| ids.iter().map(|id| ParamId(id.0 - 1)).collect::<Vec<_>>();
        let made = &graph.nodes[0].params;
        assert_eq!(*made, (5..12).map(ParamId).collect::<Vec<_>>());
        for (&id, parts) in made.iter().zip(&before) {
            assert_eq!(graph[id].source.parts(), lower(parts), "{:?}", graph[id].source);
        }
    }
}
