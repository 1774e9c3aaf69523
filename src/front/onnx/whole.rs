//! Values in whole numbers: what lies between QuantizeLinear and DequantizeLinear.
//!
//! The network stays one in f32. A value that becomes whole numbers and f32 again is the same value, of which it is noted
//! what its numbers stand for; what can be had of that, [`take`](crate::quant::take) decides.

use super::Refusal;
use super::call::{Call, Outputs, Value};
use super::constant::{Const, Element};
use super::flow::Flow;
use super::ops::Rule;
use super::proto::Node;
use super::walk::Importer;
use crate::ir::{NodeId, integer};
use crate::layers::{Activation, Op};
use crate::quant::Said;
use crate::tensor::Quantisation;
use std::collections::{HashMap, HashSet};

/// A value of the network as whole numbers.
#[derive(Clone)]
pub struct Whole {
    pub flow: Flow,
    pub numbers: Numbers,
}

/// Which whole numbers there are, and what they stand for: (q - zero) * scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub element: Element,
    /// One, or one for each index of an axis.
    scales: Vec<f32>,
    zeros: Vec<f32>,
    low: i32,
    high: i32,
}

/// Scales of one value.
const MAX_SCALES: usize = 1 << 16;

impl Numbers {
    /// Those that a QuantizeLinear or DequantizeLinear tells of.
    ///
    /// # Errors
    /// Where there are none of this type, or the constants do not go together.
    pub fn of(element: Element, scale: &Const, zero: Option<&Const>) -> Result<Numbers, Refusal> {
        let wrong = |what: String| Err(Refusal::new(what));
        let Some((low, high)) = element.range() else { return wrong(format!("to numbers of {element}")) };
        if let Some(zero) = zero.filter(|zero| zero.element != element || zero.count() != scale.count()) {
            return wrong(format!("zero points of {} {:?} for numbers of {element}", zero.element, zero.dims));
        }
        let known = scale.is_known() && zero.is_none_or(Const::is_known);
        if !scale.element.is_float() || !known || !(1..=MAX_SCALES).contains(&scale.count()) {
            return wrong(format!("scales of {} {:?}", scale.element, scale.dims));
        }
        let zeros = zero.map_or_else(|| vec![0.0; scale.count()], |zero| zero.floats().into_owned());
        Ok(Numbers { element, scales: scale.floats().into_owned(), zeros, low, high })
    }

    /// The same in u8 from 0 on.
    ///
    /// # Errors
    /// Why there is nothing like that.
    fn quantisation(&self) -> Result<Quantisation, String> {
        let ([scale], [zero]) = (&self.scales[..], &self.zeros[..]) else {
            return Err("a value has a scale for each index of an axis".into());
        };
        if !matches!(self.element, Element::I8 | Element::U8) {
            return Err(format!("a value has numbers of {}", self.element));
        }
        let (zero, top) = (*zero as i32 - self.low, self.high - self.low);
        if top != i32::from(u8::MAX) && top != i32::from(i8::MAX) {
            return Err(format!("a value has numbers from {} to {}", self.low, self.high));
        }
        let numbers = u8::try_from(zero).ok().and_then(|zero| Quantisation::new(*scale, zero, top as u8));
        numbers.ok_or_else(|| format!("a value has a scale of {scale:e} and a zero point of {}", self.zeros[0]))
    }

    /// Whether others, which are told of where these are read, are the same numbers.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, told: &Numbers) -> Result<(), Refusal> {
        let same =
            |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        match same(&self.scales, &told.scales) && same(&self.zeros, &told.zeros) {
            true => Ok(()),
            false => Err(Refusal::new("its scale or zero point is not that with which the whole numbers were made")),
        }
    }

    /// Those of them within limits.
    fn within(&self, low: Option<f64>, high: Option<f64>) -> Option<Numbers> {
        let low = low.map_or(self.low, |low| self.low.max(low as i32));
        let high = high.map_or(self.high, |high| self.high.min(high as i32));
        (low < high).then(|| Numbers { low, high, ..self.clone() })
    }

    /// What limits a value by becoming such numbers, as exporters know: they leave out an activation in front that does
    /// nothing more.
    fn limits(&self) -> Option<Activation> {
        let positive = self.zeros.iter().all(|&zero| zero == self.low as f32);
        let six = |scale: f32| ((self.high - self.low) as f32 * scale - 6.0).abs() < 6e-4;
        positive.then(|| if self.scales.iter().all(|&scale| six(scale)) { Activation::Relu6 } else { Activation::Relu })
    }
}

/// What was seen of whole numbers so far.
#[derive(Default)]
pub struct Seen {
    /// By node.
    pub said: HashMap<NodeId, Said>,
    /// Nodes whose values are read in f32, not as they are behind DequantizeLinear.
    pub real: HashSet<NodeId>,
    /// Names of values behind DequantizeLinear, also in other orders and shapes.
    dequantised: HashSet<String>,
    /// Activations that limits of whole numbers tell of.
    implied: HashMap<(NodeId, bool), NodeId>,
    /// For the first nodes, whether nobody left out a relu behind their values.
    positive: Vec<bool>,
}

impl Seen {
    /// Whether a value of the file is what whole numbers stand for.
    pub fn is_dequantised(&self, name: &str) -> bool {
        self.dequantised.contains(name)
    }

    pub fn set_dequantised(&mut self, name: &str) {
        self.dequantised.insert(name.to_owned());
    }
}

impl Importer<'_> {
    /// What whole numbers, which the file calls `name`, stand for.
    pub fn real(&mut self, whole: &Whole, name: &str) -> Flow {
        let whole = &Whole { flow: self.mixed(&whole.flow), ..whole.clone() };
        let node = self.limited(whole);
        let said = Said { name: name.to_owned(), numbers: whole.numbers.quantisation() };
        self.say(node, &said);
        if node != whole.flow.node && integer::moves(&self.graph[whole.flow.node].op) {
            // What it moves is limited behind it.
            self.say(whole.flow.node, &said);
        }
        Flow { node, ..whole.flow.clone() }
    }

    fn say(&mut self, node: NodeId, said: &Said) {
        let known = self.seen.said.entry(node).or_insert_with(|| said.clone());
        if known.numbers != said.numbers {
            known.numbers = Err("a value is quantised in two ways".into());
        }
    }

    /// A value within what its whole numbers stand for, as far as an activation says that.
    fn limited(&mut self, whole: &Whole) -> NodeId {
        let node = whole.flow.node;
        let Some(activation) = whole.numbers.limits().filter(|_| !self.is_positive(node)) else { return node };
        let key = (node, activation == Activation::Relu6);
        if let Some(&known) = self.seen.implied.get(&key) {
            return known;
        }
        let limited = self.reorder(activation, &[node]).expect("an activation takes anything");
        self.seen.implied.insert(key, limited);
        limited
    }

    /// Whether nobody left out a relu behind a value: it is known not to be negative, an input, or made by an activation.
    fn is_positive(&mut self, node: NodeId) -> bool {
        for index in self.seen.positive.len()..self.graph.nodes.len() {
            let node = &self.graph.nodes[index];
            let all = node.inputs.iter().all(|input| self.seen.positive[input.0 as usize]);
            let positive = match &node.op {
                Op::Input | Op::Softmax(_) => true,
                // Behind an activation nobody leaves out another.
                Op::Activation(activation) => !matches!(activation, Activation::Affine { .. }),
                op => all && keeps_sign(op),
            };
            self.seen.positive.push(positive);
        }
        self.seen.positive[node.0 as usize]
    }

    /// Notes who reads values in f32, and which are what whole numbers stand for after this node too.
    pub fn follow(&mut self, call: &Call, outputs: &[Value]) {
        let node = call.node;
        for (index, name) in node.inputs.iter().enumerate() {
            let Some(Value::Flow(flow)) = call.optional(index) else { continue };
            let is_whole = self.seen.is_dequantised(name);
            let mut is_read = false;
            for (output, made) in node.outputs.iter().zip(outputs) {
                match made {
                    Value::Flow(made) if made.node == flow.node && is_whole => self.seen.set_dequantised(output),
                    Value::Flow(made) => is_read |= made.node != flow.node,
                    _ => {}
                }
            }
            if is_read && !is_whole {
                self.seen.real.insert(flow.node);
            }
        }
    }

    /// A node with whole numbers among its operands, of an operator that only moves them.
    ///
    /// # Errors
    /// Of others; and what the rule refuses.
    pub fn moved(&mut self, rule: Rule, node: &Node, inputs: Vec<Option<Value>>) -> Outputs {
        const MOVING: [&str; 13] = [
            "Concat",
            "DepthToSpace",
            "Flatten",
            "GlobalMaxPool",
            "Identity",
            "MaxPool",
            "Reshape",
            "Slice",
            "SpaceToDepth",
            "Split",
            "Squeeze",
            "Transpose",
            "Unsqueeze",
        ];
        let numbers = inputs.iter().flatten().find_map(|value| match value {
            Value::Whole(whole) => Some(whole.numbers.clone()),
            _ => None,
        });
        let numbers = numbers.expect("there are some");
        let alike = |value: &Value| !matches!(value, Value::Whole(whole) if whole.numbers != numbers);
        if node.operator == "Clip" {
            return clipped(&Call::new(node, inputs));
        }
        // Constants among them would have other numbers than they tell.
        let mixed = node.operator == "Concat" && !inputs.iter().flatten().all(|value| matches!(value, Value::Whole(_)));
        if mixed || !node.is_onnx() || !MOVING.contains(&node.operator) || !inputs.iter().flatten().all(alike) {
            return Err(whole_numbers());
        }
        let mut real = Vec::new();
        for (name, value) in node.inputs.iter().zip(inputs) {
            real.push(match value {
                Some(Value::Whole(whole)) => Some(self.real(&whole, name).into()),
                other => other,
            });
        }
        let call = Call::new(node, real);
        let outputs = rule(self, &call)?;
        call.check_attributes()?;
        let whole = |value: Value| match value {
            Value::Flow(flow) => Value::Whole(Whole { flow, numbers: numbers.clone() }),
            other => other,
        };
        Ok(outputs.into_iter().map(whole).collect())
    }
}

/// Whole numbers within limits, as exporters write fewer bits than there are.
fn clipped(call: &Call) -> Outputs {
    let Value::Whole(whole) = call.value(0)? else { return Err(whole_numbers()) };
    let limit = |index| call.optional_constant(index)?.map(Const::single).transpose();
    let numbers = whole.numbers.within(limit(1)?, limit(2)?);
    call.check_attributes()?;
    let numbers = numbers.ok_or_else(|| Refusal::new("it leaves no two whole numbers"))?;
    Ok(vec![Value::Whole(Whole { numbers, ..whole.clone() })])
}

/// Why what computes with whole numbers is refused.
pub fn whole_numbers() -> Refusal {
    Refusal::new(
        "it computes with whole numbers; what tools write with QuantizeLinear and DequantizeLinear around operators of f32 \
         is read (ONNX Runtime: `quantize_static` with `quant_format=QuantFormat.QDQ`); or import the file as it was before, \
         and let `svertka quantize` make its weights ones of eight bits",
    )
}

/// Whether a layer makes no negative numbers of others.
fn keeps_sign(op: &Op) -> bool {
    matches!(
        op,
        Op::Add(_)
            | Op::Mul(_)
            | Op::Concat(_)
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::AdaptiveAvgPool(_)
            | Op::AdaptiveMaxPool(_)
            | Op::GlobalAvgPool(_)
            | Op::GlobalMaxPool(_)
            | Op::Flatten(_)
            | Op::Unflatten(_)
            | Op::Permute(_)
            | Op::ChannelSlice(_)
            | Op::ChannelShuffle(_)
            | Op::DepthToSpace(_)
            | Op::SpaceToDepth(_)
            | Op::Subsample(_)
            | Op::Crop(_)
            | Op::Dropout(_)
            | Op::Identity(_)
    )
}
