//! The reference interpreter: walks a graph with [`Layer::eval`].
//!
//! It says what is right. It runs graphs as built and graphs after any pass alike; where values lie in memory
//! (`slice_of`) does not concern it.

mod integer;
mod judge;

pub use judge::{ChannelError, channel_errors, distance};

use crate::ir::{
    self,
    weights::{self, WeightSource},
};
use crate::ir::{Epilogue, Graph, Node, NodeId, Verified};
use crate::layers::{Accumulate, Activation, Layer, Mul, Op, absolute};
use crate::tensor::{DType, Half, Tensor};

/// Evaluates the graph and gives the values of its outputs, in their order.
///
/// `inputs` are in the order of the graph's inputs, each [batch, dims of its type], all of one batch. A value is
/// dropped after its last use.
///
/// # Panics
/// If the inputs do not fit the graph in number or shape.
pub fn run(
    graph: &Verified<Graph>,
    weights: &dyn WeightSource,
    inputs: &[Tensor],
    accumulate: Accumulate,
) -> Vec<Tensor> {
    walk(graph, weights, inputs, accumulate, &mut |_, _, _| {})
}

/// As [`run`], but each value is changed by `change` before others read it: what becomes of errors that are made on the
/// way. It is given the sum of the magnitudes of each element's terms too, which rounding errors are in proportion to.
///
/// # Panics
/// As [`run`], and if `change` gives a value another shape.
pub fn run_changed(
    graph: &Verified<Graph>,
    weights: &dyn WeightSource,
    inputs: &[Tensor],
    accumulate: Accumulate,
    change: &mut dyn FnMut(&mut Tensor, &Tensor),
) -> Vec<Tensor> {
    walk(graph, weights, inputs, accumulate, &mut |id, value, operand| {
        let terms = magnitude(graph, id, operand, weights, value);
        change(value, &terms);
    })
}

/// As [`run`], and calls `observe` with each value.
///
/// # Panics
/// As [`run`].
pub fn run_observed(
    graph: &Verified<Graph>,
    weights: &dyn WeightSource,
    inputs: &[Tensor],
    accumulate: Accumulate,
    observe: &mut dyn FnMut(NodeId, &Tensor),
) -> Vec<Tensor> {
    walk(graph, weights, inputs, accumulate, &mut |id, value, _| observe(id, value))
}

/// Does something with the value of a node, which may read what came before.
type Change<'c> = dyn for<'v> FnMut(NodeId, &mut Tensor, &dyn Fn(NodeId) -> Option<&'v Tensor>) + 'c;

fn walk(
    graph: &Verified<Graph>,
    weights: &dyn WeightSource,
    inputs: &[Tensor],
    accumulate: Accumulate,
    change: &mut Change,
) -> Vec<Tensor> {
    check_inputs(graph, inputs);
    let last_use = last_uses(graph);
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes.len()];
    for id in graph.ids() {
        let operand = |id: NodeId| values[id.0 as usize].as_ref();
        let mut value = evaluate(graph, id, operand, weights, inputs, accumulate);
        change(id, &mut value, &operand);
        values[id.0 as usize] = Some(value);
        for used in graph[id].inputs.iter().chain([&id]).filter(|used| last_use[used.0 as usize] == Some(id)) {
            values[used.0 as usize] = None;
        }
    }
    graph.outputs.iter().map(|output| values[output.node.0 as usize].clone().expect("outputs are kept")).collect()
}

/// At most as many bytes as [`run`] takes for a batch, inputs and outputs counted: all values and all weights.
pub fn bytes(graph: &Graph, batch: usize) -> u64 {
    let value = |node: &Node| node.ty.elements() as u64;
    let values = graph.nodes.iter().map(value).fold(0, u64::saturating_add).saturating_mul(4 * batch as u64);
    let weights = graph.params.iter().map(|param| 4 * param.elements() as u64);
    weights.fold(values, u64::saturating_add)
}

fn check_inputs(graph: &Graph, inputs: &[Tensor]) {
    assert_eq!(inputs.len(), graph.inputs.len(), "number of inputs");
    for (input, &id) in inputs.iter().zip(&graph.inputs) {
        assert_eq!(input.shape(), graph[id].ty.shape(inputs[0].batch()), "input {}", graph[id].origin.path);
    }
}

/// The node after which a value is not needed: its last reader, or itself if there is none; `None` for outputs.
fn last_uses(graph: &Graph) -> Vec<Option<NodeId>> {
    let (users, outputs) = (graph.users(), graph.output_values());
    let last_use = |id: NodeId| users[id.0 as usize].last().copied().unwrap_or(id);
    graph.ids().map(|id| (!outputs[id.0 as usize]).then(|| last_use(id))).collect()
}

/// The value of one node, from those of the nodes that it reads.
fn evaluate<'v>(
    graph: &Graph,
    id: NodeId,
    value: impl Fn(NodeId) -> Option<&'v Tensor>,
    weights: &dyn WeightSource,
    inputs: &[Tensor],
    accumulate: Accumulate,
) -> Tensor {
    let node = &graph[id];
    let read = |id: NodeId| value(id).expect("nodes stand in topological order");
    if let Some(of) = ir::integer::of(graph, node).expect("verified") {
        return integer::evaluate(graph, node, &of, read, inputs[0].batch());
    }
    let mut y = match node.op.layer() {
        None => input(graph, id, inputs).clone(),
        Some(layer) => {
            with_operands(graph, node, read, weights, |operands, params| layer.eval(operands, params, accumulate))
        }
    };
    apply_epilogue(node, &mut y, read);
    if node.ty.dtype == DType::Bf16 {
        y.data_mut().iter_mut().for_each(|v| *v = Half::Bf16.round(*v));
    }
    y
}

/// For each element of a node's value the sum of the magnitudes of its terms: what rounding errors are in proportion to.
/// An activation behind the sum passes errors on, at most as its slope enlarges them, and adds some of its own value's.
fn magnitude<'v>(
    graph: &Graph,
    id: NodeId,
    value: impl Fn(NodeId) -> Option<&'v Tensor>,
    weights: &dyn WeightSource,
    y: &Tensor,
) -> Tensor {
    let node = &graph[id];
    let read = |id: NodeId| value(id).expect("nodes stand in topological order");
    let Some(layer) = node.op.layer() else { return absolute(y) };
    // Layers on whole numbers are exact.
    if ir::integer::of(graph, node).expect("verified").is_some() {
        return absolute(y);
    }
    let mut magnitude = with_operands(graph, node, read, weights, |operands, params| layer.magnitude(operands, params));
    for item in &node.epilogue {
        let data = magnitude.data_mut().iter_mut();
        match item {
            Epilogue::Activation(activation) => {
                let steepness = activation.steepness().expect("others are not fused");
                // Against the shift, the value before it may cancel.
                let shift = if let Activation::Affine { shift, .. } = activation { shift.abs() } else { 0.0 };
                data.for_each(|m| *m = *m * steepness + shift);
            }
            Epilogue::Add { input } => data.zip(read(node.inputs[*input]).data()).for_each(|(m, o)| *m += o.abs()),
        }
    }
    magnitude.data_mut().iter_mut().zip(y.data()).for_each(|(m, y)| *m = m.max(y.abs()));
    magnitude
}

/// Calls `f` with a layer's operands and parameters.
fn with_operands<'v>(
    graph: &Graph,
    node: &Node,
    read: impl Fn(NodeId) -> &'v Tensor,
    weights: &dyn WeightSource,
    f: impl FnOnce(&[&Tensor], &[&[f32]]) -> Tensor,
) -> Tensor {
    let gated = node.gate().map(|gate| Mul.eval(&[read(node.inputs[0]), read(gate)], &[], Accumulate::F64));
    let operands: Vec<&Tensor> = match &gated {
        Some(x) => vec![x],
        None => node.operands().iter().map(|&id| read(id)).collect(),
    };
    let mut params: Vec<_> = node.params.iter().map(|&param| weights::values(graph, param, weights)).collect();
    // Weights are rounded as what they meet was.
    if node.operands().iter().any(|&id| graph[id].ty.dtype == DType::Bf16) {
        params[0].to_mut().iter_mut().for_each(|w| *w = Half::Bf16.round(*w));
    }
    f(&operands, &params.iter().map(|p| &p[..]).collect::<Vec<_>>())
}

fn input<'t>(graph: &Graph, id: NodeId, inputs: &'t [Tensor]) -> &'t Tensor {
    debug_assert!(matches!(graph[id].op, Op::Input));
    let index = graph.inputs.iter().position(|&input| input == id).expect("every input node is an input of the graph");
    &inputs[index]
}

fn apply_epilogue<'v>(node: &Node, y: &mut Tensor, read: impl Fn(NodeId) -> &'v Tensor) {
    for item in &node.epilogue {
        match item {
            Epilogue::Activation(activation) => y.data_mut().iter_mut().for_each(|v| *v = activation.apply(*v)),
            Epilogue::Add { input } => {
                let other = read(node.inputs[*input]);
                y.data_mut().iter_mut().zip(other.data()).for_each(|(v, o)| *v += o);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::weights::RandomWeights;
    use crate::ir::{Origin, Output, Param, ParamSource, verify};
    use crate::layers::{Add, Conv, Dense, Flatten, MaxPool, Padding, Window};
    use crate::tensor::{Batch, TensorType};

    const WEIGHTS: RandomWeights = RandomWeights { seed: 7 };

    fn add_input(graph: &mut Graph, dims: &[usize]) -> NodeId {
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: dims.to_vec() };
        let id = add_node(graph, Op::Input, &[], "input", ty);
        graph.inputs.push(id);
        id
    }

    fn add_node(graph: &mut Graph, op: Op, inputs: &[NodeId], path: &str, ty: TensorType) -> NodeId {
        let origin = Origin { path: path.into(), span: None };
        graph.add_node(Node::new(op, inputs.to_vec(), Vec::new(), ty, origin))
    }

    fn add_layer(graph: &mut Graph, op: impl Into<Op>, inputs: &[NodeId], path: &str) -> NodeId {
        let op = op.into();
        let types: Vec<&TensorType> = inputs.iter().map(|&id| &graph[id].ty).collect();
        let ty = op.layer().unwrap().shape(&types).unwrap();
        let specs = op.layer().unwrap().params(&types);
        let id = add_node(graph, op, inputs, path, ty);
        for spec in specs {
            let name = format!("{path}.{}", spec.role);
            let param = graph.add_param(Param { name, dims: spec.dims, source: ParamSource::File, init: spec.init });
            graph[id].params.push(param);
        }
        id
    }

    fn add_output(graph: &mut Graph, name: &str, node: NodeId) {
        graph.outputs.push(Output { name: name.into(), node });
    }

    fn window(kernel: usize, stride: usize, padding: Padding) -> Window {
        Window { kernel: vec![kernel; 2], stride: vec![stride; 2], dilation: vec![1; 2], padding, ceil: false }
    }

    fn conv(channels: usize, kernel: usize, padding: Padding) -> Conv {
        Conv { channels, window: window(kernel, 1, padding), groups: 1, bias: true, weights: None }
    }

    /// LeNet-5 with relu and max pooling.
    fn lenet() -> Verified<Graph> {
        let mut graph = Graph::default();
        let mut x = add_input(&mut graph, &[1, 28, 28]);
        for (path, channels, padding) in [("conv1", 6, Padding::All(2)), ("conv2", 16, Padding::Valid)] {
            x = add_layer(&mut graph, conv(channels, 5, padding), &[x], path);
            x = add_layer(&mut graph, Activation::Relu, &[x], "relu");
            x = add_layer(&mut graph, MaxPool { window: window(2, 2, Padding::Valid) }, &[x], "pool");
        }
        x = add_layer(&mut graph, Flatten, &[x], "flatten");
        for (path, features) in [("fc1", 120), ("fc2", 84), ("fc3", 10)] {
            x = add_layer(&mut graph, Dense { features, bias: true, flatten: false }, &[x], path);
            if features != 10 {
                x = add_layer(&mut graph, Activation::Relu, &[x], "relu");
            }
        }
        add_output(&mut graph, "logits", x);
        verify(graph).unwrap()
    }

    /// Values in [-1, 1) without a pattern that a layer could hide.
    fn picture(shape: &[usize]) -> Tensor {
        let elements: usize = shape.iter().product();
        Tensor::new(
            shape,
            (0..elements as u32).map(|i| (i.wrapping_mul(2_654_435_761) as i32) as f32 / 2f32.powi(31)).collect(),
        )
    }

    #[test]
    fn lenet_keeps_samples_apart() {
        let graph = lenet();
        let x = picture(&[3, 1, 28, 28]);
        let [y] = &run(&graph, &WEIGHTS, std::slice::from_ref(&x), Accumulate::F32)[..] else { panic!("one output") };
        assert_eq!(y.shape(), [3, 10]);
        for n in 0..3 {
            let sample = Tensor::new([1, 1, 28, 28], x.plane(n, 0).to_vec());
            let alone = run(&graph, &WEIGHTS, &[sample], Accumulate::F32);
            assert_eq!(alone[0].data(), &y.data()[10 * n..10 * (n + 1)]);
        }
    }

    #[test]
    fn precisions_agree_nearly() {
        let x = [picture(&[2, 1, 28, 28])];
        let [single, double] = [Accumulate::F32, Accumulate::F64].map(|a| run(&lenet(), &WEIGHTS, &x, a).remove(0));
        let largest = double.data().iter().fold(0f32, |m, v| m.max(v.abs()));
        let error = single.data().iter().zip(double.data()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error > 0.0 && error <= 1e-5 * largest, "{error} of {largest}");
    }

    #[test]
    fn epilogues_run_in_order() {
        let mut plain = Graph::default();
        let x = add_input(&mut plain, &[2, 4, 4]);
        let c = add_layer(&mut plain, conv(2, 3, Padding::Half), &[x], "conv");
        let relu = add_layer(&mut plain, Activation::Relu, &[c], "relu");
        let sum = add_layer(&mut plain, Add, &[relu, x], "add");
        let tanh = add_layer(&mut plain, Activation::Tanh, &[sum], "tanh");
        add_output(&mut plain, "y", tanh);

        let mut fused = Graph::default();
        let x = add_input(&mut fused, &[2, 4, 4]);
        let c = add_layer(&mut fused, conv(2, 3, Padding::Half), &[x], "conv");
        fused[c].inputs.push(x);
        fused[c].epilogue = vec![
            Epilogue::Activation(Activation::Relu),
            Epilogue::Add { input: 1 },
            Epilogue::Activation(Activation::Tanh),
        ];
        add_output(&mut fused, "y", c);

        let [plain, fused] = [plain, fused].map(|graph| verify(graph).unwrap());
        let x = [picture(&[2, 2, 4, 4])];
        assert_eq!(run(&fused, &WEIGHTS, &x, Accumulate::F32), run(&plain, &WEIGHTS, &x, Accumulate::F32));
    }

    /// Outputs, even those in the middle and inputs, live to the end; values without a reader do no harm.
    #[test]
    fn outputs_are_kept_in_their_order() {
        let mut graph = Graph::default();
        let (a, b) = (add_input(&mut graph, &[2]), add_input(&mut graph, &[2]));
        let sum = add_layer(&mut graph, Add, &[a, b], "sum");
        let product = add_layer(&mut graph, Mul, &[sum, sum], "product");
        add_layer(&mut graph, Activation::Relu, &[sum], "unused");
        [product, a, sum, product].into_iter().for_each(|id| add_output(&mut graph, "y", id));
        let inputs = [Tensor::new([1, 2], vec![1.0, 2.0]), Tensor::new([1, 2], vec![10.0, 20.0])];
        let outputs = run(&verify(graph).unwrap(), &WEIGHTS, &inputs, Accumulate::F32);
        let data: Vec<&[f32]> = outputs.iter().map(Tensor::data).collect();
        assert_eq!(data, [[121.0, 484.0], [1.0, 2.0], [11.0, 22.0], [121.0, 484.0]]);
    }

    #[test]
    #[should_panic(expected = "input")]
    fn inputs_must_fit() {
        run(&lenet(), &WEIGHTS, &[picture(&[1, 1, 28, 27])], Accumulate::F32);
    }
}
