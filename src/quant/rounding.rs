//! Weights in eight bits.

use super::apply::Layer;
use super::calibrate::Method;
use crate::ir::integer::{MAX_BIAS, first_pair, pairs};
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
    /// The largest sum of two weights of one sign that are [`pairs`].
    pub most_of_pair: i16,
}

/// The largest whole number that a weight becomes.
const MOST: f32 = i8::MAX as f32;

/// Parts of the largest scale that are tried for the one of the least error.
const TRIED: usize = 32;

/// Rounds weights, each output channel with a scale of its own. What this adds to the mean of the channel is taken off its
/// bias (Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2).
pub fn round(product: &Product, method: Method) -> Rounded {
    let len = product.weight.len() / product.channels;
    let (mut weight, mut scales, mut bias) = (Vec::new(), Vec::new(), Vec::new());
    let (mut error, mut power) = (0.0, 0.0);
    let of_group = product.means.len() / product.groups;
    for (c, real) in product.weight.chunks(len).enumerate() {
        let b = product.bias.map_or(0.0, |bias| f64::from(bias[c]));
        let first = c / (product.channels / product.groups) * of_group;
        let row = Row { real, first, taps: len / of_group, most_of_pair: product.most_of_pair };
        let scale = row.scale(b, product.input, method);
        let rounded = row.rounded(scale);
        let off = |(&w, &q): (&f32, &i8)| f64::from(w) - f64::from(q) * f64::from(scale);
        let both = || real.iter().zip(&rounded);
        error += both().map(|both| off(both).powi(2)).sum::<f64>();
        power += real.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
        let lost =
            both().enumerate().map(|(i, both)| off(both) * product.means[first + i * of_group / len]).sum::<f64>();
        let step = f64::from(product.input.scale()) * f64::from(scale);
        bias.push(((b + lost) / step).round_ties_even().clamp(-f64::from(MAX_BIAS), MAX_BIAS.into()) as i32);
        weight.extend(rounded);
        scales.push(scale);
    }
    let bias = (product.bias.is_some() || bias.iter().any(|&b| b != 0)).then(|| bias.into());
    let layer = Layer { weight: weight.into(), scales: scales.into(), bias };
    Rounded { layer, noise: error / f64::max(power, f64::MIN_POSITIVE) }
}

/// The weights of an output channel, `[input of its group][tap]`.
struct Row<'w> {
    real: &'w [f32],
    /// The number of its first input, of those of all groups.
    first: usize,
    taps: usize,
    most_of_pair: i16,
}

impl Row<'_> {
    /// The nearest whole numbers that weights, and pairs of them, may be.
    fn rounded(&self, scale: f32) -> Vec<i8> {
        let nearest = |w: &f32| (w / scale).round_ties_even().clamp(-MOST, MOST) as i8;
        let mut rounded: Vec<i8> = self.real.iter().map(nearest).collect();
        for both in rounded[first_pair(self.first, self.taps)..].chunks_exact_mut(2 * self.taps) {
            let (even, odd) = both.split_at_mut(self.taps);
            even.iter_mut().zip(odd).for_each(|(a, b)| [*a, *b] = within([*a, *b], self.most_of_pair));
        }
        rounded
    }

    /// One under which the bias is no large number, and the weights are near what they were.
    fn scale(&self, bias: f64, input: Quantisation, method: Method) -> f32 {
        let of_one = self.real.iter().fold(0f32, |largest, w| largest.max(w.abs()));
        let of_pair = pairs(self.real, self.first, self.taps)
            .filter(|[a, b]| (*a > 0.0) == (*b > 0.0))
            .fold(0f32, |largest, [a, b]| largest.max((a + b).abs()));
        let largest = f32::max(of_one / MOST, of_pair / f32::from(self.most_of_pair));
        let least = (bias.abs() / (f64::from(input.scale()) * f64::from(MAX_BIAS / 2))) as f32;
        let (low, high) = (Quantisation::SCALES.start().max(least), *Quantisation::SCALES.end());
        let of_part = |part: f32| (largest * part).max(low).min(high);
        if method != Method::LeastSquares {
            return of_part(1.0);
        }
        let error = |scale: f32| {
            let off = |(&w, q): (&f32, i8)| f64::from(w) - f64::from(q) * f64::from(scale);
            self.real.iter().zip(self.rounded(scale)).map(|both| off(both).powi(2)).sum::<f64>()
        };
        let parts = (0..TRIED).map(|i| of_part(1.0 - i as f32 / (2 * TRIED) as f32));
        parts.min_by(|&a, &b| error(a).total_cmp(&error(b))).expect("some are tried")
    }
}

/// The nearest two numbers of the same signs whose sum is not above `most`, nor below `-most`.
fn within([a, b]: [i8; 2], most: i16) -> [i8; 2] {
    let beyond = if a.signum() == b.signum() { (i16::from(a) + i16::from(b)).abs() - most } else { 0 };
    let (half, rest) = (beyond / 2, beyond - beyond / 2);
    let (of_a, of_b) = if a.unsigned_abs() < b.unsigned_abs() { (half, rest) } else { (rest, half) };
    let less = |q: i8, by: i16| q - q.signum() * by as i8;
    if beyond > 0 { [less(a, of_a), less(b, of_b)] } else { [a, b] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(weight: &[f32], bias: Option<&[f32]>, means: &[f64]) -> Layer {
        paired(254, weight, bias, means)
    }

    fn paired(most_of_pair: i16, weight: &[f32], bias: Option<&[f32]>, means: &[f64]) -> Layer {
        let input = Quantisation::new(0.5, 0, 255).unwrap();
        let product = Product { weight, bias, channels: 2, groups: 1, input, means, most_of_pair };
        round(&product, Method::MinMax).layer
    }

    #[test]
    fn pairs_of_weights_are_as_large_as_they_may() {
        // 100 and 100 of one sign set the scale; those of different signs, and those of different pairs, do not.
        let row = [100.0, 100.0, 127.0, -127.0, 60.0];
        let layer = paired(128, &[row, row.map(|w| 2.0 * w)].concat(), None, &[0.0; 5]);
        let scale = 200.0 / 128.0;
        assert_eq!(layer.scales[..], [scale, 2.0 * scale]);
        assert_eq!(layer.weight[..], [[64, 64, 81, -81, 38]; 2].concat());
    }

    /// A group of three channels begins within a pair.
    #[test]
    fn pairs_are_of_channels_of_all_groups() {
        let input = Quantisation::new(0.5, 0, 255).unwrap();
        let weight = &[[100.0, 100.0, 50.0], [50.0, 100.0, 100.0]].concat();
        let product =
            Product { weight, bias: None, channels: 2, groups: 2, input, means: &[0.0; 6], most_of_pair: 128 };
        assert_eq!(round(&product, Method::MinMax).layer.weight[..], [64, 64, 32, 32, 64, 64]);
    }

    #[test]
    fn what_is_beyond_is_taken_from_both() {
        let beyond = [[127, 127], [-127, -127], [127, 2], [-3, -127], [100, 31], [127, 1], [127, -127], [0, 127]];
        let fitting = [[64, 64], [-64, -64], [126, 2], [-2, -126], [98, 30], [127, 1], [127, -127], [0, 127]];
        assert_eq!(beyond.map(|pair| within(pair, 128)), fitting);
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
