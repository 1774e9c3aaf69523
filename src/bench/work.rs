//! What a step cannot do without, whatever its kernel is: what bounds it is counted so low that no kernel passes it.

use crate::codegen::Bytes;
use crate::ir::{Graph, Node, NodeId, ParamId, ParamSource};
use crate::kernels::Kernel;
use crate::layers::{ConvTranspose, Op, ResolvedWindow};
use crate::schedule::{Plan, Step, View};

/// Of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Multiply-accumulates of the layers' definitions; a step that only moves a value has none.
    pub macs: u64,
    /// Those that its kernel makes at the least, counted as of f32: where an instruction makes several in a lane, these
    /// are one. Winograd's kernels have their own; taps in the padding are none.
    pub own_macs: u64,
    /// Bytes of inputs and outputs, each once.
    pub values: u64,
    /// Of these, those that must be read, and those that are written.
    pub read: u64,
    pub written: u64,
    /// Bytes of the weights, for all samples.
    pub weights: u64,
}

impl Work {
    /// Of a step of a plan.
    pub fn new(plan: &Plan, step: &Step) -> Work {
        let nodes: Vec<NodeId> = step.nodes().filter(|_| step.purpose.is_none()).collect();
        let lanes = plan.target.lanes;
        let size = |view: &View| view.bytes(view.layout, lanes) as u64;
        let written = size(&step.output) + step.beside.iter().map(|(_, view)| size(view)).sum::<u64>();
        let inputs: Vec<u64> = step.inputs.iter().map(size).collect();
        let first = step.nodes().next().filter(|_| step.purpose.is_none());
        let seen = first.map_or((1, 1), |id| seen_positions(&plan.graph, &plan.graph[id]));
        let read = inputs.iter().enumerate().map(|(i, &bytes)| if i == 0 { part(bytes, seen) } else { bytes });
        Work {
            macs: nodes.iter().map(|&id| macs(&plan.graph, id)).sum(),
            own_macs: own_macs(plan, step, &nodes),
            values: inputs.iter().sum::<u64>() + written,
            read: read.sum(),
            written,
            weights: step.params.iter().map(|&id| plan.graph[id].bytes()).sum(),
        }
    }
}

/// A part of a number, as a fraction; none that is larger than all.
type Part = (usize, usize);

fn part(whole: u64, (own, all): Part) -> u64 {
    (u128::from(whole) * own as u128 / all.max(1) as u128) as u64
}

fn macs(graph: &Graph, id: NodeId) -> u64 {
    // Zeros between its weights are none of the layer's.
    part(graph.macs(id), graph[id].params.iter().find_map(|&id| own_share(graph, id)).unwrap_or((1, 1)))
}

fn own_macs(plan: &Plan, step: &Step, nodes: &[NodeId]) -> u64 {
    let lanes = plan.target.lanes as u64;
    let in_lane = match &step.kernel {
        Kernel::Winograd(conf) => return conf.code.multiplications() as u64 * lanes,
        Kernel::WholeWinograd(conf) => return conf.code.multiplications() as u64 * lanes,
        // One instruction has the products of the four bytes of each lane, or of their halves.
        Kernel::Dots(_) if plan.target.bytes >= Bytes::Dots => 4,
        Kernel::Depthwise(_) if plan.target.bytes >= Bytes::Tables => 4,
        Kernel::Dots(_) | Kernel::Depthwise(_) => 2,
        Kernel::Conv(conf) if conf.code.pairs => 2,
        _ => 1,
    };
    let graph = &plan.graph;
    let own = |&id: &NodeId| inside(graph, &graph[id]).into_iter().fold(macs(graph, id), part);
    nodes.iter().map(own).sum::<u64>() / in_lane
}

/// For each dimension, of how many taps at all positions how many fall on a value and not into the padding.
fn inside(graph: &Graph, node: &Node) -> Vec<Part> {
    let inputs = graph.operand_types(node);
    match &node.op {
        Op::Conv(conv) => {
            let input = inputs[0].spatial();
            conv.window.resolve(input).map_or(Vec::new(), |window| taps_inside(&window, input))
        }
        // What a transposed one writes, a plain one from its output to its input would read.
        Op::ConvTranspose(conv) => {
            let (input, output) = (inputs[0].spatial(), node.ty.spatial());
            mirrored(conv, input).map_or(Vec::new(), |window| taps_inside(&window, output))
        }
        _ => Vec::new(),
    }
}

fn taps_inside(window: &ResolvedWindow, input: &[usize]) -> Vec<Part> {
    let of_dim = |dim: usize| {
        let taps = (0..window.out[dim]).map(|at| window.inside(dim, at, input[dim]).len());
        (taps.sum(), window.out[dim] * window.kernel[dim])
    };
    (0..input.len()).map(of_dim).collect()
}

fn mirrored(conv: &ConvTranspose, input: &[usize]) -> Option<ResolvedWindow> {
    let fronts: Vec<(usize, usize)> = conv.resolve(input).ok()?.into_iter().map(|(front, _)| (front, 0)).collect();
    let (kernel, stride, dilation) =
        (conv.window.kernel.clone(), conv.window.stride.clone(), conv.window.dilation.clone());
    Some(ResolvedWindow { kernel, stride, dilation, pads: fronts, skip: vec![0; input.len()], out: input.to_vec() })
}

/// Of how many positions of the first input how many are under a window: a pointwise convolution with a stride reads
/// every other one.
fn seen_positions(graph: &Graph, node: &Node) -> Part {
    let inputs = graph.operand_types(node);
    let (Op::Conv(_) | Op::MaxPool(_) | Op::AvgPool(_), Some(layer)) = (&node.op, node.op.layer()) else {
        return (1, 1);
    };
    let Some(window) = layer.window(&inputs) else { return (1, 1) };
    let input = inputs[0].spatial();
    let of_dim = |dim: usize| {
        let mut seen = vec![false; input[dim]];
        let positions = (0..window.out[dim]).flat_map(|at| window.positions(dim, at, input[dim]));
        positions.for_each(|position| seen[position] = true);
        (seen.iter().filter(|&&seen| seen).count(), input[dim])
    };
    (0..input.len()).map(of_dim).fold((1, 1), |(own, all), (seen, size)| (own * seen, all * size))
}

/// Of how many weights of a convolution how many are not zeros that a pass has put between them.
fn own_share(graph: &Graph, id: ParamId) -> Option<(usize, usize)> {
    match &graph[id].source {
        ParamSource::Merged { merged, .. } => Some((1, *merged)),
        ParamSource::Subpixel { taps, .. } => {
            let of_dims = taps.iter().map(|of_dim| of_dim.iter().flatten());
            let counts = of_dims.map(|taps| (taps.clone().flatten().count(), taps.count()));
            Some(counts.fold((1, 1), |(own, all), counts| (own * counts.0, all * counts.1)))
        }
        ParamSource::Scaled { weight: Some(weight), .. } => own_share(graph, *weight),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::model;
    use crate::codegen::Isa;
    use crate::kernels::Target;
    use target_lexicon::Architecture;

    /// Of the layer with this path, among those of a text.
    fn work(layers: &str, name: &str, target: Target) -> Work {
        let text = format!("model m\ninput x: f32[N, 16, 12, 12]\nnet {{\n{layers}\n}}\n");
        let plan = crate::schedule::plan(model(&text), target);
        let of_layer = |step: &&Step| plan.graph[step.node].origin.path == name && step.purpose.is_none();
        Work::new(&plan, plan.steps.iter().find(of_layer).unwrap())
    }

    fn target() -> Target {
        Target { exact: true, ..Target::of(Isa::Avx2, Architecture::X86_64) }
    }

    #[test]
    fn taps_in_the_padding_are_no_work() {
        let of = |layer: &str| work(layer, "c", target());
        let plain = of("c: conv 3x3, 16");
        assert_eq!((plain.macs, plain.own_macs), (16 * 16 * 9 * 100, plain.macs));
        // 34 of 36 taps along each dimension.
        let padded = of("c: conv 3x3, 16, half");
        assert_eq!((padded.macs, padded.own_macs), (16 * 16 * 9 * 144, 16 * 16 * 34 * 34));
        // The middle tap alone, but for those 2 at either end.
        let wide = of("c: conv 3x3, 16, half, dilation 10");
        assert_eq!(wide.own_macs, 16 * 16 * 16 * 16);
        // 16 contributions of 36 fall off at either side of 24 that 12 positions and 3 taps make.
        let transposed = of("c: conv_transpose 3x3, 16, stride 2, pad 1");
        assert_eq!((transposed.macs, transposed.own_macs), (16 * 16 * 9 * 144, 16 * 16 * 34 * 34));
    }

    #[test]
    fn positions_that_no_window_sees_are_not_read() {
        let strided = work("c: conv 1x1, 16, stride 2", "c", target());
        let value = |size: u64| 4 * 16 * size * size;
        assert_eq!((strided.read, strided.written), (value(6), value(6)));
        assert_eq!((strided.values, strided.weights), (value(12) + value(6), 4 * 16 * 16));
    }

    /// 6x6 products for 4x4 outputs; 9 tiles of 12x12.
    #[test]
    fn winograd_has_its_own_products() {
        let target = Target { exact: false, force_winograd: Some([4, 4]), ..target() };
        let winograd = work("c: conv 3x3, 16, half", "c", target);
        assert_eq!((winograd.macs, winograd.own_macs), (16 * 16 * 9 * 144, 16 * 16 * 36 * 9));
    }
}
