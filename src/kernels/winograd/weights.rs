//! Transformed weights, in the order in which the products read them.

use super::Conf;

/// Output channels that are transformed together, side by side.
const SIDE: usize = 8;

/// One number for each of them.
type Side = [f64; SIDE];

/// The transform of kernels: both dimensions' G.
pub struct WeightTransform {
    taps: [usize; 2],
    g: [Vec<Vec<f64>>; 2],
}

impl WeightTransform {
    pub fn new(conf: &Conf) -> WeightTransform {
        WeightTransform {
            taps: conf.dims.each_ref().map(|d| d.taps),
            g: conf.dims.each_ref().map(|d| d.matrices(d.m).weight),
        }
    }

    /// Packs the weights of one task of `conf`, `[frequency]` of what its products read.
    pub fn pack(&self, conf: &Conf, weight: &[f32], task: usize, to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2.
            return unsafe { self.pack_avx2(conf, weight, task, to) };
        }
        self.pack_any(conf, weight, task, to);
    }

    /// [`Self::pack_any`], which the compiler may vectorise with AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn pack_avx2(&self, conf: &Conf, weight: &[f32], task: usize, to: &mut [f32]) {
        self.pack_any(conf, weight, task, to);
    }

    #[inline(always)]
    fn pack_any(&self, conf: &Conf, weight: &[f32], task: usize, to: &mut [f32]) {
        let taps = self.taps[0] * self.taps[1];
        let blocks = conf.blocks_of(task);
        let frequency = blocks.len() * conf.column();
        let (first, end) = (blocks.start * conf.lanes, (blocks.end * conf.lanes).min(conf.channels_out));
        let mut kernels = vec![Side::default(); taps];
        let mut rows = vec![Side::default(); self.g[0].len() * self.taps[1]];
        // Channels of one vector at most, so that they stay side by side when packed.
        for out in (first..end).step_by(SIDE.min(conf.lanes)) {
            let count = SIDE.min(conf.lanes).min(end - out);
            for channel in 0..conf.channels_in {
                for lane in 0..count {
                    let kernel = &weight[((out + lane) * conf.channels_in + channel) * taps..][..taps];
                    kernel.iter().zip(&mut kernels).for_each(|(&w, side)| side[lane] = f64::from(w));
                }
                self.transform_columns(&kernels, &mut rows);
                let place = conf.product.position(out, channel) - blocks.start * conf.column();
                let row_values =
                    rows.chunks_exact(self.taps[1]).flat_map(|row| self.g[1].iter().map(move |b| dot(b, row)));
                for (f, values) in row_values.enumerate() {
                    let to = &mut to[place + f * frequency..][..count];
                    to.iter_mut().zip(values).for_each(|(to, value)| *to = value as f32);
                }
            }
        }
    }

    /// G times the kernels: `[frequency][column]`.
    #[inline(always)]
    fn transform_columns(&self, kernels: &[Side], rows: &mut [Side]) {
        let width = self.taps[1];
        for (a, row) in self.g[0].iter().zip(rows.chunks_exact_mut(width)) {
            for (column, value) in row.iter_mut().enumerate() {
                *value = Side::default();
                for (a, kernel) in a.iter().zip(kernels.iter().skip(column).step_by(width)) {
                    add(value, *a, kernel);
                }
            }
        }
    }
}

#[inline(always)]
fn dot(a: &[f64], values: &[Side]) -> Side {
    let mut sum = Side::default();
    a.iter().zip(values).for_each(|(&a, value)| add(&mut sum, a, value));
    sum
}

#[inline(always)]
fn add(sum: &mut Side, a: f64, value: &Side) {
    sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += a * value);
}
