//! Names that depend on what stands before them.

use super::{Finding, Subject};
use crate::diagnostic::Help;
use crate::ir::NodeId;
use std::collections::HashSet;

/// Who labels some steps cares for the names of weights; a count in one changes when a step is put in front of it.
pub fn counted(subject: &Subject) -> Vec<Finding> {
    let graph = subject.graph;
    let counted: HashSet<_> = graph.counted.iter().collect();
    let is_counted = |id: &NodeId| counted.contains(&graph[*id].origin.path);
    let finding = |node| Finding {
        node,
        message: "weights that are named by a count".into(),
        label: format!("its weights are below `{}`", graph[node].origin.path),
        help: Help::new(
            "label the step, or the one around it: a count changes with the steps before it, and a file of \
                         weights that was written under the old names no longer fits",
        )
        .fix(subject.place(node).map(|place| place.label())),
    };
    graph.ids().filter(is_counted).map(finding).collect()
}
