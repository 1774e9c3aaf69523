//! The plan in words and numbers, for `svertka explain` and for golden files.

use super::{Place, Plan, Step, View};
use crate::ir::NodeId;
use crate::kernels::tuning::Verdict;
use std::collections::HashMap;
use std::fmt::Write;

/// All passes' notes and all steps, or those of the nodes whose path begins with `layer`.
pub fn explain(plan: &Plan, layer: Option<&str>) -> String {
    let wanted = |path: &str| layer.is_none_or(|l| path == l || path.starts_with(&format!("{l}.")));
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
