//! ReduceMean, ReduceMax, ReduceMin, ReduceL1, ReduceL2, ReduceSumSquare (1, 11, 13, 18, 20), ReduceSum (1, 11, 13), and
//! ReduceProd of constants: over channels, positions, and single dimensions of these.

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value, axis_of};
use crate::front::onnx::constant::{Const, Number};
use crate::front::onnx::flow::{Axis, Flow, Size};
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::ir::NodeId;
use crate::layers::{
    Activation, AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool, Mul, Op, Padding, Reduce, Reduced, Reduction, Window,
};
use crate::tensor::TensorType;

pub const RULES: Rules = &[
    ("ReduceMean", |importer, call| reduce(importer, call, 18, Reduction::Mean)),
    ("ReduceMax", |importer, call| reduce(importer, call, 18, Reduction::Max)),
    ("ReduceMin", |importer, call| reduce(importer, call, 18, Reduction::Min)),
    ("ReduceSum", |importer, call| reduce(importer, call, 13, Reduction::Sum)),
    ("ReduceL1", |importer, call| sum_of(importer, call, magnitude, None)),
    ("ReduceL2", |importer, call| sum_of(importer, call, square, Some(Activation::Sqrt))),
    ("ReduceSumSquare", |importer, call| sum_of(importer, call, square, None)),
    ("ReduceProd", product),
];

/// The axes are an attribute before version `since`, an operand from then on.
fn axes(call: &Call, rank: usize, since: i64) -> Result<Option<Vec<usize>>, Refusal> {
    let axes = match call.moved_ints("axes", 1, since)? {
        Some(axes) if !axes.is_empty() => {
            axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>, _>>()?
        }
        _ if call.flag("noop_with_empty_axes", false)? => return Ok(None),
        _ => (0..rank).collect(),
    };
    call.flag("noop_with_empty_axes", false)?;
    Ok(Some(axes))
}

fn reduce(importer: &mut Importer, call: &Call, since: i64, how: Reduction) -> Outputs {
    let keep = call.flag("keepdims", true)?;
    let x = operand(call)?;
    match axes(call, x.rank(), since)? {
        Some(axes) => Ok(vec![reduced(importer, &x, &axes, how, keep)?.into()]),
        None => Ok(vec![x.into()]),
    }
}

/// The sum of a function of each element, and what is made of it.
fn sum_of(
    importer: &mut Importer,
    call: &Call,
    f: fn(&mut Importer, NodeId) -> Result<NodeId, Refusal>,
    last: Option<Activation>,
) -> Outputs {
    let keep = call.flag("keepdims", true)?;
    let x = operand(call)?;
    // Whether the function is applied then is not the same in all versions.
    let axes =
        axes(call, x.rank(), 18)?.ok_or_else(|| Refusal::new("attribute `noop_with_empty_axes` is 1, without axes"))?;
    let x = Flow { node: f(importer, x.node)?, ..x };
    let sum = reduced(importer, &x, &axes, Reduction::Sum, keep)?;
    let node = last.map_or(Ok(sum.node), |last| importer.layer(last, &[sum.node]))?;
    Ok(vec![Flow { node, ..sum }.into()])
}

fn magnitude(importer: &mut Importer, x: NodeId) -> Result<NodeId, Refusal> {
    importer.layer(Activation::Abs, &[x])
}

fn square(importer: &mut Importer, x: NodeId) -> Result<NodeId, Refusal> {
    importer.layer(Mul, &[x, x])
}

fn operand(call: &Call) -> Result<Flow, Refusal> {
    match call.value(0)? {
        Value::Flow(x) => Ok(x.clone()),
        _ => Err(Refusal::new("of a constant")),
    }
}

/// A value reduced over axes that are whole dimensions of its node, or become that in ONNX's order.
fn reduced(importer: &mut Importer, x: &Flow, axes: &[usize], how: Reduction, keep: bool) -> Result<Flow, Refusal> {
    let (x, dims) = match dims_of(importer.ty(x.node), x, axes) {
        Some(dims) => (x.clone(), dims),
        None => {
            let node = importer.plain(x)?;
            let x = Flow::of(node, importer.ty(node));
            let dims = dims_of(importer.ty(node), &x, axes).unwrap_or_default();
            (x, dims)
        }
    };
    if dims.contains(&0) {
        return Err(Refusal::new(format!(
            "over the axes {axes:?} of a value of shape {}, the batch among them",
            x.text()
        )));
    }
    let node = reduced_dims(importer, x.node, &dims, how)?;
    let left = |axis: &usize| keep || !axes.contains(axis);
    let axis = |axis: usize| if axes.contains(&axis) { Axis::new() } else { x.axes[axis].clone() };
    Ok(Flow { node, axes: (0..x.rank()).filter(left).map(axis).collect() })
}

/// The dimensions that the axes are, of those that have more than one element; 0 is the batch.
fn dims_of(ty: &TensorType, x: &Flow, axes: &[usize]) -> Option<Vec<usize>> {
    let mut atoms: Axis = axes.iter().flat_map(|&axis| x.axes[axis].clone()).collect();
    atoms.sort_by_key(|atom| (atom.dim, std::cmp::Reverse(atom.stride)));
    let mut dims: Vec<usize> = atoms.iter().map(|atom| atom.dim).collect();
    dims.dedup();
    // Each whole, in one piece or in several that are all there.
    let elements = |dim: usize| -> Option<usize> {
        let of_dim = atoms.iter().filter(|atom| atom.dim == dim);
        of_dim.map(|atom| if let Size::Known(size) = atom.size { Some(size) } else { None }).product()
    };
    let whole = |&dim: &usize| dim == 0 || elements(dim) == Some(ty.dims[dim - 1]);
    dims.iter().all(whole).then_some(dims)
}

/// A node's value reduced over some of its dimensions, which become 1.
fn reduced_dims(importer: &mut Importer, x: NodeId, dims: &[usize], how: Reduction) -> Result<NodeId, Refusal> {
    let ty = importer.ty(x).clone();
    let spatial: Vec<bool> = (2..=ty.dims.len()).map(|dim| dims.contains(&dim)).collect();
    let is_whole = ty.spatial().iter().zip(&spatial).all(|(&size, &reduced)| reduced || size == 1);
    let x = match (spatial.contains(&true), is_whole) {
        (false, _) => x,
        (true, true) => {
            let op: Op = match how {
                Reduction::Mean => GlobalAvgPool.into(),
                Reduction::Max => GlobalMaxPool.into(),
                Reduction::Sum | Reduction::Min => Reduce { how, over: Reduced::Positions }.into(),
            };
            importer.layer(op, &[x])?
        }
        (true, false) => reduced_windows(importer, x, &spatial, how)?,
    };
    match dims.contains(&1) {
        true => importer.layer(Reduce { how, over: Reduced::Channels }, &[x]),
        false => Ok(x),
    }
}

/// Of some spatial dimensions: as a pooling, where a sum is a mean times its terms, and the smallest of all is minus the
/// largest of their negatives.
fn reduced_windows(importer: &mut Importer, x: NodeId, spatial: &[bool], how: Reduction) -> Result<NodeId, Refusal> {
    let size = |(&size, &reduced): (&usize, &bool)| if reduced { size } else { 1 };
    let kernel: Vec<usize> = importer.ty(x).spatial().iter().zip(spatial).map(size).collect();
    let (terms, ones) = (kernel.iter().product::<usize>() as f32, vec![1; kernel.len()]);
    let window = Window { stride: kernel.clone(), dilation: ones, kernel, padding: Padding::Valid, ceil: false };
    let scale = |importer: &mut Importer, x, scale| importer.layer(Activation::Affine { scale, shift: 0.0 }, &[x]);
    match how {
        Reduction::Mean => importer.layer(AvgPool { window, count_pad: true }, &[x]),
        Reduction::Max => importer.layer(MaxPool { window }, &[x]),
        Reduction::Sum => {
            let mean = importer.layer(AvgPool { window, count_pad: true }, &[x])?;
            scale(importer, mean, terms)
        }
        Reduction::Min => {
            let negative = scale(importer, x, -1.0)?;
            let largest = importer.layer(MaxPool { window }, &[negative])?;
            scale(importer, largest, -1.0)
        }
    }
}

/// Of shapes.
fn product(_importer: &mut Importer, call: &Call) -> Outputs {
    let keep = call.flag("keepdims", true)?;
    let x = call.constant(0)?;
    let axes = axes(call, x.dims.len(), 18)?.unwrap_or_default();
    if axes.len() != x.dims.len() {
        return Err(Refusal::new("over some axes of a constant"));
    }
    let product = x.numbers()?.iter().try_fold(Number::from(1.0), |a, &b| fold::multiply(a, b))?;
    let dims = if keep { vec![1; x.dims.len()] } else { Vec::new() };
    Ok(vec![Const::numbers_of(dims, x.element, vec![product])?.into()])
}
