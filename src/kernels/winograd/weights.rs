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
        let pitch = stride.next_multiple_of(LANES);
        let mut transformed = vec![0.0; to.len() * CHANNELS * pitch];
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
                        let at = (frequency * CHANNELS + channel) * pitch + lane;
                        *transformed[at..].first_chunk_mut().expect("inside of the row") = *values;
                    });
                }
            }
            for (of_frequency, to) in transformed.chunks_exact(CHANNELS * pitch).zip(&mut *to) {
                for (values, place) in of_frequency.chunks_exact(pitch).zip(places) {
                    copy(&values[..stride], &mut to[place * stride..][..stride]);
                }
            }
        }
    }

    /// Calls `store(frequency, values)` with the rounded transform of the kernels `[tap][lane]`.
    #[inline(always)]
    fn transform(&self, taps: &[f32], mut store: impl FnMut(usize, &[f32; LANES])) {
        let mut kernel = [[0.0; LANES]; TAPS];
        for (to, from) in kernel.iter_mut().flatten().zip(taps) {
            *to = f64::from(*from);
        }
        let size = self.matrix.len();
        for (f, a) in self.matrix.iter().enumerate() {
            let mut row = [[0.0; LANES]; KERNEL];
            for (j, element) in row.iter_mut().enumerate() {
                combine(a, [&kernel[j], &kernel[KERNEL + j], &kernel[2 * KERNEL + j]], element);
            }
            for (g, b) in self.matrix.iter().enumerate() {
                let (mut sum, mut rounded) = ([0.0; LANES], [0.0; LANES]);
                combine(b, [&row[0], &row[1], &row[2]], &mut sum);
                for (to, from) in rounded.iter_mut().zip(sum) {
                    *to = from as f32;
                }
                store(f * size + g, &rounded);
            }
        }
    }
}

/// The sum of coefficient * value.
#[inline(always)]
fn combine(coefficients: &[f64; KERNEL], [x, y, z]: [&Lanes; KERNEL], sum: &mut Lanes) {
    let [a, b, c] = coefficients;
    // A plain loop, which is vectorised where this is inlined.
    for (sum, ((x, y), z)) in sum.iter_mut().zip(x.iter().zip(y).zip(z)) {
        *sum = a * x + b * y + c * z;
    }
}

/// For few elements, which a call would take longer for.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    let (from, from_rest) = from.as_chunks::<4>();
    let (to, to_rest) = to.as_chunks_mut::<4>();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    to_rest.copy_from_slice(from_rest);
}
