//! What the normalisations share: mean and deviation of values, and factors and summands behind them.

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

/// `eps` as it is written; none where it is the default.
pub(super) fn eps_text(eps: f64) -> Option<String> {
    (eps != 1e-5).then(|| format!("eps {eps:?}"))
}

/// A call with what is written of its options.
pub(super) fn call_text(keyword: &str, options: impl IntoIterator<Item = Option<String>>) -> String {
    let options: Vec<String> = options.into_iter().flatten().collect();
    format!("{keyword}{}{}", if options.is_empty() { "" } else { " " }, options.join(", "))
}

/// A factor and a number to be added for each of these, if there are any.
pub(super) fn affine_params(affine: bool, dims: &[usize]) -> Vec<ParamSpec> {
    let roles = [("weight", Init::NearOne), ("bias", Init::Small)];
    let spec = |(role, init)| ParamSpec { role, dims: dims.to_vec(), fixed: None, init };
    if affine { roles.map(spec).into() } else { Vec::new() }
}

/// Weight and bias of one of them.
fn affine(params: &[&[f32]], index: usize) -> (f64, f64) {
    match params {
        [weight, bias] => (weight[index].into(), bias[index].into()),
        _ => (1.0, 0.0),
    }
}

/// Mean, and sqrt(variance + eps), where the variance is the mean of the squares of the distances from the mean.
fn moments(values: &[f32], eps: f64, accumulate: Accumulate) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = accumulate.sum(values) / count;
    let squares: Vec<f32> = values.iter().map(|&x| (f64::from(x) - mean).powi(2) as f32).collect();
    (mean, (accumulate.sum(&squares) / count + eps).sqrt())
}

/// (x - mean) / deviation * weight + bias of values of which a place tells whose weight and bias they have.
pub(super) fn normalised(
    x: &[f32],
    eps: f64,
    params: &[&[f32]],
    place: impl Fn(usize) -> usize,
    accumulate: Accumulate,
) -> Vec<f32> {
    let (mean, deviation) = moments(x, eps, accumulate);
    let of = |(i, &x): (usize, &f32)| {
        let (weight, bias) = affine(params, place(i));
        ((f64::from(x) - mean) / deviation * weight + bias) as f32
    };
    x.iter().enumerate().map(of).collect()
}

/// The magnitude of [`normalised`]: of x * scale + (bias - mean * scale), where the mean is a sum as well.
pub(super) fn normalised_magnitude(x: &[f32], eps: f64, params: &[&[f32]], place: impl Fn(usize) -> usize) -> Vec<f32> {
    let (_, deviation) = moments(x, eps, Accumulate::F64);
    let mean = x.iter().map(|&x| f64::from(x.abs())).sum::<f64>() / x.len() as f64;
    let of = |(i, &x): (usize, &f32)| {
        let (weight, bias) = affine(params, place(i));
        ((f64::from(x).abs() + mean) / deviation * weight.abs() + bias.abs()) as f32
    };
    x.iter().enumerate().map(of).collect()
}
