//! ONNX models in memory, whose tensors are arrays of the caller's.

use crate::errors::raised;
use numpy::{PyArray1, PyArrayMethods, PyUntypedArrayMethods, ToPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use svertka::{Model, ModelOptions, SharedBytes};

/// Bytes of an array, which is held.
struct Held {
    _array: Py<PyArray1<u8>>,
    start: *const u8,
    length: usize,
}

// SAFETY: the array is only kept; its bytes are read, by any thread.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the array holds that many bytes there as long as it lives, and it lives as long as `self`. As everywhere
        // in this package, nobody may write to arrays or take their memory away while they are read.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Held {
    fn new(name: &str, array: Bound<'_, PyArray1<u8>>) -> PyResult<Held> {
        if !array.is_c_contiguous() || array.len() == 0 {
            return Err(PyValueError::new_err(format!("tensor `{name}`: its bytes do not lie behind each other")));
        }
        Ok(Held { start: array.data().cast_const(), length: array.len(), _array: array.unbind() })
    }
}

/// Name, sizes, and values.
type NamedWeight<'py> = (String, Bound<'py, PyTuple>, Bound<'py, PyAny>);

/// A network that was read from an ONNX model.
#[pyclass(frozen, module = "svertka._svertka")]
pub struct Imported {
    model: Model,
    /// Names of tensors by where their bytes begin.
    by_address: HashMap<usize, String>,
}

#[pymethods]
impl Imported {
    /// `tensors` has the bytes of those that the model says lie in files of these names.
    #[new]
    fn new(
        py: Python<'_>,
        name: &str,
        file: Vec<u8>,
        tensors: HashMap<String, Bound<'_, PyArray1<u8>>>,
    ) -> PyResult<Imported> {
        let held = tensors.into_iter().map(|(name, array)| {
            let held = Held::new(&name, array)?;
            Ok((name, held))
        });
        let held = held.collect::<PyResult<Vec<(String, Held)>>>()?;
        let by_address = held.iter().map(|(name, held)| (held.start.addr(), name.clone())).collect();
        let shared = |(name, held)| (name, Arc::new(held) as SharedBytes);
        let shared: HashMap<String, SharedBytes> = held.into_iter().map(shared).collect();
        let read =
            || ModelOptions::default().read_onnx(name, Arc::new(file), &mut |location| shared.get(location).cloned());
        let model = py.detach(read).map_err(|error| raised(py, error))?;
        Ok(Imported { model, by_address })
    }

    #[getter]
    fn text(&self) -> &str {
        &self.model.sources().files()[0].text
    }

    #[getter]
    fn remarks(&self) -> Vec<String> {
        self.model.remarks().to_vec()
    }

    #[getter]
    fn inputs(&self) -> Vec<&str> {
        self.model.inputs().map(|(name, _)| name).collect()
    }

    #[getter]
    fn outputs(&self) -> Vec<&str> {
        self.model.outputs().map(|(name, _)| name).collect()
    }

    /// Name, sizes, and values of each weight: the name of the tensor that is them, or an array.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Vec<NamedWeight<'py>>> {
        let weight = |(name, dims, values): (&str, &[usize], Cow<'_, [f32]>)| {
            let tensor = match &values {
                Cow::Borrowed(values) => self.by_address.get(&values.as_ptr().addr()),
                Cow::Owned(_) => None,
            };
            let values = match tensor {
                Some(tensor) => tensor.into_pyobject(py)?.into_any(),
                None => values.to_pyarray(py).reshape(dims)?.into_any(),
            };
            Ok((name.to_owned(), PyTuple::new(py, dims)?, values))
        };
        self.model.own_weights().map(weight).collect()
    }

    /// Writes the text, the weights and a card; gives the text's path.
    fn save(&self, py: Python<'_>, folder: PathBuf, name: &str) -> PyResult<PathBuf> {
        py.detach(|| self.model.save(folder, name)).map_err(|error| raised(py, error))
    }
}
