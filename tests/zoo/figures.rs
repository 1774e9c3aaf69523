//! Parameters, multiply-accumulates, receptive fields and strides against published ones.

use crate::{graph, variants};
use serde::Deserialize;
use std::collections::BTreeMap;
use svertka::ir::{Graph, Param};
use svertka::layers::Op;

#[derive(Deserialize)]
struct Reference {
    torchvision: BTreeMap<String, Figures>,
    papers: Papers,
}

#[derive(Deserialize)]
struct Figures {
    input: usize,
    params: usize,
    bn_buffers: usize,
    macs: Macs,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Macs {
    conv: u64,
    linear: u64,
}

#[derive(Deserialize)]
struct Papers {
    efficientnet_lite: BTreeMap<String, Lite>,
    cifar_resnet: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Lite {
    params: usize,
    input: usize,
}

fn reference() -> Option<Reference> {
    let text = std::fs::read_to_string(crate::data::shared("reference_figures.yaml")?).unwrap();
    Some(serde_yaml::from_str(&text).unwrap())
}

fn is_statistic(param: &&Param) -> bool {
    param.name.ends_with(".running_mean") || param.name.ends_with(".running_var")
}

/// Trainable parameters.
fn params(graph: &Graph) -> usize {
    graph.params.iter().filter(|param| !is_statistic(param)).map(|param| param.dims.iter().product::<usize>()).sum()
}

/// Means and variances of batch norms.
fn statistics(graph: &Graph) -> usize {
    graph.params.iter().filter(is_statistic).map(|param| param.dims.iter().product::<usize>()).sum()
}

fn macs(graph: &Graph) -> Macs {
    let count = |dense: bool| {
        let nodes = graph.nodes.iter().filter(|node| matches!(node.op, Op::Dense(_)) == dense);
        let layers = nodes.filter_map(|node| Some((node.op.layer()?, graph.operand_types(node))));
        layers.map(|(layer, inputs)| layer.macs(&inputs)).sum()
    };
    Macs { conv: count(false), linear: count(true) }
}

fn input_size(graph: &Graph) -> usize {
    graph[graph.inputs[0]].ty.spatial()[0]
}

/// Models that the language cannot express: ShuffleNet v2 splits its channels.
const ABSENT: [&str; 1] = ["shufflenet_v2_x1_0"];

#[test]
fn torchvision_models() {
    let Some(reference) = reference() else { return };
    let files = variants();
    let single = |name: &str| crate::files().iter().any(|file| file == name).then(|| name.to_string());
    for (name, figures) in &reference.torchvision {
        let model = files.get(name).map(|file| format!("{file}:{name}")).or_else(|| single(name));
        let Some(model) = model else {
            assert!(ABSENT.contains(&name.as_str()), "no model file describes {name}");
            continue;
        };
        let graph = graph(&model);
        assert_eq!(input_size(&graph), figures.input, "{name}");
        assert_eq!(params(&graph), figures.params, "{name}");
        assert_eq!(statistics(&graph), figures.bn_buffers, "{name}");
        assert_eq!(macs(&graph), figures.macs, "{name}");
    }
}

#[test]
fn other_models() {
    let Some(reference) = reference() else { return };
    for (name, &expected) in &reference.papers.cifar_resnet {
        assert_eq!(params(&graph(&format!("resnet_cifar:{name}"))), expected, "{name}");
    }
    for (name, expected) in &reference.papers.efficientnet_lite {
        let graph = graph(&format!("efficientnet_lite:efficientnet_{name}"));
        assert_eq!(params(&graph), expected.params, "{name}");
        assert_eq!(input_size(&graph), expected.input, "{name}");
    }
    let lenet = graph("lenet5");
    assert_eq!((params(&lenet), macs(&lenet)), (61_706, Macs { conv: 357_600, linear: 58_920 }));
}
