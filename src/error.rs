//! What can go wrong, for whoever uses the library.

use crate::analysis::draw::TooLarge;
use crate::diagnostic::{Diagnostic, render};
use crate::io::IoError;
use crate::io::bind::Misfit;
use crate::runtime::{RunError, SessionError};
use crate::schedule::UnknownLayer;
use crate::source::SourceMap;
use crate::tensor::LengthError;
use std::fmt;
use std::path::PathBuf;

/// Why a model could not be opened, made ready, or run. Messages say what is wrong, where, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text of the model is wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An ONNX file holds what no layer says, or is none.
    #[error("{}: this network is not imported\n{error}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// Everything that is refused; without excerpts.
        error: ModelError,
    },
    /// An ONNX file has no variants.
    #[error("{}: an ONNX file has no variants, and so no `{variant}`", path.display())]
    NoVariants {
        /// The file.
        path: PathBuf,
        /// The one that was asked for.
        variant: String,
    },
    /// Of an ONNX file only sizes can be given.
    #[error("{}: `{name}` can only be a size that the file leaves open, not `{value}`", path.display())]
    OpenSize {
        /// The file.
        path: PathBuf,
        /// As it was given.
        name: String,
        /// As it was given.
        value: String,
    },
    /// A file cannot be read, or does not hold what it should.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The weights are not those of the model.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The model needs weights, its card names none, and no others were given.
    #[error("{name}: no weights: none are given, and {why}")]
    NoWeights {
        /// The model, as messages name it.
        name: String,
        /// What was looked for.
        why: String,
    },
    /// The network cannot be compiled, or not within the limits.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A run was refused.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Values that are not as many as their shape says.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// There is no input of this name.
    #[error("no input `{name}`; the model has {known}")]
    UnknownInput {
        /// As it was given.
        name: String,
        /// The inputs that there are.
        known: String,
    },
    /// There is no layer of this name.
    #[error(transparent)]
    UnknownLayer(#[from] UnknownLayer),
    /// The value of a layer has no such position.
    #[error("the value of `{layer}` has spatial sizes {sizes:?}, and so no position {position:?}")]
    Position {
        /// As it was given.
        layer: String,
        /// Those of the value.
        sizes: Vec<usize>,
        /// As it was given.
        position: Vec<usize>,
    },
    /// A drawing that nobody could look at.
    #[error(transparent)]
    Drawing(#[from] TooLarge),
    /// The zoo has no network of this name.
    #[error("zoo:{name}: no network of this name comes along{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean `zoo:{near}`?")))]
    UnknownNetwork {
        /// As it was given.
        name: String,
        /// One with a similar name.
        near: Option<String>,
    },
    /// An output that holds no scores of classes.
    #[error("an output of shape {0:?} is not a classification")]
    NoClasses(Vec<usize>),
}

/// Everything that is wrong with the text of a model. Displayed as excerpts of the text with what is to be said of them.
#[derive(Debug)]
pub struct ModelError {
    /// Errors, and warnings if there are any, in the order in which they were found.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that they speak of.
    pub sources: SourceMap,
}

impl ModelError {
    /// All messages with excerpts of the text, for a terminal if in colour.
    pub fn render(&self, colour: bool) -> String {
        render(&self.diagnostics, &self.sources, colour)
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ModelError {}
