//! A node as its operator's rule sees it: operands that are known or computed, and attributes.

use super::Refusal;
use super::constant::Const;
use super::flow::Flow;
use super::proto::{Attribute, Node, Tensor};
use super::whole::{Whole, whole_numbers};
use std::cell::RefCell;

/// A value of the file.
#[derive(Clone)]
pub enum Value {
    Const(Const),
    Flow(Flow),
    Whole(Whole),
    /// What makes it, or what that needs, was refused.
    Missing,
}

impl From<Const> for Value {
    fn from(constant: Const) -> Value {
        Value::Const(constant)
    }
}

impl From<Flow> for Value {
    fn from(flow: Flow) -> Value {
        Value::Flow(flow)
    }
}

/// The values that a node gives.
pub type Outputs = Result<Vec<Value>, Refusal>;

/// A node with its operands.
pub struct Call<'a> {
    pub node: &'a Node<'a>,
    /// Version of the operator set.
    pub opset: i64,
    /// `None` for those that are left out.
    inputs: Vec<Option<Value>>,
    /// Attributes that the rule asked for: one that it did not is one that it does not know.
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Call<'a> {
    pub fn new(node: &'a Node<'a>, inputs: Vec<Option<Value>>) -> Call<'a> {
        Call { node, opset: node.version, inputs, asked: RefCell::default() }
    }

    /// The same node with other operands.
    pub fn with(&self, inputs: Vec<Option<Value>>) -> Call<'a> {
        Call { inputs, asked: RefCell::default(), ..*self }
    }

    /// Attributes that the rule asked `other` for are known.
    pub fn knows(&self, other: &Call) {
        self.asked.borrow_mut().extend(other.asked.borrow().iter());
    }

    pub fn count(&self) -> usize {
        self.inputs.len()
    }

    /// An operand that may be left out.
    pub fn optional(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index)?.as_ref()
    }

    pub fn value(&self, index: usize) -> Result<&Value, Refusal> {
        self.optional(index).ok_or_else(|| Refusal::new(format!("operand {index} is missing")))
    }

    /// An operand that is known before the network runs.
    pub fn constant(&self, index: usize) -> Result<&Const, Refusal> {
        match self.value(index)? {
            Value::Const(constant) => Ok(constant),
            _ => {
                let name = self.node.inputs[index];
                Err(Refusal::new(format!("`{name}` is computed by the network; it must be a constant of the file")))
            }
        }
    }

    pub fn optional_constant(&self, index: usize) -> Result<Option<&Const>, Refusal> {
        self.optional(index).map(|_| self.constant(index)).transpose()
    }

    /// An operand that the network computes.
    pub fn flow(&self, index: usize) -> Result<&Flow, Refusal> {
        match self.value(index)? {
            Value::Flow(flow) => Ok(flow),
            Value::Whole(_) => Err(whole_numbers()),
            _ => {
                let name = self.node.inputs[index];
                Err(Refusal::new(format!("`{name}` is a constant; nothing is computed from it")))
            }
        }
    }

    /// The operands, if all are constants.
    pub fn all_constant(&self) -> Option<Vec<&Const>> {
        let constant = |value: &'_ Option<Value>| matches!(value, Some(Value::Const(_)));
        if !self.inputs.iter().all(constant) {
            return None;
        }
        (0..self.count()).map(|index| self.constant(index).ok()).collect()
    }

    /// An attribute, if the node has it.
    pub fn attribute(&self, name: &'static str) -> Option<&'a Attribute<'a>> {
        self.asked.borrow_mut().push(name);
        // The last of several, as for any number that is given twice.
        self.node.attributes.iter().rev().find(|attribute| attribute.name == name)
    }

    fn of_kind(&self, name: &'static str, kind: i64, what: &str) -> Result<Option<&'a Attribute<'a>>, Refusal> {
        match self.attribute(name) {
            Some(attribute) if attribute.kind == kind || attribute.kind == 0 => Ok(Some(attribute)),
            Some(_) => Err(Refusal::new(format!("attribute `{name}` is not {what}"))),
            None => Ok(None),
        }
    }

    pub fn int(&self, name: &'static str, default: i64) -> Result<i64, Refusal> {
        Ok(self.of_kind(name, 2, "an integer")?.map_or(default, |attribute| attribute.int))
    }

    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, Refusal> {
        Ok(self.int(name, default.into())? != 0)
    }

    pub fn float(&self, name: &'static str, default: f32) -> Result<f32, Refusal> {
        Ok(self.of_kind(name, 1, "a number")?.map_or(default, |attribute| attribute.float))
    }

    pub fn text(&self, name: &'static str, default: &'static str) -> Result<&'a str, Refusal> {
        match self.of_kind(name, 3, "a text")? {
            Some(attribute) => attribute.text.text().map_err(|e| Refusal::new(e.to_string())),
            None => Ok(default),
        }
    }

    pub fn ints(&self, name: &'static str) -> Result<Option<&'a [i64]>, Refusal> {
        Ok(self.of_kind(name, 7, "a list of integers")?.map(|attribute| &attribute.ints[..]))
    }

    pub fn floats(&self, name: &'static str) -> Result<Option<&'a [f32]>, Refusal> {
        Ok(self.of_kind(name, 6, "a list of numbers")?.map(|attribute| &attribute.floats[..]))
    }

    pub fn tensor(&self, name: &'static str) -> Result<Option<&'a Tensor<'a>>, Refusal> {
        Ok(self.of_kind(name, 4, "a tensor")?.and_then(|attribute| attribute.tensor.as_deref()))
    }

    /// Integers that are an attribute up to some version of the operator, and an operand from `since` on.
    pub fn moved_ints(&self, name: &'static str, operand: usize, since: i64) -> Result<Option<Vec<i64>>, Refusal> {
        let wrong = |what: &str| {
            Refusal::new(format!("`{name}` is an {what}, which operator set {} does not know", self.opset))
        };
        match (self.ints(name)?, self.optional_constant(operand)?) {
            (Some(_), _) if self.opset >= since => Err(wrong("attribute")),
            (_, Some(_)) if self.opset < since => Err(wrong("operand")),
            (attribute, None) => Ok(attribute.map(<[i64]>::to_vec)),
            (_, Some(operand)) => operand.integers().map(Some),
        }
    }

    /// Sizes of a window or the like: an attribute of positive integers.
    pub fn sizes(&self, name: &'static str) -> Result<Option<Vec<usize>>, Refusal> {
        let positive = |&int: &i64| usize::try_from(int).ok().filter(|&size| size > 0);
        let sizes = |ints: &[i64]| ints.iter().map(positive).collect::<Option<Vec<usize>>>();
        let wrong = |ints: &[i64]| Refusal::new(format!("`{name}` is {ints:?}; sizes are at least 1"));
        self.ints(name)?.map(|ints| sizes(ints).ok_or_else(|| wrong(ints))).transpose()
    }

    /// The axis that a number counted from the front or the back means.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Refusal> {
        axis_of(axis, rank)
    }

    /// What follows from attributes that the rule never asked for: the operator says more than was understood.
    pub fn check_attributes(&self) -> Result<(), Refusal> {
        let asked = self.asked.borrow();
        let unknown = self.node.attributes.iter().find(|attribute| !asked.contains(&attribute.name));
        if let Some(attribute) = unknown {
            return Err(Refusal::new(format!("attribute `{}` is not known", attribute.name)));
        }
        match self.node.attributes.iter().find(|attribute| !attribute.reference.is_empty()) {
            Some(attribute) => Err(Refusal::new(format!("attribute `{}` is given by a function", attribute.name))),
            None => Ok(()),
        }
    }
}

/// The axis that a number counted from the front or, below 0, from the back means.
///
/// # Errors
/// If there is none.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let axis_in = from_front.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank);
    axis_in.ok_or_else(|| Refusal::new(format!("axis {axis} of {rank} axes")))
}
