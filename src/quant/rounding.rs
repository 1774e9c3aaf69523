//! Weights in eight bits.

use super::apply::Layer;
use super::calibrate::Method;
use super::compensated::Compensated;
use super::moments::{Group, Moments};
use crate::ir::integer::MAX_BIAS;
use crate::tensor::Quantisation;

/// Weights in whole numbers, and how far they are off.
pub struct Rounded {
    pub layer: Layer,
    /// The mean square of what the errors of weights make of what the layer reads, over that of the weights.
    pub noise: f64,
}

/// What a layer multiplies, row by row of its output channels.
pub struct Product<'a> {
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub channels: usize,
    /// What its operand's numbers stand for, and what was seen of them.
    pub input: Quantisation,
    pub moments: &'a Moments,
    /// The largest sum of two weights of one sign that are pairs: see [`crate::ir::integer::pairs`].
    pub most_of_pair: i16,
}

/// Parts of the largest scale that are tried for the one of the least error.
const TRIED: usize = 32;

/// Rounds weights, each output channel with a scale of its own. What this adds to the mean of the channel is taken off its
/// bias (Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2).
pub fn round(product: &Product, method: Method) -> Rounded {
    let groups = &product.moments.groups;
    let (of_row, of_group) = (product.weight.len() / product.channels, product.channels / groups.len());
    let (mut weight, mut scales, mut bias) = (Vec::new(), Vec::new(), Vec::new());
    let (mut error, mut power) = (0.0, 0.0);
    for (group, rows) in groups.iter().zip(product.weight.chunks(of_row * of_group)) {
        let how = How::new(group, product);
        for real in rows.chunks(of_row) {
            let b = product.bias.map_or(0.0, |bias| f64::from(bias[scales.len()]));
            let scale = how.scale(real, b, product.input, method);
            let (rounded, cost) = how.round(real, scale);
            let off = |input: usize| f64::from(real[input]) - f64::from(rounded[input]) * f64::from(scale);
            error += cost * f64::from(scale) * f64::from(scale);
            power += how.power(real);
            let lost: f64 = group.means.iter().enumerate().map(|(input, mean)| off(input) * mean).sum();
            let step = f64::from(product.input.scale()) * f64::from(scale);
            bias.push(((b + lost) / step).round_ties_even().clamp(-f64::from(MAX_BIAS), MAX_BIAS.into()) as i32);
            weight.extend(rounded);
            scales.push(scale);
        }
    }
    let bias = (product.bias.is_some() || bias.iter().any(|&b| b != 0)).then(|| bias.into());
    let layer = Layer { weight: weight.into(), scales: scales.into(), bias };
    Rounded { layer, noise: error / f64::max(power, f64::MIN_POSITIVE) }
}

/// How the weights of a group's output channels are rounded, each a row by input.
struct How<'g> {
    group: &'g Group,
    blocks: Vec<Compensated>,
    /// The same with nothing made good.
    alone: Vec<Compensated>,
    most_of_pair: i16,
}

impl How<'_> {
    fn new<'g>(group: &'g Group, product: &Product) -> How<'g> {
        let blocks: Vec<_> = group.blocks.iter().map(|block| Compensated::new(block, product.input)).collect();
        let alone = blocks.iter().map(Compensated::alone).collect();
        How { group, blocks, alone, most_of_pair: product.most_of_pair }
    }

    /// Whole numbers, and what their errors cost, in steps.
    fn round(&self, real: &[f32], scale: f32) -> (Vec<i8>, f64) {
        let mut rounded = vec![0; real.len()];
        let of_block = |block: &Compensated| block.round(in_steps(real, scale), self.most_of_pair, &mut rounded);
        let cost = self.blocks.iter().map(of_block).sum();
        (rounded, cost)
    }

    fn power(&self, real: &[f32]) -> f64 {
        self.blocks.iter().map(|block| block.cost(|input| f64::from(real[input]))).sum()
    }

    /// One under which the bias is no large number, and rounding costs least.
    fn scale(&self, real: &[f32], bias: f64, input: Quantisation, method: Method) -> f32 {
        let largest = self.largest(real);
        let least = (bias.abs() / (f64::from(input.scale()) * f64::from(MAX_BIAS / 2))) as f32;
        let (low, high) = (Quantisation::SCALES.start().max(least), *Quantisation::SCALES.end());
        let of_part = |part: f32| (largest * part).max(low).min(high);
        if method != Method::LeastSquares {
            return of_part(1.0);
        }
        let mut rounded = vec![0; real.len()];
        let mut cost = |scale: f32| {
            let of_block = |block: &Compensated| block.round(in_steps(real, scale), self.most_of_pair, &mut rounded);
            self.alone.iter().map(of_block).sum::<f64>() * f64::from(scale) * f64::from(scale)
        };
        let tried = (0..TRIED).map(|i| of_part(1.0 - i as f32 / (2 * TRIED) as f32));
        tried.map(|scale| (cost(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0)).expect("some are tried").1
    }

    /// The least scale under which all weights, and pairs of them, are as large as they may be.
    fn largest(&self, real: &[f32]) -> f32 {
        let of_one = real.iter().fold(0f32, |largest, w| largest.max(w.abs()));
        let units = self.group.blocks.iter().flat_map(|block| &block.units);
        let pairs = units.filter_map(|&(a, b)| Some([real[a], real[b?]]));
        let of_pair =
            pairs.filter(|[a, b]| (*a > 0.0) == (*b > 0.0)).fold(0f32, |largest, [a, b]| largest.max((a + b).abs()));
        f32::max(of_one / f32::from(i8::MAX), of_pair / f32::from(self.most_of_pair))
    }
}

fn in_steps(real: &[f32], scale: f32) -> impl Fn(usize) -> f64 {
    move |input| f64::from(real[input]) / f64::from(scale)
}

#[cfg(test)]
mod tests {
    use super::super::moments::{Block, units};
    use super::*;

    /// Channels that have nothing to do with each other.
    fn moments(first: usize, means: &[f64]) -> Group {
        let mut block = Block::new(&units(first, means.len(), 1));
        block.rows.iter_mut().for_each(|row| *row.last_mut().unwrap() = 1.0);
        Group { means: means.to_vec(), blocks: vec![block] }
    }

    fn rounded(weight: &[f32], bias: Option<&[f32]>, means: &[f64]) -> Layer {
        of_groups(254, weight, bias, vec![moments(0, means)])
    }

    fn of_groups(most_of_pair: i16, weight: &[f32], bias: Option<&[f32]>, groups: Vec<Group>) -> Layer {
        let input = Quantisation::new(0.5, 0, 255).unwrap();
        let product = Product { weight, bias, channels: 2, input, moments: &Moments { groups }, most_of_pair };
        round(&product, Method::MinMax).layer
    }

    #[test]
    fn pairs_of_weights_are_as_large_as_they_may() {
        // 100 and 100 of one sign set the scale; those of different signs, and those of different pairs, do not.
        let row = [100.0, 100.0, 127.0, -127.0, 60.0];
        let layer = of_groups(128, &[row, row.map(|w| 2.0 * w)].concat(), None, vec![moments(0, &[0.0; 5])]);
        let scale = 200.0 / 128.0;
        assert_eq!(layer.scales[..], [scale, 2.0 * scale]);
        assert_eq!(layer.weight[..], [[64, 64, 81, -81, 38]; 2].concat());
    }

    /// A group of three channels begins within a pair.
    #[test]
    fn pairs_are_of_channels_of_all_groups() {
        let weight = &[[100.0, 100.0, 50.0], [50.0, 100.0, 100.0]].concat();
        let groups = [0, 3].map(|first| moments(first, &[0.0; 3])).into();
        assert_eq!(of_groups(128, weight, None, groups).weight[..], [64, 64, 32, 32, 64, 64]);
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
