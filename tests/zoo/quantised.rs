//! Real networks with weights of eight bits: how many pictures change their class.

use super::data::{card, committed, input, logits, photographs, shared};
use super::numerics::{classes, weights};
use super::{graph, name};
use std::ops::Range;
use std::path::Path;
use svertka::io::preprocess::Layout;
use svertka::quant::{self, Folded, Method, Quantised, Wishes};
use svertka::runtime::{Options, Session};
use svertka::tensor::Tensor;

/// How many pictures have another class than PyTorch's f32 gives them. Each is judged by a network that was calibrated on
/// others: on the first `calibrated` pictures for those behind them, on the last ones for the first.
fn changed(model: &str, file: &Path, pictures: &Tensor, reference: &Tensor, calibrated: usize) -> usize {
    let (graph, count) = (graph(&name(model)), pictures.batch());
    let weights = weights(&graph, file);
    let folded = Folded::new(&graph, &weights);
    let expected = classes(reference);
    let parts = [(0..calibrated, calibrated..count), (count - calibrated..count, 0..calibrated)];
    let of_part = |(examples, judged): (Range<usize>, Range<usize>)| {
        let examples = [vec![part(pictures, examples)]];
        let quantised = quant::quantise(&graph, &weights, &examples, &wishes(), &mut |_, _| {}).unwrap();
        let found = classes(&run(&quantised, &folded, part(pictures, judged.clone())));
        found.iter().zip(&expected[judged]).filter(|(found, expected)| found != expected).count()
    };
    let changed = parts.into_iter().map(of_part).sum();
    println!("{model}: {changed} of {count} pictures change their class");
    changed
}

/// What `svertka quantize` does where nothing else is asked for.
fn wishes() -> Wishes {
    Wishes { method: Method::LeastSquares, activation_bits: 8, paired: true, keep: Default::default(), budget: None }
}

fn part(pictures: &Tensor, samples: Range<usize>) -> Tensor {
    let of_sample = pictures.data().len() / pictures.batch();
    let shape = [&[samples.len()], &pictures.shape()[1..]].concat();
    Tensor::new(shape, pictures.data()[samples.start * of_sample..samples.end * of_sample].to_vec())
}

fn run(quantised: &Quantised, weights: &Folded, input: Tensor) -> Tensor {
    let graph = quant::apply(&quantised.structure, &quantised.values).unwrap().graph;
    Session::new(graph, weights, &Options::default()).unwrap().run(&[input]).unwrap().remove(0)
}

/// Pictures that the card of a model prepares, and its weights, which are committed.
fn small(model: &str, images: &str, reference: &str, calibrated: usize) -> usize {
    let name = name(model);
    let card = card(&name);
    let pictures = input(&committed(images), &card.preprocessing, &graph(&name), Some(Layout::Nhw));
    changed(model, &card.weights_path().unwrap(), &pictures, &logits(&committed(reference)), calibrated)
}

#[test]
fn digits_keep_their_class() {
    for (variant, of) in [("relu", "relu_maxpool"), ("tanh", "tanh_avgpool")] {
        let reference = format!("digits/lenet5_{of}_mnist_test200_logits.npy");
        let changed = small(&format!("lenet5:{variant}"), "digits/mnist_test200_images_u8.npy", &reference, 20);
        assert!(changed <= 1, "{variant}: {changed}");
    }
}

#[test]
fn fashion_keeps_its_class() {
    let images = "fashion/fashion_mnist_test100_images_u8.npy";
    for (file, variant) in [("densenet", "densenet_mini"), ("efficientnet", "efficientnet_mini")] {
        let reference = format!("fashion/{variant}_fashion_test100_logits.npy");
        let changed = small(&format!("{file}:{variant}"), images, &reference, 10);
        assert!(changed <= 2, "{variant}: {changed}");
    }
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn cifar_keeps_its_class() {
    let model = "resnet_cifar:resnet20";
    let how = card(&name(model)).preprocessing;
    let images = shared("cifar10/cifar10_test100_images_u8_nhwc.npy");
    let pictures = input(&images, &how, &graph(&name(model)), Some(Layout::Nhwc));
    let reference = logits(&shared("cifar10/cifar10_resnet20_test100_logits.npy"));
    let changed = changed(model, &shared("cifar10/cifar10_resnet20.safetensors"), &pictures, &reference, 20);
    assert!(changed <= 2, "{changed}");
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn photographs_keep_their_class() {
    for (model, data, most) in [
        ("mobilenet_v2", "mobilenet_v2_imagenet", 0),
        ("efficientnet_lite:efficientnet_lite0", "efficientnet_lite0_imagenet", 1),
    ] {
        let pictures = photographs(&name(model));
        let reference = logits(&shared(&format!("imagenet/{data}_logits.npy")));
        let changed = changed(model, &shared(&format!("imagenet/{data}.safetensors")), &pictures, &reference, 3);
        assert!(changed <= most, "{model}: {changed}");
    }
}
