//! A folder for one test of the command line, and the binary beside it.

use assert_cmd::Command;
use std::path::Path;

pub struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Lab {
        Lab { folder: tempfile::tempdir().unwrap() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs it with a cache of its own, checks the exit code, and gives standard output and standard error.
    pub fn run(&self, args: &[&str], code: i32) -> (String, String) {
        let mut command = Command::cargo_bin("svertka").unwrap();
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        let output = command.args(args).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "svertka {args:?}\n{out}\n{err}");
        (out, err)
    }
}
