//! The command line; see `svertka --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    svertka::cli::main()
}
