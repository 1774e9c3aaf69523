//! The model that is being made: names, values, weights and constants.

use super::call::Call;
use super::{Model, OPSET};
use crate::front::onnx::encode::Message;
use crate::front::onnx::fields::{entry, graph, model, opset, tensor, value};
use crate::ir::{Graph, Node, NodeId, ParamId};
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
}

pub struct Builder<'g> {
    graph: &'g Graph,
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
    pub fn new(graph: &'g Graph) -> Builder<'g> {
        let mut names = Names::default();
        let inputs: Vec<String> = graph.inputs.iter().map(|&id| names.take(&graph[id].origin.path)).collect();
        let outputs = graph.outputs.iter().map(|output| names.take(&output.name)).collect();
        let mut body = Message::default().text(graph::NAME, &graph.name);
        let mut values = vec![String::new(); graph.nodes.len()];
        for (&id, name) in graph.inputs.iter().zip(inputs) {
            body = body.message(graph::INPUT, &value_info(&name, &graph[id].ty));
            values[id.0 as usize] = name;
        }
        Builder { graph, opset: OPSET, names, values, outputs, body, weights: Vec::new() }
    }

    /// Where the nodes of a layer are added.
    pub fn site(&mut self, node: &'g Node) -> Site<'_, 'g> {
        let scope = node.origin.path.split('.').filter(|part| !part.is_empty());
        let scope = scope.map(|part| format!("/{part}")).collect();
        Site { builder: self, node, scope }
    }

    /// Ends the layer of `id`, whose value gets the name of the first output that it is.
    pub fn finish(&mut self, id: NodeId, step: Step) {
        let node = &self.graph[id];
        self.values[id.0 as usize] = match step {
            Step::Same(value) => value,
            Step::Call(call) => {
                let output = self.graph.outputs.iter().position(|output| output.node == id);
                let output = output.map(|index| self.outputs[index].clone());
                self.site(node).call(call, output, &node.ty)
            }
        };
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
            let node = &self.graph[output.node];
            let value = self.values[output.node.0 as usize].clone();
            if value != name {
                let copied = Call::new("Identity", [value]);
                self.site(node).call(copied, Some(name.clone()), &node.ty);
            }
            let declared = std::mem::take(&mut self.body).message(graph::OUTPUT, &value_info(&name, &node.ty));
            self.body = declared;
        }
    }

    fn add(&mut self, field: u32, message: &Message) {
        self.body = std::mem::take(&mut self.body).message(field, message);
    }
}

/// A layer whose nodes are being added.
pub struct Site<'b, 'g> {
    builder: &'b mut Builder<'g>,
    pub node: &'g Node,
    /// What the names of nodes begin with: `/layer1/0/conv1`.
    scope: String,
}

impl<'g> Site<'_, 'g> {
    /// The value of an operand.
    pub fn input(&self, index: usize) -> String {
        self.builder.values[self.node.inputs[index].0 as usize].clone()
    }

    pub fn inputs(&self) -> Vec<String> {
        (0..self.node.inputs.len()).map(|index| self.input(index)).collect()
    }

    pub fn input_type(&self, index: usize) -> &'g TensorType {
        &self.builder.graph[self.node.inputs[index]].ty
    }

    /// All weights of the layer, in its order and their shapes.
    pub fn weights(&mut self) -> Vec<String> {
        let graph = self.builder.graph;
        self.node.params.iter().map(|&param| self.weight(param, graph[param].dims.clone())).collect()
    }

    /// The weight with this index, if the layer has one: a number for each channel, in the shape that meets the channels
    /// of the operand.
    pub fn channel_weight(&mut self, index: usize) -> Option<String> {
        let param = *self.node.params.get(index)?;
        let channels = self.builder.graph[param].dims[0];
        let dims = [vec![channels], vec![1; self.input_type(0).spatial().len()]].concat();
        Some(self.weight(param, dims))
    }

    /// A weight in another shape.
    fn weight(&mut self, param: ParamId, dims: Vec<usize>) -> String {
        let name = self.builder.names.take(&self.builder.graph[param].name);
        self.builder.weights.push(Weight { name: name.clone(), dims, param });
        name
    }

    /// A constant list of integers.
    pub fn integers(&mut self, role: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(role, tensor::INT64, &[values.len()], &bytes)
    }

    pub fn floats(&mut self, role: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(role, tensor::FLOAT, dims, &bytes)
    }

    pub fn scalar(&mut self, role: &str, value: f64) -> String {
        self.floats(role, &[], &[value as f32])
    }

    fn constant(&mut self, role: &str, kind: i64, dims: &[usize], bytes: &[u8]) -> String {
        let name = self.builder.names.take(&format!("{}/{role}", self.scope));
        let head = tensor_head(&name, kind, dims);
        self.builder.add(graph::INITIALIZER, &head.blob(tensor::RAW_DATA, bytes));
        name
    }

    /// A value between the layer's nodes; `dims` are those of a sample.
    pub fn value(&mut self, call: Call, dims: &[usize]) -> String {
        let ty = self.input_type(0).with_dims(dims);
        self.call(call, None, &ty)
    }

    /// The value of a step that others follow; `dims` are those of a sample.
    pub fn done(&mut self, step: Step, dims: &[usize]) -> String {
        match step {
            Step::Call(call) => self.value(call, dims),
            Step::Same(value) => value,
        }
    }

    /// Adds a node; its value is called `output`, or after the node.
    fn call(&mut self, call: Call, output: Option<String>, ty: &TensorType) -> String {
        let builder = &mut *self.builder;
        builder.opset = builder.opset.max(call.since);
        let name = builder.names.take(&format!("{}/{}", self.scope, call.operator));
        let value = match output {
            Some(output) => output,
            None => {
                let value = builder.names.take(&format!("{name}_output_0"));
                builder.add(graph::VALUE_INFO, &value_info(&value, ty));
                value
            }
        };
        builder.add(graph::NODE, &call.node(&name, &value));
        value
    }
}

/// The fields of a tensor but its values.
pub fn tensor_head(name: &str, kind: i64, dims: &[usize]) -> Message {
    let dims: Vec<i64> = dims.iter().map(|&size| size as i64).collect();
    Message::default().ints(tensor::DIMS, &dims).int(tensor::ELEMENT_TYPE, kind).text(tensor::NAME, name)
}

/// Name and type of a value.
fn value_info(name: &str, ty: &TensorType) -> Message {
    let size = |size: usize| Message::default().int(value::SIZE, size as i64);
    let batch = match &ty.batch {
        Batch::Symbolic(name) => Message::default().text(value::SYMBOL, name),
        Batch::Fixed(batch) => size(*batch),
    };
    let shape = [batch].into_iter().chain(ty.dims.iter().map(|&dim| size(dim)));
    let shape = shape.fold(Message::default(), |shape, dim| shape.message(value::DIMENSION, &dim));
    let DType::F32 = ty.dtype;
    let tensor = Message::default().int(value::ELEMENT_TYPE, tensor::FLOAT).message(value::SHAPE, &shape);
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
