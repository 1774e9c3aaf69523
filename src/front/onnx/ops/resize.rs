//! Resize (10, 11, 13, 18, 19), Upsample (7, 9).

use super::Rules;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs};
use crate::front::onnx::constant::{Const, Number};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::layers::{Interpolation, Upsample};

pub const RULES: Rules = &[("Resize", resize), ("Upsample", upsample)];

/// Enlarges the positions of a value by factors, one for each axis.
fn enlarge(importer: &mut Importer, call: &Call, factors: &[f64], mode: Interpolation) -> Outputs {
    let x = call.flow(0)?.clone();
    let whole = |&factor: &f64| (factor >= 1.0 && factor.fract() == 0.0).then_some(factor as usize);
    let scale: Option<Vec<usize>> = factors.iter().map(whole).collect();
    let scale = scale.ok_or_else(|| Refusal::new(format!("factors of {factors:?}; whole ones are known")))?;
    if scale.len() != x.rank() || scale[..2.min(scale.len())] != [1, 1] {
        return Err(Refusal::new(format!("factors of {factors:?} for a value of shape {}", x.text())));
    }
    if scale.iter().all(|&scale| scale == 1) {
        return Ok(vec![x.into()]);
    }
    let input = importer.plain(&x)?;
    let scale = if scale[2..].iter().all(|&s| s == scale[2]) { vec![scale[2]] } else { scale[2..].to_vec() };
    let node = importer.layer(Upsample { scale, mode }, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// Factors are an attribute in version 7, an operand in 9.
fn upsample(importer: &mut Importer, call: &Call) -> Outputs {
    let attribute = call.floats("scales")?;
    let factors = match attribute {
        Some(factors) => factors.iter().map(|&factor| factor.into()).collect(),
        None => call.constant(1)?.values()?,
    };
    match call.text("mode", "nearest")? {
        "nearest" => enlarge(importer, call, &factors, Interpolation::Nearest),
        mode => Err(Refusal::new(format!("attribute `mode` is `{mode}`, by the rule `asymmetric`"))),
    }
}

/// In version 10 the factors are the second operand; from 11 on they are the third, or sizes are the fourth.
fn resize(importer: &mut Importer, call: &Call) -> Outputs {
    let x = call.flow(0)?.clone();
    let mode = call.text("mode", "nearest")?;
    let default = if call.opset < 11 { "asymmetric" } else { "half_pixel" };
    let place = call.text("coordinate_transformation_mode", default)?;
    let nearest = call.text("nearest_mode", if call.opset < 11 { "floor" } else { "round_prefer_floor" })?;
    call.float("cubic_coeff_a", -0.75)?;
    call.float("extrapolation_value", 0.0)?;
    call.flag("exclude_outside", false)?;
    let policy = call.text("keep_aspect_ratio_policy", "stretch")?;
    let smooth = call.flag("antialias", false)?;
    let (scales, sizes) = if call.opset < 11 { (1, 3) } else { (2, 3) };
    let given = |index| -> Result<Option<&Const>, Refusal> {
        Ok(call.optional_constant(index)?.filter(|constant| constant.count() > 0))
    };
    let mut factors = match (given(scales)?, given(sizes)?) {
        (Some(factors), _) => factors.values()?,
        (None, Some(sizes)) => factors_of_sizes(call, &x, sizes)?,
        (None, None) => return Err(Refusal::new("neither factors nor sizes are given")),
    };
    if let Some(axes) = call.ints("axes")? {
        let mut all = vec![1.0; x.rank()];
        for (&axis, factor) in axes.iter().zip(&factors) {
            all[call.axis(axis, x.rank())?] = *factor;
        }
        factors = all;
    }
    if policy != "stretch" || smooth {
        return Err(Refusal::new(format!("attributes `keep_aspect_ratio_policy` `{policy}`, `antialias` {smooth}")));
    }
    let refused = || {
        let nearest = if mode == "nearest" { format!(", `nearest_mode` `{nearest}`") } else { String::new() };
        Refusal::new(format!("`mode` `{mode}`, `coordinate_transformation_mode` `{place}`{nearest}"))
    };
    let interpolation = match (mode, place, nearest) {
        // For a whole factor s all of these are floor(i / s).
        ("nearest", "asymmetric", "floor") => Interpolation::Nearest,
        ("nearest", "half_pixel" | "pytorch_half_pixel", "round_prefer_floor" | "round_prefer_ceil") => {
            Interpolation::Nearest
        }
        ("linear", "half_pixel" | "pytorch_half_pixel", _) => Interpolation::Bilinear { align_corners: false },
        ("linear", "align_corners", _) => Interpolation::Bilinear { align_corners: true },
        _ => return Err(refused()),
    };
    enlarge(importer, call, &factors, interpolation)
}

fn factors_of_sizes(call: &Call, x: &Flow, sizes: &Const) -> Result<Vec<f64>, Refusal> {
    let own = x.shape();
    let axes: Vec<usize> = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|&axis| call.axis(axis, x.rank())).collect::<Result<_, _>>()?,
        None => (0..x.rank()).collect(),
    };
    let sizes = sizes.numbers()?;
    if sizes.len() != axes.len() {
        return Err(Refusal::new(format!("{} sizes for {} axes", sizes.len(), axes.len())));
    }
    let factor = |(&axis, &size): (&usize, &Number)| {
        let factor = fold::divide(size, own[axis], false)?;
        factor.known().ok_or_else(|| Refusal::new("a size that depends on the batch"))
    };
    axes.iter().zip(sizes.iter()).map(factor).collect()
}
