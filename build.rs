//! Tells the program from which commit it was built; `svertka bench` writes it beside what it measured.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A debug build is not what anybody measures, and shall not be built anew for every commit.
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    println!("cargo::rerun-if-changed=src");
    if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    if let Some(commit) = git(&["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"]) {
        println!("cargo::rustc-env=SVERTKA_COMMIT={commit}");
    }
}

/// What git answers; `None` where there is no git or no repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}
