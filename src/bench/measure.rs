//! How often to run what is measured.

use super::stats::variation;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When enough has been measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Runs that are not counted.
    pub warmup: usize,
    /// The least number of runs counted.
    pub runs: usize,
    /// The least time spent in counted runs of each subject.
    pub min_time: Duration,
    /// Largest coefficient of variation to be content with.
    pub target_cv: Option<f64>,
    /// How long one subject runs before it is the next one's turn; 0 for one run.
    pub turn: Duration,
}

/// More runs of one subject are never kept.
const MAX_RUNS: usize = 100_000;
/// Runs and time, in multiples of the least, after which a target for the variation is given up.
const PATIENCE: usize = 10;

/// What a subject is asked for at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Runs at the beginning that do not count: they find the caches as another has left them.
    pub uncounted: usize,
    /// It ends when it has so many counted runs, and so many seconds of them,
    pub runs: usize,
    pub seconds: f64,
    /// or when it has so many seconds.
    pub most_s: f64,
}

impl Turn {
    /// The seconds of each counted run; `run` runs once and says how long that took.
    pub fn take(&self, mut run: impl FnMut() -> f64) -> Vec<f64> {
        (0..self.uncounted).for_each(|_| {
            run();
        });
        let mut taken = Taken::default();
        loop {
            taken.add(&[run()]);
            let enough = taken.seconds.len() >= self.runs && taken.spent >= self.seconds;
            if enough || taken.spent >= self.most_s || taken.seconds.len() >= MAX_RUNS {
                return taken.seconds;
            }
        }
    }
}

/// One that is measured: does as a turn asks, and gives the seconds of each counted run, of which there is one at least.
pub type Subject<'a, E> = dyn FnMut(&Turn) -> Result<Vec<f64>, E> + 'a;

/// How far a measurement is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// Counted runs of each subject.
    pub runs: usize,
    /// Of the least that is to be done, 0 to 1.
    pub part: f64,
}

/// Counted runs, and the sum of their seconds.
#[derive(Default)]
struct Taken {
    seconds: Vec<f64>,
    spent: f64,
}

impl Taken {
    fn add(&mut self, seconds: &[f64]) {
        self.seconds.extend(seconds);
        self.spent += seconds.iter().sum::<f64>();
    }
}

impl Budget {
    /// The part of one of so many processes that together do all of it.
    pub fn of_process(self, processes: usize) -> Budget {
        let (runs, min_time) = (self.runs.div_ceil(processes), self.min_time / processes as u32);
        Budget { runs, min_time, ..self }
    }

    /// Runs the subjects in turn, A B A B ..., and gives the seconds of each one's counted runs.
    ///
    /// # Errors
    /// Those of the subjects.
    pub fn interleave<E>(
        &self,
        subjects: &mut [&mut Subject<E>],
        progress: &mut dyn FnMut(Done),
    ) -> Result<Vec<Vec<f64>>, E> {
        for _ in 0..self.warmup {
            let once = Turn { uncounted: 0, runs: 1, seconds: 0.0, most_s: 0.0 };
            subjects.iter_mut().try_for_each(|subject| subject(&once).map(drop))?;
        }
        let uncounted = usize::from(subjects.len() > 1 && !self.turn.is_zero());
        let mut taken: Vec<Taken> = subjects.iter().map(|_| Taken::default()).collect();
        while !taken.iter().all(|taken| self.is_met(taken)) {
            for (subject, taken) in subjects.iter_mut().zip(&mut taken) {
                taken.add(&subject(&self.turn_after(taken, uncounted))?);
            }
            let part = taken.iter().map(|taken| self.part(taken)).fold(1.0, f64::min);
            progress(Done { runs: taken[0].seconds.len(), part });
        }
        Ok(taken.into_iter().map(|taken| taken.seconds).collect())
    }

    /// What is still to be done, at most a turn; a whole one where only the variation is too large, or others are not
    /// done.
    fn turn_after(&self, taken: &Taken, uncounted: usize) -> Turn {
        let most_s = self.turn.as_secs_f64();
        let runs = self.runs.saturating_sub(taken.seconds.len());
        let seconds = (self.min_time.as_secs_f64() - taken.spent).max(0.0);
        let seconds = if runs == 0 && seconds == 0.0 { most_s } else { seconds };
        Turn { uncounted, runs, seconds, most_s }
    }

    /// How much of the least runs and the least time is done, at most 1.
    fn part(&self, taken: &Taken) -> f64 {
        let runs = taken.seconds.len() as f64 / self.runs.max(1) as f64;
        match self.min_time.as_secs_f64() {
            0.0 => runs.min(1.0),
            time => runs.min(taken.spent / time).min(1.0),
        }
    }

    fn is_met(&self, taken: &Taken) -> bool {
        let count = taken.seconds.len();
        let spent_at_least =
            |factor: usize| count >= factor * self.runs && taken.spent >= factor as f64 * self.min_time.as_secs_f64();
        if count == 0 || count >= MAX_RUNS {
            return count > 0;
        }
        let Some(target) = self.target_cv.filter(|_| spent_at_least(1)) else { return spent_at_least(1) };
        // The variation is computed anew each time: only after every tenth of the runs, so that the whole stays linear.
        let look = !self.turn.is_zero() || count.is_multiple_of((count / PATIENCE).max(1));
        spent_at_least(PATIENCE) || (look && variation(&taken.seconds) <= target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(runs: usize, min_time: f64, target_cv: Option<f64>) -> Budget {
        Budget { warmup: 2, runs, min_time: Duration::from_secs_f64(min_time), target_cv, turn: Duration::ZERO }
    }

    /// Measures a subject that claims to take these times, the last one for ever.
    fn measure(budget: Budget, times: &[f64]) -> Vec<f64> {
        let mut calls = 0;
        let mut subject = |turn: &Turn| {
            Ok::<_, ()>(turn.take(|| {
                calls += 1;
                times[(calls - 1).min(times.len() - 1)]
            }))
        };
        budget.interleave(&mut [&mut subject], &mut |_| {}).unwrap().remove(0)
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
        let taken = Taken { seconds: vec![1.0, 1.0], spent: 2.0 };
        assert_eq!(budget(4, 10.0, None).part(&taken), 0.2);
        assert_eq!(budget(4, 1.0, None).part(&taken), 0.5);
        assert_eq!(budget(1, 1.0, None).part(&taken), 1.0);
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
            move |turn: &Turn| {
                Ok::<_, ()>(turn.take(|| {
                    order.borrow_mut().push(name);
                    1.0
                }))
            }
        };
        let (mut a, mut b) = (subject('a'), subject('b'));
        let mut parts = Vec::new();
        let seconds = budget(4, 0.0, None).interleave(&mut [&mut a, &mut b], &mut |done| parts.push(done.part));
        let seconds = seconds.unwrap();
        assert_eq!((seconds.len(), seconds[1].len()), (2, 4));
        assert_eq!(parts, [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(*order.borrow(), "abababababab");
    }

    #[test]
    fn turns_last_for_a_while_and_their_first_runs_do_not_count() {
        let mut asked = Vec::new();
        let mut a = |turn: &Turn| {
            asked.push(*turn);
            Ok::<_, ()>(turn.take(|| 1.0))
        };
        let mut b = |turn: &Turn| Ok::<_, ()>(turn.take(|| 4.0));
        let budget = Budget { turn: Duration::from_secs(4), ..budget(3, 10.0, None) };
        let taken = budget.interleave(&mut [&mut a, &mut b], &mut |_| {}).unwrap();
        // B has its ten seconds after three runs, A after ten.
        assert_eq!((taken[0].len(), taken[1].len()), (10, 3));
        let turn = |uncounted, runs, seconds, most_s| Turn { uncounted, runs, seconds, most_s };
        assert_eq!(asked[..2], [turn(0, 1, 0.0, 0.0); 2], "warm-up");
        assert_eq!(asked[2..], [turn(1, 3, 10.0, 4.0), turn(1, 0, 6.0, 4.0), turn(1, 0, 2.0, 4.0)]);
        // Alone, nobody has left the caches to it.
        let mut alone = Vec::new();
        let mut only = |turn: &Turn| {
            alone.push(turn.uncounted);
            Ok::<_, ()>(turn.take(|| 1.0))
        };
        budget.interleave(&mut [&mut only], &mut |_| {}).unwrap();
        assert!(alone.iter().all(|&uncounted| uncounted == 0));
    }

    #[test]
    fn who_fails_ends_it() {
        let mut calls = 0;
        let mut fails = |turn: &Turn| {
            calls += 1;
            if calls < 4 { Ok(turn.take(|| 1.0)) } else { Err("gone") }
        };
        assert_eq!(budget(9, 0.0, None).interleave(&mut [&mut fails], &mut |_| {}), Err("gone"));
        assert_eq!(calls, 4);
    }

    #[test]
    fn processes_share_what_is_to_be_done() {
        let part = budget(10, 1.0, None).of_process(4);
        assert_eq!((part.runs, part.min_time, part.warmup), (3, Duration::from_millis(250), 2));
    }
}
