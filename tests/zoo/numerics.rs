//! What real networks say about real pictures, against the logits of PyTorch.

use super::data::{batch, bytes, card, committed, first, input, logits, order, shared};
use super::{Model, Name, folder, graph, name};
use std::path::Path;
use svertka::codegen::Isa;
use svertka::front::text::build;
use svertka::interp;
use svertka::io::bind::BoundWeights;
use svertka::io::preprocess::Layout;
use svertka::io::weights::WeightFile;
use svertka::ir::weights::{RandomWeights, WeightSource};
use svertka::ir::{Graph, Verified};
use svertka::layers::Accumulate;
use svertka::runtime::{Engine, Options, Session};
use svertka::tensor::Tensor;

fn engines() -> Vec<Engine> {
    let jit = Isa::available().into_iter().map(Engine::Jit);
    jit.chain([Engine::Portable]).collect()
}

pub fn weights(graph: &Verified<Graph>, path: &Path) -> BoundWeights {
    BoundWeights::bind(graph, WeightFile::open(path).unwrap()).unwrap_or_else(|misfit| panic!("{misfit}"))
}

/// Runs a model on every engine, and in the interpreter on some samples, and compares with the reference. The
/// tolerance is relative to the largest logit. Returns what the last engine says.
fn check(
    name: &Name,
    weights: &BoundWeights,
    input: &Tensor,
    reference: &Tensor,
    tolerance: f32,
    interpreted: usize,
) -> Tensor {
    let graph = graph(name);
    let found = interpret(&graph, weights, first(input, interpreted));
    compare(&format!("{name}, interpreter"), &found, &first(reference, interpreted), tolerance);
    check_engines(&graph, weights, input, reference, tolerance)
}

fn interpret(graph: &Verified<Graph>, weights: &dyn WeightSource, input: Tensor) -> Tensor {
    interp::run(graph, weights, &[input], Accumulate::F64).remove(0)
}

fn check_engines(
    graph: &Verified<Graph>,
    weights: &dyn WeightSource,
    input: &Tensor,
    reference: &Tensor,
    tolerance: f32,
) -> Tensor {
    let mut last = None;
    for engine in engines() {
        let options = Options { engine, ..Options::default() };
        let mut session = Session::new(graph.clone(), weights, &options).unwrap();
        let found = session.run(std::slice::from_ref(input)).unwrap().remove(0);
        compare(&format!("{}, {engine:?}", graph.name), &found, reference, tolerance);
        last = Some(found);
    }
    last.unwrap()
}

fn compare(what: &str, found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let largest = expected.data().iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let distances = found.data().iter().zip(expected.data()).map(|(a, b)| (a - b).abs());
    let distance = distances.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most }) / largest;
    println!("{what}: {distance:.1e}");
    assert!(distance <= tolerance, "{what}: {distance:e}");
}

/// Indices of the `k` largest values, largest first.
fn top(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(k);
    order
}

/// The class of each sample.
pub fn classes(logits: &Tensor) -> Vec<usize> {
    logits.data().chunks(logits.channels()).map(|row| top(row, 1)[0]).collect()
}

/// Small pictures with the committed weights, prepared as the card says.
fn small(model: &str, images: &str, reference: &str) -> Tensor {
    let (name, images, reference) = (name(model), committed(images), committed(reference));
    let (card, graph) = (card(&name), graph(&name));
    let input = input(&images, &card.preprocessing, &graph, Some(Layout::Nhw));
    let weights = weights(&graph, &card.weights_path().unwrap());
    check(&name, &weights, &input, &logits(&reference), 1e-5, 50)
}

#[test]
fn digits() {
    for (variant, activation, right) in [("relu", "relu_maxpool", 199), ("tanh", "tanh_avgpool", 198)] {
        let reference = format!("digits/lenet5_{activation}_mnist_test200_logits.npy");
        let found = small(&format!("lenet5:{variant}"), "digits/mnist_test200_images_u8.npy", &reference);
        let labels = bytes(&committed("digits/mnist_test200_labels.npy"));
        let pairs = classes(&found).into_iter().zip(labels);
        assert_eq!(pairs.filter(|&(class, label)| class == usize::from(label)).count(), right, "{variant}");
    }
}

#[test]
fn fashion() {
    let images = "fashion/fashion_mnist_test100_images_u8.npy";
    for (file, variant) in [("densenet", "densenet_mini"), ("efficientnet", "efficientnet_mini")] {
        small(&format!("{file}:{variant}"), images, &format!("fashion/{variant}_fashion_test100_logits.npy"));
    }
}

#[test]
fn digit_pictures_are_read() {
    let pictures: Vec<_> = (0..10).map(|digit| folder().join(format!("pictures/digit_{digit}.png"))).collect();
    for model in ["lenet5:relu", "lenet5:tanh"] {
        let name = name(model);
        let (card, graph) = (card(&name), graph(&name));
        let samples: Vec<Tensor> = pictures.iter().map(|path| input(path, &card.preprocessing, &graph, None)).collect();
        let weights = weights(&graph, &card.weights_path().unwrap());
        let mut session = Session::new(graph, &weights, &Options::default()).unwrap();
        let found = session.run(&[batch(&samples)]).unwrap();
        assert_eq!(classes(&found[0]), (0..10).collect::<Vec<_>>(), "{model}");
    }
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn cifar() {
    let images = shared("cifar10/cifar10_test100_images_u8_nhwc.npy");
    let name = name("resnet_cifar:resnet20");
    let graph = graph(&name);
    let input = input(&images, &card(&name).preprocessing, &graph, Some(Layout::Nhwc));
    let weights = weights(&graph, &shared("cifar10/cifar10_resnet20.safetensors"));
    let reference = logits(&shared("cifar10/cifar10_resnet20_test100_logits.npy"));
    check(&name, &weights, &input, &reference, 1e-5, 10);
}

/// Undamaged pictures; the class is the last number of the name.
#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn cifar_pictures_are_read() {
    let folder = shared("cifar10/lossless20");
    let mut pictures: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pictures.sort();
    let name = name("resnet_cifar:resnet20");
    let (card, graph) = (card(&name), graph(&name));
    let samples: Vec<Tensor> = pictures.iter().map(|path| input(path, &card.preprocessing, &graph, None)).collect();
    let weights = weights(&graph, &shared("cifar10/cifar10_resnet20.safetensors"));
    let stems = pictures.iter().map(|path| path.file_stem().unwrap().to_str().unwrap());
    let expected: Vec<usize> = stems.map(|stem| stem.rsplit('_').next().unwrap().parse().unwrap()).collect();
    assert_eq!(expected.len(), 20);
    for engine in engines() {
        let options = Options { engine, ..Options::default() };
        let mut session = Session::new(graph.clone(), &weights, &options).unwrap();
        assert_eq!(classes(&session.run(&[batch(&samples)]).unwrap()[0]), expected, "{engine:?}");
    }
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn photographs() {
    let top5 = shared("imagenet/top5.json");
    let top5: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(top5).unwrap()).unwrap();
    for (model, data) in [
        ("mobilenet_v2", "mobilenet_v2_imagenet"),
        ("efficientnet_lite:efficientnet_lite0", "efficientnet_lite0_imagenet"),
    ] {
        let name = name(model);
        let graph = graph(&name);
        let input = super::data::photographs(&name);
        let weights = weights(&graph, &shared(&format!("imagenet/{data}.safetensors")));
        let reference = logits(&shared(&format!("imagenet/{data}_logits.npy")));
        let found = check(&name, &weights, &input, &reference, 1e-4, 2);
        for (row, photograph) in found.data().chunks(1000).zip(order()) {
            let expected = top5[data][&photograph].as_array().unwrap();
            let expected: Vec<usize> = expected.iter().map(|class| class[0].as_u64().unwrap() as usize).collect();
            assert_eq!(top(row, 5), expected, "{model} on {photograph}");
        }
    }
}

/// Models without published weights here, small enough for the interpreter, with random ones.
#[test]
fn engines_agree_with_the_interpreter() {
    for (model, size) in [
        ("edges", ""),
        ("mlp", ""),
        ("m5", "samples=8000"),
        ("dilated_context", "size=40"),
        ("unet:unet_small", "size=64"),
        ("espcn", "H=11,W=14"),
        ("fsrcnn", "H=11,W=14"),
        ("shufflenet_v2:shufflenet_v2_x0_5", "H=64,W=64"),
        ("mobilenet_v3:mobilenet_v3_small", ""),
        ("squeezenet:squeezenet1_1", ""),
        ("googlenet:googlenet_paper", ""),
    ] {
        let Name { file, variant } = name(model);
        let defines = size.split(',').filter_map(|size| size.split_once('='));
        let defines = defines.map(|(name, value)| (name.into(), value.into())).collect();
        let graph = Model::read(&file).build(&build::Options { variant, defines, ..build::Options::default() });
        let shape = graph[graph.inputs[0]].ty.shape(1);
        let wave = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin());
        let input = Tensor::new(shape, wave.collect());
        let weights = RandomWeights { seed: 1 };
        check_engines(&graph, &weights, &input, &interpret(&graph, &weights, input.clone()), 1e-4);
    }
}

/// The kernel of the edge detection sums to zero, so that only the border of an even picture is left.
#[test]
fn an_even_picture_has_no_edges() {
    let graph = Model::read("edges").build(&build::Options {
        defines: vec![("H".into(), "4".into()), ("W".into(), "5".into())],
        ..build::Options::default()
    });
    let mut session = Session::new(graph, &RandomWeights { seed: 1 }, &Options::default()).unwrap();
    let found = session.run(&[Tensor::new([1, 1, 4, 5], vec![1.0; 20])]).unwrap().remove(0);
    #[rustfmt::skip]
    let expected = [
        5.0, 3.0, 3.0, 3.0, 5.0,
        3.0, 0.0, 0.0, 0.0, 3.0,
        3.0, 0.0, 0.0, 0.0, 3.0,
        5.0, 3.0, 3.0, 3.0, 5.0,
    ];
    assert_eq!(found.data(), expected);
}
