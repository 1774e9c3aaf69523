//! What moves elements: Reshape (5, 13, 14), Flatten, Transpose, Squeeze and Unsqueeze (1, 11, 13), Expand, Concat, Split
//! (2, 11, 13, 18), Slice (1, 10), Gather, Pad (2, 11, 13, 18), DepthToSpace, SpaceToDepth.

use super::Rules;
use super::arithmetic::enlarged;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value, axis_of};
use crate::front::onnx::constant::{Const, Number};
use crate::front::onnx::flow::{Flow, whole_axis};
use crate::front::onnx::fold;
use crate::front::onnx::plain::is_batch;
use crate::front::onnx::walk::Importer;
use crate::layers::{BlockOrder, ChannelSlice, Crop, DepthToSpace, Fill, Op, Pad, PadArg, SpaceToDepth, Subsample};
use crate::tensor::{Batch, MAX_DIMS, TensorType};

pub const RULES: Rules = &[
    ("Reshape", reshape),
    ("Flatten", flatten),
    ("Transpose", transpose),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Expand", expand),
    ("Concat", concat),
    ("Split", split),
    ("Slice", slice),
    ("Gather", gather),
    ("Pad", pad),
    ("DepthToSpace", |importer, call| blocks(importer, call, |block, order| DepthToSpace { block, order }.into())),
    ("SpaceToDepth", |importer, call| blocks(importer, call, |block, order| SpaceToDepth { block, order }.into())),
];

/// A value under other sizes of the same product.
fn with_sizes(value: &Value, sizes: &[Number]) -> Outputs {
    Ok(vec![match value {
        Value::Const(x) => {
            let dims: Option<Vec<usize>> = sizes.iter().map(|size| size.known().map(|size| size as usize)).collect();
            x.reshaped(dims.ok_or_else(|| Refusal::new("a constant whose size depends on the batch"))?)?.into()
        }
        Value::Flow(x) => x.reshaped(sizes)?.into(),
        Value::Missing | Value::Whole(_) => return Err(Refusal::new("an operand is missing")),
    }])
}

fn sizes_of(value: &Value) -> Vec<Number> {
    match value {
        Value::Const(x) => x.dims.iter().map(|&dim| Number::from(dim as f64)).collect(),
        Value::Flow(x) => x.shape(),
        Value::Missing | Value::Whole(_) => Vec::new(),
    }
}

fn reshape(importer: &mut Importer, call: &Call) -> Outputs {
    let keep_zero = call.flag("allowzero", false)?;
    let value = call.value(0)?;
    let own = sizes_of(value);
    let mut sizes = call.constant(1)?.numbers()?.into_owned();
    for (axis, size) in sizes.iter_mut().enumerate() {
        if size.known() == Some(0.0) && !keep_zero {
            *size = *own.get(axis).ok_or_else(|| Refusal::new(format!("size {axis} is kept, and there is none")))?;
        }
    }
    let open: Vec<usize> = (0..sizes.len()).filter(|&axis| sizes[axis].known() == Some(-1.0)).collect();
    match open[..] {
        [] => {}
        [axis] => {
            sizes[axis] = Number::from(1.0);
            let all = own.iter().try_fold(Number::from(1.0), |product, &size| fold::multiply(product, size))?;
            let others = sizes.iter().try_fold(Number::from(1.0), |product, &size| fold::multiply(product, size))?;
            sizes[axis] = fold::divide(all, others, true)?;
        }
        _ => return Err(Refusal::new("more than one size is left open")),
    }
    if sizes.iter().any(|size| size.constant < 0.0 || size.batch < 0.0) {
        return Err(Refusal::new("a negative size"));
    }
    match value {
        Value::Flow(x) => reshaped(importer, x, &sizes),
        _ => with_sizes(value, &sizes),
    }
}

/// A value under other sizes: where axes would be cut into parts of other dimensions, in ONNX's order.
fn reshaped(importer: &mut Importer, x: &Flow, sizes: &[Number]) -> Outputs {
    let refused = match x.reshaped(sizes) {
        Ok(y) => return Ok(vec![y.into()]),
        Err(refused) => refused,
    };
    let (own, ty) = (x.shape(), importer.ty(x.node).clone());
    let has_batch = x.rank() > 1 && is_batch(x, &ty) && sizes.first() == own.first();
    if !has_batch && ty.batch != Batch::Fixed(1) {
        return Err(refused);
    }
    let (whole, inner) = match has_batch {
        true => (x.clone(), &sizes[1..]),
        false => (Flow { axes: [vec![Vec::new()], x.axes.clone()].concat(), ..x.clone() }, sizes),
    };
    let dims: Option<Vec<usize>> = inner.iter().map(|size| size.known().map(|size| size as usize)).collect();
    let product = |dims: &Vec<usize>| dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let dims = dims.filter(|dims| product(dims) == Some(ty.elements())).ok_or(refused)?;
    // Places may be channels before they are others.
    let whole = if whole.rank() > MAX_DIMS + 1 { whole.of_rank(ty.dims.len() + 1) } else { whole };
    let node = importer.plain(&whole)?;
    let plain = Flow::of(node, importer.ty(node));
    let ty = importer.ty(node).clone();
    let joined = joined(&dims);
    let node = importer.with_sizes(&plain, &ty, joined.as_deref().unwrap_or(&dims))?;
    let mut flow = Flow::of(node, importer.ty(node));
    if !has_batch {
        flow.axes.remove(0);
    }
    Ok(vec![if joined.is_some() { flow.reshaped(sizes)? } else { flow }.into()])
}

/// More dimensions than a value has, two and two in one, from the last on: places and positions in places, as where a map is
/// taken apart.
fn joined(dims: &[usize]) -> Option<Vec<usize>> {
    let pairs = || dims.rchunks(2).rev().map(|pair| pair.iter().product()).collect();
    (dims.len() > MAX_DIMS).then(pairs)
}

fn flatten(_importer: &mut Importer, call: &Call) -> Outputs {
    let value = call.value(0)?;
    let own = sizes_of(value);
    let axis = call.int("axis", 1)?;
    let axis = if axis == own.len() as i64 { own.len() } else { axis_of(axis, own.len())? };
    let product = |sizes: &[Number]| sizes.iter().try_fold(Number::from(1.0), |a, &b| fold::multiply(a, b));
    with_sizes(value, &[product(&own[..axis])?, product(&own[axis..])?])
}

fn transpose(_importer: &mut Importer, call: &Call) -> Outputs {
    let value = call.value(0)?;
    let rank = sizes_of(value).len();
    let perm = match call.ints("perm")? {
        Some(perm) => perm.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    Ok(vec![match value {
        Value::Const(x) => fold::transpose(x, &perm)?.into(),
        Value::Flow(x) => x.transposed(&perm)?.into(),
        Value::Missing | Value::Whole(_) => return Err(Refusal::new("an operand is missing")),
    }])
}

/// The axes are an attribute up to version 11, an operand from 13 on.
fn squeeze(_importer: &mut Importer, call: &Call) -> Outputs {
    let value = call.value(0)?;
    let own = sizes_of(value);
    let is_one = |axis: usize| own[axis].known() == Some(1.0);
    let axes = match call.moved_ints("axes", 1, 13)? {
        Some(axes) => axes.iter().map(|&axis| axis_of(axis, own.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..own.len()).filter(|&axis| is_one(axis)).collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| !is_one(axis)) {
        return Err(Refusal::new(format!("axis {axis} is to go, and its size is not 1")));
    }
    let left: Vec<Number> = (0..own.len()).filter(|axis| !axes.contains(axis)).map(|axis| own[axis]).collect();
    with_sizes(value, &left)
}

fn unsqueeze(_importer: &mut Importer, call: &Call) -> Outputs {
    let value = call.value(0)?;
    let mut own = sizes_of(value).into_iter();
    let axes = call.moved_ints("axes", 1, 13)?.ok_or_else(|| Refusal::new("its axes are missing"))?;
    let rank = own.len() + axes.len();
    let axes = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let size = |axis| if axes.contains(&axis) { Some(Number::from(1.0)) } else { own.next() };
    let sizes: Option<Vec<Number>> = (0..rank).map(size).collect();
    with_sizes(value, &sizes.ok_or_else(|| Refusal::new("an axis is given twice"))?)
}

/// Of a value of the network only where nothing is repeated.
fn expand(importer: &mut Importer, call: &Call) -> Outputs {
    let shape = call.constant(1)?;
    match call.value(0)? {
        Value::Const(x) => {
            let sizes: Option<Vec<usize>> =
                shape.integers()?.into_iter().map(|size| usize::try_from(size).ok()).collect();
            Ok(vec![fold::expand(x, &sizes.ok_or_else(|| Refusal::new("a negative size"))?)?.into()])
        }
        value => {
            let (own, wanted) = (sizes_of(value), shape.numbers()?);
            let same = |(own, wanted): (&Number, &Number)| own == wanted || wanted.known() == Some(1.0);
            match wanted.len() <= own.len() && own.iter().rev().zip(wanted.iter().rev()).all(same) {
                true => Ok(vec![value.clone()]),
                false => repeated(importer, call.flow(0)?, &wanted),
            }
        }
    }
}

/// A value whose single positions are repeated.
fn repeated(importer: &mut Importer, x: &Flow, wanted: &[Number]) -> Outputs {
    let refused = || Refusal::new(format!("a value of shape {} would be repeated, not only its positions", x.text()));
    let node = importer.plain(x)?;
    let dims = importer.ty(node).dims.clone();
    if wanted.len() != x.rank() || x.rank() != dims.len() + 1 {
        return Err(refused());
    }
    let kept = |axis: usize| wanted[axis] == x.shape()[axis] || wanted[axis].known() == Some(1.0);
    let size = |axis: usize| match (dims[axis - 1], wanted[axis].known().map(|size| size as usize)) {
        (own, _) if kept(axis) => Some(own),
        (1, size) => size.filter(|size| *size > 0),
        _ => None,
    };
    let sizes: Option<Vec<usize>> = (2..x.rank()).map(size).collect();
    let sizes = sizes.filter(|_| kept(0) && kept(1)).ok_or_else(refused)?;
    let node = enlarged(importer, node, &sizes)?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

fn concat(importer: &mut Importer, call: &Call) -> Outputs {
    let axis = call.int("axis", 1)?;
    if let Some(parts) = call.all_constant() {
        let first = parts.first().ok_or_else(|| Refusal::new("it has no operands"))?;
        return Ok(vec![fold::concat(&parts, axis_of(axis, first.dims.len())?)?.into()]);
    }
    if call.count() == 1 {
        return Ok(vec![call.value(0)?.clone()]);
    }
    if let Some(padded) = zero_channels(importer, call, axis)? {
        return Ok(vec![padded.into()]);
    }
    let flows = (0..call.count()).map(|index| call.flow(index).cloned()).collect::<Result<Vec<_>, _>>()?;
    let axis = axis_of(axis, flows[0].rank())?;
    let ty = |flow: &Flow| importer.ty(flow.node);
    // All see the channels on this axis, and the rest alike.
    let alike = |flow: &Flow| {
        flow.rank() == flows[0].rank()
            && flow.axes[axis] == whole_axis(ty(flow), 1)
            && ty(flow).spatial() == ty(&flows[0]).spatial()
            && (0..flow.rank()).all(|other| other == axis || flow.axes[other] == flows[0].axes[other])
    };
    if flows.iter().all(alike) {
        let nodes: Vec<_> = flows.iter().map(|flow| flow.node).collect();
        let node = importer.concat(nodes)?;
        let mut joined = Flow { node, ..flows[0].clone() };
        joined.axes[axis] = whole_axis(importer.ty(node), 1);
        return Ok(vec![joined.into()]);
    }
    if axis == 0 {
        return Err(Refusal::new(format!("along the first axis of values of shape {}", flows[0].text())));
    }
    // With the axis where the channels are.
    let perm = to_channels(axis, flows[0].rank());
    let turned = |flow: &Flow| flow.transposed(&perm).and_then(|flow| importer.plain(&flow));
    let nodes = flows.iter().map(turned).collect::<Result<Vec<_>, _>>()?;
    let node = importer.concat(nodes)?;
    Ok(vec![Flow::of(node, importer.ty(node)).transposed(&inverse(&perm))?.into()])
}

/// A value with channels of zeros in front or behind.
fn zero_channels(importer: &mut Importer, call: &Call, axis: i64) -> Result<Option<Flow>, Refusal> {
    if call.count() != 2 {
        return Ok(None);
    }
    let (x, zeros, front) = match (call.value(0)?, call.value(1)?) {
        (Value::Flow(x), Value::Const(zeros)) => (x, zeros, false),
        (Value::Const(zeros), Value::Flow(x)) => (x, zeros, true),
        _ => return Ok(None),
    };
    let axis = axis_of(axis, x.rank())?;
    let ty = importer.ty(x.node);
    let is_zero = zeros.uniform() == Some(0.0) && zeros.dims.len() == x.rank();
    if !is_zero || x.axes[axis] != whole_axis(ty, 1) {
        return Err(Refusal::new("of a value and a constant that is not zero"));
    }
    let count = zeros.dims[axis];
    let channels = if front { (count, 0) } else { (0, count) };
    let node = importer.layer(Pad { sides: PadArg::All(0), channels, fill: Fill::ZEROS }, &[x.node])?;
    let mut padded = Flow { node, ..x.clone() };
    padded.axes[axis] = whole_axis(importer.ty(node), 1);
    Ok(Some(padded))
}

/// The sizes are an attribute up to version 11, an operand from 13 on; from 18 on there may be a number of parts.
fn split(importer: &mut Importer, call: &Call) -> Outputs {
    let mut value = call.value(0)?.clone();
    let own = sizes_of(&value);
    let axis = axis_of(call.int("axis", 0)?, own.len())?;
    if let Value::Flow(x) = &value {
        // Once for all parts.
        value = with_dimension(importer, x, axis)?.into();
    }
    let parts = call.node.outputs.len();
    if call.attribute("num_outputs").is_some() && call.int("num_outputs", 0)? != parts as i64 {
        return Err(Refusal::new("attribute `num_outputs` is not that of its outputs"));
    }
    let given = call.moved_ints("split", 1, 13)?;
    let size = own[axis].known().ok_or_else(|| Refusal::new("the batch is split"))? as usize;
    let sizes = match given {
        Some(sizes) => sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect::<Vec<_>>(),
        None => {
            let each = size.div_ceil(parts.max(1));
            (0..parts).map(|part| each.min(size.saturating_sub(part * each))).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size)) != Some(size) || sizes.contains(&0) {
        return Err(Refusal::new(format!("a size of {size} in parts of {sizes:?}")));
    }
    let mut start = 0;
    let part = |size: usize| {
        start += size;
        cut(importer, &value, axis, start - size, start)
    };
    sizes.into_iter().map(part).collect()
}

/// The elements from `start` up to `end` along an axis.
fn cut(importer: &mut Importer, value: &Value, axis: usize, start: usize, end: usize) -> Result<Value, Refusal> {
    match value {
        Value::Const(x) => Ok(fold::take(x, axis, &(start..end).collect::<Vec<_>>())?.into()),
        Value::Flow(x) => cut_flow(importer, x, axis, start, end).map(Value::Flow),
        Value::Missing | Value::Whole(_) => Err(Refusal::new("an operand is missing")),
    }
}

/// The dimension that an axis is.
fn dimension(x: &Flow, axis: usize, ty: &TensorType) -> Option<usize> {
    (1..=ty.dims.len()).find(|&dim| x.axes[axis] == whole_axis(ty, dim) && ty.dims[dim - 1] > 1)
}

/// The value with its axes in order where one is made of parts: the channels behind a shuffle.
fn with_dimension(importer: &mut Importer, x: &Flow, axis: usize) -> Result<Flow, Refusal> {
    if axis == 0 || x.axes[axis].len() < 2 || dimension(x, axis, importer.ty(x.node)).is_some() {
        return Ok(x.clone());
    }
    let node = importer.plain(x)?;
    Ok(Flow::of(node, importer.ty(node)))
}

fn cut_flow(importer: &mut Importer, x: &Flow, axis: usize, start: usize, end: usize) -> Result<Flow, Refusal> {
    if start == 0 && x.shape()[axis].known() == Some(end as f64) {
        return Ok(x.clone());
    }
    let x = &with_dimension(importer, x, axis)?;
    let ty = importer.ty(x.node).clone();
    let dim = dimension(x, axis, &ty).ok_or_else(|| {
        let message = format!("the elements {start}..{end} along axis {axis} of a value of shape {}", x.text());
        Refusal::new(format!("{message}; along the channels and single dimensions of positions it is known"))
    })?;
    let layer: Op = match dim {
        1 => ChannelSlice { channels: start..end }.into(),
        _ => {
            let mut sides = vec![0; 2 * ty.spatial().len()];
            (sides[2 * (dim - 2)], sides[2 * (dim - 2) + 1]) = (start, ty.dims[dim - 1] - end);
            Crop { sides: PadArg::List(sides) }.into()
        }
    };
    let node = importer.layer(layer, &[x.node])?;
    let mut part = Flow { node, ..x.clone() };
    part.axes[axis] = whole_axis(importer.ty(node), dim);
    Ok(part)
}

/// Every `step`-th position along an axis, from `at` on.
fn subsampled(importer: &mut Importer, x: &Flow, axis: usize, step: usize, at: usize) -> Result<Flow, Refusal> {
    let ty = importer.ty(x.node).clone();
    let dim = (2..=ty.dims.len()).find(|&dim| x.axes[axis] == whole_axis(&ty, dim) && !x.axes[axis].is_empty());
    let dim =
        dim.ok_or_else(|| Refusal::new(format!("a step of {step} along axis {axis}, which is not one of positions")))?;
    let (mut steps, mut first) = (vec![1; ty.spatial().len()], vec![0; ty.spatial().len()]);
    (steps[dim - 2], first[dim - 2]) = (step, at);
    let node = importer.layer(Subsample { step: steps, at: first }, &[x.node])?;
    let mut part = Flow { node, ..x.clone() };
    part.axes[axis] = whole_axis(importer.ty(node), dim);
    Ok(part)
}

/// Where a slice begins and ends along an axis, and its step.
struct Run {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Run {
    /// The indices that it takes of `size`.
    fn indices(&self, size: usize) -> Vec<usize> {
        let size = size as i64;
        let clamp = |at: i64, low: i64, high: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(low, high);
        let (mut at, end) = match self.step > 0 {
            true => (clamp(self.start, 0, size), clamp(self.end, 0, size)),
            false => (clamp(self.start, 0, size - 1), clamp(self.end, -1, size - 1)),
        };
        let mut indices = Vec::new();
        while if self.step > 0 { at < end } else { at > end } {
            indices.push(at as usize);
            at = at.saturating_add(self.step);
        }
        indices
    }
}

/// Everything is an attribute up to version 9, an operand from 10 on.
fn runs(call: &Call, rank: usize) -> Result<Vec<Run>, Refusal> {
    let needed = |list: Option<Vec<i64>>| list.ok_or_else(|| Refusal::new("its ends are missing"));
    let starts = needed(call.moved_ints("starts", 1, 10)?)?;
    let ends = needed(call.moved_ints("ends", 2, 10)?)?;
    let axes = call.moved_ints("axes", 3, 10)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.moved_ints("steps", 4, 10)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(Refusal::new("its starts, ends, axes and steps do not go together"));
    }
    let run = |i: usize| Ok(Run { axis: axis_of(axes[i], rank)?, start: starts[i], end: ends[i], step: steps[i] });
    (0..starts.len()).map(run).collect()
}

fn slice(importer: &mut Importer, call: &Call) -> Outputs {
    let mut value = call.value(0)?.clone();
    for run in runs(call, sizes_of(&value).len())? {
        let sizes = sizes_of(&value);
        let Some(size) = sizes[run.axis].known() else {
            // All of the batch, whatever it is.
            if run.start == 0 && run.end >= i64::from(i32::MAX) && run.step == 1 {
                continue;
            }
            return Err(Refusal::new("part of the batch"));
        };
        let indices = run.indices(size as usize);
        value = match &value {
            Value::Const(x) => fold::take(x, run.axis, &indices)?.into(),
            _ if run.step == 1 && !indices.is_empty() => {
                cut(importer, &value, run.axis, indices[0], indices[0] + indices.len())?
            }
            // To the last position.
            Value::Flow(x)
                if run.step > 1 && indices.last().is_some_and(|&last| last + run.step as usize >= size as usize) =>
            {
                subsampled(importer, x, run.axis, run.step as usize, indices[0])?.into()
            }
            Value::Flow(x) if !indices.is_empty() => gathered(importer, x, run.axis, &indices)?.into(),
            _ => return Err(Refusal::new(format!("nothing is left along axis {}", run.axis))),
        };
    }
    Ok(vec![value])
}

/// Of a value of the network, one index is the part of an axis that goes.
fn gather(importer: &mut Importer, call: &Call) -> Outputs {
    let value = call.value(0)?.clone();
    let sizes = sizes_of(&value);
    let axis = axis_of(call.int("axis", 0)?, sizes.len())?;
    let indices = call.constant(1)?;
    let size = sizes[axis].known().ok_or_else(|| Refusal::new("part of the batch"))? as usize;
    let places = indices.integers()?.iter().map(|&index| axis_of(index, size)).collect::<Result<Vec<_>, _>>()?;
    match &value {
        Value::Const(x) => {
            let taken = fold::take(x, axis, &places)?;
            let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
            Ok(vec![taken.reshaped(dims)?.into()])
        }
        _ if places.len() == size && places.iter().copied().eq(0..size) => {
            let of_indices = indices.dims.iter().map(|&size| Number::from(size as f64));
            let sizes = sizes[..axis].iter().copied().chain(of_indices).chain(sizes[axis + 1..].iter().copied());
            with_sizes(&value, &sizes.collect::<Vec<_>>())
        }
        _ => match (&places[..], indices.dims.len()) {
            ([place], 0) => {
                let part = cut(importer, &value, axis, *place, place + 1)?;
                let left: Vec<Number> =
                    sizes.iter().enumerate().filter(|(other, _)| *other != axis).map(|(_, size)| *size).collect();
                with_sizes(&part, &left)
            }
            (places, 1) => Ok(vec![match &value {
                Value::Flow(x) => gathered(importer, x, axis, places)?.into(),
                _ => return Err(Refusal::new("an operand is missing")),
            }]),
            _ => Err(Refusal::new(format!("indices of shape {:?} of a value of the network", indices.dims))),
        },
    }
}

/// The elements at these places along an axis: its runs, put behind each other where the channels are.
fn gathered(importer: &mut Importer, x: &Flow, axis: usize, places: &[usize]) -> Result<Flow, Refusal> {
    const MOST: usize = 64;
    let runs: Vec<&[usize]> = places.chunk_by(|a, b| *b == a + 1).collect();
    if runs.is_empty() || runs.len() > MOST {
        return Err(Refusal::new(format!("{} runs of elements along axis {axis}; 1 to {MOST} are known", runs.len())));
    }
    let ty = importer.ty(x.node);
    let (x, perm) = match x.axes[axis] == whole_axis(ty, 1) && ty.channels() > 1 {
        true => (x.clone(), None),
        false if !is_batch(x, ty) && ty.batch == Batch::Fixed(1) => {
            // Of one sample, without an axis for it.
            let with_batch = Flow { axes: [vec![Vec::new()], x.axes.clone()].concat(), ..*x };
            let mut taken = gathered(importer, &with_batch, axis + 1, places)?;
            taken.axes.remove(0);
            return Ok(taken);
        }
        false if axis == 0 => return Err(Refusal::new("along the first axis")),
        false => {
            let perm = to_channels(axis, x.rank());
            let node = importer.plain(&x.transposed(&perm)?)?;
            (Flow::of(node, importer.ty(node)), Some(perm))
        }
    };
    let own = if perm.is_some() { 1 } else { axis };
    let whole = importer.ty(x.node).channels();
    let mut part = |run: &&[usize]| match run.len() {
        length if length == whole => Ok(x.node),
        length => importer.layer(ChannelSlice { channels: run[0]..run[0] + length }, &[x.node]),
    };
    let mut parts = runs.iter().map(&mut part).collect::<Result<Vec<_>, _>>()?;
    let node = if parts.len() == 1 { parts.remove(0) } else { importer.concat(parts)? };
    let mut flow = Flow { node, ..x };
    flow.axes[own] = whole_axis(importer.ty(node), 1);
    perm.map_or(Ok(flow.clone()), |perm| flow.transposed(&inverse(&perm)))
}

/// The order of axes that brings one to where the channels are.
fn to_channels(axis: usize, rank: usize) -> Vec<usize> {
    [0, axis].into_iter().chain((1..rank).filter(|&other| other != axis)).collect()
}

/// The permutation that undoes another.
fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(to, &from)| back[from] = to);
    back
}

/// Amounts and value are attributes up to version 10, operands from 11 on; from 18 on there may be axes.
fn pad(importer: &mut Importer, call: &Call) -> Outputs {
    let mode = call.text("mode", "constant")?;
    let x = call.flow(0)?.clone();
    let amounts = call.moved_ints("pads", 1, 11)?.ok_or_else(|| Refusal::new("its amounts are missing"))?;
    let value = match call.opset {
        ..11 => f64::from(call.float("value", 0.0)?),
        _ => call.optional_constant(2)?.map_or(Ok(0.0), Const::single)?,
    };
    let axes = call.optional_constant(3)?.map(Const::integers).transpose()?;
    let axes = match axes {
        Some(axes) => axes.iter().map(|&axis| axis_of(axis, x.rank())).collect::<Result<Vec<_>, _>>()?,
        None => (0..x.rank()).collect(),
    };
    if amounts.len() != 2 * axes.len() {
        return Err(Refusal::new(format!("{} amounts for {} axes", amounts.len(), axes.len())));
    }
    let fill = match mode {
        "constant" => Fill::Constant(value as f32),
        "reflect" => Fill::Reflect,
        "edge" => Fill::Edge,
        _ => return Err(Refusal::new(format!("attribute `mode` is `{mode}`"))),
    };
    let (mut more, mut less) = (vec![(0, 0); x.rank()], vec![(0, 0); x.rank()]);
    for (index, &axis) in axes.iter().enumerate() {
        let (front, back) = (amounts[index], amounts[axes.len() + index]);
        let size = |amount: i64| usize::try_from(amount.max(0)).unwrap_or(usize::MAX);
        more[axis] = (size(front), size(back));
        less[axis] = (size(front.saturating_neg()), size(back.saturating_neg()));
    }
    let none = |sides: &[(usize, usize)]| sides.iter().all(|&side| side == (0, 0));
    if !none(&less) && !matches!(fill, Fill::Constant(_)) {
        return Err(Refusal::new(format!("negative amounts in mode `{mode}`")));
    }
    let x = if none(&more) { x } else { padded(importer, x, &more, fill)? };
    Ok(vec![if none(&less) { x } else { cropped(importer, x, &less)? }.into()])
}

/// Less of the spatial axes.
fn cropped(importer: &mut Importer, x: Flow, sides: &[(usize, usize)]) -> Result<Flow, Refusal> {
    if sides.len() < 3 || sides[..2] != [(0, 0); 2] {
        return Err(Refusal::new("a negative amount for batch or channels"));
    }
    let input = importer.plain(&x)?;
    let sides = PadArg::List(sides[2..].iter().flat_map(|&(front, back)| [front, back]).collect());
    let node = importer.layer(Crop { sides }, &[input])?;
    Ok(Flow::of(node, importer.ty(node)))
}

/// More around the axes, whatever their order.
fn padded(importer: &mut Importer, x: Flow, sides: &[(usize, usize)], fill: Fill) -> Result<Flow, Refusal> {
    let ty = importer.ty(x.node).clone();
    let mut of_dims = vec![(0, 0); ty.dims.len() + 1];
    let mut places = Vec::new();
    for (axis, &amount) in sides.iter().enumerate().filter(|(_, amount)| **amount != (0, 0)) {
        let is_whole = |dim: &usize| x.axes[axis] == whole_axis(&ty, *dim);
        // Of sizes of 1, which are all alike, the one in ONNX's place.
        let dim = match x.axes[axis].is_empty() {
            true => Some(axis).filter(|dim| *dim > 0 && x.rank() == of_dims.len() && is_whole(dim)),
            false => (1..of_dims.len()).find(is_whole),
        };
        let dim = dim.ok_or_else(|| Refusal::new(format!("axis {axis} of a value of shape {}", x.text())))?;
        of_dims[dim] = amount;
        places.push((axis, dim));
    }
    if of_dims[1] != (0, 0) && fill != Fill::ZEROS {
        return Err(Refusal::new("channels of anything but zeros"));
    }
    let spatial = &of_dims[2..];
    let sides = match spatial.first() {
        Some(first) if spatial.iter().any(|side| *side != (first.0, first.0)) => {
            PadArg::List(spatial.iter().flat_map(|&(front, back)| [front, back]).collect())
        }
        first => PadArg::All(first.map_or(0, |first| first.0)),
    };
    let node = importer.layer(Pad { sides, channels: of_dims[1], fill }, &[x.node])?;
    let mut flow = Flow { node, ..x };
    places.into_iter().for_each(|(axis, dim)| flow.axes[axis] = whole_axis(importer.ty(node), dim));
    Ok(flow)
}

/// Channels that become blocks of positions, or the other way round.
fn blocks(importer: &mut Importer, call: &Call, layer: fn(Vec<usize>, BlockOrder) -> Op) -> Outputs {
    let block = usize::try_from(call.int("blocksize", 0)?).unwrap_or(0);
    let order = match call.text("mode", "DCR")? {
        "DCR" => BlockOrder::Dcr,
        "CRD" => BlockOrder::Crd,
        mode => return Err(Refusal::new(format!("attribute `mode` is `{mode}`"))),
    };
    let input = importer.plain(&call.flow(0)?.clone())?;
    let node = importer.layer(layer(vec![block], order), &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}
