//! Networks on whole numbers against what PyTorch and numpy give, bit for bit.
//!
//! The references in tests/pytorch/integers/ were written by tests/pytorch/integers.py.

use proptest::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use svertka::codegen::Bytes;
use svertka::io::weights::WeightFile;
use svertka::layers::Accumulate;
use svertka::quant::{self, Method, Wishes};
use svertka::runtime::Forced;
use svertka::{Engine, Isa, Model, Options, Session, Tensor, Weights, interp};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/integers").join(name)
}

/// The model, its weights, inputs, and for each output its name and what it must be.
struct Reference {
    model: Model,
    weights: Weights,
    inputs: Vec<Tensor>,
    outputs: Vec<(String, Tensor)>,
}

fn reference() -> Reference {
    let model = Model::open(file("integers.cnn")).unwrap();
    let values = WeightFile::open(&file("integers.values.safetensors")).unwrap();
    let tensor = |name: &str| Tensor::new(values.shape(name).unwrap(), values.read(name).unwrap().into_owned());
    let inputs = model.inputs().map(|(name, _)| tensor(name)).collect();
    let outputs = model.outputs().map(|(name, _)| (name.to_owned(), tensor(name))).collect();
    Reference { model, weights: Weights::file(file("integers.weights.safetensors")), inputs, outputs }
}

fn assert_equal(found: &[Tensor], expected: &[(String, Tensor)]) {
    assert_eq!(found.len(), expected.len());
    for (found, (name, expected)) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_interpreter_computes_them_exactly() {
    let Reference { model, weights, inputs, outputs } = reference();
    assert_equal(&model.interpret(&weights, &inputs).unwrap(), &outputs);
}

/// All that run here, the instruction sets that this machine has not in an emulator of their tiles.
fn engines() -> Vec<Engine> {
    let native = Isa::available().into_iter().map(Engine::Jit);
    native.chain([Engine::Portable, Engine::Emulated(Isa::Avx2), Engine::Emulated(Isa::Avx512)]).collect()
}

#[test]
fn every_engine_computes_them_exactly() {
    let Reference { model, weights, inputs, outputs } = reference();
    for engine in engines() {
        for threads in 1..=3 {
            let options = Options { engine, threads, ..Options::default() };
            let mut session = model.compile(&weights, &options).unwrap();
            assert_equal(&session.run(&inputs).unwrap(), &outputs);
        }
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let model = Model::open(file("integers.cnn")).unwrap();
    let other =
        Model::parse("model m\ninput image: f32[N, 6, 9, 11]\nnet { plain: seq { a: conv 3x3, 8, half, bias } }")
            .unwrap();
    let weights = Weights::file(file("integers.weights.safetensors"));
    assert!(model.bind(&weights).is_ok());
    let error = other.bind(&weights).err().unwrap().to_string();
    assert!(error.contains("has eight bits, and is the weight of no convolution"), "{error}");
    let error = model.compile_values(&["plain.a"], &weights, &Options::default()).err().unwrap().to_string();
    assert!(error.contains("weights of eight bits"), "{error}");
}

/// A step of a network of which all layers compute on whole numbers; it keeps channels and sizes that others need.
fn step() -> impl Strategy<Value = String> {
    let conv = (1usize..=3, 1usize..=3, 1usize..=2, prop::sample::select(vec![1usize, 2, 4, 12]), any::<bool>());
    let conv = conv.prop_map(|(height, width, dilation, groups, bias)| {
        let bias = if bias { ", bias" } else { "" };
        format!("conv {height}x{width}, 12, dilation {dilation}, groups {groups}, pad {dilation}{bias}")
    });
    let behind =
        prop::sample::select(vec!["relu", "relu6", "clip -0.5, 1.5", "silu", "hard_swish", "gelu", "tanh", ""]);
    let conv =
        (conv, behind).prop_map(|(conv, behind)| if behind.is_empty() { conv } else { format!("{conv} | {behind}") });
    let rest = prop::sample::select(vec![
        "maxpool 2x2, stride 1, pad 1",
        "maxpool 3x2, stride 2x1, pad 1",
        "avgpool 2x2, stride 1, pad 1, count_pad false",
        "avgpool 3x3, stride 2, pad 1",
        "channel_shuffle 3",
        "conv 3x3, 12, stride 2, pad 1, groups 12 | relu",
        "conv 5x5, 12, half, groups 12, bias | relu6",
        "conv 5x3, 12, stride 2x1, pad 2x1, groups 12",
        "conv 1x9, 12, half, groups 12",
        "conv 3x3, 12, stride 2, pad 1 | relu",
        "conv 1x1, 40 | relu | conv 3x3, 40, half, groups 40 | silu | conv 1x1, 12",
        "residual { conv 3x3, 12, half, groups 12 | relu } | relu",
        "avgpool 3x3, stride 1x2, pad 1, count_pad false",
        "residual { conv 3x3, 12, half | relu | conv 1x1, 12, bias } | relu",
        "residual { conv 3x3, 12, half } project { conv 1x1, 12 }",
        "residual { conv 1x1, 12 | relu6 } | relu",
        "gate { global_avgpool | conv 1x1, 3 | silu | conv 1x1, 12, bias | sigmoid }",
        "gate { conv 3x3, 1, half | sigmoid }",
        "concat { conv 1x1, 5 | relu\n identity\n conv 3x3, 3, half } | conv 1x1, 12",
        "concat { slice 0..4\n conv 1x1, 8 | relu } | channel_shuffle 2",
    ]);
    prop_oneof![conv, rest.prop_map(str::to_owned)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// With 7 bits and 8, by any method, for any number of threads and samples, whatever tiles can do with bytes.
    #[test]
    fn engines_and_interpreter_agree_bit_for_bit(
        steps in prop::collection::vec(step(), 1..5),
        flat in any::<bool>(),
        size in (5usize..12, 5usize..12),
        seed in any::<u64>(),
        activation_bits in 7u8..=8,
        (batch, threads) in (1usize..4, 1usize..4),
        method in prop::sample::select(vec![Method::MinMax, Method::Percentile(1.0), Method::LeastSquares]),
        bytes in prop::sample::select(vec![None, None, Some(Bytes::Dots), Some(Bytes::Vectors)]),
    ) {
        let end = if flat { "flatten | end: dense 5" } else { "end: conv 1x1, 5" };
        let steps: String = steps.iter().enumerate().map(|(i, step)| format!("s{i}: seq {{ {step} }} | ")).collect();
        let (height, width) = size;
        let text = format!("model m\ninput x: f32[N, 3, {height}, {width}]\nnet {{ begin: conv 3x3, 12, half | {steps}{end} }}");
        let model = Model::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let weights = model.bind(&Weights::random(seed)).unwrap();
        let elements = batch * 3 * size.0 * size.1;
        let input = |shift: u64| {
            let value = |i: u64| ((i ^ seed).wrapping_add(shift).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 8388608.0 - 1.0;
            Tensor::new([batch, 3, size.0, size.1], (0..elements as u64).map(value).collect())
        };
        let wishes = Wishes { method, activation_bits, keep: HashSet::new(), budget: None };
        let found = quant::quantise(model.graph(), &weights, &[vec![input(1)]], &wishes, &mut |_, _| {}).unwrap();
        let graph = quant::apply(&found.structure, &found.values).unwrap().graph;
        let real = graph.nodes.iter().filter(|node| !svertka::ir::integer::concerns(&graph, node)).count();
        prop_assert_eq!(real, 1, "all but the input is on whole numbers: {}", svertka::ir::print(&graph));
        let inputs = [input(2)];
        let folded = quant::Folded::new(model.graph(), &weights);
        let expected = interp::run(&graph, &folded, &inputs, Accumulate::F32);
        for engine in engines() {
            let forced = Forced { bytes, ..Forced::default() };
            let options = Options { engine, threads, forced, ..Options::default() };
            let mut session = Session::new(graph.clone(), &folded, &options).unwrap();
            let found = session.run(&inputs).unwrap();
            prop_assert!(found == expected, "{:?}, {:?}: {}", engine, bytes, text);
        }
    }
}
