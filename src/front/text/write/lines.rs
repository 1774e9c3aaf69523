//! What is no step behind one value: lines of steps, between values that have names.

use super::series::Series;
use super::tree::{Body, Kind, Step};
use crate::ir::{Graph, NodeId};
use std::collections::{HashMap, HashSet};

impl Series<'_> {
    /// The network line by line: what has several readers has a name, and a join that is no step begins a line.
    pub fn lines(mut self, ids: &[NodeId]) -> Body {
        let mut line_of: HashMap<NodeId, usize> = HashMap::new();
        let mut lines: Vec<(NodeId, Body)> = Vec::new();
        let mut names = Names::of_inputs(self.graph);
        for &id in ids {
            let (source, body) = match self.terms[id.0 as usize].take() {
                Some(term) => (term.source, term.body),
                None if self.open.contains(&id) => self.by_name(id, &mut names),
                None => continue,
            };
            let at = source.0 as usize;
            let is_step = !matches!(body[0].kind, Kind::Join(..)) || !takes_names(&body[0]);
            let line =
                line_of.get(&source).copied().filter(|_| self.readers[at] == 1 && !self.is_output[at] && is_step);
            let line = line.unwrap_or_else(|| {
                lines.push((source, Vec::new()));
                lines.len() - 1
            });
            lines[line].1.extend(body);
            line_of.insert(id, line);
        }
        self.named(lines, names)
    }

    /// A join as a step that takes all of its operands but one by name.
    fn by_name(&mut self, id: NodeId, names: &mut Names) -> (NodeId, Body) {
        let flows = |id: &NodeId| {
            let at = id.0 as usize;
            self.readers[at] == 1 && !self.is_output[at] && !self.graph[*id].inputs.is_empty()
        };
        let operands = self.graph[id].inputs.clone();
        let place = operands.iter().rposition(flows).unwrap_or(0);
        let source = operands[place];
        let mut take = |operand: NodeId| vec![Step::new(Kind::From(names.of(operand)), source, operand)];
        let place_of = |(at, &operand): (usize, &NodeId)| if at == place { Vec::new() } else { take(operand) };
        let bodies = operands.iter().enumerate().map(place_of).collect();
        let kind = self.kind(id, bodies);
        (source, vec![Step::new(kind, source, id)])
    }

    /// Lines behind each other, with the names that are needed to go from one to the next.
    fn named(self, lines: Vec<(NodeId, Body)>, mut names: Names) -> Body {
        let mut flow = self.graph.inputs.first().copied();
        let mut all: Body = Vec::new();
        for (source, body) in lines {
            if flow != Some(source) {
                all.push(Step::new(Kind::From(names.of(source)), flow.unwrap_or(source), source));
            }
            flow = body.last().map(|step| step.gives);
            all.extend(body);
        }
        for output in self.graph.outputs.iter().skip(1).chain(self.graph.outputs.first()) {
            let before = flow.unwrap_or(output.node);
            if before != output.node {
                all.push(Step::new(Kind::From(names.of(output.node)), before, output.node));
            }
            flow = Some(output.node);
            if output.name != "output" || self.graph.outputs.len() > 1 {
                all.push(Step::new(Kind::Output(output.name.clone()), output.node, output.node));
            }
        }
        for step in all.iter_mut().filter(|step| matches!(step.kind, Kind::Layer(_) | Kind::Join(..))) {
            step.alias = names.given.get(&step.gives).cloned();
        }
        all
    }
}

/// Names of values that are taken by one.
struct Names {
    given: HashMap<NodeId, String>,
    taken: HashSet<String>,
    count: usize,
}

impl Names {
    fn of_inputs(graph: &Graph) -> Names {
        let name = |&id: &NodeId| (id, graph[id].origin.path.clone());
        let given: HashMap<NodeId, String> = graph.inputs.iter().map(name).collect();
        Names { taken: given.values().cloned().collect(), given, count: 0 }
    }

    fn of(&mut self, id: NodeId) -> String {
        if let Some(name) = self.given.get(&id) {
            return name.clone();
        }
        let name = loop {
            self.count += 1;
            let name = format!("v{}", self.count);
            if !self.taken.contains(&name) {
                break name;
            }
        };
        self.given.insert(id, name.clone());
        name
    }
}

fn takes_names(step: &Step) -> bool {
    let from = |step: &Step| matches!(step.kind, Kind::From(_));
    step.bodies().iter().flatten().any(from)
}
