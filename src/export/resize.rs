//! Other sizes.

use super::Refusal;
use super::builder::Site;
use super::call::Call;
use super::layers::Steps;
use crate::layers::{Coordinates, Extent, Filter, Interpolation, Resize, Rounding, Upsample};

/// <https://onnx.ai/onnx/operators/onnx__Resize.html>
pub fn upsample(site: &mut Site, layer: &Upsample) -> Steps {
    let (mode, coordinates) = match layer.mode {
        Interpolation::Nearest => ("nearest", "asymmetric"),
        Interpolation::Bilinear { align_corners: false } => ("linear", "half_pixel"),
        Interpolation::Bilinear { align_corners: true } => ("linear", "align_corners"),
    };
    let (from, to) = (&site.input_type(0).dims, &site.node.ty.dims);
    // Of the batch, the channels (which stay) and the positions.
    let scales: Vec<f32> = [1.0].into_iter().chain(from.iter().zip(to).map(|(from, to)| (to / from) as f32)).collect();
    let scales = site.floats("scales", &[scales.len()], &scales);
    // The second input, a region of interest, is of another mode.
    let call = Call::new("Resize", [site.input(0), String::new(), scales]).word("mode", mode);
    let call = call.word("coordinate_transformation_mode", coordinates);
    Ok(if mode == "nearest" { call.word("nearest_mode", "floor") } else { call }.into())
}

/// The same operator, which has words for all of it.
pub fn resize(site: &mut Site, layer: &Resize) -> Steps {
    let rank = site.input_type(0).spatial().len();
    let inputs = match &layer.extent {
        Extent::Size(_) => to_size(site)?,
        Extent::Scale(factors) => by(site, (0..rank).map(|d| factors[d.min(factors.len() - 1)]).collect()),
    };
    let call = Call::new("Resize", inputs).since(18).ints("axes", 2..2 + rank);
    let call = call.word(
        "coordinate_transformation_mode",
        match layer.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
            Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
        },
    );
    let call = if layer.coordinates == Coordinates::HalfPixelSymmetric { call.since(19) } else { call };
    let nearest = |call: Call, rounding: &str| call.word("mode", "nearest").word("nearest_mode", rounding);
    let call = match layer.filter {
        Filter::Linear => call.word("mode", "linear"),
        Filter::Cubic(coefficient) => call.word("mode", "cubic").float("cubic_coeff_a", -coefficient),
        Filter::Nearest(Rounding::Floor) => nearest(call, "floor"),
        Filter::Nearest(Rounding::Ceil) => nearest(call, "ceil"),
        Filter::Nearest(Rounding::PreferFloor) => nearest(call, "round_prefer_floor"),
        Filter::Nearest(Rounding::PreferCeil) => nearest(call, "round_prefer_ceil"),
    };
    Ok(call.into())
}

/// The operands of a resize to a size. One that depends on free sizes is that of another value, or a multiple.
fn to_size(site: &mut Site) -> Result<Vec<String>, Refusal> {
    let sizes = &site.own_sizes()[1..];
    let sizes = match sizes.iter().map(|size| size.map(|size| size as i64)).collect::<Option<Vec<_>>>() {
        Some(sizes) => site.integers("sizes", &sizes),
        None => match (site.as_large(), site.factors()) {
            (Some(value), _) => site.list(Call::new("Shape", [value]).int("start", 2)),
            (None, Some(factors)) => return Ok(by(site, factors.iter().map(|&factor| factor as f64).collect())),
            (None, None) => return Err(Refusal::of_sizes("its size, which no other value has,")),
        },
    };
    Ok(vec![site.input(0), String::new(), String::new(), sizes])
}

/// The operands of a resize by factors.
fn by(site: &mut Site, factors: Vec<f64>) -> Vec<String> {
    let scales: Vec<f32> = factors.into_iter().map(|factor| factor as f32).collect();
    let scales = site.floats("scales", &[scales.len()], &scales);
    // The second input, a region of interest, is of another mode.
    vec![site.input(0), String::new(), scales]
}
