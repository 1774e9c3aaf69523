//! What the system tells of caches and cores: files of Linux's sysfs, which containers may lack and which nobody vouches
//! for. No figure is taken that no CPU could have.

use super::Caches;
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

/// A cache for data of the first core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// 1 for the cache next to the core.
    pub level: u8,
    pub bytes: u64,
    /// CPUs that share it, as the system numbers them; at least 1.
    pub sharers: usize,
}

/// How CPUs, as the system numbers them, are cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// CPUs of the system.
    pub cpus: usize,
    /// Of the first core.
    pub threads_per_core: usize,
}

impl Topology {
    /// Of this machine; `None` where the system does not tell.
    pub fn here() -> Option<Topology> {
        Topology::of(Path::new(SYSTEM))
    }

    fn of(system: &Path) -> Option<Topology> {
        let cpus = cpus(&word(&system.join("present"))?)?;
        let threads_per_core = cpus_of(&system.join("cpu0/topology/thread_siblings_list"));
        Some(Topology { cpus, threads_per_core: threads_per_core.unwrap_or(1) })
    }
}

const SYSTEM: &str = "/sys/devices/system/cpu";

/// Caches that a CPU is asked about at most: none has more.
const MOST_CACHES: usize = 16;

/// Bytes that a file of one word has at most.
const MOST_WORD: u64 = 4096;

/// Sizes of the levels that are believed.
const FIRST: RangeInclusive<u64> = 8 << 10..=1 << 20;
const SECOND: RangeInclusive<u64> = 64 << 10..=64 << 20;
const THIRD: RangeInclusive<u64> = 512 << 10..=16 << 30;

/// What one core may count on of a third level at most.
const MOST_THIRD: u64 = 16 << 20;

/// The data caches of the first core, by level; empty where the system does not tell.
pub fn found() -> Vec<Found> {
    caches_in(&Path::new(SYSTEM).join("cpu0/cache"))
}

/// What the system tells, and `known` of what it does not, or not so that it can be believed.
pub fn caches(known: Caches) -> Caches {
    let threads = Topology::here().map_or(1, |topology| topology.threads_per_core);
    believed(&found(), threads, known)
}

fn believed(found: &[Found], threads_per_core: usize, known: Caches) -> Caches {
    let level = |level: u8| found.iter().find(|cache| cache.level == level);
    // Of what several cores share, each has its part.
    let own = |cache: &Found| cache.bytes / cache.sharers.div_ceil(threads_per_core.max(1)).max(1) as u64;
    let sized = |bytes: Option<u64>, range: RangeInclusive<u64>| bytes.filter(|bytes| range.contains(bytes));
    let first = sized(level(1).map(own), FIRST);
    let second = sized(level(2).map(own), SECOND);
    let third = sized(level(3).map(|cache| cache.bytes), THIRD).map(|bytes| (bytes / 2).min(MOST_THIRD));
    let caches = Caches {
        first: first.map_or(known.first, |bytes| bytes as usize),
        second: second.map_or(known.second, |bytes| bytes as usize),
        third: third.map_or(known.third, |bytes| bytes as usize),
    };
    if caches.first < caches.second { caches } else { known }
}

fn caches_in(folder: &Path) -> Vec<Found> {
    let cache = |index: usize| {
        let path = folder.join(format!("index{index}"));
        let (kind, level) = (word(&path.join("type"))?, word(&path.join("level"))?.parse().ok()?);
        let bytes = size(&word(&path.join("size"))?)?;
        let sharers = cpus_of(&path.join("shared_cpu_list")).unwrap_or(1);
        (kind != "Instruction" && bytes > 0).then_some(Found { level, bytes, sharers })
    };
    let mut caches: Vec<Found> = (0..MOST_CACHES).filter_map(cache).collect();
    caches.sort_by_key(|cache| cache.level);
    caches
}

/// The content of a file of one word, or of a short line.
pub fn word(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST_WORD).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A field of the first processor in /proc/cpuinfo.
#[cfg(all(target_arch = "aarch64", not(target_os = "macos")))]
pub fn cpu_field(name: &str) -> Option<String> {
    let text = word(Path::new("/proc/cpuinfo"))?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// Bytes of a size as sysfs writes it: `32K`, `8M`.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, &text[digits.len()..]),
        None => (text, ""),
    };
    let shift = ["", "K", "M", "G"].iter().position(|u| *u == unit)? * 10;
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn cpus_of(path: &Path) -> Option<usize> {
    cpus(&word(path)?)
}

/// How many CPUs a list names: `0-3,8`.
fn cpus(list: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    };
    list.split(',').try_fold(0usize, |sum, range| sum.checked_add(count(range)?)).filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::GENERIC;
    use std::fs;

    #[test]
    fn sizes_and_lists_are_read() {
        assert_eq!([size("32K"), size("8M"), size("64"), size("x")], [Some(32 << 10), Some(8 << 20), Some(64), None]);
        assert_eq!(size("99999999999999999999K").or(size("18446744073709551615G")), None);
        assert_eq!([cpus("0"), cpus("0-3,8"), cpus("0-191")], [Some(1), Some(5), Some(192)]);
        let most = format!("0-{}", usize::MAX);
        assert_eq!(["", "a", "3-1", "0-", &most, "0-9,"].map(cpus), [None; 6]);
    }

    fn cache(level: u8, bytes: u64, sharers: usize) -> Found {
        Found { level, bytes, sharers }
    }

    #[test]
    fn shared_caches_are_divided_and_impossible_ones_passed_over() {
        let known = GENERIC.caches;
        let of = |found: &[Found], threads: usize| believed(found, threads, known);
        let usual = [cache(1, 48 << 10, 2), cache(2, 2 << 20, 2), cache(3, 260 << 20, 96)];
        assert_eq!(of(&usual, 2), Caches { first: 48 << 10, second: 2 << 20, third: 16 << 20 });
        // Four cores of an Apple M1; there is no third level.
        let apple = [cache(1, 128 << 10, 1), cache(2, 12 << 20, 4)];
        assert_eq!(of(&apple, 1), Caches { first: 128 << 10, second: 3 << 20, ..known });
        assert_eq!(of(&[cache(3, 8 << 20, 8)], 1), Caches { third: 4 << 20, ..known });
        // Nothing, too small, too large, the first as large as the second, shared by more than there are.
        assert_eq!(of(&[], 0), known);
        assert_eq!(of(&[cache(1, 1, 1), cache(2, u64::MAX, 1), cache(3, 1, 1)], 1), known);
        assert_eq!(of(&[cache(1, 64 << 10, 1), cache(2, 64 << 10, 1)], 1), known);
        assert_eq!(of(&[cache(1, 32 << 10, usize::MAX), cache(2, 1 << 20, usize::MAX)], 1), known);
    }

    #[test]
    fn whatever_files_hold_is_read_or_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        assert!(caches_in(folder.path()).is_empty());
        let write = |index: usize, name: &str, text: &[u8]| {
            let path = folder.path().join(format!("index{index}"));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(name), text).unwrap();
        };
        let whole = |index: usize, kind: &str, level: &str, size: &str| {
            write(index, "type", kind.as_bytes());
            write(index, "level", level.as_bytes());
            write(index, "size", size.as_bytes());
        };
        whole(0, "Unified\n", "2\n", "1024K\n");
        whole(1, "Data\n", "1\n", "32K\n");
        whole(2, "Instruction\n", "1\n", "32K\n");
        whole(3, "Unified\n", "300\n", "32M\n");
        whole(4, "Unified\n", "3\n", "0\n");
        write(5, "type", &[0xff; 9000]);
        write(1, "shared_cpu_list", b"0,4\n");
        assert_eq!(caches_in(folder.path()), [cache(1, 32 << 10, 2), cache(2, 1 << 20, 1)]);
        assert_eq!(Topology::of(folder.path()), None);
        fs::write(folder.path().join("present"), "0-7\n").unwrap();
        assert_eq!(Topology::of(folder.path()), Some(Topology { cpus: 8, threads_per_core: 1 }));
    }
}
