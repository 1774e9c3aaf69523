//! Products of bf16: what the processor's instructions and their emulation make of random layers and networks, layer by layer
//! against the interpreter, and how far that is from products of f32.

use crate::common::*;
use proptest::prelude::*;
use svertka::codegen::{Bytes, Isa};
use svertka::interp;
use svertka::ir::{Graph, NodeId, Verified};
use svertka::kernels::bands::Bands;
use svertka::layers::*;
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::tensor::{DType, Half, Products, Tensor};

/// The processor, where it has such products, and the emulator in any case.
fn engines() -> Vec<Engine> {
    let native = Isa::Avx512.on_host().filter(|isa| isa.bytes() >= Bytes::Bf16).map(Engine::Jit);
    native.into_iter().chain([Engine::Emulated(Isa::Avx512)]).collect()
}

fn options(engine: Engine) -> Options {
    Options { engine, products: Products::Bf16, ..Options::default() }
}

/// What is drawn by a seed, beside the weights: forms of kernels, and threads.
fn forced(engine: Engine, seed: u64) -> Options {
    let chain = [None, Some(1), Some(3)][(seed % 3) as usize];
    let joint = seed / 3 % 2 == 1;
    let bands = [Bands::WhereLarge, Bands::Always(2)][(seed / 6 % 2) as usize];
    Options { forced: Forced { chain, joint, bands, ..Forced::default() }, ..options(engine) }
}

fn bits(tensors: &[Tensor]) -> Vec<u32> {
    tensors
        .iter()
        .flat_map(|tensor| tensor.data())
        .map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() })
        .collect()
}

/// Each layer is judged by the values that it was given; all engines and numbers of threads give the same bits, and so do
/// samples by themselves.
fn check(graph: &Verified<Graph>, batch: usize, seed: u64) {
    let inputs = inputs(graph, batch, seed);
    let mut all: Vec<Vec<u32>> = Vec::new();
    for engine in engines() {
        let options = forced(engine, seed);
        let session = |threads| Session::new(graph.clone(), &weights(seed), &Options { threads, ..options }).unwrap();
        let outputs = run_judged(&mut session(1), &options, &inputs, seed, 1e-4);
        all.push(bits(&outputs));
        let mut several = session(2 + (seed % 2) as usize);
        all.push(bits(&several.run(&inputs).unwrap()));
        let last: Vec<Tensor> = inputs.iter().map(last_sample).collect();
        let outputs: Vec<Tensor> = outputs.iter().map(last_sample).collect();
        assert_eq!(bits(&several.run(&last).unwrap()), bits(&outputs), "a sample by itself");
    }
    assert!(all.iter().all(|found| *found == all[0]), "engines differ\n{}", svertka::ir::print(graph));
}

fn last_sample(tensor: &Tensor) -> Tensor {
    let elements = tensor.data().len() / tensor.batch();
    let shape = [&[1], &tensor.shape()[1..]].concat();
    Tensor::new(shape, tensor.data()[tensor.data().len() - elements..].to_vec())
}

/// Values of enough channels, of which the last block is seldom full.
fn wide() -> BoxedStrategy<Vec<usize>> {
    let channels = prop_oneof![3 => 8usize..50, 1 => Just(32usize), 1 => 100usize..300];
    (channels, prop::collection::vec(1usize..12, 1..4)).prop_map(|(c, sizes)| [vec![c], sizes].concat()).boxed()
}

/// Convolutions of groups that are whole blocks, or nearly.
fn grouped() -> impl Strategy<Value = (Vec<usize>, Op)> {
    let sizes = (prop::sample::select(vec![(32usize, 32usize), (32, 64), (64, 32), (48, 48), (24, 32)]), 1usize..4);
    (sizes, prop::collection::vec(1usize..9, 2), 1usize..3, any::<bool>()).prop_map(
        |(((from, to), kernel), spatial, stride, bias)| {
            let (kernel, stride, dilation) = (vec![kernel; 2], vec![stride; 2], vec![1; 2]);
            let window = Window { kernel, stride, dilation, padding: Padding::Half, ceil: false };
            let conv = Conv { channels: to, window, groups: 2, bias, weights: None };
            ([vec![from], spatial].concat(), conv.into())
        },
    )
}

fn product() -> impl Strategy<Value = (Vec<usize>, Op)> {
    wide().prop_flat_map(|dims| {
        let dense = (1usize..70, any::<bool>());
        let dense = dense.prop_map(|(features, bias)| Op::from(Dense { features, bias, flatten: true }));
        let op = prop_oneof![3 => conv(dims.len() - 1), 1 => dense];
        (Just(dims), op)
    })
}

fn network_of_products() -> impl Strategy<Value = (Vec<usize>, Vec<Part>)> {
    wide().prop_flat_map(|dims| {
        let rank = dims.len() - 1;
        let own = conv(rank).prop_map(Part::Layer);
        (Just(dims), prop::collection::vec(prop_oneof![2 => own, 3 => part(rank)], 1..6))
    })
}

proptest! {
    #[test]
    fn random_products((dims, op) in product(), batch in 1usize..3, seed: u64) {
        if let Ok(graph) = single(op, &dims) {
            check(&graph, batch, seed);
        }
    }

    #[test]
    fn random_groups((dims, op) in grouped(), batch in 1usize..3, seed: u64) {
        check(&single(op, &dims).unwrap(), batch, seed);
    }

    #[test]
    fn random_networks((dims, parts) in network_of_products(), batch in 1usize..3, seed: u64) {
        check(&network(&dims, &parts), batch, seed);
    }

    #[test]
    fn random_pairs_of_layers(dims in prop::collection::vec(8usize..24, 3), parts in chained(), seed: u64) {
        check(&network(&dims, &parts), 2, seed);
    }

    /// The error that is stated: half a unit in the last of eight places for each factor.
    #[test]
    fn no_layer_is_farther_off_than_its_operands_were_rounded((dims, op) in product(), seed: u64) {
        if let Ok(graph) = single(op, &dims) {
            let (inputs, weights) = (inputs(&graph, 1, seed), weights(seed));
            let outputs = Session::new(graph.clone(), &weights, &options(engines()[0])).unwrap().run(&inputs).unwrap();
            let mut found = vec![None; graph.nodes.len()];
            found[graph.outputs[0].node.0 as usize] = outputs.into_iter().next();
            let errors = interp::channel_errors(&graph, &weights, &inputs, found);
            let worst = errors.into_iter().flatten().map(|worst| worst.error).fold(0.0, f32::max);
            prop_assert!(worst <= 1.0 / 256.0 + 1e-5, "{}", worst);
        }
    }
}
