//! Layers on whole numbers: the same in f32, between DequantizeLinear and QuantizeLinear.

use super::builder::{Site, Step};
use super::call::Call;
use super::pointwise;
use crate::ir::{Epilogue, Graph, Node};
use crate::tensor::DType;

/// What is fused behind a layer on whole numbers, and the numbers that its value becomes. Nothing for other layers.
/// <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>
pub fn behind(site: &mut Site, step: Step) -> Step {
    let sizes = site.own_sizes();
    let mut step = step;
    for item in &site.node.epilogue {
        let x = site.done(step, &sizes);
        step = match item {
            Epilogue::Add { input } => Call::new("Add", [x, site.input(*input)]),
            Epilogue::Activation(activation) => pointwise::limited(site, x, *activation),
        }
        .into();
    }
    let DType::U8(numbers) = site.node.ty.dtype else { return step };
    if site.is_brought_to_concat() {
        return step;
    }
    let x = site.done(step, &sizes);
    let scale = site.scalar("scale", numbers.scale().into());
    let zero = site.byte("zero_point", numbers.zero_point());
    let mut whole = site.bytes(Call::new("QuantizeLinear", [x, scale.clone(), zero.clone()]), &sizes);
    if numbers.top() < u8::MAX {
        let limits = [site.byte("low", 0), site.byte("high", numbers.top())];
        whole = site.bytes(Call::new("Clip", [vec![whole], limits.into()].concat()), &sizes);
    }
    Call::new("DequantizeLinear", [whole, scale, zero]).into()
}

/// The steps of a layer's sums, in which its bias is: that of its operand times those of its weights.
pub fn steps(graph: &Graph, node: &Node, scales: &[f32]) -> Vec<f32> {
    let DType::U8(input) = graph[node.inputs[0]].ty.dtype else {
        unreachable!("a bias of whole numbers is behind them")
    };
    scales.iter().map(|&scale| (f64::from(input.scale()) * f64::from(scale)) as f32).collect()
}
