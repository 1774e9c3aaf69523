//! The plan in words and numbers, for `svertka explain` and for golden files.

use super::{Place, Plan, Step, View};
use crate::diagnostic::nearest;
use crate::ir::NodeId;
use crate::kernels::tuning::Verdict;
use std::collections::HashMap;
use std::fmt::Write;

/// There is no layer of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no layer `{name}`{}{}", if *fused { " after fusion" } else { "" }, near.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
pub struct UnknownLayer {
    /// As it was given.
    pub name: String,
    /// What may have been meant.
    pub near: Option<String>,
    /// Whether it was looked for among what fusion leaves.
    pub fused: bool,
}

impl UnknownLayer {
    /// A name that none of `known` is.
    pub fn new<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, fused: bool) -> UnknownLayer {
        let named = known.into_iter().filter(|path| !path.is_empty());
        UnknownLayer { name: name.to_owned(), near: nearest(name, named).map(str::to_owned), fused }
    }
}

/// What [`explain`] says of a layer, or of all below its path.
///
/// # Errors
/// Where none is left of this name: fusion may have taken it.
pub fn explain_layer(plan: &Plan, layer: &str) -> Result<String, UnknownLayer> {
    let paths = || plan.graph.nodes.iter().map(|node| node.origin.path.as_str());
    match paths().any(|path| is_below(path, layer)) {
        true => Ok(explain(plan, Some(layer))),
        false => Err(UnknownLayer::new(layer, paths(), true)),
    }
}

/// Whether a path is this one, or below it.
fn is_below(path: &str, layer: &str) -> bool {
    path.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// All passes' notes and all steps, or those of the nodes whose path begins with `layer`.
pub fn explain(plan: &Plan, layer: Option<&str>) -> String {
    let wanted = |path: &str| layer.is_none_or(|layer| is_below(path, layer));
    let mut text = String::new();
    let target = &plan.target;
    let _ = writeln!(
        text,
        "plan {} for {}: {} steps, arena {} per sample",
        plan.graph.name,
        target.isa,
        plan.steps.len(),
        bytes(plan.arena * 4)
    );
    text.push_str("\npasses\n");
    for note in plan.notes.iter().filter(|n| wanted(&n.path)) {
        let verdict = if note.done { "" } else { "not done: " };
        let _ = writeln!(text, "  {}: {}: {verdict}{}", note.pass, name(&note.path), note.text);
    }
    text.push_str("\nsteps\n");
    let verdicts: HashMap<NodeId, &Verdict> = plan.verdicts.iter().map(|(node, verdict)| (*node, verdict)).collect();
    for (index, step) in plan.steps.iter().enumerate() {
        if step.nodes().any(|node| wanted(&plan.graph[node].origin.path)) {
            let verdict = verdicts.get(&step.node).copied().filter(|_| step.purpose.is_none());
            explain_step(plan, index, step, verdict, &mut text);
        }
    }
    text
}

fn explain_step(plan: &Plan, index: usize, step: &Step, verdict: Option<&Verdict>, text: &mut String) {
    let layers = step.nodes().map(|id| {
        let node = &plan.graph[id];
        let layer = node.op.layer().map_or("input".to_string(), |l| l.to_string());
        format!("{}: {layer}", name(&node.origin.path))
    });
    let _ = writeln!(text, "{index:4}  {}{}", layers.collect::<Vec<_>>().join(", then "), purpose(step));
    let _ = writeln!(text, "      kernel  {}, {} tasks per sample", step.kernel.name(), step.kernel.tasks());
    let _ = writeln!(text, "      conf    {:?}", step.kernel);
    for (role, view) in roles(step) {
        let _ = writeln!(text, "      {role:7} {}", place(plan, view));
    }
    if let Some(verdict) = verdict {
        let _ = writeln!(text, "      choice  {}", describe(verdict));
    }
    for refusal in &step.refusals {
        let _ = writeln!(text, "      not     {refusal}");
    }
}

/// Where the choice of a kernel comes from.
fn describe(verdict: &Verdict) -> String {
    let Verdict { analytic, decision, offered } = verdict;
    match offered {
        true if decision == analytic => format!("{decision}: measured, as estimated"),
        true => format!("{decision}: measured; estimated was {analytic}"),
        false => format!("{analytic}: estimated; what was measured is not offered: {decision}"),
    }
}

/// What the step does with each of its values.
fn roles(step: &Step) -> impl Iterator<Item = (&'static str, &View)> {
    let written = [&step.output].into_iter().chain(step.beside.iter().map(|(_, view)| view));
    step.inputs.iter().map(|view| ("reads", view)).chain(written.map(|view| ("writes", view)))
}

fn purpose(step: &Step) -> String {
    step.purpose.map_or(String::new(), |p| format!(" ({p})"))
}

fn place(plan: &Plan, view: &View) -> String {
    let buffer = &plan.buffers[view.buffer.0];
    let place = match buffer.place {
        Place::Input(i) => format!("input {i}"),
        Place::Output(i) => format!("output {i}"),
        Place::Arena(offset) => format!("arena at {}", (offset + view.offset) * 4),
    };
    format!("{:?} {} in {place}", view.layout, view.ty)
}

fn name(path: &str) -> &str {
    if path.is_empty() { "net" } else { path }
}

/// A size in bytes with a binary unit.
pub fn bytes(n: usize) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}
