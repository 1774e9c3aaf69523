//! The blocks of a network: which layers lie in which, by the labels of their paths, so that each block can be drawn as
//! one box.

use crate::ir::{Graph, Node};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

/// The block that holds everything.
pub const ROOT: usize = 0;

/// Blocks in blocks; every one has two items or more, but for the root.
pub struct Tree {
    pub blocks: Vec<Block>,
    /// The block in which each node lies.
    pub of_node: Vec<usize>,
    /// For each node a name of its own: its path, or that of its block and the layer's keyword: `layer1.0~relu.2`.
    pub names: Vec<String>,
}

pub struct Block {
    /// Dotted labels; empty for the root.
    pub path: String,
    /// The block around it; of the root itself.
    pub parent: usize,
    /// What is drawn in it, so that arrows lead from earlier to later items.
    pub items: Vec<Item>,
    /// Arrows between the items: the index of the one that is reached, of the one that is left, and the node whose value
    /// they carry.
    pub arrows: BTreeSet<(usize, usize, usize)>,
}

/// A box of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// A value from outside, by its node.
    In(usize),
    Node(usize),
    Block(usize),
    /// A value that is read outside.
    Out(usize),
}

/// The arrows of a block, with the nodes whose values they carry.
type Links = BTreeSet<(Item, Item, usize)>;

impl Tree {
    pub fn new(graph: &Graph) -> Tree {
        let (homes, names) = names(graph);
        let mut shape = Shape::new(&homes);
        shape.dissolve_single();
        loop {
            let (links, members) = (shape.links(graph), shape.members());
            let ordered = links.iter().zip(&members).map(|(links, members)| ordered(links, members));
            match ordered.collect::<Result<Vec<Vec<Item>>, Vec<usize>>>() {
                Ok(items) => return shape.tree(names, items, links),
                Err(blocks) => blocks.into_iter().for_each(|block| shape.dissolve(block)),
            }
            shape.dissolve_single();
        }
    }
}

/// Who lies in whom. What was dissolved lies in nothing and has nothing in it.
struct Shape {
    paths: Vec<String>,
    parents: Vec<usize>,
    of_node: Vec<usize>,
}

impl Shape {
    fn new(homes: &[String]) -> Shape {
        let mut shape = Shape { paths: vec![String::new()], parents: vec![ROOT], of_node: Vec::new() };
        let mut known: HashMap<String, usize> = HashMap::from([(String::new(), ROOT)]);
        for home in homes {
            let mut block = ROOT;
            for (at, _) in home.match_indices('.').chain([(home.len(), "")]).filter(|&(at, _)| at > 0) {
                let path = &home[..at];
                let next = known.get(path).copied().unwrap_or(shape.paths.len());
                if next == shape.paths.len() {
                    shape.paths.push(path.to_owned());
                    shape.parents.push(block);
                    known.insert(path.to_owned(), next);
                }
                block = next;
            }
            shape.of_node.push(block);
        }
        shape
    }

    /// The nodes and blocks in each block.
    fn members(&self) -> Vec<Vec<Item>> {
        let mut members = vec![Vec::new(); self.paths.len()];
        let blocks = (1..self.paths.len()).filter(|&block| self.parents[block] != block);
        blocks.for_each(|block| members[self.parents[block]].push(Item::Block(block)));
        self.of_node.iter().enumerate().for_each(|(node, &block)| members[block].push(Item::Node(node)));
        members
    }

    /// Takes away the blocks that hold one thing.
    fn dissolve_single(&mut self) {
        // Blocks come behind those in which they lie.
        let mut count: Vec<usize> = self.members().iter().map(Vec::len).collect();
        for block in (1..self.paths.len()).rev().filter(|&block| self.parents[block] != block).collect::<Vec<_>>() {
            if count[block] <= 1 {
                count[self.parents[block]] -= 1 - count[block];
                self.dissolve(block);
            }
        }
    }

    /// What lies in a block lies in the one around it from now on.
    fn dissolve(&mut self, block: usize) {
        let around = self.parents[block];
        self.of_node.iter_mut().filter(|of| **of == block).for_each(|of| *of = around);
        self.parents.iter_mut().filter(|of| **of == block).for_each(|of| *of = around);
        self.parents[block] = block;
    }

    /// The blocks around a node, from the innermost to the root.
    fn around(&self, node: usize) -> Vec<usize> {
        let next = |&block: &usize| (block != ROOT).then(|| self.parents[block]);
        std::iter::successors(Some(self.of_node[node]), next).collect()
    }

    /// What is joined to what in each block.
    fn links(&self, graph: &Graph) -> Vec<Links> {
        let mut links = vec![Links::new(); self.paths.len()];
        let item = |node: usize, around: &[usize], level: usize| match around[..level] {
            [.., inner] => Item::Block(inner),
            [] => Item::Node(node),
        };
        for to in 0..graph.nodes.len() {
            let below = self.around(to);
            for from in graph.nodes[to].inputs.iter().map(|id| id.0 as usize) {
                let above = self.around(from);
                let shared = above.iter().rev().zip(below.iter().rev()).take_while(|(a, b)| a == b).count();
                let (up, down) = (above.len() - shared, below.len() - shared);
                links[above[up]].insert((item(from, &above, up), item(to, &below, down), from));
                for level in 0..up {
                    links[above[level]].insert((item(from, &above, level), Item::Out(from), from));
                }
                for level in 0..down {
                    links[below[level]].insert((Item::In(from), item(to, &below, level), from));
                }
            }
        }
        links
    }

    /// Numbers the blocks that are left anew.
    fn tree(self, names: Vec<String>, items: Vec<Vec<Item>>, links: Vec<Links>) -> Tree {
        let mut numbers = vec![ROOT; self.paths.len()];
        let left: Vec<usize> =
            (0..self.paths.len()).filter(|&block| block == ROOT || self.parents[block] != block).collect();
        left.iter().enumerate().for_each(|(number, &block)| numbers[block] = number);
        let of_node = self.of_node.iter().map(|&block| numbers[block]).collect();
        let block = |&block: &usize| {
            let index: HashMap<Item, usize> = items[block].iter().copied().zip(0..).collect();
            let arrows = links[block].iter().map(|(from, to, value)| (index[to], index[from], *value)).collect();
            let renumbered = items[block].iter().map(|item| match item {
                Item::Block(inner) => Item::Block(numbers[*inner]),
                other => *other,
            });
            let parent = numbers[self.parents[block]];
            Block { path: self.paths[block].clone(), parent, items: renumbered.collect(), arrows }
        };
        Tree { blocks: left.iter().map(block).collect(), of_node, names }
    }
}

/// The items of a block in topological order, or, where arrows go round, the blocks among them that can be to blame.
fn ordered(links: &Links, members: &[Item]) -> Result<Vec<Item>, Vec<usize>> {
    let ends = links.iter().flat_map(|&(from, to, _)| [from, to]);
    let all: BTreeSet<Item> = members.iter().copied().chain(ends).collect();
    let pairs: HashSet<(Item, Item)> = links.iter().map(|&(from, to, _)| (from, to)).collect();
    let order = sorted(&all, pairs.iter().copied());
    if order.len() == all.len() {
        return Ok(order);
    }
    let backwards: HashSet<Item> = sorted(&all, pairs.iter().map(|&(from, to)| (to, from))).into_iter().collect();
    let done: HashSet<Item> = order.into_iter().chain(backwards).collect();
    Err(all.iter().filter(|item| !done.contains(item)).filter_map(Item::block).collect())
}

/// As many items as can be sorted so that arrows lead from earlier to later ones; those that are free at the same time
/// in the order of their numbers.
fn sorted(all: &BTreeSet<Item>, pairs: impl Iterator<Item = (Item, Item)>) -> Vec<Item> {
    let mut waits: HashMap<Item, usize> = HashMap::new();
    let mut behind: HashMap<Item, Vec<Item>> = HashMap::new();
    for (from, to) in pairs {
        *waits.entry(to).or_default() += 1;
        behind.entry(from).or_default().push(to);
    }
    let mut free: BTreeSet<Item> = all.iter().copied().filter(|item| !waits.contains_key(item)).collect();
    let mut order = Vec::with_capacity(all.len());
    while let Some(item) = free.pop_first() {
        order.push(item);
        for next in behind.get(&item).into_iter().flatten() {
            let left = waits.get_mut(next).expect("counted above");
            *left -= 1;
            if *left == 0 {
                free.insert(*next);
            }
        }
    }
    order
}

impl Item {
    fn block(&self) -> Option<usize> {
        if let Item::Block(block) = self { Some(*block) } else { None }
    }
}

/// For each node the path of the block it lies in, and a name of its own.
fn names(graph: &Graph) -> (Vec<String>, Vec<String>) {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    graph.nodes.iter().for_each(|node| *count.entry(&node.origin.path).or_default() += 1);
    // A label that stands before others is a block's.
    let is_block = |path: &str| {
        let begin = format!("{path}.");
        count
            .range::<str, _>((Bound::Included(&*begin), Bound::Unbounded))
            .next()
            .is_some_and(|(next, _)| next.starts_with(&begin))
    };
    let mut used: HashMap<String, usize> = HashMap::new();
    let name = |node: &Node| {
        let path = &node.origin.path;
        if !path.is_empty() && count[&**path] == 1 && !is_block(path) {
            return (path.rsplit_once('.').map_or("", |(home, _)| home).to_owned(), path.clone());
        }
        let keyword = node.op.layer().map_or("input", |layer| layer.spec().keyword);
        let name = format!("{path}~{keyword}");
        let times = used.entry(name.clone()).or_default();
        *times += 1;
        (path.clone(), if *times == 1 { name } else { format!("{name}.{times}") })
    };
    graph.nodes.iter().map(name).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Flatten;
    use crate::model::Model;
    use crate::tensor::{Batch, DType, TensorType};

    fn tree(body: &str) -> (Tree, Vec<String>) {
        let text =
            format!("model m\ninput x: f32[N, 4, 8, 8]\nblock B {{ conv: conv 1x1, 4 | relu }}\nnet {{\n{body}\n}}\n");
        let model = Model::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let tree = Tree::new(model.graph());
        let shown = |block: &Block| {
            let name = |item: &Item| match item {
                Item::In(node) => format!("in {}", tree.names[*node]),
                Item::Node(node) => tree.names[*node].clone(),
                Item::Block(block) => format!("[{}]", tree.blocks[*block].path),
                Item::Out(node) => format!("out {}", tree.names[*node]),
            };
            format!("{}: {}", block.path, block.items.iter().map(name).collect::<Vec<_>>().join(", "))
        };
        let shown = tree.blocks.iter().map(shown).collect();
        (tree, shown)
    }

    #[test]
    fn blocks_lie_in_blocks() {
        let (tree, shown) = tree("a: seq { 0: B | 1: B } | relu | relu\nb: B\nc: conv 1x1, 2");
        let expected = [
            ": x, ~relu, ~relu.2, c, [a], [b]",
            "a: in x, [a.0], [a.1], out a.1~relu",
            "a.0: in x, a.0.conv, a.0~relu, out a.0~relu",
            "a.1: in a.0~relu, a.1.conv, a.1~relu, out a.1~relu",
            "b: in ~relu.2, b.conv, b~relu, out b~relu",
        ];
        let sorted = |line: &str| {
            let mut words: Vec<String> = line.split(", ").map(Into::into).collect();
            words.sort();
            words
        };
        assert_eq!(shown.len(), expected.len());
        shown.iter().zip(expected).skip(1).for_each(|(shown, expected)| assert_eq!(shown, expected));
        assert_eq!(sorted(&shown[0][2..]), sorted(&expected[0][2..]));
        for block in &tree.blocks {
            assert!(block.arrows.iter().all(|(to, from, _)| from < to), "forwards");
        }
    }

    #[test]
    fn a_block_of_one_layer_is_that_layer() {
        let (_, shown) = tree("a: seq { 0: seq { conv: conv 1x1, 4 } }");
        assert_eq!(shown, [": x, a.0.conv"]);
    }

    /// What leaves the block comes back into it through another layer, so that it cannot be one box.
    #[test]
    fn blocks_that_arrows_leave_and_enter_again_are_opened() {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![4, 8] };
        let x = graph.add_input("x", ty);
        let mut last = x;
        for path in ["a.first", "b", "a.second"] {
            last = graph.add_layer(Flatten, &[last], path).unwrap();
        }
        let tree = Tree::new(&graph);
        assert_eq!(tree.blocks.len(), 1);
        assert_eq!(tree.blocks[ROOT].items, [0, 1, 2, 3].map(Item::Node));
    }
}
