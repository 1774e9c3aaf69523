//! What flows through the steps of a text, for who looks at the text.

use crate::ir::{Graph, NodeId};
use crate::source::Span;
use std::collections::HashMap;
use std::ops::Range;

/// What a step of the text did when it was first built, and whether it did so again.
#[derive(Clone, Debug)]
pub struct Passage {
    /// The value in front of it.
    pub input: Option<NodeId>,
    /// The value behind it.
    pub output: NodeId,
    /// What it added to the graph.
    pub nodes: Range<usize>,
    /// How often it was built.
    pub times: usize,
    /// Whether the sizes of its values differ from one time to another.
    pub varies: bool,
}

/// By the places of the steps. Steps of `aux` branches that were taken back are not among them, nor those in error.
#[derive(Clone, Debug, Default)]
pub struct Passages(HashMap<Span, Passage>);

impl Passages {
    pub fn meet(&mut self, step: Span, graph: &Graph, input: Option<NodeId>, output: NodeId, first: usize) {
        let known = self.0.entry(step).or_insert_with(|| Passage {
            input,
            output,
            nodes: first..graph.nodes.len(),
            times: 0,
            varies: false,
        });
        known.times += 1;
        known.varies |= graph[known.output].ty.dims != graph[output].ty.dims;
    }

    pub fn of(&self, step: Span) -> Option<&Passage> {
        self.0.get(&step)
    }
}
