//! Gemm (7, 9, 11, 13) and MatMul (1, 9, 13) with a constant matrix: a dense layer, or a convolution of one position where
//! the features are the channels of a value with other sizes.

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value};
use crate::front::onnx::constant::Const;
use crate::front::onnx::flow::{Flow, whole_axis};
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::front::onnx::weights::Weight;
use crate::ir::NodeId;
use crate::layers::{AdaptiveAvgPool, Conv, Dense, Op, Padding, Window};

pub const RULES: Rules = &[("Gemm", gemm), ("MatMul", matmul)];

/// A matrix of a file: features times outputs, and how far its neighbours lie from each other.
struct Matrix<'c> {
    source: &'c Const,
    features: usize,
    outputs: usize,
    feature_stride: usize,
    output_stride: usize,
}

impl<'c> Matrix<'c> {
    fn new(source: &'c Const, transposed: bool) -> Result<Matrix<'c>, Refusal> {
        let [rows, columns] = source.dims[..] else {
            return Err(Refusal::new(format!("a constant of {:?}, which is no matrix", source.dims)));
        };
        if rows == 0 || columns == 0 {
            return Err(Refusal::new("an empty matrix"));
        }
        Ok(match transposed {
            true => Matrix { source, features: columns, outputs: rows, feature_stride: 1, output_stride: columns },
            false => Matrix { source, features: rows, outputs: columns, feature_stride: columns, output_stride: 1 },
        })
    }

    /// Whether each output is the mean of what an adaptive pooling takes together.
    fn is_means(&self) -> bool {
        let Ok(values) = self.source.values() else { return false };
        let share = |output: usize, feature: usize| {
            let region = AdaptiveAvgPool::region(output, self.features, self.outputs);
            if region.contains(&feature) { 1.0 / region.len() as f64 } else { 0.0 }
        };
        let is_share = |output: usize, feature: usize| {
            let value = values[output * self.output_stride + feature * self.feature_stride];
            (value - share(output, feature)).abs() < 1e-6
        };
        (0..self.outputs).all(|output| (0..self.features).all(|feature| is_share(output, feature)))
    }

    /// One row for each output. `order` has sizes of the features in ONNX's order and where they lie in a sample here.
    fn weight(&self, order: &[(usize, usize)]) -> Result<Weight, Refusal> {
        // Both orders name the same sizes: those of the sample by where they lie, those of the matrix by their turn.
        let mut turn = self.feature_stride * self.features;
        let mut parts: Vec<(usize, usize, usize)> = Vec::new();
        for &(size, place) in order {
            turn /= size;
            parts.push((place, size, turn));
        }
        parts.sort_by_key(|&(place, ..)| std::cmp::Reverse(place));
        let shape = [self.outputs].into_iter().chain(parts.iter().map(|part| part.1)).collect();
        let strides = [self.output_stride].into_iter().chain(parts.iter().map(|part| part.2)).collect();
        Weight::ordered(self.source, shape, strides)
    }
}

fn gemm(importer: &mut Importer, call: &Call) -> Outputs {
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let (trans_a, trans_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    let mut x = call.flow(0)?.clone();
    if trans_a {
        x = x.transposed(&[1, 0])?;
    }
    let matrix = Matrix::new(call.constant(1)?, trans_b)?;
    let bias = match call.optional_constant(2)? {
        Some(bias) if beta != 0.0 => Some(row(bias, matrix.outputs)?.times(beta)),
        _ => None,
    };
    let node = dense(importer, call, &x, &matrix, alpha, bias)?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// One number for each output, of a constant that may have one for all.
fn row(bias: &Const, outputs: usize) -> Result<Weight, Refusal> {
    let fits = bias.dims.iter().rev().skip(1).all(|&dim| dim == 1);
    match bias.dims.last() {
        Some(&last) if fits && last == outputs => Ok(Weight::of(bias)),
        None | Some(1) if fits => Ok(Weight::of(&fold::expand(&bias.reshaped(vec![1])?, &[outputs])?)),
        _ => Err(Refusal::new(format!("a summand of {:?} for {outputs} outputs", bias.dims))),
    }
}

fn dense(
    importer: &mut Importer,
    call: &Call,
    x: &Flow,
    matrix: &Matrix,
    factor: f32,
    bias: Option<Weight>,
) -> Result<NodeId, Refusal> {
    let (node, order) = importer.features(x)?;
    let features = importer.ty(node).elements();
    if features != matrix.features {
        return Err(Refusal::new(format!("a matrix of {} rows for {features} features", matrix.features)));
    }
    let layer = Dense { features: matrix.outputs, bias: bias.is_some(), flatten: false };
    let weights = [Some(matrix.weight(&order)?.times(factor)), bias].into_iter().flatten().collect();
    importer.weighted(layer, node, call, weights)
}

fn matmul(importer: &mut Importer, call: &Call) -> Outputs {
    let Value::Flow(x) = call.value(0)? else { return means_of_columns(importer, call) };
    let matrix = Matrix::new(call.constant(1)?, false)?;
    if let Some(mean) = means(importer, x, x.rank() - 1, &matrix)? {
        return Ok(vec![mean.into()]);
    }
    if x.rank() == 2
        && let Ok((_, order)) = importer.features(x)
        && order.iter().map(|part| part.0).product::<usize>() == matrix.features
    {
        let node = dense(importer, call, x, &matrix, 1.0, None)?;
        return Ok(vec![Flow::of(node, importer.ty(node)).into()]);
    }
    channelwise(importer, call, &x.clone(), &matrix)
}

/// A constant times a value: an adaptive pooling of the last axis but one.
fn means_of_columns(importer: &mut Importer, call: &Call) -> Outputs {
    let refusal = || Refusal::new("the first operand is a constant");
    let (Value::Const(matrix), Value::Flow(x)) = (call.value(0)?, call.value(1)?) else { return Err(refusal()) };
    let axis = x.rank().checked_sub(2).ok_or_else(refusal)?;
    let mean = means(importer, x, axis, &Matrix::new(matrix, true)?)?;
    Ok(vec![mean.ok_or_else(refusal)?.into()])
}

/// Where an axis is positions, and each output the mean of a region: an adaptive pooling, the same one where that of
/// another dimension goes before.
fn means(importer: &mut Importer, x: &Flow, axis: usize, matrix: &Matrix) -> Result<Option<Flow>, Refusal> {
    let ty = importer.ty(x.node).clone();
    let Some(dim) = (2..=ty.dims.len()).find(|&dim| x.axes[axis] == whole_axis(&ty, dim)) else { return Ok(None) };
    let others = x.axes.iter().enumerate().filter(|(other, _)| *other != axis);
    let alone = others.flat_map(|(_, atoms)| atoms).all(|atom| atom.dim != dim);
    if !alone || ty.dims[dim - 1] != matrix.features || !matrix.is_means() {
        return Ok(None);
    }
    let (mut input, mut size) = (x.node, ty.spatial().to_vec());
    // What is rounded in between is a pooling of its own.
    if matches!(importer.graph[input].op, Op::AdaptiveAvgPool(_)) && !importer.seen.said.contains_key(&input) {
        let before = importer.graph[input].inputs[0];
        if importer.ty(before).spatial()[dim - 2] == size[dim - 2] {
            input = before;
        }
    }
    size[dim - 2] = matrix.outputs;
    let node = importer.layer(AdaptiveAvgPool { size }, &[input])?;
    let mut flow = Flow { node, ..x.clone() };
    flow.axes[axis] = whole_axis(importer.ty(node), dim);
    Ok(Some(flow))
}

/// Where the last axis is the channels: the same matrix at each position.
fn channelwise(importer: &mut Importer, call: &Call, x: &Flow, matrix: &Matrix) -> Outputs {
    let ty = importer.ty(x.node).clone();
    let axis = x.rank() - 1;
    let is_channels = x.axes[axis] == whole_axis(&ty, 1) && ty.channels() == matrix.features;
    let others = x.axes[..axis].iter().flatten().all(|atom| atom.dim != 1);
    if !is_channels || !others || ty.spatial().is_empty() {
        return Err(Refusal::new(format!("a value of shape {}, whose last axis is not its channels", x.text())));
    }
    let ones = vec![1; ty.spatial().len()];
    let window =
        Window { kernel: ones.clone(), stride: ones.clone(), dilation: ones, padding: Padding::Valid, ceil: false };
    let layer = Conv { channels: matrix.outputs, window, groups: 1, bias: false, weights: None };
    let weights = vec![matrix.weight(&[(matrix.features, 1)])?];
    let node = importer.weighted(layer, x.node, call, weights)?;
    let mut flow = Flow { node, ..x.clone() };
    flow.axes[axis] = whole_axis(importer.ty(node), 1);
    Ok(vec![flow.into()])
}
