//! Shared libraries of real networks against sessions in memory: the same kernels, so the same bits.

use super::{graph, name};
use svertka::aot::{self, Cpu, Emit};
use svertka::ir::weights::RandomWeights;
use svertka::ir::{Graph, Verified};
use svertka::runtime::library::Library;
use svertka::runtime::{Options, Session};
use svertka::schedule;
use svertka::tensor::Tensor;

/// One of each kind of convolution: Winograd's, depthwise, grouped, in concatenations, behind gates.
const NETWORKS: [&str; 5] = ["squeezenet", "resnet:resnet18", "mobilenet_v2", "mobilenet_v3", "densenet"];
const WEIGHTS: RandomWeights = RandomWeights { seed: 3 };

/// Values in [0, 1) that look random.
fn input(graph: &Verified<Graph>) -> Tensor {
    let shape = graph[graph.inputs[0]].ty.shape(1);
    let values = (0..shape.iter().product()).map(|i: usize| (i.wrapping_mul(0x9e37_79b1) >> 8) as u8 as f32 / 256.0);
    Tensor::new(shape.clone(), values.collect())
}

fn bits(outputs: &[Tensor]) -> Vec<u32> {
    outputs.iter().flat_map(Tensor::data).map(|value| value.to_bits()).collect()
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn libraries_give_the_bits_of_sessions() {
    for network in NETWORKS {
        let graph = graph(&name(network));
        let input = [input(&graph)];
        let options = Options::default();
        let expected = Session::new(graph.clone(), &WEIGHTS, &options).unwrap().run(&input).unwrap();

        let plan = schedule::plan(graph, options.target());
        let (cpu, emit) = (Cpu::named("native").unwrap(), vec![Emit::Shared]);
        let (weights, memory_limit) = (aot::Weights::Embed, usize::MAX);
        let options = aot::Options { name: "net".into(), cpu, emit, weights, own_memory: None, memory_limit };
        let artifacts = aot::compile(&plan, &WEIGHTS, &options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnet.so");
        std::fs::write(&path, &artifacts.files[0].1).unwrap();
        for threads in [1, 2] {
            // SAFETY: it was compiled just now.
            let mut library = unsafe { Library::open(&path, "net", threads) }.unwrap();
            let found = library.run(&input).unwrap();
            assert!(bits(&found) == bits(&expected), "{network}, {threads} threads");
        }
    }
}
