//! Products of bf16: what the processor's instructions and their emulation make of random layers and networks, layer by layer
//! against the interpreter, and how far that is from products of f32.

use crate::common::*;
use proptest::prelude::*;
use std::borrow::Cow;
use svertka::aot::{self, Cpu, Emit};
use svertka::codegen::{Bytes, Isa};
use svertka::interp;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, Param, Verified, verify};
use svertka::kernels::bands::Bands;
use svertka::kernels::{NoProducts, Target};
use svertka::layers::*;
use svertka::runtime::library::Library;
use svertka::runtime::{Engine, Forced, Options, Session, SessionError};
use svertka::schedule;
use svertka::tensor::{DType, Half, Products, Tensor};
use target_lexicon::Architecture;

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

/// In what the weights are stored.
fn stored() -> impl Strategy<Value = Option<Half>> {
    prop::sample::select(vec![None, None, Some(Half::F16), Some(Half::Bf16)])
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

/// Most are emulated too.
fn config() -> ProptestConfig {
    let cases = ProptestConfig::default().cases / 16;
    ProptestConfig {
        cases: cases.max(1),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_products((dims, op) in product(), half in stored(), batch in 1usize..3, seed: u64) {
        if let Ok(graph) = single(op, &dims) {
            check(&in_halves(graph, half), batch, seed);
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

    /// The error that is stated: for each factor half a unit in the last of eight places.
    #[test]
    fn no_layer_is_farther_off_than_its_operands_were_rounded((dims, op) in product(), seed: u64) {
        if let Ok(graph) = single(op, &dims) {
            let (inputs, weights) = (inputs(&graph, 1, seed), weights(seed));
            let outputs = Session::new(graph.clone(), &weights, &options(engines()[0])).unwrap().run(&inputs).unwrap();
            let mut found = vec![None; graph.nodes.len()];
            found[graph.outputs[0].node.0 as usize] = outputs.into_iter().next();
            let errors = interp::channel_errors(&graph, &weights, &inputs, found);
            let worst = errors.into_iter().flatten().map(|worst| worst.error).fold(0.0, f32::max);
            prop_assert!(worst <= 2.0 / 256.0 + 1e-4, "{}", worst);
        }
    }
}

/// Weights of 1 and a half of a last place more, which becomes even.
struct Ties;

impl WeightSource for Ties {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        let values = (0..param.elements()).map(|i| f32::from_bits(if i % 2 == 0 { 0x3f80_8000 } else { 0x3f81_8000 }));
        values.collect()
    }
}

/// Inputs and weights that are ties go to even numbers, denormals count as 0.
#[test]
fn factors_are_rounded_to_even_numbers() {
    let graph = single(Dense { features: 1, bias: false, flatten: false }, &[8]).unwrap();
    let bits = [0x3f80_8000u32, 0x3f81_8000, 0x3f80_8001, 0x4000_8000, 0, 0, 0x007f_ffff, 0x0000_8000];
    let factors: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
    let inputs = [Tensor::new([1, 8], factors)];
    // Weights become 1 and 1 + 2^-6 in turns.
    let want = 1.0 + 1.015625 * 1.015625 + 1.0078125 + 2.0 * 1.015625;
    for engine in engines() {
        let outputs = Session::new(graph.clone(), &Ties, &options(engine)).unwrap().run(&inputs).unwrap();
        assert_eq!(outputs[0].data(), [want], "{engine:?}");
    }
    assert_eq!(Half::Bf16.round(f32::from_bits(0x3f80_8000)), 1.0);
}

/// Of an odd number of channels the last one's lane is shared by one that is nobody's: 1 / 0 here.
#[test]
fn what_lies_behind_the_last_channel_reaches_none() {
    for dims in [vec![9], vec![25, 3, 5], vec![15, 1, 7]] {
        let rank = dims.len() - 1;
        let (mut graph, x) = graph_of(&dims);
        let one = graph.add_layer(Activation::Reciprocal, &[x], "reciprocal").unwrap();
        let op = match rank {
            0 => Op::from(Dense { features: 5, bias: false, flatten: false }),
            _ => {
                let window = Window { kernel: vec![1; rank], ..Window::whole(&vec![1; rank]) };
                Conv { channels: 5, window, groups: 1, bias: false, weights: None }.into()
            }
        };
        let y = graph.add_layer(op, &[one], "product").unwrap();
        output(&mut graph, y);
        let graph = verified(graph);
        let inputs = [Tensor::new(graph[x].ty.shape(2), vec![2.0; 2 * graph[x].ty.elements()])];
        for engine in engines() {
            let mut session = Session::new(graph.clone(), &Ties, &options(engine)).unwrap();
            assert!(session.plan().steps.iter().any(|step| step.kernel.name().contains("bf16x2")));
            let outputs = session.run(&inputs).unwrap();
            assert!(outputs[0].data().iter().all(|y| y.is_finite()), "{dims:?}, {engine:?}");
        }
    }
}

/// A target of its own, the same on every machine.
fn target(isa: Isa, bytes: Bytes) -> Target {
    Target { bytes, products: Products::Bf16, ..Target::of(isa, Architecture::X86_64) }
}

const NET: &str = "\
model m
input x: f32[N, 3, 24, 24]
net {
  stem: conv 3x3, 32, half
  a: conv 3x3, 32, half | pool: maxpool 2x2, stride 2
  b: concat {
    left: conv 1x1, 16
    right: conv 3x3, 16, half
  }
  deep: conv 3x3, 32, groups 32, half
  groups: conv 3x3, 64, groups 2, half
  narrow: conv 3x3, 64, groups 32, half
  up: conv_transpose 2x2, 16, stride 2
  gate { global_avgpool | squeeze: conv 1x1, 8 | relu | expand: conv 1x1, 16 | sigmoid } | project: conv 1x1, 24
  flatten | fc: dense 10
}
";

#[test]
fn every_layer_that_can_multiplies_numbers_of_bf16() {
    let graph = text::model(NET);
    let plan = schedule::plan(graph.clone(), target(Isa::Avx512, Bytes::Bf16));
    let line = |step: &schedule::Step| format!("{}: {}\n", plan.graph[step.node].name(), step.kernel.name());
    let steps: String = plan.steps.iter().map(line).collect();
    let notes = plan.notes.iter().filter(|note| note.pass == "round products");
    let notes: String = notes.map(|note| format!("{}: {}\n", note.path, note.text)).collect();
    insta::assert_snapshot!(format!("{steps}\n{notes}"));
    // Planned again, for whatever target, it is decided anew.
    let count = |graph: &Graph| graph.nodes.iter().filter(|node| node.ty.dtype == DType::Bf16).count();
    let again = schedule::plan(plan.graph.clone(), plan.target);
    assert_eq!(svertka::ir::print(&again.graph), svertka::ir::print(&plan.graph));
    let real = schedule::plan(plan.graph.clone(), Target { products: Products::F32, ..plan.target });
    assert!(count(&plan.graph) > 0 && count(&real.graph) == 0);
}

#[test]
fn what_cannot_multiply_numbers_of_bf16_is_refused() {
    assert_eq!(target(Isa::Avx512, Bytes::Bf16).check(), Ok(()));
    for (isa, bytes) in [(Isa::Avx512, Bytes::Tables), (Isa::Avx2, Bytes::Dots), (Isa::Clif, Bytes::Vectors)] {
        let target = target(isa, bytes);
        assert_eq!(target.check(), Err(NoProducts::Instructions));
        // A plan has none then.
        let plan = schedule::plan(text::model(NET), target);
        assert!(plan.target.products == Products::F32 && !plan.steps.iter().any(|s| s.kernel.name().contains("bf16")));
    }
    let exact = Target { exact: true, ..target(Isa::Avx512, Bytes::Bf16) };
    assert_eq!(exact.check(), Err(NoProducts::Exact));
    let refused = |options: Options| match Session::new(text::model(NET), &weights(1), &options) {
        Err(SessionError::Products(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{options:?} is no option"),
    };
    assert_eq!(refused(options(Engine::Portable)), NoProducts::Exact);
    assert_eq!(refused(options(Engine::Jit(Isa::Clif.on_host().unwrap()))), NoProducts::Instructions);
    assert_eq!(refused(options(Engine::Emulated(Isa::Avx2))), NoProducts::Instructions);
    let exact = Options { exact: true, ..options(Engine::Emulated(Isa::Avx512)) };
    assert_eq!(refused(exact), NoProducts::Exact);
}

/// A value that is rounded, and a layer that reads it; then `change`.
#[test]
fn bf16_is_made_of_f32_and_read_by_products_alone() {
    let made = |change: fn(&mut Graph)| {
        let (mut graph, x) = graph_of(&[16]);
        let rounded = graph.add_layer(Convert, &[x], "rounded").unwrap();
        graph[rounded].ty.dtype = DType::Bf16;
        let dense = graph.add_layer(Dense { features: 16, bias: true, flatten: false }, &[rounded], "dense").unwrap();
        graph[dense].ty.dtype = DType::F32;
        output(&mut graph, dense);
        change(&mut graph);
        verify(graph).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(made(|_| {}), Ok(()));
    let said = |why: &str, change: fn(&mut Graph)| {
        let found = made(change);
        assert!(found.as_ref().is_err_and(|error| error.contains(why)), "{found:?}, not {why}");
    };
    let alone = "takes or gives bf16, which convolutions and dense layers read alone";
    said(alone, |graph| graph.nodes[2].ty.dtype = DType::Bf16);
    said(alone, |graph| {
        let relu = graph.add_layer(Activation::Relu, &[graph.nodes[2].inputs[0]], "relu").unwrap();
        graph[relu].ty.dtype = DType::F32;
    });
    said(alone, |graph| {
        graph.add_layer(Convert, &[graph.nodes[2].inputs[0]], "again").unwrap();
    });
    said("is of bf16", |graph| graph.outputs[0].node = graph.nodes[2].inputs[0]);
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn libraries_have_the_bits_of_sessions() {
    let graph = text::model(NET);
    let inputs = inputs(&graph, 3, 5);
    let weights = weights(5);
    for name in ["znver4", "sapphirerapids", "native"] {
        let cpu = Cpu::named(name).unwrap();
        let target = Target { products: Products::Bf16, ..cpu.target() };
        if target.check().is_err() {
            continue;
        }
        let plan = schedule::plan(graph.clone(), target);
        let emit = vec![Emit::Shared, Emit::Assembly];
        let (name, weights_in, own_memory) = ("net".to_owned(), aot::Weights::Embed, None);
        let options = aot::Options { name, cpu, emit, weights: weights_in, own_memory, memory_limit: usize::MAX };
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in aot::compile(&plan, &weights, &options).unwrap().files {
            assert!(name != "net.s" || String::from_utf8_lossy(&bytes).contains("vdpbf16ps"));
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let Some(Engine::Jit(isa)) = engines().into_iter().find(|engine| matches!(engine, Engine::Jit(_))) else {
            eprintln!("compiled for {}, and not run: this CPU has no AVX512_BF16", options.cpu.name);
            continue;
        };
        let mut session = Session::new(graph.clone(), &weights, &self::options(Engine::Jit(isa))).unwrap();
        let expected = session.run(&inputs).unwrap();
        for threads in 1..4 {
            // SAFETY: it was compiled just now.
            let library = unsafe { Library::open(&folder.path().join("libnet.so"), "net", threads) };
            assert_eq!(bits(&library.unwrap().run(&inputs).unwrap()), bits(&expected), "{threads} threads");
        }
    }
}
