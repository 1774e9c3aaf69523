//! Transformed weights, in the order in which the products read them.

use super::Code;
use super::transform::MAX_FREQUENCIES;
use crate::kernels::packing::{Part, Rows};

/// Output channels that are transformed together, side by side.
const SIDE: usize = 8;

/// One number for each of them.
type Side = [f64; SIDE];

/// Input channels whose kernels are brought into order at a time: few enough to stay in the first-level cache.
const CHANNELS: usize = 16;

/// The transform of kernels: both dimensions' G.
pub struct WeightTransform {
    taps: [usize; 2],
    g: [Vec<Vec<f64>>; 2],
}

impl WeightTransform {
    pub fn new(conf: &Code) -> WeightTransform {
        WeightTransform {
            taps: conf.dims.each_ref().map(|d| d.taps),
            g: conf.dims.each_ref().map(|d| d.matrices(d.m).weight),
        }
    }

    /// Packs the weights of one task of `conf`: `[frequency]` of what its products read. `kernels` has a row for each
    /// output channel, `to` is filled with zeros.
    pub fn pack(&self, conf: &Code, kernels: &Rows, task: usize, to: &mut [f32]) {
        let blocks = conf.blocks_of(task);
        let frequency = blocks.len() * conf.column();
        let width = conf.product.vectors * conf.lanes;
        for (index, first) in (blocks.start * conf.lanes..blocks.end * conf.lanes).step_by(width).enumerate() {
            let panel = index * conf.product.vectors * conf.column();
            self.pack_panel(conf, kernels, first, &mut to[panel..], frequency);
        }
    }

    /// One panel: the output channels from `first` on. `frequency` elements lie between two frequencies of `to`.
    fn pack_panel(&self, conf: &Code, kernels: &Rows, first: usize, to: &mut [f32], frequency: usize) {
        let taps = self.taps[0] * self.taps[1];
        let end = (first + conf.product.vectors * conf.lanes).min(conf.channels_out);
        // A last panel may be narrower.
        let width = (end - first).next_multiple_of(conf.lanes);
        let stride = width.next_multiple_of(SIDE);
        let places: Vec<usize> = (0..CHANNELS * taps).collect();
        let mut taken = vec![0.0; places.len() * stride];
        for channel in (0..conf.channels_in).step_by(CHANNELS) {
            let channels = CHANNELS.min(conf.channels_in - channel);
            let columns = channel * taps..(channel + channels) * taps;
            let count = columns.len();
            Part { matrix: kernels, rows: first..end, columns }.transpose(&places[..count], stride, &mut taken);
            let to = &mut to[channel * width..];
            self.transform(&taken[..count * stride], width, to, frequency);
        }
    }

    /// Transforms `kernels`, `[channel in][tap][channel out]` with `width` output channels filled up to whole sides, to
    /// `[frequency][channel in][channel out]`.
    fn transform(&self, kernels: &[f32], width: usize, to: &mut [f32], frequency: usize) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2.
            return unsafe { self.transform_avx2(kernels, width, to, frequency) };
        }
        self.transform_any(kernels, width, to, frequency);
    }

    /// [`Self::transform_any`], which the compiler may vectorise with AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn transform_avx2(&self, kernels: &[f32], width: usize, to: &mut [f32], frequency: usize) {
        self.transform_any(kernels, width, to, frequency);
    }

    #[inline(always)]
    fn transform_any(&self, kernels: &[f32], width: usize, to: &mut [f32], frequency: usize) {
        match self.taps {
            // Most kernels: the compiler unrolls the loops over their taps.
            [3, 3] => self.transform_taps([3, 3], kernels, width, to, frequency),
            taps => self.transform_taps(taps, kernels, width, to, frequency),
        }
    }

    /// One input channel after the other. Frequencies lie so far apart, and so evenly, that their cache lines drive out
    /// each other: each line is written at once.
    #[inline(always)]
    fn transform_taps(
        &self,
        [rows, columns]: [usize; 2],
        kernels: &[f32],
        width: usize,
        to: &mut [f32],
        frequency: usize,
    ) {
        let sides = width.div_ceil(SIDE);
        // [frequency][side][column]
        let mut transformed = vec![Side::default(); self.g[0].len() * sides * columns];
        for (channel, kernel) in kernels.chunks_exact(rows * columns * sides * SIDE).enumerate() {
            for (index, column) in (0..sides).flat_map(|index| (0..columns).map(move |column| (index, column))) {
                let mut taps = [Side::default(); MAX_FREQUENCIES];
                for (row, tap) in taps[..rows].iter_mut().enumerate() {
                    *tap = side(&kernel[((row * columns + column) * sides + index) * SIDE..]);
                }
                for (a, g) in self.g[0].iter().enumerate() {
                    transformed[(a * sides + index) * columns + column] = dot(&g[..rows], &taps);
                }
            }
            for (a, transformed) in transformed.chunks_exact(sides * columns).enumerate() {
                for (b, g) in self.g[1].iter().enumerate() {
                    let to = &mut to[(a * self.g[1].len() + b) * frequency + channel * width..][..width];
                    for (to, values) in to.chunks_mut(SIDE).zip(transformed.chunks_exact(columns)) {
                        store(to, &dot(&g[..columns], values));
                    }
                }
            }
        }
    }
}

/// The first of `values`.
#[inline(always)]
fn side(values: &[f32]) -> Side {
    values.first_chunk::<SIDE>().expect("a whole side").map(f64::from)
}

/// As many of `values` as `to` has.
#[inline(always)]
fn store(to: &mut [f32], values: &Side) {
    match to.first_chunk_mut::<SIDE>() {
        // Whole sides are vectors.
        Some(to) => to.iter_mut().zip(values).for_each(|(to, &value)| *to = value as f32),
        None => to.iter_mut().zip(values).for_each(|(to, &value)| *to = value as f32),
    }
}

/// The sum of `factors[i] * values[i]`.
#[inline(always)]
fn dot(factors: &[f64], values: &[Side]) -> Side {
    let mut sum = Side::default();
    for (i, &factor) in factors.iter().enumerate() {
        sum.iter_mut().zip(&values[i]).for_each(|(sum, value)| *sum += factor * value);
    }
    sum
}
