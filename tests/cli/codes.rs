//! The commands that `svertka help CODE` shows.

use std::path::Path;
use std::process::Command;
use svertka::diagnostic::codes::{self, Examples};

/// The first example is given its code, the second no error, and neither that code; both by a plain shell.
#[test]
fn examples_that_are_commands_are_true() {
    let program = Path::new(env!("CARGO_BIN_EXE_svertka")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut failures = Vec::new();
    let mut known = 0;
    for explained in codes::all() {
        let Examples::Commands([wrong, right]) = explained.examples else { continue };
        let folder = tempfile::tempdir().unwrap();
        let run = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{{ {script}}} 2>&1")]).current_dir(&folder).env("PATH", &path);
            let output = shell.env("NO_COLOR", "1").env("HOME", folder.path()).output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let given = |text: &str| text.contains(&format!("[{}]", explained.code));
        let (_, text) = run(wrong);
        if !given(&text) {
            failures.push(format!("{}: {wrong}\n{text}", explained.code));
        }
        let (done, text) = run(right);
        if !done || given(&text) || text.contains("error[") {
            failures.push(format!("{}: {right}\n{text}", explained.code));
        }
        known += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(known > 10);
}
