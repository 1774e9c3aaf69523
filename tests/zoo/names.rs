//! Weight names and shapes against published files.

use crate::data::{Weights, shared};
use crate::graph;
use std::collections::BTreeMap;

#[test]
fn published_weights_load_unchanged() {
    for (model, file) in [
        ("lenet5", "digits/lenet5_relu_maxpool_mnist.safetensors"),
        ("lenet5:tanh", "digits/lenet5_tanh_avgpool_mnist.safetensors"),
        ("mobilenet_v2", "imagenet/mobilenet_v2_imagenet.safetensors"),
        ("efficientnet_lite:efficientnet_lite0", "imagenet/efficientnet_lite0_imagenet.safetensors"),
        ("resnet_cifar:resnet20", "cifar10/cifar10_resnet20.safetensors"),
        ("densenet:densenet_mini", "fashion/densenet_mini_fashion.safetensors"),
        ("efficientnet:efficientnet_mini", "fashion/efficientnet_mini_fashion.safetensors"),
    ] {
        let Some(file) = shared(file) else { continue };
        let graph = graph(model);
        let described: BTreeMap<&str, &[usize]> =
            graph.params.iter().map(|param| (param.name.as_str(), &param.dims[..])).collect();
        let weights = Weights::read(&file);
        let published = weights.0.iter().map(|(name, tensor)| (name.as_str(), tensor.shape())).collect();
        assert_eq!(described, published, "{model}");
    }
}
