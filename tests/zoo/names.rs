//! Weight names and shapes against published files.

use super::data::{card, shared};
use super::{graph, name};
use safetensors::SafeTensors;
use std::path::Path;
use svertka::io::bind::BoundWeights;
use svertka::io::weights::WeightFile;
use svertka::ir::Graph;

fn bind(graph: &Graph, file: &Path) {
    let file = WeightFile::open(file).unwrap_or_else(|error| panic!("{error}"));
    BoundWeights::bind(graph, file).unwrap_or_else(|misfit| panic!("{misfit}"));
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn published_weights_load_unchanged() {
    for (model, file) in [
        ("mobilenet_v2", "imagenet/mobilenet_v2_imagenet.safetensors"),
        ("efficientnet_lite:efficientnet_lite0", "imagenet/efficientnet_lite0_imagenet.safetensors"),
        ("resnet_cifar:resnet20", "cifar10/cifar10_resnet20.safetensors"),
    ] {
        let file = shared(file);
        bind(&graph(&name(model)), &file);
    }
}

#[test]
fn committed_weights_load_unchanged() {
    for model in ["lenet5", "lenet5:tanh", "densenet:densenet_mini", "efficientnet:efficientnet_mini"] {
        let name = name(model);
        let mut graph = graph(&name).into_inner();
        graph.renames.clear();
        bind(&graph, &card(&name).weights_path().unwrap());
    }
}

/// torchvision's DenseNet files call `norm1` `norm.1`.
#[test]
fn densenet_loads_the_published_spelling() {
    let name = name("densenet:densenet_mini");
    let bytes = std::fs::read(card(&name).weights_path().unwrap()).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let published = |name: String| {
        let in_layer = name.contains("denselayer");
        let spelt = ["norm1", "conv1", "norm2", "conv2"].iter().fold(name.clone(), |name, part| {
            name.replace(&format!(".{part}."), &format!(".{}.{}.", &part[..4], &part[4..]))
        });
        if in_layer { spelt } else { name }
    };
    let tensors = tensors.into_iter().map(|(name, tensor)| (published(name), tensor));
    let file = tempfile::NamedTempFile::new().unwrap();
    safetensors::serialize_to_file(tensors, None, file.path()).unwrap();
    bind(&graph(&name), file.path());
}
