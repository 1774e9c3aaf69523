//! Files: model sources, weights, arrays, pictures, model cards, and what a network is fed with.
//!
//! A file is input from strangers: its size and everything that it claims about itself is checked before memory
//! is taken for it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

pub mod bind;
pub mod card;
mod foreign;
pub mod images;
mod naming;
pub mod npy;
pub mod preprocess;
mod pytorch;
mod safetensors;
mod sharded;
#[doc(hidden)]
pub mod testdata;
pub mod text;
pub mod weights;
pub mod write;
mod zip;

/// Why a file could not be read, used or written. Every message begins with the path.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IoError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    System { path: PathBuf, action: &'static str, source: io::Error },
    /// A directory, a pipe or a device: its size is not known beforehand.
    #[error("{}: not a regular file", path.display())]
    NotRegular { path: PathBuf },
    #[error("{}: {what} is {found} {unit}, the limit is {limit}", path.display())]
    TooLarge { path: PathBuf, what: &'static str, unit: &'static str, found: u64, limit: u64 },
    #[error("{}: not UTF-8 at byte {offset}", path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    /// The content contradicts the format or itself.
    #[error("{}: not a valid {format} file: {reason}", path.display())]
    Malformed { path: PathBuf, format: &'static str, reason: String },
    /// A valid file with content that svertka does not take.
    #[error("{}: {reason}", path.display())]
    Unsupported { path: PathBuf, reason: String },
    /// The file holds nothing under this name.
    #[error("{}: no {what} {name:?}", path.display())]
    Missing { path: PathBuf, what: &'static str, name: String },
    /// Lines and columns count from 1.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Card { path: PathBuf, line: usize, column: usize, message: String },
    /// A valid picture or array that does not fit the input of the model.
    #[error("{}: {reason}", path.display())]
    Input { path: PathBuf, reason: String },
}

impl IoError {
    fn system(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> IoError {
        move |source| IoError::System { path: path.to_owned(), action, source }
    }

    fn malformed(path: &Path, format: &'static str, reason: impl ToString) -> IoError {
        IoError::Malformed { path: path.to_owned(), format, reason: reason.to_string() }
    }

    fn unsupported(path: &Path, reason: impl Into<String>) -> IoError {
        IoError::Unsupported { path: path.to_owned(), reason: reason.into() }
    }

    fn input(path: &Path, reason: impl Into<String>) -> IoError {
        IoError::Input { path: path.to_owned(), reason: reason.into() }
    }
}

/// Opens a regular file and gives its length in bytes.
fn open(path: &Path) -> Result<(File, u64), IoError> {
    // Asked before opening, since opening a pipe that nobody writes to waits forever.
    if !fs::metadata(path).map_err(IoError::system(path, "open"))?.is_file() {
        return Err(IoError::NotRegular { path: path.to_owned() });
    }
    let file = File::open(path).map_err(IoError::system(path, "open"))?;
    let length = file.metadata().map_err(IoError::system(path, "open"))?.len();
    Ok((file, length))
}

/// Decodes consecutive `N`-byte elements; bytes behind the last whole one are ignored.
fn decode<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| element(chunk)).collect()
}

/// Elements in row-major order of `shape` from where `strides` (in elements, one for each dimension) put them.
///
/// # Panics
/// If one of them lies behind the end of `values`.
fn gather<T: Copy>(values: &[T], shape: &[usize], strides: &[usize]) -> Vec<T> {
    let mut index = vec![0; shape.len()];
    let mut offset = 0;
    let mut next = || {
        let value = values[offset];
        // Counts up like an odometer, the last axis first.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
        value
    };
    (0..shape.iter().product()).map(|_| next()).collect()
}

/// The first bytes of a file in hexadecimal and as text, what is not printable escaped.
fn first_bytes(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(8)];
    if start.is_empty() {
        return "nothing: it is empty".to_owned();
    }
    let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {} '{}'", hex.join(" "), start.escape_ascii())
}
