//! The checked graph: an arena of nodes with typed handles, each with its layer, inputs, weights and type.
//!
//! Nodes stand in topological order: a node's inputs come before it. [`verify()`] states and checks the invariants; it runs
//! after the builder and after every pass. What reads a graph demands that it was verified: [`Verified`].

pub mod integer;
pub mod weights;

mod handles;
mod print;
mod sizes;
mod verify;

pub use print::print;
pub use sizes::{FreeSize, SizeError, Sizes};
pub use verify::{MalformedGraph, Verified, verify};

use crate::layers::{Init, Op, ShapeError};
use crate::source::Span;
use crate::tensor::{Half, TensorType};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Handle of a [`Node`]; every node has one value, so it names that value too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Handle of a [`Param`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(pub u32);

/// Where a node comes from, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Dotted path of labels and numbers, for example `layer2.0.conv1`; what weight names begin with.
    pub path: String,
    /// The layer's text; `None` in graphs that were not made from a text.
    pub span: Option<Span>,
}

/// Work that was fused behind a node's own operation, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Epilogue {
    /// A pointwise activation.
    Activation(crate::layers::Activation),
    /// Adds the input with this index; it has the node's own type.
    Add { input: usize },
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    /// The layer's operands, then the gate, then those of the epilogue.
    pub inputs: Vec<NodeId>,
    pub params: Vec<ParamId>,
    pub epilogue: Vec<Epilogue>,
    /// Type of the value, after the epilogue (which does not change it).
    pub ty: TensorType,
    pub origin: Origin,
    /// The value is written directly into channels of another node's value, from this channel on.
    pub slice_of: Option<Slice>,
    /// The layer, a 1x1 convolution of one group, takes its operand times one number for each channel: the gate.
    pub gated: bool,
    /// The value, the mean over all positions of the operand, is made by the operand's own kernel.
    pub beside: bool,
}

/// Part of a concatenation that its producer writes in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub concat: NodeId,
    pub channel: usize,
}

/// A tensor of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name in weight files, or a descriptive one for derived weights.
    pub name: String,
    pub dims: Vec<usize>,
    pub source: ParamSource,
    pub init: Init,
}

impl Param {
    /// Bytes of its values: as f32, where they are neither whole numbers nor stored in 16 bits.
    pub fn bytes(&self) -> u64 {
        let of_element = match self.source {
            ParamSource::Integers { values: Integers::I8(_), .. } => 1,
            ParamSource::Half(_) => 2,
            _ => 4,
        };
        self.dims.iter().map(|&size| size as u64).fold(of_element, u64::saturating_mul)
    }

    /// Weights of eight bits, and the scale of each of the first dimension.
    pub fn weights_i8(&self) -> Option<(&[i8], &[f32])> {
        match &self.source {
            ParamSource::Integers { values: Integers::I8(values), scales } => Some((values, scales)),
            _ => None,
        }
    }

    /// The type of a weight file's numbers, where that is one of 16 bits.
    pub fn half(&self) -> Option<Half> {
        match self.source {
            ParamSource::Half(half) => Some(half),
            _ => None,
        }
    }

    /// Whether it is given in whole numbers.
    pub fn is_integer(&self) -> bool {
        matches!(self.source, ParamSource::Integers { .. })
    }

    /// A bias in whole numbers.
    pub fn bias_i32(&self) -> Option<&[i32]> {
        match &self.source {
            ParamSource::Integers { values: Integers::I32(values), .. } => Some(values),
            _ => None,
        }
    }
}

/// Where the values of a [`Param`] come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamSource {
    /// The weight file, under the parameter's name.
    File,
    /// The same, where it has them in 16 bits.
    Half(Half),
    /// The model file.
    Fixed(Arc<[f32]>),
    /// Whole numbers times a scale for each of the first dimension.
    Integers { values: Integers, scales: Arc<[f32]> },
    /// `weight` (or 1) times the factor of `norm`, which is chosen by the first dimension.
    Scaled { weight: Option<ParamId>, norm: Norm },
    /// The weights of a convolution of `groups` groups, of which `merged` become one: where an output channel of one
    /// meets the input channels of another they are 0.
    Merged { weight: ParamId, groups: usize, merged: usize },
    /// The weights of a transposed convolution, [input channels, output channels of a group, kernel], as [output channels,
    /// input channels of a group, kernel].
    OutputMajor { weight: ParamId, groups: usize },
    /// The weights of a transposed convolution, [output channels, input channels, kernel], as those of a convolution that
    /// makes the positions of a block as channels: [output channels * positions, input channels, kernel]. For each
    /// dimension, each position of the block in it, and each tap of the new kernel in it: the old tap, or none where the
    /// weight is 0.
    Subpixel { weight: ParamId, taps: Vec<Vec<Vec<Option<usize>>>> },
    /// Each element so many times.
    Repeated { values: ParamId, times: usize },
    /// `norm` of `bias` (or of 0).
    Shifted { bias: Option<ParamId>, norm: Norm },
}

/// Whole numbers of weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Integers {
    /// -127 to 127.
    I8(Arc<[i8]>),
    I32(Arc<[i32]>),
}

/// A scale and a shift of each channel: (x - mean) * gamma / sqrt(variance + eps) + beta, which is a batch norm (Ioffe and
/// Szegedy 2015, algorithm 2), without what is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    pub gamma: Option<ParamId>,
    pub beta: Option<ParamId>,
    pub statistics: Option<Statistics>,
}

/// What a batch norm knows of the values that it saw in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    pub mean: ParamId,
    pub variance: ParamId,
    pub eps: f64,
}

impl Param {
    /// Whether its values come from a weight file.
    pub fn is_read(&self) -> bool {
        matches!(self.source, ParamSource::File | ParamSource::Half(_))
    }

    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Norm {
    /// What it is made of.
    pub fn parts(&self) -> impl Iterator<Item = ParamId> + use<> {
        let statistics = self.statistics.map(|of| [of.mean, of.variance]);
        self.gamma.into_iter().chain(self.beta).chain(statistics.into_iter().flatten())
    }

    /// The same, to be renamed.
    pub fn parts_mut(&mut self) -> impl Iterator<Item = &mut ParamId> {
        let statistics = self.statistics.iter_mut().flat_map(|of| [&mut of.mean, &mut of.variance]);
        self.gamma.iter_mut().chain(&mut self.beta).chain(statistics)
    }
}

/// A value that leaves the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub name: String,
    pub node: NodeId,
}

/// A substitution of dotted components in weight names: a weight that is not in the file under its own name is
/// looked for under the renamed one.
#[derive(Clone, Debug, PartialEq)]
pub struct Rename {
    pub from: String,
    pub to: String,
}

/// A warning that is not to be given; whether it exists, those know who give it.
#[derive(Clone, Debug, PartialEq)]
pub struct Allow {
    pub lint: String,
    pub span: Span,
}

/// A network.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name of the model or of the variant.
    pub name: String,
    pub nodes: Vec<Node>,
    pub params: Vec<Param>,
    pub inputs: Vec<NodeId>,
    /// Sizes of inputs that may be given anew, in the order of inputs and dimensions.
    pub free: Vec<FreeSize>,
    /// The main output first.
    pub outputs: Vec<Output>,
    pub renames: Vec<Rename>,
    pub allows: Vec<Allow>,
    /// Paths of layers whose weights have a count in their names, in a text that labels others.
    pub counted: Vec<String>,
    /// Weights of `aux` branches that were not built; a weight file may hold them.
    pub left_out: Vec<String>,
}

impl Index<NodeId> for Graph {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl IndexMut<NodeId> for Graph {
    fn index_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }
}

impl Index<ParamId> for Graph {
    type Output = Param;
    fn index(&self, id: ParamId) -> &Param {
        &self.params[id.0 as usize]
    }
}

impl Graph {
    /// Name and type of each input.
    pub fn input_types(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        self.inputs.iter().map(|&id| (self[id].origin.path.as_str(), &self[id].ty))
    }

    /// Name and type of each output.
    pub fn output_types(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        self.outputs.iter().map(|output| (output.name.as_str(), &self[output.node].ty))
    }

    pub fn add_node(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() as u32 - 1)
    }

    pub fn add_param(&mut self, param: Param) -> ParamId {
        self.params.push(param);
        ParamId(self.params.len() as u32 - 1)
    }

    /// Adds an input of the model.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> NodeId {
        let origin = Origin { path: name.to_string(), span: None };
        let id = self.add_node(Node::new(Op::Input, Vec::new(), Vec::new(), ty, origin));
        self.inputs.push(id);
        id
    }

    /// Adds a layer with its weights, which are named `path.role`. For graphs that are not made from a text.
    ///
    /// # Errors
    /// Why the layer cannot take these inputs.
    pub fn add_layer(&mut self, op: impl Into<Op>, inputs: &[NodeId], path: &str) -> Result<NodeId, ShapeError> {
        let op = op.into();
        let layer = op.layer().expect("inputs are added by `add_input`");
        let types: Vec<&TensorType> = inputs.iter().map(|&id| &self[id].ty).collect();
        let ty = layer.shape(&types)?;
        let specs = layer.params(&types);
        let params = specs.into_iter().map(|spec| {
            let source = spec.fixed.map_or(ParamSource::File, ParamSource::Fixed);
            self.add_param(Param { name: format!("{path}.{}", spec.role), dims: spec.dims, source, init: spec.init })
        });
        let params = params.collect();
        let origin = Origin { path: path.to_string(), span: None };
        Ok(self.add_node(Node::new(op, inputs.to_vec(), params, ty, origin)))
    }

    /// All handles in topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Types of a node's layer operands (without those of the epilogue).
    pub fn operand_types(&self, node: &Node) -> Vec<&TensorType> {
        node.operands().iter().map(|&id| &self[id].ty).collect()
    }

    /// Multiply-accumulates of one sample, by the definition of the layer.
    pub fn macs(&self, id: NodeId) -> u64 {
        let node = &self[id];
        node.op.layer().map_or(0, |layer| layer.macs(&self.operand_types(node)))
    }

    /// For every node, the nodes that read it; outputs of the model are not counted.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for id in self.ids() {
            for input in &self[id].inputs {
                users[input.0 as usize].push(id);
            }
        }
        users
    }

    /// For every node, whether its value is an output of the model.
    pub fn output_values(&self) -> Vec<bool> {
        let mut is_output = vec![false; self.nodes.len()];
        self.outputs.iter().for_each(|output| is_output[output.node.0 as usize] = true);
        is_output
    }
}

impl Node {
    /// A layer that nothing is fused with.
    pub fn new(op: Op, inputs: Vec<NodeId>, params: Vec<ParamId>, ty: TensorType, origin: Origin) -> Node {
        let (epilogue, slice_of) = (Vec::new(), None);
        Node { op, inputs, params, epilogue, ty, origin, slice_of, gated: false, beside: false }
    }

    /// What to call it in a text for people: its path, or, where it has none, the layer as it is written.
    pub fn name(&self) -> String {
        match self.op.layer() {
            Some(layer) if self.origin.path.is_empty() => format!("`{layer}`"),
            _ => self.origin.path.clone(),
        }
    }

    /// The layer's own operands, without the gate and those of the epilogue.
    pub fn operands(&self) -> &[NodeId] {
        let fused = self.epilogue.iter().filter(|e| matches!(e, Epilogue::Add { .. })).count();
        &self.inputs[..self.inputs.len() - fused - usize::from(self.gated)]
    }

    /// What the channels of the operand are multiplied by before the layer reads it.
    pub fn gate(&self) -> Option<NodeId> {
        self.gated.then(|| self.inputs[self.operands().len()])
    }
}
