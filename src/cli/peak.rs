//! `svertka peak`: what a core of this machine can do at most.

use super::progress::Progress;
use super::{Failure, Outcome, print, tell};
use crate::bench::machine;
use crate::bench::peak::Peak;
use crate::io::IoError;
use crate::io::text;
use crate::io::write::{cache_folder, create_folder, write_atomically};
use crate::machine::{Machine, Topology};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Measure again instead of showing what was measured before
    #[arg(long)]
    fresh: bool,
}

pub fn run(args: &Args) -> Outcome {
    let peak = find(args.fresh)?;
    print(&format!("{}\n{}", of_machine(), peak.to_text(&Machine::here())))
}

/// `machine znver3, 16 CPUs, 2 a core`
fn of_machine() -> String {
    let cpus = Topology::here().map_or(String::new(), |Topology { cpus, threads_per_core }| {
        format!(", {cpus} CPUs, {threads_per_core} a core")
    });
    format!("machine {}{cpus}", Machine::here().name)
}

/// The peaks that were measured before, unless `fresh`, else measured now and kept for the next time.
pub fn find(fresh: bool) -> Result<Peak, Failure> {
    let path = cache_file("peak");
    if let Some(peak) = path.as_deref().filter(|_| !fresh).and_then(kept) {
        return Ok(peak);
    }
    let mut progress = Progress::new();
    let peak = Peak::measure(&mut |what| progress.show(&format!("measuring peak: {what}"))).map_err(Failure::input)?;
    drop(progress);
    if let Some(Err(error)) = path.map(|path| keep(&path, &peak)) {
        tell(&format!("note: the peak is not kept for the next time: {error}"));
    }
    Ok(peak)
}

/// Where to keep what was measured on this kind of CPU, in the user's folder for caches; `None` where there is no home.
pub fn cache_file(what: &str) -> Option<PathBuf> {
    Some(cache_folder()?.join(format!("{what}-{}.json", machine::cpu_id())))
}

/// The content of the cache, if it is of this machine.
fn kept(path: &Path) -> Option<Peak> {
    if !path.exists() {
        return None;
    }
    let peak = text::read(path).ok().and_then(|text| serde_json::from_str::<Peak>(&text).ok()).filter(Peak::fits_here);
    if peak.is_none() {
        tell(&format!("note: {}: not the peak of this machine; measuring anew", path.display()));
    }
    peak
}

fn keep(path: &Path, peak: &Peak) -> Result<(), IoError> {
    let folder = path.parent().expect("the path ends in svertka/peak-*.json");
    create_folder(folder)?;
    let json = serde_json::to_string_pretty(peak).expect("strings and finite numbers are JSON");
    write_atomically(path, |out| out.write_all(json.as_bytes()))
}
