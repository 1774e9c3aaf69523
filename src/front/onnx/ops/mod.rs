//! The operators: for each a rule that says what a node's values are.
//!
//! A rule reads all attributes of its operator in every version that is known, and refuses what no layer says. To add an
//! operator: its rule, in the file where others like it are, and a line in that file's list.

mod activation;
mod arithmetic;
mod axes;
mod convolution;
mod known;
mod matrix;
mod normalization;
mod own;
mod pooling;
mod quantize;
mod reduction;
mod resize;
mod softmax;
mod window;

use super::Refusal;
use super::call::{Call, Outputs};
use super::flow::Flow;
use super::proto::Node;
use super::walk::Importer;
use crate::layers::Over;
use std::ops::Range;

/// What a node of an operator gives.
pub type Rule = fn(&mut Importer, &Call) -> Outputs;

/// Names of operators, and their rules.
type Rules = &'static [(&'static str, Rule)];

const ALL: &[Rules] = &[
    activation::RULES,
    arithmetic::RULES,
    axes::RULES,
    convolution::RULES,
    known::RULES,
    matrix::RULES,
    normalization::RULES,
    pooling::RULES,
    quantize::RULES,
    reduction::RULES,
    resize::RULES,
    softmax::RULES,
];

/// The rule of a node's operator: one of ONNX's own, or ours.
///
/// # Errors
/// If there is none.
pub fn find(node: &Node) -> Result<Rule, Refusal> {
    let known = match node.domain {
        _ if node.is_onnx() => ALL,
        own::DOMAIN => &[own::RULES],
        quantize::RUNTIME => &[quantize::RUNTIME_RULES],
        _ => return Err(Refusal::new("there is no layer for it, and no function of the file has this name")),
    };
    let rule = known.iter().flat_map(|rules| rules.iter()).find(|(name, _)| *name == node.operator);
    rule.map(|(_, rule)| *rule).ok_or_else(|| Refusal::new("there is no layer for it"))
}

/// The rule of one of ONNX's own operators.
fn rule(operator: &str) -> Option<Rule> {
    let mut known = ALL.iter().flat_map(|rules| rules.iter());
    known.find(|(name, _)| *name == operator).map(|(_, rule)| *rule)
}

/// Whether an operator reads whole numbers as such.
pub fn reads_whole(node: &Node) -> bool {
    node.operator == "DequantizeLinear" || node.operator.starts_with("QLinear") || node.operator == "QGemm"
}

/// What all elements along these axes are of a value as it is, or else of the value as ONNX has it.
fn over_axes(importer: &mut Importer, x: &Flow, axes: Range<usize>) -> Result<(Flow, Over), Refusal> {
    if let Some(over) = x.over(axes.clone(), importer.ty(x.node)) {
        return Ok((x.clone(), over));
    }
    let node = importer.plain(x)?;
    let plain = Flow::of(node, importer.ty(node));
    let over = plain.over(axes.clone(), importer.ty(node)).ok_or_else(|| {
        let axes: Vec<usize> = axes.collect();
        Refusal::new(format!("over the axes {axes:?} of a value of shape {}, which no `over` means", x.text()))
    })?;
    Ok((plain, over))
}

/// The least that a norm counts as where an operator knows no least: smaller ones are hardly numbers.
pub const LEAST_NORM: f64 = 1e-37;

/// A number of a file in f32 as the shortest decimal that means it: 1e-5 and not 9.999999747378752e-6.
pub fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn operators_have_one_rule() {
        let mut seen = HashSet::new();
        ALL.iter().flat_map(|rules| rules.iter()).for_each(|(name, _)| assert!(seen.insert(*name), "{name}"));
    }

    #[test]
    fn numbers_are_what_people_wrote() {
        assert_eq!(
            (decimal(1e-5), decimal(0.1), decimal(f32::MAX)),
            (1e-5, 0.1, f32::MAX.to_string().parse().unwrap())
        );
    }
}
