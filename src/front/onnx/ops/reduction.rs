//! ReduceMean, ReduceMax (1, 11, 13, 18, 20), ReduceSum (1, 11, 13) and ReduceProd of constants: over all positions.

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs, Value, axis_of};
use crate::front::onnx::constant::{Const, Number};
use crate::front::onnx::flow::{Axis, Flow, whole_axis};
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::layers::{GlobalAvgPool, GlobalMaxPool, Op};

pub const RULES: Rules = &[
    ("ReduceMean", |importer, call| reduce(importer, call, 18, Some(GlobalAvgPool.into()))),
    ("ReduceMax", |importer, call| reduce(importer, call, 18, Some(GlobalMaxPool.into()))),
    ("ReduceSum", |importer, call| reduce(importer, call, 13, None)),
    ("ReduceMin", |importer, call| reduce(importer, call, 18, None)),
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

fn reduce(importer: &mut Importer, call: &Call, since: i64, op: Option<Op>) -> Outputs {
    let keep = call.flag("keepdims", true)?;
    let x = match call.value(0)? {
        Value::Flow(x) => x.clone(),
        _ => return Err(Refusal::new("of a constant")),
    };
    let Some(axes) = axes(call, x.rank(), since)? else { return Ok(vec![x.into()]) };
    let ty = importer.ty(x.node).clone();
    let mut reduced: Axis = axes.iter().flat_map(|&axis| x.axes[axis].clone()).collect();
    reduced.sort_by_key(|atom| (atom.dim, std::cmp::Reverse(atom.stride)));
    let spatial: Axis = (2..=ty.dims.len()).flat_map(|dim| whole_axis(&ty, dim)).collect();
    let op = op.filter(|_| reduced == spatial && !ty.spatial().is_empty());
    let op = op.ok_or_else(|| {
        let message =
            format!("over the axes {axes:?} of a value of shape {}; over all positions it is known", x.text());
        Refusal::new(message)
    })?;
    let node = importer.layer(op, &[x.node])?;
    let left = |axis: &usize| keep || !axes.contains(axis);
    let axis = |axis: usize| if axes.contains(&axis) { Vec::new() } else { x.axes[axis].clone() };
    Ok(vec![Flow { node, axes: (0..x.rank()).filter(left).map(axis).collect() }.into()])
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
