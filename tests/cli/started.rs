//! The commands of `models/getting-started.md`, one after the other.

use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../models/getting-started.md");

/// A command, and what is printed.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for block in PAGE.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command, Vec::new())),
                (None, Some((_, printed))) => printed.push(line),
                (None, None) => panic!("{line} is printed by nothing"),
            }
        }
    }
    commands
}

/// Whether lines are what was printed; `...` stands for any others.
fn is_printed(expected: &[&str], printed: &[&str]) -> bool {
    match (expected, printed) {
        (["...", rest @ ..], _) => (0..=printed.len()).any(|skipped| is_printed(rest, &printed[skipped..])),
        ([first, rest @ ..], [line, lines @ ..]) => line.starts_with(first) && is_printed(rest, lines),
        (expected, printed) => expected.is_empty() && printed.is_empty(),
    }
}

#[test]
fn the_page_for_beginners_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    std::os::unix::fs::symlink(models, folder.path().join("models")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_svertka")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let commands = commands();
    assert!(commands.len() > 12);
    for (command, expected) in commands {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} 2>&1")]).current_dir(&folder).env("PATH", &path);
        let output = shell.env("NO_COLOR", "1").env("HOME", folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        assert!(is_printed(&expected, &lines), "{command} prints\n{text}\nand not\n{}", expected.join("\n"));
        assert_eq!(output.status.success(), !text.contains("error["), "{command}\n{text}");
    }
}
