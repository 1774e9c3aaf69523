//! From the inputs of a file to its outputs: what is computed becomes a graph.

use super::call::{Call, Outputs, Value};
use super::constant::{Bytes, Const, Element, External};
use super::flow::Flow;
use super::proto::{self, Model, Node};
use super::weights::{Weight, Weights};
use super::whole::Seen;
use super::{Options, Refusal, names, ops, patterns};
use crate::diagnostic::{Diagnostic, nearest};
use crate::ir::{FreeSize, Graph, NodeId, Output, Param, ParamSource};
use crate::layers::{Concat, Identity, Init, Op};
use crate::quant::Said;
use crate::tensor::{MAX_DIMS, TensorType};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

/// What was found: the graph of what the outputs need, its weights, and what is not as the file has it.
pub struct Found {
    pub graph: Graph,
    pub weights: Weights,
    pub notes: Vec<String>,
    /// Paths of layers that the file has no name for.
    pub invented: HashSet<String>,
    /// What values stand for as whole numbers, by node, and nodes whose values are read in f32 as well.
    pub said: HashMap<NodeId, Said>,
    pub real: HashSet<NodeId>,
}

/// How a file is looked at.
#[derive(Clone, Copy)]
pub struct View<'v> {
    pub samples: Samples,
    /// Values of sizes of positions that the file leaves open, which are free then; else they are as the caller gives them.
    pub free: Option<&'v Free>,
}

/// Sizes by their names, in the file or in the language, and of all others by the number of dimensions of positions.
#[derive(Clone, Debug)]
pub struct Free {
    pub of: HashMap<String, usize>,
    pub others: [usize; MAX_DIMS - 1],
}

/// Where the samples of a batch are in the file's values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Samples {
    /// Along the first axis.
    First,
    /// There is one, without an axis; here it has one of size 1.
    None,
}

/// The graph under construction and all values so far.
pub struct Importer<'a> {
    pub graph: Graph,
    pub weights: Weights,
    pub notes: Vec<String>,
    pub values: HashMap<&'a str, Value>,
    /// The node that makes a value.
    pub producers: HashMap<&'a str, &'a Node<'a>>,
    /// The file, and the files beside it.
    pub file: &'a Bytes,
    pub external: &'a mut dyn External,
    pub(super) options: &'a Options,
    pub(super) view: View<'a>,
    /// Names of open sizes in the language, by those that they have in the file.
    pub(super) free_names: HashMap<String, String>,
    /// Whether an input has its channels last in the file.
    pub(super) channels_last: bool,
    pub(super) readers: HashMap<&'a str, Vec<&'a Node<'a>>>,
    /// What there is of whole numbers.
    pub(super) seen: Seen,
    refused: Vec<Refused<'a>>,
    /// Values that leave the network.
    outputs: HashSet<&'a str>,
    labels: HashSet<String>,
    invented: HashSet<String>,
    /// The node that is being read, as a path.
    place: String,
    /// Nodes that have the values of these in order.
    pub(super) plain: HashMap<Flow, NodeId>,
    /// By the operands that they have in the file.
    concats: HashMap<Vec<NodeId>, NodeId>,
    /// Elements of constants that may still be computed.
    folded: usize,
}

/// A node that no layer says.
struct Refused<'a> {
    node: &'a Node<'a>,
    reason: Refusal,
}

/// Elements of all computed constants together.
const MAX_FOLDED: usize = 1 << 26;

/// Reads a graph.
///
/// # Errors
/// Everything that is refused.
pub fn walk<'a>(
    model: &'a Model<'a>,
    file: &'a Bytes,
    external: &'a mut dyn External,
    options: &'a Options,
    view: View<'a>,
) -> Result<Found, Vec<Diagnostic>> {
    let Some(source) = &model.graph else { return Err(vec![Diagnostic::error("E0801", "the file holds no graph")]) };
    let mut importer = Importer {
        graph: Graph { name: names::of_network(source.name, &options.name), ..Graph::default() },
        weights: Weights::default(),
        notes: Vec::new(),
        values: HashMap::new(),
        producers: HashMap::new(),
        file,
        external,
        options,
        view,
        free_names: HashMap::new(),
        channels_last: false,
        readers: HashMap::new(),
        seen: Seen::default(),
        refused: Vec::new(),
        outputs: HashSet::new(),
        labels: HashSet::new(),
        invented: HashSet::new(),
        place: String::new(),
        plain: HashMap::new(),
        concats: HashMap::new(),
        folded: 0,
    };
    importer.index(&source.nodes).map_err(|e| vec![e])?;
    let own: Vec<&str> = source.outputs.iter().map(|output| output.name).collect();
    let wanted = importer.wanted(&own, source)?;
    importer.outputs = wanted.iter().copied().collect();
    let live = importer.live(&wanted);
    importer.constants(model, &live)?;
    importer.inputs(&source.inputs, &live)?;
    let order = importer.order(&source.nodes, &live).map_err(|e| vec![e])?;
    for node in &order {
        importer.node(node);
    }
    importer.finish(&wanted, &order)
}

impl<'a> Importer<'a> {
    /// Who makes and who reads each value.
    fn index(&mut self, nodes: &'a [Node<'a>]) -> Result<(), Diagnostic> {
        for node in nodes {
            for &output in node.outputs.iter().filter(|name| !name.is_empty()) {
                if self.producers.insert(output, node).is_some() {
                    return Err(Diagnostic::error("E0803", format!("the value `{output}` is made twice")));
                }
            }
            for &input in node.inputs.iter().filter(|name| !name.is_empty()) {
                self.readers.entry(input).or_default().push(node);
            }
        }
        Ok(())
    }

    /// The values that become outputs.
    fn wanted(&self, own: &[&'a str], graph: &proto::Graph<'a>) -> Result<Vec<&'a str>, Vec<Diagnostic>> {
        if self.options.cut.is_empty() {
            let known = |name: &str| {
                let constant = || graph.initializers.iter().any(|tensor| tensor.name == name);
                self.producers.contains_key(name) || graph.inputs.iter().any(|input| input.name == name) || constant()
            };
            let message = match own.iter().find(|name| !known(name)) {
                Some(name) => format!("the output `{name}` is never made"),
                None if own.is_empty() => "the graph has no outputs".into(),
                None => return Ok(own.to_vec()),
            };
            return Err(vec![Diagnostic::error("E0803", message)]);
        }
        let names = || self.producers.keys().copied().chain(graph.inputs.iter().map(|input| input.name));
        let find = |cut: &String| {
            let error = || {
                let error = Diagnostic::error("E0808", format!("--cut {cut}: there is no such value"));
                match nearest(cut, names()) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error,
                }
            };
            names().find(|name| name == cut).ok_or_else(error)
        };
        let found: Vec<Result<&str, Diagnostic>> = self.options.cut.iter().map(find).collect();
        let errors: Vec<Diagnostic> = found.iter().filter_map(|found| found.clone().err()).collect();
        if errors.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(errors) }
    }

    /// The values that the outputs need.
    fn live(&self, wanted: &[&'a str]) -> HashSet<&'a str> {
        let mut live: HashSet<&str> = HashSet::new();
        let mut open = wanted.to_vec();
        while let Some(name) = open.pop() {
            if name.is_empty() || !live.insert(name) {
                continue;
            }
            if let Some(node) = self.producers.get(name) {
                open.extend(&node.inputs);
            }
        }
        live
    }

    fn constants(&mut self, model: &'a Model<'a>, live: &HashSet<&str>) -> Result<(), Vec<Diagnostic>> {
        let graph = model.graph.iter();
        let mut errors = Vec::new();
        for tensor in graph.flat_map(|graph| &graph.initializers).filter(|tensor| live.contains(tensor.name)) {
            match Const::of_tensor(tensor, self.file, self.external) {
                Ok(constant) => {
                    let made = self.producers.contains_key(tensor.name);
                    if made || self.values.insert(tensor.name, Value::Const(constant)).is_some() {
                        let message = format!("the value `{}` is made twice", tensor.name);
                        errors.push(Diagnostic::error("E0803", message));
                    }
                }
                Err(reason) => {
                    errors.push(Diagnostic::error("E0802", format!("the constant `{}`: {reason}", tensor.name)));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The live nodes, each behind those that make its operands; in the order of the file where that is one.
    fn order(&self, nodes: &'a [Node<'a>], live: &HashSet<&str>) -> Result<Vec<&'a Node<'a>>, Diagnostic> {
        let live: Vec<&Node> =
            nodes.iter().filter(|node| node.outputs.iter().any(|output| live.contains(output))).collect();
        let index: HashMap<&str, usize> =
            live.iter().enumerate().flat_map(|(i, node)| node.outputs.iter().map(move |&output| (output, i))).collect();
        let operands = |i: usize| -> BTreeSet<usize> {
            live[i].inputs.iter().filter(|name| !name.is_empty()).filter_map(|name| index.get(name).copied()).collect()
        };
        let mut readers = vec![Vec::new(); live.len()];
        let mut missing: Vec<usize> = Vec::new();
        for i in 0..live.len() {
            let operands = operands(i);
            missing.push(operands.len());
            operands.into_iter().for_each(|operand| readers[operand].push(i));
        }
        let ready = missing.iter().enumerate().filter(|(_, missing)| **missing == 0).map(|(i, _)| Reverse(i));
        let mut ready: BinaryHeap<Reverse<usize>> = ready.collect();
        let mut order = Vec::new();
        while let Some(Reverse(i)) = ready.pop() {
            order.push(live[i]);
            for &reader in &readers[i] {
                missing[reader] -= 1;
                if missing[reader] == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
        if order.len() < live.len() {
            return Err(Diagnostic::error("E0803", "values of the graph are made from themselves"));
        }
        let unknown = order
            .iter()
            .flat_map(|node| &node.inputs)
            .find(|name| !name.is_empty() && !index.contains_key(*name) && !self.values.contains_key(*name));
        match unknown {
            Some(name) => Err(Diagnostic::error("E0803", format!("the value `{name}` is read, and never made"))),
            None => Ok(order),
        }
    }

    /// Does what a node says, or notes why not.
    fn node(&mut self, node: &'a Node<'a>) {
        self.place = names::place(node);
        let outputs = match self.evaluate(node) {
            Ok(Some(outputs)) => outputs,
            Ok(None) => Vec::new(),
            Err(reason) => {
                self.refused.push(Refused { node, reason });
                Vec::new()
            }
        };
        let mut outputs = outputs.into_iter();
        for &name in &node.outputs {
            let value = outputs.next().unwrap_or(Value::Missing);
            if !name.is_empty() {
                self.values.insert(name, value);
            }
        }
    }

    /// `None` where an operand is missing.
    fn evaluate(&mut self, node: &'a Node<'a>) -> Result<Option<Vec<Value>>, Refusal> {
        let rule = ops::find(node)?;
        if let Some(value) = patterns::find(self, node)? {
            return Ok(Some(vec![value.into()]));
        }
        let operand = |name: &&'a str| (!name.is_empty()).then(|| self.values[name].clone());
        let inputs: Vec<Option<Value>> = node.inputs.iter().map(operand).collect();
        if inputs.iter().flatten().any(|value| matches!(value, Value::Missing)) {
            return Ok(None);
        }
        let outputs = self.apply(rule, node, inputs)?;
        for output in &outputs {
            if let Value::Const(constant) = output {
                self.folded += constant.owned();
            }
        }
        if self.folded > MAX_FOLDED {
            return Err(Refusal::new("the constants of this file take too much computing"));
        }
        Ok(Some(outputs))
    }

    /// What the rule of a node's operator gives for operands.
    fn apply(&mut self, rule: ops::Rule, node: &'a Node<'a>, inputs: Vec<Option<Value>>) -> Outputs {
        let is_whole = |value: &Value| matches!(value, Value::Whole(_));
        if inputs.iter().flatten().any(is_whole) && !ops::reads_whole(node) {
            return self.moved(rule, node, inputs);
        }
        let call = Call::new(node, inputs);
        let outputs = rule(self, &call)?;
        call.check_attributes()?;
        self.follow(&call, &outputs);
        Ok(outputs)
    }

    /// Whether sizes are as they are by default only.
    pub fn has_free_sizes(&self) -> bool {
        !self.graph.free.is_empty()
    }

    /// The type of a node's value.
    pub fn ty(&self, node: NodeId) -> &TensorType {
        &self.graph[node].ty
    }

    /// A value of the network by its name.
    pub fn flow(&self, name: &str) -> Option<&Flow> {
        match self.values.get(name)? {
            Value::Flow(flow) => Some(flow),
            _ => None,
        }
    }

    /// A constant by its name.
    pub fn constant(&self, name: &str) -> Option<&Const> {
        match self.values.get(name)? {
            Value::Const(constant) => Some(constant),
            _ => None,
        }
    }

    /// Whether a node's value is one of the file that is read once, and nothing else was made of it.
    pub fn has_one_name(&self, node: NodeId) -> bool {
        let names = self.values.iter().filter(|(_, value)| matches!(value, Value::Flow(flow) if flow.node == node));
        let mut names = names.map(|(name, _)| name);
        matches!((names.next(), names.next()), (Some(name), None) if self.has_one_reader(name))
    }

    /// Whether nobody else reads a value of the file, which is no output.
    pub fn has_one_reader(&self, name: &str) -> bool {
        self.readers.get(name).is_some_and(|readers| readers.len() == 1) && !self.outputs.contains(name)
    }

    /// Adds a layer without weights, in the place of the node that is being read.
    ///
    /// # Errors
    /// If it does not take these operands.
    pub fn layer(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, Refusal> {
        let node = self.graph.add_layer(op, inputs, &self.place)?;
        self.ty(node).check().map_err(Refusal::new)?;
        Ok(node)
    }

    /// As [`layer`](Importer::layer), where the node that is being read needs a value in another order: its place is not
    /// that of the layer.
    ///
    /// # Errors
    /// If it does not take these operands.
    pub fn reorder(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, Refusal> {
        let node = self.layer(op, inputs)?;
        self.graph[node].origin.path.clear();
        Ok(node)
    }

    /// Adds a concatenation. Where its first operands are in one already, that takes their place: exporters make one list
    /// of [[[a, b], c], d], in which the growing of a dense block is lost.
    ///
    /// # Errors
    /// If their sizes differ.
    pub fn concat(&mut self, operands: Vec<NodeId>) -> Result<NodeId, Refusal> {
        const LONGEST: usize = 256;
        let known = |length: &usize| self.concats.get(&operands[..*length]).copied();
        let lengths = (2..operands.len().min(LONGEST)).rev();
        let node = match lengths.into_iter().find_map(|length| Some((length, known(&length)?))) {
            Some((length, first)) => self.layer(Concat, &[&[first], &operands[length..]].concat())?,
            None => self.layer(Concat, &operands)?,
        };
        if operands.len() <= LONGEST {
            self.concats.insert(operands, node);
        }
        Ok(node)
    }

    /// Adds a layer with its weights, in the order in which it takes them.
    ///
    /// # Errors
    /// If it does not take these operands, or the weights have other sizes.
    pub fn weighted(
        &mut self,
        op: impl Into<Op>,
        input: NodeId,
        call: &Call,
        weights: Vec<Weight>,
    ) -> Result<NodeId, Refusal> {
        let op = op.into();
        let kind = op.layer().map_or("", |layer| layer.spec().keyword);
        let own = names::labels(call.node);
        let is_named = !own.is_empty();
        let free = own.iter().find(|name| !self.labels.contains(*name)).or(own.first()).cloned();
        let label = self.unique(free.unwrap_or_else(|| names::word(kind)));
        let node = self.graph.add_layer(op, &[input], &label)?;
        if !is_named {
            self.invented.insert(label);
        }
        self.ty(node).check().map_err(Refusal::new)?;
        let params = self.graph[node].params.clone();
        if params.len() != weights.len() {
            return Err(Refusal::new(format!("{} weights for a layer of {}", weights.len(), params.len())));
        }
        let reads_whole = call.node.inputs.first().is_some_and(|name| self.seen.is_dequantised(name));
        for (param, weight) in params.into_iter().zip(weights) {
            let weight = weight.beside(reads_whole);
            weight.check()?;
            if weight.element() == Element::F64 {
                self.note("weights of f64 are f32 here");
            }
            let param = &self.graph[param];
            if param.elements() != weight.count() {
                let (found, name, wanted) = (weight.count(), &param.name, &param.dims);
                return Err(Refusal::new(format!("{found} numbers for `{name}`, which has {wanted:?}")));
            }
            self.weights.insert(param.name.clone(), weight);
        }
        Ok(node)
    }

    /// Says once what is not as the file has it.
    fn note(&mut self, what: &str) {
        if !self.notes.iter().any(|note| note == what) {
            self.notes.push(what.to_string());
        }
    }

    /// Gives a convolution, dense layer or scale that has no bias one.
    ///
    /// # Panics
    /// If it is neither.
    pub fn add_bias(&mut self, node: NodeId, bias: Weight) {
        let channels = self.ty(node).channels();
        let name = format!("{}.bias", self.graph[node].origin.path);
        let (dims, source) = (vec![channels], ParamSource::File);
        let param = self.graph.add_param(Param { name: name.clone(), dims, source, init: Init::Small });
        self.weights.insert(name, bias);
        let node = &mut self.graph[node];
        node.params.push(param);
        match &mut node.op {
            Op::Conv(conv) => conv.bias = true,
            Op::Dense(dense) => dense.bias = true,
            Op::Scale(scale) => scale.bias = true,
            other => unreachable!("{other:?} has no bias"),
        }
    }

    /// The name, or the name with a number, that nothing else has.
    pub(super) fn unique(&mut self, name: String) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = [name.clone()].into_iter().chain(numbered).find(|name| !self.labels.contains(name));
        let free = free.expect("there are more numbers than names");
        self.labels.insert(free.clone());
        free
    }

    /// The graph of what the outputs need, or all that was refused.
    fn finish(mut self, wanted: &[&'a str], order: &[&'a Node<'a>]) -> Result<Found, Vec<Diagnostic>> {
        if !self.blamed(wanted).is_empty() {
            let cuts = if self.options.whole { None } else { self.cuts(order) };
            return Err(self.refusals(&self.blamed(wanted), cuts));
        }
        let mut errors = Vec::new();
        let mut names = HashSet::new();
        for (index, &name) in wanted.iter().enumerate() {
            match self.output(name) {
                Ok(node) => {
                    // A network has at least one layer.
                    let node = match self.graph[node].op {
                        Op::Input => self.reorder(Identity, &[node]).expect("it takes anything"),
                        _ => node,
                    };
                    let word = if index == 0 && wanted.len() == 1 { "output".to_string() } else { names::word(name) };
                    let mut unique = word.clone();
                    while !names.insert(unique.clone()) {
                        unique.push('_');
                    }
                    self.graph.outputs.push(Output { name: unique, node });
                }
                Err(reason) => errors.push(Diagnostic::error("E0807", format!("the output `{name}`: {reason}"))),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let (graph, moved) = pruned(&self.graph);
        self.weights.retain(&graph.params);
        let Seen { said, real, .. } = self.seen;
        let said = said.into_iter().filter_map(|(id, said)| Some((*moved.get(&id)?, said))).collect();
        let real = real.iter().filter_map(|id| moved.get(id).copied()).collect();
        Ok(Found { graph, weights: self.weights, notes: self.notes, invented: self.invented, said, real })
    }

    /// The node whose value is an output of the file. Where its channels are last there, they are first here.
    fn output(&mut self, name: &str) -> Result<NodeId, Refusal> {
        let mut flow = match &self.values[name] {
            Value::Flow(flow) => flow.clone(),
            Value::Const(_) => return Err(Refusal::new("it is constant")),
            Value::Whole(_) => {
                return Err(Refusal::new("it is whole numbers; outputs are f32, behind DequantizeLinear"));
            }
            Value::Missing => return Err(Refusal::new("no layer gives it")),
        };
        if self.view.samples == Samples::None {
            flow.axes.insert(0, Vec::new());
        }
        let rank = flow.rank();
        if rank > 2 && self.channels_last && !flow.in_order(self.ty(flow.node)) {
            let perm: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            let turned = flow.transposed(&perm)?;
            if turned.in_order(self.ty(turned.node)) {
                flow = turned;
                self.notes.push(format!("the output `{name}` has its channels last in the file, and first here"));
            }
        }
        self.plain(&flow)
    }

    /// The refused nodes on account of which outputs are missing. Others were part of a pattern.
    fn blamed(&self, wanted: &[&'a str]) -> Vec<&Refused<'a>> {
        let is_missing = |name: &&str| matches!(self.values.get(name), Some(Value::Missing));
        let mut open: Vec<&str> = wanted.iter().copied().filter(is_missing).collect();
        let mut seen: HashSet<&str> = HashSet::new();
        while let Some(name) = open.pop() {
            if seen.insert(name) {
                open.extend(self.producers[name].inputs.iter().copied().filter(is_missing));
            }
        }
        let of_seen = |refused: &&Refused| refused.node.outputs.iter().any(|output| seen.contains(output));
        self.refused.iter().filter(of_seen).collect()
    }

    /// All that was refused, the same reason once for all nodes of an operator, and which cuts would leave a network.
    fn refusals(&self, refused: &[&Refused<'a>], cuts: Option<String>) -> Vec<Diagnostic> {
        const SHOWN: usize = 4;
        let mut groups: Vec<(String, &Refusal, Vec<String>)> = Vec::new();
        for Refused { node, reason } in refused.iter().copied() {
            let (operator, place) = (operator(node), title(node));
            match groups.iter_mut().find(|(of, why, _)| *of == operator && *why == reason) {
                Some((_, _, nodes)) => nodes.push(place),
                None => groups.push((operator, reason, vec![place])),
            }
        }
        let of_group = |(operator, reason, nodes): (String, &Refusal, Vec<String>)| {
            let more = nodes.len().saturating_sub(SHOWN);
            let shown = nodes[..nodes.len().min(SHOWN)].join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("{operator} is not imported: {reason}");
            Diagnostic::error("E0806", message).note(format!("node {shown}{more}"))
        };
        let mut errors: Vec<Diagnostic> = groups.into_iter().map(of_group).collect();
        if let Some(help) = cuts {
            let last = errors.pop().expect("something was refused");
            errors.push(last.help(help));
        }
        errors
    }

    /// The last values before what was refused that can be outputs.
    fn reached(&mut self, order: &[&'a Node<'a>]) -> HashSet<&'a str> {
        let missing = |node: &&&'a Node<'a>| {
            node.outputs.iter().any(|output| matches!(self.values.get(output), Some(Value::Missing)))
        };
        let mut open: Vec<&'a str> =
            order.iter().filter(missing).flat_map(|node| node.inputs.iter().copied()).collect();
        let (mut seen, mut reached) = (HashSet::new(), HashSet::new());
        while let Some(name) = open.pop() {
            let Some(&producer) = self.producers.get(name) else { continue };
            if !seen.insert(name) || self.flow(name).is_none() {
                continue;
            }
            match self.output(name) {
                Ok(_) => drop(reached.insert(name)),
                Err(_) => open.extend(&producer.inputs),
            }
        }
        reached
    }

    /// The last values before what was refused, none of which another of them needs.
    fn cuts(&mut self, order: &[&'a Node<'a>]) -> Option<String> {
        const SHOWN: usize = 8;
        let reached = self.reached(order);
        let needs = |name: &&str| {
            let below = self.live(&self.producers[name].inputs);
            reached.iter().filter(|other| below.contains(**other)).copied().collect::<Vec<_>>()
        };
        let inner: HashSet<&str> = reached.iter().take(256).flat_map(needs).collect();
        let last: Vec<&str> = order
            .iter()
            .flat_map(|node| node.outputs.iter().copied())
            .filter(|name| reached.contains(name) && !inner.contains(name))
            .collect();
        if last.is_empty() || last.len() > SHOWN {
            return None;
        }
        let live = self.live(&last);
        let nodes = order.iter().filter(|node| node.outputs.iter().any(|output| live.contains(output))).count();
        let cuts: Vec<String> = last.iter().map(|name| format!("--cut {name}")).collect();
        Some(format!("{} imports the {nodes} of {} nodes before that", cuts.join(" "), order.len()))
    }
}

/// What to call the operator of a node: those of ONNX change from version to version.
fn operator(node: &Node) -> String {
    match node.domain {
        _ if node.is_onnx() => format!("{} (operator set {})", node.operator, node.version),
        domain => format!("{domain}.{}", node.operator),
    }
}

/// What to call a node.
pub fn title(node: &Node) -> String {
    match (node.name, node.outputs.first()) {
        ("", Some(output)) => format!("of `{output}`"),
        (name, _) => format!("`{name}`"),
    }
}

/// The same graph without what no output needs, and where in it each node is.
fn pruned(graph: &Graph) -> (Graph, HashMap<NodeId, NodeId>) {
    let mut live = vec![false; graph.nodes.len()];
    graph.outputs.iter().for_each(|output| live[output.node.0 as usize] = true);
    for id in graph.ids().rev() {
        if live[id.0 as usize] {
            graph[id].inputs.iter().for_each(|input| live[input.0 as usize] = true);
        }
    }
    let mut kept = Graph { name: graph.name.clone(), ..Graph::default() };
    let mut moved = HashMap::new();
    for id in graph.ids().filter(|id| live[id.0 as usize]) {
        let mut node = graph[id].clone();
        node.inputs = node.inputs.iter().map(|input| moved[input]).collect();
        node.params = node.params.iter().map(|&param| kept.add_param(graph[param].clone())).collect();
        moved.insert(id, kept.add_node(node));
    }
    kept.inputs = graph.inputs.iter().filter_map(|input| moved.get(input).copied()).collect();
    let output = |output: &Output| Output { name: output.name.clone(), node: moved[&output.node] };
    kept.outputs = graph.outputs.iter().map(output).collect();
    let place = |input: usize| kept.inputs.iter().position(|id| moved.get(&graph.inputs[input]) == Some(id));
    let free = |free: &FreeSize| Some(FreeSize { input: place(free.input)?, ..free.clone() });
    kept.free = graph.free.iter().filter_map(free).collect();
    (kept, moved)
}
