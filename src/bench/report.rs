//! What a benchmark found, as data: the schema of `svertka bench --json`, and the same as CSV.

use super::SCHEMA_VERSION;
use super::disturbance::Disturbance;
use super::machine::Machine;
use super::peak::Peak;
use super::profile::{Profile, StepProfile};
use super::stats::{Estimate, Summary, median};
use crate::analysis::summary::csv_field;
use serde::{Deserialize, Serialize};

/// The whole file. Names end in their unit: `_s` seconds, `_bytes` bytes; all figures are for the whole batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// Version of svertka.
    pub svertka: String,
    /// Commit of its source, with `+` behind where that had changes; `None` in a debug build, or outside of a
    /// repository.
    pub commit: Option<String>,
    /// In UTC, ISO 8601.
    pub date: String,
    /// Of random inputs, and of random weights where no file was given.
    pub seed: u64,
    pub machine: Machine,
    /// How many cores other processes had before anything was measured; `None` where unknown.
    pub load: Option<f64>,
    /// What the profiles refer to; absent without profiles.
    pub peak: Option<Peak>,
    /// In the order of the measurements.
    pub results: Vec<Measurement>,
    pub comparisons: Vec<Comparison>,
}

/// One network in one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    pub setting: Setting,
    /// FNV-1a of the printed graph, in hexadecimal: the same for the same network, however it is written.
    pub model_hash: String,
    /// Multiply-accumulates.
    pub macs: u64,
    /// The file that the weights are from; `random, seed 1`, for example, where they are random; `none`.
    pub weights: String,
    /// Of each, the median over processes.
    pub phases: Phases,
    /// Runs of the whole network in all processes, caches and branch predictors warm.
    pub steady: Summary,
    /// In the order in which they ran.
    pub processes: Vec<ProcessRuns>,
    /// The median run of a process, in seconds.
    pub median: Estimate,
    pub samples_per_s: f64,
    /// 10^9 operations a second at the median time; a multiply-accumulate is two.
    pub gflops: f64,
    /// The most memory that a process occupied that did nothing else.
    pub peak_rss_bytes: u64,
    /// The cores that threads were pinned to, one each; empty where they were not.
    pub cores: Vec<usize>,
    /// While its runs were counted.
    pub disturbance: Disturbance,
    /// With `--per-layer`, `--simulate` or `--html`: over processes.
    pub profile: Option<Profile>,
}

/// What one process found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRuns {
    pub runs: usize,
    pub median_s: f64,
    /// What its core did between the runs in a loop of multiply-adds, 10^9 operations a second: the same loop at any time,
    /// so that a slower clock is known by it. `None` where no code can be generated.
    pub clock_gflops: Option<f64>,
}

/// What distinguishes one measurement from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Name of the model file without its folder, and the variant behind a colon.
    pub model: String,
    /// `jit avx2`, for example; `aot avx2` for a shared library that was loaded.
    pub engine: String,
    pub batch: usize,
    pub threads: usize,
}

/// What happens before a network is in its steady state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    // For a shared library, packing and linking are part of the code generation.
    /// From the text to the checked graph.
    pub parse_and_check_s: f64,
    /// Passes, choice of kernels, memory.
    pub plan_s: f64,
    pub code_generation_s: f64,
    /// Reading (or drawing) weights and packing them, beyond what was done of it while code was generated.
    pub load_and_pack_s: f64,
    pub first_run_s: f64,
}

impl Phases {
    /// Of each phase, the median over processes.
    ///
    /// # Panics
    /// Where there is none.
    pub fn medians(all: &[Phases]) -> Phases {
        let of = |phase: &dyn Fn(&Phases) -> f64| median(&all.iter().map(phase).collect::<Vec<_>>());
        Phases {
            parse_and_check_s: of(&|p| p.parse_and_check_s),
            plan_s: of(&|p| p.plan_s),
            code_generation_s: of(&|p| p.code_generation_s),
            load_and_pack_s: of(&|p| p.load_and_pack_s),
            first_run_s: of(&|p| p.first_run_s),
        }
    }
}

/// Two measurements that took turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Index in [`Report::results`].
    pub a: usize,
    /// Index in [`Report::results`].
    pub b: usize,
    /// Time of B over time of A, of processes that ran together.
    pub ratio: Estimate,
}

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("not a result of `svertka bench --json`: {0}")]
    Malformed(serde_json::Error),
    #[error("schema version {0}; this svertka reads {SCHEMA_VERSION}: measure again")]
    Schema(u64),
}

impl Report {
    pub fn from_json(text: &str) -> Result<Report, ReportError> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(ReportError::Malformed)?;
        match value.get("schema_version").and_then(serde_json::Value::as_u64) {
            Some(version) if version != u64::from(SCHEMA_VERSION) => Err(ReportError::Schema(version)),
            _ => serde_json::from_value(value).map_err(ReportError::Malformed),
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and finite numbers are JSON")
    }

    /// A line for each network, `layer` empty, and behind it one for each of its steps, if they were measured.
    pub fn to_csv(&self) -> String {
        let mut text = format!("{}\n", CSV_COLUMNS.join(","));
        for result in &self.results {
            let rate = (result.samples_per_s, result.gflops);
            let (median, bound) = (&result.median, ["", "", "", ""].map(String::from));
            let side = |bound: Option<f64>| bound.map_or(String::new(), |bound| bound.to_string());
            let processes =
                [median.processes.to_string(), median.value.to_string(), side(median.low), side(median.high)];
            text += &csv_line(&result.setting, ["", ""], &result.steady, rate, [bound, processes]);
            for step in result.profile.iter().flat_map(|profile| &profile.steps) {
                text += &csv_step(&result.setting, step);
            }
        }
        text
    }
}

/// The fields of [`Setting`], [`StepProfile`] and [`Summary`].
const CSV_COLUMNS: [&str; 25] = [
    "model",
    "engine",
    "batch",
    "threads",
    "layer",
    "kernel",
    "runs",
    "min_s",
    "median_s",
    "mean_s",
    "p90_s",
    "p95_s",
    "p99_s",
    "p999_s",
    "cv",
    "samples_per_s",
    "gflops",
    "flops",
    "bytes",
    "bound",
    "bound_s",
    "processes",
    "process_median_s",
    "process_low_s",
    "process_high_s",
];

fn csv_step(setting: &Setting, step: &StepProfile) -> String {
    let rate = (super::rate(setting.batch as f64, step.time.median_s), step.gflops);
    let bound = [step.flops.to_string(), step.bytes.to_string(), step.bound.clone(), step.bound_s.to_string()];
    csv_line(setting, [&step.layer, &step.kernel], &step.time, rate, [bound, Default::default()])
}

/// `last`: what bounds it, and what is known of processes.
fn csv_line(setting: &Setting, names: [&str; 2], time: &Summary, rate: (f64, f64), last: [[String; 4]; 2]) -> String {
    let Summary { runs, min_s, median_s, mean_s, p90_s, p95_s, p99_s, p999_s, cv } = time;
    let setting =
        [csv_field(&setting.model), setting.engine.clone(), setting.batch.to_string(), setting.threads.to_string()];
    let times = [min_s, median_s, mean_s, p90_s, p95_s, p99_s, p999_s, cv, &rate.0, &rate.1].map(f64::to_string);
    let fields = [&setting[..], &names.map(csv_field), &[runs.to_string()], &times, &last.concat()].concat();
    format!("{}\n", fields.join(","))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::peak::tests::round_figures;

    /// A report of two measurements of 0.5 s and 1 s; all numbers are exact in binary, for JSON is read back to the
    /// last bit but one only.
    pub fn report() -> Report {
        let result = |engine: &str, seconds: f64| Measurement {
            setting: Setting { model: "m,1.cnn".into(), engine: engine.into(), batch: 2, threads: 1 },
            model_hash: "0".into(),
            macs: 1000,
            phases: Phases {
                parse_and_check_s: 0.1,
                plan_s: 0.2,
                code_generation_s: 0.3,
                load_and_pack_s: 0.4,
                first_run_s: 0.5,
            },
            weights: "random, seed 1".into(),
            steady: Summary::new(&[seconds; 3]),
            processes: vec![ProcessRuns { runs: 1, median_s: seconds, clock_gflops: Some(64.0) }; 3],
            median: Estimate { value: seconds, low: Some(0.9 * seconds), high: Some(1.1 * seconds), processes: 3 },
            samples_per_s: 2.0 / seconds,
            gflops: 0.125 / seconds,
            peak_rss_bytes: 1 << 20,
            cores: vec![1],
            disturbance: Disturbance { time_s: 1.0, cores: 1, others: Some(0.5), ..Disturbance::default() },
            profile: Some(profile(seconds)),
        };
        Report {
            schema_version: SCHEMA_VERSION,
            svertka: "0".into(),
            commit: Some("abc".into()),
            date: "2024-01-01T00:00:00Z".into(),
            seed: 1,
            machine: Machine::here(),
            load: Some(0.25),
            peak: Some(round_figures()),
            results: vec![result("jit avx2", 0.5), result("portable", 1.0)],
            comparisons: vec![Comparison {
                a: 0,
                b: 1,
                ratio: Estimate { value: 2.0, low: Some(1.9), high: Some(2.1), processes: 3 },
            }],
        }
    }

    fn profile(seconds: f64) -> Profile {
        let step = StepProfile {
            layer: "conv1".into(),
            what: "conv 3x3, 4".into(),
            kernel: "conv_direct".into(),
            time: Summary::new(&[seconds]),
            share: 1.0,
            flops: 2000,
            gflops: 0.125 / seconds,
            own_flops: 1000,
            peak_share: 0.5,
            bytes: 400,
            intensity: 5.0,
            bound: "compute".into(),
            bound_s: seconds / 2.0,
            distance: 2.0,
            elements: 100,
            conf: "Conf { </script> }".into(),
            reads: vec!["Nchw [N, 1, 8, 8]".into()],
            writes: "Blocked [N, 4, 6, 6]".into(),
            notes: vec![],
            occupation: None,
        };
        let (time_s, bound_s) = (seconds, seconds / 2.0);
        Profile {
            steps: vec![step],
            time_s,
            bound_s,
            distance: 2.0,
            clock: 0.5,
            arithmetic_raised: 1.0,
            memory_raised: 1.25,
            arena_bytes: 0,
            arena: vec![],
            occupation: None,
            simulated: vec![],
        }
    }

    #[test]
    fn json_is_read_back() {
        let report = report();
        assert_eq!(Report::from_json(&report.to_json()).unwrap(), report);
    }

    #[test]
    fn other_schemas_and_other_files_are_told_apart() {
        let newer = report().to_json().replacen("\"schema_version\": 4", "\"schema_version\": 7", 1);
        let error = Report::from_json(&newer).unwrap_err().to_string();
        assert!(error.starts_with("schema version 7; this svertka reads 4"), "{error}");
        for text in ["", "{}", "[1]", "{\"schema_version\": 4}"] {
            let error = Report::from_json(text).unwrap_err().to_string();
            assert!(error.starts_with("not a result"), "{text}: {error}");
        }
    }

    #[test]
    fn csv_has_a_line_for_each_network_and_step() {
        let csv = report().to_csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 5, "{csv}");
        assert!(lines[1].starts_with("\"m,1.cnn\",jit avx2,2,1,,,3,0.5,"), "{csv}");
        assert!(lines[2].starts_with("\"m,1.cnn\",jit avx2,2,1,conv1,conv_direct,1,0.5,"), "{csv}");
        assert!(lines[4].ends_with(",2000,400,compute,0.5,,,,"), "{csv}");
        assert!(lines[3].ends_with(",,,,,3,1,0.9,1.1"), "{csv}");
        for line in &lines[1..] {
            assert_eq!(line.split(',').count(), CSV_COLUMNS.len() + 1, "the model's name has a comma: {line}");
        }
    }
}
