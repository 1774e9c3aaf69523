//! What threads do in a run: work, and wait.
//!
//! `threads * time = work + serial + uneven + absent + handover`: in a step that is not split the others wait for the one
//! that works; in one that is split they wait for the thread whose share takes longest; a thread that sleeps or has no core
//! when its share is due does nothing, another does it; and from one step to the next all wait until the slowest has said
//! that it is done and each has seen what comes next.

use super::rate;
use super::stats::median;
use crate::runtime::{RunError, Session, Share};
use crate::schedule::{Cut, Plan, Step};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;
use std::time::Instant;

/// Of a run or of one of its steps. All but `time_s` and `alone_s` are seconds of all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Occupation {
    pub threads: usize,
    pub time_s: f64,
    /// What one thread needs that has the machine for itself.
    pub alone_s: f64,
    pub work_s: f64,
    /// Waiting for a step that one thread does.
    pub serial_s: f64,
    /// Waiting for the largest share of a step.
    pub uneven_s: f64,
    /// Of threads whose share of a step another did, because they slept or had no core.
    pub absent_s: f64,
    /// Between steps.
    pub handover_s: f64,
}

impl Occupation {
    /// A step of so many passes, in each of which one thread at least did a share.
    fn seen(threads: usize, time_s: f64, shares: &[Share]) -> Occupation {
        let mut busy = vec![0.0; threads];
        shares.iter().for_each(|share| busy[share.thread] += share.time.as_secs_f64());
        let (work_s, longest_s) = (busy.iter().sum::<f64>(), busy.iter().copied().fold(0.0, f64::max));
        let waiting_s = threads as f64 * longest_s - work_s;
        let handover_s = threads as f64 * (time_s - longest_s);
        let step = Occupation { threads, time_s, work_s, handover_s, ..Occupation::default() };
        if !is_split(shares) {
            return Occupation { serial_s: waiting_s, ..step };
        }
        let absent = (0..threads).filter(|&thread| shares.iter().all(|share| share.thread != thread)).count();
        let absent_s = absent as f64 * longest_s;
        Occupation { uneven_s: waiting_s - absent_s, absent_s, ..step }
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Occupation {
        let Occupation { threads, time_s, alone_s, work_s, serial_s, uneven_s, absent_s, handover_s } = self;
        let [time_s, alone_s, work_s, serial_s, uneven_s, absent_s, handover_s] =
            [time_s, alone_s, work_s, serial_s, uneven_s, absent_s, handover_s].map(change);
        Occupation { threads, time_s, alone_s, work_s, serial_s, uneven_s, absent_s, handover_s }
    }

    /// How many times as fast as one thread.
    pub fn speedup(&self) -> f64 {
        rate(self.alone_s, self.time_s)
    }

    /// Seconds of all threads together beyond what one alone would need.
    pub fn lost_s(&self) -> f64 {
        self.threads as f64 * self.time_s - self.alone_s
    }

    /// A part of the time of all threads together, 0 to 1.
    pub fn part(&self, seconds: f64) -> f64 {
        rate(seconds, self.threads as f64 * self.time_s)
    }
}

impl AddAssign for Occupation {
    fn add_assign(&mut self, other: Occupation) {
        self.time_s += other.time_s;
        self.alone_s += other.alone_s;
        self.work_s += other.work_s;
        self.serial_s += other.serial_s;
        self.uneven_s += other.uneven_s;
        self.absent_s += other.absent_s;
        self.handover_s += other.handover_s;
    }
}

/// Whether some did a part only.
fn is_split(shares: &[Share]) -> bool {
    shares.iter().any(|share| share.tasks < share.tasks_of_all)
}

/// The sum of steps on so many threads.
pub fn sum(threads: usize, steps: impl Iterator<Item = Occupation>) -> Occupation {
    steps.fold(Occupation { threads, ..Occupation::default() }, |mut sum, step| {
        sum += step;
        sum
    })
}

/// Which are the middle half of these, by their size. Unlike medians, the parts of a mean over them add up.
pub fn middle(seconds: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..seconds.len()).collect();
    order.sort_by(|&a, &b| seconds[a].total_cmp(&seconds[b]));
    let quarter = order.len() / 4;
    order[quarter..order.len() - quarter].to_vec()
}

/// The mean of the same on so many threads, seen several times.
pub fn mean(threads: usize, seen: impl ExactSizeIterator<Item = Occupation>) -> Occupation {
    let count = seen.len() as f64;
    sum(threads, seen).map(|seconds| seconds / count)
}

/// What is seen of a network's steps, run after run.
pub struct Watched {
    threads: usize,
    /// For each step, of each run.
    steps: Vec<Vec<Occupation>>,
    /// The seconds of each run.
    runs: Vec<f64>,
    /// For each step, of the last run: the tasks and the time of each share.
    shares: Vec<Vec<Share>>,
}

impl Watched {
    /// Nothing has been seen yet.
    pub fn new(plan: &Plan, threads: usize) -> Watched {
        let steps = plan.steps.len();
        Watched { threads, steps: vec![Vec::new(); steps], runs: Vec::new(), shares: vec![Vec::new(); steps] }
    }

    /// Runs all samples step by step. Gives the seconds it took.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(&mut self, session: &mut Session, inputs: &[Tensor]) -> Result<f64, RunError> {
        let start = Instant::now();
        session.run_observed(inputs, &mut |done| {
            let seen = Occupation::seen(self.threads, done.time.as_secs_f64(), done.shares);
            self.steps[done.index].push(seen);
            self.shares[done.index].clear();
            self.shares[done.index].extend(done.shares);
        })?;
        let seconds = start.elapsed().as_secs_f64();
        self.runs.push(seconds);
        Ok(seconds)
    }

    /// Of each step after the first `warmup` runs, what it took, and what one thread alone did.
    pub fn occupations(&self, alone: &Watched, warmup: usize) -> Vec<Occupation> {
        let alone = alone.medians(warmup);
        self.typical(warmup).into_iter().zip(alone).map(|(seen, alone_s)| Occupation { alone_s, ..seen }).collect()
    }

    /// The mean of each step over the middle half of the runs by their time.
    fn typical(&self, warmup: usize) -> Vec<Occupation> {
        let mut middle = middle(&self.runs[warmup..]);
        middle.iter_mut().for_each(|run| *run += warmup);
        self.steps.iter().map(|seen| mean(self.threads, middle.iter().map(|&run| seen[run]))).collect()
    }

    /// How many did it.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The median time from one step that is split to the next; 0 where none is.
    pub fn handover_s(&self, warmup: usize) -> f64 {
        let typical = self.typical(warmup);
        let split = typical.iter().zip(&self.shares).filter(|(_, shares)| is_split(shares));
        let times: Vec<f64> = split.map(|(seen, _)| seen.handover_s).collect();
        if times.is_empty() { 0.0 } else { median(&times) / self.threads as f64 }
    }

    /// The median seconds of each step after the first `warmup` runs.
    fn medians(&self, warmup: usize) -> impl Iterator<Item = f64> + '_ {
        self.times().map(move |times| median(&times[warmup..]))
    }

    /// The median seconds of a run that are in none of its steps.
    pub fn between_s(&self, warmup: usize) -> f64 {
        let of_steps = |run: usize| self.steps.iter().map(|seen| seen[run].time_s).sum::<f64>();
        let between = (warmup..self.runs.len()).map(|run| (self.runs[run] - of_steps(run)).max(0.0));
        median(&between.collect::<Vec<_>>())
    }

    /// The seconds of each step, in each run.
    pub fn times(&self) -> impl Iterator<Item = Vec<f64>> + '_ {
        self.steps.iter().map(|seen| seen.iter().map(|seen| seen.time_s).collect())
    }
}

/// A network's run on any number of threads, from what is known of its steps on one.
///
/// The tasks of a step are taken to be equal, the time between two steps to be the same for any number of threads. What
/// threads take from each other (caches, memory, the clock of a core beside busy ones) is not in it.
pub struct Simulation<'a> {
    plan: &'a Plan,
    batch: usize,
    /// For each step: its seconds, and of each pass its tasks and part of these.
    steps: Vec<(f64, Vec<(usize, f64)>)>,
    /// From one step that is split to the next.
    handover_s: f64,
}

impl Simulation<'_> {
    /// From runs of a batch on one thread, the first `warmup` of them not counted.
    pub fn new<'a>(plan: &'a Plan, batch: usize, alone: &Watched, warmup: usize, handover_s: f64) -> Simulation<'a> {
        let passes = alone.shares.iter().map(|shares| {
            let all: f64 = shares.iter().map(|share| share.time.as_secs_f64()).sum();
            shares.iter().map(|share| (share.tasks_of_all, rate(share.time.as_secs_f64(), all))).collect()
        });
        Simulation { plan, batch, steps: alone.medians(warmup).zip(passes).collect(), handover_s }
    }

    /// The batch on so many threads.
    pub fn on(&self, threads: usize) -> Occupation {
        let cut = Cut::new(self.batch, threads);
        let of_step = |(index, step): (usize, &Step)| match index < self.plan.joint_from {
            true => self.step(index, step, cut.rest(), threads),
            false => self.step(index, step, cut.batch, threads),
        };
        let mut run = sum(threads, self.plan.steps.iter().enumerate().map(of_step));
        run += self.by_themselves(cut.alone, threads);
        run
    }

    /// Samples that go through the first steps by themselves.
    fn by_themselves(&self, samples: usize, threads: usize) -> Occupation {
        let of_all: f64 = self.steps[..self.plan.joint_from].iter().map(|(seconds, _)| seconds).sum();
        let seconds = of_all * samples as f64 / self.batch as f64;
        if samples > self.plan.split_above() { split(seconds, samples, threads, 0.0) } else { serial(seconds, threads) }
    }

    /// A step of samples that go together.
    fn step(&self, index: usize, step: &Step, samples: usize, threads: usize) -> Occupation {
        let (seconds, passes) = &self.steps[index];
        let part_of_batch = samples as f64 / self.batch as f64;
        // One thread took turns; several do not.
        if step.banded.is_some() && samples > 0 && step.worth_splitting(samples) {
            return split(seconds * part_of_batch, samples * step.kernel.tasks(), threads, self.handover_s);
        }
        let of_pass = |&(tasks, part): &(usize, f64)| {
            let (tasks, seconds) = (tasks * samples / self.batch, seconds * part * part_of_batch);
            match tasks > 1 && step.worth_splitting(samples) {
                true => split(seconds, tasks, threads, self.handover_s),
                false => serial(seconds, threads),
            }
        };
        sum(threads, passes.iter().map(of_pass))
    }
}

fn serial(seconds: f64, threads: usize) -> Occupation {
    let serial_s = (threads - 1) as f64 * seconds;
    Occupation { threads, time_s: seconds, alone_s: seconds, work_s: seconds, serial_s, ..Occupation::default() }
}

/// Equal tasks, as evenly as they can be given to threads.
fn split(seconds: f64, tasks: usize, threads: usize, handover_s: f64) -> Occupation {
    if threads == 1 {
        return serial(seconds, 1);
    }
    let longest = seconds * tasks.div_ceil(threads) as f64 / tasks as f64;
    Occupation {
        threads,
        time_s: longest + handover_s,
        alone_s: seconds,
        work_s: seconds,
        uneven_s: threads as f64 * longest - seconds,
        handover_s: threads as f64 * handover_s,
        ..Occupation::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::model;
    use crate::codegen::Isa;
    use crate::kernels::Target;
    use std::time::Duration;
    use target_lexicon::Architecture;

    fn share(thread: usize, ms: u64, tasks: usize, tasks_of_all: usize) -> Share {
        Share { thread, time: Duration::from_millis(ms), tasks, tasks_of_all }
    }

    fn adds_up(o: Occupation) -> bool {
        let parts = o.work_s + o.serial_s + o.uneven_s + o.absent_s + o.handover_s;
        (o.threads as f64 * o.time_s - parts).abs() < 1e-9
    }

    #[test]
    fn the_time_of_all_threads_is_work_and_four_kinds_of_waiting() {
        let uneven = Occupation::seen(2, 0.010, &[share(0, 8, 5, 9), share(1, 6, 4, 9)]);
        assert!(adds_up(uneven), "{uneven:?}");
        assert_eq!(
            (uneven.serial_s, (uneven.uneven_s * 1e3).round(), (uneven.handover_s * 1e3).round()),
            (0.0, 2.0, 4.0)
        );
        let serial = Occupation::seen(3, 0.010, &[share(0, 9, 4, 4)]);
        assert!(adds_up(serial), "{serial:?}");
        assert_eq!(((serial.serial_s * 1e3).round(), serial.uneven_s), (18.0, 0.0));
        // The caller has done the share of a thread that did not wake.
        let asleep = Occupation::seen(2, 0.010, &[share(0, 5, 2, 4), share(0, 5, 2, 4)]);
        assert_eq!(((asleep.absent_s * 1e3).round(), asleep.uneven_s, asleep.serial_s), (10.0, 0.0, 0.0));
        // More threads than tasks: who has none takes part.
        let idle = Occupation::seen(2, 0.010, &[share(0, 10, 1, 2), share(1, 0, 0, 2)]);
        assert_eq!(((idle.uneven_s * 1e3).round(), idle.absent_s), (10.0, 0.0));
        let both = sum(2, [uneven, asleep].into_iter());
        assert!(adds_up(both) && (both.part(both.work_s) - 24.0 / 40.0).abs() < 1e-9, "{both:?}");
    }

    /// Two runs of six are not typical: one that was disturbed, and the fastest.
    #[test]
    fn parts_of_the_middle_runs_add_up() {
        let seen = |ms: u64, own: u64| Occupation::seen(2, ms as f64 / 1e3, &[share(0, ms, 1, 2), share(1, own, 1, 2)]);
        let steps = vec![[9, 1, 5, 40, 5, 6, 5].map(|ms| seen(ms, ms / 2)).to_vec()];
        let runs = [9, 1, 5, 40, 5, 6, 5].map(|ms| ms as f64).to_vec();
        let watched = Watched { threads: 2, steps, runs, shares: vec![vec![share(0, 1, 1, 2)]] };
        assert!((watched.between_s(1) - 4.995).abs() < 1e-9, "seconds and milliseconds: {}", watched.between_s(1));
        let typical = watched.typical(1)[0];
        assert!(adds_up(typical), "{typical:?}");
        assert_eq!(((typical.time_s * 4e3).round(), (typical.work_s * 4e3).round()), (21.0, 30.0));
    }

    /// Two steps: a convolution of many tasks, and a softmax that nobody would share.
    fn simulation(plan: &Plan, batch: usize) -> Simulation<'_> {
        let steps = plan.steps.iter().map(|step| match step.worth_splitting(1) {
            true => (0.006 * batch as f64, vec![(6 * batch, 1.0)]),
            false => (0.001 * batch as f64, vec![(batch, 1.0)]),
        });
        Simulation { plan, batch, steps: steps.collect(), handover_s: 0.0005 }
    }

    #[test]
    fn threads_are_simulated_by_tasks_and_samples() {
        let text =
            "model m\ninput x: f32[N, 16, 32, 32]\nnet { conv 3x3, 16, half | global_avgpool | dense 8 | softmax }\n";
        let plan = crate::schedule::plan(model(text), Target::of(Isa::Avx2, Architecture::X86_64));
        let shared = plan.steps.iter().filter(|step| step.worth_splitting(1)).count() as f64;
        let others = plan.steps.len() as f64 - shared;
        assert!(shared >= 1.0 && others >= 1.0);

        let one = simulation(&plan, 1);
        let near = |o: Occupation, ms: f64| (o.time_s * 1e3 - ms).abs() < 1e-6 && adds_up(o);
        let all = 6.0 * shared + others;
        assert!(near(one.on(1), all), "{:?}", one.on(1));
        // Six tasks on four threads take as long as on three.
        for (threads, of_six) in [(2, 3.0), (3, 2.0), (4, 2.0), (6, 1.0), (16, 1.0)] {
            let found = one.on(threads);
            assert!(near(found, (of_six + 0.5) * shared + others), "{threads}: {found:?}");
            assert!((found.alone_s * 1e3 - all).abs() < 1e-6, "{found:?}");
        }
        // Of five samples on four threads each has one for itself, and all share the last.
        let joint = plan.steps.len() - plan.joint_from;
        assert_eq!(joint, 0, "all steps are done sample by sample");
        let five = simulation(&plan, 5).on(4);
        assert!(near(five, all + 2.5 * shared + others), "{five:?}");
    }
}
