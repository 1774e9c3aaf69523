//! The part of the Python package that is not Python: a thin layer over the library's public names.
//!
//! | file | concern |
//! | --- | --- |
//! | `core` | the class that `svertka.Model` extends: opening, pickling, and what is said of a model |
//! | `runner` | a compiled network, sessions for threads that call it, calls |
//! | `imported` | ONNX models in memory |
//! | `arrays` | memory of arrays, in and out |
//! | `pictures` | files, bytes and pixels to inputs |
//! | `errors` | the library's errors as Python's exceptions, diagnostics as data |

mod arrays;
mod core;
mod errors;
mod imported;
mod pictures;
mod runner;

use pyo3::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

/// Every error of a model file, else its warnings.
#[pyfunction]
fn check<'py>(py: Python<'py>, path: PathBuf, allow: Vec<String>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let report = py.detach(|| svertka::check(path, &allow)).map_err(|error| errors::raised(py, error))?;
    errors::diagnostics(py, &report.diagnostics, &report.sources)
}

/// The command line with these words, the program's name first; gives the exit code.
#[pyfunction]
fn main(py: Python<'_>, words: Vec<OsString>) -> u8 {
    py.detach(|| svertka::cli::run_from(&words))
}

/// Sessions are kept under the interpreter's lock: see `runner`.
#[pymodule(gil_used = true)]
fn _svertka(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<core::Core>()?;
    module.add_class::<imported::Imported>()?;
    module.add_function(wrap_pyfunction!(check, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)
}
