//! Which layers of a network compute on whole numbers, where some have weights of eight bits.

use crate::ir::weights::{WeightSource, values};
use crate::ir::{Epilogue, Graph, NodeId, Param, ParamId, ParamSource, Verified, integer, verify};
use crate::layers::{Activation, Each, Op};
use crate::passes;
use std::borrow::Cow;
use std::collections::HashMap;

/// A network with its norms folded, in f32, and what is to be done on whole numbers in it.
#[derive(Clone)]
pub struct Structure {
    /// What is limited or added behind a layer on whole numbers is fused with it.
    pub graph: Verified<Graph>,
    /// For each node, whether its weights have eight bits.
    products: Vec<bool>,
    /// For each node, whether somebody reads its value as whole numbers.
    whole: Vec<bool>,
    /// For each node, whether it is fused into another one, so that nobody reads it.
    gone: Vec<bool>,
    /// What the value of each node is called in a weight file.
    names: Vec<String>,
    /// For each node, the first of those whose values have the same quantisation.
    classes: Vec<usize>,
    /// For each node, whether its value is rounded before another one is added to it.
    apart: Vec<bool>,
    /// For each node, whether it puts values side by side that it brings to a quantisation of its own.
    parted: Vec<bool>,
    /// For each node, that of the graph before anything was fused whose value it has.
    shown: Vec<NodeId>,
}

/// A network with its norms folded where that can be, and the weights that this makes.
pub struct Folded<'w> {
    pub graph: Verified<Graph>,
    rest: &'w dyn WeightSource,
    made: HashMap<String, Vec<f32>>,
}

impl<'w> Folded<'w> {
    /// The network with these weights.
    pub fn new(graph: &Verified<Graph>, rest: &'w dyn WeightSource) -> Folded<'w> {
        let folded = passes::fold(graph.clone());
        let (graph, made) = name(&folded);
        let value = |(name, param): (String, ParamId)| (name, values(&folded, param, rest).into_owned());
        Folded { graph, rest, made: made.into_iter().map(value).collect() }
    }
}

impl Folded<'_> {
    /// The values of a parameter as they were before norms were folded into it.
    pub(super) fn rest_values(&self, param: &Param) -> Cow<'_, [f32]> {
        self.rest.values(param)
    }
}

impl WeightSource for Folded<'_> {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        self.made.get(&param.name).map_or_else(|| self.rest.values(param), |values| values.into())
    }
}

/// The network with its norms folded where that can be, and with the weights that this makes as weights of a file.
pub(super) fn prepare(graph: &Verified<Graph>) -> Verified<Graph> {
    name(&passes::fold(graph.clone())).0
}

/// The graph with weights of a file in the place of those that folding made, which are given too.
fn name(folded: &Verified<Graph>) -> (Verified<Graph>, Vec<(String, ParamId)>) {
    let mut graph = folded.clone().into_inner();
    let mut made = Vec::new();
    for id in graph.ids() {
        if !matches!(graph[id].op, Op::Conv(_) | Op::Dense(_) | Op::BatchNorm(_) | Op::Scale(_)) {
            continue;
        }
        let types = graph.operand_types(&graph[id]);
        let specs = graph[id].op.layer().expect("no input").params(&types);
        let stem = stem(&graph, id);
        for (index, spec) in specs.iter().enumerate() {
            let param = graph[id].params[index];
            if matches!(graph[param].source, ParamSource::Scaled { .. } | ParamSource::Shifted { .. }) {
                let name = format!("{stem}.{}", spec.role);
                made.push((name.clone(), param));
                let read = Param { name, source: ParamSource::File, ..graph[param].clone() };
                graph[id].params[index] = graph.add_param(read);
            }
        }
    }
    passes::sweep_params(&mut graph);
    (verify(graph).expect("a folded graph with other names of weights"), made)
}

/// What the names of a layer's weights begin with.
fn stem(graph: &Graph, id: NodeId) -> String {
    let weight = graph[id].params.first().map(|&param| first_of_file(graph, &graph[param]));
    let stem = weight.and_then(|name| name.rsplit_once('.').map(|(stem, _)| stem.to_owned()));
    stem.unwrap_or_else(|| graph[id].origin.path.clone())
}

fn first_of_file<'g>(graph: &'g Graph, param: &'g Param) -> &'g str {
    match param.source {
        ParamSource::Scaled { weight: Some(weight), .. } => first_of_file(graph, &graph[weight]),
        _ => &param.name,
    }
}

impl Structure {
    /// Of a graph whose norms are folded; the weights of layers that `eight_bits` takes by their name have eight.
    pub fn of(graph: &Verified<Graph>, eight_bits: &dyn Fn(&str) -> bool) -> Structure {
        Structure::with_own(graph, eight_bits, &|_| false, &|_| false)
    }

    /// The same where values of the layers that `rounded` takes by the name of their weights are whole numbers before others
    /// are added to them, and where concatenations that `parted` takes by their name have a quantisation of their own, to
    /// which they bring their operands.
    pub fn with_own(
        graph: &Verified<Graph>,
        eight_bits: &dyn Fn(&str) -> bool,
        rounded: &dyn Fn(&str) -> bool,
        parted: &dyn Fn(&str) -> bool,
    ) -> Structure {
        let products: Vec<bool> = graph.ids().map(|id| is_product(graph, id, eight_bits)).collect();
        let whole = read_whole(graph, &products);
        let mut fusing = Fusing {
            graph: graph.clone().into_inner(),
            gone: vec![false; products.len()],
            instead: graph.ids().collect(),
            readers: readers(graph),
            shown: graph.ids().collect(),
            rounded,
            apart: vec![false; graph.nodes.len()],
            products,
            whole,
        };
        graph.ids().for_each(|id| fusing.visit(id));
        let Fusing { mut graph, gone, instead, products, whole, shown, apart, .. } = fusing;
        graph.outputs.iter_mut().for_each(|output| output.node = instead[output.node.0 as usize]);
        let names = names(&graph, &gone);
        let graph = verify(graph).expect("a graph with layers fused");
        let parted =
            graph.ids().map(|id| matches!(graph[id].op, Op::Concat(_)) && parted(&names[id.0 as usize])).collect();
        let mut structure =
            Structure { graph, products, whole, gone, names, classes: Vec::new(), shown, apart, parted };
        structure.classes = structure.find_classes();
        structure
    }

    /// Nodes that are there.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.graph.ids().filter(|id| !self.gone[id.0 as usize])
    }

    /// Those whose weights have eight bits.
    pub fn product_ids(&self) -> impl Iterator<Item = NodeId> {
        self.ids().filter(|&id| self.is_product(id))
    }

    /// Whether the weights of a node have eight bits.
    pub fn is_product(&self, id: NodeId) -> bool {
        self.products[id.0 as usize]
    }

    /// Whether the value of a node is read as whole numbers.
    pub fn is_whole(&self, id: NodeId) -> bool {
        self.whole[id.0 as usize]
    }

    /// Whether a node computes on whole numbers.
    pub fn is_integer(&self, id: NodeId) -> bool {
        self.is_product(id) || (self.is_whole(id) && can(&self.graph, id, &self.products))
    }

    /// The node of the graph before anything was fused whose value a node has.
    pub fn shown(&self, id: NodeId) -> NodeId {
        self.shown[id.0 as usize]
    }

    /// What the names of a node's weights begin with, or what its value is called.
    pub fn name(&self, id: NodeId) -> &str {
        &self.names[id.0 as usize]
    }

    /// Whether a node puts values side by side that it brings to a quantisation of its own.
    pub fn is_parted(&self, id: NodeId) -> bool {
        self.parted[id.0 as usize]
    }

    /// Whether a node passes numbers on in the quantisation of its operands.
    pub fn passes_on(&self, id: NodeId) -> bool {
        self.is_integer(id) && integer::moves(&self.graph[id].op) && !self.is_parted(id)
    }

    /// Nodes whose values have the quantisation of this one's.
    pub fn class(&self, id: NodeId) -> usize {
        self.classes[id.0 as usize]
    }

    /// What the keys begin with, in a weight file, that say what the values of a class stand for.
    pub fn keys(&self, class: usize) -> Vec<String> {
        let readers = self.graph.users();
        let members = || self.ids().filter(|&id| self.class(id) == class);
        let of_node =
            |id: NodeId| readers[id.0 as usize].iter().filter(move |reader| self.graph[**reader].operands() == [id]);
        let products =
            members().flat_map(of_node).filter(|&&reader| self.is_product(reader) && !self.gone[reader.0 as usize]);
        let parted = members().filter(|&id| self.is_parted(id)).map(|id| format!("{}.output", self.name(id)));
        let mut keys: Vec<String> =
            products.map(|&reader| format!("{}.input", self.name(reader))).chain(parted).collect();
        if keys.is_empty() {
            let role = |id: NodeId| if self.apart[id.0 as usize] { "value" } else { "output" };
            keys.extend(members().next().map(|id| format!("{}.{}", self.name(id), role(id))));
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn find_classes(&self) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..self.names.len()).collect();
        for id in self.ids().filter(|&id| self.passes_on(id)) {
            for &operand in self.graph[id].operands() {
                let [a, b] = [id, operand].map(|id| classes[id.0 as usize]);
                classes.iter_mut().filter(|class| **class == a.max(b)).for_each(|class| *class = a.min(b));
            }
        }
        classes
    }
}

fn is_product(graph: &Graph, id: NodeId, eight_bits: &dyn Fn(&str) -> bool) -> bool {
    let node = &graph[id];
    let Some(weight) = node.params.first().map(|&param| &graph[param]) else { return false };
    let terms = weight.elements() / weight.dims[0];
    let possible = matches!(node.op, Op::Conv(_) | Op::Dense(_)) && weight.is_read() && integer::fits(terms);
    possible && eight_bits(&weight.name)
}

/// For each node, whether a layer on whole numbers reads its value.
fn read_whole(graph: &Graph, products: &[bool]) -> Vec<bool> {
    let mut whole = vec![false; products.len()];
    for id in graph.ids().rev() {
        let index = id.0 as usize;
        if products[index] || (whole[index] && can(graph, id, products)) {
            graph[id].operands().iter().for_each(|operand| whole[operand.0 as usize] = true);
        }
    }
    whole
}

/// Whether a layer without weights can compute on whole numbers. An activation does so behind a layer that does.
fn can(graph: &Graph, id: NodeId, products: &[bool]) -> bool {
    let node = &graph[id];
    match &node.op {
        Op::Add(_) => Each::of(&graph[node.inputs[0]].ty, &graph[node.inputs[1]].ty) == Some(Each::Element),
        Op::Mul(_) => true,
        Op::AvgPool(_) | Op::AdaptiveAvgPool(_) => integer::fits(graph[node.inputs[0]].ty.spatial().iter().product()),
        Op::Activation(_) => {
            let operand = node.inputs[0];
            products[operand.0 as usize] || can(graph, operand, products)
        }
        op => integer::moves(op),
    }
}

/// How many times each value is read, from outside as well.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers: Vec<usize> = graph.users().iter().map(Vec::len).collect();
    graph.outputs.iter().for_each(|output| readers[output.node.0 as usize] += 1);
    readers
}

/// Puts what limits a value, and what is added to it, into the layer that makes it.
struct Fusing<'r> {
    graph: Graph,
    products: Vec<bool>,
    whole: Vec<bool>,
    gone: Vec<bool>,
    /// What is read in the place of each node.
    instead: Vec<NodeId>,
    readers: Vec<usize>,
    shown: Vec<NodeId>,
    rounded: &'r dyn Fn(&str) -> bool,
    apart: Vec<bool>,
}

impl Fusing<'_> {
    fn visit(&mut self, id: NodeId) {
        let instead = &self.instead;
        self.graph[id].inputs.iter_mut().for_each(|input| *input = instead[input.0 as usize]);
        if !self.whole[id.0 as usize] {
            return;
        }
        let fused = match self.graph[id].op {
            Op::Activation(activation) if limits(activation) => self.limited(id, activation),
            Op::Add(_) => self.increased(id),
            _ => None,
        };
        let Some((producer, item)) = fused else { return };
        let (from, to) = (id.0 as usize, producer.0 as usize);
        self.graph[producer].epilogue.push(item);
        (self.instead[from], self.gone[from], self.shown[to]) = (producer, true, id);
        (self.whole[to], self.readers[to]) = (self.whole[from], self.readers[from]);
    }

    /// The layer whose value an activation limits.
    fn limited(&self, id: NodeId, activation: Activation) -> Option<(NodeId, Epilogue)> {
        let producer = self.graph[id].inputs[0];
        let node = &self.graph[producer];
        let makes = match node.op {
            Op::Conv(_) | Op::Dense(_) => self.products[producer.0 as usize],
            Op::Add(_) | Op::Mul(_) | Op::AvgPool(_) | Op::AdaptiveAvgPool(_) => {
                can(&self.graph, producer, &self.products)
            }
            _ => false,
        };
        let free = !node.epilogue.iter().any(|item| matches!(item, Epilogue::Activation(_)));
        let alone = self.readers[producer.0 as usize] == 1;
        (makes && free && alone).then_some((producer, Epilogue::Activation(activation)))
    }

    /// The layer with weights to whose value another one is added: that of the operands which comes later.
    fn increased(&mut self, id: NodeId) -> Option<(NodeId, Epilogue)> {
        let (a, b) = (self.graph[id].inputs[0], self.graph[id].inputs[1]);
        let (producer, other) = (a.max(b), a.min(b));
        let takes = self.products[producer.0 as usize] && self.graph[producer].epilogue.is_empty();
        if a == b || !takes || self.readers[producer.0 as usize] != 1 {
            return None;
        }
        if self.graph[a].ty != self.graph[b].ty {
            return None;
        }
        if (self.rounded)(&stem(&self.graph, producer)) {
            self.apart[producer.0 as usize] = true;
            return None;
        }
        let node = &mut self.graph[producer];
        let input = node.inputs.len();
        node.inputs.push(other);
        Some((producer, Epilogue::Add { input }))
    }
}

fn limits(activation: Activation) -> bool {
    matches!(activation, Activation::Relu | Activation::Relu6 | Activation::Clip { .. })
}

/// A name for each value: that of the weights, or else of the layer and what it is, counted where there are several.
fn names(graph: &Graph, gone: &[bool]) -> Vec<String> {
    let mut times: HashMap<String, usize> = HashMap::new();
    let of_node = |id: NodeId| {
        let node = &graph[id];
        if matches!(node.op, Op::Conv(_) | Op::Dense(_)) {
            return stem(graph, id);
        }
        let keyword = node.op.layer().map_or("", |layer| layer.spec().keyword);
        let words = [node.origin.path.as_str(), keyword];
        let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".");
        if gone[id.0 as usize] {
            return name;
        }
        let times = times.entry(name.clone()).or_default();
        *times += 1;
        if *times == 1 { name } else { format!("{name}_{times}") }
    };
    graph.ids().map(of_node).collect()
}
