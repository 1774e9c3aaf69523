//! Tells the program from which commit it was built; `svertka bench` writes it beside what it measured. Tells the tests
//! whether the data are there that are too large to be committed, and which programs: those that need others are ignored.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    find_test_data();
    find_tools();
    write_zoo();
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

/// Sets `test_data` where `io::testdata` finds something: tests that need it are ignored otherwise, and counted so.
/// Where the folder is added later, a change of this file or of `SVERTKA_DATA` makes them run.
fn find_test_data() {
    println!("cargo::rustc-check-cfg=cfg(test_data)");
    println!("cargo::rerun-if-env-changed=SVERTKA_DATA");
    let folder = std::env::var("SVERTKA_DATA");
    let folder = folder.unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    if Path::new(&folder).is_dir() {
        println!("cargo::rustc-cfg=test_data");
        println!("cargo::rerun-if-changed={folder}");
    }
}

/// Writes the table of `model::zoo`: the model files of models/, their cards, and files of labels, each with its text.
fn write_zoo() {
    // That of this build, and not of the one in which this script was compiled: target folders are moved.
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&root).join("models");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names: Vec<String> = Vec::new();
    for part in ["", "labels/"] {
        let entries = std::fs::read_dir(folder.join(part)).expect("the folder of models");
        let entries = entries.map(|entry| format!("{part}{}", entry.expect("an entry").file_name().to_string_lossy()));
        names.extend(entries.filter(|name| [".cnn", ".yaml", ".txt"].iter().any(|end| name.ends_with(end))));
    }
    names.sort();
    let line = |name: &String| format!("    ({name:?}, include_str!({:?})),\n", folder.join(name));
    let table = format!("const FILES: &[(&str, &str)] = &[\n{}];\n", names.iter().map(line).collect::<String>());
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("zoo.rs"), table).expect("the output folder can be written");
}

/// What tests need beside Rust, and commands that succeed where it is there.
const TOOLS: &[(&str, &str)] = &[
    ("cc", "cc --version"),
    ("nm", "nm --version"),
    ("objdump", "objdump --version"),
    ("python3", "python3 --version"),
    ("numpy", "python3 -c 'import numpy'"),
    ("aarch64", "aarch64-linux-gnu-gcc --version && qemu-aarch64 --version"),
    ("qemu-x86_64", "qemu-x86_64 --version"),
    ("chromium", "chromium --version"),
    ("nvim", "nvim --version"),
    ("script", "script -qec true /dev/null"),
    ("mkfifo", "command -v mkfifo"),
    ("full", "test -w /dev/full"),
    ("superuser", "test $(id -u) = 0"),
    ("clear_refs", "echo 5 > /proc/self/clear_refs"),
    ("unshare", "unshare --user --map-root-user --mount mount -t tmpfs tmpfs /tmp"),
    ("avx2", "grep -qw avx2 /proc/cpuinfo"),
];

/// Sets `tool = "NAME"` for each of [`TOOLS`] that is there. Where one is added later, a change of this file makes its
/// tests run.
fn find_tools() {
    let names: Vec<String> = TOOLS.iter().map(|(name, _)| format!("{name:?}")).collect();
    println!("cargo::rustc-check-cfg=cfg(tool, values({}))", names.join(", "));
    for (name, command) in TOOLS {
        let output = Command::new("sh").args(["-c", command]).output();
        if output.is_ok_and(|output| output.status.success()) {
            println!("cargo::rustc-cfg=tool={name:?}");
        }
    }
}

/// What git answers; `None` where there is no git or no repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}
