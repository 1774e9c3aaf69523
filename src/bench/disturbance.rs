//! What disturbs measurements, as far as Linux counts it: other processes, the hypervisor, limits. Elsewhere nothing is
//! known.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How busy a core is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busy {
    pub core: usize,
    /// 0 to 1.
    pub part: f64,
}

/// How busy these cores are while this process sleeps for so long; empty where unknown.
pub fn busy(cores: &[usize], span: Duration) -> Vec<Busy> {
    let before = ticks();
    std::thread::sleep(span);
    let (before, after) = (of_cores(before, cores), of_cores(ticks(), cores));
    let part = |(a, b): (&Ticks, &Ticks)| Busy { core: b.core, part: b.since(a).map_or(0.0, |seen| seen.busy) };
    before.iter().zip(&after).map(part).collect()
}

/// What happened beside a measurement. Absent where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disturbance {
    /// How long was looked.
    pub time_s: f64,
    /// How many cores were looked at.
    pub cores: usize,
    /// Of these cores, how many other processes had in the mean.
    pub others: Option<f64>,
    /// Of these cores, how many the hypervisor gave to other machines in the mean.
    pub stolen: Option<f64>,
    /// Of the time in which threads could have worked, the part in which they had no core.
    pub waited: Option<f64>,
    /// How often another thread took the core of one.
    pub preempted: Option<u64>,
    /// Seconds in which the control group's quota let nobody work.
    pub throttled_s: Option<f64>,
}

/// What is counted, at one time.
pub struct Look {
    at: Instant,
    cores: Vec<Ticks>,
    threads: Vec<Thread>,
    throttled_s: Option<f64>,
}

impl Look {
    /// Of these cores and of all threads of these processes, which are those that are measured.
    pub fn new(processes: &[u32], cores: &[usize]) -> Look {
        let threads = processes.iter().flat_map(|&process| threads(process)).collect();
        Look { at: Instant::now(), cores: of_cores(ticks(), cores), threads, throttled_s: throttled_s() }
    }

    /// What happened since `before`, where the same was looked at.
    pub fn since(&self, before: &Look) -> Disturbance {
        let time_s = (self.at - before.at).as_secs_f64();
        let seen: Option<Vec<Seen>> = self.cores.iter().zip(&before.cores).map(|(b, a)| b.since(a)).collect();
        let seen = seen.filter(|seen| !seen.is_empty());
        let threads: Vec<Thread> = self.threads.iter().filter_map(|after| after.since(&before.threads)).collect();
        let worked_s: f64 = threads.iter().map(|thread| thread.worked_s).sum();
        let waited_s: f64 = threads.iter().map(|thread| thread.waited_s).sum();
        let known = !threads.is_empty();
        let busy = seen.as_ref().map(|seen| seen.iter().map(|core| core.busy).sum::<f64>());
        Disturbance {
            time_s,
            cores: self.cores.len(),
            others: busy.filter(|_| known).map(|busy| (busy - super::rate(worked_s, time_s)).max(0.0)),
            stolen: seen.map(|seen| seen.iter().map(|core| core.stolen).sum()),
            waited: known.then(|| super::rate(waited_s, worked_s + waited_s)),
            preempted: known.then(|| threads.iter().map(|thread| thread.preempted).sum()),
            throttled_s: self.throttled_s.zip(before.throttled_s).map(|(after, before)| after - before),
        }
    }
}

impl Disturbance {
    /// Of several times together; nothing is known of what one of them does not know.
    pub fn sum(all: &[Disturbance]) -> Disturbance {
        let time_s: f64 = all.iter().map(|one| one.time_s).sum();
        let mean = |figure: &dyn Fn(&Disturbance) -> Option<f64>| -> Option<f64> {
            let parts: Option<Vec<f64>> = all.iter().map(|one| Some(figure(one)? * one.time_s)).collect();
            Some(super::rate(parts?.iter().sum(), time_s))
        };
        Disturbance {
            time_s,
            cores: all.iter().map(|one| one.cores).max().unwrap_or(0),
            others: mean(&|one| one.others),
            stolen: mean(&|one| one.stolen),
            waited: mean(&|one| one.waited),
            preempted: all.iter().map(|one| one.preempted).sum(),
            throttled_s: all.iter().map(|one| one.throttled_s).sum(),
        }
    }

    /// What is more than always happens, in words.
    pub fn complaints(&self) -> Vec<String> {
        let above = |figure: Option<f64>, limit: f64| figure.filter(|&figure| figure > limit);
        let cores = self.cores as f64;
        let of_cores =
            |part: f64| format!("{part:.2} of {} core{}", self.cores, if self.cores == 1 { "" } else { "s" });
        let complaints = [
            // Ticks of the clock are coarse: what is short is not known so exactly.
            above(self.others, 0.1_f64.max(2.0 * TICK_S * cores / self.time_s.max(TICK_S)))
                .map(|others| format!("other processes had {}", of_cores(others))),
            above(self.stolen, 0.01 * cores).map(|stolen| format!("the hypervisor took {}", of_cores(stolen))),
            above(self.waited, 0.01).map(|waited| {
                format!("threads that could have worked had no core in {:.1} % of the time", 100.0 * waited)
            }),
            above(self.throttled_s, 0.0)
                .map(|seconds| format!("the quota of the control group let nobody work for {:.3} s", seconds)),
        ];
        complaints.into_iter().flatten().collect()
    }
}

/// Between two ticks of the clock of /proc/stat.
const TICK_S: f64 = 0.01;

/// What a core has done since the machine was started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    core: usize,
    busy: u64,
    stolen: u64,
    all: u64,
}

/// Parts of a time, 0 to 1.
struct Seen {
    busy: f64,
    stolen: f64,
}

impl Ticks {
    /// `None` where no tick passed, or it is not the same core.
    fn since(&self, before: &Ticks) -> Option<Seen> {
        let all = self.all.checked_sub(before.all).filter(|&all| all > 0 && self.core == before.core)?;
        let part = |after: u64, before: u64| after.saturating_sub(before) as f64 / all as f64;
        Some(Seen { busy: part(self.busy, before.busy), stolen: part(self.stolen, before.stolen) })
    }
}

fn ticks() -> Vec<Ticks> {
    fs::read_to_string("/proc/stat").map_or(Vec::new(), |text| text.lines().filter_map(ticks_of_line).collect())
}

/// `cpu3 user nice system idle iowait irq softirq steal ..`: time of guests is in that of users.
fn ticks_of_line(line: &str) -> Option<Ticks> {
    let (name, figures) = line.split_once(' ')?;
    let core = name.strip_prefix("cpu")?.parse().ok()?;
    let figures: Vec<u64> = figures.split_whitespace().map(|figure| figure.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, idle, waiting, interrupts, soft, stolen] = *figures.first_chunk()?;
    let busy = user + nice + system + interrupts + soft;
    Some(Ticks { core, busy, stolen, all: busy + idle + waiting + stolen })
}

fn of_cores(ticks: Vec<Ticks>, cores: &[usize]) -> Vec<Ticks> {
    ticks.into_iter().filter(|ticks| cores.contains(&ticks.core)).collect()
}

/// What a thread has done since it was started.
#[derive(Clone, Debug, PartialEq)]
struct Thread {
    path: PathBuf,
    worked_s: f64,
    waited_s: f64,
    preempted: u64,
}

impl Thread {
    fn read(path: PathBuf) -> Option<Thread> {
        let schedule = fs::read_to_string(path.join("schedstat")).ok()?;
        let mut seconds =
            schedule.split_whitespace().map(|nanoseconds| Some(nanoseconds.parse::<u64>().ok()? as f64 / 1e9));
        let (worked_s, waited_s) = (seconds.next()??, seconds.next()??);
        let status = fs::read_to_string(path.join("status")).ok()?;
        let switches = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))?;
        Some(Thread { path, worked_s, waited_s, preempted: switches.trim().parse().ok()? })
    }

    fn since(&self, before: &[Thread]) -> Option<Thread> {
        let before = before.iter().find(|thread| thread.path == self.path)?;
        Some(Thread {
            path: self.path.clone(),
            worked_s: self.worked_s - before.worked_s,
            waited_s: self.waited_s - before.waited_s,
            preempted: self.preempted.saturating_sub(before.preempted),
        })
    }
}

fn threads(process: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| Thread::read(task.path())).collect()
}

/// How long the control group's quota has let nobody work; `None` where there is no quota.
fn throttled_s() -> Option<f64> {
    let folders = super::machine::group_folders_here();
    folders.iter().filter_map(|folder| throttled_of(folder)).reduce(f64::max)
}

fn throttled_of(folder: &Path) -> Option<f64> {
    throttled_in(&fs::read_to_string(folder.join("cpu.stat")).ok()?)
}

/// Version 2 counts microseconds, version 1 nanoseconds.
fn throttled_in(text: &str) -> Option<f64> {
    let figure = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let v1 = || Some(figure("throttled_time ")? as f64 / 1e9);
    figure("throttled_usec ").map(|micros| micros as f64 / 1e6).or_else(v1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_the_system_are_read() {
        let line = ticks_of_line("cpu3 100 20 30 400 5 6 7 8 90 0").unwrap();
        assert_eq!(line, Ticks { core: 3, busy: 163, stolen: 8, all: 576 });
        for none in ["cpu  1 2 3 4 5 6 7 8 9 0", "cpu3 1 2 3", "cpu3 1 2 x 4 5 6 7 8", "intr 5", ""] {
            assert_eq!(ticks_of_line(none), None, "{none}");
        }
        assert_eq!(throttled_in("nr_periods 5\nthrottled_usec 2500000\n"), Some(2.5));
        assert_eq!(throttled_in("nr_periods 5\nthrottled_time 2500000\n"), Some(0.0025));
        assert_eq!(throttled_in("usage_usec 5\n"), None);
    }

    fn look(at: Instant, busy: u64, stolen: u64, worked_s: f64, waited_s: f64) -> Look {
        let all = busy + stolen + 1;
        let core = |core| Ticks { core, busy, stolen, all: 100.max(all) };
        let thread = Thread { path: "one".into(), worked_s, waited_s, preempted: busy };
        Look { at, cores: vec![core(0), core(1)], threads: vec![thread], throttled_s: Some(waited_s) }
    }

    #[test]
    fn what_others_had_is_what_is_busy_beyond_the_own_threads() {
        let start = Instant::now();
        let mut before = look(start, 0, 0, 1.0, 1.0);
        before.cores.iter_mut().for_each(|core| core.all = 0);
        // In a second both cores were busy for nine tenths, own threads for one second.
        let found = look(start + Duration::from_secs(1), 90, 5, 2.0, 1.25).since(&before);
        let near = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?}");
        near(found.others, 0.8);
        near(found.stolen, 0.1);
        near(found.waited, 0.2);
        assert_eq!((found.preempted, found.cores), (Some(90), 2));
        let words = found.complaints().join("; ");
        for part in
            ["other processes had 0.80 of 2 cores", "hypervisor took 0.10", "in 20.0 % of the time", "for 0.250 s"]
        {
            assert!(words.contains(part), "{part} in {words}");
        }
        let calm =
            Disturbance { time_s: 3.0, cores: 2, others: Some(0.0), waited: Some(0.0), ..Disturbance::default() };
        assert_eq!(calm.complaints(), [""; 0]);
        let both = Disturbance::sum(&[found, calm]);
        near(both.others, 0.2);
        assert_eq!((both.time_s, both.stolen, both.preempted), (4.0, None, None));
        // Two ticks of a hundredth are no load.
        let short = Disturbance { time_s: 0.05, cores: 1, others: Some(0.39), ..Disturbance::default() };
        assert_eq!(short.complaints(), [""; 0]);
    }

    #[test]
    fn what_is_not_counted_is_not_known() {
        let nothing = || Look { at: Instant::now(), cores: vec![], threads: vec![], throttled_s: None };
        let found = nothing().since(&nothing());
        assert_eq!((found.others, found.stolen, found.waited, found.preempted), (None, None, None, None));
        assert_eq!(found.complaints(), [""; 0]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_counts() {
        let cores = crate::bench::pin::allowed();
        let own = std::process::id();
        let before = Look::new(&[own], &cores);
        let busy = busy(&cores, Duration::from_millis(50));
        assert_eq!(busy.len(), cores.len());
        let found = Look::new(&[own], &cores).since(&before);
        assert!(found.time_s > 0.04 && found.cores == cores.len() && found.preempted.is_some(), "{found:?}");
    }
}
