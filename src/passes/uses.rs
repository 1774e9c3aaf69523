//! Who reads what, kept up to date while a pass lets nodes take the place of others.

use crate::ir::{Graph, NodeId};

/// The readers of all values, for a pass that walks a graph from front to back and lets nodes be replaced by earlier
/// ones. The readers of a node that was replaced learn of it when the walk comes to them, so that a walk that replaces
/// every node is still one walk.
pub struct Uses {
    /// How many times nodes that are still in use read each value.
    readers: Vec<usize>,
    /// Whether each value is an output of the model.
    outputs: Vec<bool>,
    /// What is read in the place of each node.
    instead: Vec<NodeId>,
}

impl Uses {
    pub fn of(graph: &Graph) -> Uses {
        let readers = graph.users().iter().map(Vec::len).collect();
        Uses { readers, outputs: graph.output_values(), instead: graph.ids().collect() }
    }

    /// Lets a node read what has taken the place of its inputs. Must be called for every node in its turn.
    pub fn update(&self, graph: &mut Graph, id: NodeId) {
        graph[id].inputs.iter_mut().for_each(|input| *input = self.instead[input.0 as usize]);
    }

    /// Whether a value is read by more than one node, or from outside.
    pub fn is_shared(&self, id: NodeId) -> bool {
        self.readers[id.0 as usize] > 1 || self.outputs[id.0 as usize]
    }

    /// Makes all readers of `old`, the node whose turn it is, read `new`, which is one of its inputs.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        let (from, to) = (old.0 as usize, new.0 as usize);
        self.instead[from] = new;
        self.readers[to] = self.readers[to] + self.readers[from] - 1;
        self.outputs[to] |= self.outputs[from];
    }

    /// Lets the outputs of the model be what has taken their places. Ends the walk.
    pub fn finish(self, graph: &mut Graph) {
        graph.outputs.iter_mut().for_each(|output| output.node = self.instead[output.node.0 as usize]);
    }
}
