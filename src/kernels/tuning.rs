//! Choice by measurement. `choose` asks a model of the machine, which is never quite right; `svertka tune` measures
//! the *candidates* for a layer and keeps *decisions*, which a plan then follows.
//!
//! A decision is only a description of a candidate. It is taken where the layer offers this candidate, and else passed
//! over: no text, wherever it comes from, can make a kernel that would not have been considered here.

use super::{Kernel, Lowered, NodeView, Target, conv, dots, whole_winograd, winograd};
use crate::hash::hash_of;
use crate::tensor::DType;
use std::collections::BTreeMap;

/// Decisions that were made by measuring.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices {
    /// From the [`key`] of a layer to the description of a candidate.
    decisions: BTreeMap<String, String>,
}

impl Choices {
    pub fn insert(&mut self, key: String, decision: String) {
        self.decisions.insert(key, decision);
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.decisions.get(key).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.decisions.iter().map(|(key, decision)| (key.as_str(), decision.as_str()))
    }
}

impl FromIterator<(String, String)> for Choices {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(decisions: I) -> Choices {
        Choices { decisions: decisions.into_iter().collect() }
    }
}

/// What a decision did to a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The candidate that would have been taken without any measurement.
    pub analytic: String,
    pub decision: String,
    /// Whether the layer has such a candidate, so that the decision was followed.
    pub offered: bool,
}

impl Verdict {
    /// Whether another kernel was taken than without it.
    pub fn changes(&self) -> bool {
        self.offered && self.decision != self.analytic
    }
}

/// More candidates are never measured.
const MAX_CANDIDATES: usize = 12;

/// Stands for all layers for which `chosen` was chosen without measurements: their kernels would be the same function. What
/// the target's machine decided is in the code.
pub fn key(chosen: &Kernel, target: &Target) -> String {
    format!("{:016x}", hash_of(&(target.isa, target.exact, chosen.code())))
}

/// Kernels that may be as fast as `chosen`, the most promising first, without itself. All read and write the same
/// layouts, so that nothing else in a plan depends on which of them is taken.
pub fn candidates(node: &NodeView, target: &Target, chosen: &Lowered) -> Vec<Lowered> {
    let mut known: Vec<String> = chosen.kernel.decision().into_iter().collect();
    if known.is_empty() {
        return Vec::new();
    }
    let all: Vec<Lowered> = match node.integer {
        Some(_) => whole_winograd::candidates(node, target).into_iter().chain(dots::lower(node, target)).collect(),
        None if node.inputs[0].ty.dtype == DType::Bf16 => conv::candidates(node, target),
        None => [winograd::candidates(node, target), conv::candidates(node, target)].concat(),
    };
    let in_place = all.into_iter().filter(|other| {
        (&other.inputs, other.output, &other.spread, &other.padded)
            == (&chosen.inputs, chosen.output, &chosen.spread, &chosen.padded)
    });
    let new = in_place.filter(|other| {
        let decision = other.kernel.decision().expect("of a kernel with candidates");
        let new = !known.contains(&decision);
        known.push(decision);
        new
    });
    new.take(MAX_CANDIDATES).collect()
}

/// Follows what was decided for a node for which `chosen` was chosen, if anything was.
pub fn follow(choices: &Choices, node: &NodeView, target: &Target, chosen: Lowered) -> (Lowered, Option<Verdict>) {
    if target.force_winograd.is_some() {
        return (chosen, None);
    }
    let Some(analytic) = chosen.kernel.decision() else { return (chosen, None) };
    let Some(decision) = choices.get(&key(&chosen.kernel, target)) else { return (chosen, None) };
    let decision = decision.to_string();
    if decision == analytic {
        return (chosen, Some(Verdict { analytic, decision, offered: true }));
    }
    let others = candidates(node, target, &chosen);
    let found = others.into_iter().find(|other| other.kernel.decision().as_ref() == Some(&decision));
    let offered = found.is_some();
    (found.unwrap_or(chosen), Some(Verdict { analytic, decision, offered }))
}

impl Kernel {
    /// Describes what was decided where there was a choice; candidates for a layer have different ones.
    pub fn decision(&self) -> Option<String> {
        match self {
            Kernel::Winograd(conf) => Some(conf.code.decision()),
            Kernel::Conv(conf) => Some(conf.code.decision()),
            Kernel::WholeWinograd(conf) => Some(conf.code.decision()),
            Kernel::Dots(conf) => conf.code.decision(),
            _ => None,
        }
    }
}
