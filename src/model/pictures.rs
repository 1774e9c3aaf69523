//! From pictures to inputs.

use super::Model;
use crate::error::Error;
use crate::io::images;
use crate::io::npy::{Array, ArrayData};
use crate::io::preprocess::{Input, Layout, prepare};
use crate::tensor::{LengthError, Tensor};
use std::path::Path;

impl Model {
    /// A picture or an array from a file, prepared for an input of the model as its card says; `layout` tells the
    /// meaning of the dimensions of an array of bytes where its shape does not.
    ///
    /// # Errors
    /// Where there is no such input, the file cannot be read, or it does not fit.
    pub fn read_input(&self, input: &str, file: &Path, layout: Option<Layout>) -> Result<Tensor, Error> {
        self.prepare(input, file, Input::read(file, Some(input))?, layout)
    }

    /// As [`Model::read_input`], of the bytes of a PNG or JPEG file, which messages call `name`.
    ///
    /// # Errors
    /// As [`Model::read_input`].
    pub fn decode_input(&self, input: &str, name: &Path, bytes: &[u8]) -> Result<Tensor, Error> {
        self.prepare(input, name, Input::Picture(images::decode(name, bytes)?), None)
    }

    /// As [`Model::read_input`], of pixels of 8 bits a channel, row-major, which messages call `name`.
    ///
    /// # Errors
    /// As [`Model::read_input`], and where there are not as many pixels as the shape says.
    pub fn pixels_input(
        &self,
        input: &str,
        name: &Path,
        shape: &[usize],
        pixels: Vec<u8>,
        layout: Option<Layout>,
    ) -> Result<Tensor, Error> {
        let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if expected != Some(pixels.len()) {
            return Err(LengthError { shape: shape.to_vec(), found: pixels.len() }.into());
        }
        let array = Array { shape: shape.to_vec(), data: ArrayData::U8(pixels) };
        self.prepare(input, name, Input::Array(array), layout)
    }

    fn prepare(&self, input: &str, name: &Path, content: Input, layout: Option<Layout>) -> Result<Tensor, Error> {
        let found = self.inputs().find(|(known, _)| *known == input);
        let (_, ty) = found.ok_or_else(|| self.unknown_input(input))?;
        let preprocessing = self.card().map(|card| card.preprocessing.clone()).unwrap_or_default();
        Ok(prepare(name, content, &preprocessing, &ty.dims, layout)?)
    }

    fn unknown_input(&self, name: &str) -> Error {
        let known: Vec<&str> = self.inputs().map(|(name, _)| name).collect();
        Error::UnknownInput { name: name.to_owned(), known: known.join(", ") }
    }
}
