//! Weight names and shapes against published files.

use crate::data::{card, shared};
use crate::{graph, name};
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

/// Keys of published files, one of each kind of layer in each family whose file is too large for a test.
#[test]
fn names_are_those_of_torchvision() {
    for (model, names) in [
        ("alexnet", "features.0.weight features.3.bias features.10.weight classifier.1.weight classifier.6.bias"),
        ("vgg:vgg11", "features.0.weight features.3.weight features.18.bias classifier.0.weight classifier.6.bias"),
        ("vgg:vgg16", "features.0.bias features.2.weight features.28.weight classifier.3.weight"),
        ("vgg:vgg16_bn", "features.0.weight features.1.running_var features.40.weight features.41.bias"),
        ("resnet:resnet18", "conv1.weight bn1.weight layer1.0.conv2.weight layer2.0.downsample.0.weight fc.bias"),
        ("resnet:resnet152", "layer1.0.downsample.1.running_mean layer2.7.conv3.weight layer3.35.bn3.bias fc.weight"),
        ("googlenet", "conv1.conv.weight conv3.bn.bias inception3a.branch1.conv.weight"),
        ("googlenet", "inception4e.branch2.1.conv.weight inception5b.branch3.0.bn.weight"),
        ("googlenet", "inception5b.branch4.1.bn.running_var fc.weight"),
        ("inception_v3", "Conv2d_1a_3x3.conv.weight Conv2d_4a_3x3.bn.weight Mixed_5b.branch5x5_2.conv.weight"),
        ("inception_v3", "Mixed_5d.branch_pool.conv.weight Mixed_6a.branch3x3dbl_3.bn.bias"),
        ("inception_v3", "Mixed_6e.branch7x7dbl_5.conv.weight Mixed_7a.branch7x7x3_4.conv.weight"),
        ("inception_v3", "Mixed_7c.branch3x3_2b.conv.weight Mixed_7c.branch3x3dbl_3a.bn.weight fc.bias"),
        ("densenet:densenet201", "features.conv0.weight features.denseblock4.denselayer32.conv2.weight"),
        ("densenet:densenet161", "features.transition3.conv.weight features.norm5.weight classifier.weight"),
        ("efficientnet:efficientnet_b0", "features.0.0.weight features.1.0.block.1.fc1.weight features.8.1.bias"),
        ("efficientnet:efficientnet_b7", "features.7.3.block.3.1.running_mean features.6.12.block.2.fc2.bias"),
        ("mobilenet_v3:mobilenet_v3_large", "features.1.block.0.0.weight features.4.block.2.fc1.weight"),
        ("mobilenet_v3:mobilenet_v3_large", "features.15.block.3.1.bias features.16.0.weight classifier.3.weight"),
        ("mobilenet_v3:mobilenet_v3_small", "features.1.block.1.fc2.bias features.12.1.weight classifier.0.bias"),
        ("squeezenet:squeezenet1_0", "features.0.weight features.3.squeeze.bias features.12.expand3x3.weight"),
        ("squeezenet:squeezenet1_1", "features.6.squeeze.weight features.12.expand1x1.bias classifier.1.weight"),
    ] {
        let graph = graph(&name(model));
        let missing = |name: &&str| graph.params.iter().all(|param| param.name != *name);
        assert_eq!(names.split(' ').find(missing), None, "{model}");
    }
}
