//! A network as the page shows it: layers, blocks with their drawings, and the text.

use super::tree::{Item, Tree};
use crate::analysis::draw::{Drawing, Kind, Level, Shape, TooLarge, kind, label};
use crate::analysis::figures::{self, Figures};
use crate::analysis::receptive_field::{Field, receptive_field};
use crate::bench::profile::StepProfile;
use crate::ir::{Graph, Node, NodeId, Verified};
use crate::layers::{Op, ResolvedWindow};
use crate::source::{SourceMap, Span};
use serde::Serialize;
use std::collections::HashMap;

/// All that a page knows of a network without its weights.
#[derive(Serialize)]
pub struct Network {
    name: String,
    parameters: u64,
    macs: u64,
    nodes: Vec<Layer>,
    blocks: Vec<Block>,
    texts: Vec<Text>,
    /// The nodes of the inputs.
    inputs: Vec<u32>,
}

/// A layer, or an input.
#[derive(Serialize)]
struct Layer {
    /// A name of its own, for addresses.
    name: String,
    /// As in the model file.
    layer: String,
    kind: &'static str,
    /// Dimensions without the batch; sizes that are free with their names.
    shape: String,
    dims: Vec<usize>,
    inputs: Vec<u32>,
    parameters: u64,
    macs: u64,
    block: usize,
    /// The name of the output that it is.
    output: Option<String>,
    place: Option<Place>,
    field: Field,
    #[serde(flatten)]
    reads: Reads,
}

/// How a position's value is made.
#[derive(Serialize)]
struct Reads {
    how: Option<Made>,
    /// What is slid over the input.
    window: Option<ResolvedWindow>,
    groups: usize,
}

/// What a value at a position is, where the page can say it.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// Of products.
    Sum,
    Max,
    Mean,
    /// Of the same position and channel of its inputs.
    Each,
}

impl Made {
    pub fn new(graph: &Graph, node: &Node) -> Option<Made> {
        match &node.op {
            Op::Conv(_) | Op::Dense(_) => Some(Made::Sum),
            Op::MaxPool(_) => Some(Made::Max),
            Op::AvgPool(_) => Some(Made::Mean),
            Op::BatchNorm(_)
            | Op::Scale(_)
            | Op::Activation(_)
            | Op::PRelu(_)
            | Op::Dropout(_)
            | Op::Identity(_)
            | Op::Add(_)
            | Op::Mul(_) => {
                let operands = graph.operand_types(node);
                operands.iter().all(|ty| ty.dims == node.ty.dims).then_some(Made::Each)
            }
            _ => None,
        }
    }
}

/// Lines of a text, counted from 0.
#[derive(Serialize)]
struct Place {
    text: usize,
    first: usize,
    last: usize,
}

#[derive(Serialize)]
struct Text {
    name: String,
    text: String,
}

/// A part of the network under one label, and its drawing.
#[derive(Serialize)]
struct Block {
    path: String,
    parent: usize,
    parameters: u64,
    macs: u64,
    /// Layers in it.
    layers: usize,
    items: Vec<Entry>,
    level: Level,
    /// For each arrow of the drawing the node whose value it carries.
    values: Vec<usize>,
}

/// A box of a drawing.
#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    item: EntryItem,
    lines: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum EntryItem {
    In(usize),
    Node(usize),
    Block(usize),
    Out(usize),
}

/// Boxes, and places where arrows pass boxes, of all blocks.
const MOST_SPOTS: usize = 1 << 17;
/// A box has room for so many letters.
const LETTERS: usize = 34;

impl Network {
    /// With its texts, if they are given.
    ///
    /// # Errors
    /// Where a part of it is too large to be drawn.
    pub fn new(graph: &Verified<Graph>, sources: Option<&SourceMap>) -> Result<Network, TooLarge> {
        let (tree, figures) = (Tree::new(graph), figures::figures(graph));
        let fields = receptive_field(graph);
        let texts = sources.map(|sources| Texts::new(graph, sources));
        let nodes = graph.ids().map(|id| Layer {
            place: texts.as_ref().zip(graph[id].origin.span).map(|(texts, span)| texts.place(span)),
            field: fields.of(id).clone(),
            ..layer(graph, id, &tree, &figures)
        });
        Ok(Network {
            name: graph.name.clone(),
            parameters: figures.parameters,
            macs: figures.macs(),
            nodes: nodes.collect(),
            blocks: blocks(graph, &tree, &figures)?,
            texts: texts.map_or(Vec::new(), |texts| texts.texts()),
            inputs: graph.inputs.iter().map(|id| id.0).collect(),
        })
    }

    /// The node of each step of a profile. Steps are called by their path, or by their text where they have no label; those
    /// of one name are told apart by their order, if there are as many as nodes.
    pub fn nodes_of(&self, steps: &[StepProfile]) -> Vec<Option<usize>> {
        let mut known: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let name = match node.name.split_once('~') {
                Some(("", _)) => &node.layer,
                Some((path, _)) => path,
                None => &node.name,
            };
            known.entry(name).or_default().push(index);
        }
        let mut alike: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (index, step) in steps.iter().enumerate() {
            alike.entry((&step.layer, &step.what)).or_default().push(index);
        }
        let mut nodes = vec![None; steps.len()];
        for ((layer, what), steps) in alike {
            let mut found = known.get(layer).cloned().unwrap_or_default();
            if found.len() > 1 {
                found.retain(|&node| keyword(&self.nodes[node].layer) == keyword(what));
            }
            match found[..] {
                [node] => steps.iter().for_each(|&step| nodes[step] = Some(node)),
                _ if found.len() == steps.len() => {
                    steps.iter().zip(found).for_each(|(&step, node)| nodes[step] = Some(node));
                }
                _ => {}
            }
        }
        nodes
    }
}

/// With which a layer is written.
fn keyword(layer: &str) -> &str {
    layer.split([' ', ',', ':']).next().unwrap_or(layer)
}

fn layer(graph: &Graph, id: NodeId, tree: &Tree, figures: &Figures) -> Layer {
    let (node, index) = (&graph[id], id.0 as usize);
    Layer {
        name: tree.names[index].clone(),
        layer: label(node),
        kind: kind(&node.op).name(),
        shape: graph.shape_of(id),
        dims: node.ty.dims.clone(),
        inputs: node.inputs.iter().map(|id| id.0).collect(),
        parameters: figures.nodes[index].parameters.total(),
        macs: figures.nodes[index].macs,
        block: tree.of_node[index],
        output: graph.outputs.iter().find(|output| output.node == id).map(|output| output.name.clone()),
        place: None,
        field: Field::Whole,
        reads: Reads::new(graph, node),
    }
}

impl Reads {
    fn new(graph: &Graph, node: &Node) -> Reads {
        let types = graph.operand_types(node);
        let window = node.op.layer().and_then(|layer| layer.window(&types));
        let groups = if let Op::Conv(conv) = &node.op { conv.groups } else { 1 };
        Reads { how: Made::new(graph, node), window, groups }
    }
}

/// The texts that layers were written in.
struct Texts<'a> {
    sources: &'a SourceMap,
    files: Vec<crate::source::FileId>,
    /// For each text, where its lines begin.
    starts: Vec<Vec<usize>>,
}

impl<'a> Texts<'a> {
    fn new(graph: &Graph, sources: &'a SourceMap) -> Texts<'a> {
        let used: Vec<_> = graph.nodes.iter().filter_map(|node| Some(node.origin.span?.file)).collect();
        // The model's own is the first; one of other files of which no layer is left is not shown.
        let files: Vec<_> = sources.ids().enumerate().filter(|(n, file)| *n == 0 || used.contains(file)).collect();
        let files: Vec<_> = files.into_iter().map(|(_, file)| file).collect();
        let starts = |file: &crate::source::FileId| {
            let text = &sources.file(*file).text;
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
        };
        Texts { sources, starts: files.iter().map(starts).collect(), files }
    }

    fn place(&self, span: Span) -> Place {
        let text = self.files.iter().position(|file| *file == span.file).expect("it is used");
        let line = |at: usize| self.starts[text].partition_point(|&start| start <= at) - 1;
        let range = span.range();
        Place { text, first: line(range.start), last: line(range.end.saturating_sub(1).max(range.start)) }
    }

    fn texts(&self) -> Vec<Text> {
        let files = self.files.iter().map(|&file| self.sources.file(file));
        files.map(|file| Text { name: file.name.clone(), text: file.text.clone() }).collect()
    }
}

fn blocks(graph: &Graph, tree: &Tree, figures: &Figures) -> Result<Vec<Block>, TooLarge> {
    let mut sums = vec![(0u64, 0u64, 0usize); tree.blocks.len()];
    for node in &figures.nodes {
        let mut block = tree.of_node[node.node.0 as usize];
        loop {
            let (parameters, macs, layers) = sums[block];
            let layer = usize::from(graph[node.node].op.layer().is_some());
            let parameters = parameters.saturating_add(node.parameters.total());
            sums[block] = (parameters, macs.saturating_add(node.macs), layers + layer);
            if block == super::tree::ROOT {
                break;
            }
            block = tree.blocks[block].parent;
        }
    }
    let (mut boxes, mut passes) = (0, 0);
    let block = |(block, &(parameters, macs, layers)): (&super::tree::Block, &(u64, u64, usize))| {
        let items: Vec<Entry> = block.items.iter().map(|&item| entry(graph, tree, block, item, &sums)).collect();
        let shapes = items.iter().map(|entry| Shape { kind: Kind::Other, lines: entry.lines.clone() }).collect();
        let arrows: Vec<(usize, usize)> = block.arrows.iter().map(|&(to, from, _)| (from, to)).collect();
        let level = Level::new(&Drawing { title: String::new(), shapes, arrows })?;
        boxes += items.len();
        passes += level.arrows.iter().map(|arrow| arrow.way.len().saturating_sub(2)).sum::<usize>();
        if boxes + passes > MOST_SPOTS {
            return Err(TooLarge { boxes, passes });
        }
        let values = block.arrows.iter().map(|&(_, _, value)| value).collect();
        Ok(Block { path: block.path.clone(), parent: block.parent, parameters, macs, layers, items, level, values })
    };
    tree.blocks.iter().zip(&sums).map(block).collect()
}

/// A box with its lines: what it is, and what it is called.
fn entry(graph: &Graph, tree: &Tree, of: &super::tree::Block, item: Item, sums: &[(u64, u64, usize)]) -> Entry {
    let within = |path: &str| match path.strip_prefix(&of.path) {
        Some(rest) if !of.path.is_empty() => rest.trim_start_matches('.').to_owned(),
        _ => path.to_owned(),
    };
    let (item, lines) = match item {
        Item::In(node) => (EntryItem::In(node), Vec::new()),
        Item::Out(node) => (EntryItem::Out(node), Vec::new()),
        Item::Block(block) => {
            let lines = vec![within(&tree.blocks[block].path), format!("{} layers", sums[block].2)];
            (EntryItem::Block(block), lines)
        }
        Item::Node(node) => {
            let layer = label(&graph.nodes[node]);
            let name = &tree.names[node];
            let label = if name.contains('~') { Vec::new() } else { vec![within(name)] };
            (EntryItem::Node(node), [vec![layer], label].concat())
        }
    };
    Entry { item, lines: lines.iter().map(|line| cut(line)).collect() }
}

/// The beginning of a line that is too long.
fn cut(line: &str) -> String {
    match line.char_indices().nth(LETTERS) {
        Some((at, _)) => format!("{}…", line[..at].trim_end_matches([' ', ','])),
        None => line.to_owned(),
    }
}
