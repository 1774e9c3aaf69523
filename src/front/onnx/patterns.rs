//! Several nodes that are one layer. Each pattern is looked for at its last node; the others are left without readers, and
//! go.

mod normalise;
mod strided;

use super::Refusal;
use super::flow::Flow;
use super::proto::Node;
use super::walk::Importer;
use crate::layers::{Activation, Op};

/// The value of a pattern that ends at `node`.
///
/// # Errors
/// If there is one that its layer does not take.
pub fn find<'a>(importer: &mut Importer<'a>, node: &'a Node<'a>) -> Result<Option<Flow>, Refusal> {
    if node.operator == "Gather" {
        return Ok(strided::find(importer, node));
    }
    let found = match node.operator {
        "Mul" => gelu(importer, node).or_else(|| gated(importer, node)),
        "Div" => hard_sigmoid_by_division(importer, node),
        _ => None,
    };
    let found = found.map(|(activation, flow)| (Op::from(activation), flow));
    let found = found.or_else(|| (node.operator == "Div").then(|| normalise::find(importer, node)).flatten());
    let Some((op, flow)) = found else { return Ok(None) };
    let made = importer.layer(op, &[flow.node])?;
    Ok(Some(Flow { node: made, ..flow }))
}

type Found = Option<(Activation, Flow)>;

impl<'a> Importer<'a> {
    /// The node that makes a value, if it is this operator's.
    fn made_by(&self, name: &str, operator: &str) -> Option<&'a Node<'a>> {
        self.producers.get(name).copied().filter(|node| node.operator == operator)
    }

    /// The one number that an operand is.
    fn number(&self, name: &str) -> Option<f64> {
        self.constant(name)?.uniform()
    }

    /// The operand beside a number that is close to `value`.
    fn beside(&self, node: &'a Node<'a>, value: f64) -> Option<&'a str> {
        let [a, b] = node.inputs[..] else { return None };
        let is = |name: &str| self.number(name).is_some_and(|number| (number - value).abs() < 1e-6 * value.abs());
        if is(b) {
            Some(a)
        } else if is(a) {
            Some(b)
        } else {
            None
        }
    }

    /// The two operands in both orders.
    fn both(&self, node: &'a Node<'a>) -> Vec<(&'a str, &'a str)> {
        match node.inputs[..] {
            [a, b] => vec![(a, b), (b, a)],
            _ => Vec::new(),
        }
    }
}

/// x * sigmoid(x), x * hard_sigmoid(x)
fn gated(importer: &Importer, node: &Node) -> Found {
    let [a, b] = node.inputs[..] else { return None };
    let (a, b) = (importer.flow(a)?, importer.flow(b)?);
    let of = |x: &Flow, gate: &Flow| {
        let gate_node = &importer.graph[gate.node];
        let activation = match gate_node.op {
            Op::Activation(Activation::Sigmoid) => Activation::Silu,
            Op::Activation(a) if a == Activation::HARD_SIGMOID => Activation::HardSwish,
            _ => return None,
        };
        (gate_node.inputs == [x.node] && gate.axes == x.axes).then(|| (activation, x.clone()))
    };
    of(a, b).or_else(|| of(b, a))
}

/// clip(x + 3, 0, 6) / 6, and the same times x
fn hard_sigmoid_by_division<'a>(importer: &Importer<'a>, node: &'a Node<'a>) -> Found {
    let numerator = importer.beside(node, 6.0).filter(|name| node.inputs[0] == *name)?;
    if let Some(shifted) = shifted_relu6(importer, numerator) {
        return Some((Activation::HARD_SIGMOID, importer.flow(shifted)?.clone()));
    }
    let product = importer.made_by(numerator, "Mul")?;
    let (x, _) = importer.both(product).into_iter().find(|(x, gate)| shifted_relu6(importer, gate) == Some(*x))?;
    Some((Activation::HardSwish, importer.flow(x)?.clone()))
}

/// x of clip(x + 3, 0, 6)
fn shifted_relu6<'a>(importer: &Importer<'a>, name: &str) -> Option<&'a str> {
    let clip = importer.made_by(name, "Clip")?;
    let is_relu6 = matches!(importer.graph[importer.flow(name)?.node].op, Op::Activation(Activation::Relu6));
    let shift = importer.made_by(clip.inputs[0], "Add").filter(|_| is_relu6)?;
    importer.beside(shift, 3.0)
}

/// x * (1 + erf(x / sqrt(2))) * 0.5, multiplied in any order
fn gelu<'a>(importer: &Importer<'a>, node: &'a Node<'a>) -> Found {
    if let Some(rest) = importer.beside(node, 0.5) {
        // 0.5 * (x * (1 + erf))
        let product = importer.made_by(rest, "Mul")?;
        let (x, _) = importer.both(product).into_iter().find(|(x, one)| one_and_erf(importer, one) == Some(*x))?;
        return Some((Activation::Gelu, importer.flow(x)?.clone()));
    }
    // (0.5 * x) * (1 + erf) or x * (0.5 * (1 + erf))
    for (a, b) in importer.both(node) {
        let half = |name: &str| importer.made_by(name, "Mul").and_then(|half| importer.beside(half, 0.5));
        let found = match (half(a), one_and_erf(importer, b)) {
            (Some(x), Some(of)) if x == of => Some(x),
            _ => half(b).and_then(|one| one_and_erf(importer, one)).filter(|of| *of == a),
        };
        if let Some(x) = found {
            return Some((Activation::Gelu, importer.flow(x)?.clone()));
        }
    }
    None
}

/// x of 1 + erf(x / sqrt(2))
fn one_and_erf<'a>(importer: &Importer<'a>, name: &str) -> Option<&'a str> {
    let sum = importer.made_by(name, "Add")?;
    let erf = importer.made_by(importer.beside(sum, 1.0)?, "Erf")?;
    let root = std::f64::consts::SQRT_2;
    if let Some(division) = importer.made_by(erf.inputs[0], "Div") {
        return importer.beside(division, root).filter(|x| division.inputs[0] == *x);
    }
    importer.beside(importer.made_by(erf.inputs[0], "Mul")?, 1.0 / root)
}
