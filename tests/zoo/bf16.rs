//! Real networks with products of bf16: how many pictures change their class, and how far outputs move.

use super::data::{card, committed, input, photographs, shared};
use super::numerics::{classes, weights};
use super::{graph, name};
use crate::common::difference;
use std::path::Path;
use svertka::codegen::{Bytes, Isa};
use svertka::io::preprocess::Layout;
use svertka::runtime::{Engine, Options, Session};
use svertka::tensor::{Products, Tensor};

/// Pictures with another class than products of f32 give them, and the largest difference of outputs relative to the
/// largest output; `None` where this machine has no such products.
fn moved(model: &str, file: &Path, pictures: &Tensor) -> Option<(usize, f32)> {
    let isa = Isa::Avx512.on_host().filter(|isa| isa.bytes() >= Bytes::Bf16)?;
    let graph = graph(&name(model));
    let weights = weights(&graph, file);
    let run = |products| {
        let options = Options { engine: Engine::Jit(isa), products, ..Options::default() };
        Session::new(graph.clone(), &weights, &options).unwrap().run(std::slice::from_ref(pictures)).unwrap().remove(0)
    };
    let [real, rounded] = [Products::F32, Products::Bf16].map(run);
    let changed = classes(&real).iter().zip(&classes(&rounded)).filter(|(a, b)| a != b).count();
    let error = difference(&rounded, &real);
    println!("{model}: {changed} of {} pictures change their class, outputs move by {error:.1e}", pictures.batch());
    Some((changed, error))
}

fn check(model: &str, file: &Path, pictures: &Tensor) {
    if let Some((changed, error)) = moved(model, file, pictures) {
        assert!(changed <= 1 && error <= 2e-2, "{model}: {changed}, {error}");
    }
}

#[test]
fn small_networks_keep_their_classes() {
    for (model, images) in [
        ("lenet5:relu", "digits/mnist_test200_images_u8.npy"),
        ("lenet5:tanh", "digits/mnist_test200_images_u8.npy"),
        ("densenet:densenet_mini", "fashion/fashion_mnist_test100_images_u8.npy"),
        ("efficientnet:efficientnet_mini", "fashion/fashion_mnist_test100_images_u8.npy"),
    ] {
        let name = name(model);
        let card = card(&name);
        let pictures = input(&committed(images), &card.preprocessing, &graph(&name), Some(Layout::Nhw));
        check(model, &card.weights_path().unwrap(), &pictures);
    }
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn photographs_keep_their_classes() {
    for (model, data) in [
        ("mobilenet_v2", "mobilenet_v2_imagenet"),
        ("efficientnet_lite:efficientnet_lite0", "efficientnet_lite0_imagenet"),
    ] {
        check(model, &shared(&format!("imagenet/{data}.safetensors")), &photographs(&name(model)));
    }
    let model = "resnet_cifar:resnet20";
    let images = shared("cifar10/cifar10_test100_images_u8_nhwc.npy");
    let pictures = input(&images, &card(&name(model)).preprocessing, &graph(&name(model)), Some(Layout::Nhwc));
    check(model, &shared("cifar10/cifar10_resnet20.safetensors"), &pictures);
}
