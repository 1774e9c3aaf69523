//! The graph's invariants. After [`verify`] nothing behind the graph may fail on account of the model.

use super::{Epilogue, Graph, Node, NodeId, Param, ParamSource};
use crate::layers::{Conv, Op, Window};

/// Checks every invariant:
/// handles are in range and nodes in topological order; each node's type is what its layer's shape rule gives
/// and fits [`crate::tensor::MAX_ELEMENTS`]; its parameters have the shapes that the layer asks for; epilogue
/// operands have the node's type; gates stand before convolutions of one group and fit their operand; what is made
/// beside another value is a mean over all of it; slices lie inside their concatenation; inputs and outputs exist.
///
/// # Errors
/// The first violated invariant, in words. It is a defect of the compiler, never of the model.
pub fn verify(graph: &Graph) -> Result<(), String> {
    for id in graph.ids() {
        verify_node(graph, id).map_err(|e| format!("%{} ({}): {e}", id.0, graph[id].origin.path))?;
    }
    for param in &graph.params {
        verify_param(graph, param).map_err(|e| format!("weight {}: {e}", param.name))?;
    }
    if graph.outputs.is_empty() {
        return Err("no output".into());
    }
    if graph.outputs.iter().any(|o| o.node.0 as usize >= graph.nodes.len()) {
        return Err("an output is out of range".into());
    }
    if graph.inputs.iter().any(|&id| !matches!(graph[id].op, Op::Input)) {
        return Err("an input is not an input node".into());
    }
    Ok(())
}

fn verify_node(graph: &Graph, id: NodeId) -> Result<(), String> {
    let node = &graph[id];
    if let Some(input) = node.inputs.iter().find(|i| **i >= id) {
        return Err(format!("reads %{}, which does not come before it", input.0));
    }
    node.ty.checked_elements().ok_or("too many elements")?;
    if let Some(layer) = node.op.layer() {
        let types = graph.operand_types(node);
        let ty = layer.shape(&types).map_err(|e| e.message)?;
        if ty != node.ty {
            return Err(format!("its type is {}, the shape rule gives {ty}", node.ty));
        }
        let specs = layer.params(&types);
        let found: Vec<&Vec<usize>> = node.params.iter().map(|p| &graph.params[p.0 as usize].dims).collect();
        if found != specs.iter().map(|s| &s.dims).collect::<Vec<_>>() {
            return Err(format!("its weights have shapes {found:?}"));
        }
    }
    verify_gate(graph, node)?;
    verify_beside(graph, node)?;
    verify_epilogue(graph, id)?;
    verify_slice(graph, id)
}

fn verify_gate(graph: &Graph, node: &Node) -> Result<(), String> {
    let Some(gate) = node.gate() else { return Ok(()) };
    let (x, gate) = (&graph[node.operands()[0]].ty, &graph[gate].ty);
    match node.op {
        Op::Conv(Conv { groups: 1, .. }) => {}
        _ => return Err("a gate stands before what is no convolution of one group".into()),
    }
    let one_position = gate.spatial().iter().all(|&size| size == 1);
    if !one_position || gate.channels() != x.channels() || gate.batch != x.batch {
        return Err(format!("a gate of type {gate} stands before a value of type {x}"));
    }
    Ok(())
}

fn verify_beside(graph: &Graph, node: &Node) -> Result<(), String> {
    if !node.beside {
        return Ok(());
    }
    let producer = node.inputs[0];
    let whole = graph[producer].ty.spatial();
    let is_mean = matches!(&node.op, Op::AvgPool(pool) if pool.window == Window::whole(whole));
    if !is_mean || !node.epilogue.is_empty() {
        return Err("is made beside its operand, but is not its mean".into());
    }
    let others = graph.nodes.iter().filter(|other| other.beside && other.inputs[0] == producer).count();
    let depthwise = matches!(&graph[producer].op, Op::Conv(conv) if conv.groups == conv.channels && conv.groups > 1);
    if others > 1 || !depthwise {
        return Err(format!("is made beside %{}, which cannot make it", producer.0));
    }
    Ok(())
}

fn verify_epilogue(graph: &Graph, id: NodeId) -> Result<(), String> {
    let node = &graph[id];
    let fused = node.operands().len() + usize::from(node.gated);
    let adds = node.epilogue.iter().filter_map(|e| match e {
        Epilogue::Add { input } => Some(*input),
        Epilogue::Activation(_) => None,
    });
    for (position, input) in adds.enumerate() {
        if input != fused + position {
            return Err(format!("epilogue operand {input} out of order"));
        }
        let ty = &graph[node.inputs[input]].ty;
        if *ty != node.ty {
            return Err(format!("adds a value of type {ty} to {}", node.ty));
        }
    }
    Ok(())
}

fn verify_slice(graph: &Graph, id: NodeId) -> Result<(), String> {
    let node = &graph[id];
    let Some(slice) = node.slice_of else { return Ok(()) };
    let whole = &graph[slice.concat];
    if slice.concat <= id || !matches!(whole.op, Op::Concat(_)) {
        return Err(format!("is written into %{}, which is no later concatenation", slice.concat.0));
    }
    if slice.channel + node.ty.channels() > whole.ty.channels() || node.ty.spatial() != whole.ty.spatial() {
        return Err(format!("does not fit into %{} at channel {}", slice.concat.0, slice.channel));
    }
    Ok(())
}

fn verify_param(graph: &Graph, param: &Param) -> Result<(), String> {
    let known = |id: super::ParamId| (id.0 as usize) < graph.params.len();
    let elements = param.dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).ok_or("too many elements")?;
    match &param.source {
        ParamSource::File => Ok(()),
        ParamSource::Fixed(values) if values.len() == elements => Ok(()),
        ParamSource::Fixed(values) => Err(format!("{} values for {elements} elements", values.len())),
        ParamSource::Merged { weight, .. } if !known(*weight) => Err("derived from a weight out of range".into()),
        ParamSource::Merged { weight, groups, merged } => {
            let fits = groups.is_multiple_of(*merged) && param.dims[0].is_multiple_of(*groups);
            let base: usize = graph[*weight].dims.iter().product();
            let fits = fits && elements == base * merged && param.dims[0] == graph[*weight].dims[0];
            fits.then_some(()).ok_or_else(|| format!("{merged} of {groups} groups merged to {:?}", param.dims))
        }
        ParamSource::Scaled { weight: inner, norm } | ParamSource::Shifted { bias: inner, norm } => {
            let parts = [norm.gamma, norm.beta, norm.mean, norm.variance];
            let in_range = parts.iter().copied().chain(*inner).all(known);
            in_range.then_some(()).ok_or_else(|| "derived from a weight out of range".into())
        }
    }
}
