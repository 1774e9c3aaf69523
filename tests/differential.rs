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

/// Runs a graph on every engine, with one and with two threads, against the interpreter.
fn check(graph: &Graph, batch: usize, seed: u64) {
    svertka::ir::verify(graph).unwrap();
    let (inputs, weights) = (inputs(graph, batch, seed), weights(seed));
    let expected = interp::run(graph, &weights, &inputs, Accumulate::F64);
    for engine in engines() {
        let one = run(graph, engine, 1, &inputs, seed);
        for ((found, expected), output) in one.iter().zip(&expected).zip(&graph.outputs) {
            let difference = difference(found, expected);
            assert!(
                difference <= 1e-5,
                "{engine:?}, output {}: {difference}\n{}",
                output.name,
                svertka::ir::print(graph)
            );
        }
        assert_eq!(run(graph, engine, 2, &inputs, seed), one, "{engine:?}: two threads give other bits");
    }
}

fn run(graph: &Graph, engine: Engine, threads: usize, inputs: &[Tensor], seed: u64) -> Vec<Tensor> {
    let options = Options { engine, threads, ..Options::default() };
    Session::new(graph.clone(), &weights(seed), &options).unwrap().run(inputs).unwrap()
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
}
