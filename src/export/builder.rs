//! The model that is being made: names, values, weights and constants.

use super::call::Call;
use super::{Model, OPSET, Refusal, is_fused, layers, whole};
use crate::diagnostic::Diagnostic;
use crate::front::onnx::encode::Message;
use crate::front::onnx::fields::{entry, graph, model, opset, tensor, value};
use crate::ir::{Graph, Integers, Node, NodeId, ParamId, ParamSource, integer};
use crate::layers::{Op, Window};
use crate::tensor::{Batch, DType, TensorType};
use std::collections::{HashMap, HashSet};

/// What a layer ends in.
pub enum Step {
    /// A node whose output is the layer's value.
    Call(Call),
    /// A value that is there already: the layer does nothing.
    Same(String),
}

impl From<Call> for Step {
    fn from(call: Call) -> Step {
        Step::Call(call)
    }
}

/// A tensor whose values come when the model is written.
pub struct Weight {
    pub name: String,
    /// Those of the parameter, or others of as many elements.
    pub dims: Vec<usize>,
    pub param: ParamId,
    /// The number of its element type.
    pub element: i64,
    /// The groups of a transposed convolution whose weights are by output channel, and are written by input channel.
    pub turned: Option<usize>,
}

/// A size of a sample; `None` where it is free.
pub type Size = Option<usize>;

/// A value whose positions, multiplied and divided by these, are those of a layer.
pub struct Scaled {
    pub value: String,
    pub times: Vec<i64>,
    pub parts: Vec<i64>,
}

pub struct Builder<'g> {
    graph: &'g Graph,
    /// It, and the same for other free sizes.
    all: Vec<&'g Graph>,
    opset: i64,
    names: Names,
    /// The value of each node so far.
    values: Vec<String>,
    /// The name of each output, in their order.
    outputs: Vec<String>,
    /// The fields of `GraphProto` but the weights.
    body: Message,
    weights: Vec<Weight>,
}

impl<'g> Builder<'g> {
    /// `all` have the same nodes.
    pub fn new(graph: &'g Graph, all: &[&'g Graph]) -> Builder<'g> {
        let mut names = Names::default();
        let inputs: Vec<String> = graph.inputs.iter().map(|&id| names.take(&graph[id].origin.path)).collect();
        let outputs = graph.outputs.iter().map(|output| names.take(&output.name)).collect();
        let body = Message::default().text(graph::NAME, &graph.name);
        let values = vec![String::new(); graph.nodes.len()];
        let all = all.to_vec();
        let mut builder = Builder { graph, all, opset: OPSET, names, values, outputs, body, weights: Vec::new() };
        for (index, (&id, name)) in graph.inputs.iter().zip(inputs).enumerate() {
            let sizes = builder.sizes(id).into_iter().enumerate();
            let sizes: Vec<Message> = sizes.map(|(dim, size)| dimension(size, graph.free_size(index, dim))).collect();
            builder.add(graph::INPUT, &value_info(&name, tensor::FLOAT, &graph[id].ty, &sizes));
            builder.values[id.0 as usize] = name;
        }
        builder
    }

    /// The sizes of a value.
    fn sizes(&self, id: NodeId) -> Vec<Size> {
        let is_fixed = |dim: usize, size: usize| self.all.iter().all(|graph| graph[id].ty.dims[dim] == size);
        let sizes = self.graph[id].ty.dims.iter().enumerate();
        sizes.map(|(dim, &size)| is_fixed(dim, size).then_some(size)).collect()
    }

    /// Where the nodes of a layer are added.
    fn site(&mut self, id: NodeId) -> Site<'_, 'g> {
        let node = &self.graph[id];
        let scope = node.origin.path.split('.').filter(|part| !part.is_empty());
        let scope = scope.map(|part| format!("/{part}")).collect();
        Site { builder: self, id, node, scope }
    }

    /// Adds the nodes of a layer, whose value gets the name of the first output that it is. What was said, for comparison.
    ///
    /// # Errors
    /// Why there is nothing to say; its value is then one without a name.
    pub fn add_layer(&mut self, id: NodeId) -> Result<Vec<u8>, Diagnostic> {
        let (start, node) = (self.body.bytes().len(), &self.graph[id]);
        let step = match is_fused(node) && !integer::concerns(self.graph, node) {
            true => Err(Refusal::new("other work is fused with it", "export the graph before any pass")),
            false => layers::step(&mut self.site(id)).map(|step| whole::behind(&mut self.site(id), step)),
        };
        let step = step.map_err(|refusal| refusal.diagnostic(node))?;
        self.values[id.0 as usize] = match step {
            Step::Same(value) => value,
            Step::Call(call) => {
                let output = self.graph.outputs.iter().position(|output| output.node == id);
                let output = output.map(|index| self.outputs[index].clone());
                let sizes = self.sizes(id);
                self.site(id).call(call, output, tensor::FLOAT, &sizes)
            }
        };
        let dims = node.params.iter().flat_map(|&param| &self.graph[param].dims).flat_map(|size| size.to_le_bytes());
        Ok(self.body.bytes()[start..].iter().copied().chain(dims).collect())
    }

    /// The finished model.
    pub fn model(mut self, metadata: &[(&str, String)]) -> Model<'g> {
        self.name_outputs();
        // The versions that were current together: onnx/helper.py, VERSION_TABLE.
        let ir_version = if self.opset < 19 {
            8
        } else if self.opset < 21 {
            9
        } else {
            10
        };
        let head = Message::default()
            .int(model::IR_VERSION, ir_version)
            .text(model::PRODUCER_NAME, "svertka")
            .text(model::PRODUCER_VERSION, env!("CARGO_PKG_VERSION"))
            .message(model::OPSET_IMPORT, &Message::default().text(opset::DOMAIN, "").int(opset::VERSION, self.opset));
        let head = metadata.iter().fold(head, |head, (key, value)| {
            head.message(model::METADATA, &Message::default().text(entry::KEY, key).text(entry::VALUE, value))
        });
        Model { graph: self.graph, head, body: self.body, weights: self.weights }
    }

    /// Declares the outputs. One whose name no node gave to its value (an input, or a value that is an output already)
    /// is a copy.
    fn name_outputs(&mut self) {
        for (output, name) in self.graph.outputs.iter().zip(self.outputs.clone()) {
            let id = output.node;
            let (value, sizes) = (self.values[id.0 as usize].clone(), self.sizes(id));
            if value != name {
                let copied = Call::new("Identity", [value]);
                self.site(id).call(copied, Some(name.clone()), tensor::FLOAT, &sizes);
            }
            let sizes: Vec<Message> = sizes.iter().map(|&size| dimension(size, None)).collect();
            self.add(graph::OUTPUT, &value_info(&name, tensor::FLOAT, &self.graph[id].ty, &sizes));
        }
    }

    fn add(&mut self, field: u32, message: &Message) {
        self.body = std::mem::take(&mut self.body).message(field, message);
    }
}

/// A layer whose nodes are being added.
pub struct Site<'b, 'g> {
    builder: &'b mut Builder<'g>,
    id: NodeId,
    pub node: &'g Node,
    /// What the names of nodes begin with: `/layer1/0/conv1`.
    scope: String,
}

impl<'g> Site<'_, 'g> {
    /// Whether whole numbers are brought to other ones which a concatenation has, that says so itself.
    pub fn is_brought_to_concat(&self) -> bool {
        let graph = self.builder.graph;
        let is_whole = |node: &Node| graph[node.inputs[0]].ty.dtype != DType::F32;
        let mut readers = graph.nodes.iter().filter(|reader| reader.inputs.contains(&self.id));
        matches!(self.node.op, Op::Convert(_))
            && is_whole(self.node)
            && readers.all(|reader| matches!(reader.op, Op::Concat(_)))
    }

    /// The value of an operand.
    pub fn input(&self, index: usize) -> String {
        self.builder.values[self.node.inputs[index].0 as usize].clone()
    }

    /// Those of all operands, without what is fused behind the layer.
    pub fn inputs(&self) -> Vec<String> {
        (0..self.node.operands().len()).map(|index| self.input(index)).collect()
    }

    pub fn input_type(&self, index: usize) -> &'g TensorType {
        &self.builder.graph[self.node.inputs[index]].ty
    }

    /// The sizes of an operand.
    pub fn sizes(&self, index: usize) -> Vec<Size> {
        self.builder.sizes(self.node.inputs[index])
    }

    /// The sizes of the layer's value.
    pub fn own_sizes(&self) -> Vec<Size> {
        self.builder.sizes(self.id)
    }

    /// A value that is there already and has the positions of the layer's value, whatever the free sizes are.
    pub fn as_large(&self) -> Option<String> {
        let Builder { all, values, .. } = &*self.builder;
        let is_as_large = |id: &NodeId| all.iter().all(|graph| graph[*id].ty.spatial() == graph[self.id].ty.spatial());
        let before = self.builder.graph.ids().take_while(|id| *id != self.id);
        before.into_iter().find(is_as_large).map(|id| values[id.0 as usize].clone())
    }

    /// The last value on the way to the layer whose positions are parts or multiples of the layer's, whatever the free sizes
    /// are.
    pub fn scaled(&self) -> Option<Scaled> {
        let graph = self.builder.graph;
        let before = |id: &NodeId| graph[*id].inputs.first().copied();
        let way = std::iter::successors(before(&self.id), before);
        way.filter(|id| graph[*id].ty.spatial().len() == self.node.ty.spatial().len()).find_map(|id| self.scale_of(id))
    }

    fn scale_of(&self, id: NodeId) -> Option<Scaled> {
        let Builder { all, values, .. } = &*self.builder;
        let rank = self.node.ty.spatial().len();
        let sizes =
            |dim: usize| all.iter().map(move |graph| (graph[id].ty.spatial()[dim], graph[self.id].ty.spatial()[dim]));
        let factors = |dim: usize| {
            let (from, to) = sizes(dim).next()?;
            let (times, parts) = ((to / from).max(1), (from / to).max(1));
            sizes(dim).all(|(from, to)| from * times / parts == to).then_some((times as i64, parts as i64))
        };
        let (times, parts) = (0..rank).map(factors).collect::<Option<Vec<_>>>()?.into_iter().unzip();
        Some(Scaled { value: values[id.0 as usize].clone(), times, parts })
    }

    /// Whether the layer's value has a dimension of the first operand, whatever the free sizes are.
    pub fn keeps(&self, dim: usize) -> bool {
        self.builder.all.iter().all(|graph| graph[self.node.inputs[0]].ty.dims[dim] == graph[self.id].ty.dims[dim])
    }

    /// Whether the layer is a pooling of all positions, whatever the free sizes are, which passes made a window of them.
    pub fn sees_all(&self) -> bool {
        let Builder { graph, all, .. } = &*self.builder;
        let is_lowered = graph.nodes.iter().any(|node| integer::concerns(graph, node));
        let sees_all = |graph: &&Graph| {
            let whole = Window::whole(graph[self.node.inputs[0]].ty.spatial());
            match &graph[self.id].op {
                Op::AvgPool(pool) => pool.window == whole,
                Op::MaxPool(pool) => pool.window == whole,
                _ => false,
            }
        };
        is_lowered && all.iter().all(sees_all)
    }

    /// By what the positions of the first operand are multiplied, whatever the free sizes are.
    pub fn factors(&self) -> Option<Vec<usize>> {
        let of = |graph: &Graph| -> Option<Vec<usize>> {
            let (from, to) = (graph[self.node.inputs[0]].ty.spatial(), graph[self.id].ty.spatial());
            let factor = |(from, to): (&usize, &usize)| to.is_multiple_of(*from).then_some(to / from);
            from.iter().zip(to).map(factor).collect()
        };
        let factors = of(self.builder.graph)?;
        self.builder.all.iter().all(|graph| of(graph).as_ref() == Some(&factors)).then_some(factors)
    }

    /// Whether a size of the first operand is free.
    pub fn is_free(&self) -> bool {
        self.sizes(0).contains(&None)
    }

    /// All weights of the layer, in its order and their shapes.
    pub fn weights(&mut self) -> Vec<String> {
        let (graph, node) = (self.builder.graph, self.node);
        let weight = |&param: &ParamId| match &graph[param].source {
            ParamSource::Integers { values, scales } => self.whole_weight(param, values, scales),
            _ => self.weight(param, tensor::FLOAT, graph[param].dims.clone()),
        };
        node.params.iter().map(weight).collect()
    }

    /// All weights of a transposed convolution that has them by output channel.
    pub fn turned_weights(&mut self, groups: usize) -> Vec<String> {
        let (graph, param) = (self.builder.graph, self.node.params[0]);
        let weight = match graph[param].source {
            ParamSource::OutputMajor { weight, .. } => self.weight(weight, tensor::FLOAT, graph[weight].dims.clone()),
            _ => {
                let mut dims = graph[param].dims.clone();
                (dims[0], dims[1]) = (dims[1] * groups, dims[0] / groups);
                let name = self.weight(param, tensor::FLOAT, dims);
                self.builder.weights.last_mut().expect("it was added").turned = Some(groups);
                name
            }
        };
        let bias = self.node.params.get(1);
        let bias = bias.map(|&bias| self.weight(bias, tensor::FLOAT, graph[bias].dims.clone()));
        [weight].into_iter().chain(bias).collect()
    }

    /// A weight of whole numbers behind DequantizeLinear.
    fn whole_weight(&mut self, param: ParamId, values: &Integers, scales: &[f32]) -> String {
        let graph = self.builder.graph;
        let (dims, name) = (graph[param].dims.clone(), &graph[param].name);
        let (element, steps, zero) = match values {
            Integers::I8(_) => (tensor::INT8, scales.to_vec(), 1),
            Integers::I32(_) => (tensor::INT32, whole::steps(graph, self.node, scales), 4),
        };
        let of_each = [scales.len()];
        let bytes: Vec<u8> = steps.iter().flat_map(|value| value.to_le_bytes()).collect();
        let scale = self.named(&format!("{name}_scale"), tensor::FLOAT, &of_each, &bytes);
        let zero = self.named(&format!("{name}_zero_point"), element, &of_each, &vec![0; zero * scales.len()]);
        let weight = self.weight(param, element, dims);
        self.list(Call::new("DequantizeLinear", [weight, scale, zero]).int("axis", 0))
    }

    /// The weight with this index, if the layer has one: a number for each channel, in the shape that meets the channels
    /// of the operand.
    pub fn channel_weight(&mut self, index: usize) -> Option<String> {
        let param = *self.node.params.get(index)?;
        let channels = self.builder.graph[param].dims[0];
        let dims = [vec![channels], vec![1; self.input_type(0).spatial().len()]].concat();
        Some(self.weight(param, tensor::FLOAT, dims))
    }

    /// A weight in another shape.
    fn weight(&mut self, param: ParamId, element: i64, dims: Vec<usize>) -> String {
        let name = self.builder.names.take(&self.builder.graph[param].name);
        self.builder.weights.push(Weight { name: name.clone(), dims, param, element, turned: None });
        name
    }

    /// A constant list of integers.
    pub fn integers(&mut self, role: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(role, tensor::INT64, &[values.len()], &bytes)
    }

    /// A constant column of integers.
    pub fn column(&mut self, role: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(role, tensor::INT64, &[values.len(), 1], &bytes)
    }

    /// A constant integer that is no list.
    pub fn integer(&mut self, role: &str, value: i64) -> String {
        self.constant(role, tensor::INT64, &[], &value.to_le_bytes())
    }

    pub fn floats(&mut self, role: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(role, tensor::FLOAT, dims, &bytes)
    }

    pub fn scalar(&mut self, role: &str, value: f64) -> String {
        self.floats(role, &[], &[value as f32])
    }

    /// A constant of eight bits.
    pub fn byte(&mut self, role: &str, value: u8) -> String {
        self.constant(role, tensor::UINT8, &[], &[value])
    }

    fn constant(&mut self, role: &str, kind: i64, dims: &[usize], bytes: &[u8]) -> String {
        self.named(&format!("{}/{role}", self.scope), kind, dims, bytes)
    }

    fn named(&mut self, name: &str, kind: i64, dims: &[usize], bytes: &[u8]) -> String {
        let name = self.builder.names.take(name);
        let head = tensor_head(&name, kind, dims);
        self.builder.add(graph::INITIALIZER, &head.blob(tensor::RAW_DATA, bytes));
        name
    }

    /// A value between the layer's nodes; `sizes` are those of a sample.
    pub fn value(&mut self, call: Call, sizes: &[impl Copy + Into<Size>]) -> String {
        let sizes: Vec<Size> = sizes.iter().map(|&size| size.into()).collect();
        self.call(call, None, tensor::FLOAT, &sizes)
    }

    /// The same in whole numbers.
    pub fn bytes(&mut self, call: Call, sizes: &[Size]) -> String {
        self.call(call, None, tensor::UINT8, sizes)
    }

    /// The value of a step that others follow; `sizes` are those of a sample.
    pub fn done(&mut self, step: Step, sizes: &[impl Copy + Into<Size>]) -> String {
        match step {
            Step::Call(call) => self.value(call, sizes),
            Step::Same(value) => value,
        }
    }

    /// Integers that are computed: a list without a batch.
    pub fn list(&mut self, call: Call) -> String {
        self.node(call, None)
    }

    /// Adds a node; its value is called `output`, or after the node, and then declared.
    fn call(&mut self, call: Call, output: Option<String>, element: i64, sizes: &[Size]) -> String {
        let is_output = output.is_some();
        let value = self.node(call, output);
        if !is_output {
            let sizes: Vec<Message> = sizes.iter().map(|&size| dimension(size, None)).collect();
            let declared = value_info(&value, element, &self.node.ty, &sizes);
            self.builder.add(graph::VALUE_INFO, &declared);
        }
        value
    }

    fn node(&mut self, call: Call, output: Option<String>) -> String {
        let builder = &mut *self.builder;
        builder.opset = builder.opset.max(call.since);
        let name = builder.names.take(&format!("{}/{}", self.scope, call.operator));
        let value = output.unwrap_or_else(|| builder.names.take(&format!("{name}_output_0")));
        builder.add(graph::NODE, &call.node(&name, &value));
        value
    }
}

/// The fields of a tensor but its values.
pub fn tensor_head(name: &str, kind: i64, dims: &[usize]) -> Message {
    let dims: Vec<i64> = dims.iter().map(|&size| size as i64).collect();
    Message::default().ints(tensor::DIMS, &dims).int(tensor::ELEMENT_TYPE, kind).text(tensor::NAME, name)
}

/// A dimension: a size, or else a name, or neither.
fn dimension(size: Size, name: Option<&str>) -> Message {
    match (size, name) {
        (Some(size), _) => Message::default().int(value::SIZE, size as i64),
        (None, Some(name)) => Message::default().text(value::SYMBOL, name),
        (None, None) => Message::default(),
    }
}

/// Name and type of a value, which has the batch of `ty`.
fn value_info(name: &str, element: i64, ty: &TensorType, sizes: &[Message]) -> Message {
    let batch = match &ty.batch {
        Batch::Symbolic(name) => dimension(None, Some(name)),
        Batch::Fixed(batch) => dimension(Some(*batch), None),
    };
    let shape = [&batch].into_iter().chain(sizes);
    let shape = shape.fold(Message::default(), |shape, dim| shape.message(value::DIMENSION, dim));
    let tensor = Message::default().int(value::ELEMENT_TYPE, element).message(value::SHAPE, &shape);
    let ty = Message::default().message(value::TENSOR_TYPE, &tensor);
    Message::default().text(value::NAME, name).message(value::TYPE, &ty)
}

/// The names that are taken: ONNX has one space of them for values, weights and constants.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// How often a name was asked for.
    asked: HashMap<String, usize>,
}

impl Names {
    /// The name itself, or with the first number behind it that makes it a new one.
    fn take(&mut self, wanted: &str) -> String {
        let asked = self.asked.entry(wanted.to_owned()).or_default();
        loop {
            let name = if *asked == 0 { wanted.to_owned() } else { format!("{wanted}_{asked}") };
            *asked += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names = Names::default();
        let taken = ["a", "a_1", "a", "a", ""].map(|name| names.take(name));
        assert_eq!(taken, ["a", "a_1", "a_2", "a_3", ""]);
    }
}
