//! Enlarging.

use super::builder::Site;
use super::call::Call;
use super::layers::Steps;
use crate::layers::{Interpolation, Upsample};

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
