//! Parameters, multiply-accumulates, receptive fields and strides against published ones.

use crate::data::{card, committed};
use crate::{Model, Name, all, files, graph, name};
use serde::Deserialize;
use std::collections::BTreeMap;
use svertka::analysis::receptive_field::{Axis, Field};
use svertka::analysis::{figures, receptive_field};
use svertka::front::text::build::Options;
use svertka::ir::{Graph, Verified};

#[derive(Deserialize)]
struct Reference {
    torchvision: BTreeMap<String, Figures>,
    papers: Papers,
}

#[derive(Deserialize)]
struct Figures {
    input: usize,
    params: u64,
    bn_buffers: u64,
    macs: Macs,
    receptive_field: u64,
    stride: u64,
    weights: BTreeMap<String, Weights>,
}

#[derive(Deserialize)]
struct Macs {
    conv: u64,
    linear: u64,
}

#[derive(Deserialize)]
struct Weights {
    num_params: u64,
    acc1: Option<f64>,
    acc5: Option<f64>,
}

#[derive(Deserialize)]
struct Papers {
    efficientnet_lite: BTreeMap<String, Lite>,
    cifar_resnet: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Lite {
    params: u64,
    input: usize,
}

fn reference() -> Reference {
    let text = std::fs::read_to_string(committed("reference_figures.yaml")).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

fn input_size(graph: &Verified<Graph>) -> usize {
    graph[graph.inputs[0]].ty.spatial()[0]
}

fn parameters(model: &str) -> u64 {
    figures(&graph(&name(model))).parameters
}

/// Size and stride of the field of the last feature map, in each dimension.
fn field(graph: &Verified<Graph>) -> Vec<(u64, (u64, u64))> {
    let fields = receptive_field(graph);
    match fields.of(fields.features.expect("a feature map")) {
        Field::Local(axes) => axes.iter().map(|axis: &Axis| (axis.size(), axis.stride())).collect(),
        other => panic!("{other:?}"),
    }
}

/// Models that the language cannot express: ShuffleNet v2 splits its channels.
const ABSENT: [&str; 1] = ["shufflenet_v2_x1_0"];

/// torchvision's models with what is published of them.
fn torchvision() -> Vec<(Name, Figures)> {
    let models = all();
    let find = |wanted: &str| {
        let named = models.iter().find(|name| name.variant.as_deref() == Some(wanted) || name.file == wanted);
        assert!(named.is_some() != ABSENT.contains(&wanted), "no model file describes {wanted}");
        Some(Name { file: named?.file.clone(), variant: named?.variant.clone() })
    };
    let published = reference().torchvision.into_iter();
    published.filter_map(|(name, figures)| Some((find(&name)?, figures))).collect()
}

#[test]
fn figures_of_torchvision() {
    for (name, published) in torchvision() {
        let graph = graph(&name);
        let counted = figures(&graph);
        assert_eq!(input_size(&graph), published.input, "{name}");
        assert_eq!(counted.parameters, published.params, "{name}");
        assert_eq!(counted.buffers, published.bn_buffers, "{name}");
        assert_eq!((counted.macs_conv, counted.macs_dense), (published.macs.conv, published.macs.linear), "{name}");
        assert_eq!(field(&graph), [(published.receptive_field, (published.stride, 1)); 2], "{name}");
    }
}

/// Dense layers on all positions fix their size.
const FIXED: [&str; 2] = ["lenet5", "mlp"];

#[test]
fn sizes_are_free_and_weights_do_not_depend_on_them() {
    for file in files() {
        let mut model = Model::read(&file);
        let usual = model.build(&Options::default());
        let larger = |(name, size): (String, usize)| (name, (size + 32).to_string());
        let defines: Vec<(String, String)> = usual.sizes().into_iter().map(larger).collect();
        assert_eq!(defines.is_empty(), FIXED.contains(&file.as_str()), "{file}");
        let other = model.build(&Options { defines, ..Options::default() });
        assert_eq!(other.params, usual.params, "{file}");
    }
}

#[test]
fn accuracies_of_torchvision() {
    for (name, published) in torchvision() {
        let accuracy = card(&name).accuracy.unwrap_or_else(|| panic!("{name} has no accuracy"));
        let weights = &published.weights["IMAGENET1K_V1"];
        assert_eq!((accuracy.top1, accuracy.top5), (weights.acc1, weights.acc5), "{name}");
    }
}

#[test]
fn side_outputs_have_parameters_too() {
    let with_aux = |file| figures(&Model::read(file).build(&Options { aux: true, ..Options::default() })).parameters;
    // Counted in torchvision's module with its auxiliary heads.
    assert_eq!(with_aux("googlenet"), 13_004_888);
    let reference = reference();
    let published = &reference.torchvision["inception_v3"].weights["IMAGENET1K_V1"];
    assert_eq!(with_aux("inception_v3"), published.num_params);
}

#[test]
fn parameters_of_other_models() {
    assert_eq!(parameters("lenet5"), 61_706);
    // BVLC's GoogLeNet, the training network's auxiliary heads left out.
    assert_eq!(parameters("googlenet:googlenet_paper"), 6_998_552);
    // The paper, table 1: about 64 C^2 with C = 21.
    assert_eq!(parameters("dilated_context"), 64 * 21 * 21 + 8 * 21);
    let reference = reference();
    for (variant, &expected) in &reference.papers.cifar_resnet {
        assert_eq!(parameters(&format!("resnet_cifar:{variant}")), expected, "{variant}");
    }
    for (lite, expected) in &reference.papers.efficientnet_lite {
        let model = format!("efficientnet_lite:efficientnet_{lite}");
        assert_eq!(parameters(&model), expected.params, "{model}");
        assert_eq!(input_size(&graph(&name(&model))), expected.input, "{model}");
    }
}

/// The paper, table 1.
#[test]
fn dilation_grows_the_receptive_field() {
    assert_eq!(field(&graph(&name("dilated_context"))), [(67, (1, 1)); 2]);
}
