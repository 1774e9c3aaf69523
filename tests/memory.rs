//! How much memory a network adds to a process: packed weights, arena, and little else. One test alone in its process,
//! whose figures it reads.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared with the differential tests")]
mod common;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use std::path::Path;
use svertka::bench::machine;
use svertka::io::bind::BoundWeights;
use svertka::io::weights::WeightFile;
use svertka::ir::weights::{RandomWeights, WeightSource};
use svertka::ir::{Graph, Verified, verify};
use svertka::layers::{Conv, Dense, Padding, Window};
use svertka::runtime::{Options, Session};

const MIB: u64 = 1 << 20;

/// Convolutions in the forms that are packed in different ways, and a dense layer of more than 128 MiB.
fn network() -> Verified<Graph> {
    let (mut graph, mut x) = common::graph_of(&[256, 14, 14]);
    for (name, channels, kernel, stride) in [("wide", 512, 3, 1), ("strided", 512, 3, 2), ("pointwise", 1024, 1, 1)] {
        let (kernel, stride, dilation) = (vec![kernel; 2], vec![stride; 2], vec![1; 2]);
        let window = Window { kernel, stride, dilation, padding: Padding::Half, ceil: false };
        let conv = Conv { channels, window, groups: 1, bias: true, weights: None };
        x = graph.add_layer(conv, &[x], name).unwrap();
    }
    let dense = Dense { features: 700, bias: true, flatten: true };
    x = graph.add_layer(dense, &[x], "dense").unwrap();
    common::output(&mut graph, x);
    verify(graph).unwrap()
}

fn write_weights(graph: &Graph, path: &Path) {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = graph
        .params
        .iter()
        .map(|param| (param.name.clone(), param.dims.clone(), bytes(&RandomWeights { seed: 1 }.values(param))))
        .collect();
    let views = tensors
        .iter()
        .map(|(name, dims, bytes)| (name.as_str(), TensorView::new(Dtype::F32, dims.clone(), bytes).unwrap()));
    serialize_to_file(views, None, path).unwrap();
}

#[test]
#[cfg_attr(not(tool = "clear_refs"), ignore = "needs a peak of memory that can be reset")]
fn memory_is_weights_and_arena_and_little_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("network.safetensors");
    let graph = network();
    write_weights(&graph, &file);
    // The peak is counted anew from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = machine::peak_rss();
    let weights = BoundWeights::bind(&graph, WeightFile::open(&file).unwrap()).unwrap();
    let inputs = common::inputs(&graph, 1, 1);
    let mut session = Session::new(graph, &weights, &Options { threads: 2, ..Options::default() }).unwrap();
    session.run(&inputs).unwrap();
    let (packed, arena) = (session.constant_bytes() as u64, session.plan().arena_bytes() as u64);
    let added = machine::peak_rss() - before;
    let figures = [added, packed, arena, before].map(|bytes| bytes / MIB);
    let [more, weights, values, rest] = figures;
    eprintln!("{more} MiB for {weights} MiB of packed weights and {values} MiB of values; {rest} MiB before");
    assert!(packed > 128 * MIB, "more than what is allowed beside it");
    assert!(added <= packed + arena + 30 * MIB);
}
