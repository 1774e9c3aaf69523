//! The choices that a plan leaves, for `svertka tune`.

use super::place::{node_view, values};
use super::{Plan, View};
use crate::kernels::{Kernel, NodeView, tuning};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Layers that share one kernel, and what else could be taken for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// See [`tuning::key`].
    pub key: String,
    /// Indices of the steps.
    pub steps: Vec<usize>,
    /// What was chosen without measurements.
    pub analytic: String,
    /// Descriptions of the candidates, the most promising first.
    pub candidates: Vec<String>,
}

/// All offers of a plan that was made without choices, in the order of their first steps. The steps of the plans that
/// follow them have the same indices.
pub fn offers(plan: &Plan) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for index in 0..plan.steps.len() {
        let Some(offer) = offer(plan, index) else { continue };
        match known.entry(offer.key.clone()) {
            Entry::Occupied(at) => offers[*at.get()].steps.push(index),
            Entry::Vacant(place) => {
                place.insert(offers.len());
                offers.push(offer);
            }
        }
    }
    offers
}

fn offer(plan: &Plan, index: usize) -> Option<Offer> {
    // The times of steps that take turns are not theirs alone.
    if plan.in_stage(index) {
        return None;
    }
    let step = &plan.steps[index];
    let analytic = step.kernel.decision().filter(|_| step.purpose.is_none())?;
    let node = &plan.graph[step.node];
    let operands: Option<Vec<View>> = node.operands().iter().map(|id| plan.values[id.0 as usize].clone()).collect();
    let (operands, target) = (operands?, &plan.target);
    let view = node_view(&plan.graph, step.node, values(&operands), step.beside.is_some());
    let view = NodeView { padded: step.output.padded, ..view };
    let (chosen, _) = crate::kernels::choose(&view, target);
    debug_assert_eq!(chosen.kernel, step.kernel, "the plan was made without choices");
    let decision = |kernel: &Kernel| kernel.decision().expect("of a kernel with candidates");
    let candidates = tuning::candidates(&view, target, &chosen).iter().map(|other| decision(&other.kernel)).collect();
    Some(Offer { key: tuning::key(&chosen.kernel, target), steps: vec![index], analytic, candidates })
}
