//! The driver: replays the corpora and mutates them.
//!
//! ```text
//! cargo run -p svertka-fuzz -- [TARGET ...]     all targets if none is named
//! cargo run -p svertka-fuzz -- TARGET FILE ...  these files alone
//! ```
//!
//! `FUZZ_EXECUTIONS` is how often each target runs on mutated inputs (by default as often as CI runs it), `FUZZ_SEED`
//! another seed, `FUZZ_SECONDS` how long each target runs instead. The input of the moment lies in
//! `target/fuzz/TARGET.current`, so that it is there also after an abort, for which a target is stopped that takes over a
//! minute or too much memory. Inputs that made a target panic are kept beside it; the driver then ends with 1.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use svertka_fuzz::memory::Counting;
use svertka_fuzz::mutate::{MAX_LEN, Random, mutate};
use svertka_fuzz::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Far above what any input takes on any machine.
const TOO_LONG: Duration = Duration::from_secs(60);
/// Findings of one target after which it is left.
const ENOUGH: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let target = |name: &String| TARGETS.iter().find(|target| target.name == *name);
    if let Some(unknown) = arguments.first().filter(|first| target(first).is_none()) {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        return fail(&format!("there is no target {unknown}: {}", names.join(", ")));
    }
    let findings: usize = match arguments.split_first() {
        Some((first, files)) if !files.is_empty() && files.iter().all(|file| target(file).is_none()) => {
            let files = files.iter().map(|file| fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}")));
            let mut driver = Driver::new(target(first).expect("checked"));
            files.for_each(|input| driver.run(&input));
            driver.finish()
        }
        None => TARGETS.iter().map(fuzz).sum(),
        Some(_) => arguments.iter().filter_map(target).map(fuzz).sum(),
    };
    if findings > 0 {
        fail(&format!("{findings} inputs made a target fail"));
    }
}

fn fail(message: &str) {
    eprintln!("{message}");
    std::process::exit(1);
}

/// Replays and mutates the inputs of a target; the number of findings.
fn fuzz(target: &'static Target) -> usize {
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "{} has no inputs", target.name);
    let mut driver = Driver::new(target);
    inputs.iter().for_each(|input| driver.run(input));
    let mut random = Random::new(setting("FUZZ_SEED").unwrap_or(1));
    let (start, time) = (Instant::now(), setting("FUZZ_SECONDS").map(Duration::from_secs));
    let executions = if time.is_some() { u64::MAX } else { setting("FUZZ_EXECUTIONS").unwrap_or(target.executions) };
    for _ in 0..executions {
        if driver.findings.len() >= ENOUGH || time.is_some_and(|time| start.elapsed() >= time) {
            break;
        }
        let mut input = inputs[random.below(inputs.len())].clone();
        let other = &inputs[random.below(inputs.len())];
        mutate(&mut input, other, target.dictionary, &mut random);
        driver.run(&input);
    }
    driver.finish()
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Runs one target and keeps what it fails on.
struct Driver {
    target: &'static Target,
    folder: PathBuf,
    executions: usize,
    findings: Vec<PathBuf>,
    /// Tells the watchdog that an execution has begun or ended.
    watchdog: Sender<()>,
}

impl Driver {
    fn new(target: &'static Target) -> Driver {
        let folder = root().join("target/fuzz");
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let (watchdog, beats) = channel();
        std::thread::spawn(move || watch(target.name, &beats));
        Driver { target, folder, executions: 0, findings: Vec::new(), watchdog }
    }

    fn run(&mut self, input: &[u8]) {
        let current = self.folder.join(format!("{}.current", self.target.name));
        fs::write(&current, input).unwrap_or_else(|error| panic!("{}: {error}", current.display()));
        self.executions += 1;
        let run = self.target.run;
        let failed = catch_unwind(|| run(input)).is_err();
        self.watchdog.send(()).expect("the watchdog lives as long as this");
        if failed {
            let path = self.folder.join(format!("{}.{}", self.target.name, self.executions));
            fs::write(&path, input).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            eprintln!("kept as {}", path.display());
            self.findings.push(path);
        }
    }

    fn finish(self) -> usize {
        println!("{}: {} executions, {} findings", self.target.name, self.executions, self.findings.len());
        self.findings.len()
    }
}

/// Ends the process where an execution does not end.
fn watch(target: &str, beats: &Receiver<()>) {
    loop {
        match beats.recv_timeout(TOO_LONG) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("{target}: over a minute for target/fuzz/{target}.current");
                std::process::abort();
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The corpus of a target, and its seeds, in the order of their paths.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name), None, &mut files);
    for seed in target.seeds {
        collect(&root().join(seed), Some(target.extensions), &mut files);
    }
    let contents =
        files.iter().map(|file| fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    contents.filter(|content| content.len() <= MAX_LEN).collect()
}

/// The files of a folder, or a file; those with one of these extensions.
fn collect(path: &Path, extensions: Option<&[&str]>, files: &mut Vec<PathBuf>) {
    if let Ok(entries) = path.read_dir() {
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.iter().for_each(|path| collect(path, extensions, files));
    } else if path.is_file() {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if extensions.is_none_or(|extensions| extensions.contains(&extension)) {
            files.push(path.to_owned());
        }
    }
}
