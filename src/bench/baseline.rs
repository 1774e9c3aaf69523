//! Results beside those of an earlier report.

use super::report::{Measurement, Report};
use super::stats::{CONFIDENCE, Estimate};

/// One setting, then and now.
#[derive(Debug)]
pub struct Change<'a> {
    pub then: &'a Measurement,
    pub now: &'a Measurement,
    /// Time now over time then, of the medians of processes. The intervals of all changes hold together with 95 %
    /// confidence: each is so much wider (Bonferroni's inequality). Else one of many would miss the truth.
    pub ratio: Estimate,
}

/// What can be said of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By more than was allowed, beyond doubt.
    Slower,
    /// Not by more than was allowed, beyond doubt.
    Held,
    /// It may be either.
    Unsure,
}

impl Change<'_> {
    /// Whether it is slower by more than so many percent.
    pub fn verdict(&self, percent: f64) -> Verdict {
        let limit = 1.0 + percent / 100.0;
        match self.ratio.high {
            _ if self.ratio.is_surely_above(limit) => Verdict::Slower,
            Some(high) if high <= limit => Verdict::Held,
            _ => Verdict::Unsure,
        }
    }

    /// What else may have changed the time than the program, in words.
    pub fn doubts(&self) -> Vec<String> {
        let (then, now) = (self.then, self.now);
        let different = [
            (then.model_hash != now.model_hash, "the model has changed"),
            (then.weights.starts_with("random") != now.weights.starts_with("random"), "one had random weights"),
            (then.cores.is_empty() != now.cores.is_empty(), "one was not pinned to cores"),
        ];
        let changed = different.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_string());
        let disturbed = |when: &str, result: &Measurement| {
            let complaints = result.disturbance.complaints();
            complaints.into_iter().map(|complaint| format!("{when} {complaint}")).collect::<Vec<_>>()
        };
        let changed = changed.chain(self.clock_change());
        changed.chain(disturbed("then", then)).chain(disturbed("now", now)).collect()
    }
}

impl Change<'_> {
    /// Where the same loop of multiply-adds takes longer now than then, or less long: the machine is slower or faster.
    fn clock_change(&self) -> Option<String> {
        let clocks = |result: &Measurement| -> Option<Vec<f64>> {
            result.processes.iter().map(|process| process.clock_gflops).collect()
        };
        let (then, now) = (clocks(self.then)?, clocks(self.now)?);
        // Times are as the inverse of rates.
        let longer = Estimate::of_strangers(&now, &then, CONFIDENCE);
        let changed = longer.is_surely_above(1.0 + CLOCK) || longer.high.is_some_and(|high| high < 1.0 - CLOCK);
        changed.then(|| format!("a loop of multiply-adds takes {:.2} times as long as then", longer.value))
    }
}

/// A part by which clocks differ that is no change.
const CLOCK: f64 = 0.02;

/// The results whose setting is in both reports, in the order of the new one.
pub fn changes<'a>(then: &'a Report, now: &'a Report) -> Vec<Change<'a>> {
    let earlier = |now: &Measurement| then.results.iter().find(|then| then.setting == now.setting);
    let pairs: Vec<_> = now.results.iter().filter_map(|now| Some((earlier(now)?, now))).collect();
    let confidence = 1.0 - (1.0 - CONFIDENCE) / pairs.len().max(1) as f64;
    let medians = |result: &Measurement| result.processes.iter().map(|process| process.median_s).collect::<Vec<_>>();
    let change = |(then, now): (&'a Measurement, &'a Measurement)| Change {
        then,
        now,
        ratio: Estimate::of_strangers(&medians(then), &medians(now), confidence),
    };
    pairs.into_iter().map(change).collect()
}

/// In what the machine differs from that of the earlier report, in words.
pub fn machine_changes(then: &Report, now: &Report) -> Vec<String> {
    let (a, b) = (&then.machine, &now.machine);
    let of = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
    let limit = |cpus: Option<f64>| cpus.map_or("none".into(), |cpus| format!("{cpus:.2} cores"));
    let differences = [
        ("the CPU", a.cpu.clone(), b.cpu.clone()),
        ("the cores", a.cores.to_string(), b.cores.to_string()),
        ("the limit of CPU time", limit(a.cgroup_cpus), limit(b.cgroup_cpus)),
        ("the governor", of(&a.governor), of(&b.governor)),
    ];
    let changed = differences.into_iter().filter(|(_, then, now)| then != now);
    changed.map(|(what, then, now)| format!("{what}: then {then}, now {now}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::ProcessRuns;
    use crate::bench::report::tests::report;

    /// The result with processes of these medians.
    fn set(result: &mut Measurement, medians: &[f64]) {
        result.processes =
            medians.iter().map(|&median_s| ProcessRuns { runs: 1, median_s, clock_gflops: Some(64.0) }).collect();
    }

    #[test]
    fn settings_are_matched_and_what_is_slower_beyond_doubt_is_told() {
        let (mut then, mut now) = (report(), report());
        now.results.swap(0, 1);
        now.results[1].setting.batch = 9;
        set(&mut then.results[1], &[1.0, 1.01, 0.99, 1.0]);
        let verdict = |now: &Report, percent| {
            let changes = changes(&then, now);
            assert_eq!(changes.len(), 1);
            assert_eq!(changes[0].now.setting.engine, "portable");
            changes[0].verdict(percent)
        };
        set(&mut now.results[0], &[1.5, 1.51, 1.49, 1.5]);
        assert_eq!((verdict(&now, 45.0), verdict(&now, 55.0)), (Verdict::Slower, Verdict::Held));
        assert_eq!(verdict(&now, 50.0), Verdict::Unsure, "it may be by more or less");
        // In the mean by a fifth, but who knows.
        set(&mut now.results[0], &[0.9, 1.5, 1.2, 1.3]);
        assert_eq!(verdict(&now, 5.0), Verdict::Unsure);
        // One process says nothing, nor does a file that has none.
        for medians in [&[9.0][..], &[]] {
            set(&mut now.results[0], medians);
            assert_eq!(verdict(&now, 5.0), Verdict::Unsure);
        }
    }

    /// One of a hundred is slower by chance.
    #[test]
    fn many_intervals_are_wider_than_one() {
        let width = |count: usize| {
            let (mut then, mut now) = (report(), report());
            for report in [&mut then, &mut now] {
                report.results.truncate(1);
                set(&mut report.results[0], &[1.0, 1.02, 0.98]);
                report.results = vec![report.results[0].clone(); count];
                report.results.iter_mut().enumerate().for_each(|(i, result)| result.setting.batch = i);
            }
            changes(&then, &now)[0].ratio.high.unwrap()
        };
        assert!(width(1) < width(2) && width(2) < width(100), "{} {} {}", width(1), width(2), width(100));
    }

    #[test]
    fn a_slower_clock_is_known_by_a_loop_that_is_always_the_same() {
        let (then, mut now) = (report(), report());
        let mut doubts = |gflops: [Option<f64>; 3]| {
            let processes = now.results[0].processes.iter_mut().zip(gflops);
            processes.for_each(|(process, gflops)| process.clock_gflops = gflops);
            let doubts = changes(&then, &now)[0].doubts();
            doubts.into_iter().find(|doubt| doubt.contains("multiply-adds"))
        };
        let slower = doubts([Some(32.0), Some(32.5), Some(31.5)]).unwrap();
        assert!(slower.starts_with("a loop of multiply-adds takes 2.00 times as long"), "{slower}");
        assert!(doubts([Some(128.0), Some(129.0), Some(127.0)]).unwrap().contains("takes 0.50 times"));
        assert_eq!(doubts([Some(63.5), Some(64.0), Some(64.5)]), None);
        assert_eq!(doubts([Some(32.0), None, Some(32.0)]), None, "unknown");
    }

    #[test]
    fn what_else_has_changed_is_told() {
        let (mut then, mut now) = (report(), report());
        for result in &mut then.results {
            result.disturbance.others = None;
        }
        now.results[0].model_hash = "1".into();
        now.results[0].weights = "w.safetensors".into();
        now.results[0].cores = vec![];
        let doubts = changes(&then, &now)[0].doubts();
        let expected = [
            "the model has changed",
            "one had random weights",
            "one was not pinned to cores",
            "now other processes had 0.50 of 1 core",
        ];
        assert_eq!(doubts, expected);
        assert_eq!(machine_changes(&then, &now), [""; 0]);
        now.machine.cpu = "another".into();
        now.machine.cores += 1;
        let changes = machine_changes(&then, &now);
        assert!(changes[0].ends_with("now another") && changes[1].starts_with("the cores: then "), "{changes:?}");
    }
}
