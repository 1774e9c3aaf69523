//! A graph as a text of the language: one line for each chain of layers, names for what is read elsewhere.

use super::Said;
use super::print::inputs;
use crate::ir::{Graph, Node, NodeId};
use crate::layers::Op;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// A text, and the nodes in the order in which it makes them.
pub struct Flat {
    pub text: String,
    pub order: Vec<NodeId>,
}

/// Writes a graph whose nodes are all needed.
pub fn write(graph: &Graph, said: &Said) -> Flat {
    let lines = chains(graph);
    let order = lines.concat();
    let names = names(graph, &lines);
    let words = Words { graph, names: &names, labels: labels(graph), said };
    let mut text = format!("model {}\n", graph.name);
    text += &inputs(graph);
    text += "net {\n";
    let mut flow = graph.inputs.first().copied();
    for line in &lines {
        let mut steps = Vec::new();
        let first = &graph[line[0]];
        let start = join_start(first);
        if flow != Some(start) {
            steps.push(format!("from {}", names[&start]));
        }
        steps.push(words.layer(line[0]));
        steps.extend(line[1..].iter().map(|&id| words.layer(id)));
        let last = line[line.len() - 1];
        let named = names.get(&last).map_or(String::new(), |name| format!(" as {name}"));
        let _ = writeln!(text, "{}{named}", steps.join(" | "));
        flow = Some(last);
    }
    for output in graph.outputs.iter().skip(1).chain(graph.outputs.first()) {
        if flow != Some(output.node) {
            let _ = writeln!(text, "from {}", names[&output.node]);
        }
        flow = Some(output.node);
        if output.name != "output" || graph.outputs.len() > 1 {
            let _ = writeln!(text, "output {}", output.name);
        }
    }
    text += "}\n";
    Flat { text, order }
}

/// Runs of layers, each of which alone reads the one before; a layer of several operands begins a run.
fn chains(graph: &Graph) -> Vec<Vec<NodeId>> {
    let users = graph.users();
    let outputs = graph.output_values();
    let follows = |id: NodeId| {
        let input = *graph[id].inputs.first()?;
        let alone = users[input.0 as usize].len() == 1 && !outputs[input.0 as usize];
        (graph[id].inputs.len() == 1 && alone && !matches!(graph[input].op, Op::Input)).then_some(input)
    };
    let mut line_of: HashMap<NodeId, usize> = HashMap::new();
    let mut lines: Vec<Vec<NodeId>> = Vec::new();
    for id in graph.ids().filter(|&id| !matches!(graph[id].op, Op::Input)) {
        let line = follows(id).map_or(lines.len(), |input| line_of[&input]);
        if line == lines.len() {
            lines.push(Vec::new());
        }
        lines[line].push(id);
        line_of.insert(id, line);
    }
    lines
}

/// The value that a step begins with: of a sum and a product, the one that the body is not made from.
fn join_start(node: &Node) -> NodeId {
    match node.op {
        Op::Add(_) => node.inputs[1],
        _ => node.inputs[0],
    }
}

/// Whether the second value of a sum has fewer numbers than the first, which no residual says.
fn is_stretched(graph: &Graph, sum: &Node) -> bool {
    graph[sum.inputs[1]].ty != graph[sum.inputs[0]].ty
}

/// Names of all values that something takes by name.
fn names(graph: &Graph, lines: &[Vec<NodeId>]) -> HashMap<NodeId, String> {
    let mut taken: HashSet<NodeId> = HashSet::new();
    let mut flow = graph.inputs.first().copied();
    for line in lines {
        let first = &graph[line[0]];
        if flow != Some(join_start(first)) {
            taken.insert(join_start(first));
        }
        match first.op {
            Op::Concat(_) if first.inputs.len() == 2 => drop(taken.insert(first.inputs[1])),
            Op::Concat(_) => taken.extend(&first.inputs),
            Op::Add(_) if is_stretched(graph, first) => taken.extend(&first.inputs),
            Op::Add(_) => drop(taken.insert(first.inputs[0])),
            Op::Mul(_) => drop(taken.insert(first.inputs[1])),
            _ => {}
        }
        flow = line.last().copied();
    }
    for output in graph.outputs.iter().skip(1).chain(graph.outputs.first()) {
        if flow != Some(output.node) {
            taken.insert(output.node);
        }
        flow = Some(output.node);
    }
    let inputs: HashSet<&str> = graph.inputs.iter().map(|&id| graph[id].origin.path.as_str()).collect();
    let mut number = 0;
    let mut next = || loop {
        number += 1;
        let name = format!("v{number}");
        if !inputs.contains(name.as_str()) {
            return name;
        }
    };
    let name = |id: NodeId| match graph[id].op {
        Op::Input => (id, graph[id].origin.path.clone()),
        _ => (id, next()),
    };
    let order = graph.inputs.iter().chain(lines.iter().flatten()).copied();
    order.filter(|id| taken.contains(id)).map(name).collect()
}

/// What layers are written with.
struct Words<'w> {
    graph: &'w Graph,
    names: &'w HashMap<NodeId, String>,
    labels: HashMap<NodeId, String>,
    said: &'w Said,
}

impl Words<'_> {
    fn layer(&self, id: NodeId) -> String {
        let node = &self.graph[id];
        let from = |id: &NodeId| format!("from {}", self.names[id]);
        match &node.op {
            Op::Add(_) if is_stretched(self.graph, node) => {
                format!("add {{\n{}\n{}\n}}", from(&node.inputs[0]), from(&node.inputs[1]))
            }
            Op::Add(_) => format!("residual {{ {} }}", from(&node.inputs[0])),
            Op::Mul(_) => format!("gate {{ {} }}", from(&node.inputs[1])),
            Op::Concat(_) if node.inputs.len() == 2 => format!("grow {{ {} }}", from(&node.inputs[1])),
            Op::Concat(_) => {
                let branches: Vec<String> = node.inputs.iter().map(|id| format!("{}\n", from(id))).collect();
                format!("concat {{\n{}}}", branches.concat())
            }
            op => {
                let own = || op.layer().map_or(String::new(), ToString::to_string);
                let layer = self.said.get(&id).cloned().unwrap_or_else(own);
                self.labels.get(&id).map_or(layer.clone(), |label| format!("{label}: {layer}"))
            }
        }
    }
}

/// The paths of layers with weights as labels, each of which is one word.
fn labels(graph: &Graph) -> HashMap<NodeId, String> {
    let mut taken = HashSet::new();
    let mut labels = HashMap::new();
    for id in graph.ids().filter(|&id| graph[id].params.iter().any(|&param| graph[param].is_read())) {
        let word: String =
            graph[id].origin.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let word = if word.is_empty() { "layer".to_string() } else { word };
        let numbered = (2..).map(|number| format!("{word}_{number}"));
        let label = [word.clone()].into_iter().chain(numbered).find(|label| !taken.contains(label));
        let label = label.expect("there are more numbers than names");
        taken.insert(label.clone());
        labels.insert(id, label);
    }
    labels
}
