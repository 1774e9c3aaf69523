//! Reports as text for a terminal.

use super::baseline::{Change, Verdict};
use super::disturbance::Disturbance;
use super::machine;
use super::occupation::Occupation;
use super::peak::Peak;
use super::profile::{Profile, StepProfile};
use super::report::{Measurement, Report};
use crate::analysis::summary::bytes;
use crate::codegen::Isa;
use crate::machine::Machine;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use std::fmt::Write;

impl Report {
    /// Header, results, phases and comparisons.
    pub fn to_text(&self) -> String {
        let (steady, phases) = (self.steady_table(), self.phases_table());
        format!("{}\n{steady}\n{}\n\n{phases}\n{}", self.header(), self.processes_line(), self.comparison_lines())
    }

    /// Over what the intervals are.
    fn processes_line(&self) -> String {
        match self.results.iter().map(|result| result.median.processes).max() {
            None | Some(0..=1) => "of one process, so that nothing is known of what differs between processes".into(),
            Some(count) => format!(
                "median, low, high: median runs of {count} processes, their geometric mean and its 95 % confidence interval; \
                 the others are of all runs"
            ),
        }
    }

    /// Where the threads were, and what disturbed them.
    pub fn disturbances(&self) -> String {
        let line = |result: &Measurement| {
            let clocks: Vec<f64> = result.processes.iter().filter_map(|process| process.clock_gflops).collect();
            format!("\n{}: {}{}", title(result), place(&result.cores, &result.disturbance), clocks_differ(&clocks))
        };
        self.results.iter().map(line).collect::<String>() + "\n"
    }

    fn header(&self) -> String {
        let machine = &self.machine;
        let caches: Vec<String> = machine.caches.iter().map(|c| format!("L{} {}", c.level, bytes(c.bytes))).collect();
        let limit =
            machine.cgroup_cpus.map_or(String::new(), |cpus| format!(", limited to {cpus:.2} by control group"));
        let governor = machine.governor.as_ref().map_or(String::new(), |g| format!(", governor {g}"));
        let affinity = machine.affinity.as_ref().map_or(String::new(), |cores| format!(" (affinity {cores})"));
        let isas = machine.isas.join(" ");
        let kind = if machine.kind.is_empty() { String::new() } else { format!(", machine {}", machine.kind) };
        let mut text = format!("{}{kind} ({isas}), {} cores{affinity}{limit}{governor}\n", machine.cpu, machine.cores);
        if let Some(load) = self.load {
            let _ = writeln!(text, "before it began, other processes had {load:.2} cores");
        }
        if !caches.is_empty() {
            let _ = writeln!(text, "{}", caches.join(", "));
        }
        let commit = self.commit.as_ref().map_or(String::new(), |commit| format!(" ({commit})"));
        let _ = writeln!(text, "svertka {}{commit}, {}, seed {}", self.svertka, self.date, self.seed);
        text
    }

    fn steady_table(&self) -> Table {
        let columns = [
            "ms",
            "median",
            "low",
            "high",
            "min",
            "mean",
            "P90",
            "P95",
            "P99",
            "P99.9",
            "CV %",
            "runs",
            "samples/s",
            "GFLOP/s",
        ];
        let rows = self.results.iter().map(|result| {
            let (t, median) = (&result.steady, &result.median);
            let side = |bound: Option<f64>| bound.map_or(String::new(), ms);
            let over_processes = [ms(median.value), side(median.low), side(median.high)];
            let of_runs = [t.min_s, t.mean_s, t.p90_s, t.p95_s, t.p99_s, t.p999_s].map(ms);
            let times = [&over_processes[..], &of_runs].concat();
            let rates = [result.samples_per_s, result.gflops].map(|rate| format!("{rate:.1}"));
            let rest = [format!("{:.1}", 100.0 * t.cv), t.runs.to_string()];
            [&[title(result)], &times[..], &rest, &rates].concat()
        });
        table(1, &columns, rows)
    }

    fn phases_table(&self) -> Table {
        let columns = [
            "ms",
            "parse, check",
            "plan",
            "code",
            "load, pack",
            "first run",
            "then",
            "peak RSS",
            "model hash",
            "weights",
        ];
        let rows = self.results.iter().map(|result| {
            let p = &result.phases;
            let phases = [p.parse_and_check_s, p.plan_s, p.code_generation_s, p.load_and_pack_s, p.first_run_s];
            let times = [&phases[..], &[result.median.value]].concat().into_iter().map(ms).collect::<Vec<_>>();
            let memory = bytes(result.peak_rss_bytes);
            [&[title(result)], &times[..], &[memory, result.model_hash.clone(), result.weights.clone()]].concat()
        });
        table(1, &columns, rows)
    }

    fn comparison_lines(&self) -> String {
        let line = |c: &super::report::Comparison| {
            let (a, b, ratio) = (title(&self.results[c.a]), title(&self.results[c.b]), c.ratio);
            let interval = match ratio.low.zip(ratio.high) {
                Some((low, high)) => {
                    format!("95 % confidence {low:.3} to {high:.3} over {} processes", ratio.processes)
                }
                None => "in one process, so that nothing is known of what differs between processes".into(),
            };
            format!("\nB {b}\nA {a}\nB takes {:.3} times as long as A, {interval}\n", ratio.value)
        };
        self.comparisons.iter().map(line).collect()
    }
}

/// On which cores something was measured, and what disturbed it.
pub fn place(cores: &[usize], seen: &Disturbance) -> String {
    let numbers: Vec<String> = cores.iter().map(usize::to_string).collect();
    let place = match cores.len() {
        0 => "not pinned".to_string(),
        1 => format!("on core {}", numbers[0]),
        _ => format!("on cores {}", numbers.join(", ")),
    };
    let disturbed = match seen.complaints() {
        words if !words.is_empty() => format!("disturbed: {}", words.join("; ")),
        _ if seen.waited.is_none() && seen.others.is_none() => "what disturbed it is not known here".into(),
        _ => "not disturbed by what the system counts".into(),
    };
    format!("{place}; {disturbed}")
}

/// Processes whose clocks differ by less saw the same machine.
const SAME_CLOCK: f64 = 1.05;

/// Where processes saw different clocks.
fn clocks_differ(gflops: &[f64]) -> String {
    let (least, most) = gflops.iter().fold((f64::INFINITY, 0.0f64), |(a, b), &one| (a.min(one), b.max(one)));
    match most > SAME_CLOCK * least {
        true => format!(
            "; the clock differed between processes: {least:.1} to {most:.1} GFLOP/s in a loop of multiply-adds beside the runs"
        ),
        false => String::new(),
    }
}

/// Every step of every result that was profiled.
pub fn profiles(report: &Report) -> String {
    let profiled = report.results.iter().filter_map(|result| Some((result, result.profile.as_ref()?)));
    let age = report.peak.as_ref().map_or(String::new(), |peak| format!("\n{}\n", peak.age()));
    profiled.map(|(result, profile)| profile_text(result, profile)).collect::<String>() + &age
}

fn profile_text(result: &Measurement, profile: &Profile) -> String {
    let columns = [
        "layer",
        "kernel",
        "ms",
        "share %",
        "GFLOP/s",
        "peak %",
        "MB moved",
        "FLOP/B",
        "bound",
        "bound ms",
        "time/bound",
    ];
    let rows = profile.steps.iter().map(|s| {
        let arithmetic = |value: String| if s.flops == 0 { String::new() } else { value };
        vec![
            s.layer.clone(),
            s.kernel.clone(),
            ms(s.time.median_s),
            format!("{:.1}", 100.0 * s.share),
            arithmetic(format!("{:.1}", s.gflops)),
            arithmetic(format!("{:.1}", 100.0 * s.peak_share)),
            format!("{:.3}", s.bytes as f64 / 1e6),
            arithmetic(format!("{:.1}", s.intensity)),
            s.bound.clone(),
            ms(s.bound_s),
            format!("{:.2}", s.distance),
        ]
    });
    let threads = profile.occupation.as_ref().map_or(String::new(), |run| threads_text(run, &profile.steps));
    format!(
        "\n{}\n{}\n\nsum of the steps {} ms, sum of their bounds {} ms; whole network / sum of bounds = {:.2}\n{}{}{}{threads}",
        title(result),
        table(2, &columns, rows),
        ms(profile.time_s),
        ms(profile.bound_s),
        profile.distance,
        clock_line(result, profile),
        direct_line(&profile.steps),
        raised_line(profile)
    )
}

/// At which clock the bounds are.
fn clock_line(result: &Measurement, profile: &Profile) -> String {
    let over = match result.median.processes {
        0..=1 => String::new(),
        count => format!("; medians over {count} processes, of which each has bounds at its own clock"),
    };
    format!(
        "bounds are at the clock of these runs, beside which a loop of multiply-adds was {:.2} times as fast as when the peak \
         was measured{over}\n",
        profile.clock
    )
}

/// Where a step was faster than the peak at this clock.
fn raised_line(profile: &Profile) -> String {
    let raised = [("arithmetic", profile.arithmetic_raised), ("memory", profile.memory_raised)];
    let line = |(what, factor): (&str, f64)| {
        format!(
            "a step was {factor:.2} times as fast as the peak of {what} allows, which is taken to be so much higher here \
             (`svertka peak --fresh` measures it again)\n"
        )
    };
    raised.into_iter().filter(|(_, factor)| *factor > 1.0).map(line).collect()
}

/// What kernels reach whose operations are those of the layers' definitions, taken together.
fn direct_line(steps: &[StepProfile]) -> String {
    let direct = |s: &&StepProfile| s.kernel.starts_with("conv_direct") && s.bound == "compute";
    let direct: Vec<&StepProfile> = steps.iter().filter(direct).collect();
    let time: f64 = direct.iter().map(|s| s.time.median_s).sum();
    if direct.is_empty() {
        return String::new();
    }
    let share = direct.iter().map(|s| s.peak_share * s.time.median_s).sum::<f64>() / time;
    format!("direct convolutions that arithmetic bounds: {} ms, {:.1} % of the peak\n", ms(time), 100.0 * share)
}

/// Steps that are named as those in which most is lost.
const NAMED: usize = 10;

/// Where the time of several threads goes.
fn threads_text(run: &Occupation, steps: &[StepProfile]) -> String {
    let mut lossy: Vec<(&StepProfile, &Occupation)> =
        steps.iter().filter_map(|step| Some((step, step.occupation.as_ref()?))).collect();
    lossy.sort_by(|(_, a), (_, b)| b.lost_s().total_cmp(&a.lost_s()));
    let rows = lossy.iter().take(NAMED).map(|(step, o)| {
        let figures =
            [o.alone_s, o.time_s, o.lost_s(), o.work_s - o.alone_s, o.serial_s, o.uneven_s, o.absent_s, o.handover_s];
        [&[step.layer.clone(), step.kernel.clone()], &figures.map(ms)[..]].concat()
    });
    let columns = ["layer", "kernel", "ms on 1", "ms", "lost", "slower", "serial", "uneven", "absent", "handover"];
    format!(
        "\n{} threads take {} ms where one takes {} ms: {:.2} times as fast. Of their time {:.1} % is work (one alone needs \
         {:.2} of it), {:.1} % waiting in steps that are not split, {:.1} % for larger shares, {:.1} % having no core, \
         {:.1} % between steps. Most is lost in (ms of all threads together)\n{}\n",
        run.threads,
        ms(run.time_s),
        ms(run.alone_s),
        run.speedup(),
        100.0 * run.part(run.work_s),
        super::rate(run.alone_s, run.work_s),
        100.0 * run.part(run.serial_s),
        100.0 * run.part(run.uneven_s),
        100.0 * run.part(run.absent_s),
        100.0 * run.part(run.handover_s),
        table(2, &columns, rows)
    )
}

/// What other numbers of threads would do, for every result that was asked for it.
pub fn simulations(report: &Report) -> String {
    let profiles = report.results.iter().filter_map(|result| Some((result, result.profile.as_ref()?)));
    let simulated = profiles.filter(|(_, profile)| !profile.simulated.is_empty());
    simulated.map(|(result, profile)| simulation_text(result, &profile.simulated)).collect()
}

fn simulation_text(result: &Measurement, runs: &[Occupation]) -> String {
    let columns = ["threads", "ms", "times as fast", "samples/s", "work %", "serial %", "uneven %", "handover %"];
    let rows = runs.iter().map(|run| {
        let rates =
            [format!("{:.2}", run.speedup()), format!("{:.1}", super::rate(result.setting.batch as f64, run.time_s))];
        let parts =
            [run.work_s, run.serial_s, run.uneven_s, run.handover_s].map(|s| format!("{:.1}", 100.0 * run.part(s)));
        [&[run.threads.to_string(), ms(run.time_s)], &rates[..], &parts].concat()
    });
    format!(
        "\n{}: simulated from the steps' times on one thread and their tasks; caches, memory and clock that threads share \
         are not in it\n{}\n",
        title(result),
        table(0, &columns, rows)
    )
}

/// Then and now, side by side, and which of them are slower by more than so many percent.
pub fn changes(changes: &[Change], percent: f64) -> String {
    let rows = changes.iter().map(|change| {
        let (then, now) = (change.then.median.value, change.now.median.value);
        let side = |bound: Option<f64>| bound.map_or(String::new(), |bound| format!("{bound:.3}"));
        let ratio = &change.ratio;
        let verdict = match change.verdict(percent) {
            Verdict::Slower => "slower",
            Verdict::Held => "not slower",
            Verdict::Unsure => "not sure",
        };
        let what = [&[verdict.to_string()], &change.doubts()[..]].concat().join("; ");
        let figures = [ms(then), ms(now), format!("{:.3}", ratio.value), side(ratio.low), side(ratio.high)];
        [&[title(change.now)], &figures[..], &[what]].concat()
    });
    let limit = if percent > 0.0 { format!("slower by {percent} %?") } else { "slower?".into() };
    table(1, &["ms", "baseline", "now", "now/baseline", "low", "high", &limit], rows).to_string()
}

impl Peak {
    /// When it was measured.
    fn age(&self) -> String {
        let ago = match self.age_s() {
            ..120 => "just now".into(),
            seconds @ ..7200 => format!("{} minutes ago", seconds / 60),
            seconds @ ..172_800 => format!("{} hours ago", seconds / 3600),
            seconds => format!("{} days ago; `svertka peak --fresh` measures it again", seconds / 86_400),
        };
        format!("peak of one core as measured {}, {ago}", machine::iso_8601(self.measured_s))
    }

    /// The figures of one core; of memory also in a cycle, as the rates of machines are, if multiply-adds start as often as
    /// is known of this one.
    pub fn to_text(&self, machine: &Machine) -> String {
        let fma =
            self.fma.iter().map(|f| vec![format!("FMA, {}", f.isa), format!("{:.1} GFLOP/s", f.gflops), String::new()]);
        let cycles = self.gigacycles(machine);
        let memory = self.memory.iter().map(|m| {
            let size = m.capacity.map_or(String::new(), |size| format!(", {}", bytes(size)));
            let in_cycle = cycles.map_or(String::new(), |cycles| format!("{:.1} B", m.gb_per_s / cycles));
            vec![format!("read, {}{size}", m.level), format!("{:.1} GB/s", m.gb_per_s), in_cycle]
        });
        format!("{}\n{}", table(1, &["one core", "peak", "a cycle"], fma.chain(memory)), self.age())
    }

    /// 10^9 cycles a second, by what the widest vectors reach.
    fn gigacycles(&self, machine: &Machine) -> Option<f64> {
        let widest = self.fma.last()?;
        let isa: Isa = widest.isa.parse().ok()?;
        Some(widest.gflops / (2 * isa.lanes() * machine.fma(isa)) as f64)
    }
}

/// What tells a result from the others.
pub fn title(result: &Measurement) -> String {
    let setting = &result.setting;
    let threads = if setting.threads == 1 { "thread" } else { "threads" };
    format!("{}, {}, batch {}, {} {threads}", setting.model, setting.engine, setting.batch, setting.threads)
}

/// Milliseconds with four significant digits or more.
pub fn ms(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if ms >= 100.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.3}"),
        ms => format!("{ms:.4}"),
    }
}

/// Names stand on the left in the first `names` columns, numbers on the right in the others.
pub fn table(names: usize, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(rule));
    table.set_header(columns);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::baseline;
    use crate::bench::report::tests::report;

    #[test]
    fn tables_hold_the_figures() {
        let report = report();
        let text = report.to_text()
            + &profiles(&report)
            + &report.disturbances()
            + &changes(&baseline::changes(&report, &report), 5.0);
        for part in
            ["m,1.cnn, jit avx2, batch 2, 1 thread", "500.0", "4.0", "P99.9", "peak RSS", "2.00", "now/baseline"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("a step was 1.25 times as fast as the peak of memory allows"), "{text}");
        assert!(!text.contains("peak of arithmetic allows"), "{text}");
        // Of figures that were measured when the clock began.
        assert!(text.contains("peak of one core as measured 1970-01-01T00:00:00Z, 2"), "{text}");
        assert!(text.contains(" days ago; `svertka peak --fresh`"), "{text}");
        assert!(text.contains("a loop of multiply-adds was 0.50 times as fast as when the peak"), "{text}");
        assert!(text.contains("; medians over 3 processes, of which each has bounds at its own clock"), "{text}");
        assert!(text.contains("direct convolutions that arithmetic bounds: 500.0 ms, 50.0 % of the peak"), "{text}");
        assert!(!text.contains("the clock differed"), "{text}");
        let differs = clocks_differ(&[64.0, 60.0, 62.0]);
        assert!(differs.contains("the clock differed between processes: 60.0 to 64.0 GFLOP/s"), "{differs}");
        assert_eq!((clocks_differ(&[64.0, 62.0]), clocks_differ(&[])), (String::new(), String::new()));
        let line = "B takes 2.000 times as long as A, 95 % confidence 1.900 to 2.100 over 3 processes";
        assert!(text.contains(line), "{text}");
        for part in [
            "median runs of 3 processes",
            "450.0",
            "random, seed 1",
            "1 thread: on core 1; disturbed: other processes had 0.50 of 1 core",
            "slower by 5 %?",
            "not slower; then other processes had",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
