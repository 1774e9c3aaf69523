//! Whether all handles and indices of a graph lead somewhere. Checked before anything else looks at a graph, so that
//! whatever comes after may follow them.

use super::{Epilogue, Graph, Node, NodeId, Param, ParamId, ParamSource};

/// Every handle is in range; what a node reads comes before it, and the concatenation that it is part of behind it; what
/// a parameter is made of comes before it; a node has as many inputs as its gate and its epilogue need.
pub(super) fn check(graph: &Graph) -> Result<(), String> {
    if graph.nodes.len().max(graph.params.len()) > u32::MAX as usize {
        return Err("it has more nodes or weights than there are handles".into());
    }
    for (id, node) in graph.ids().zip(&graph.nodes) {
        check_node(graph, id, node).map_err(|e| format!("%{} ({}): {e}", id.0, node.origin.path))?;
    }
    for (index, param) in graph.params.iter().enumerate() {
        check_param(index, param).map_err(|e| format!("weight {}: {e}", param.name))?;
    }
    let known = |id: &NodeId| (id.0 as usize) < graph.nodes.len();
    let unknown = graph.inputs.iter().chain(graph.outputs.iter().map(|output| &output.node)).find(|id| !known(id));
    unknown.map_or(Ok(()), |id| Err(format!("%{} is an input or an output, but there is no such node", id.0)))
}

fn check_node(graph: &Graph, id: NodeId, node: &Node) -> Result<(), String> {
    if let Some(input) = node.inputs.iter().find(|input| **input >= id) {
        return Err(format!("reads %{}, which does not come before it", input.0));
    }
    if let Some(param) = node.params.iter().find(|param| param.0 as usize >= graph.params.len()) {
        return Err(format!("has weight {}, which does not exist", param.0));
    }
    let fused = node.epilogue.iter().filter(|item| matches!(item, Epilogue::Add { .. })).count();
    if node.inputs.len() < fused + usize::from(node.gated) || (node.beside && node.inputs.is_empty()) {
        return Err("has fewer inputs than what is fused with it reads".into());
    }
    let outside = |item: &&Epilogue| matches!(item, Epilogue::Add { input } if *input >= node.inputs.len());
    if node.epilogue.iter().any(|item| outside(&item)) {
        return Err("adds an input that it does not have".into());
    }
    match node.slice_of {
        Some(slice) if slice.concat <= id || slice.concat.0 as usize >= graph.nodes.len() => {
            Err(format!("is written into %{}, which is no later node", slice.concat.0))
        }
        _ => Ok(()),
    }
}

fn check_param(index: usize, param: &Param) -> Result<(), String> {
    match param.source.parts().into_iter().find(|part| part.0 as usize >= index) {
        Some(part) => Err(format!("derived from weight {}, which does not come before it", part.0)),
        None => Ok(()),
    }
}

impl ParamSource {
    /// The parameters that a derived one is made of.
    pub(crate) fn parts(&self) -> Vec<ParamId> {
        match self {
            ParamSource::File | ParamSource::Half(_) | ParamSource::Fixed(_) | ParamSource::Integers { .. } => {
                Vec::new()
            }
            ParamSource::Merged { weight: base, .. }
            | ParamSource::OutputMajor { weight: base, .. }
            | ParamSource::Subpixel { weight: base, .. }
            | ParamSource::Repeated { values: base, .. } => vec![*base],
            ParamSource::Scaled { weight: base, norm } | ParamSource::Shifted { bias: base, norm } => {
                base.iter().copied().chain(norm.parts()).collect()
            }
        }
    }
}
