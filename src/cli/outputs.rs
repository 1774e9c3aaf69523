//! Files that a command writes beside what it prints.

use super::{Failure, Outcome, print, tell};
use crate::io::write::{check_writable, is_stdout};
use std::path::Path;

/// Asks before the work whether its results can be written, each into a file of its own.
pub fn check_outputs(files: &[&Path]) -> Outcome {
    for (index, path) in files.iter().enumerate() {
        let shared = files[..index].contains(path) && (is_stdout(path) || path.is_file() || !path.exists());
        if shared {
            return Err(Failure::usage(format!("two files cannot both be written to {}", path.display())));
        }
        check_writable(path)?;
    }
    Ok(())
}

/// Prints a text for people: beside standard output where that takes one of the files, which are for programs.
pub fn print_beside(files: &[&Path], text: &str) -> Outcome {
    if !files.iter().any(|path| is_stdout(path)) {
        return print(text);
    }
    tell(text);
    Ok(())
}
