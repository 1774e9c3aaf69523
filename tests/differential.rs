//! Random layers and networks: the interpreter, the portable engine and generated code of every instruction set
//! must agree. `PROPTEST_CASES` sets how many are drawn.

mod common;

use common::*;
use proptest::prelude::*;
use svertka::codegen::Isa;
use svertka::interp;
use svertka::ir::Graph;
use svertka::layers::Accumulate;
use svertka::runtime::{Engine, Options, Session};
use svertka::tensor::Tensor;

fn engines() -> Vec<Engine> {
    let jit = Isa::available().into_iter().map(Engine::Jit);
    jit.chain([Engine::Portable]).collect()
}

/// Runs a graph on every engine, with one and with two threads, against the interpreter: once exactly, once with the
/// Winograd kernels that the seed picks.
fn check(graph: &Graph, batch: usize, seed: u64) {
    svertka::ir::verify(graph).unwrap();
    let (inputs, weights) = (inputs(graph, batch, seed), weights(seed));
    let expected = interp::run(graph, &weights, &inputs, Accumulate::F64);
    let force_winograd = [None, Some(2), Some(4), Some(6)][(seed % 4) as usize];
    for engine in engines() {
        let options = Options { engine, force_winograd, ..Options::default() };
        for (options, tolerance) in [(Options { exact: true, ..options }, 1e-5), (options, 1e-4)] {
            let one = run(graph, &options, &inputs, seed);
            for ((found, expected), output) in one.iter().zip(&expected).zip(&graph.outputs) {
                let (difference, output) = (difference(found, expected), &output.name);
                assert!(
                    difference <= tolerance,
                    "{options:?}, output {output}: {difference}\n{}",
                    svertka::ir::print(graph)
                );
            }
            let two = run(graph, &Options { threads: 2, ..options }, &inputs, seed);
            assert_eq!(two, one, "{options:?}: two threads give other bits");
        }
    }
}

fn run(graph: &Graph, options: &Options, inputs: &[Tensor], seed: u64) -> Vec<Tensor> {
    Session::new(graph.clone(), &weights(seed), options).unwrap().run(inputs).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_layers((dims, op) in dims().prop_flat_map(|d| { let l = layer(d.len() - 1); (Just(d), l) }), batch in 1usize..4, seed: u64) {
        if let Ok(graph) = single(op, &dims) {
            check(&graph, batch, seed);
        }
    }

    #[test]
    fn random_networks((dims, parts) in dims().prop_flat_map(|d| {
        let p = prop::collection::vec(part(d.len() - 1), 1..8);
        (Just(d), p)
    }), batch in 1usize..3, seed: u64) {
        check(&network(&dims, &parts), batch, seed);
    }
    #[test]
    fn random_convolutions_3x3((dims, parts) in images().prop_flat_map(|d| {
        let p = prop::collection::vec(winograd_part(), 1..4);
        (Just(d), p)
    }), batch in 1usize..4, seed: u64) {
        check(&network(&dims, &parts), batch, seed);
    }
}
