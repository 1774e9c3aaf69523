//! Values less their mean, divided by their deviation or their norm: see [`crate::kernels::normalise`].

use super::long::Totals;
use super::memory::Pointer;
use super::{LANES, VECTOR, tasks};
use crate::kernels::normalise::{Code, Join, Measure, Tile, Weights};
use crate::kernels::{Family, Operand};
use crate::layers::LpNorm;
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    let (of, tiles) = (conf.tasks_of(), conf.tiles());
    for (sample, task) in tasks(conf.tasks(), begin, end) {
        let (row, strip) = ((task / of.strips) as i64, (task % of.strips) as i64);
        let at = row * of.row.0 + strip * of.strip.0;
        let [out, input] = [0, 1].map(|operand| Pointer::sample(operands, operand, sample).at(at));
        let weights = Pointer::constant(operands, 2).at(row * of.row.1 + strip * of.strip.1);
        let tile = &tiles[usize::from(strip as usize + 1 == of.strips)];
        for set in 0..tile.sets as i64 {
            let set = Set { conf, tile, input: input.at(set * VECTOR), out: out.at(set * VECTOR), weights };
            // SAFETY: all vectors of the task are there in input, output and constants.
            unsafe { set.run() };
        }
    }
}

/// What has its own mean, or own means of groups.
struct Set<'a> {
    conf: &'a Code,
    tile: &'a Tile,
    input: Pointer,
    out: Pointer,
    weights: Pointer,
}

impl Set<'_> {
    /// # Safety
    /// All its vectors must be readable and writable.
    unsafe fn run(&self) {
        let zeros = vec![f32x8::ZERO; self.tile.blocks];
        // SAFETY: the caller's.
        unsafe {
            let means = match self.conf.measure {
                Measure::Deviation(_) => self.joined(&self.sums(|_, x, _| x), |sum| sum / self.count()),
                Measure::Norm(..) => zeros,
            };
            let term = |block: usize, x: f32x8, lanes: usize| match self.conf.measure {
                Measure::Deviation(_) => {
                    let distance = x - first(means[block], lanes);
                    distance * distance
                }
                Measure::Norm(LpNorm::L1, _) => x.abs(),
                Measure::Norm(LpNorm::L2, _) => x * x,
            };
            let factors = self.joined(&self.sums(term), |sum| 1.0 / self.divisor(sum));
            self.results(&means, &factors);
        }
    }

    fn count(&self) -> f32 {
        self.conf.count() as f32
    }

    fn divisor(&self, sum: f32) -> f32 {
        match self.conf.measure {
            Measure::Deviation(eps) => (sum / self.count() + eps.get()).sqrt(),
            Measure::Norm(norm, eps) => {
                let norm = if norm == LpNorm::L2 { sum.sqrt() } else { sum };
                if norm < eps.get() { eps.get() } else { norm }
            }
        }
    }

    /// For each block the sums of `f` of its number, a vector and the lanes that are channels; of all blocks in the first
    /// where they are added up.
    ///
    /// # Safety
    /// As of [`Set::run`].
    unsafe fn sums(&self, f: impl Fn(usize, f32x8, usize) -> f32x8) -> Vec<f32x8> {
        let (times, step) = self.tile.walk;
        let (mut totals, mut sum) = (Totals::new(), [[f32x8::ZERO]]);
        let mut sums = Vec::new();
        for block in 0..self.tile.blocks {
            let lanes = self.tile.tail.filter(|_| block + 1 == self.tile.blocks).unwrap_or(LANES);
            let input = self.input.at(block as i64 * self.conf.plane());
            for place in 0..times as i64 {
                // SAFETY: the caller's.
                sum[0][0] += f(block, unsafe { input.at(place * step).load_first(lanes) }, lanes);
                totals.passed(1, &mut sum);
            }
            if self.tile.join != Join::All || block + 1 == self.tile.blocks {
                sums.push(totals.finish(sum)[0][0]);
                (totals, sum) = (Totals::new(), [[f32x8::ZERO]]);
            }
        }
        sums
    }

    /// `f` of the sum of what belongs together, for each block in the lanes of its channels.
    fn joined(&self, sums: &[f32x8], f: impl Fn(f32) -> f32) -> Vec<f32x8> {
        match self.tile.join {
            Join::Apart => sums.iter().map(|sum| f32x8::new(sum.to_array().map(&f))).collect(),
            Join::All => vec![f32x8::splat(f(sums[0].to_array().into_iter().sum())); self.tile.blocks],
            Join::Groups { groups, channels } => {
                let mut lanes: Vec<f32> = sums.iter().flat_map(|sum| sum.to_array()).collect();
                for group in lanes.chunks_exact_mut(channels).take(groups) {
                    let value = f(group.iter().sum());
                    group.fill(value);
                }
                lanes.as_chunks().0.iter().map(|&lanes| f32x8::new(lanes)).collect()
            }
        }
    }

    /// # Safety
    /// As of [`Set::run`].
    unsafe fn results(&self, means: &[f32x8], factors: &[f32x8]) {
        let (times, step) = self.tile.walk;
        let of_vector = self.conf.weight_bytes();
        for block in 0..self.tile.blocks {
            let plane = block as i64 * self.conf.plane();
            for place in 0..times {
                let at = plane + place as i64 * step;
                let vector = match self.conf.weights {
                    Weights::Channels => block,
                    _ => block * times + place,
                };
                let weights = self.weights.at(vector as i64 * of_vector);
                // SAFETY: the caller's; there are weights of the vector.
                unsafe {
                    let x = (self.input.at(at).load() - means[block]) * factors[block];
                    let y = match self.conf.weights {
                        Weights::None => x,
                        Weights::Places => x.mul_add(weights.broadcast(), weights.at(4).broadcast()),
                        Weights::Channels | Weights::Elements => x.mul_add(weights.load(), weights.at(VECTOR).load()),
                    };
                    self.out.at(at).store(y);
                }
            }
        }
    }
}

/// The first lanes; the others are 0.
fn first(x: f32x8, count: usize) -> f32x8 {
    let mut lanes = x.to_array();
    lanes[count..].fill(0.0);
    f32x8::new(lanes)
}
