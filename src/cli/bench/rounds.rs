//! Round after round of processes: in each, one of every contender of a job, which take turns.

use super::contender::{Facts, Seen, Wish};
use super::process::Process;
use super::{Args, Job, Rival, pin, rivals};
use crate::bench::disturbance::{Disturbance, Look};
use crate::bench::machine;
use crate::bench::measure::{Budget, Done, Subject, Turn};
use crate::bench::peak::Peak;
use crate::bench::profile::Profile;
use crate::bench::report::{Comparison, Measurement, Phases, ProcessRuns, Report};
use crate::bench::stats::{Estimate, Summary, median};
use crate::cli::cores::Cores;
use crate::cli::progress::Progress;
use crate::cli::{Failure, Outcome, tell};
use serde_json::Value;
use std::ffi::OsString;
use std::time::Duration;

/// How long one of several contenders runs before it is the next one's turn.
const TURN: Duration = Duration::from_millis(20);

/// How all jobs are measured.
pub struct Rounds<'a> {
    args: &'a Args,
    words: &'a [OsString],
    peak: Option<&'a Peak>,
    places: Cores,
    /// How many cores the machine has.
    cores: usize,
}

/// What a contender's processes have found so far.
#[derive(Default)]
struct Found {
    facts: Vec<Facts>,
    seconds: Vec<Vec<f64>>,
    clocks: Vec<Option<f64>>,
    peak_rss_bytes: u64,
    disturbances: Vec<Disturbance>,
    seen: Vec<Seen>,
}

impl<'a> Rounds<'a> {
    /// Looks for other load, and warns of it.
    pub fn new(args: &'a Args, words: &'a [OsString], peak: Option<&'a Peak>) -> Rounds<'a> {
        Rounds { args, words, peak, places: Cores::look(!args.no_pin), cores: machine::cores() }
    }

    /// How many cores other processes had before; `None` where unknown.
    pub fn load(&self) -> Option<f64> {
        self.places.load()
    }

    /// Measures a job, alone or in turn with what it is compared with. Adds to `graphs` as many as to the results.
    pub fn measure(
        &mut self,
        job: &Job,
        counter: &str,
        report: &mut Report,
        graphs: &mut Vec<Option<Value>>,
    ) -> Outcome {
        let rivals = rivals(self.args, job);
        let mut found: Vec<Found> = rivals.iter().map(|_| Found::default()).collect();
        let cores = self.places.choose(job.threads.into());
        let mut count = usize::from(self.args.processes);
        let mut round = 0;
        while round < count {
            let title = format!("{counter} {}, {} threads: ", job.model.to_string_lossy(), job.threads);
            let several = if count > 1 { format!("process {} of {count}, ", round + 1) } else { String::new() };
            let own = self.round(job, &rivals, &cores, round, &(title + &several), &mut found)?;
            if own && count > 1 {
                tell("note: this is measured in one process, since it cannot be started again with the same input");
                count = 1;
            }
            round += 1;
        }
        let first = report.results.len();
        for found in found {
            let (result, graph) = found.into_measurement(&cores);
            report.results.push(result);
            graphs.push(graph);
        }
        if let [a, b] = &report.results[first..] {
            let medians = |of: &Measurement| of.processes.iter().map(|process| process.median_s).collect::<Vec<_>>();
            let ratio = Estimate::of_pairs(&medians(a), &medians(b));
            report.comparisons.push(Comparison { a: first, b: first + 1, ratio });
        }
        Ok(())
    }

    /// Starts a process of each, and measures them in turn. Gives whether it was this process.
    fn round(
        &self,
        job: &Job,
        rivals: &[Rival],
        cores: &[usize],
        round: usize,
        title: &str,
        found: &mut [Found],
    ) -> Result<bool, Failure> {
        let start = |rival| Process::start(self.args, self.words, rival, round == 0);
        let mut processes = rivals.iter().map(start).collect::<Result<Vec<Process>, Failure>>()?;
        for process in &processes {
            if let Err(error) = pin::pin(process.id(), cores).map_err(|error| error.to_string())
                && !cores.is_empty()
                && round == 0
            {
                tell(&format!("note: threads are not pinned to cores: {error}"));
            }
        }
        let (seconds, disturbance) = self.take_turns(&self.budget(job), &mut processes, round, cores, title)?;
        for ((process, found), seconds) in processes.iter_mut().zip(found).zip(seconds) {
            found.facts.push(process.facts().clone());
            found.seconds.push(seconds);
            // Before anything else is measured, for which there is more.
            found.peak_rss_bytes = found.peak_rss_bytes.max(process.peak_rss());
            found.clocks.push(process.clock_gflops()?);
            found.disturbances.push(disturbance);
            if let Some(peak) = self.peak.filter(|_| process.facts().has_steps) {
                found.seen.extend(self.profile(job, process, cores, peak)?);
            }
        }
        self.let_go(&processes);
        Ok(processes.iter().any(|process| matches!(process, Process::Own(_))))
    }

    /// All of what is to be done.
    fn budget(&self, job: &Job) -> Budget {
        Budget {
            warmup: self.args.warmup as usize,
            runs: job.runs as usize,
            min_time: self.args.min_time,
            target_cv: self.args.target_cv.map(|percent| percent / 100.0),
            turn: TURN,
        }
    }

    /// The seconds of each process's counted runs, and what disturbed them.
    fn take_turns(
        &self,
        budget: &Budget,
        processes: &mut [Process],
        round: usize,
        cores: &[usize],
        title: &str,
    ) -> Result<(Vec<Vec<f64>>, Disturbance), Failure> {
        let budget = budget.of_process(self.args.processes.into());
        let ids: Vec<u32> = processes.iter().map(Process::id).collect();
        let all = self.places.all();
        let cores = if cores.is_empty() { &all } else { cores };
        let mut progress = Progress::new();
        let mut show = |done: Done| progress.show_bar(done.part, &format!("{title}run {}", done.runs));
        let mut turns: Vec<_> = processes.iter_mut().map(|process| move |turn: &Turn| process.take(turn)).collect();
        let mut subjects: Vec<&mut Subject<Failure>> = turns.iter_mut().map(|turn| turn as &mut Subject<_>).collect();
        // Each is the first as often as the other.
        let swapped = round % 2 == 1;
        if swapped {
            subjects.reverse();
        }
        let before = Look::new(&ids, cores);
        let mut seconds = budget.interleave(&mut subjects, &mut show)?;
        let disturbance = Look::new(&ids, cores).since(&before);
        if swapped {
            seconds.reverse();
        }
        Ok((seconds, disturbance))
    }

    fn profile(&self, job: &Job, process: &mut Process, cores: &[usize], peak: &Peak) -> Result<Option<Seen>, Failure> {
        let simulate: Vec<usize> = self.args.simulate.iter().copied().map(usize::from).collect();
        // It starts threads of its own, for what they are compared with: they have the same cores, or two more threads
        // all of them.
        let all = self.places.all();
        if !cores.is_empty() {
            let _ = pin::widen(process.id(), if simulate.is_empty() { cores } else { &all });
        }
        let budget = Budget { turn: Duration::ZERO, ..self.budget(job).of_process(self.args.processes.into()) };
        process.profile(&Wish { budget, peak: peak.clone(), cores: self.cores, simulate })
    }

    /// This process is not left where it was put.
    fn let_go(&self, processes: &[Process]) {
        if processes.iter().any(|process| matches!(process, Process::Own(_))) && !self.args.no_pin {
            let all = self.places.all();
            let _ = pin::widen(std::process::id(), &all);
        }
    }
}

impl Found {
    fn into_measurement(self, cores: &[usize]) -> (Measurement, Option<Value>) {
        let process = |(runs, &clock_gflops): (&Vec<f64>, &Option<f64>)| ProcessRuns {
            runs: runs.len(),
            median_s: median(runs),
            clock_gflops,
        };
        let processes: Vec<ProcessRuns> = self.seconds.iter().zip(&self.clocks).map(process).collect();
        let over_processes = Estimate::new(&processes.iter().map(|process| process.median_s).collect::<Vec<_>>());
        let phases: Vec<Phases> = self.facts.iter().map(|facts| facts.phases).collect();
        let Facts { setting, model_hash, macs, weights, .. } = self.facts.into_iter().next().expect("a first round");
        let (profiles, graphs): (Vec<Profile>, Vec<Option<Value>>) = self.seen.into_iter().unzip();
        let profile = (!profiles.is_empty()).then(|| Profile::over_processes(&profiles));
        let graph = graphs.into_iter().next().flatten();
        let result = Measurement {
            samples_per_s: setting.batch as f64 / over_processes.value,
            gflops: 2e-9 * macs as f64 / over_processes.value,
            setting,
            model_hash,
            macs,
            weights,
            phases: Phases::medians(&phases),
            steady: Summary::new(&self.seconds.concat()),
            processes,
            median: over_processes,
            peak_rss_bytes: self.peak_rss_bytes,
            cores: cores.to_vec(),
            disturbance: Disturbance::sum(&self.disturbances),
            profile,
        };
        (result, graph)
    }
}
