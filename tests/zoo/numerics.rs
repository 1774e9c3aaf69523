//! What real networks say about real pictures, against the logits of PyTorch.

use crate::data::{Weights, channels_first, first, logits, npy, shared};
use crate::graph;
use std::path::Path;
use svertka::codegen::Isa;
use svertka::interp;
use svertka::layers::Accumulate;
use svertka::runtime::{Engine, Options, Session};
use svertka::tensor::Tensor;

const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

fn imagenet(value: f32, channel: usize) -> f32 {
    (value / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
}

fn engines() -> Vec<Engine> {
    let jit = Isa::available().into_iter().map(Engine::Jit);
    jit.collect()
}

/// Runs a model on every engine, and in the interpreter on some samples, and compares with the reference. The
/// tolerance is relative to the largest logit. Returns what the last engine says.
fn check(model: &str, weights: &str, input: &Tensor, reference: &str, tolerance: f32, interpreted: usize) -> Tensor {
    let graph = graph(model);
    let weights = Weights::read(&shared(weights).unwrap());
    let reference = logits(&shared(reference).unwrap());
    let few = first(input, interpreted);
    let [found] = &interp::run(&graph, &weights, &[few], Accumulate::F64)[..] else { panic!("one output") };
    compare(&format!("{model}, interpreter"), found, &first(&reference, interpreted), tolerance);
    let mut last = None;
    for engine in engines() {
        let options = Options { engine, ..Options::default() };
        let mut session = Session::new(graph.clone(), &weights, &options).unwrap();
        let found = session.run(std::slice::from_ref(input)).unwrap().remove(0);
        compare(&format!("{model}, {engine:?}"), &found, &reference, tolerance);
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

/// How many samples have their label on top.
fn right(logits: &Tensor, labels: &[u8]) -> usize {
    let rows = logits.data().chunks(logits.channels());
    rows.zip(labels).filter(|(row, label)| top(row, 1) == [usize::from(**label)]).count()
}

#[test]
fn digits() {
    let Some(images) = shared("digits/mnist_test200_images_u8.npy") else { return };
    let (_, bytes) = npy::<u8>(&images);
    let (_, labels) = npy::<u8>(&shared("digits/mnist_test200_labels.npy").unwrap());
    let input = channels_first([200, 28, 28, 1], &bytes, |value, _| (value / 255.0 - 0.1307) / 0.3081);
    for (variant, name, expected) in [("relu", "relu_maxpool", 199), ("tanh", "tanh_avgpool", 198)] {
        let file = format!("digits/lenet5_{name}_mnist");
        let (weights, reference) = (format!("{file}.safetensors"), format!("{file}_test200_logits.npy"));
        let found = check(&format!("lenet5:{variant}"), &weights, &input, &reference, 1e-5, 200);
        assert_eq!(right(&found, &labels), expected, "{variant}");
    }
}

#[test]
fn cifar() {
    let Some(images) = shared("cifar10/cifar10_test100_images_u8_nhwc.npy") else { return };
    let (_, bytes) = npy::<u8>(&images);
    let input = channels_first([100, 32, 32, 3], &bytes, imagenet);
    let (weights, reference) = ("cifar10/cifar10_resnet20.safetensors", "cifar10/cifar10_resnet20_test100_logits.npy");
    check("resnet_cifar:resnet20", weights, &input, reference, 1e-5, 10);
}

#[test]
fn fashion() {
    let Some(images) = shared("fashion/fashion_mnist_test100_images_u8.npy") else { return };
    let (_, bytes) = npy::<u8>(&images);
    let grey = channels_first([100, 28, 28, 1], &bytes, |value, _| (value / 255.0 - 0.2860) / 0.3530);
    let input = doubled(&grey, 3);
    for (file, name) in [("densenet", "densenet_mini"), ("efficientnet", "efficientnet_mini")] {
        let data = format!("fashion/{name}_fashion");
        let (weights, reference) = (format!("{data}.safetensors"), format!("{data}_test100_logits.npy"));
        check(&format!("{file}:{name}"), &weights, &input, &reference, 1e-5, 10);
    }
}

/// Each pixel of grey pictures four times, in so many channels.
fn doubled(grey: &Tensor, channels: usize) -> Tensor {
    let (height, width) = (grey.spatial()[0], grey.spatial()[1]);
    let mut y = Tensor::zeros([grey.batch(), channels, 2 * height, 2 * width]);
    for n in 0..grey.batch() {
        for c in 0..channels {
            let pixels = grey.plane(n, 0);
            let at = |p: usize| pixels[p / (2 * width) / 2 * width + p % (2 * width) / 2];
            y.plane_mut(n, c).iter_mut().enumerate().for_each(|(p, value)| *value = at(p));
        }
    }
    y
}

#[test]
fn photographs() {
    let Some(top5) = shared("imagenet/top5.json") else { return };
    let top5: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(top5).unwrap()).unwrap();
    let names: Vec<&str> = top5["image_order"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let bytes: Vec<u8> =
        names.iter().flat_map(|name| photograph(&shared(&format!("imagenet/{name}_224.png")).unwrap())).collect();
    let shape = [names.len(), 224, 224, 3];
    for (model, data, input) in [
        ("mobilenet_v2", "mobilenet_v2_imagenet", channels_first(shape, &bytes, imagenet)),
        (
            "efficientnet_lite:efficientnet_lite0",
            "efficientnet_lite0_imagenet",
            channels_first(shape, &bytes, |value, _| (value - 127.0) / 128.0),
        ),
    ] {
        let (weights, reference) = (format!("imagenet/{data}.safetensors"), format!("imagenet/{data}_logits.npy"));
        let found = check(model, &weights, &input, &reference, 1e-4, 2);
        for (row, name) in found.data().chunks(1000).zip(&names) {
            let expected = top5[data][name].as_array().unwrap();
            let expected: Vec<usize> = expected.iter().map(|class| class[0].as_u64().unwrap() as usize).collect();
            assert_eq!(top(row, 5), expected, "{model} on {name}");
        }
    }
}

fn photograph(path: &Path) -> Vec<u8> {
    let picture = image::open(path).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (224, 224), "{}", path.display());
    picture.into_raw()
}
