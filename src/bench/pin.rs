//! Cores for the threads that are measured, so that none moves and no two share one. On Linux; elsewhere nothing is pinned.

use super::disturbance::Busy;
use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

/// Cores that a list such as `0-3,8` names; empty where it is none.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<Vec<usize>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (last < MAX_CORES).then(|| (first..=last).collect())
    };
    text.split(',').map(range).collect::<Option<Vec<_>>>().unwrap_or_default().concat()
}

/// Cores beyond these are not used: a mask of them is what the kernel takes from every caller.
const MAX_CORES: usize = 1024;

/// The cores that the affinity of this process allows; empty where unknown.
pub fn allowed() -> Vec<usize> {
    super::machine::affinity().map_or(Vec::new(), |list| parse_list(&list))
}

/// The cores for so many threads: the least busy, and a second hardware thread of a core only where there are not enough
/// cores. `None` where there are not as many.
pub fn choose(count: usize, busy: &[Busy]) -> Option<Vec<usize>> {
    choose_of(count, busy, &siblings)
}

fn choose_of(count: usize, busy: &[Busy], siblings: &dyn Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    let mut by_load: Vec<&Busy> = busy.iter().collect();
    by_load.sort_by(|a, b| a.part.total_cmp(&b.part));
    let (mut first, mut second, mut taken) = (Vec::new(), Vec::new(), HashSet::new());
    for core in by_load.into_iter().map(|busy| busy.core) {
        let list = if taken.contains(&core) { &mut second } else { &mut first };
        list.push(core);
        taken.extend(siblings(core));
    }
    let cores: Vec<usize> = first.into_iter().chain(second).take(count).collect();
    (cores.len() == count).then_some(cores)
}

/// The hardware threads of a core, itself among them where the system says.
fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    fs::read_to_string(path).map_or(Vec::new(), |text| parse_list(text.trim()))
}

/// Puts each thread of a process that computes on a core of its own: the first one, and those named `svertka-1` and so on.
///
/// # Errors
/// Where the system refuses, or does not know how.
pub fn pin(process: u32, cores: &[usize]) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = entry?.path();
        if let (Some(thread), Some(&core)) = (number(&path), cores.get(index(&path))) {
            set(thread, &[core])?;
        }
    }
    Ok(())
}

/// Lets the first thread of a process, and those that it starts from now on, use all of some cores.
///
/// # Errors
/// As [`pin`].
pub fn widen(process: u32, cores: &[usize]) -> io::Result<()> {
    set(process as i32, cores)
}

/// Lets all threads of a process use all of some cores.
///
/// # Errors
/// As [`pin`].
pub fn spread(process: u32, cores: &[usize]) -> io::Result<()> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))?;
    tasks.flatten().filter_map(|task| number(&task.path())).try_for_each(|thread| set(thread, cores))
}

fn number(task: &Path) -> Option<i32> {
    task.file_name()?.to_str()?.parse().ok()
}

/// Which of the threads that compute it is, by its name; those with other names go with the first.
fn index(task: &Path) -> usize {
    let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
    name.trim().strip_prefix("svertka-").and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// 0 is the thread that calls it.
#[cfg(target_os = "linux")]
fn set(thread: i32, cores: &[usize]) -> io::Result<()> {
    use rustix::thread::{CpuSet, Pid, sched_setaffinity};
    let mut mask = CpuSet::new();
    cores.iter().filter(|&&core| core < MAX_CORES).for_each(|&core| mask.set(core));
    Ok(sched_setaffinity(Pid::from_raw(thread), &mask)?)
}

#[cfg(not(target_os = "linux"))]
fn set(_: i32, _: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(parse_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_list("5"), [5]);
        for none in ["", "x", "1-", "3-1", "0-18446744073709551615", "0-99999999"] {
            assert_eq!(parse_list(none), [0; 0], "{none}");
        }
    }

    #[test]
    fn idle_cores_come_first_and_second_threads_of_a_core_last() {
        let busy = |parts: &[f64]| -> Vec<Busy> {
            parts.iter().enumerate().map(|(core, &part)| Busy { core, part }).collect()
        };
        let pairs = |core: usize| vec![core / 2 * 2, core / 2 * 2 + 1];
        let chosen = |count, parts: &[f64]| choose_of(count, &busy(parts), &pairs);
        assert_eq!(chosen(1, &[0.9, 0.1, 0.0, 0.0]), Some(vec![2]));
        assert_eq!(chosen(2, &[0.9, 0.1, 0.0, 0.05]), Some(vec![2, 1]), "3 is the other thread of 2");
        assert_eq!(chosen(4, &[0.9, 0.1, 0.0, 0.05]), Some(vec![2, 1, 3, 0]));
        assert_eq!(chosen(5, &[0.9, 0.1, 0.0, 0.05]), None);
        assert_eq!(choose_of(2, &busy(&[0.5, 0.0, 0.2]), &|_| Vec::new()), Some(vec![1, 2]), "where unknown");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_is_pinned_and_let_go() {
        let all = allowed();
        assert!(!all.is_empty());
        // On a thread of its own, which takes its affinity with it.
        let of_thread = || {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            let list =
                status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_string();
            parse_list(&list)
        };
        let last = *all.last().unwrap();
        let seen = std::thread::spawn(move || {
            set(0, &[last]).unwrap();
            of_thread()
        });
        assert_eq!(seen.join().unwrap(), [last]);
        assert!(set(0, &[]).is_err(), "no core at all");
    }
}
