//! ONNX models of random layers and networks: their structure, by a small checker of its own.
//!
//! With `SVERTKA_ONNX_CASES` set to a folder, the random ones are written there with inputs and the interpreter's outputs,
//! for `tests/onnx/compare.py`, which has other engines run them.

use crate::common::text::model;
use crate::common::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use svertka::export::{self, Apart};
use svertka::front::onnx::proto;
use svertka::front::onnx::wire::Message;
use svertka::interp;
use svertka::io::npy;
use svertka::ir::weights::{RandomWeights, WeightSource, values};
use svertka::ir::{Epilogue, FreeSize, Graph, Node, ParamId, Verified};
use svertka::layers::*;
use svertka::tensor::Tensor;

/// What an exporter wrote.
fn written(graph: &Verified<Graph>, source: &dyn WeightSource) -> Vec<u8> {
    let model = export::export(graph, &[], &[("svertka.source", "the text".into())]).unwrap();
    let mut bytes = Vec::new();
    model.write(source, &mut bytes, None).unwrap();
    bytes
}

/// Reads a model back and checks that it is one: names are unique, each value is there before it is read, has a type, and
/// the weights are those of the graph.
fn check(bytes: &[u8], graph: &Graph, source: &dyn WeightSource) {
    let model = proto::Model::parse(bytes).unwrap();
    let onnx = model.graph.as_ref().unwrap();
    assert!(model.opsets.len() == 1 && model.opsets[0].domain.is_empty() && model.opsets[0].version >= export::OPSET);
    assert_eq!((model.metadata[0].key, model.metadata[0].value), ("svertka.source", "the text"));
    let inputs: Vec<&str> = graph.inputs.iter().map(|&id| graph[id].origin.path.as_str()).collect();
    assert_eq!(onnx.inputs.iter().map(|input| input.name).collect::<Vec<_>>(), inputs);
    let outputs: Vec<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(onnx.outputs.iter().map(|output| output.name).collect::<Vec<_>>(), outputs);
    for (output, declared) in graph.outputs.iter().zip(&onnx.outputs) {
        let shape = declared.ty.tensor.as_ref().unwrap().shape.as_ref().unwrap();
        let dims: Vec<usize> = shape.dims[1..].iter().map(|dim| dim.value.unwrap() as usize).collect();
        assert_eq!((shape.dims[0].name, dims), ("N", graph[output.node].ty.dims.clone()));
    }
    let mut known = HashSet::new();
    let given = onnx.inputs.iter().map(|input| input.name).chain(onnx.initializers.iter().map(|tensor| tensor.name));
    given.for_each(|name| assert!(known.insert(name), "{name} is given twice"));
    let mut names = HashSet::new();
    for node in &onnx.nodes {
        assert!(names.insert(node.name) && node.domain.is_empty(), "{} is there twice", node.name);
        let unknown = node.inputs.iter().find(|input| !input.is_empty() && !known.contains(*input));
        assert_eq!(unknown, None, "{} reads what is not there yet", node.name);
        node.outputs.iter().for_each(|output| assert!(known.insert(output), "{output} is made twice"));
    }
    assert!(outputs.iter().all(|output| known.contains(output)));
    assert_eq!(typed(bytes) + onnx.outputs.len(), onnx.nodes.len(), "each value has one type");
    check_weights(onnx, graph, source);
}

/// The number of `value_info` fields.
fn typed(bytes: &[u8]) -> usize {
    fields(fields(Message::file(bytes), 7)[0], 13).len()
}

/// The fields of a number in a message.
fn fields(mut message: Message<'_>, number: u32) -> Vec<Message<'_>> {
    let mut found = Vec::new();
    while let Some(field) = message.field().unwrap() {
        if field.number == number {
            found.push(field.message().unwrap());
        }
    }
    found
}

fn check_weights(onnx: &proto::Graph, graph: &Graph, source: &dyn WeightSource) {
    let tensors: HashMap<&str, &proto::Tensor> = onnx.initializers.iter().map(|t| (t.name, t)).collect();
    for tensor in &onnx.initializers {
        let bytes = if tensor.data_type == 1 { 4 } else { 8 };
        let elements = tensor.dims.iter().product::<i64>() as usize;
        assert_eq!(tensor.raw.unwrap().bytes().len(), bytes * elements, "{}", tensor.name);
    }
    for id in (0..graph.params.len() as u32).map(ParamId) {
        let bytes: Vec<u8> = values(graph, id, source).iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(tensors[graph[id].name.as_str()].raw.unwrap().bytes() == bytes, "{}", graph[id].name);
    }
}

/// Checks a network's model, and leaves it as a case for other engines if that was asked for.
fn export_case(graph: &Verified<Graph>, seed: u64) {
    let source = weights(seed);
    let bytes = match export::export(graph, &[], &[]) {
        Ok(_) => written(graph, &source),
        Err(errors) => return assert!(errors.iter().all(|error| error.message.contains("than a kernel has taps"))),
    };
    check(&bytes, graph, &source);
    leave_case(&bytes, graph, seed);
}

/// Writes a model with what the interpreter computes of its graph into the folder for cases.
fn leave_case(bytes: &[u8], graph: &Verified<Graph>, seed: u64) {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    let source = weights(seed);
    let Some(folder) = std::env::var_os("SVERTKA_ONNX_CASES").map(PathBuf::from) else { return };
    let inputs = inputs(graph, 2, seed);
    let outputs = interp::run(graph, &source, &inputs, Accumulate::F64);
    let case = folder.join(CASES.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir_all(&case).unwrap();
    fs::write(case.join("model.onnx"), bytes).unwrap();
    fs::write(case.join("graph.txt"), svertka::ir::print(graph)).unwrap();
    let write = |name: String, tensor: &Tensor| npy::write(&case.join(name), tensor.shape(), tensor.data()).unwrap();
    inputs.iter().enumerate().for_each(|(index, tensor)| write(format!("input{index}.npy"), tensor));
    outputs.iter().enumerate().for_each(|(index, tensor)| write(format!("output{index}.npy"), tensor));
}

proptest! {
    #[test]
    fn random_layers_are_exported((dims, op) in any_layer(), seed in any::<u64>()) {
        if let Ok(graph) = single(op, &dims) {
            export_case(&graph, seed);
        }
    }

    #[test]
    fn random_networks_are_exported(graph in any_network(), seed in any::<u64>()) {
        export_case(&graph, seed);
    }

    /// A model of two sizes is one of a third.
    #[test]
    fn random_networks_of_free_sizes_are_exported((dims, parts) in parts(), seed in any::<u64>()) {
        let [one, other, third] = [1, 7, 2].map(|factor| free_network(&dims, factor, &parts));
        let same = |other: &Graph| operations(other) == operations(&one);
        if !one.free.is_empty() && same(&third) && let Ok(model) = export::export(&one, slice::from_ref(&other), &[]) {
            let mut bytes = Vec::new();
            model.write(&weights(seed), &mut bytes, None).unwrap();
            leave_case(&bytes, &third, seed);
        }
    }
}

/// A network whose spatial sizes are free, and here so many times as large.
fn free_network(dims: &[usize], factor: usize, parts: &[Part]) -> Verified<Graph> {
    let dims: Vec<usize> = dims[..1].iter().copied().chain(dims[1..].iter().map(|size| size * factor)).collect();
    let mut graph = network(&dims, parts).into_inner();
    graph.free = (1..dims.len()).map(|dim| FreeSize { name: format!("S{dim}"), input: 0, dim }).collect();
    verified(graph)
}

/// Layers and their weights.
fn operations(graph: &Graph) -> Vec<(Op, Vec<Vec<usize>>)> {
    let params = |node: &Node| node.params.iter().map(|&param| graph[param].dims.clone()).collect();
    graph.nodes.iter().map(|node| (node.op.clone(), params(node))).collect()
}

/// One line a node: what it is called, what it does to what, and with which attributes.
fn listing(bytes: &[u8]) -> String {
    let model = proto::Model::parse(bytes).unwrap();
    let onnx = model.graph.unwrap();
    let attribute = |a: &proto::Attribute| match a.kind {
        1 => format!(" {}={}", a.name, a.float),
        2 => format!(" {}={}", a.name, a.int),
        3 => format!(" {}={}", a.name, a.text.text().unwrap()),
        _ => format!(" {}={:?}", a.name, a.ints),
    };
    let line = |node: &proto::Node| {
        let attributes: String = node.attributes.iter().map(attribute).collect();
        format!(
            "{}: {}({}) -> {}{attributes}\n",
            node.name,
            node.operator,
            node.inputs.join(", "),
            node.outputs.join(", ")
        )
    };
    let opset = format!("opset {}, ir {}\n", model.opsets[0].version, model.ir_version);
    opset + &onnx.nodes.iter().map(line).collect::<String>()
}

const NETWORK: &str = "\
model m
input image: f32[N, 4, 13, 13]
net {
  stem: conv 3x3, 8, stride 2, same, bias | relu6
  layer1: seq {
    residual { conv1: conv 3x3, 8, half, groups 2 | bn1: bn | silu }
    gate { global_avgpool | fc: dense 8 | sigmoid }
  } | output features
  channel_shuffle 4 | maxpool 3x3, stride 2, ceil | dropout
  grow { pad 1, channels (0, 1) | avgpool 3x3, stride 1 } | upsample 2, bilinear | lrn 4 | gelu
  adaptive_avgpool 4x3 | flatten | head: dense 5, bias false | softmax
}
";

#[test]
fn names_and_operators() {
    let graph = model(NETWORK);
    insta::assert_snapshot!(listing(&written(&graph, &RandomWeights { seed: 1 })));
}

/// Weights in a file of their own lie where the model says, at multiples of 4,096, and small ones stay in the model.
#[test]
fn weights_apart() {
    let graph = model("model m\ninput x: f32[N, 32]\nnet { a: dense 33 | b: dense 32 }");
    let (source, model) = (RandomWeights { seed: 1 }, export::export(&graph, &[], &[]).unwrap());
    let (mut bytes, mut data) = (Vec::new(), Vec::new());
    model.write(&source, &mut bytes, Some(Apart { name: "m.data", out: &mut data })).unwrap();
    let onnx = proto::Model::parse(&bytes).unwrap().graph.unwrap();
    let inside: Vec<&str> = onnx.initializers.iter().filter(|t| t.location == 0).map(|t| t.name).collect();
    assert_eq!(inside, ["a.bias", "b.bias"]);
    let mut end = 0;
    for tensor in onnx.initializers.iter().filter(|tensor| tensor.location == 1) {
        let place: HashMap<&str, &str> = tensor.external.iter().map(|entry| (entry.key, entry.value)).collect();
        let [offset, length] = ["offset", "length"].map(|key| place[key].parse::<usize>().unwrap());
        assert!(place["location"] == "m.data" && offset % 4096 == 0 && offset >= end && tensor.raw.is_none());
        end = offset + length;
        let id = (0..4).map(ParamId).find(|&id| graph[id].name == tensor.name).unwrap();
        let expected: Vec<u8> = values(&graph, id, &source).iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(data[offset..end] == expected[..]);
    }
    assert_eq!(data.len(), end);
}

#[test]
fn the_length_is_known_before() {
    let graph = model(NETWORK);
    let model = export::export(&graph, &[], &[]).unwrap();
    let mut bytes = Vec::new();
    model.write(&RandomWeights { seed: 1 }, &mut bytes, None).unwrap();
    assert_eq!(model.length(), bytes.len() as u64);
}

/// An input that is an output, a value that is two, and names that would meet.
#[test]
fn names_that_meet() {
    let text = "model m\ninput weight: f32[N, 2, 3, 3]\nnet { output same | conv 1x1, 2 | relu | output a | output b }";
    let graph = model(text);
    insta::assert_snapshot!(listing(&written(&graph, &RandomWeights { seed: 1 })));
}

/// Sizes that are free stay so where a layer lets them; layers that do not are named.
#[test]
fn free_sizes() {
    let text = |net: &str, size: usize| format!("model m\ninput x: f32[N, 4, H = {size}, W = H]\nnet {{ {net} }}");
    let of_sizes = |net: &str| {
        let [graph, other] = [16, 80].map(|size| model(&text(net, size)));
        let model = export::export(&graph, slice::from_ref(&other), &[])
            .map_err(|errors| errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("\n"))?;
        let mut bytes = Vec::new();
        model.write(&RandomWeights { seed: 1 }, &mut bytes, None).unwrap();
        let onnx = proto::Model::parse(&bytes).unwrap().graph.unwrap();
        let shape = |value: &proto::ValueInfo| {
            let dims = &value.ty.tensor.as_ref().unwrap().shape.as_ref().unwrap().dims;
            let text = |dim: &proto::Dim| dim.value.map_or(dim.name.to_string(), |size| size.to_string());
            dims.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        Ok(format!("{} -> {}\n{}", shape(&onnx.inputs[0]), shape(&onnx.outputs[0]), listing(&bytes)))
    };
    let nets = [
        "conv 3x3, 8, stride 2, same | channel_shuffle 4 | maxpool 3x3, stride 2, pad 1, ceil | lrn 4",
        "a: conv 1x1, 4 | avgpool 3x3, stride 2, pad 1, ceil | global_avgpool | flatten | dense 2",
        "maxpool 2x2, stride 3, ceil | adaptive_avgpool 3 | flatten | dense 4",
        "maxpool 2x2 | adaptive_avgpool (H // 4, 2) | adaptive_maxpool 2",
        "adaptive_avgpool (2, 3) | layer_norm over all",
        "pad H, channels (0, 0) | resize (in.h + 1, 5)",
        "resize (3 * H, W) | crop (0, 1, 0, 2) | resize (H, W), bilinear | layer_norm over all, affine false",
        "space_to_depth 2",
        "maxpool 2x2 | flatten | unflatten (2 * (H // 2), H // 4) | flatten | unflatten (H // 4, W // 2)",
        "flatten | unflatten (4, 4)",
        "flatten | unflatten (H * H, 1)",
        "flatten | dense 2",
    ];
    let listed: String =
        nets.map(|net| format!("{net}\n{}\n", of_sizes(net).unwrap_or_else(|error: String| error))).concat();
    insta::assert_snapshot!(listed);
}

/// A graph that a pass has changed is not the source.
#[test]
fn fused_graphs_are_refused() {
    let (mut graph, x) = graph_of(&[2]);
    let y = graph.add_layer(Dense { features: 2, bias: true, flatten: false }, &[x], "fc").unwrap();
    graph[y].epilogue.push(Epilogue::Activation(Activation::Relu));
    output(&mut graph, y);
    let graph = verified(graph);
    let errors = export::export(&graph, &[], &[]).err().unwrap();
    assert_eq!((errors.len(), errors[0].code), (1, "E0901"));
    assert!(errors[0].message.starts_with("fc cannot be said in ONNX"), "{}", errors[0].message);
}
