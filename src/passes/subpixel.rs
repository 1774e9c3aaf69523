//! Makes all positions of a block that a transposed convolution of few channels writes as channels of one convolution, which
//! are then put in their places: the sub-pixel convolution (Shi et al. 2016, "Real-time single image and video
//! super-resolution", section 3.2, read from right to left; "Is the deconvolution layer the same as a convolutional
//! layer?", 2016). Vectors of channels are full where they would hold the few of each position alone; the weights that a
//! position has not are zeros.

use super::{Config, Report, split};
use crate::ir::{self, Graph, Node, NodeId, Param, ParamId, ParamSource};
use crate::layers::{BlockOrder, Conv, ConvTranspose, DepthToSpace, Op, Padding, Phase, Window};

pub fn run(graph: &mut Graph, config: &Config, report: &mut Report) {
    // A zero times infinity is NaN, and the sums of the layer's definition have no such products.
    if config.exact {
        return;
    }
    let read_once: Vec<bool> =
        graph.users().iter().zip(graph.output_values()).map(|(users, output)| users.len() == 1 && !output).collect();
    // The last step that puts positions in their places, if only one node reads it.
    let mut blocks: Option<NodeId> = None;
    split::rebuild(graph, |graph, old, node| {
        let made = match Split::of(graph, &node, config.channel_block) {
            Some(parts) => {
                report.done(&node.origin.path, parts.note());
                parts.apply(graph, node)
            }
            None if is_activation(&node) && blocks == Some(node.inputs[0]) => in_front_of_blocks(graph, node),
            None => return graph.add_node(node),
        };
        blocks = read_once[old.0 as usize].then_some(made);
        made
    });
}

fn is_activation(node: &Node) -> bool {
    matches!(node.op, Op::Activation(_)) && node.epilogue.is_empty()
}

/// An activation behind the step that puts positions in their places goes in front of it, to the convolution that can do
/// it. What it is called there is the step's name, which then stands for the activation's value.
fn in_front_of_blocks(graph: &mut Graph, mut activation: Node) -> NodeId {
    let blocks = activation.inputs[0];
    let ty = graph[graph[blocks].inputs[0]].ty.clone();
    let node = &mut graph[blocks];
    std::mem::swap(&mut node.op, &mut activation.op);
    node.ty = ty;
    std::mem::swap(&mut node.params, &mut activation.params);
    graph.add_node(activation)
}

/// A transposed convolution as a convolution and blocks of positions.
struct Split {
    conv: Conv,
    block: Vec<usize>,
    taps: Vec<Vec<Vec<Option<usize>>>>,
}

/// One dimension of it.
struct Along {
    /// Positions in front of the first input position that the first output position sees, and behind the last.
    pads: (usize, usize),
    /// For each position of a block and each tap of the convolution, the tap of the layer's kernel.
    taps: Vec<Vec<Option<usize>>>,
}

impl Split {
    /// `None` where the layer is better left as it is.
    fn of(graph: &Graph, node: &Node, lanes: usize) -> Option<Split> {
        let Op::ConvTranspose(layer @ ConvTranspose { groups: 1, output_major: true, .. }) = &node.op else {
            return None;
        };
        if ir::integer::concerns(graph, node) || !node.epilogue.is_empty() {
            return None;
        }
        let input = graph[node.inputs[0]].ty.spatial();
        let sizes = layer.resolve(input).expect("verified");
        let all = sizes.iter().enumerate().map(|(dim, &size)| {
            let phases: Vec<Phase> = layer.phases(dim, size).collect();
            along(&phases, layer.window.stride[dim], input[dim], size.1)
        });
        let all: Vec<Along> = all.collect::<Option<_>>()?;
        let block: Vec<usize> = all.iter().map(|dim| dim.taps.len()).collect();
        let kernel: Vec<usize> = all.iter().map(|dim| dim.taps[0].len()).collect();
        let own: usize = all.iter().map(|dim| dim.taps.iter().flatten().flatten().count()).product();
        let channels = block.iter().try_fold(layer.channels, |all, &size| all.checked_mul(size))?;
        let outer = input.split_last_chunk::<2>().map_or(&[][..], |(outer, _)| outer);
        if outer.iter().try_fold(channels, |all, &size| all.checked_mul(size)).is_none_or(|planes| planes > MOST_PLANES)
        {
            return None;
        }
        // Multiply-accumulates of vectors for each position of the input.
        let [apart, together] = [layer.channels.div_ceil(lanes) * own, channels.div_ceil(lanes) * product(&kernel)];
        if 3 * together > 2 * apart {
            return None;
        }
        let ones = || vec![1; input.len()];
        let padding = Padding::Sides(all.iter().map(|dim| dim.pads).collect());
        let window = Window { kernel, stride: ones(), dilation: ones(), padding, ceil: false };
        let conv = Conv { channels, window, groups: 1, bias: layer.bias, weights: None };
        Some(Split { conv, block, taps: all.into_iter().map(|dim| dim.taps).collect() })
    }

    fn note(&self) -> String {
        let positions = product(&self.block);
        format!("the {positions} positions of a block are channels of one convolution: {}", self.conv)
    }

    /// Adds both nodes; the id of the one that has the layer's value.
    fn apply(self, graph: &mut Graph, node: Node) -> NodeId {
        let Split { conv, block, taps } = self;
        let positions = product(&block);
        let weights = subpixel(graph, node.params[0], &conv, taps);
        let biases = node.params[1..].iter().map(|&bias| repeated(graph, bias, positions));
        let params: Vec<ParamId> = [weights].into_iter().chain(biases.collect::<Vec<_>>()).collect();
        let spatial = node.ty.spatial().iter().zip(&block).map(|(size, block)| size / block);
        let dims: Vec<usize> = [conv.channels].into_iter().chain(spatial).collect();
        let ty = node.ty.with_dims(dims);
        let conv = Node::new(conv.into(), node.inputs.clone(), params, ty, node.origin.clone());
        let conv = graph.add_node(conv);
        let blocks = DepthToSpace { block, order: BlockOrder::Crd };
        graph.add_node(Node { op: blocks.into(), inputs: vec![conv], params: Vec::new(), ..node })
    }
}

fn subpixel(graph: &mut Graph, weight: ParamId, conv: &Conv, taps: Vec<Vec<Vec<Option<usize>>>>) -> ParamId {
    let Param { name, dims, init, .. } = graph[weight].clone();
    let dims = [&[conv.channels, dims[1]], &conv.window.kernel[..]].concat();
    let source = ParamSource::Subpixel { weight, taps };
    graph.add_param(Param { name: format!("{name}.subpixel"), dims, source, init })
}

fn repeated(graph: &mut Graph, values: ParamId, times: usize) -> ParamId {
    let Param { name, dims, init, .. } = graph[values].clone();
    let source = ParamSource::Repeated { values, times };
    graph.add_param(Param { name: format!("{name}.repeated"), dims: vec![dims[0] * times], source, init })
}

fn product(sizes: &[usize]) -> usize {
    sizes.iter().product()
}

/// Positions of a block, and taps of the convolution, in one dimension at most: tables hold each pair.
const MOST_TAPS: usize = 64;

/// Planes of positions that are put in their places at most: what does it has an entry for each.
const MOST_PLANES: usize = 1 << 12;

/// One dimension, if blocks fill the output and the taps of each position follow each other.
fn along(phases: &[Phase], stride: usize, input: usize, output: usize) -> Option<Along> {
    let seen = || phases.iter().filter(|phase| phase.taps > 0);
    if phases.len() != stride || !output.is_multiple_of(stride) || seen().any(|phase| phase.dilation != 1) {
        return None;
    }
    let first = seen().map(|phase| phase.origin).min()?;
    let end = seen().map(|phase| phase.origin + phase.taps as i64).max()?;
    if stride > MOST_TAPS || end - first > MOST_TAPS as i64 {
        return None;
    }
    let behind = (output / stride) as i64 + end - 1 - input as i64;
    let pads = (usize::try_from(-first).ok()?, usize::try_from(behind).ok()?);
    let tap = |phase: &Phase, at: i64| {
        let index = usize::try_from(at - phase.origin).ok().filter(|&index| index < phase.taps)?;
        Some(phase.last - index * phase.step)
    };
    let taps = phases.iter().map(|phase| (first..end).map(|at| tap(phase, at)).collect());
    Some(Along { pads, taps: taps.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp;
    use crate::ir::weights::RandomWeights;
    use crate::ir::{Output, Verified, verify};
    use crate::layers::{Accumulate, Activation};
    use crate::tensor::{Batch, DType, Tensor, TensorType};

    /// A transposed convolution with an activation behind it, and the network after the passes.
    fn network(channels: usize, [kernel, stride, pad, extra]: [usize; 4]) -> (Verified<Graph>, Verified<Graph>) {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![5, 4, 6] };
        let x = graph.add_input("x", ty);
        let (padding, dilation) = (Padding::All(pad), vec![1; 2]);
        let window = Window { kernel: vec![kernel; 2], stride: vec![stride; 2], dilation, padding, ceil: false };
        let output_padding = vec![extra; 2];
        let layer = ConvTranspose { channels, window, output_padding, groups: 1, bias: true, output_major: false };
        let y = graph.add_layer(layer, &[x], "layer").unwrap();
        let y = graph.add_layer(Activation::Tanh, &[y], "tanh").unwrap();
        graph.outputs.push(Output { name: "y".into(), node: y });
        let graph = verify(graph).unwrap();
        let config = Config { channel_block: 16, exact: false, rounds: None };
        let after = super::super::run(graph.clone(), &config).0;
        (graph, after)
    }

    fn kernels(graph: &Graph) -> Vec<Vec<usize>> {
        let kernel = |node: &Node| match &node.op {
            Op::Conv(conv) => Some([&[conv.channels], &conv.window.kernel[..]].concat()),
            _ => None,
        };
        graph.nodes.iter().filter_map(kernel).collect()
    }

    #[test]
    fn positions_of_few_channels_become_channels() {
        // Channels, [kernel, stride, padding, output padding], channels and kernel of the convolution.
        let cases = [
            // DCGAN's last layer, FSRCNN's.
            (3, [4, 2, 1, 0], Some([12, 3, 3])),
            (1, [9, 3, 4, 2], Some([9, 4, 4])),
            // The same position has all taps; more taps than a stride; taps between which there are none.
            (1, [2, 2, 0, 0], Some([4, 1, 1])),
            (2, [5, 2, 1, 0], None),
            (1, [5, 2, 2, 1], Some([4, 3, 3])),
            // Whole blocks already; blocks that do not fill the output; no stride.
            (8, [4, 2, 1, 0], None),
            (1, [4, 3, 1, 0], None),
            (1, [3, 1, 1, 0], None),
        ];
        for (channels, sizes, expected) in cases {
            let (before, after) = network(channels, sizes);
            let found = kernels(&after);
            assert_eq!(found, expected.into_iter().map(Vec::from).collect::<Vec<_>>(), "{channels} {sizes:?}");
            let x = [Tensor::new([2, 5, 4, 6], (0..240).map(|i| (i as f32).sin()).collect())];
            let run = |graph: &Verified<Graph>| interp::run(graph, &RandomWeights { seed: 3 }, &x, Accumulate::F64);
            for (found, expected) in run(&after)[0].data().iter().zip(run(&before)[0].data()) {
                assert!((found - expected).abs() < 1e-6, "{channels} {sizes:?}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn the_convolution_does_the_activation() {
        let (_, after) = network(3, [4, 2, 1, 0]);
        let last = &after[after.outputs[0].node];
        assert!(matches!(last.op, Op::DepthToSpace(_)), "{:?}", last.op);
        assert!(!after[last.inputs[0]].epilogue.is_empty());
    }

    #[test]
    fn what_was_done_is_said() {
        let (before, _) = network(3, [4, 2, 1, 0]);
        let said = |exact| {
            let (_, report) = super::super::run(before.clone(), &Config { channel_block: 16, exact, rounds: None });
            let notes = report.notes.into_iter().filter(|note| note.pass == "subpixel");
            notes.map(|note| (note.path, note.text)).collect::<Vec<_>>()
        };
        let text = "the 4 positions of a block are channels of one convolution: conv 3x3, 12, pad (1, 1, 1, 1), bias";
        assert_eq!(said(false), [("layer".to_owned(), text.to_owned())]);
        assert_eq!(said(true), []);
    }
}
