//! Single layers of the classic networks, one thread, weights and values hot in cache where they fit.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use svertka::codegen::Isa;
use svertka::ir::weights::RandomWeights;
use svertka::ir::{Graph, Output};
use svertka::layers::{Conv, Layer, Padding, Window};
use svertka::runtime::{Engine, Options, Session};
use svertka::tensor::{Batch, DType, Tensor, TensorType};

/// (name, input channels, size, output channels, kernel, stride, groups)
const LAYERS: &[(&str, usize, usize, usize, usize, usize, usize)] = &[
    ("stem 7x7/2", 3, 224, 64, 7, 2, 1),
    ("3x3 64@56", 64, 56, 64, 3, 1, 1),
    ("3x3 128@28", 128, 28, 128, 3, 1, 1),
    ("3x3 256@14", 256, 14, 256, 3, 1, 1),
    ("3x3 512@7", 512, 7, 512, 3, 1, 1),
    ("1x1 64-256@56", 64, 56, 256, 1, 1, 1),
    ("1x1 256-64@56", 256, 56, 64, 1, 1, 1),
    ("1x1 512-128@28", 512, 28, 128, 1, 1, 1),
    ("1x1 1024-256@14", 1024, 14, 256, 1, 1, 1),
    ("1x1 2048-512@7", 2048, 7, 512, 1, 1, 1),
    ("1x1/2 256-512@56", 256, 56, 512, 1, 2, 1),
    ("depthwise 3x3 96@112", 96, 112, 96, 3, 1, 96),
    ("depthwise 3x3/2 96@112", 96, 112, 96, 3, 2, 96),
    ("depthwise 5x5 240@28", 240, 28, 240, 5, 1, 240),
];

fn layers(c: &mut Criterion) {
    for isa in Isa::available() {
        let mut group = c.benchmark_group(isa.to_string());
        for &(name, channels_in, size, channels, kernel, stride, groups) in LAYERS {
            let window = Window {
                kernel: vec![kernel; 2],
                stride: vec![stride; 2],
                dilation: vec![1; 2],
                padding: Padding::Half,
                ceil: false,
            };
            let conv = Conv { channels, window, groups, bias: true, weights: None };
            let ty = TensorType {
                dtype: DType::F32,
                batch: Batch::Symbolic("N".into()),
                dims: vec![channels_in, size, size],
            };
            let macs = conv.macs(&[&ty]);
            let mut graph = Graph::default();
            let x = graph.add_input("x", ty.clone());
            // A second convolution reads the first one's blocked layout; only the first is of interest, so it is 1x1
            // with one channel.
            let y = graph.add_layer(conv, &[x], "conv").unwrap();
            graph.outputs.push(Output { name: "y".into(), node: y });
            let options = Options { engine: Engine::Jit(isa), ..Options::default() };
            let mut session =
                Session::new(svertka::ir::verify(graph).unwrap(), &RandomWeights { seed: 1 }, &options).unwrap();
            let input = Tensor::zeros(ty.shape(1));
            group.throughput(Throughput::Elements(2 * macs));
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| session.run(std::slice::from_ref(&input)).unwrap())
            });
        }
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
