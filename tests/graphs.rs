//! Whole graphs: what may stand next to what, and networks at the limits of their size.

use crate::common::arbitrary::check_graph;
use crate::common::text::model;
use crate::common::*;
use proptest::prelude::*;
use std::cell::Cell;
use svertka::codegen::Isa;
use svertka::interp;
use svertka::ir::*;
use svertka::kernels::{Kernel, Target};
use svertka::layers::*;
use svertka::runtime::{Engine, Options, Session};
use svertka::schedule::{self, Plan};
use svertka::tensor::{Batch, TensorType};

fn plan(graph: Verified<Graph>) -> Plan {
    schedule::plan(graph, Target::new(Isa::Clif))
}

/// The middle one of three layers could be paired with the one before it and with the one behind it.
#[test]
fn a_layer_is_of_one_pair_only() {
    let graph = model(include_str!("data/chain_behind_chain.cnn"));
    let pairs = plan(graph.clone()).steps.iter().filter(|step| matches!(step.kernel, Kernel::Chain(_))).count();
    assert_eq!(pairs, 1);
    let inputs = inputs(&graph, 1, 1);
    let expected = interp::run(&graph, &weights(1), &inputs, Accumulate::F64);
    for engine in engines() {
        let options = Options { engine, ..Options::default() };
        let found = Session::new(graph.clone(), &weights(1), &options).unwrap().run(&inputs).unwrap();
        let difference = difference(&found[0], &expected[0]);
        assert!(difference <= 1e-5, "{engine:?}: {difference}");
    }
}

fn engines() -> Vec<Engine> {
    Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]).collect()
}

/// Whatever a graph holds, `verify` says whether it is one; if so, everybody runs it. Few are worth nothing if few are
/// graphs, so these are counted.
#[test]
fn arbitrary_graphs_are_refused_or_run() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let (all, valid, run) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let add = |count: &Cell<usize>, new: bool| count.set(count.get() + usize::from(new));
    let engines = engines();
    let result =
        proptest::test_runner::TestRunner::new(config).run(&prop::collection::vec(any::<u8>(), 0..300), |bytes| {
            let (is_valid, is_run) = check_graph(&bytes, &engines);
            [(&all, true), (&valid, is_valid), (&run, is_run)].into_iter().for_each(|(count, new)| add(count, new));
            Ok(())
        });
    result.unwrap_or_else(|error| panic!("{error}"));
    let (all, valid, run) = (all.get(), valid.get(), run.get());
    assert!(valid < all && 5 * valid > all && 8 * run > all, "{all} graphs, {valid} valid, {run} run");
}

/// A network of one input of `dims` and of almost as many layers as are allowed.
fn huge(dims: &str, net: &str) -> Plan {
    plan(model(&format!("model m\ninput image: f32[N, {dims}]\nnet {{ {net} }}")))
}

/// The time to plan grows with the number of layers, not with its square: where it does, each of these takes seconds,
/// where one walk over all layers is made for each, minutes.
#[test]
fn as_many_layers_as_are_allowed_are_planned() {
    // An activation, and those that its kernel does too, again and again.
    let activations = huge("4, 8, 8", "for i in 1..99000 { relu }");
    // Two more change the layout.
    assert_eq!(activations.steps.len(), 99_000 / 9 + 2);
    assert_eq!(
        huge("4, 8, 8", "for i in 1..33000 { c{i}: conv 3x3, 4, half | b{i}: bn | relu }").steps.len(),
        33_000 + 1
    );
    let sums = huge("4, 4, 4", "for i in 1..24000 { residual { c{i}: conv 3x3, 4, half | b{i}: bn } | relu }");
    assert!(sums.steps.iter().filter(|step| matches!(step.kernel, Kernel::Conv(_))).count() >= 24_000);
    // Each value is written into the next concatenation, so that one buffer holds them all.
    let dense = huge("16, 1, 1", "conv 1x1, 16 | for i in 1..3000 { grow { c{i}: conv 1x1, 16 } }");
    assert_eq!(dense.arena_bytes(), 64 * 3001);
    let depthwise = "c{i}: conv 3x3, 8, half, groups 8 | gate { global_avgpool | d{i}: conv 1x1, 8 | sigmoid }";
    let means = huge("8, 4, 4", &format!("for i in 1..12000 {{ {depthwise} }}"));
    assert!(means.steps.iter().filter(|step| step.beside.is_some()).count() == 12_000);
}

/// All of a layer's neighbours are looked up, none is searched for.
#[test]
fn as_many_branches_outputs_and_inputs_as_are_allowed_are_planned() {
    let lines = |count: usize, line: fn(usize) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n");
    let branches = |line| format!("concat {{\n{}\n}}", lines(19_000, line));
    // In place, and copied.
    assert_eq!(huge("8, 2, 2", &branches(|i| format!("c{i}: conv 1x1, 8"))).steps.len(), 19_000 + 1);
    assert_eq!(huge("5, 2, 2", &branches(|_| "softmax | sigmoid".into())).arena % 64, 0);
    let outputs = huge("4, 2, 2", &lines(15_000, |i| format!("c{i}: conv 1x1, 4 | output o{i}")));
    assert_eq!(outputs.outputs.len(), 15_000);
    let inputs = lines(30_000, |i| format!("input i{i}: f32[N, 4]"));
    let inputs = plan(model(&format!("model m\n{inputs}\nnet {{ relu }}")));
    assert_eq!(inputs.graph.inputs.len(), 30_000);
}

/// A graph of one input of 8 channels, after `change`.
fn malformed(change: impl FnOnce(&mut Graph, NodeId)) -> String {
    let (mut graph, x) = graph_of(&[8, 6, 6]);
    output(&mut graph, x);
    change(&mut graph, x);
    verify(graph).unwrap_err().to_string()
}

/// As [`malformed`], with a layer that nobody checked.
fn unchecked(op: impl Into<Op>) -> String {
    malformed(|graph, x| {
        let (ty, origin) = (input_type(&[8, 6, 6]), Origin { path: "layer".into(), span: None });
        graph.add_node(Node::new(op.into(), vec![x], Vec::new(), ty, origin));
    })
}

#[test]
fn layers_that_no_constructor_makes_are_refused() {
    let window =
        || Window { kernel: vec![3; 2], stride: vec![1; 2], dilation: vec![1; 2], padding: Padding::Half, ceil: false };
    let conv = |window| Conv { channels: 8, window, groups: 1, bias: false, weights: None };
    let said = |op: Op, why: &str| {
        let found = unchecked(op);
        assert!(found.contains(why), "{found}, not {why}");
    };
    said(Conv { channels: 9, groups: 4, ..conv(window()) }.into(), "9 output channels do not divide into 4 groups");
    said(Conv { groups: 0, ..conv(window()) }.into(), "the number of groups is 0");
    said(Conv { channels: 0, ..conv(window()) }.into(), "the number of output channels is 0");
    said(Conv { weights: Some([1.0; 8].into()), ..conv(window()) }.into(), "8 weights for a kernel of 9");
    said(conv(Window { stride: vec![0, 1], ..window() }).into(), "the stride is 0");
    said(conv(Window { kernel: vec![3, 0], ..window() }).into(), "a size of the kernel is 0");
    said(conv(Window { dilation: vec![1], ..window() }).into(), "has another number");
    said(MaxPool { window: Window { padding: Padding::Sides(vec![(1, 1)]), ..window() } }.into(), "has another number");
    said(MaxPool { window: Window { dilation: vec![0; 2], ..window() } }.into(), "the dilation is 0");
    said(AdaptiveAvgPool { size: vec![0] }.into(), "an output size is 0");
    said(AdaptiveAvgPool { size: vec![] }.into(), "0 sizes for an input with 2 spatial dimensions");
    said(Upsample { scale: vec![2, 0], mode: Interpolation::Nearest }.into(), "a factor is 0");
    said(ChannelShuffle { groups: 0 }.into(), "the number of groups is 0");
    said(Pad { sides: PadArg::Same, channels: (0, 0), fill: Fill::ZEROS }.into(), "belong to a kernel");
    said(ChannelSlice { channels: 3..3 }.into(), "3..3 are no channels");
    said(DepthToSpace { block: vec![2, 0], order: BlockOrder::Crd }.into(), "a size of the block is 0");
    said(SpaceToDepth { block: vec![], order: BlockOrder::Dcr }.into(), "0 sizes for an input");
    said(Subsample { step: vec![0], at: vec![0] }.into(), "a step is 0");
    said(Subsample { step: vec![1], at: vec![usize::MAX] }.into(), "of 6 positions");
    said(Unflatten { size: vec![0] }.into(), "a size is 0");
    said(BatchNorm { eps: f64::NAN, affine: true }.into(), "eps is NaN");
    said(
        LocalResponseNorm { size: 0, alpha: 1.0, beta: 1.0, k: 1.0, longer: Side::Front }.into(),
        "the number of channels is 0",
    );
    said(Activation::LeakyRelu(f32::INFINITY).into(), "the slope is inf");
    said(Activation::Celu(0.0).into(), "alpha is 0.0, and must be above 0");
    said(Activation::HardSigmoid { slope: -1.0, offset: 0.5 }.into(), "a slope of -1.0");
    said(Activation::Clip { low: 1.0, high: 0.0 }.into(), "the least value, 1.0, is above the largest, 0.0");
    said(Activation::Affine { scale: 1.0, shift: f32::NAN }.into(), "the shift is NaN");
    said(Add.into(), "1 inputs are not as many as it takes");
    said(Op::Input, "is an input that is not given as one");
}

#[test]
fn handles_that_lead_nowhere_are_refused() {
    let far = NodeId(9);
    assert_eq!(
        malformed(|graph, _| graph.inputs.push(far)),
        "malformed graph: %9 is an input or an output, but there is no such node"
    );
    malformed(|graph, _| graph.outputs.push(Output { name: "y".into(), node: far }));
    malformed(|graph, x| graph[x].inputs.push(far));
    malformed(|graph, x| graph[x].params.push(ParamId(0)));
    malformed(|graph, x| graph[x].slice_of = Some(Slice { concat: far, channel: 0 }));
    malformed(|graph, x| graph[x].epilogue.push(Epilogue::Add { input: 0 }));
    malformed(|graph, x| graph[x].gated = true);
    malformed(|graph, x| graph[x].beside = true);
    malformed(|graph, _| graph.outputs.clear());
    // A weight that is made of itself.
    malformed(|graph, _| {
        let source = ParamSource::Merged { weight: ParamId(0), groups: 1, merged: 1 };
        graph.add_param(Param { name: "w".into(), dims: vec![1], source, init: Init::Small });
    });
}

#[test]
fn inputs_of_different_batches_are_refused() {
    let found = malformed(|graph, x| {
        graph[x].ty.batch = Batch::Fixed(3);
        graph.add_input("b", TensorType { batch: Batch::Fixed(2), ..input_type(&[8, 6, 6]) });
    });
    assert_eq!(found, "malformed graph: an input has a batch of 2; batches are equal, and 1 to 65535");
}

/// The branches of `add` and `mul`, in any order and of one value twice, mean what they say on every engine.
#[test]
fn sums_and_products_of_branches() {
    let graph = model(
        "model m\ninput x: f32[N, 8, 5, 7]\ninput gate: f32[N, 8]\n\
         net {\nadd {\nfrom x\nfrom x\nmax: maxpool 3x3, stride 1, pad 1\n}\n\
         mul {\nfrom gate\nidentity\nfrom x\nfrom gate\n}\n}",
    );
    let inputs = inputs(&graph, 2, 1);
    let (kernel, stride, dilation) = (vec![3; 2], vec![1; 2], vec![1; 2]);
    let pool = MaxPool { window: Window { kernel, stride, dilation, padding: Padding::Half, ceil: false } };
    let pooled = pool.eval(&[&inputs[0]], &[], Accumulate::F64);
    let mut expected = inputs[0].clone();
    for (i, y) in expected.data_mut().iter_mut().enumerate() {
        let (x, gate) = (*y, inputs[1].data()[i / 35]);
        *y = (2.0 * x + pooled.data()[i]) * x * gate * gate;
    }
    assert!(difference(&interp::run(&graph, &weights(1), &inputs, Accumulate::F64)[0], &expected) < 1e-6);
    for engine in engines() {
        let options = Options { engine, ..Options::default() };
        let found = Session::new(graph.clone(), &weights(1), &options).unwrap().run(&inputs).unwrap();
        assert!(difference(&found[0], &expected) < 1e-5, "{engine:?}");
    }
}
