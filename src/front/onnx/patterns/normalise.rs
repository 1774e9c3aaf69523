//! Normalisations that exporters write with reductions: layer norms before version 17, PyTorch's normalize.

use crate::front::onnx::Refusal;
use crate::front::onnx::call::axis_of;
use crate::front::onnx::flow::Flow;
use crate::front::onnx::ops::{LEAST_NORM, decimal};
use crate::front::onnx::proto::Node;
use crate::front::onnx::walk::Importer;
use crate::layers::{LayerNorm, LpNorm, Op, UnitNorm};

/// The value of a pattern that ends at a division.
pub fn find<'a>(importer: &Importer<'a>, node: &'a Node<'a>) -> Option<(Op, Flow)> {
    layer_norm(importer, node).or_else(|| unit_norm(importer, node))
}

/// (x - mean) / sqrt(mean((x - mean)^2) + eps)
fn layer_norm<'a>(importer: &Importer<'a>, node: &'a Node<'a>) -> Option<(Op, Flow)> {
    let [distance, deviation] = node.inputs[..] else { return None };
    let (x, axes) = from_mean(importer, distance)?;
    let sum = importer.made_by(importer.made_by(deviation, "Sqrt")?.inputs.first()?, "Add")?;
    let eps = |(variance, eps)| Some((variance, importer.number(eps)?));
    let (variance, eps) = importer.both(sum).into_iter().find_map(eps)?;
    let (squares, of_squares) = reduced(importer, variance, "ReduceMean")?;
    let same = of_squares == axes && from_mean(importer, squared(importer, squares)?)? == (x, axes.clone());
    let flow = importer.flow(x).filter(|_| same)?;
    let over = flow.over(axes, importer.ty(flow.node))?;
    Some((LayerNorm { over, eps: decimal(eps as f32), affine: false }.into(), flow.clone()))
}

/// x / max(norm, eps), where the divisor may be stretched to the shape of x.
fn unit_norm<'a>(importer: &Importer<'a>, node: &'a Node<'a>) -> Option<(Op, Flow)> {
    let [x, divisor] = node.inputs[..] else { return None };
    let flow = importer.flow(x)?;
    let divisor = match importer.made_by(divisor, "Expand") {
        Some(expand) => {
            let shape = importer.constant(expand.inputs.get(1)?)?.numbers().ok()?;
            expand.inputs.first().filter(|_| *shape == flow.shape()[..])?
        }
        None => divisor,
    };
    let (value, eps) = at_least(importer, divisor)?;
    let of = |(operator, norm)| Some((reduced(importer, value, operator)?, norm));
    let ((reduced, axes), norm) = [("ReduceL1", LpNorm::L1), ("ReduceL2", LpNorm::L2)].into_iter().find_map(of)?;
    let over = flow.over(axes, importer.ty(flow.node)).filter(|_| reduced == x)?;
    let above_zero = (eps as f32) >= f32::MIN_POSITIVE;
    above_zero.then(|| (UnitNorm { norm, over, eps: decimal(eps as f32) }.into(), flow.clone()))
}

/// What a mean was taken from, and the axes of the mean.
fn from_mean<'a>(importer: &Importer<'a>, name: &str) -> Option<(&'a str, Vec<usize>)> {
    let [x, mean] = importer.made_by(name, "Sub")?.inputs[..] else { return None };
    let (of, axes) = reduced(importer, mean, "ReduceMean")?;
    (of == x).then_some((x, axes))
}

/// d of d^2
fn squared<'a>(importer: &Importer<'a>, name: &str) -> Option<&'a str> {
    if let Some(power) = importer.made_by(name, "Pow") {
        let [d, two] = power.inputs[..] else { return None };
        return (importer.number(two) == Some(2.0)).then_some(d);
    }
    let [a, b] = importer.made_by(name, "Mul")?.inputs[..] else { return None };
    (a == b).then_some(a)
}

/// What was reduced, and along which axes; these are still there, with one element.
fn reduced<'a>(importer: &Importer<'a>, name: &str, operator: &str) -> Option<(&'a str, Vec<usize>)> {
    let node = importer.made_by(name, operator)?;
    let attribute = |name: &str| node.attributes.iter().find(|attribute| attribute.name == name);
    let (&of, kept) = (node.inputs.first()?, attribute("keepdims").is_none_or(|keep| keep.int == 1));
    let rank = importer.flow(of).map(Flow::rank).or_else(|| importer.flow(origin(importer, of)?).map(Flow::rank))?;
    let axes = match (attribute("axes"), node.inputs.get(1)) {
        (Some(axes), None) => axes.ints.clone(),
        (None, Some(axes)) => importer.constant(axes)?.integers().ok()?,
        _ => return None,
    };
    let mut axes = axes.into_iter().map(|axis| axis_of(axis, rank)).collect::<Result<Vec<_>, Refusal>>().ok()?;
    axes.sort_unstable();
    (kept && !axes.is_empty()).then_some((of, axes))
}

/// The value whose shape one of the values between has, which no layer gives: squares of distances from a mean.
fn origin<'a>(importer: &Importer<'a>, name: &str) -> Option<&'a str> {
    from_mean_of(importer, squared(importer, name)?)
}

fn from_mean_of<'a>(importer: &Importer<'a>, name: &str) -> Option<&'a str> {
    importer.made_by(name, "Sub")?.inputs.first().copied()
}

/// v and a of max(v, a); if there is no such limit, v itself and one that matters to no norm.
fn at_least<'a>(importer: &Importer<'a>, name: &'a str) -> Option<(&'a str, f64)> {
    if let Some(clip) = importer.made_by(name, "Clip") {
        let attribute = |name: &str| clip.attributes.iter().find(|attribute| attribute.name == name);
        let unlimited = attribute("max").is_none() && clip.inputs.get(2).is_none_or(|max| max.is_empty());
        let least = match (attribute("min"), clip.inputs.get(1)) {
            (Some(least), None) => f64::from(least.float),
            (None, Some(least)) => importer.number(least)?,
            _ => return None,
        };
        return clip.inputs.first().filter(|_| unlimited).map(|&value| (value, least));
    }
    match importer.made_by(name, "Max") {
        Some(max) => importer.both(max).into_iter().find_map(|(value, least)| Some((value, importer.number(least)?))),
        None => Some((name, LEAST_NORM)),
    }
}
