//! The machine that measures, as far as the system tells.

use crate::codegen::{HostIsa, Isa};
use crate::machine::{self, Found};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A cache for data of one core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// 1 for the cache next to the core.
    pub level: u8,
    pub bytes: u64,
}

/// What measurements depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub cpu: String,
    /// The machine for which kernels are chosen; empty in reports of older versions.
    #[serde(default)]
    pub kind: String,
    /// Names of the instruction sets that can be run here, narrowest first.
    pub isas: Vec<String>,
    /// By level; empty where unknown.
    pub caches: Vec<Cache>,
    /// Cores that this process may use: affinity and control group are considered.
    pub cores: usize,
    /// Numbers of the cores that its affinity allows, as `0-3,8`; `None` where unknown.
    pub affinity: Option<String>,
    /// CPU time that its control group allows, in cores; `None` where unlimited or unknown.
    pub cgroup_cpus: Option<f64>,
    /// Frequency governor of the first core.
    pub governor: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn here() -> Machine {
        let system = Path::new("/sys/devices/system/cpu/cpu0");
        Machine {
            cpu: cpu_field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            kind: machine::Machine::here().name.to_owned(),
            isas: Isa::available().iter().map(HostIsa::to_string).collect(),
            caches: machine::found().into_iter().map(|Found { level, bytes, .. }| Cache { level, bytes }).collect(),
            cores: cores(),
            affinity: affinity(),
            cgroup_cpus: cgroup_cpus(),
            governor: word(&system.join("cpufreq/scaling_governor")),
        }
    }
}

/// Cores that this process may use: affinity and control group are considered.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Numbers of the cores that the affinity of this process allows, as `0-3,8`; `None` where unknown.
pub fn affinity() -> Option<String> {
    status_field("Cpus_allowed_list:")
}

/// A name for this kind of CPU that is fit for a file name: model, family, model number, stepping.
pub fn cpu_id() -> String {
    let fields = ["model name", "cpu family", "model", "stepping"].into_iter().filter_map(cpu_field);
    let words = [std::env::consts::ARCH.to_string()].into_iter().chain(fields).collect::<Vec<_>>().join(" ");
    let plain = words.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// The most memory this process has occupied, in bytes; 0 where unknown.
pub fn peak_rss() -> u64 {
    peak_rss_in("self")
}

/// The same of another process, by its number.
pub fn peak_rss_of(process: u32) -> u64 {
    peak_rss_in(&process.to_string())
}

fn peak_rss_in(process: &str) -> u64 {
    let kibibytes =
        status_field_of(process, "VmHWM:").and_then(|text| text.strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Now in UTC, as ISO 8601 writes it.
pub fn date() -> String {
    iso_8601(now_s())
}

/// Seconds since 1970, UTC.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// From seconds since 1970. The calendar is that of Howard Hinnant, "chrono-compatible low-level date algorithms",
/// `civil_from_days`, for days after 1970.
pub(super) fn iso_8601(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months count from March, so that the day of a leap year is the last.
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What stands behind `name` in /proc/self/status.
fn status_field(name: &str) -> Option<String> {
    status_field_of("self", name)
}

fn status_field_of(process: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_string())
}

/// A field of the first processor in /proc/cpuinfo.
fn cpu_field(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, v)| v.to_string())
}

/// The content of a file of one word.
fn word(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string()).filter(|text| !text.is_empty())
}

/// The tightest CPU quota of the process's control groups, in cores.
fn cgroup_cpus() -> Option<f64> {
    group_folders_here().iter().filter_map(|folder| quota(folder)).min_by(f64::total_cmp)
}

/// Folders of the control groups of this process that limit its CPU time.
pub(super) fn group_folders_here() -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups.lines().flat_map(group_folders).collect()
}

/// Folders of the control group that a line of /proc/self/cgroup names, and of those above it: `0::/a/b` for
/// version 2, `4:cpu,cpuacct:/a/b` for version 1. Other controllers than that of the CPU have none.
fn group_folders(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("").trim_start_matches('/'));
    let root = match controllers {
        "" => "/sys/fs/cgroup",
        _ if controllers.split(',').any(|c| c == "cpu") => "/sys/fs/cgroup/cpu",
        _ => return Vec::new(),
    };
    Path::new(path).ancestors().map(|group| Path::new(root).join(group)).collect()
}

/// Quota over period of one control group.
fn quota(folder: &Path) -> Option<f64> {
    let v1 =
        || Some(format!("{} {}", word(&folder.join("cpu.cfs_quota_us"))?, word(&folder.join("cpu.cfs_period_us"))?));
    parse_quota(&word(&folder.join("cpu.max")).or_else(v1)?)
}

/// `50000 100000` is half a core; `max` and -1 stand for no limit.
fn parse_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_leap_years_and_ends_of_months() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        cases.into_iter().for_each(|(seconds, expected)| assert_eq!(iso_8601(seconds), expected));
    }

    #[test]
    fn quotas_and_groups_are_read() {
        assert_eq!(parse_quota("50000 100000"), Some(0.5));
        assert_eq!((parse_quota("max 100000"), parse_quota("-1 100000")), (None, None));
        let folders = |line| group_folders(line).iter().map(|f| f.display().to_string()).collect::<Vec<_>>();
        assert_eq!(folders("0::/a/b"), ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"]);
        assert_eq!(folders("4:cpu,cpuacct:/"), ["/sys/fs/cgroup/cpu/"]);
        assert!(folders("3:memory:/a").is_empty() && !folders("").is_empty());
    }

    #[test]
    fn this_machine_can_run_code() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.isas[0] == "clif" && !machine.cpu.is_empty(), "{machine:?}");
        assert!(machine.caches.is_sorted_by_key(|c| c.level), "{machine:?}");
        assert!(cpu_id().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{}", cpu_id());
    }
}
