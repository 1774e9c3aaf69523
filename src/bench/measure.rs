//! How often to run what is measured.

use super::stats::variation;
use std::time::Duration;

/// When enough has been measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Runs that are not counted.
    pub warmup: usize,
    /// The least number of runs counted.
    pub runs: usize,
    /// The least time spent in counted runs of each subject.
    pub min_time: Duration,
    /// Largest coefficient of variation to be content with.
    pub target_cv: Option<f64>,
}

/// More runs of one subject are never kept.
const MAX_RUNS: usize = 100_000;
/// Runs and time, in multiples of the least, after which a target for the variation is given up.
const PATIENCE: usize = 10;

/// One that is measured: runs once and gives the seconds it took.
pub type Subject<'a> = dyn FnMut() -> f64 + 'a;

/// How far a measurement is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// Counted runs of each subject.
    pub runs: usize,
    /// Of the least that is to be done, 0 to 1.
    pub part: f64,
}

impl Budget {
    /// Runs the subjects in turn, A B A B ..., and gives the seconds of each one's counted runs.
    pub fn interleave(&self, subjects: &mut [&mut Subject], progress: &mut dyn FnMut(Done)) -> Vec<Vec<f64>> {
        for _ in 0..self.warmup {
            subjects.iter_mut().for_each(|run| {
                run();
            });
        }
        let mut seconds = vec![Vec::new(); subjects.len()];
        for round in 1..=MAX_RUNS {
            for (run, seconds) in subjects.iter_mut().zip(&mut seconds) {
                seconds.push(run());
            }
            let least = seconds.iter().map(|s| self.part(s)).fold(1.0, f64::min);
            progress(Done { runs: round, part: least });
            if seconds.iter().all(|s| self.is_met(s)) {
                break;
            }
        }
        seconds
    }

    /// How much of the least runs and the least time is done, at most 1.
    fn part(&self, seconds: &[f64]) -> f64 {
        let runs = seconds.len() as f64 / self.runs.max(1) as f64;
        match self.min_time.as_secs_f64() {
            0.0 => runs.min(1.0),
            time => runs.min(seconds.iter().sum::<f64>() / time).min(1.0),
        }
    }

    fn is_met(&self, seconds: &[f64]) -> bool {
        let spent: f64 = seconds.iter().sum();
        let spent_at_least =
            |factor: usize| seconds.len() >= factor * self.runs && spent >= factor as f64 * self.min_time.as_secs_f64();
        let Some(target) = self.target_cv.filter(|_| spent_at_least(1)) else { return spent_at_least(1) };
        // The variation is computed anew each time: only after every tenth of the runs, so that the whole stays linear.
        let look = seconds.len().is_multiple_of((seconds.len() / PATIENCE).max(1));
        spent_at_least(PATIENCE) || (look && variation(seconds) <= target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(runs: usize, min_time: f64, target_cv: Option<f64>) -> Budget {
        Budget { warmup: 2, runs, min_time: Duration::from_secs_f64(min_time), target_cv }
    }

    /// Measures a subject that claims to take these times, the last one for ever.
    fn measure(budget: Budget, times: &[f64]) -> Vec<f64> {
        let mut calls = 0;
        let mut subject = || {
            calls += 1;
            times[(calls - 1).min(times.len() - 1)]
        };
        budget.interleave(&mut [&mut subject], &mut |_| {}).remove(0)
    }

    #[test]
    fn warm_up_is_not_counted() {
        assert_eq!(measure(budget(3, 0.0, None), &[9.0, 8.0, 3.0, 2.0, 1.0]), [3.0, 2.0, 1.0]);
    }

    #[test]
    fn both_runs_and_time_are_minima() {
        assert_eq!(measure(budget(3, 10.0, None), &[1.0]).len(), 10);
        assert_eq!(measure(budget(20, 10.0, None), &[1.0]).len(), 20);
        assert_eq!(measure(budget(1, 1.0, None), &[0.0]).len(), MAX_RUNS);
    }

    #[test]
    fn the_part_done_is_that_of_runs_or_time_whichever_is_less() {
        assert_eq!(budget(4, 10.0, None).part(&[1.0, 1.0]), 0.2);
        assert_eq!(budget(4, 1.0, None).part(&[1.0, 1.0]), 0.5);
        assert_eq!(budget(1, 1.0, None).part(&[1.0, 1.0]), 1.0);
    }

    #[test]
    fn goes_on_until_the_variation_is_small_or_patience_ends() {
        let calm = measure(budget(2, 0.0, Some(0.5)), &[1.0, 1.0, 9.0, 1.0, 3.0, 3.0, 3.0]);
        assert!(calm.len() > 2 && calm.len() < 20 && variation(&calm) <= 0.5, "{calm:?}");
        let restless: Vec<f64> = (0..50).map(|i| f64::from(i % 2)).collect();
        assert_eq!(measure(budget(4, 0.0, Some(0.01)), &restless).len(), 40);
    }

    #[test]
    fn subjects_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let subject = |name: char| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                1.0
            }
        };
        let (mut a, mut b) = (subject('a'), subject('b'));
        let mut parts = Vec::new();
        let seconds = budget(4, 0.0, None).interleave(&mut [&mut a, &mut b], &mut |done| parts.push(done.part));
        assert_eq!((seconds.len(), seconds[1].len()), (2, 4));
        assert_eq!(parts, [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(*order.borrow(), "abababababab");
    }
}
