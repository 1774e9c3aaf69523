//! Memory of arrays, taken without a copy.
//!
//! An array is taken as it lies in memory, or refused with the way out: nothing is copied or converted in silence. Of
//! other objects than NumPy's arrays, memory is taken by DLPack or by what their `__array__` gives; the latter may be a
//! copy, as the object decides, and is therefore not taken for outputs.

use numpy::npyffi::{_PyArray_GET_ITEM_DATA, NPY_ARRAY_WRITEABLE};
use numpy::{IxDyn, PyArray, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::fmt::Arguments;
use std::ops::Range;

/// An array of f32 whose values lie in C order, aligned.
pub struct Values<'py>(Bound<'py, PyArrayDyn<f32>>);

impl<'py> Values<'py> {
    /// What is given for an input or output, as messages call it by `what`.
    pub fn of(given: &Bound<'py, PyAny>, what: Arguments<'_>, writes: bool) -> PyResult<Values<'py>> {
        if let Ok(array) = given.cast::<PyArrayDyn<f32>>() {
            return Values::check(array.clone(), what, writes);
        }
        if let Ok(array) = given.cast::<PyUntypedArray>() {
            return Err(wrong_type(&array.dtype().to_string(), what, writes));
        }
        let numpy = given.py().import("numpy")?;
        let shared = if given.hasattr("__dlpack__")? {
            numpy.call_method1("from_dlpack", (given,))
        } else if !writes && given.hasattr("__array__")? {
            numpy.call_method1("asarray", (given,))
        } else {
            let name = given.get_type().name()?;
            let protocols = if writes { "`__dlpack__`" } else { "`__dlpack__` or `__array__`" };
            let message = format!("{what}: {name} is neither an array of NumPy nor has {protocols}");
            return Err(PyTypeError::new_err(message));
        };
        let shared = shared.map_err(|cause| {
            let error = PyTypeError::new_err(format!("{what}: its memory cannot be shared: {cause}"));
            error.set_cause(given.py(), Some(cause));
            error
        })?;
        let array = shared.cast::<PyUntypedArray>()?;
        match array.cast::<PyArrayDyn<f32>>() {
            Ok(array) => Values::check(array.clone(), what, writes),
            Err(_) => Err(wrong_type(&array.dtype().to_string(), what, writes)),
        }
    }

    fn check(array: Bound<'py, PyArrayDyn<f32>>, what: Arguments<'_>, writes: bool) -> PyResult<Values<'py>> {
        if !array.is_c_contiguous() || !array.data().is_aligned() {
            let way_out = if writes { "" } else { "; numpy.ascontiguousarray(x) makes a copy that is" };
            let message = format!("{what}: its values do not lie in C order, without gaps and aligned{way_out}");
            return Err(PyValueError::new_err(message));
        }
        // SAFETY: the pointer is that of a live array, and the interpreter is attached.
        let flags = unsafe { (*_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags };
        if writes && flags & NPY_ARRAY_WRITEABLE == 0 {
            return Err(PyValueError::new_err(format!("{what}: it is read-only")));
        }
        Ok(Values(array))
    }

    /// A new array of this shape, whose values are not set.
    ///
    /// # Safety
    /// All of it is written to before anything reads it.
    pub unsafe fn unset(py: Python<'py>, shape: &[usize]) -> Values<'py> {
        // SAFETY: f32 holds no Python objects; that values are set is the caller's promise.
        Values(unsafe { PyArray::new(py, IxDyn(shape), false) })
    }

    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// Where the values begin; they are there as long as the array is, and nobody resizes it.
    pub fn address(&self) -> *mut f32 {
        self.0.data()
    }

    /// The addresses of all values, in bytes.
    pub fn range(&self) -> Range<usize> {
        let start = self.address().addr();
        start..start + self.0.len() * size_of::<f32>()
    }

    pub fn into_array(self) -> Bound<'py, PyArrayDyn<f32>> {
        self.0
    }
}

fn wrong_type(found: &str, what: Arguments<'_>, writes: bool) -> PyErr {
    let way_out = match (writes, found) {
        (true, _) => "",
        (false, "uint8") => "; pixels go through `preprocess`",
        (false, _) => "; x.astype(\"float32\") makes a copy that is",
    };
    PyTypeError::new_err(format!("{what}: its values are {found}, not float32{way_out}"))
}
