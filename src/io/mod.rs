//! Files: model sources, weights, arrays, pictures, model cards, and what a network is fed with.
//!
//! A file is input from strangers: its size and everything that it claims about itself is checked before memory
//! is taken for it.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

#[cfg_attr(not(internals), doc(hidden))]
pub mod bind;
pub mod card;
mod foreign;
#[cfg(feature = "pictures")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod images;
mod naming;
#[cfg_attr(not(internals), doc(hidden))]
pub mod npy;
#[cfg_attr(not(internals), doc(hidden))]
pub mod onnx;
#[cfg(feature = "pictures")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod preprocess;
mod pytorch;
#[cfg(feature = "pictures")]
mod resize;
mod safetensors;
mod sharded;
#[doc(hidden)]
pub mod testdata;
#[cfg_attr(not(internals), doc(hidden))]
pub mod text;
#[cfg_attr(not(internals), doc(hidden))]
pub mod weights;
#[cfg_attr(not(internals), doc(hidden))]
pub mod write;
mod zip;

/// Why a file could not be read, used or written. Every message begins with the path.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IoError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// A directory or a device.
    #[error("{}: not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// More than is read.
    #[error("{}: {what} is {found} {unit}, the limit is {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: &'static str,
        /// What is counted.
        unit: &'static str,
        /// How many there are.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A text in another encoding.
    #[error("{}: not UTF-8 at byte {offset}", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first byte that is none of UTF-8.
        offset: usize,
    },
    /// The content contradicts the format or itself.
    #[error("{}: not a valid {format} file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        format: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// A valid file with content that svertka does not take.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not taken.
        reason: String,
    },
    /// Which of the dictionaries of tensors in it is meant?
    #[error("{}: {reason}", path.display())]
    Dictionary {
        /// The file.
        path: PathBuf,
        /// Those that there are.
        reason: String,
    },
    /// The file holds nothing under this name.
    #[error("{}: no {what} {name:?}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A model card that is none.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A valid picture or array that does not fit the input of the model.
    #[error("{}: {reason}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// Why it does not.
        reason: String,
    },
}

impl IoError {
    pub(crate) fn system(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> IoError {
        move |source| IoError::System { path: path.to_owned(), action, source }
    }

    fn malformed(path: &Path, format: &'static str, reason: impl ToString) -> IoError {
        IoError::Malformed { path: path.to_owned(), format, reason: reason.to_string() }
    }

    pub(crate) fn unsupported(path: &Path, reason: impl Into<String>) -> IoError {
        IoError::Unsupported { path: path.to_owned(), reason: reason.into() }
    }

    #[cfg(feature = "pictures")]
    fn input(path: &Path, reason: impl Into<String>) -> IoError {
        IoError::Input { path: path.to_owned(), reason: reason.into() }
    }
}

/// The path that stands for standard input where a file is read, and for standard output where one is written.
pub const STREAM: &str = "-";

/// The longest content of a pipe that is read: 4 GiB.
const MAX_PIPE_BYTES: u64 = 4 << 30;

/// Opens a file that can be read from any place, and gives its length in bytes. What comes through a pipe is first
/// copied to a file without a name.
fn open(path: &Path) -> Result<(File, u64), IoError> {
    if let Some(pipe) = open_pipe(path)? {
        return copied(path, pipe, MAX_PIPE_BYTES);
    }
    // Asked before opening, since opening a device may do something.
    if !fs::metadata(path).map_err(IoError::system(path, "open"))?.is_file() {
        return Err(IoError::NotRegular { path: path.to_owned() });
    }
    let file = File::open(path).map_err(IoError::system(path, "open"))?;
    let length = file.metadata().map_err(IoError::system(path, "open"))?.len();
    Ok((file, length))
}

/// Standard input for [`STREAM`], or the pipe at this path; `None` for all other files.
fn open_pipe(path: &Path) -> Result<Option<Box<dyn Read>>, IoError> {
    static STDIN_TAKEN: AtomicBool = AtomicBool::new(false);
    if path == Path::new(STREAM) {
        return match STDIN_TAKEN.swap(true, Ordering::Relaxed) {
            false => Ok(Some(Box::new(io::stdin()))),
            true => Err(IoError::unsupported(path, "standard input can be read once only")),
        };
    }
    if !fs::metadata(path).is_ok_and(|found| is_pipe(&found)) {
        return Ok(None);
    }
    Ok(Some(Box::new(File::open(path).map_err(IoError::system(path, "open"))?)))
}

#[cfg(unix)]
fn is_pipe(file: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&file.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_file: &fs::Metadata) -> bool {
    false
}

/// A file without a name that holds what `pipe` gives, at most `limit` bytes.
fn copied(path: &Path, pipe: impl Read, limit: u64) -> Result<(File, u64), IoError> {
    let mut file = tempfile::tempfile().map_err(IoError::system(path, "make a temporary file for"))?;
    // One byte more than allowed shows that there is more.
    let found = io::copy(&mut pipe.take(limit + 1), &mut file).map_err(IoError::system(path, "read"))?;
    if found > limit {
        return Err(IoError::TooLarge { path: path.to_owned(), what: "stream", unit: "bytes", found, limit });
    }
    file.rewind().map_err(IoError::system(path, "read"))?;
    Ok((file, found))
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
