//! Random networks whose sizes are free, run at random sizes by one [`Sessions`], against the interpreter.

use crate::common::*;
use proptest::prelude::*;
use std::num::NonZeroUsize;
use svertka::interp;
use svertka::ir::{FreeSize, Graph, Sizes, Verified};
use svertka::layers::Accumulate;
use svertka::runtime::{Options, Sessions, SizedError};

/// A network of the parts that fit at this size.
fn free(channels: usize, [height, width]: [usize; 2], parts: &[Part]) -> Verified<Graph> {
    let mut graph = network(&[channels, height, width], parts).into_inner();
    graph.free = [("H", 1), ("W", 2)].map(|(name, dim)| FreeSize { name: name.into(), input: 0, dim }).into();
    verified(graph)
}

fn has_weight(graph: &Graph, other: &Graph, name: &str) -> bool {
    let dims = |graph: &Graph| graph.params.iter().find(|param| param.name == name).map(|param| param.dims.clone());
    dims(graph) == dims(other)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(48), ..ProptestConfig::default() })]

    #[test]
    fn every_size_agrees_with_the_interpreter(
        channels in 1usize..6,
        parts in prop::collection::vec(part(2), 1..5),
        sizes in prop::collection::vec([1usize..14, 1usize..14], 2..6),
        batch in 1usize..3,
        seed: u64,
    ) {
        let (usual, weights) = (free(channels, sizes[0], &parts), weights(seed));
        let build = |sizes: &Sizes| Ok(free(channels, [sizes[0].1, sizes[1].1], &parts));
        let capacity = NonZeroUsize::new(2).unwrap();
        let mut sessions = Sessions::new(usual.clone(), build, &weights, &Options::default(), capacity);
        for &size in sizes.iter().chain(&sizes[..1]) {
            let graph = free(channels, size, &parts);
            let inputs = inputs(&graph, batch, seed);
            match sessions.run(&inputs) {
                Ok(found) => {
                    let expected = interp::run(&graph, &weights, &inputs, Accumulate::F64);
                    prop_assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        let difference = difference(found, expected);
                        let close = difference <= 1e-4 || difference <= noise(&graph, &weights, &inputs, 1e-4);
                        prop_assert!(close, "{:?}: {}\n{}", size, difference, svertka::ir::print(&graph));
                    }
                }
                // A dense layer on all positions, or a layer that does not fit at the usual size.
                Err(SizedError::Weight(name)) => prop_assert!(!has_weight(&usual, &graph, &name), "{}", name),
                Err(error) => prop_assert!(false, "{:?}: {}", size, error),
            }
            prop_assert!(sessions.kept().len() <= 2);
        }
    }
}

/// As many as `PROPTEST_CASES` says.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}
