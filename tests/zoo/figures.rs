//! Parameters, multiply-accumulates, receptive fields and strides against published ones.

use super::data::{card, committed};
use super::{Model, Name, all, files, graph, name};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use svertka::analysis::receptive_field::{Axis, Field};
use svertka::analysis::{figures, receptive_field};
use svertka::front::text::build::Options;
use svertka::hash::fnv1a;
use svertka::ir::{Graph, Param, Verified};

/// What `tests/zoo/figures.py` found of a network of PyTorch's.
#[derive(Deserialize)]
struct Figures {
    input: Vec<usize>,
    parameters: u64,
    buffers: u64,
    macs: Macs,
    /// Size and stride by dimension.
    field: Option<Vec<(u64, u64)>>,
    names: Names,
    names_with_aux: Option<Names>,
    accuracy: Option<Published>,
}

#[derive(Deserialize)]
struct Macs {
    conv: u64,
    dense: u64,
}

/// How many weights there are, and a hash of the lines `NAME ELEMENTS` of all of them.
#[derive(Debug, Deserialize, PartialEq)]
struct Names {
    count: usize,
    hash: u64,
}

#[derive(Deserialize)]
struct Published {
    weights: String,
    top1: f64,
    top5: f64,
}

#[derive(Deserialize)]
struct Reference {
    papers: Papers,
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

fn read<T: DeserializeOwned>(file: &str) -> T {
    serde_yaml::from_str(&std::fs::read_to_string(committed(file)).unwrap()).unwrap()
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

/// PyTorch's networks with their figures: those of torchvision, and those of `tests/pytorch/networks.py`. The name of one
/// in the form that it is trained in ends with `_train`.
fn published() -> Vec<(Name, Figures)> {
    let models = all();
    let find = |wanted: &str| {
        let run = wanted.trim_end_matches(TRAINED);
        let named = models.iter().find(|name| name.variant.as_deref() == Some(run) || name.file == run);
        let file = named.unwrap_or_else(|| panic!("no model file describes {wanted}")).file.clone();
        Name { variant: (file != wanted).then(|| wanted.into()), file }
    };
    let published: BTreeMap<String, Figures> = read("networks.yaml");
    published.into_iter().map(|(name, figures)| (find(&name), figures)).collect()
}

const TRAINED: &str = "_train";

fn built(name: &Name, aux: bool) -> Verified<Graph> {
    let run = name.variant.as_deref().map(|variant| variant.trim_end_matches(TRAINED));
    let trained = run != name.variant.as_deref();
    let defines = trained.then(|| ("deploy".into(), "false".into())).into_iter().collect();
    Model::read(&name.file).build(&Options { variant: run.map(String::from), aux, defines, ..Options::default() })
}

#[test]
fn figures_are_those_of_pytorch() {
    for (name, published) in published() {
        let graph = built(&name, false);
        let counted = figures(&graph);
        assert_eq!(graph[graph.inputs[0]].ty.dims, published.input, "{name}");
        assert_eq!(counted.parameters, published.parameters, "{name}");
        assert_eq!(counted.buffers, published.buffers, "{name}");
        assert_eq!((counted.macs_conv, counted.macs_dense), (published.macs.conv, published.macs.dense), "{name}");
        if let Some(published) = published.field {
            let published: Vec<_> = published.into_iter().map(|(size, stride)| (size, (stride, 1))).collect();
            assert_eq!(field(&graph), published, "{name}");
        }
    }
}

/// The names of the weights in a file, under the model's renames or without them.
fn names(graph: &Graph, renamed: bool) -> Names {
    let renames = if renamed { &graph.renames[..] } else { &[] };
    let name =
        |param: &Param| renames.iter().fold(param.name.clone(), |name, rename| name.replace(&rename.from, &rename.to));
    let line = |param: &Param| format!("{} {}\n", name(param), param.dims.iter().product::<usize>());
    let mut lines: Vec<String> = graph.params.iter().map(line).collect();
    lines.sort();
    Names { count: lines.len(), hash: fnv1a(lines.concat().as_bytes()) }
}

#[test]
fn weights_are_those_of_pytorch() {
    for (name, published) in published() {
        let expected = [(false, Some(published.names)), (true, published.names_with_aux)];
        for (aux, expected) in expected.into_iter().filter_map(|(aux, names)| Some((aux, names?))) {
            let graph = built(&name, aux);
            // DenseNet's renames are for files that are older than its modules.
            assert!([false, true].map(|renamed| names(&graph, renamed)).contains(&expected), "{name}, aux {aux}");
        }
    }
}

/// Dense layers on all positions fix their size, and noise has none.
const FIXED: [&str; 3] = ["dcgan", "lenet5", "mlp"];

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
fn accuracies_are_those_of_torchvision() {
    for (name, published) in published() {
        let Some(published) = published.accuracy else { continue };
        let accuracy = card(&name).accuracy.unwrap_or_else(|| panic!("{name} has no accuracy"));
        assert_eq!((accuracy.top1, accuracy.top5), (Some(published.top1), Some(published.top5)), "{name}");
        assert!(accuracy.source.is_some_and(|source| source.ends_with(&published.weights)), "{name}");
    }
}

#[test]
fn parameters_of_other_models() {
    assert_eq!(parameters("lenet5"), 61_706);
    // Darknet's files hold a few words, and then its weights and statistics as f32.
    for (model, words, bytes) in
        [("yolov2", 4, 203_934_260), ("yolov3", 5, 248_007_048), ("yolov3_tiny", 5, 35_434_956)]
    {
        let counted = figures(&graph(&name(&format!("yolo:{model}"))));
        assert_eq!(4 * (words + counted.parameters + counted.buffers), bytes, "{model}");
    }
    // BVLC's GoogLeNet, the training network's auxiliary heads left out.
    assert_eq!(parameters("googlenet:googlenet_paper"), 6_998_552);
    // The paper, table 1: about 64 C^2 with C = 21.
    assert_eq!(parameters("dilated_context"), 64 * 21 * 21 + 8 * 21);
    let reference: Reference = read("reference_figures.yaml");
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
