//! Branches that begin and end together: a graph as series and parallel steps (Valdes, Tarjan and Lawler 1982, "The
//! recognition of series parallel digraphs").
//!
//! Nodes are visited in order. A join whose operands lead back, through steps that nobody else reads, to one value becomes
//! a step behind that value, so that it is no branching point any more for the joins to come. What is left are chains
//! between values that are taken by name.

use super::Said;
use super::call::Call;
use super::tree::{Body, Join, Kind, Step};
use crate::ir::{Graph, NodeId, ParamSource};
use crate::layers::{Concat, Op};
use std::collections::HashSet;

/// Layers below a sum or a list that also has the value from before them, at most: for longer ones a name says better what
/// is taken.
const LONG: usize = 40;
/// The same where they are those of several modules.
const LONG_OF_SEVERAL: usize = 12;
/// Bodies within bodies.
const DEEP: usize = 12;

/// What a value is made by, from the value where that begins.
pub struct Term {
    pub source: NodeId,
    pub body: Body,
    layers: usize,
    depth: usize,
    /// Top modules of the layers with weights.
    modules: HashSet<String>,
}

/// The way back from an operand.
struct Branch {
    start: NodeId,
    /// The last first.
    path: Vec<NodeId>,
}

pub struct Series<'g> {
    pub graph: &'g mut Graph,
    pub terms: Vec<Option<Term>>,
    /// How often each value is read, by what is no step yet.
    pub readers: Vec<usize>,
    pub is_output: Vec<bool>,
    /// Joins that are no step behind one value.
    pub open: HashSet<NodeId>,
}

/// The steps of a network. Operands of sums and products may change places, and lists be split into lists of lists:
/// the graph follows. `None` for a layer that has no text.
pub fn steps(graph: &mut Graph, said: &Said) -> Option<Body> {
    let readers = graph.users().iter().map(Vec::len).collect();
    let is_output = graph.output_values();
    let mut series = Series { terms: Vec::new(), readers, is_output, open: HashSet::new(), graph };
    series.terms.resize_with(series.graph.nodes.len(), || None);
    let ids: Vec<NodeId> = series.graph.ids().collect();
    let mut order = Vec::new();
    for id in ids {
        let known = series.graph.nodes.len();
        match series.graph[id].inputs.len() {
            0 => {}
            1 if !is_join(&series.graph[id].op) => series.layer(id, said)?,
            _ => series.join(id),
        }
        // Lists within its list, which may be no branch of it: those within them were made after them.
        order.extend(series.graph.ids().skip(known).collect::<Vec<_>>().into_iter().rev());
        order.push(id);
    }
    Some(series.lines(&order))
}

fn is_join(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Mul(_) | Op::Concat(_))
}

impl Series<'_> {
    fn layer(&mut self, id: NodeId, said: &Said) -> Option<()> {
        let node = &self.graph[id];
        let source = *node.inputs.first()?;
        let has_weights = node.params.iter().any(|&param| self.graph[param].source == ParamSource::File);
        let text = said.get(&id).cloned().or_else(|| Some(node.op.layer()?.to_string()))?;
        let call = Call::parse(&text, matches!(node.op, Op::Activation(_)), has_weights)?;
        let module = node.origin.path.split('.').next().filter(|_| has_weights);
        let modules = module.map(String::from).into_iter().collect();
        let body = vec![Step::new(Kind::Layer(call), source, id)];
        self.terms[id.0 as usize] = Some(Term { source, body, layers: 1, depth: 0, modules });
        Some(())
    }

    /// Back through steps that only the next one reads.
    fn branch(&self, operand: NodeId) -> Branch {
        let mut branch = Branch { start: operand, path: Vec::new() };
        loop {
            let at = branch.start.0 as usize;
            match &self.terms[at] {
                Some(term) if self.readers[at] == 1 && !self.is_output[at] => {
                    branch.path.push(branch.start);
                    branch.start = term.source;
                }
                _ => return branch,
            }
        }
    }

    /// Makes a join a step, if its branches begin together.
    fn join(&mut self, id: NodeId) {
        self.split_list(id);
        let branches: Vec<Branch> = self.graph[id].inputs.iter().map(|&operand| self.branch(operand)).collect();
        let start = branches[0].start;
        if branches.iter().any(|branch| branch.start != start) || !self.fits(&branches) {
            self.open.insert(id);
            return;
        }
        self.readers[start.0 as usize] -= branches.len() - 1;
        let mut term = Term { source: start, body: Vec::new(), layers: 1, depth: 1, modules: HashSet::new() };
        let mut bodies: Vec<Body> = Vec::new();
        for branch in &branches {
            let mut body = Vec::new();
            for part in branch.path.iter().rev().filter_map(|part| self.terms[part.0 as usize].take()) {
                term.layers += part.layers;
                term.depth = term.depth.max(part.depth + 1);
                term.modules.extend(part.modules);
                body.extend(part.body);
            }
            bodies.push(body);
        }
        let kind = self.kind(id, bodies);
        term.body.push(Step::new(kind, start, id));
        self.terms[id.0 as usize] = Some(term);
    }

    /// Whether branches are better nested than taken by name.
    fn fits(&self, branches: &[Branch]) -> bool {
        let terms = |branch: &Branch| branch.path.iter().filter_map(|id| self.terms[id.0 as usize].as_ref()).collect();
        let terms: Vec<Vec<&Term>> = branches.iter().map(terms).collect();
        let all = || terms.iter().flatten();
        if all().any(|term| term.depth + 1 >= DEEP) {
            return false;
        }
        let modules: HashSet<&String> = all().flat_map(|term| &term.modules).collect();
        let limit = if modules.len() > 1 { LONG_OF_SEVERAL } else { LONG };
        let is_skip = branches.iter().any(|branch| branch.path.is_empty());
        !is_skip || all().map(|term| term.layers).sum::<usize>() <= limit || modules.len() == 1
    }

    /// [a, b, c, d] where only b and c begin at some value is [a, [b, c], d].
    fn split_list(&mut self, id: NodeId) {
        let operands = self.graph[id].inputs.clone();
        if !matches!(self.graph[id].op, Op::Concat(_)) || operands.len() < 3 {
            return;
        }
        let starts: Vec<NodeId> = operands.iter().map(|&operand| self.branch(operand).start).collect();
        let mut split = Vec::new();
        let mut at = 0;
        for run in starts.chunk_by(|a, b| a == b) {
            let part = &operands[at..at + run.len()];
            at += run.len();
            let readers = self.readers[run[0].0 as usize];
            match self.graph.add_layer(Concat, part, "") {
                Ok(inner) if run.len() > 1 && run.len() < operands.len() && readers == run.len() => {
                    self.terms.push(None);
                    self.readers.push(1);
                    self.is_output.push(false);
                    self.join(inner);
                    split.push(inner);
                }
                made => {
                    if made.is_ok() {
                        self.graph.nodes.pop();
                    }
                    split.extend(part);
                }
            }
        }
        self.graph[id].inputs = split;
    }

    /// The join of branches, in the words that say it best.
    pub fn kind(&mut self, id: NodeId, mut bodies: Vec<Body>) -> Kind {
        let ids = self.graph[id].inputs.clone();
        let same_type = |a: NodeId, b: NodeId| self.graph[a].ty == self.graph[b].ty;
        match (&self.graph[id].op, &mut bodies[..]) {
            // A sum in which one value is stretched to the sizes of the other keeps its order.
            (Op::Add(_), [a, b]) if same_type(ids[0], ids[1]) => {
                if layers(a) < layers(b) {
                    bodies.swap(0, 1);
                    self.graph[id].inputs.swap(0, 1);
                }
                let (main, side) = (layers(&bodies[0]), layers(&bodies[1]));
                let changes = bodies[0].first().is_some_and(|first| self.graph[first.reads].ty != self.graph[id].ty);
                match side {
                    0 if main > 0 => {
                        bodies.pop();
                        Kind::Join(Join::Residual { optional: false }, bodies)
                    }
                    _ if changes && side < main => Kind::Join(Join::Residual { optional: false }, bodies),
                    _ => Kind::Join(Join::Add, bodies),
                }
            }
            (Op::Mul(_), [a, b]) => {
                if b.is_empty() && same_type(ids[0], ids[1]) {
                    std::mem::swap(a, b);
                    self.graph[id].inputs.swap(0, 1);
                }
                match &bodies[0][..] {
                    [] => {
                        bodies.remove(0);
                        Kind::Join(Join::Gate, bodies)
                    }
                    _ => Kind::Join(Join::Mul, bodies),
                }
            }
            (Op::Concat(_), [a, b]) if a.is_empty() && !b.is_empty() => {
                bodies.remove(0);
                Kind::Join(Join::Grow, bodies)
            }
            (Op::Add(_), _) => Kind::Join(Join::Add, bodies),
            (Op::Mul(_), _) => Kind::Join(Join::Mul, bodies),
            _ => Kind::Join(Join::Concat, bodies),
        }
    }
}

/// Layers of a body.
pub fn layers(body: &Body) -> usize {
    body.iter().map(|step| 1 + step.bodies().iter().map(layers).sum::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, outline};
    use super::*;

    fn found(net: &str) -> String {
        outline(&steps(&mut graph(net), &Said::new()).unwrap())
    }

    #[test]
    fn branches_that_begin_together_are_one_step() {
        assert_eq!(found("residual { a: conv 1x1, 4 | relu } | relu"), "residual(conv relu) relu");
        assert_eq!(found("residual { a: conv 1x1, 8 | relu } project { b: conv 1x1, 8 }"), "residual(conv relu)(conv)");
        assert_eq!(found("gate { global_avgpool | a: conv 1x1, 4 }"), "gate(global_avgpool conv)");
        assert_eq!(found("grow { residual { a: conv 1x1, 4 } }"), "grow(residual(conv))");
        assert_eq!(found("concat { a: conv 1x1, 4 \n none \n maxpool 1x1 }"), "concat(conv)()(maxpool)");
    }

    #[test]
    fn operands_change_places_where_that_reads_better() {
        let text = "add { none \n a: conv 1x1, 4 | relu }";
        let mut graph = graph(text);
        let before = graph.clone();
        assert_eq!(outline(&steps(&mut graph, &Said::new()).unwrap()), "residual(conv relu)");
        let sum = NodeId(graph.nodes.len() as u32 - 1);
        assert_eq!(graph[sum].inputs, before[sum].inputs.iter().rev().copied().collect::<Vec<_>>());
    }

    #[test]
    fn a_list_is_split_where_some_begin_later() {
        let net = "a: conv 1x1, 4 as s | concat { none \n b: conv 1x1, 4 | concat { relu \n sigmoid } }";
        assert_eq!(found(net), "conv grow(conv concat(relu)(sigmoid))");
        let flat =
            "x1: conv 1x1, 4 as s | b: conv 1x1, 4 as t | concat { from s \n from t | relu \n from t | sigmoid }";
        assert_eq!(found(flat), "conv grow(conv concat(relu)(sigmoid))");
    }

    #[test]
    fn a_part_of_a_list_is_a_step_also_where_the_list_is_none() {
        let net =
            "relu as a | tanh as b | sigmoid as c | concat { from a \n from b | exp \n from c | sqrt \n from c | abs }";
        assert_eq!(found(net), "relu@v1 tanh@v3 sigmoid concat(sqrt)(abs)@v4 <v3 exp@v2 <v4 concat(<v1)(<v2)()");
    }

    #[test]
    fn what_does_not_begin_together_has_a_name() {
        let net = "relu as a | tanh as b | add { from a \n sigmoid as c } | add { none \n from b }";
        assert_eq!(found(net), "relu@v1 tanh@v3 sigmoid residual(<v1) residual(<v3)".replace("v3", "v2"));
    }
}
