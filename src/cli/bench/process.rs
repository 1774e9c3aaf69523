//! The process that a contender runs in: this program again, with the same words, which does as it is told on standard
//! input and answers on standard output, a line of JSON each.

use super::contender::{Contender, Facts, Seen, Wish};
use super::{Args, Rival};
use crate::bench::machine;
use crate::bench::measure::Turn;
use crate::cli::terminal::{print_raw, tell_raw};
use crate::cli::{Failure, Outcome};
use crate::model::split_variant;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What is asked for, after the first answer, which is [`Facts`].
#[derive(Serialize, Deserialize)]
enum Request {
    /// The answer is the seconds of each counted run.
    Turn(Turn),
    /// The answer is what its core did in multiply-adds beside its turns, if that can be measured.
    Clock,
    /// The answer is [`Seen`], if the steps can be seen.
    Profile(Box<Wish>),
}

/// Answers until nothing more is asked for.
pub fn serve(args: &Args, rival: &Rival) -> Outcome {
    let tuned = args.setup.engine.tuned();
    let mut contender = Contender::new(args, &tuned, rival)?;
    answer(&contender.facts)?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::input(format!("standard input: cannot read: {error}")))?;
        match serde_json::from_str(&line).map_err(|error| Failure::input(format!("standard input: {error}")))? {
            Request::Turn(turn) => answer(&contender.take(&turn))?,
            Request::Clock => answer(&contender.clock_gflops())?,
            Request::Profile(wish) => answer(&contender.profile(&wish)?)?,
        }
    }
    Ok(())
}

fn answer(answer: &impl Serialize) -> Outcome {
    print_raw(&serde_json::to_string(answer).expect("strings and finite numbers are JSON"))
}

/// How to start this program again. `None` where this process is another program, which uses svertka as a library, or where
/// an input can be read once only.
pub fn words_again(args: &Args, words: &[OsString], rival: &Rival) -> Option<Vec<OsString>> {
    let own: Vec<OsString> = std::env::args_os().collect();
    let verb = words.iter().skip(1).position(|word| word == "bench")? + 1;
    let inputs = [Some(&*split_variant(&rival.model).0), args.setup.weights.weights.as_deref()];
    if !own.ends_with(words.get(1..)?) || inputs.into_iter().flatten().any(is_read_once) {
        return None;
    }
    let json = serde_json::to_string(rival).ok()?;
    // Directly behind the verb: behind a `--` it would be a model.
    let at = own.len() - words.len() + verb + 1;
    let option: [OsString; 2] = ["--contender".into(), json.into()];
    Some(own[1..at].iter().cloned().chain(option).chain(own[at..].iter().cloned()).collect())
}

/// Standard input, whatever its name is, and pipes that have a name.
fn is_read_once(path: &Path) -> bool {
    let of_process = path.starts_with("/dev") || path.starts_with("/proc");
    path.as_os_str() == OsStr::new("-") || of_process || (path.exists() && !path.is_file() && !path.is_dir())
}

/// A contender, ready to be measured.
pub enum Process {
    /// In this process.
    Own(Box<Contender>),
    Other(Box<Other>),
}

/// A contender in a process of its own, which ends with this.
pub struct Other {
    facts: Facts,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it says beside its answers, where nobody is to see it unless it fails.
    messages: Option<File>,
}

impl Process {
    /// Starts it and waits until it is ready. `aloud`: what it has to say is shown.
    pub fn start(args: &Args, words: &[OsString], rival: &Rival, aloud: bool) -> Result<Process, Failure> {
        match words_again(args, words, rival) {
            Some(words) => Ok(Process::Other(Box::new(Other::start(&words, aloud)?))),
            None => {
                let contender = Contender::new(args, &args.setup.engine.tuned(), rival)?;
                Ok(Process::Own(Box::new(contender)))
            }
        }
    }

    /// What is known of the network.
    pub fn facts(&self) -> &Facts {
        match self {
            Process::Own(contender) => &contender.facts,
            Process::Other(other) => &other.facts,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        match self {
            Process::Own(_) => std::process::id(),
            Process::Other(other) => other.child.id(),
        }
    }

    /// The seconds of each counted run.
    pub fn take(&mut self, turn: &Turn) -> Result<Vec<f64>, Failure> {
        match self {
            Process::Own(contender) => Ok(contender.take(turn)),
            Process::Other(other) => other.ask(&Request::Turn(*turn)),
        }
    }

    /// See [`clock_gflops`].
    pub fn clock_gflops(&mut self) -> Result<Option<f64>, Failure> {
        match self {
            Process::Own(contender) => Ok(contender.clock_gflops()),
            Process::Other(other) => other.ask(&Request::Clock),
        }
    }

    /// Measures the steps; `None` where they cannot be seen.
    pub fn profile(&mut self, wish: &Wish) -> Result<Option<Seen>, Failure> {
        match self {
            Process::Own(contender) => contender.profile(wish),
            Process::Other(other) => other.ask(&Request::Profile(Box::new(wish.clone()))),
        }
    }

    /// The most memory that it has occupied, in bytes; 0 where unknown.
    pub fn peak_rss(&self) -> u64 {
        machine::peak_rss_of(self.id())
    }
}

impl Other {
    fn start(words: &[OsString], aloud: bool) -> Result<Other, Failure> {
        let failed = |error: std::io::Error| Failure::input(format!("cannot start a process to measure in: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let messages = if aloud { None } else { Some(tempfile::tempfile().map_err(failed)?) };
        let silent = messages.as_ref().map(File::try_clone).transpose().map_err(failed)?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(silent.map_or_else(Stdio::inherit, Stdio::from))
            .spawn()
            .map_err(failed)?;
        let requests = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
        match read(&mut answers) {
            Some(facts) => Ok(Other { facts, child, requests, answers, messages }),
            None => Err(ended(&mut child, messages)),
        }
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Failure> {
        let line = serde_json::to_string(request).expect("strings and finite numbers are JSON") + "\n";
        let sent = self.requests.as_mut().map(|requests| requests.write_all(line.as_bytes()));
        let answer = sent.and_then(Result::ok).and_then(|()| read(&mut self.answers));
        answer.ok_or_else(|| ended(&mut self.child, self.messages.take()))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It ends when nothing more can be asked for.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

fn read<T: DeserializeOwned>(answers: &mut impl BufRead) -> Option<T> {
    let mut line = String::new();
    answers.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Why a process ended that was to answer: it has said so itself, or was ended.
fn ended(child: &mut Child, messages: Option<File>) -> Failure {
    // One that has answered with something else still waits.
    let _ = child.kill();
    let status = child.wait();
    let mut text = String::new();
    if let Some(mut messages) = messages {
        let _ = messages.rewind().and_then(|()| messages.read_to_string(&mut text));
        tell_raw(&text);
    }
    match status.as_ref().map(|status| status.code()) {
        Ok(Some(1)) => Failure::Input(String::new()),
        Ok(Some(2)) => Failure::Usage(String::new()),
        Ok(Some(_)) | Err(_) => Failure::input("a process that was measured met a defect"),
        Ok(None) => Failure::input(
            "a process that was measured was ended by the system, as it does where memory is short; a smaller batch needs less",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a shell is said to have ended that ends with this command.
    #[cfg(unix)]
    fn why(command: &str) -> Failure {
        let mut child = Command::new("sh").args(["-c", command]).stdout(Stdio::piped()).spawn().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        assert!(read::<Facts>(&mut answers).is_none(), "no answer");
        ended(&mut child, None)
    }

    #[test]
    #[cfg(unix)]
    fn who_was_ended_is_told_from_who_has_said_why() {
        assert!(matches!(why("exit 1"), Failure::Input(text) if text.is_empty()));
        assert!(matches!(why("exit 2"), Failure::Usage(text) if text.is_empty()));
        assert!(matches!(why("exit 3"), Failure::Input(text) if text.contains("a defect")));
        assert!(matches!(why("kill -9 $$"), Failure::Input(text) if text.contains("where memory is short")));
    }

    #[test]
    fn standard_input_has_several_names() {
        // Also where a file is behind it, or none.
        for name in ["-", "/dev/stdin", "/dev/fd/99", "/proc/self/fd/99"] {
            assert!(is_read_once(Path::new(name)), "{name}");
        }
        assert!(!is_read_once(Path::new("Cargo.toml")) && !is_read_once(Path::new("no such file")));
    }
}
