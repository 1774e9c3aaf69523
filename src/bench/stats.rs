//! Statistics of repeated measurements.

use serde::{Deserialize, Serialize};

/// Repeated measurements of one time, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub runs: usize,
    pub min_s: f64,
    pub median_s: f64,
    pub mean_s: f64,
    pub p90_s: f64,
    pub p95_s: f64,
    pub p99_s: f64,
    pub p999_s: f64,
    /// Coefficient of variation: standard deviation over mean.
    pub cv: f64,
}

impl Summary {
    /// # Panics
    /// Where there is no measurement.
    pub fn new(seconds: &[f64]) -> Summary {
        let sorted = sorted(seconds);
        let at = |q| quantile(&sorted, q);
        Summary {
            runs: sorted.len(),
            min_s: sorted[0],
            median_s: at(0.5),
            mean_s: mean(&sorted),
            p90_s: at(0.9),
            p95_s: at(0.95),
            p99_s: at(0.99),
            p999_s: at(0.999),
            cv: variation(&sorted),
        }
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The coefficient of variation, from the unbiased variance; 0 for fewer than two values or a mean of 0.
pub fn variation(values: &[f64]) -> f64 {
    let mean = mean(values);
    if values.len() < 2 || mean == 0.0 {
        return 0.0;
    }
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt() / mean
}

/// Linear interpolation between order statistics: type 7 of Hyndman and Fan 1996, "Sample quantiles in
/// statistical packages".
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    below + (above - below) * position.fract()
}

/// The median of `values`.
///
/// # Panics
/// Where there are none.
pub fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// How many times as long B takes as A.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    pub median: f64,
    /// Bounds of the 95 % confidence interval of the median.
    pub low: f64,
    pub high: f64,
}

/// Samples drawn with replacement for a confidence interval.
const RESAMPLES: usize = 1000;

impl Ratio {
    /// The median over pairs of neighbouring runs, which share what disturbs the machine, and its percentile
    /// bootstrap interval (Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.3).
    /// The draws are the same every time.
    ///
    /// # Panics
    /// Where there is no pair.
    pub fn paired(a: &[f64], b: &[f64]) -> Ratio {
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).collect();
        let mut random = Random(1);
        let mut draw = || {
            let sample: Vec<f64> = ratios.iter().map(|_| ratios[random.below(ratios.len())]).collect();
            median(&sample)
        };
        let medians = sorted(&std::iter::repeat_with(&mut draw).take(RESAMPLES).collect::<Vec<_>>());
        Ratio { median: median(&ratios), low: quantile(&medians, 0.025), high: quantile(&medians, 0.975) }
    }
}

/// Knuth's MMIX generator.
struct Random(u64);

impl Random {
    /// An index below `n`, which fits in 32 bits.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * n as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        // NumPy: np.percentile([1, 2, 3, 4, 10], [50, 90, 95, 99, 99.9])
        let summary = Summary::new(&[10.0, 1.0, 3.0, 4.0, 2.0]);
        assert_eq!((summary.runs, summary.min_s, summary.median_s, summary.mean_s), (5, 1.0, 3.0, 4.0));
        let tails = [summary.p90_s, summary.p95_s, summary.p99_s, summary.p999_s];
        for (found, expected) in tails.into_iter().zip([7.6, 8.8, 9.76, 9.976]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // np.std(ddof=1) / np.mean
        assert!((summary.cv - 12.5f64.sqrt() / 4.0).abs() < 1e-12);
    }

    #[test]
    fn one_measurement_is_its_own_summary() {
        let summary = Summary::new(&[2.0]);
        assert_eq!((summary.min_s, summary.p999_s, summary.cv), (2.0, 2.0, 0.0));
        assert_eq!(Summary::new(&[0.0, 0.0]).cv, 0.0);
    }

    #[test]
    fn pairs_cancel_what_disturbs_both() {
        let disturbance: Vec<f64> = (0..50).map(|i| 1.0 + f64::from(i % 7)).collect();
        let twice: Vec<f64> = disturbance.iter().map(|t| 2.0 * t).collect();
        assert_eq!(Ratio::paired(&disturbance, &twice), Ratio { median: 2.0, low: 2.0, high: 2.0 });
    }

    #[test]
    fn the_interval_holds_the_median_and_is_reproducible() {
        let a = vec![1.0; 40];
        let b: Vec<f64> = (0..40).map(|i| 0.9 + 0.01 * f64::from(i % 20)).collect();
        let ratio = Ratio::paired(&a, &b);
        assert!(ratio.low < ratio.median && ratio.median < ratio.high, "{ratio:?}");
        assert!(ratio.low > 0.9 && ratio.high < 1.1, "{ratio:?}");
        assert_eq!(ratio, Ratio::paired(&a, &b));
    }
}
