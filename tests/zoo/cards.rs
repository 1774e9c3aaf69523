//! Model cards against the models that they describe.

use super::data::{card, input};
use super::{all, folder, graph};
use svertka::io::card::Card;
use svertka::ir::{Graph, NodeId};

/// Sizes of one sample.
fn dims(graph: &Graph, id: NodeId) -> &[usize] {
    &graph[id].ty.dims
}

#[test]
fn every_card_names_variants_that_exist() {
    let known = all();
    for file in super::files() {
        let card = Card::read(&folder().join(&file).with_extension("yaml")).unwrap_or_else(|error| panic!("{error}"));
        assert!(card.title.is_some() && card.source.is_some(), "{file}");
        for variant in card.variants.keys() {
            let exists = known.iter().any(|name| name.file == file && name.variant.as_ref() == Some(variant));
            assert!(exists, "{file} has no variant {variant}");
        }
    }
}

#[test]
fn every_class_has_a_label() {
    for name in all() {
        let (card, graph) = (card(&name), graph(&name));
        let labels = card.labels().unwrap_or_else(|error| panic!("{error}"));
        let channels = dims(&graph, graph.outputs[0].node)[0];
        assert!(labels.is_empty() || labels.len() == channels, "{name} has {channels} classes");
        assert!(!labels.is_empty() || card.accuracy.is_none(), "{name} is a classifier without labels");
    }
}

/// Resizing and cropping give what the network takes.
#[test]
fn pictures_fit_the_network() {
    for name in all() {
        let (card, graph) = (card(&name), graph(&name));
        let sample = dims(&graph, graph.inputs[0]);
        if let [1 | 3, _, _] = *sample {
            let how = &card.preprocessing;
            // Pictures keep their size where the card says nothing.
            if how.size.is_some() || how.crop.is_some() {
                let tensor = input(&folder().join("pictures/coffee_224.png"), how, &graph, None);
                assert_eq!(&tensor.shape()[1..], sample, "{name}");
            }
            let made = how.size.or(how.crop.map(|side| [side; 2])).map(|sides| sides.map(|side| side.get() as usize));
            assert!(made.is_none_or(|made| made == sample[1..]), "{name} takes {sample:?}, its card makes {made:?}");
        }
    }
}
