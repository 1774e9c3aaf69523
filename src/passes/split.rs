//! Writing one node as several, one behind the other.

use crate::ir::{Graph, Node, NodeId};
use crate::layers::Op;

/// Each node for which there are two operations becomes two nodes: the first reads the first operand and has no weights,
/// the second reads its value in that operand's place, and has everything else.
pub fn run(graph: &mut Graph, mut split: impl FnMut(&Graph, &Node) -> Option<(Op, Op)>) {
    rebuild(graph, |graph, _, mut node| {
        if let Some((first, second)) = split(graph, &node) {
            let input = node.inputs[0];
            let layer = first.layer().expect("an operation on an operand");
            let ty = layer.shape(&[&graph[input].ty]).expect("verified with the whole");
            node.inputs[0] = graph.add_node(Node::new(first, vec![input], Vec::new(), ty, node.origin.clone()));
            node.op = second;
        }
        graph.add_node(node)
    });
}

/// Makes all nodes anew, from front to back: `make` is given each with its old id, reading those that were made before, and
/// adds what stands for it; it gives the id of the one that has its value.
pub fn rebuild(graph: &mut Graph, mut make: impl FnMut(&mut Graph, NodeId, Node) -> NodeId) {
    let mut new_ids: Vec<NodeId> = Vec::new();
    let old_ids = graph.ids();
    for (old, mut node) in old_ids.zip(std::mem::take(&mut graph.nodes)) {
        node.inputs.iter_mut().for_each(|i| *i = new_ids[i.0 as usize]);
        new_ids.push(make(graph, old, node));
    }
    graph.inputs.iter_mut().for_each(|i| *i = new_ids[i.0 as usize]);
    graph.outputs.iter_mut().for_each(|o| o.node = new_ids[o.node.0 as usize]);
}
