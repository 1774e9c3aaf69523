//! Statistics of repeated measurements: of runs in one process, and of processes.

use super::student;
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

impl Summary {
    /// Of several processes: runs and the least time of all, of the others the median over processes.
    ///
    /// # Panics
    /// Where there is none.
    pub fn over_processes(all: &[Summary]) -> Summary {
        let of = |figure: &dyn Fn(&Summary) -> f64| median(&all.iter().map(figure).collect::<Vec<_>>());
        Summary {
            runs: all.iter().map(|one| one.runs).sum(),
            min_s: all.iter().map(|one| one.min_s).fold(f64::INFINITY, f64::min),
            median_s: of(&|one| one.median_s),
            mean_s: of(&|one| one.mean_s),
            p90_s: of(&|one| one.p90_s),
            p95_s: of(&|one| one.p95_s),
            p99_s: of(&|one| one.p99_s),
            p999_s: of(&|one| one.p999_s),
            cv: of(&|one| one.cv),
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

/// A figure that every process has its own value of, with its confidence interval over processes. What differs between
/// processes (where memory lies, which core it is) differs in none of them: runs of one process are one value, whatever
/// their number (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time"). Times are products of what slows
/// them, so that all is reckoned with their logarithms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The geometric mean.
    pub value: f64,
    /// Bounds of the interval; `None` where there is one process only.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// How many; pairs of sessions in one process where these are what differs, as for [`super::tune`].
    pub processes: usize,
}

/// How sure intervals are where nothing else is said.
pub const CONFIDENCE: f64 = 0.95;

/// No time that is compared is shorter, in seconds: a clock may not have ticked.
const TICK: f64 = 1e-12;

impl Estimate {
    /// Of one value for each process: Student's interval.
    ///
    /// # Panics
    /// Where there is none.
    pub fn new(values: &[f64]) -> Estimate {
        let logs = Logs::new(values);
        Estimate::within(logs.mean, logs.error(), logs.count as f64 - 1.0, CONFIDENCE, logs.count)
    }

    /// Of B over A, where a process of each ran together with one of the other: what slowed both is in neither ratio.
    pub fn of_pairs(a: &[f64], b: &[f64]) -> Estimate {
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b.max(TICK) / a.max(TICK)).collect();
        Estimate::new(&ratios)
    }

    /// Of B over A, where they have nothing to do with each other, with a probability of `confidence`: Welch's interval
    /// ("The generalization of 'Student's' problem when several different population variances are involved", 1947).
    pub fn of_strangers(a: &[f64], b: &[f64], confidence: f64) -> Estimate {
        let (a, b) = (Logs::new(a), Logs::new(b));
        let error = a.error().hypot(b.error());
        let part = |logs: &Logs| logs.error().powi(4) / (logs.count as f64 - 1.0);
        let df = error.powi(4) / (part(&a) + part(&b));
        let df = if df.is_finite() { df } else { a.count.min(b.count) as f64 - 1.0 };
        Estimate::within(b.mean - a.mean, error, df, confidence, a.count.min(b.count))
    }

    /// From the mean of logarithms and its standard error, which is of no use without degrees of freedom.
    fn within(mean: f64, error: f64, df: f64, confidence: f64, processes: usize) -> Estimate {
        let bound = |side: f64| {
            let reach = (error > 0.0).then(|| error * student::quantile(0.5 + confidence / 2.0, df));
            (processes > 1).then(|| (mean + side * reach.unwrap_or(0.0)).exp())
        };
        Estimate { value: mean.exp(), low: bound(-1.0), high: bound(1.0), processes }
    }

    /// Whether it is above `limit` beyond doubt.
    pub fn is_surely_above(&self, limit: f64) -> bool {
        self.low.is_some_and(|low| low > limit)
    }
}

/// Logarithms of positive values.
struct Logs {
    count: usize,
    mean: f64,
    /// Unbiased.
    variance: f64,
}

impl Logs {
    fn new(values: &[f64]) -> Logs {
        let logs: Vec<f64> = values.iter().map(|value| value.max(TICK).ln()).collect();
        let (count, mean) = (logs.len(), mean(&logs));
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        Logs { count, mean, variance: if count > 1 { squares / (count - 1) as f64 } else { 0.0 } }
    }

    /// Standard error of the mean.
    fn error(&self) -> f64 {
        (self.variance / self.count as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let ratio = Estimate::of_pairs(&disturbance, &twice);
        for figure in [ratio.value, ratio.low.unwrap(), ratio.high.unwrap()] {
            assert!((figure - 2.0).abs() < 1e-9, "{ratio:?}");
        }
    }

    /// By hand: t of 3 degrees of freedom is 3.182446, that of Welch's 3.651886 is 2.884003 (by Simpson's rule).
    #[test]
    fn intervals_are_those_of_t_over_logarithms() {
        let near = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-8, "{found:?}");
        let one = Estimate::new(&[1.0, 1.1, 0.9, 1.05]);
        assert_eq!(one.processes, 4);
        near(Some(one.value), 1.009732008);
        near(one.low, 0.880586708);
        near(one.high, 1.157817531);
        let two = Estimate::of_strangers(&[1.0, 1.1, 0.9, 1.05], &[1.3, 1.25, 1.31], CONFIDENCE);
        near(Some(two.value), 1.273998051);
        near(two.low, 1.117688385);
        near(two.high, 1.452167755);
        let pairs = Estimate::of_pairs(&[1.0, 2.0, 4.0], &[1.1, 2.0, 4.4]);
        assert_eq!(pairs, Estimate::new(&[1.1, 1.0, 1.1]));
    }

    #[test]
    fn one_process_has_no_interval_and_equal_ones_one_without_width() {
        assert_eq!(Estimate::new(&[2.0]), Estimate { value: 2.0f64.ln().exp(), low: None, high: None, processes: 1 });
        let alone = Estimate::of_strangers(&[1.0], &[2.0, 2.0, 2.0], CONFIDENCE);
        assert_eq!((alone.low, alone.is_surely_above(1.0)), (None, false));
        let equal = Estimate::of_strangers(&[1.0; 3], &[2.0; 3], CONFIDENCE);
        assert!(equal.low == Some(equal.value) && equal.high == equal.low && equal.is_surely_above(1.99), "{equal:?}");
        for nothing in [Estimate::new(&[0.0, 0.0]), Estimate::of_pairs(&[0.0, 0.0], &[1.0, 0.0])] {
            assert!(nothing.low.unwrap().is_finite() && nothing.high.unwrap().is_finite(), "{nothing:?}");
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

    /// A time of a process that takes `mean` in most, with a deviation of a part of it.
    fn time(random: &mut Random, mean: f64, deviation: f64) -> f64 {
        // The sum of twelve even draws is nearly normal, with a variance of 1.
        let sum: f64 = (0..12).map(|_| random.below(1 << 30) as f64 / f64::from(1 << 30)).sum();
        mean * (deviation * (sum - 6.0)).exp()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        /// Of 200 comparisons each. A twentieth of intervals miss the truth, on the one side or the other.
        #[test]
        fn what_takes_as_long_is_rarely_called_slower_and_what_takes_a_tenth_more_mostly(
            seed in any::<u64>(), processes in 5usize..9, deviation in 0.001..0.025,
        ) {
            let mut random = Random(seed);
            let mut times = |mean: f64| -> Vec<f64> { (0..processes).map(|_| time(&mut random, mean, deviation)).collect() };
            let mut slower = |mean: f64| {
                let mut one = || Estimate::of_strangers(&times(1.0), &times(mean), CONFIDENCE).is_surely_above(1.0);
                std::iter::repeat_with(&mut one).take(200).filter(|&slower| slower).count()
            };
            let (same, tenth) = (slower(1.0), slower(1.1));
            prop_assert!(same <= 18, "{same} of 200");
            prop_assert!(tenth >= 180, "{tenth} of 200");
        }
    }
}
