//! Networks on whole numbers, as other tools write them: what becomes of them, and how near that is to what ONNX Runtime
//! makes of them.

use super::node_cases::{Case, Cases};
use super::proto::*;
use std::sync::Arc;
use svertka::codegen::Isa;
use svertka::io::weights::WeightFile;
use svertka::{Engine, Model, ModelOptions, Options, Tensor, Weights};

fn open(case: &Case) -> Model {
    let read = ModelOptions::default().read_onnx(&case.name, Arc::new(case.model.clone()), &mut |_| None);
    read.unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

fn input(case: &Case) -> [Tensor; 1] {
    let (_, shape, values) = &case.inputs[0];
    [Tensor::new(shape.clone(), values.clone())]
}

fn values<'c>(case: &'c Case, name: &str) -> &'c [f32] {
    &case.outputs.iter().find(|(found, ..)| found == name).unwrap().2
}

/// The largest difference in steps of the output.
fn steps(case: &Case, found: &Tensor) -> f32 {
    let (expected, step) = (values(case, "0"), values(case, "step")[0]);
    let pairs = found.data().iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs() / step).fold(0.0, f32::max)
}

/// How many layers have weights of eight bits, and how many have weights at all.
fn layers(model: &Model) -> (usize, usize) {
    let bound = model.bind(&Weights::of_card()).unwrap();
    let graph = bound.network(model);
    let weights = || graph.nodes.iter().filter_map(|node| node.params.first()).map(|&param| &graph[param]);
    (weights().filter(|weight| weight.weights_i8().is_some()).count(), weights().count())
}

fn cases() -> Vec<Case> {
    let packs = ["runtime", "operators", "tools"];
    packs.iter().flat_map(|pack| Cases::read(&format!("onnx/quantised_{pack}.safetensors")).all()).collect()
}

/// The texts, what is on whole numbers, what is not and why, and the differences.
#[test]
fn quantised_networks() {
    let tell = |case: Case| {
        let model = open(&case);
        let (whole, all) = layers(&model);
        let found = model.interpret(&Weights::of_card(), &input(&case)).unwrap();
        let steps = steps(&case, &found[0]);
        let notes: Vec<String> = model.remarks().iter().map(|note| format!("  {note}\n")).collect();
        let text = &model.sources().files()[0].text;
        let net = text.lines().skip(3).map(|line| format!("  {line}\n")).collect::<String>();
        format!("{}: {whole} of {all} layers in eight bits, {steps:.2} steps\n{}{net}", case.name, notes.concat())
    };
    let told: Vec<String> = cases().into_iter().map(tell).collect();
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("quantised", told.join("\n"));
    });
}

/// Where no rounding of the file is left out, what is left is that of the output itself. Others leave some out that were in
/// front of layers in f32, or round biases, and norms that they fold.
#[test]
fn quantised_networks_give_what_onnx_runtime_gives() {
    for case in cases() {
        let model = open(&case);
        let found = model.interpret(&Weights::of_card(), &input(&case)).unwrap();
        let is_exact = !matches!(&*case.name, "words" | "symmetric" | "f32_layers");
        let limit = if is_exact { 0.501 } else { 1.4 };
        let steps = steps(&case, &found[0]);
        assert!(steps <= limit, "{}: {steps} steps", case.name);
        for engine in [Engine::Portable, Engine::Jit(Isa::detect())] {
            let options = Options { engine, ..Options::default() };
            let compiled = model.compile(&Weights::of_card(), &options).unwrap().run(&input(&case)).unwrap();
            let (whole, all) = layers(&model);
            let near =
                compiled[0].data().iter().zip(found[0].data()).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0));
            assert!(if whole == all { compiled == found } else { near }, "{}: {engine:?}", case.name);
        }
    }
}

/// The text in a folder with its weight file and card is the same network.
#[test]
fn quantised_networks_are_files_of_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for case in cases() {
        let model = open(&case);
        let saved = Model::open(model.save(folder.path(), &case.name).unwrap()).unwrap();
        assert_eq!(layers(&saved), layers(&model));
        let run = |model: &Model| model.interpret(&Weights::of_card(), &input(&case)).unwrap();
        assert_eq!(run(&saved), run(&model), "{}", case.name);
        let file = WeightFile::open(&folder.path().join(format!("{}.safetensors", case.name))).unwrap();
        let bits = file.metadata().and_then(|metadata| metadata.get("activation_bits")).map(String::as_str);
        let expected = if case.name == "seven_bits" { Some("7") } else { Some("8") };
        assert_eq!(bits, expected.filter(|_| layers(&model).0 > 0), "{}", case.name);
    }
}

/// Damaged files are refused, or are networks.
#[test]
fn damaged_quantised_networks() {
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for case in cases() {
        for _ in 0..40 {
            let mut bytes = case.model.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                bytes[at] = if random(2) == 0 { random(256) as u8 } else { bytes[at] ^ 1 << random(8) };
            }
            if let Ok(model) = ModelOptions::default().read_onnx("m", Arc::new(bytes), &mut |_| None) {
                model.bind(&Weights::of_card()).unwrap();
                read += 1;
            }
        }
    }
    assert!(read > 50, "{read}");
}

/// A convolution of 1x1 between numbers of this scale, type and zero point: its notes, and its text.
fn with_numbers(scale: f32, kind: i64, zero: &[u8]) -> (String, String) {
    let scalar = |name: &str, scale: f32| floats(name, &[], &[scale]);
    let constants =
        [scalar("s", scale), raw("z", &[], kind, zero), scalar("ws", 0.5), raw("w", &[2, 2, 1, 1], 3, &[1, 2, 3, 4])];
    let nodes = [
        op("q = QuantizeLinear x s z", &[]),
        op("d = DequantizeLinear q s z", &[]),
        op("f = DequantizeLinear w ws", &[]),
        op("c = Conv d f", &[]),
        op("p = QuantizeLinear c s z", &[]),
        op("y = DequantizeLinear p s z", &[]),
    ];
    let file = Arc::new(file(13, "N 2 8 8", &nodes, &constants));
    let model = ModelOptions::default().read_onnx("m", file, &mut |_| None).unwrap();
    model.interpret(&Weights::of_card(), &[Tensor::zeros([1, 2, 8, 8])]).unwrap();
    let text = &model.sources().files()[0].text;
    let net = text.split_once("net {").unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ");
    (model.remarks().concat(), net)
}

#[test]
fn numbers_that_there_are_not() {
    for (scale, kind, zero) in
        [(0.0, 2, &[3u8][..]), (-1.0, 2, &[3]), (f32::NAN, 3, &[3]), (1e-30, 3, &[0]), (0.1, 4, &[0, 3])]
    {
        let (notes, net) = with_numbers(scale, kind, zero);
        assert!(notes.contains("left in f32") && net.ends_with("conv 1x1, 2 }"), "{scale}: {notes} {net}");
    }
}

/// Exporters leave out a limit that is that of the numbers.
#[test]
fn limits_that_numbers_imply() {
    let net = |scale: f32, kind, zero: u8| with_numbers(scale, kind, &[zero]).1;
    assert!(net(6.0 / 255.0, 2, 0).contains("| relu6"));
    assert!(net(6.0 / 255.0, 3, 0x80).contains("| relu6"));
    assert!(net(0.1, 2, 0).ends_with("| relu }"));
    for (kind, zero) in [(2, 1), (2, 128), (3, 0), (3, 0x7f)] {
        assert!(!net(0.1, kind, zero).contains("relu"), "{kind} {zero}");
    }
}

/// The largest of some numbers is one of them, so that nothing is rounded behind a pool.
#[test]
fn pools_have_no_numbers_of_their_own() {
    let layers = |scale: f32| {
        let constants = [
            floats("s", &[], &[0.1]),
            floats("t", &[], &[scale]),
            raw("z", &[], 2, &[3]),
            floats("ws", &[], &[0.5]),
            raw("w", &[2, 2, 1, 1], 3, &[1, 2, 3, 4]),
        ];
        let nodes = [
            op("q = QuantizeLinear x s z", &[]),
            op("d = DequantizeLinear q s z", &[]),
            op("m = MaxPool d", &[ints("kernel_shape", &[2, 2])]),
            op("p = QuantizeLinear m t z", &[]),
            op("e = DequantizeLinear p t z", &[]),
            op("f = DequantizeLinear w ws", &[]),
            op("y = Conv e f", &[]),
        ];
        let file = Arc::new(file(13, "N 2 8 8", &nodes, &constants));
        let model = ModelOptions::default().read_onnx("m", file, &mut |_| None).unwrap();
        (layers(&model), model.remarks().concat())
    };
    assert_eq!(layers(0.1).0, (1, 1));
    let (found, notes) = layers(0.2);
    assert_eq!(found, (0, 1));
    assert!(notes.contains("values that share their numbers here have different ones"), "{notes}");
}
