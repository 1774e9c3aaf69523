//! Parameters, multiply-accumulates and memory of each layer and of the whole network.

use crate::ir::{Graph, Node, NodeId, ParamSource, Verified};
use crate::layers::Op;

/// Numbers of weights of a layer or a network, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Of convolutions and dense layers.
    pub weights: u64,
    /// Of convolutions and dense layers.
    pub biases: u64,
    /// Scales and shifts of batch norms.
    pub norms: u64,
}

/// The figures of one node, for one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFigures {
    pub node: NodeId,
    pub parameters: Parameters,
    /// What is not trained by gradients: running statistics of batch norms, weights given in the model file.
    pub buffers: u64,
    /// Multiply-accumulates of convolution and dense layers; biases, norms and activations are not counted.
    pub macs: u64,
    /// Bytes of the output.
    pub activation_bytes: u64,
    /// Share of the network's parameters up to and with this node, 0 to 1.
    pub parameters_so_far: f64,
    /// Share of the network's multiply-accumulates up to and with this node, 0 to 1.
    pub macs_so_far: f64,
}

/// The figures of a network, for one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// In the order of the graph's nodes.
    pub nodes: Vec<NodeFigures>,
    /// All of them together.
    pub parameters: u64,
    pub split: Parameters,
    /// See [`NodeFigures::buffers`].
    pub buffers: u64,
    pub macs_conv: u64,
    pub macs_dense: u64,
    /// Bytes of the outputs of all layers together, as if none of them shared memory.
    pub activation_bytes: u64,
}

/// Counts everything. Sums that do not fit in 64 bits stay at the largest number.
pub fn figures(graph: &Verified<Graph>) -> Figures {
    let mut figures = Figures { nodes: graph.ids().map(|id| node_figures(graph, id)).collect(), ..Figures::default() };
    for node in &figures.nodes {
        figures.split.add(&node.parameters);
        figures.buffers = figures.buffers.saturating_add(node.buffers);
        match graph[node.node].op {
            Op::Input => continue,
            Op::Dense(_) => figures.macs_dense = figures.macs_dense.saturating_add(node.macs),
            _ => figures.macs_conv = figures.macs_conv.saturating_add(node.macs),
        }
        figures.activation_bytes = figures.activation_bytes.saturating_add(node.activation_bytes);
    }
    figures.parameters = figures.split.total();
    figures.accumulate_shares();
    figures
}

impl Parameters {
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.biases).saturating_add(self.norms)
    }

    fn add(&mut self, other: &Parameters) {
        self.weights = self.weights.saturating_add(other.weights);
        self.biases = self.biases.saturating_add(other.biases);
        self.norms = self.norms.saturating_add(other.norms);
    }
}

impl Figures {
    /// All multiply-accumulates.
    pub fn macs(&self) -> u64 {
        self.macs_conv.saturating_add(self.macs_dense)
    }

    fn accumulate_shares(&mut self) {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let (all_parameters, all_macs) = (self.parameters, self.macs());
        let (mut parameters, mut macs) = (0u64, 0u64);
        for node in &mut self.nodes {
            parameters = parameters.saturating_add(node.parameters.total());
            macs = macs.saturating_add(node.macs);
            node.parameters_so_far = share(parameters, all_parameters);
            node.macs_so_far = share(macs, all_macs);
        }
    }
}

fn node_figures(graph: &Graph, id: NodeId) -> NodeFigures {
    let node = &graph[id];
    let (parameters, buffers) = count_parameters(graph, node);
    NodeFigures {
        node: id,
        parameters,
        buffers,
        macs: node.op.layer().map_or(0, |layer| layer.macs(&graph.operand_types(node))),
        activation_bytes: product(&node.ty.dims).saturating_mul(node.ty.dtype.bytes() as u64),
        parameters_so_far: 0.0,
        macs_so_far: 0.0,
    }
}

/// The node's parameters and buffers.
fn count_parameters(graph: &Graph, node: &Node) -> (Parameters, u64) {
    let (mut parameters, mut buffers) = (Parameters::default(), 0u64);
    let specs = node.op.layer().map_or(Vec::new(), |layer| layer.params(&graph.operand_types(node)));
    for (spec, &id) in specs.iter().zip(&node.params) {
        let elements = product(&spec.dims);
        let fixed = matches!(graph[id].source, ParamSource::Fixed(_));
        let sum = match (&node.op, spec.role) {
            (_, "running_mean" | "running_var") => &mut buffers,
            _ if fixed => &mut buffers,
            (Op::BatchNorm(_) | Op::Scale(_), _) => &mut parameters.norms,
            (_, "bias") => &mut parameters.biases,
            _ => &mut parameters.weights,
        };
        *sum = sum.saturating_add(elements);
    }
    (parameters, buffers)
}

/// Of sizes.
fn product(dims: &[usize]) -> u64 {
    dims.iter().fold(1, |product, &size| product.saturating_mul(size as u64))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{LENET, model, net};
    use super::*;

    #[test]
    fn sums_that_do_not_fit_stay_at_the_largest_number() {
        assert_eq!((product(&[1 << 32, 1 << 31, 3]), product(&[1 << 40, 0]), product(&[])), (u64::MAX, 0, 1));
        let mut sum = Parameters { weights: u64::MAX - 1, biases: 1, norms: 0 };
        assert_eq!(sum.total(), u64::MAX);
        sum.add(&Parameters { weights: 5, biases: 5, norms: 5 });
        assert_eq!((sum, sum.total()), (Parameters { weights: u64::MAX, biases: 6, norms: 5 }, u64::MAX));
    }

    /// The parameters of LeCun et al. 1998, section II.B, with C3 fully connected; multiply-accumulates by hand.
    #[test]
    fn lenet() {
        let figures = figures(&model(LENET));
        let counted = |f: &&NodeFigures| f.macs > 0;
        let layers: Vec<_> = figures.nodes.iter().filter(counted).map(|f| (f.parameters.total(), f.macs)).collect();
        assert_eq!(layers, [(156, 117_600), (2416, 240_000), (48_120, 48_000), (10_164, 10_080), (850, 840)]);
        assert_eq!((figures.parameters, figures.buffers), (61_706, 0));
        assert_eq!(figures.split, Parameters { weights: 61_470, biases: 236, norms: 0 });
        assert_eq!((figures.macs_conv, figures.macs_dense, figures.macs()), (357_600, 58_920, 416_520));
        // conv1 and its relu, pool1, conv2 and its relu, pool2 and flatten, the dense layers and two relus.
        let elements = 2 * 6 * 28 * 28 + 6 * 14 * 14 + 2 * 16 * 10 * 10 + 2 * 400 + 2 * 120 + 2 * 84 + 10;
        assert_eq!(figures.activation_bytes, 4 * elements);
        let last = figures.nodes.last().unwrap();
        assert_eq!((last.parameters_so_far, last.macs_so_far), (1.0, 1.0));
        assert_eq!(figures.nodes[1].macs_so_far, 117_600.0 / 416_520.0);
    }

    #[test]
    fn norms_and_statistics_are_apart() {
        let figures = figures(&net("3, 8, 8", "conv 3x3, 8, groups 1, bias | bn"));
        assert_eq!(figures.split, Parameters { weights: 216, biases: 8, norms: 16 });
        assert_eq!((figures.parameters, figures.buffers), (240, 16));
    }

    #[test]
    fn weights_in_the_model_file_are_not_trained() {
        let figures = figures(&net("2, 8", "conv 2, 2, groups 2, bias, weights [0.5, 0.5]"));
        assert_eq!((figures.parameters, figures.buffers), (2, 4));
        assert_eq!(figures.macs_conv, 2 * 2 * 7);
    }

    #[test]
    fn networks_without_weights_have_no_shares() {
        let figures = figures(&net("2, 8", "relu"));
        assert_eq!((figures.parameters, figures.nodes[1].macs_so_far), (0, 0.0));
        assert_eq!(figures.activation_bytes, 64);
    }
}
