//! From files, bytes and pixels to inputs.

use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::{Path, PathBuf};
use svertka::{Error, Layout, Model, Tensor};

/// What a picture comes as.
pub enum Picture {
    File(PathBuf),
    Encoded(Vec<u8>),
    Pixels { shape: Vec<usize>, data: Vec<u8> },
}

impl Picture {
    pub fn of(given: &Bound<'_, PyAny>) -> PyResult<Picture> {
        if let Ok(bytes) = given.cast::<PyBytes>() {
            return Ok(Picture::Encoded(bytes.as_bytes().to_vec()));
        }
        if let Ok(pixels) = given.cast::<PyArrayDyn<u8>>() {
            let data = pixels.try_readonly()?;
            return Ok(Picture::Pixels {
                shape: pixels.shape().to_vec(),
                data: data.as_array().iter().copied().collect(),
            });
        }
        given.extract().map(Picture::File).map_err(|_| {
            let name = given.get_type();
            PyTypeError::new_err(format!(
                "a picture is a path, bytes of a PNG or JPEG file, or an array of uint8: {name}"
            ))
        })
    }

    /// Prepared for an input of the model; `index` is its place, for messages.
    pub fn prepare(self, model: &Model, input: &str, index: usize, layout: Option<Layout>) -> Result<Tensor, Error> {
        let name = format!("picture {index}");
        match self {
            Picture::File(path) => model.read_input(input, &path, layout),
            Picture::Encoded(bytes) => model.decode_input(input, Path::new(&name), &bytes),
            Picture::Pixels { shape, data } => model.pixels_input(input, Path::new(&name), &shape, data, layout),
        }
    }
}

/// The layout of this name, such as `NHWC`.
pub fn layout(name: &str) -> PyResult<Layout> {
    let known = || Layout::ALL.map(Layout::name).join(", ");
    Layout::ALL
        .into_iter()
        .find(|layout| layout.name() == name)
        .ok_or_else(|| pyo3::exceptions::PyValueError::new_err(format!("no layout {name:?}; there are {}", known())))
}
