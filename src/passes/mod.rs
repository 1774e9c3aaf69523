//! Rewriting the graph before it is scheduled: one file a pass, and the pipeline as a list.
//!
//! After each pass, values that nothing reads any more are removed and the graph is verified. Passes take what earlier
//! passes made as well: a graph that was optimised may be optimised again.

mod concat_in_place;
mod fold_batch_norm;
mod fold_gate;
mod fuse_epilogue;
mod lower;
mod merge_groups;
mod round_products;
mod split;
mod squeeze;
mod subpixel;
mod subsample;
mod sweep;
mod uses;

pub(crate) use sweep::sweep_params;

use crate::ir::{self, Graph, NodeId, Verified};

/// Whether a layer is to multiply numbers of bf16, or why it is not.
pub type Rounds<'a> = dyn Fn(&Graph, NodeId) -> Result<(), String> + 'a;

/// What the passes must know of the target.
#[derive(Clone, Copy)]
pub struct Config<'a> {
    /// Channels of a block: a slice of a concatenation can be written in place at multiples of it.
    pub channel_block: usize,
    /// Only kernels that compute the sums of the layers' definitions are wanted.
    pub exact: bool,
    /// Which convolutions and dense layers multiply numbers of bf16; none where nothing is given.
    pub rounds: Option<&'a Rounds<'a>>,
}

/// Something that a pass did or refused to do, for `svertka explain`.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub pass: &'static str,
    /// Path of the node.
    pub path: String,
    pub done: bool,
    pub text: String,
}

/// The notes of all passes.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub notes: Vec<Note>,
    pass: &'static str,
}

impl Report {
    fn done(&mut self, path: &str, text: impl Into<String>) {
        self.notes.push(Note { pass: self.pass, path: path.into(), done: true, text: text.into() });
    }

    fn refused(&mut self, path: &str, text: impl Into<String>) {
        self.notes.push(Note { pass: self.pass, path: path.into(), done: false, text: text.into() });
    }
}

type Pass = fn(&mut Graph, &Config, &mut Report);

/// All passes in order.
pub const PIPELINE: &[(&str, Pass)] = &[
    ("lower", lower::run),
    ("merge groups", merge_groups::run),
    ("fold batch norm", fold_batch_norm::run),
    ("subpixel", subpixel::run),
    ("subsample", subsample::run),
    ("fold gate", fold_gate::run),
    ("fuse epilogue", fuse_epilogue::run),
    ("squeeze", squeeze::run),
    ("round products", round_products::run),
    ("concat in place", concat_in_place::run),
];

/// Runs the whole pipeline.
///
/// # Panics
/// If a pass breaks the graph: a defect, not an error of the model.
pub fn run(graph: Verified<Graph>, config: &Config) -> (Verified<Graph>, Report) {
    run_until(graph, config, PIPELINE.len())
}

/// Runs the first `count` passes.
pub fn run_until(graph: Verified<Graph>, config: &Config, count: usize) -> (Verified<Graph>, Report) {
    let (mut graph, mut report) = (graph.into_inner(), Report::default());
    // Where values lie is decided anew, and so is what is rounded.
    graph.nodes.iter_mut().for_each(|node| node.slice_of = None);
    round_products::forget(&mut graph);
    let mut verified = verify(graph, "before all");
    for (name, pass) in &PIPELINE[..count] {
        let mut graph = verified.into_inner();
        report.pass = name;
        pass(&mut graph, config, &mut report);
        sweep::run(&mut graph);
        verified = verify(graph, name);
    }
    (verified, report)
}

/// Only what removes layers, and folds norms: the same for all targets.
pub(crate) fn fold(graph: Verified<Graph>) -> Verified<Graph> {
    let folding = PIPELINE.iter().position(|(name, _)| *name == "fold batch norm").expect("a pass");
    run_until(graph, &Config { channel_block: 1, exact: true, rounds: None }, folding + 1).0
}

fn verify(graph: Graph, pass: &str) -> Verified<Graph> {
    ir::verify(graph).unwrap_or_else(|error| panic!("pass `{pass}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp;
    use crate::ir::weights::RandomWeights;
    use crate::ir::{Node, Output};
    use crate::layers::{Accumulate, Activation, Conv, GlobalAvgPool, Mul, Op, Padding, Window};
    use crate::tensor::{Batch, DType, Tensor, TensorType};

    fn conv(channels: usize, kernel: usize, groups: usize) -> Conv {
        let (stride, dilation) = (vec![1; 2], vec![1; 2]);
        let window = Window { kernel: vec![kernel; 2], stride, dilation, padding: Padding::Half, ceil: false };
        Conv { channels, window, groups, bias: true, weights: None }
    }

    /// y = narrow(x' * g(x')) with x' = deep(x) and g(x') = sigmoid(expand(mean(x'))).
    fn squeeze_and_excitation(deep: Conv, narrow: Conv) -> Graph {
        let mut graph = Graph::default();
        let dims = vec![8, 5, 6];
        let x = graph.add_input("x", TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims });
        let channels = deep.channels;
        let deep = graph.add_layer(deep, &[x], "deep").unwrap();
        let mean = graph.add_layer(GlobalAvgPool, &[deep], "mean").unwrap();
        let gate = graph.add_layer(conv(channels, 1, 1), &[mean], "expand").unwrap();
        let gate = graph.add_layer(Activation::Sigmoid, &[gate], "sigmoid").unwrap();
        let gated = graph.add_layer(Mul, &[deep, gate], "gate").unwrap();
        let node = graph.add_layer(narrow, &[gated], "narrow").unwrap();
        graph.outputs.push(Output { name: "y".into(), node });
        graph
    }

    /// The graph after all passes, which must mean the same, and the texts of the notes about a path.
    fn optimised(graph: &Graph, path: &str) -> (Graph, Vec<String>) {
        let graph = ir::verify(graph.clone()).unwrap();
        let (after, report) = run(graph.clone(), &Config { channel_block: 8, exact: false, rounds: None });
        let x = Tensor::new([2, 8, 5, 6], (0..480).map(|i| (i % 37) as f32 / 18.0 - 1.0).collect());
        let [before, found] = [&graph, &after].map(|graph| {
            interp::run(graph, &RandomWeights { seed: 3 }, std::slice::from_ref(&x), Accumulate::F64).remove(0)
        });
        for (found, expected) in found.data().iter().zip(before.data()) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found}, not {expected}");
        }
        let notes = report.notes.iter().filter(|note| note.path == path).map(|note| note.text.clone());
        (after.into_inner(), notes.collect())
    }

    fn node<'g>(graph: &'g Graph, path: &str) -> &'g Node {
        graph.nodes.iter().find(|node| node.origin.path == path).unwrap()
    }

    #[test]
    fn a_gate_multiplies_the_weights_behind_it_where_they_are_few() {
        let (graph, notes) = optimised(&squeeze_and_excitation(conv(8, 3, 8), conv(15, 1, 1)), "gate");
        assert_eq!(notes, ["the gate multiplies the weights of narrow"]);
        let narrow = node(&graph, "narrow");
        assert_eq!(graph[narrow.gate().unwrap()].origin.path, "expand");
        assert!(!graph.nodes.iter().any(|node| matches!(node.op, Op::Mul(_))));

        let (graph, notes) = optimised(&squeeze_and_excitation(conv(8, 3, 8), conv(16, 1, 1)), "gate");
        assert!(notes[0].contains("16 weights for each channel, of which there are 30 values"), "{notes:?}");
        assert!(!node(&graph, "narrow").gated);
        let (_, notes) = optimised(&squeeze_and_excitation(conv(8, 3, 8), conv(8, 3, 1)), "gate");
        assert_eq!(notes, ["the gate stays: narrow is no 1x1 convolution"]);
    }

    #[test]
    fn a_gate_whose_product_is_read_elsewhere_stays() {
        let mut graph = squeeze_and_excitation(conv(8, 3, 8), conv(15, 1, 1));
        let gated = graph.ids().find(|&id| graph[id].origin.path == "gate").unwrap();
        graph.outputs.push(Output { name: "product".into(), node: gated });
        let (_, notes) = optimised(&graph, "gate");
        assert_eq!(notes, ["the gate stays: its value is an output of the model"]);
    }

    /// Of two gates one behind the other the convolution takes the last, and no other however often passes run.
    #[test]
    fn a_convolution_takes_one_gate() {
        let mut graph = Graph::default();
        let ty = |dims: &[usize]| {
            let batch = Batch::Symbolic("N".into());
            TensorType { dtype: DType::F32, batch, dims: dims.to_vec() }
        };
        let x = graph.add_input("x", ty(&[8, 5, 6]));
        let gates = ["first", "second"].map(|name| graph.add_input(name, ty(&[8, 1, 1])));
        let first = graph.add_layer(Mul, &[x, gates[0]], "gate1").unwrap();
        let second = graph.add_layer(Mul, &[first, gates[1]], "gate2").unwrap();
        let node = graph.add_layer(conv(15, 1, 1), &[second], "narrow").unwrap();
        graph.outputs.push(Output { name: "y".into(), node });
        let config = Config { channel_block: 8, exact: false, rounds: None };
        let (once, _) = run(ir::verify(graph).unwrap(), &config);
        let (twice, report) = run(once, &config);
        let narrow = self::node(&twice, "narrow");
        assert_eq!(twice[narrow.gate().unwrap()].origin.path, "second");
        let notes: Vec<&str> = report.notes.iter().map(|note| note.text.as_str()).collect();
        assert_eq!(notes, ["the gate stays: narrow has another one"]);
    }

    #[test]
    fn a_mean_with_an_activation_is_a_step_of_its_own() {
        let mut graph = squeeze_and_excitation(conv(8, 3, 8), conv(15, 1, 1));
        let deep = graph.add_layer(conv(15, 3, 15), &[graph.outputs[0].node], "last").unwrap();
        let mean = graph.add_layer(GlobalAvgPool, &[deep], "last_mean").unwrap();
        graph.outputs[0].node = graph.add_layer(Activation::Relu, &[mean], "relu").unwrap();
        let (_, notes) = optimised(&graph, "last_mean");
        assert_eq!(notes.last().unwrap(), "the mean is a step of its own: an activation follows the mean");
    }

    #[test]
    fn a_depthwise_convolution_makes_the_mean_of_its_value() {
        let (graph, notes) = optimised(&squeeze_and_excitation(conv(8, 3, 8), conv(15, 1, 1)), "mean");
        assert_eq!(notes.last().unwrap(), "the mean is made by the kernel of deep");
        assert!(node(&graph, "mean").beside);
        let (graph, notes) = optimised(&squeeze_and_excitation(conv(8, 3, 1), conv(15, 1, 1)), "mean");
        assert!(notes.last().unwrap().ends_with("deep is no depthwise convolution"), "{notes:?}");
        assert!(!node(&graph, "mean").beside);
    }

    #[test]
    fn a_strided_pointwise_convolution_reads_a_copy_of_its_positions() {
        let strided = |channels: usize, kernel: usize| {
            let mut graph = Graph::default();
            let dims = vec![8, 5, 6];
            let x = graph.add_input("x", TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims });
            let mut conv = conv(channels, kernel, 1);
            conv.window.stride = vec![2, 3];
            let node = graph.add_layer(conv, &[x], "narrow").unwrap();
            graph.outputs.push(Output { name: "y".into(), node });
            optimised(&graph, "narrow")
        };
        let (graph, notes) = strided(64, 1);
        assert_eq!(notes, ["reads a copy of the positions of x that its stride leaves"]);
        let &[copy] = nodes_of(&graph, |op| matches!(op, Op::MaxPool(_))).as_slice() else { panic!("one copy") };
        assert_eq!(copy.ty.dims, [8, 3, 2]);
        for (channels, kernel) in [(63, 1), (64, 3)] {
            let (graph, notes) = strided(channels, kernel);
            assert!(notes.is_empty() && nodes_of(&graph, |op| matches!(op, Op::MaxPool(_))).is_empty());
        }
    }

    fn nodes_of(graph: &Graph, wanted: impl Fn(&Op) -> bool) -> Vec<&Node> {
        graph.nodes.iter().filter(|node| wanted(&node.op)).collect()
    }

    #[test]
    fn what_is_fused_is_printed() {
        let text = "\
model printed
input image: f32[N, 8, 12, 12]
net {
  residual {
    deep: conv 3x3, 8, half, groups 8 | relu6
    gate { global_avgpool | fc: conv 1x1, 8, bias | sigmoid } | narrow: conv 1x1, 8
  } | relu
  concat { a: conv 1x1, 8\n b: conv 3x3, 5, half | tanh }
}
";
        let (graph, _) =
            run(crate::analysis::testing::model(text), &Config { channel_block: 8, exact: false, rounds: None });
        insta::assert_snapshot!(ir::print(&graph));
    }
}
