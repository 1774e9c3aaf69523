//! The transform of the weights, U = G g G^T of each pair of channels, for many output channels at a time.

use super::transform::{KERNEL, Matrices};
use crate::kernels::packing::{Rows, transpose};
use std::ops::Range;

/// Output channels that are transformed together.
const LANES: usize = 8;
/// Input channels that are: for each frequency they fill whole cache lines of packed weights.
const CHANNELS: usize = 8;
const TAPS: usize = KERNEL * KERNEL;

type Lanes = [f64; LANES];

/// G, and what it needs of the weights.
pub struct WeightTransform {
    matrix: Vec<[f64; KERNEL]>,
}

impl WeightTransform {
    /// For tiles of `m` x `m` outputs.
    pub fn new(m: usize) -> WeightTransform {
        WeightTransform { matrix: Matrices::new(m).weight }
    }

    /// Puts the transformed weights of the output channels `rows` and each input channel at
    /// `to[frequency][places[input channel] * stride + row]`, rows counted from the range's first.
    pub fn pack(&self, source: &Rows, rows: Range<usize>, places: &[usize], stride: usize, to: &mut [&mut [f32]]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2.
            return unsafe { self.pack_avx2(source, rows, places, stride, to) };
        }
        self.pack_any(source, rows, places, stride, to);
    }

    /// [`WeightTransform::pack_any`], which the compiler may vectorise with AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn pack_avx2(&self, source: &Rows, rows: Range<usize>, places: &[usize], stride: usize, to: &mut [&mut [f32]]) {
        self.pack_any(source, rows, places, stride, to);
    }

    #[inline(always)]
    fn pack_any(&self, source: &Rows, rows: Range<usize>, places: &[usize], stride: usize, to: &mut [&mut [f32]]) {
        let in_order: Vec<usize> = (0..CHANNELS * TAPS).collect();
        // `[input channel and tap][output channel]`
        let mut taps = [0.0; CHANNELS * TAPS * LANES];
        // `[frequency][input channel][output channel]`: frequencies are far apart in the packed weights, so each gets
        // whole rows at once.
        let mut transformed = vec![0.0; to.len() * CHANNELS * stride];
        for (chunk, places) in places.chunks(CHANNELS).enumerate() {
            let columns = chunk * CHANNELS * TAPS..(chunk * CHANNELS + places.len()) * TAPS;
            let part = source.part(columns);
            for first in rows.clone().step_by(LANES) {
                let outs = first..rows.end.min(first + LANES);
                let lane = first - rows.start;
                taps.fill(0.0);
                transpose(&part, outs.clone(), &in_order[..part.columns()], LANES, &mut taps);
                for (channel, taps) in taps.chunks_exact(TAPS * LANES).take(places.len()).enumerate() {
                    self.transform(taps, |frequency, values| {
                        let at = (frequency * CHANNELS + channel) * stride + lane;
                        transformed[at..at + outs.len()].copy_from_slice(&values[..outs.len()]);
                    });
                }
            }
            for (of_frequency, to) in transformed.chunks_exact(CHANNELS * stride).zip(&mut *to) {
                for (values, place) in of_frequency.chunks_exact(stride).zip(places) {
                    to[place * stride..][..stride].copy_from_slice(values);
                }
            }
        }
    }

    /// Calls `store(frequency, values)` with the rounded transform of the kernels `[tap][lane]`.
    #[inline(always)]
    fn transform(&self, taps: &[f32], mut store: impl FnMut(usize, &[f32; LANES])) {
        let tap = |i: usize| -> Lanes { std::array::from_fn(|lane| f64::from(taps[i * LANES + lane])) };
        let size = self.matrix.len();
        for (f, a) in self.matrix.iter().enumerate() {
            let row: [Lanes; KERNEL] = std::array::from_fn(|j| {
                let column: [Lanes; KERNEL] = std::array::from_fn(|i| tap(i * KERNEL + j));
                combine(a, &column)
            });
            for (g, b) in self.matrix.iter().enumerate() {
                store(f * size + g, &combine(b, &row).map(|x| x as f32));
            }
        }
    }
}

/// The sum of coefficient * value.
#[inline(always)]
fn combine(coefficients: &[f64; KERNEL], values: &[Lanes; KERNEL]) -> Lanes {
    let [a, b, c] = coefficients;
    let [x, y, z] = values;
    std::array::from_fn(|lane| a * x[lane] + b * y[lane] + c * z[lane])
}
