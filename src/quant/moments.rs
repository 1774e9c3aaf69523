//! How what a layer reads varies together, on examples: by this its weights are rounded.

use super::Structure;
use crate::ir::integer::first_pair;
use crate::ir::{Graph, NodeId};
use crate::layers::{Op, ResolvedWindow};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::iter;

/// Positions of each sample that are looked at, evenly spread over all: neighbours tell little more.
const POSITIONS: usize = 1024;

/// Inputs that are looked at together, at the most.
const TOGETHER: usize = 256;

/// Bytes of the moments of all layers together, above which fewer inputs are looked at together.
const BYTES: usize = 256 << 20;

/// Means and second moments of what the output channels of each group read.
pub struct Moments {
    pub groups: Vec<Group>,
}

pub struct Group {
    /// Of each input: those are the taps of each channel, `[channel][tap]`.
    pub means: Vec<f64>,
    pub blocks: Vec<Block>,
}

/// Inputs that are looked at together.
pub struct Block {
    pub units: Vec<Unit>,
    /// Rows of the covariance of all inputs of the units, each up to its diagonal.
    pub rows: Vec<Vec<f64>>,
}

/// An input, and that with which it is a pair: see [`crate::ir::integer::pairs`].
pub type Unit = (usize, Option<usize>);

/// All inputs of units, in their order.
pub fn inputs(units: &[Unit]) -> impl Iterator<Item = usize> {
    units.iter().flat_map(|&(first, second)| iter::once(first).chain(second))
}

/// Inputs of channels that follow on the one of number `first` of all groups.
pub fn units(first: usize, channels: usize, taps: usize) -> Vec<Unit> {
    let all = channels * taps;
    let alone = first_pair(first, taps).min(all);
    let begins = (alone..all).step_by(2 * taps);
    let paired = begins.flat_map(|begin| (begin..begin + taps).map(|a| (a, Some(a + taps).filter(|&b| b < all))));
    (0..alone).map(|input| (input, None)).chain(paired).collect()
}

/// Sums over examples of what layers with weights of eight bits read.
pub struct Sums {
    layers: HashMap<NodeId, Layer>,
    /// By node, the layers that read its value.
    readers: Vec<Vec<NodeId>>,
}

impl Sums {
    pub fn new(structure: &Structure) -> Sums {
        let graph = &structure.graph;
        let mut readers = vec![Vec::new(); graph.nodes.len()];
        let products: Vec<NodeId> = structure.product_ids().collect();
        products.iter().for_each(|&id| readers[graph[id].operands()[0].0 as usize].push(id));
        let together = together(products.iter().map(|&id| reads(graph, id)).sum());
        let layers = products.iter().map(|&id| (id, Layer::new(graph, id, together))).collect();
        Sums { layers, readers }
    }

    /// Adds the value of a node to what its readers read.
    pub fn add(&mut self, id: NodeId, value: &Tensor) {
        for reader in &self.readers[id.0 as usize] {
            self.layers.get_mut(reader).expect("each reader has sums").add(value);
        }
    }

    pub fn moments(self) -> HashMap<NodeId, Moments> {
        self.layers.into_iter().map(|(id, layer)| (id, layer.moments())).collect()
    }
}

/// At most as many bytes as the moments of a graph's layers take.
pub fn bytes(graph: &Graph) -> u64 {
    let weighted = |id: &NodeId| matches!(graph[*id].op, Op::Conv(_) | Op::Dense(_));
    let reads = graph.ids().filter(weighted).map(|id| reads(graph, id)).fold(0, usize::saturating_add);
    (bytes_of(reads, together(reads)) as u64).saturating_add(16 * reads as u64)
}

fn bytes_of(inputs: usize, together: usize) -> usize {
    inputs.saturating_mul(8 * (together + 1) / 2)
}

/// How many inputs are looked at together where all layers have so many.
fn together(inputs: usize) -> usize {
    let fits = |together: &usize| *together == 2 || bytes_of(inputs, *together) <= BYTES;
    iter::successors(Some(TOGETHER), |together| Some(together / 2)).find(fits).expect("two are enough")
}

/// Inputs of a layer, of all groups.
fn reads(graph: &Graph, id: NodeId) -> usize {
    let weight = &graph[graph[id].params[0]];
    let groups = if let Op::Conv(conv) = &graph[id].op { conv.groups } else { 1 };
    (weight.elements() / weight.dims[0]).saturating_mul(groups)
}

/// The sums of one layer.
struct Layer {
    /// Of a convolution; a dense layer reads all at once.
    window: Option<ResolvedWindow>,
    spatial: Vec<usize>,
    /// Channels of a group, and the inputs that each has.
    channels: usize,
    taps: usize,
    groups: Vec<Group>,
    /// Examples of each group.
    counts: Vec<usize>,
}

impl Layer {
    fn new(graph: &Graph, id: NodeId, together: usize) -> Layer {
        let ty = &graph[graph[id].operands()[0]].ty;
        let (window, groups) = match &graph[id].op {
            Op::Conv(conv) => {
                (Some(conv.window.resolve(ty.spatial()).expect("checked by the shape rule")), conv.groups)
            }
            _ => (None, 1),
        };
        let sizes = window.as_ref().map_or(ty.spatial(), |window| &window.kernel);
        let (channels, taps) = (ty.channels() / groups, sizes.iter().product());
        let group = |index: usize| {
            let units = units(index * channels, channels, taps);
            let blocks = units.chunks(together / 2).map(Block::new).collect();
            Group { means: vec![0.0; channels * taps], blocks }
        };
        let spatial = ty.spatial().to_vec();
        Layer { window, spatial, channels, taps, groups: (0..groups).map(group).collect(), counts: vec![0; groups] }
    }

    fn add(&mut self, value: &Tensor) {
        let positions = self.window.as_ref().map_or(1, |window| window.out.iter().product());
        let looked = positions.min(POSITIONS);
        (0..looked).for_each(|at| self.add_position(value, at * positions / looked));
    }

    fn add_position(&mut self, value: &Tensor, position: usize) {
        let all = || (0..self.taps).map(|tap| (tap, tap)).collect();
        let seen = self.window.as_ref().map_or_else(all, |window| window.taps(position, &self.spatial));
        // Padding stays 0.
        let mut read = vec![0.0; self.channels * self.taps];
        for n in 0..value.batch() {
            for (index, group) in self.groups.iter_mut().enumerate() {
                for (c, of_channel) in read.chunks_mut(self.taps).enumerate() {
                    let plane = value.plane(n, index * self.channels + c);
                    seen.iter().for_each(|&(tap, place)| of_channel[tap] = f64::from(plane[place]));
                }
                // One number that is none would make all of them so.
                if read.iter().all(|x| x.is_finite()) {
                    group.add(&read);
                    self.counts[index] += 1;
                }
            }
        }
    }

    fn moments(mut self) -> Moments {
        self.groups.iter_mut().zip(&self.counts).for_each(|(group, &count)| group.divide(count.max(1) as f64));
        Moments { groups: self.groups }
    }
}

impl Group {
    fn add(&mut self, read: &[f64]) {
        self.means.iter_mut().zip(read).for_each(|(sum, x)| *sum += x);
        self.blocks.iter_mut().for_each(|block| block.add(read));
    }

    /// Makes means and covariances of sums.
    fn divide(&mut self, count: f64) {
        self.means.iter_mut().for_each(|mean| *mean /= count);
        for block in &mut self.blocks {
            let means: Vec<f64> = inputs(&block.units).map(|input| self.means[input]).collect();
            for (row, mean) in block.rows.iter_mut().zip(&means) {
                row.iter_mut().zip(&means).for_each(|(sum, other)| *sum = *sum / count - mean * other);
            }
        }
    }
}

impl Block {
    pub fn new(units: &[Unit]) -> Block {
        let rows = inputs(units).enumerate().map(|(index, _)| vec![0.0; index + 1]).collect();
        Block { units: units.to_vec(), rows }
    }

    fn add(&mut self, read: &[f64]) {
        let values: Vec<f64> = inputs(&self.units).map(|input| read[input]).collect();
        for (row, x) in self.rows.iter_mut().zip(&values).filter(|(_, x)| **x != 0.0) {
            row.iter_mut().zip(&values).for_each(|(sum, y)| *sum += x * y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Padding, Window};

    fn layer(window: Option<ResolvedWindow>, spatial: &[usize], channels: usize, taps: usize) -> Layer {
        let blocks = vec![Block::new(&units(0, channels, taps))];
        let groups = vec![Group { means: vec![0.0; channels * taps], blocks }];
        Layer { window, spatial: spatial.to_vec(), channels, taps, groups, counts: vec![0] }
    }

    #[test]
    fn pairs_stand_together() {
        assert_eq!(units(4, 3, 2), [(0, Some(2)), (1, Some(3)), (4, None), (5, None)]);
        assert_eq!(units(3, 3, 2), [(0, None), (1, None), (2, Some(4)), (3, Some(5))]);
        assert_eq!((units(1, 1, 2), units(0, 0, 9)), (vec![(0, None), (1, None)], vec![]));
    }

    /// A sample that holds NaN says nothing.
    #[test]
    fn means_and_covariances_are_of_all_samples() {
        let mut dense = layer(None, &[], 2, 1);
        dense.add(&Tensor::new([3, 2], vec![1.0, 2.0, f32::NAN, 0.0, 3.0, -2.0]));
        let group = &dense.moments().groups[0];
        assert_eq!((&group.means[..], &group.blocks[0].rows[..]), (&[2.0, 0.0][..], &[vec![1.0], vec![-2.0, 4.0]][..]));
    }

    /// 0 3 5 and 3 5 0.
    #[test]
    fn padding_is_read_as_zeros() {
        let one = || vec![1];
        let window = Window { kernel: vec![3], stride: one(), dilation: one(), padding: Padding::All(1), ceil: false };
        let mut conv = layer(Some(window.resolve(&[2]).unwrap()), &[2], 1, 3);
        conv.add(&Tensor::new([1, 1, 2], vec![3.0, 5.0]));
        let group = &conv.moments().groups[0];
        assert_eq!(group.means, [1.5, 4.0, 2.5]);
        assert_eq!(group.blocks[0].rows, [vec![2.25], vec![1.5, 1.0], vec![-3.75, -2.5, 6.25]]);
    }

    #[test]
    fn moments_have_bounds() {
        assert_eq!([1, 100_000, 300_000, usize::MAX].map(together), [256, 256, 128, 2]);
        assert!(bytes_of(300_000, together(300_000)) <= BYTES);
    }
}
