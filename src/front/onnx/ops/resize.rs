//! Resize (10, 11, 13, 18, 19), Upsample (7, 9).

use super::{Rules, decimal};
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs};
use crate::front::onnx::constant::{Const, Number};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::fold;
use crate::front::onnx::walk::Importer;
use crate::layers::{Coordinates, Extent, Filter, Interpolation, Resize, Rounding, Upsample};

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
    let scale = one_or_each(scale[2..].to_vec());
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
    let coefficient = decimal(call.float("cubic_coeff_a", -0.75)?);
    call.float("extrapolation_value", 0.0)?;
    let outside = call.flag("exclude_outside", false)?;
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
    if smooth || outside && mode == "cubic" {
        return Err(Refusal::new(format!("attributes `antialias` {smooth}, `exclude_outside` {outside}")));
    }
    if given(sizes)?.is_some() {
        factors = of_one_factor(call, &x, policy, factors)?;
    }
    let whole = match (mode, place, nearest) {
        // For a whole factor s all of these are floor(i / s).
        ("nearest", "asymmetric", "floor") => Some(Interpolation::Nearest),
        ("nearest", "half_pixel" | "pytorch_half_pixel", "round_prefer_floor" | "round_prefer_ceil") => {
            Some(Interpolation::Nearest)
        }
        ("linear", "half_pixel" | "pytorch_half_pixel", _) => Some(Interpolation::Bilinear { align_corners: false }),
        ("linear", "align_corners", _) => Some(Interpolation::Bilinear { align_corners: true }),
        _ => None,
    };
    let is_whole = |&factor: &f64| factor >= 1.0 && factor.fract() == 0.0;
    // Factors of given sizes are those of this size of the input only.
    let whole = whole.filter(|_| !importer.has_free_sizes() || given(sizes).is_ok_and(|sizes| sizes.is_none()));
    match whole.filter(|_| factors.iter().all(is_whole)) {
        Some(interpolation) => enlarge(importer, call, &factors, interpolation),
        None => {
            let extent = match given(sizes)? {
                Some(_) => Extent::Size(one_or_each(known_sizes(&x, &factors)?)),
                None => Extent::Scale(one_or_each(factors.iter().skip(2).map(|&f| decimal(f as f32)).collect())),
            };
            if place == "align_corners" && matches!(extent, Extent::Scale(_)) && !are_sizes(&x, &factors) {
                return Err(Refusal::new(format!("corners of factors {factors:?}, which lead to no whole sizes")));
            }
            interpolated(importer, &x, &factors, extent, filter(mode, nearest, coefficient)?, coordinates(place)?)
        }
    }
}

/// The factors of sizes that are only limits, which all axes that are resized have in common.
fn of_one_factor(call: &Call, x: &Flow, policy: &str, factors: Vec<f64>) -> Result<Vec<f64>, Refusal> {
    let resized: Vec<usize> = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|&axis| call.axis(axis, x.rank())).collect::<Result<_, _>>()?,
        None => (0..x.rank()).collect(),
    };
    let given = resized.iter().map(|&axis| factors[axis]);
    let factor = match policy {
        "stretch" => return Ok(factors),
        "not_larger" => given.fold(f64::INFINITY, f64::min),
        "not_smaller" => given.fold(0.0, f64::max),
        other => return Err(Refusal::new(format!("attribute `keep_aspect_ratio_policy` is `{other}`"))),
    };
    let factors: Vec<f64> = (0..factors.len()).map(|axis| if resized.contains(&axis) { factor } else { 1.0 }).collect();
    match are_sizes(x, &factors) {
        true => Ok(factors),
        false => Err(Refusal::new(format!(
            "a factor of {factor} by `keep_aspect_ratio_policy`, which leads to no whole sizes"
        ))),
    }
}

/// One number where all dimensions have the same.
fn one_or_each<T: PartialEq>(mut of_dims: Vec<T>) -> Vec<T> {
    if of_dims.windows(2).all(|pair| pair[0] == pair[1]) {
        of_dims.truncate(1);
    }
    of_dims
}

/// Positions by interpolation, by any rule that the layer has.
fn interpolated(
    importer: &mut Importer,
    x: &Flow,
    factors: &[f64],
    extent: Extent,
    filter: Filter,
    coordinates: Coordinates,
) -> Outputs {
    if factors.len() != x.rank() || factors.len() < 3 || factors[..2] != [1.0, 1.0] {
        return Err(Refusal::new(format!("factors of {factors:?} for a value of shape {}", x.text())));
    }
    let input = importer.plain(x)?;
    let node = importer.layer(Resize { extent, filter, coordinates }, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// The sizes of the spatial axes that the factors lead to, which were made of them.
fn known_sizes(x: &Flow, factors: &[f64]) -> Result<Vec<usize>, Refusal> {
    let own = x.shape();
    let size = |(own, factor): (&Number, &f64)| {
        let own = own.known().ok_or_else(|| Refusal::new("a size that depends on the batch"))?;
        Ok((own * factor).round() as usize)
    };
    own.iter().zip(factors).skip(2).map(size).collect()
}

/// Whether the factors lead to whole sizes: where they do not, ONNX's corners lie between positions.
fn are_sizes(x: &Flow, factors: &[f64]) -> bool {
    let is_size = |(own, factor): (&Number, &f64)| own.known().is_some_and(|own| (own * factor).fract() == 0.0);
    x.shape().iter().zip(factors).skip(2).all(is_size)
}

fn filter(mode: &str, nearest: &str, coefficient: f64) -> Result<Filter, Refusal> {
    Ok(match (mode, nearest) {
        ("linear", _) => Filter::Linear,
        // The layer has the slope upside down.
        ("cubic", _) => Filter::Cubic(-coefficient),
        ("nearest", "floor") => Filter::Nearest(Rounding::Floor),
        ("nearest", "ceil") => Filter::Nearest(Rounding::Ceil),
        ("nearest", "round_prefer_floor") => Filter::Nearest(Rounding::PreferFloor),
        ("nearest", "round_prefer_ceil") => Filter::Nearest(Rounding::PreferCeil),
        _ => return Err(Refusal::new(format!("`mode` `{mode}`, `nearest_mode` `{nearest}`"))),
    })
}

fn coordinates(place: &str) -> Result<Coordinates, Refusal> {
    Ok(match place {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        _ => return Err(Refusal::new(format!("`coordinate_transformation_mode` `{place}`"))),
    })
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
