//! Values of parameters: where they are read from, how derived ones are computed, and random ones for tests
//! and benchmarks without a weight file.

use super::{Graph, Integers, Norm, Param, ParamId, ParamSource, Statistics};
use crate::hash::{hash_of, hash_of_numbers};
use crate::layers::Init;
use crate::tensor::Half;
use std::borrow::Cow;
use std::ops::Deref;
use std::path::Path;
use std::sync::OnceLock;

/// Gives the values of parameters that come from outside ([`ParamSource::File`]).
///
/// An implementation has checked beforehand that it holds every such parameter of the graph with the right
/// number of elements.
pub trait WeightSource: Sync {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]>;

    /// The same of a parameter that is known to be stored in 16 bits.
    fn halves<'a>(&'a self, param: &Param, half: Half) -> Cow<'a, [u16]> {
        narrow(&self.values(param), half).into()
    }

    /// Says that the values will hardly be asked for again, so that memory that only caches them can be given back.
    fn release(&self, _param: &Param) {}

    /// Where they are kept when they are packed, if they are.
    fn kept(&self) -> Option<Kept<'_>> {
        None
    }
}

/// A folder for packed weights, and which weights these are.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub folder: &'a Path,
    /// A hash of what is read from outside: other values have another one.
    pub weights: u64,
}

/// A hash of how the values of a parameter are made: of everything but what weight files hold.
pub fn definition(graph: &Graph, id: ParamId) -> u64 {
    let Param { name, dims, source, init } = &graph[id];
    let of = |id: ParamId| definition(graph, id);
    let norm = |norm: &Norm| {
        let statistics =
            norm.statistics.map(|Statistics { mean, variance, eps }| (of(mean), of(variance), eps.to_bits()));
        (norm.gamma.map(of), norm.beta.map(of), statistics)
    };
    let source = match source {
        ParamSource::File => hash_of(&(0, name, init)),
        ParamSource::Half(half) => hash_of(&(10, name, init, half)),
        ParamSource::Fixed(values) => hash_of(&(1, hash_of_numbers(values))),
        ParamSource::Integers { values: Integers::I8(values), scales } => {
            hash_of(&(2, hash_of_numbers(values), hash_of_numbers(scales)))
        }
        ParamSource::Integers { values: Integers::I32(values), scales } => {
            hash_of(&(3, hash_of_numbers(values), hash_of_numbers(scales)))
        }
        ParamSource::Scaled { weight, norm: by } => hash_of(&(4, weight.map(of), norm(by))),
        ParamSource::Merged { weight, groups, merged } => hash_of(&(5, of(*weight), groups, merged)),
        ParamSource::OutputMajor { weight, groups } => hash_of(&(6, of(*weight), groups)),
        ParamSource::Subpixel { weight, taps } => hash_of(&(8, of(*weight), taps)),
        ParamSource::Repeated { values, times } => hash_of(&(9, of(*values), times)),
        ParamSource::Shifted { bias, norm: by } => hash_of(&(7, bias.map(of), norm(by))),
    };
    hash_of(&(dims, source))
}

/// The values of a parameter, row-major, as a slice. Where a batch norm scales the rows, this is done when the slice is
/// asked for: who reads row by row does better with [`base`](Values::base) and [`factors`](Values::factors).
pub struct Values<'a> {
    base: Cow<'a, [f32]>,
    factors: Option<Vec<f64>>,
    scaled: OnceLock<Vec<f32>>,
    whole: Option<&'a Param>,
    /// In the place of `base`.
    halves: Option<(Half, Cow<'a, [u16]>)>,
}

impl<'a> Values<'a> {
    /// `factors` are one for each of the equal rows of `base`.
    pub fn new(base: Cow<'a, [f32]>, factors: Option<Vec<f64>>) -> Values<'a> {
        Values { base, factors, scaled: OnceLock::new(), whole: None, halves: None }
    }

    /// Of numbers of 16 bits, which are widened where somebody asks for f32.
    pub fn of_halves(half: Half, halves: Cow<'a, [u16]>) -> Values<'a> {
        Values { halves: Some((half, halves)), ..Values::new(Cow::Borrowed(&[]), None) }
    }

    /// As they are stored, where that is in 16 bits.
    pub fn halves(&self) -> Option<(Half, &[u16])> {
        self.halves.as_ref().map(|(half, bits)| (*half, &**bits))
    }

    /// See [`Param::weights_i8`].
    pub fn weights_i8(&self) -> Option<(&[i8], &[f32])> {
        self.whole?.weights_i8()
    }

    /// See [`Param::bias_i32`].
    pub fn bias_i32(&self) -> Option<&[i32]> {
        self.whole?.bias_i32()
    }

    /// Before rows are scaled.
    pub fn base(&self) -> &[f32] {
        match &self.halves {
            None => &self.base,
            Some((half, bits)) => self.scaled.get_or_init(|| widen(*half, bits)),
        }
    }

    /// What each row is multiplied by, in f64 and rounded once.
    pub fn factors(&self) -> Option<&[f64]> {
        self.factors.as_deref()
    }

    fn into_cow(self) -> Cow<'a, [f32]> {
        match (&self.factors, &self.halves) {
            (None, None) => self.base,
            (None, Some((half, bits))) => Cow::Owned(widen(*half, bits)),
            (Some(factors), _) => Cow::Owned(scale(self.base(), factors)),
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.factors {
            None => self.base(),
            Some(factors) => self.scaled.get_or_init(|| scale(&self.base, factors)),
        }
    }
}

/// The bits of the nearest numbers of 16 bits.
pub(crate) fn narrow(values: &[f32], half: Half) -> Vec<u16> {
    values.iter().map(|&value| half.narrow(value)).collect()
}

fn widen(half: Half, bits: &[u16]) -> Vec<f32> {
    bits.iter().map(|&bits| half.widen(bits)).collect()
}

/// What whole numbers stand for.
fn real(values: &Integers, scales: &[f32]) -> Vec<f32> {
    let whole: Vec<f32> = match values {
        Integers::I8(values) => values.iter().map(|&q| q.into()).collect(),
        Integers::I32(values) => values.iter().map(|&q| q as f32).collect(),
    };
    scale(&whole, &scales.iter().map(|&scale| scale.into()).collect::<Vec<f64>>())
}

/// Rows of which each is filled up with zeros to `merged` times its length. `of_group` rows lie side by side at the same
/// place, the next ones behind that.
fn merge(values: &[f32], rows: usize, of_group: usize, merged: usize) -> Vec<f32> {
    let len = values.len() / rows;
    let mut wide = vec![0.0; values.len() * merged];
    for (row, (to, from)) in wide.chunks_exact_mut(len * merged).zip(values.chunks_exact(len)).enumerate() {
        let place = row / of_group % merged;
        to[place * len..][..len].copy_from_slice(from);
    }
    wide
}

/// [groups, inner, outer, kernel] as [groups, outer, inner, kernel].
fn swap_channels(values: &[f32], [groups, inner, outer]: [usize; 3]) -> Vec<f32> {
    let taps = values.len() / (groups * inner * outer);
    let mut swapped = Vec::with_capacity(values.len());
    for group in values.chunks_exact(inner * outer * taps) {
        for o in 0..outer {
            (0..inner).for_each(|i| swapped.extend_from_slice(&group[(i * outer + o) * taps..][..taps]));
        }
    }
    swapped
}

/// The weights of a transposed convolution by output channel, of sizes `dims`, by input channel: the way back from
/// [`ParamSource::OutputMajor`].
pub(crate) fn input_major(values: &[f32], dims: &[usize], groups: usize) -> Vec<f32> {
    swap_channels(values, [groups, dims[0] / groups, dims[1]])
}

/// See [`ParamSource::Subpixel`]; `kernel` is the old one.
fn subpixel(values: &[f32], channels: usize, kernel: &[usize], taps: &[Vec<Vec<Option<usize>>>]) -> Vec<f32> {
    let old: usize = kernel.iter().product();
    // For each position of the block, the old taps of the new kernel.
    let no_dims = vec![vec![Some(0)]];
    let positions = taps.iter().zip(kernel).fold(no_dims, |before, (of_dim, &size)| {
        let join = |outer: &Vec<Option<usize>>, inner: &Vec<Option<usize>>| {
            let both = |outer: Option<usize>, inner: Option<usize>| Some(outer? * size + inner?);
            outer.iter().flat_map(|&outer| inner.iter().map(move |&inner| both(outer, inner))).collect()
        };
        before.iter().flat_map(|outer| of_dim.iter().map(move |inner| join(outer, inner))).collect()
    });
    let channels = values.chunks_exact(values.len() / channels);
    let rows = channels.flat_map(|channel| positions.iter().map(move |taps| (channel, taps)));
    rows.flat_map(|(channel, taps)| {
        channel.chunks_exact(old).flat_map(move |weights| taps.iter().map(|tap| tap.map_or(0.0, |tap| weights[tap])))
    })
    .collect()
}

fn scale(values: &[f32], factors: &[f64]) -> Vec<f32> {
    let rows = values.chunks_exact((values.len() / factors.len()).max(1)).zip(factors);
    rows.flat_map(|(row, factor)| row.iter().map(move |&w| (f64::from(w) * factor) as f32)).collect()
}

/// The values of a parameter, row-major. Batch norms are folded in f64 and rounded once.
pub fn values<'a>(graph: &'a Graph, id: ParamId, source: &'a dyn WeightSource) -> Cow<'a, [f32]> {
    lazy_values(graph, id, source).into_cow()
}

/// As [`values`], but rows are not scaled yet.
pub fn lazy_values<'a>(graph: &'a Graph, id: ParamId, source: &'a dyn WeightSource) -> Values<'a> {
    let param = &graph[id];
    match &param.source {
        ParamSource::File => Values::new(source.values(param), None),
        ParamSource::Half(half) => Values::of_halves(*half, source.halves(param, *half)),
        ParamSource::Fixed(values) => Values::new(Cow::Borrowed(values), None),
        ParamSource::Integers { values, scales } => {
            Values { whole: Some(param), ..Values::new(real(values, scales).into(), None) }
        }
        ParamSource::Scaled { weight, norm } => {
            let ones = || Cow::Owned(vec![1.0; param.dims.iter().product()]);
            let base = weight.map_or_else(ones, |w| values(graph, w, source));
            Values::new(base, Some(factors(graph, norm, param.dims[0], source)))
        }
        ParamSource::Merged { weight, groups, merged } => {
            let rows = param.dims[0];
            Values::new(merge(&values(graph, *weight, source), rows, rows / groups, *merged).into(), None)
        }
        ParamSource::OutputMajor { weight, groups } => {
            let sizes = [*groups, param.dims[1], param.dims[0] / groups];
            Values::new(swap_channels(&values(graph, *weight, source), sizes).into(), None)
        }
        ParamSource::Subpixel { weight, taps } => {
            let base = &graph[*weight].dims;
            Values::new(subpixel(&values(graph, *weight, source), base[0], &base[2..], taps).into(), None)
        }
        ParamSource::Repeated { values: base, times } => {
            let base = values(graph, *base, source);
            Values::new(base.iter().flat_map(|&value| std::iter::repeat_n(value, *times)).collect(), None)
        }
        ParamSource::Shifted { bias, norm } => {
            let channels = param.elements();
            let or_zeros =
                |id: Option<ParamId>| id.map_or(Cow::Owned(vec![0.0; channels]), |id| values(graph, id, source));
            let (base, mean, beta) =
                (or_zeros(*bias), or_zeros(norm.statistics.map(|of| of.mean)), or_zeros(norm.beta));
            let factors = factors(graph, norm, channels, source).into_iter().enumerate();
            let shifted = factors
                .map(|(c, factor)| ((f64::from(base[c]) - f64::from(mean[c])) * factor + f64::from(beta[c])) as f32);
            Values::new(Cow::Owned(shifted.collect()), None)
        }
    }
}

/// [`WeightSource::release`] for all that the values of a parameter are made from.
pub fn release(graph: &Graph, id: ParamId, source: &dyn WeightSource) {
    match &graph[id].source {
        ParamSource::File | ParamSource::Half(_) => source.release(&graph[id]),
        ParamSource::Fixed(_) | ParamSource::Integers { .. } => {}
        ParamSource::Merged { weight, .. }
        | ParamSource::OutputMajor { weight, .. }
        | ParamSource::Subpixel { weight, .. } => release(graph, *weight, source),
        ParamSource::Repeated { .. } => {}
        // The few numbers of each channel are not worth it.
        ParamSource::Scaled { weight: base, .. } | ParamSource::Shifted { bias: base, .. } => {
            base.iter().for_each(|&base| release(graph, base, source));
        }
    }
}

/// gamma / sqrt(variance + eps) of each channel.
fn factors(graph: &Graph, norm: &Norm, channels: usize, source: &dyn WeightSource) -> Vec<f64> {
    let mut factors = vec![1.0; channels];
    if let Some(gamma) = norm.gamma {
        factors.iter_mut().zip(&*values(graph, gamma, source)).for_each(|(factor, &g)| *factor = g.into());
    }
    if let Some(Statistics { variance, eps, .. }) = norm.statistics {
        let variances = values(graph, variance, source);
        factors.iter_mut().zip(&*variances).for_each(|(factor, &v)| *factor /= (f64::from(v) + eps).sqrt());
    }
    factors
}

/// Random weights that depend only on the seed and on each parameter's name.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights {
    pub seed: u64,
}

impl WeightSource for RandomWeights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        let mut state = param.name.bytes().fold(self.seed, |hash, byte| split_mix(hash ^ u64::from(byte)));
        let elements: usize = param.dims.iter().product();
        let draw = std::iter::repeat_with(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (split_mix(state) >> 40) as f32 / (1u64 << 24) as f32
        });
        let (low, high) = range(param.init);
        draw.take(elements).map(|u| low + (high - low) * u).collect()
    }
}

fn range(init: Init) -> (f32, f32) {
    match init {
        // A uniform distribution over [-b, b] has variance b^2 / 3.
        Init::FanIn(fan_in) => {
            let bound = (6.0 / fan_in.max(1) as f32).sqrt();
            (-bound, bound)
        }
        Init::Small => (-0.1, 0.1),
        Init::NearOne => (0.5, 1.5),
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
/// generators", figure 16 with the constants of David Stafford's variant 13).
fn split_mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for a seed of 0, as its authors' program gives them.
    #[test]
    fn the_generator_is_split_mix() {
        let found = [1, 2, 3].map(|n| split_mix(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n)));
        assert_eq!(found, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    fn drawn(name: &str, init: Init, count: usize) -> Vec<f32> {
        let param = Param { name: name.into(), dims: vec![count], source: ParamSource::File, init };
        RandomWeights { seed: 3 }.values(&param).into_owned()
    }

    #[test]
    fn random_weights_have_a_range_and_a_name() {
        // Of 24 terms, weights have a variance of 2 / 24: what a relu takes away of a sum is made up for.
        for (init, low, high) in [(Init::FanIn(24), -0.5, 0.5), (Init::Small, -0.1, 0.1), (Init::NearOne, 0.5, 1.5)] {
            let values = drawn("w", init, 10_000);
            assert!(values.iter().all(|w| (low..=high).contains(w)), "{init:?}");
            let mean = values.iter().sum::<f32>() / 10_000.0;
            let variance = values.iter().map(|w| (w - mean).powi(2)).sum::<f32>() / 10_000.0;
            let expected = (high - low).powi(2) / 12.0;
            assert!((mean - (low + high) / 2.0).abs() < 0.02 * (high - low), "{init:?}: a mean of {mean}");
            assert!((variance / expected - 1.0).abs() < 0.05, "{init:?}: a variance of {variance}, not {expected}");
        }
        // Names of which one has all the bits that the other and the seed have.
        assert_ne!(drawn("a", Init::Small, 4), drawn("c", Init::Small, 4));
    }

    #[test]
    fn whole_numbers_stand_for_real_ones() {
        let mut graph = Graph::default();
        let mut values_of = |dims: &[usize], whole| {
            let source = ParamSource::Integers { values: whole, scales: [0.5, 0.25].into() };
            let id = graph.add_param(Param { name: "w".into(), dims: dims.to_vec(), source, init: Init::Small });
            values(&graph, id, &RandomWeights { seed: 1 }).into_owned()
        };
        assert_eq!(values_of(&[2, 2], Integers::I8([-127, 3, 2, 1].into())), [-63.5, 1.5, 0.5, 0.25]);
        assert_eq!(values_of(&[2], Integers::I32([1 << 20, -2].into())), [524_288.0, -0.5]);
    }
}
