//! Weights in eight bits.

use super::apply::Layer;
use super::calibrate::Method;
use crate::ir::integer::MAX_BIAS;
use crate::tensor::Quantisation;

/// Weights in whole numbers, and how far they are off.
pub struct Rounded {
    pub layer: Layer,
    /// The squared error over the squares of the weights.
    pub noise: f64,
}

/// What a layer multiplies, row by row of its output channels.
pub struct Product<'a> {
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub channels: usize,
    pub groups: usize,
    /// What its operand's numbers stand for, and the mean of each channel of it.
    pub input: Quantisation,
    pub means: &'a [f64],
    /// The largest whole number that a weight may become.
    pub most: i8,
}

/// Parts of the largest weight that are tried for the scale of the least error.
const TRIED: usize = 32;

/// Rounds weights, each output channel with a scale of its own. What this adds to the mean of the channel is taken off its
/// bias (Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2).
pub fn round(product: &Product, method: Method) -> Rounded {
    let len = product.weight.len() / product.channels;
    let (mut weight, mut scales, mut bias) = (Vec::new(), Vec::new(), Vec::new());
    let (mut error, mut power) = (0.0, 0.0);
    for (c, row) in product.weight.chunks(len).enumerate() {
        let b = product.bias.map_or(0.0, |bias| f64::from(bias[c]));
        let scale = scale(row, b, product, method);
        let rounded: Vec<i8> = row.iter().map(|&w| nearest(w, scale, product.most)).collect();
        let off = |(&w, &q): (&f32, &i8)| f64::from(w) - f64::from(q) * f64::from(scale);
        let pairs = || row.iter().zip(&rounded);
        error += pairs().map(|pair| off(pair).powi(2)).sum::<f64>();
        power += row.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
        let first = c / (product.channels / product.groups) * (product.means.len() / product.groups);
        let of_group = product.means.len() / product.groups;
        let lost =
            pairs().enumerate().map(|(i, pair)| off(pair) * product.means[first + i * of_group / len]).sum::<f64>();
        let step = f64::from(product.input.scale()) * f64::from(scale);
        bias.push(((b + lost) / step).round_ties_even().clamp(-f64::from(MAX_BIAS), MAX_BIAS.into()) as i32);
        weight.extend(rounded);
        scales.push(scale);
    }
    let bias = (product.bias.is_some() || bias.iter().any(|&b| b != 0)).then(|| bias.into());
    let layer = Layer { weight: weight.into(), scales: scales.into(), bias };
    Rounded { layer, noise: error / f64::max(power, f64::MIN_POSITIVE) }
}

fn nearest(w: f32, scale: f32, most: i8) -> i8 {
    (w / scale).round_ties_even().clamp(-f32::from(most), most.into()) as i8
}

/// The scale of a row: one under which its bias is no large number, and the weights are near what they were.
fn scale(row: &[f32], bias: f64, &Product { input, most, .. }: &Product, method: Method) -> f32 {
    let largest = row.iter().fold(0f32, |largest, w| largest.max(w.abs()));
    let least = (bias.abs() / (f64::from(input.scale()) * f64::from(MAX_BIAS / 2))) as f32;
    let (low, high) = (Quantisation::SCALES.start().max(least), *Quantisation::SCALES.end());
    let of_part = |part: f32| (largest * part / f32::from(most)).max(low).min(high);
    if method != Method::LeastSquares {
        return of_part(1.0);
    }
    let error = |scale: f32| {
        let off = |&w: &f32| f64::from(w) - f64::from(nearest(w, scale, most)) * f64::from(scale);
        row.iter().map(|w| off(w).powi(2)).sum::<f64>()
    };
    let parts = (0..TRIED).map(|i| of_part(1.0 - i as f32 / (2 * TRIED) as f32));
    parts.min_by(|&a, &b| error(a).total_cmp(&error(b))).expect("some are tried")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(weight: &[f32], bias: Option<&[f32]>, means: &[f64]) -> Layer {
        within(127, weight, bias, means)
    }

    fn within(most: i8, weight: &[f32], bias: Option<&[f32]>, means: &[f64]) -> Layer {
        let input = Quantisation::new(0.5, 0, 255).unwrap();
        let product = Product { weight, bias, channels: 2, groups: 1, input, means, most };
        round(&product, Method::MinMax).layer
    }

    #[test]
    fn weights_have_as_many_bits_as_they_may() {
        let layer = within(63, &[126.0, -64.0, -0.5, 0.0], None, &[0.0, 0.0]);
        assert_eq!((&layer.weight[..], &layer.scales[..]), (&[63, -32, -63, 0][..], &[2.0, 0.5 / 63.0][..]));
    }

    #[test]
    fn each_channel_has_its_own_scale() {
        let layer = rounded(&[127.0, -64.0, 0.5, 0.25], Some(&[3.0, -1.0]), &[0.0, 0.0]);
        assert_eq!((&layer.weight[..], &layer.scales[..]), (&[127, -64, 127, 64][..], &[1.0, 0.5 / 127.0][..]));
        assert_eq!(layer.bias.as_deref(), Some(&[6, -508][..]));
    }

    #[test]
    fn what_rounding_adds_to_the_mean_is_taken_off_the_bias() {
        // 0.4 becomes 0, times a mean of 10: 4, in steps of a half.
        let layer = rounded(&[127.0, 0.4, 127.0, 0.0], None, &[0.0, 10.0]);
        assert_eq!((&layer.weight[..], layer.bias.as_deref()), (&[127, 0, 127, 0][..], Some(&[8, 0][..])));
    }

    #[test]
    fn a_channel_without_weights_keeps_its_bias() {
        let layer = rounded(&[0.0, 0.0, 1.0, 1.0], Some(&[1.0e6, 0.0]), &[0.0, 0.0]);
        let bias = f64::from(layer.bias.unwrap()[0]) * f64::from(layer.scales[0]) * 0.5;
        assert!((bias - 1.0e6).abs() < 1.0, "{bias}");
    }
}
