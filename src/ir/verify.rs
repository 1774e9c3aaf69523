//! The graph's invariants. After [`verify`] nothing behind the graph may fail on account of the model.

use super::{Epilogue, Graph, Integers, Node, NodeId, Norm, Param, ParamSource, handles, integer};
use crate::layers::{Conv, Layer, Op, Window};
use crate::tensor::{Batch, DType, MAX_BATCH, Quantisation};
use std::collections::{HashMap, HashSet};
use std::ops::Deref;

/// What has passed [`verify`], which alone makes one: whoever asks for it need not look again.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Verified<T> {
    /// To be changed, and verified again.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Why a graph is none, in words: the first invariant that does not hold. Never the fault of a model's text, for which
/// the builder has messages of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed graph: {0}")]
pub struct MalformedGraph(String);

/// Checks every invariant:
/// handles are in range and nodes in topological order; inputs are the input nodes, each once, of one batch, and free sizes are
/// spatial sizes of theirs; each node's
/// layer can exist, has as many operands and weights as it asks for, of the shapes that it asks for, and the type that
/// its shape rule gives; what is fused with a node is something that its kernels can do: epilogues of activations and of
/// one addition of a value of the node's own type, gates before 1x1 convolutions of one group, means beside depthwise
/// convolutions; layers on whole numbers are such as there are ([`integer::of`]); values of bf16 are made of f32, and read by convolutions and dense layers
/// alone; parts of a concatenation are operands of it, in their places; derived weights have the sizes of what
/// they are made of.
///
/// # Errors
/// The first invariant that does not hold. Takes any graph, and never panics.
pub fn verify(graph: Graph) -> Result<Verified<Graph>, MalformedGraph> {
    check(&graph).map_err(MalformedGraph)?;
    Ok(Verified(graph))
}

fn check(graph: &Graph) -> Result<(), String> {
    handles::check(graph)?;
    check_inputs(graph)?;
    graph.check_sizes()?;
    for param in &graph.params {
        check_param(graph, param).map_err(|e| format!("weight {}: {e}", param.name))?;
    }
    let slices = Slices::of(graph);
    let mut producers = HashSet::new();
    for id in graph.ids() {
        let node = &graph[id];
        check_node(graph, node)
            .and_then(|()| slices.check(graph, id))
            .and_then(|()| match node.beside && !producers.insert(node.inputs[0]) {
                true => Err("is the second value that is made beside its operand".into()),
                false => Ok(()),
            })
            .map_err(|e| format!("%{} ({}): {e}", id.0, node.origin.path))?;
    }
    let whole = graph.outputs.iter().find(|output| graph[output.node].ty.dtype != DType::F32);
    if let Some(output) = whole {
        let of = match graph[output.node].ty.dtype {
            DType::U8(_) => "whole numbers".into(),
            other => other.to_string(),
        };
        return Err(format!("its output {} is of {of}", output.name));
    }
    if graph.outputs.is_empty() { Err("no output".into()) } else { Ok(()) }
}

fn check_inputs(graph: &Graph) -> Result<(), String> {
    let mut seen = HashSet::new();
    if let Some(id) = graph.inputs.iter().find(|&&id| !matches!(graph[id].op, Op::Input) || !seen.insert(id)) {
        return Err(format!("%{} is given as an input, and is none or is given twice", id.0));
    }
    if let Some(id) = graph.ids().find(|id| matches!(graph[*id].op, Op::Input) && !seen.contains(id)) {
        return Err(format!("%{} is an input that is not given as one", id.0));
    }
    let fixed = graph.inputs.iter().filter_map(|&id| match graph[id].ty.batch {
        Batch::Fixed(batch) => Some(batch),
        Batch::Symbolic(_) => None,
    });
    let fixed: Vec<usize> = fixed.collect();
    match fixed.iter().find(|batch| **batch != fixed[0] || !(1..=MAX_BATCH).contains(*batch)) {
        Some(batch) => Err(format!("an input has a batch of {batch}; batches are equal, and 1 to {MAX_BATCH}")),
        None => Ok(()),
    }
}

fn check_node(graph: &Graph, node: &Node) -> Result<(), String> {
    if let Some(layer) = node.op.layer() {
        let types = graph.operand_types(node);
        let ty = layer.shape(&types).map_err(|e| e.message)?.with_dtype(node.ty.dtype);
        if ty != node.ty {
            return Err(format!("its type is {}, the shape rule gives {ty}", node.ty));
        }
        let found = node.params.iter().map(|&param| &graph[param].dims);
        if !found.eq(layer.params(&types).iter().map(|spec| &spec.dims)) {
            return Err("its weights are not those that the layer asks for".into());
        }
    } else if !node.inputs.is_empty() || !node.params.is_empty() || !node.epilogue.is_empty() || node.slice_of.is_some()
    {
        return Err("an input of the model is given, not computed".into());
    }
    if integer::of(graph, node)?.is_some() {
        // What is fused behind it was looked at.
        return node.ty.check();
    }
    node.ty.check().map_err(|e| format!("its type is {}: {e}", node.ty))?;
    check_bf16(graph, node)?;
    check_gate(graph, node)?;
    check_beside(graph, node)?;
    check_epilogue(graph, node)
}

/// Values of bf16 are made of f32 for convolutions and dense layers, and for nobody else.
fn check_bf16(graph: &Graph, node: &Node) -> Result<(), String> {
    let is_made = node.ty.dtype == DType::Bf16;
    let reads = node.inputs.iter().any(|&id| graph[id].ty.dtype == DType::Bf16);
    match &node.op {
        Op::Convert(_) if is_made && !reads && node.slice_of.is_none() => Ok(()),
        Op::Conv(_) | Op::Dense(_) if reads && !is_made && !node.gated => Ok(()),
        _ if reads || is_made => Err("takes or gives bf16, which convolutions and dense layers read alone".into()),
        _ => Ok(()),
    }
}

fn check_gate(graph: &Graph, node: &Node) -> Result<(), String> {
    let Some(gate) = node.gate() else { return Ok(()) };
    match &node.op {
        Op::Conv(Conv { groups: 1, window, .. }) if window.kernel.iter().all(|&size| size == 1) => {}
        _ => return Err("a gate stands before what is no 1x1 convolution of one group".into()),
    }
    let (x, gate) = (&graph[node.operands()[0]].ty, &graph[gate].ty);
    let one_position = gate.spatial().iter().all(|&size| size == 1);
    if !one_position || gate.channels() != x.channels() || gate.batch != x.batch {
        return Err(format!("a gate of type {gate} stands before a value of type {x}"));
    }
    Ok(())
}

fn check_beside(graph: &Graph, node: &Node) -> Result<(), String> {
    if !node.beside {
        return Ok(());
    }
    let producer = node.inputs[0];
    let whole = graph[producer].ty.spatial();
    let is_mean = matches!(&node.op, Op::AvgPool(pool) if pool.window == Window::whole(whole));
    if !is_mean || !node.epilogue.is_empty() || node.slice_of.is_some() {
        return Err("is made beside its operand, but is not its mean and nothing else".into());
    }
    match &graph[producer].op {
        Op::Conv(conv) if conv.groups == conv.channels && conv.groups > 1 => Ok(()),
        _ => Err(format!("is made beside %{}, which cannot make it", producer.0)),
    }
}

fn check_epilogue(graph: &Graph, node: &Node) -> Result<(), String> {
    if !node.epilogue.is_empty() && !node.op.takes_epilogue() {
        return Err("something is fused behind it, which no kernel of it can do".into());
    }
    let fused = node.operands().len() + usize::from(node.gated);
    let mut adds = 0;
    for item in &node.epilogue {
        match item {
            Epilogue::Activation(activation) => {
                activation.check().map_err(|e| e.message)?;
                if activation.steepness().is_none() {
                    return Err(format!(
                        "`{activation}` is fused behind it, which enlarges rounding errors without bound"
                    ));
                }
            }
            Epilogue::Add { input } if adds > 0 || *input != fused => {
                return Err(format!("adds input {input}, where the one to be added is {fused}, and no other"));
            }
            Epilogue::Add { input } => {
                adds += 1;
                let ty = &graph[node.inputs[*input]].ty;
                if *ty != node.ty {
                    return Err(format!("adds a value of type {ty} to {}", node.ty));
                }
            }
        }
    }
    Ok(())
}

/// Where the operands of concatenations stand in them: by concatenation and operand, the first channel; `None` for
/// operands that stand there more than once.
struct Slices(HashMap<(NodeId, NodeId), Option<usize>>);

impl Slices {
    fn of(graph: &Graph) -> Slices {
        let mut places = HashMap::new();
        for id in graph.ids().filter(|&id| matches!(graph[id].op, Op::Concat(_))) {
            let mut channel = 0usize;
            for &operand in &graph[id].inputs {
                places.entry((id, operand)).and_modify(|place| *place = None).or_insert(Some(channel));
                // Too many channels are refused with the node.
                channel = channel.saturating_add(graph[operand].ty.dims.first().copied().unwrap_or(0));
            }
        }
        Slices(places)
    }

    fn check(&self, graph: &Graph, id: NodeId) -> Result<(), String> {
        let Some(slice) = graph[id].slice_of else { return Ok(()) };
        match self.0.get(&(slice.concat, id)) {
            Some(Some(channel)) if *channel == slice.channel => Ok(()),
            _ => Err(format!("is not what %{} has at channel {}, once", slice.concat.0, slice.channel)),
        }
    }
}

fn check_param(graph: &Graph, param: &Param) -> Result<(), String> {
    let dims = &param.dims;
    let elements = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let elements = elements.filter(|&n| n > 0 && !dims.is_empty()).ok_or_else(|| format!("a shape of {dims:?}"))?;
    let fits = match &param.source {
        ParamSource::File | ParamSource::Half(_) => true,
        ParamSource::Fixed(values) => values.len() == elements,
        ParamSource::Integers { values, scales } => {
            let fits = |len: usize| len == elements && scales.len() == dims[0];
            match values {
                Integers::I8(values) => {
                    let possible = scales.iter().all(|scale| Quantisation::SCALES.contains(scale));
                    fits(values.len()) && possible && !values.contains(&i8::MIN)
                }
                Integers::I32(values) => fits(values.len()),
            }
        }
        ParamSource::Merged { weight, groups, merged } => {
            let base = &graph[*weight].dims;
            // Nothing but 0 is a multiple of 0, and no size is.
            let whole = groups.is_multiple_of(*merged) && dims[0].is_multiple_of(*groups);
            whole && dims[0] == base[0] && graph[*weight].elements().checked_mul(*merged) == Some(elements)
        }
        ParamSource::OutputMajor { weight, groups } => {
            let base = &graph[*weight].dims;
            let sizes = |dims: &[usize]| match dims {
                [outer, inner, kernel @ ..] => Some((outer / groups, *inner, kernel.to_vec())),
                _ => None,
            };
            // No size is a multiple of 0.
            let whole = [dims, base].iter().all(|dims| dims[0].is_multiple_of(*groups));
            whole && sizes(dims).is_some_and(|(out, inp, kernel)| sizes(base) == Some((inp, out, kernel)))
        }
        ParamSource::Subpixel { weight, taps } => subpixel_dims(&graph[*weight].dims, taps).as_ref() == Some(dims),
        ParamSource::Repeated { values, times } => graph[*values].elements().checked_mul(*times) == Some(elements),
        ParamSource::Scaled { weight, norm } => {
            weight.is_none_or(|weight| graph[weight].dims == *dims) && norm_fits(graph, norm, dims[0])
        }
        ParamSource::Shifted { bias, norm } => {
            bias.is_none_or(|bias| graph[bias].dims == *dims) && norm_fits(graph, norm, elements)
        }
    };
    fits.then_some(()).ok_or_else(|| format!("its shape {dims:?} does not fit what it is made of"))
}

/// The shape of [`ParamSource::Subpixel`], if it can be made.
fn subpixel_dims(base: &[usize], taps: &[Vec<Vec<Option<usize>>>]) -> Option<Vec<usize>> {
    let [channels, inner, old @ ..] = base else { return None };
    let fits = old.len() == taps.len()
        && taps.iter().zip(old).all(|(of_dim, &old)| {
            let known = of_dim.iter().flatten().flatten().all(|&tap| tap < old);
            known && !of_dim.is_empty() && of_dim.iter().all(|taps| taps.len() == of_dim[0].len())
        });
    let positions = taps.iter().try_fold(*channels, |all, of_dim| all.checked_mul(of_dim.len()));
    let kernel = taps.iter().map(|of_dim| of_dim[0].len());
    fits.then(|| [positions, Some(*inner)].into_iter().chain(kernel.map(Some)).collect())?
}

fn norm_fits(graph: &Graph, norm: &Norm, channels: usize) -> bool {
    let eps = norm.statistics.is_none_or(|of| of.eps.is_finite() && of.eps >= 0.0);
    eps && norm.parts().all(|part| graph[part].dims == [channels])
}
