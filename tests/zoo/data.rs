//! Cards, real weights, pictures and reference outputs.

use super::{Name, folder, graph};
use std::path::Path;
use svertka::io::card::{Card, Preprocessing};
use svertka::io::npy::{self, ArrayData};
use svertka::io::preprocess::{Input, Layout, prepare};
use svertka::ir::Graph;
use svertka::tensor::Tensor;

pub use svertka::io::testdata::{committed, shared};

/// The card of a model, of its variant if one is named.
pub fn card(name: &Name) -> Card {
    let path = folder().join(&name.file).with_extension("cnn");
    let card = Card::for_model(&path).unwrap_or_else(|error| panic!("{error}"));
    let card = card.unwrap_or_else(|| panic!("{} has no card", name.file));
    name.variant.as_ref().map_or(card.clone(), |variant| card.for_variant(variant))
}

/// Pictures, or an array of them, as the input of a graph.
pub fn input(path: &Path, how: &Preprocessing, graph: &Graph, layout: Option<Layout>) -> Tensor {
    let input = Input::read(path, None).unwrap();
    let dims = &graph[graph.inputs[0]].ty.dims;
    prepare(path, input, how, dims, layout).unwrap_or_else(|error| panic!("{error}"))
}

/// A row of numbers for each sample.
pub fn logits(path: &Path) -> Tensor {
    let array = npy::read(path).unwrap();
    let ArrayData::F32(values) = array.data else { panic!("{} holds no f32", path.display()) };
    Tensor::new(array.shape, values)
}

pub fn bytes(path: &Path) -> Vec<u8> {
    let ArrayData::U8(values) = npy::read(path).unwrap().data else { panic!("{} holds no u8", path.display()) };
    values
}

/// Samples one after the other.
pub fn batch(samples: &[Tensor]) -> Tensor {
    let mut shape = samples[0].shape().to_vec();
    shape[0] = samples.iter().map(Tensor::batch).sum();
    Tensor::new(shape, samples.iter().flat_map(|sample| sample.data()).copied().collect())
}

/// The first samples of a batch.
pub fn first(x: &Tensor, samples: usize) -> Tensor {
    let mut shape = x.shape().to_vec();
    shape[0] = samples.min(shape[0]);
    let len = shape.iter().product();
    Tensor::new(shape, x.data()[..len].to_vec())
}

/// The photographs in the order of their logits.
pub fn order() -> Vec<String> {
    let top5 = std::fs::read_to_string(shared("imagenet/top5.json")).unwrap();
    let top5: serde_json::Value = serde_json::from_str(&top5).unwrap();
    top5["image_order"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// All of them as a model takes them.
pub fn photographs(name: &Name) -> Tensor {
    let (graph, how) = (graph(name), card(name).preprocessing);
    let read = |photograph: String| input(&shared(&format!("imagenet/{photograph}_224.png")), &how, &graph, None);
    batch(&order().into_iter().map(read).collect::<Vec<_>>())
}
