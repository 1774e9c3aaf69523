//! The library's errors as Python's exceptions.

use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use svertka::diagnostic::{Fix, Help};
use svertka::{Diagnostic, Error, IoError, ModelError, RunError, SessionError, Severity, SourceMap, Span};

/// The module of the classes that are plain Python.
const DATA: &str = "svertka._data";

/// A class of the package.
pub fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(DATA)?.getattr(name)
}

/// The exception that says what an error says: `ModelError` where a model's text or file is at fault, `OSError` where the
/// system refused, `MemoryError` where memory or its limit does not suffice, `ValueError` for all else.
pub fn raised(py: Python<'_>, error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Model(error) | Error::Import { error, .. } => {
            model_error(py, text, &error).unwrap_or_else(|failure| failure)
        }
        Error::Io(IoError::System { path, source, .. }) => match source.raw_os_error() {
            Some(code) => {
                let reason = source.to_string();
                let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
                PyOSError::new_err((code, reason, path))
            }
            None => PyOSError::new_err(text),
        },
        Error::Session(SessionError::Memory { .. } | SessionError::Allocation)
        | Error::Run(RunError::Memory { .. } | RunError::Allocation) => PyMemoryError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

fn model_error(py: Python<'_>, text: String, error: &ModelError) -> PyResult<PyErr> {
    let found = diagnostics(py, &error.diagnostics, &error.sources)?;
    Ok(PyErr::from_value(class(py, "ModelError")?.call1((text, found))?))
}

/// As objects of `svertka.Diagnostic`.
pub fn diagnostics<'py>(
    py: Python<'py>,
    found: &[Diagnostic],
    sources: &SourceMap,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let [span, fix, diagnostic_class] = ["Span", "Fix", "Diagnostic"].map(|name| class(py, name));
    let (span, fix, class) = (span?, fix?, diagnostic_class?);
    let one = |diagnostic: &Diagnostic| {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = |at: Span, text: &str| {
            let (line, column) = sources.line_column(at);
            let (end_line, end_column) = sources.line_column(Span { start: at.end, ..at });
            span.call1((&sources.file(at.file).name, line, column, end_line, end_column, text))
        };
        let spans = diagnostic.labels.iter().map(|label| place(label.span, &label.text));
        let spans = PyTuple::new(py, spans.collect::<PyResult<Vec<_>>>()?)?;
        let change = |change: &Fix| {
            let edits = change.edits.iter().map(|edit| place(edit.span, &edit.text)).collect::<PyResult<Vec<_>>>()?;
            fix.call1((&change.title, PyTuple::new(py, edits)?, change.applicability.name()))
        };
        let way_out = |help: &Help| match help.fixes[..] {
            [] => Ok(vec![fix.call1((&help.text, PyTuple::empty(py)))?]),
            _ => help.fixes.iter().map(change).collect::<PyResult<Vec<_>>>(),
        };
        let fixes = diagnostic.help.iter().map(way_out).collect::<PyResult<Vec<_>>>()?.concat();
        let (notes, fixes) = (PyTuple::new(py, &diagnostic.notes)?, PyTuple::new(py, fixes)?);
        let text = svertka::diagnostic::render(std::slice::from_ref(diagnostic), sources, false);
        class.call1((severity, diagnostic.code, &diagnostic.message, spans, notes, fixes, text))
    };
    found.iter().map(one).collect()
}
