//! Shared libraries, through the system's C compiler.

use super::{AotError, Cpu};
use std::path::Path;
use std::process::{Command, Stdio};
use target_lexicon::Triple;

/// Links an object file into the shared library `file`; works in a temporary directory.
///
/// # Errors
/// Where there is no linker for the CPU's architecture, or it fails.
pub(super) fn shared_library(object: &[u8], file: &str, cpu: &Cpu) -> Result<Vec<u8>, AotError> {
    let linker = linker(cpu);
    let error = |cause: String| AotError::Linker { linker: linker.clone(), cause };
    let directory = tempfile::tempdir().map_err(|e| error(format!("no temporary directory: {e}")))?;
    let (input, output) = (directory.path().join("model.o"), directory.path().join(file));
    std::fs::write(&input, object).map_err(|e| error(format!("cannot write the object file: {e}")))?;
    run(&linker, &input, &output, file).map_err(error)?;
    std::fs::read(&output).map_err(|e| error(format!("cannot read the library it wrote: {e}")))
}

/// Whether there is a linker for the CPU's architecture.
pub(super) fn check(cpu: &Cpu) -> Result<(), AotError> {
    let linker = linker(cpu);
    let found = Command::new(&linker).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.map(drop).map_err(|error| AotError::Linker { linker, cause: error.to_string() })
}

/// The compiler driver by its usual name; that of another architecture carries its prefix.
fn linker(cpu: &Cpu) -> String {
    match cpu.architecture() == Triple::host().architecture {
        true => "cc".to_string(),
        false => format!("{}-linux-gnu-gcc", cpu.architecture()),
    }
}

fn run(linker: &str, input: &Path, output: &Path, soname: &str) -> Result<(), String> {
    let mut command = Command::new(linker);
    // No start files, no libraries: the object needs none, which `-z defs` makes sure of.
    command.args(["-shared", "-nostdlib", "-Wl,-z,defs", "-Wl,-z,noexecstack", "-Wl,--build-id=none"]);
    command.arg(format!("-Wl,-soname,{soname}")).arg("-o").arg(output).arg(input);
    let result = command.output().map_err(|e| e.to_string())?;
    match result.status.success() {
        true => Ok(()),
        false => Err(format!("{}\n{}", result.status, String::from_utf8_lossy(&result.stderr))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_linker_is_an_error() {
        assert!(run("no-such-linker", Path::new("model.o"), Path::new("libmodel.so"), "libmodel.so").is_err());
    }
}
