//! Decisions of tuning: whatever a cache holds, a network computes the same, and touches its operands alone.

use svertka::ir::weights::RandomWeights;
use svertka::ir::{Graph, Output, Verified, verify};
use svertka::kernels::tuning::Choices;
use svertka::layers::{Accumulate, Conv, Dense, Padding, Window};
use svertka::runtime::{Engine, Options, Session};
use svertka::schedule::{Offer, offers};
use svertka::tensor::{Batch, DType, Tensor, TensorType};
use svertka::{codegen::Isa, interp, schedule};

/// Emulated tiles may only touch the operands of their step.
fn engine(choice: usize) -> Engine {
    Engine::Emulated(Isa::ALL[choice % Isa::ALL.len()])
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// From 1 to `n`.
    fn size(&mut self, n: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 1 };
        self.0 = rest;
        1 + usize::from(first) % n
    }
}

fn graph(bytes: &mut Bytes) -> Verified<Graph> {
    let mut graph = Graph::default();
    let dims = vec![bytes.size(300), bytes.size(12), bytes.size(12)];
    let x = graph.add_input("x", TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims });
    let conv = |bytes: &mut Bytes| {
        let (kernel, stride, dilation) = (vec![bytes.size(3); 2], vec![bytes.size(2); 2], vec![1; 2]);
        let window = Window { kernel, stride, dilation, padding: Padding::Half, ceil: false };
        Conv { channels: bytes.size(40), window, groups: 1, bias: true, weights: None }
    };
    let a = graph.add_layer(conv(bytes), &[x], "a").expect("it is padded");
    let b = graph.add_layer(conv(bytes), &[a], "b").expect("it is padded");
    let dense = Dense { features: bytes.size(20), bias: true, flatten: true };
    let c = graph.add_layer(dense, &[b], "c").expect("it takes any shape");
    graph.outputs.push(Output { name: "y".into(), node: c });
    verify(graph).expect("well-formed")
}

/// One of the candidates, or something that is none.
fn decide(offer: &Offer, bytes: &mut Bytes) -> (String, String) {
    let decision = offer.candidates.get(bytes.size(16) - 1).cloned();
    (offer.key.clone(), decision.unwrap_or_else(|| "direct 99x99, by rows".into()))
}

/// The bytes choose the engine, the sizes of a network, and a decision for each of its layers.
///
/// # Panics
/// If the outputs are not those of the interpreter.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let engine = engine(bytes.size(256));
    let (graph, weights) = (graph(&mut bytes), RandomWeights { seed: 1 });
    let options = Options { engine, ..Options::default() };
    let offers = offers(&schedule::plan(graph.clone(), options.target()));
    let choices: Choices = offers.iter().map(|offer| decide(offer, &mut bytes)).collect();
    let mut tuned = Session::tuned(graph.clone(), &weights, &options, &choices).expect("it compiles");
    let shape = graph[graph.inputs[0]].ty.shape(2);
    let values = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
    let inputs = [Tensor::new(shape, values)];
    let expected = interp::run(&graph, &weights, &inputs, Accumulate::F64).remove(0);
    let found = tuned.run(&inputs).expect("it fits").remove(0);
    let largest = expected.data().iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let pairs = found.data().iter().zip(expected.data());
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= 1e-4 * largest), "{choices:?}");
}
