//! One node of an ONNX graph: an operator with its inputs and attributes.

use crate::front::onnx::encode::Message;
use crate::front::onnx::fields::{attribute, node};

/// An operator that is applied to values, which are named; its own name and that of its output it gets when it is added
/// to a model.
#[derive(Clone, Debug)]
pub struct Call {
    pub operator: &'static str,
    /// The opset from which on it means what is meant here, if that is later than [`OPSET`](super::OPSET).
    pub since: i64,
    inputs: Vec<String>,
    attributes: Message,
}

impl Call {
    pub fn new(operator: &'static str, inputs: impl Into<Vec<String>>) -> Call {
        Call { operator, since: super::OPSET, inputs: inputs.into(), attributes: Message::default() }
    }

    /// Demands an opset.
    pub fn since(self, opset: i64) -> Call {
        Call { since: opset, ..self }
    }

    pub fn int(self, name: &str, value: i64) -> Call {
        self.attribute(name, attribute::INT, |message| message.int(attribute::I, value))
    }

    pub fn flag(self, name: &str, value: bool) -> Call {
        self.int(name, value.into())
    }

    pub fn float(self, name: &str, value: f64) -> Call {
        self.attribute(name, attribute::FLOAT, |message| message.float(attribute::F, value as f32))
    }

    pub fn word(self, name: &str, value: &str) -> Call {
        self.attribute(name, attribute::STRING, |message| message.text(attribute::S, value))
    }

    pub fn ints(self, name: &str, values: impl IntoIterator<Item = usize>) -> Call {
        let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
        self.attribute(name, attribute::INTS, |message| message.ints(attribute::LIST_OF_INTS, &values))
    }

    fn attribute(self, name: &str, kind: i64, value: impl FnOnce(Message) -> Message) -> Call {
        let attribute = value(Message::default().text(attribute::NAME, name)).int(attribute::TYPE, kind);
        Call { attributes: self.attributes.message(node::ATTRIBUTE, &attribute), ..self }
    }

    /// As a message.
    pub fn node(&self, name: &str, output: &str) -> Message {
        let message = Message::default().texts(node::INPUT, &self.inputs).text(node::OUTPUT, output);
        let message = message.text(node::NAME, name).text(node::OPERATOR, self.operator);
        message.append(&self.attributes)
    }
}
