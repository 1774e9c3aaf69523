//! From a network in f32 to the same on whole numbers.

use super::Structure;
use crate::ir::{Graph, Integers, MalformedGraph, Node, NodeId, Param, ParamSource, Verified, verify};
use crate::layers::{Convert, Init, Op};
use crate::passes;
use crate::tensor::{DType, Quantisation};
use std::collections::HashMap;
use std::sync::Arc;

/// The whole numbers of a layer with weights.
#[derive(Clone)]
pub struct Layer {
    pub weight: Arc<[i8]>,
    /// One for each output channel.
    pub scales: Arc<[f32]>,
    pub bias: Option<Arc<[i32]>>,
}

/// What whole numbers stand for, by class of values, and those of each layer, by node.
#[derive(Clone, Default)]
pub struct Values {
    pub quantisations: HashMap<usize, Quantisation>,
    pub layers: HashMap<NodeId, Layer>,
}

/// A network on whole numbers.
pub struct Applied {
    pub graph: Verified<Graph>,
    /// Nodes of the structure, each with the one of the graph that makes its value.
    pub nodes: Vec<(NodeId, NodeId)>,
}

/// The network on whole numbers.
///
/// # Errors
/// Where the numbers do not go together.
///
/// # Panics
/// If `values` do not have all that the structure needs.
pub fn apply(structure: &Structure, values: &Values) -> Result<Applied, MalformedGraph> {
    let old = &structure.graph;
    let graph = Graph { nodes: Vec::new(), ..old.clone().into_inner() };
    let count = old.nodes.len();
    let (real, whole) = (vec![None; count], vec![None; count]);
    let mut making = Making { structure, values, graph, real, whole, nodes: Vec::new() };
    structure.ids().for_each(|id| making.add(id));
    let outputs = old.outputs.iter().map(|output| making.real(output.node)).collect::<Vec<_>>();
    let Making { mut graph, real, nodes, .. } = making;
    graph.inputs.iter_mut().for_each(|input| *input = real[input.0 as usize].expect("inputs are f32"));
    graph.outputs.iter_mut().zip(outputs).for_each(|(output, node)| output.node = node);
    passes::sweep_params(&mut graph);
    Ok(Applied { graph: verify(graph)?, nodes })
}

struct Making<'s> {
    structure: &'s Structure,
    values: &'s Values,
    graph: Graph,
    /// By node of the structure, its value in f32 and in whole numbers, where it is there.
    real: Vec<Option<NodeId>>,
    whole: Vec<Option<NodeId>>,
    /// See [`Applied::nodes`].
    nodes: Vec<(NodeId, NodeId)>,
}

impl Making<'_> {
    fn add(&mut self, id: NodeId) {
        let integer = self.structure.is_integer(id);
        let mut node = self.structure.graph[id].clone();
        let parted = integer && self.structure.is_parted(id);
        let read = |making: &mut Self, &input: &NodeId| match integer {
            true if parted => making.brought(input, DType::U8(making.quantisation(id))),
            true => making.whole(input),
            false => making.real(input),
        };
        node.inputs = self.structure.graph[id].inputs.iter().map(|input| read(self, input)).collect();
        let made_whole = integer && (self.structure.is_whole(id) || !node.epilogue.is_empty());
        if made_whole {
            node.ty = node.ty.with_dtype(DType::U8(self.quantisation(id)));
        }
        if self.structure.is_product(id) {
            self.take_weights(id, &mut node);
        }
        let new = self.graph.add_node(node);
        self.nodes.push((id, new));
        if made_whole { self.whole[id.0 as usize] = Some(new) } else { self.real[id.0 as usize] = Some(new) }
    }

    fn take_weights(&mut self, id: NodeId, node: &mut Node) {
        let Layer { weight, scales, bias } = self.values.layers[&id].clone();
        let (name, dims) = (self.structure.name(id), self.structure.graph[node.params[0]].dims.clone());
        let channels = vec![dims[0]];
        let integers = |role, dims, values| {
            let source = ParamSource::Integers { values, scales: scales.clone() };
            Param { name: format!("{name}.{role}"), dims, source, init: Init::Small }
        };
        let params = [Some(integers("weight", dims, Integers::I8(weight)))].into_iter();
        let params = params.chain([bias.clone().map(|bias| integers("bias", channels, Integers::I32(bias)))]);
        node.params = params.flatten().map(|param| self.graph.add_param(param)).collect();
        match &mut node.op {
            Op::Conv(conv) => conv.bias = bias.is_some(),
            Op::Dense(dense) => dense.bias = bias.is_some(),
            _ => unreachable!("no other layer has weights of eight bits"),
        }
    }

    fn quantisation(&self, id: NodeId) -> Quantisation {
        self.values.quantisations[&self.structure.class(id)]
    }

    fn real(&mut self, id: NodeId) -> NodeId {
        let made = self.whole[id.0 as usize];
        let known = self.real[id.0 as usize];
        known.unwrap_or_else(|| self.convert(id, made.expect("operands come first"), DType::F32))
    }

    fn whole(&mut self, id: NodeId) -> NodeId {
        let made = self.real[id.0 as usize];
        let known = self.whole[id.0 as usize];
        known.unwrap_or_else(|| {
            let dtype = DType::U8(self.quantisation(id));
            self.convert(id, made.expect("operands come first"), dtype)
        })
    }

    /// A value in whole numbers, brought to those of this type.
    fn brought(&mut self, id: NodeId, dtype: DType) -> NodeId {
        let whole = self.whole(id);
        if self.graph[whole].ty.dtype == dtype { whole } else { self.as_type(whole, dtype) }
    }

    fn as_type(&mut self, from: NodeId, dtype: DType) -> NodeId {
        let Node { ty, origin, .. } = &self.graph[from];
        let node = Node::new(Convert.into(), vec![from], Vec::new(), ty.with_dtype(dtype), origin.clone());
        self.graph.add_node(node)
    }

    fn convert(&mut self, id: NodeId, from: NodeId, dtype: DType) -> NodeId {
        let new = self.as_type(from, dtype);
        let of = if dtype == DType::F32 { &mut self.real } else { &mut self.whole };
        of[id.0 as usize] = Some(new);
        new
    }
}
