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

/// Vectors of output channels are taken some at a time: those of a group begin anew, also where the last ones are fewer.
/// Blocks of input channels may be shared by groups.
#[test]
fn groups_that_fill_neither_blocks_nor_what_is_taken_at_a_time() {
    let ones = || vec![1; 2];
    let pointwise = |channels, groups| {
        let window = Window { kernel: ones(), stride: ones(), dilation: ones(), padding: Padding::Valid, ceil: false };
        Conv { channels, window, groups, bias: true, weights: None }
    };
    for (blocks, inputs) in (2..10).flat_map(|blocks| [32, 20].map(|inputs| (blocks, inputs))) {
        let (mut graph, x) = graph_of(&[8, 3, 5]);
        let between = graph.add_layer(pointwise(inputs, 1), &[x], "between").unwrap();
        let y = graph.add_layer(pointwise(2 * 16 * blocks, 2), &[between], "groups").unwrap();
        output(&mut graph, y);
        let graph = verified(graph);
        let values = crate::common::inputs(&graph, 1, 1);
        let expected = interp::run(&graph, &weights(1), &values, Accumulate::F64);
        for engine in engines() {
            let options = Options { engine, exact: true, ..Options::default() };
            let found = Session::new(graph.clone(), &weights(1), &options).unwrap().run(&values).unwrap();
            let difference = difference(&found[0], &expected[0]);
            assert!(difference <= 1e-5, "{blocks} blocks of {inputs} inputs, {engine:?}: {difference}");
        }
    }
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
