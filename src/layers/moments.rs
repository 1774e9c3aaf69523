//! Mean and deviation of values: what `layer_norm` and `instance_norm` share.

use super::*;

pub(super) const EPS: ParamDecl = ParamDecl::named("eps", Kind::Float, "1e-5", "what is added to the variance");

/// The argument `eps`.
pub(super) fn eps(args: &Args) -> Result<f64, ArgError> {
    let eps = args.float("eps");
    if eps < 0.0 { Err(ArgError::new("eps", format!("eps is {eps:?}; it must not be negative"))) } else { Ok(eps) }
}

pub(super) fn check_eps(eps: f64) -> Result<(), ShapeError> {
    check_finite("eps", eps)?;
    match eps < 0.0 {
        true => Err(ShapeError::new("E0216", format!("eps is {eps:?}; it must not be negative"))),
        false => Ok(()),
    }
}

/// A factor and a number to be added for each channel, if there are any.
pub(super) fn affine_params(affine: bool, channels: usize) -> Vec<ParamSpec> {
    let roles = [("weight", Init::NearOne), ("bias", Init::Small)];
    let spec = |(role, init)| ParamSpec { role, dims: vec![channels], fixed: None, init };
    if affine { roles.map(spec).into() } else { Vec::new() }
}

/// Weight and bias of a channel.
pub(super) fn affine(params: &[&[f32]], channel: usize) -> (f64, f64) {
    match params {
        [weight, bias] => (weight[channel].into(), bias[channel].into()),
        _ => (1.0, 0.0),
    }
}

/// Mean, and sqrt(variance + eps), where the variance is the mean of the squares of the distances from the mean.
pub(super) fn moments(values: &[f32], eps: f64, accumulate: Accumulate) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = accumulate.sum(values) / count;
    let squares: Vec<f32> = values.iter().map(|&x| (f64::from(x) - mean).powi(2) as f32).collect();
    (mean, (accumulate.sum(&squares) / count + eps).sqrt())
}
