//! What is wrong or odd in a model file.

use super::{FolderLoader, Model, is_onnx, read_text, split_variant};
use crate::analysis::lint;
use crate::diagnostic::{Diagnostic, Severity, render};
use crate::error::{Error, ModelError};
use crate::front::text::build::Options;
use crate::source::SourceMap;
use std::path::Path;

/// What there is to say of a model file.
#[derive(Debug, Default)]
pub struct Findings {
    /// Errors; where there are none, warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that they speak of.
    pub sources: SourceMap,
}

impl Findings {
    /// Whether there is an error in it.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// All messages with excerpts of the text, for a terminal if in colour.
    pub fn render(&self, colour: bool) -> String {
        render(&self.diagnostics, &self.sources, colour)
    }
}

impl From<ModelError> for Findings {
    fn from(ModelError { diagnostics, sources }: ModelError) -> Findings {
        Findings { diagnostics, sources }
    }
}

/// Every error of every variant of a model file; where there is none, what in it breaks a rule of thumb or has no effect,
/// but for the warnings whose names are `allowed`. Of an ONNX file, all that is not imported, or else what is not as it is
/// in the file.
///
/// # Errors
/// Where the file cannot be read, or is named with a variant.
pub fn check(path: impl AsRef<Path>, allowed: &[String]) -> Result<Findings, Error> {
    let path = path.as_ref();
    if is_onnx(path) {
        return match Model::open(path) {
            Ok(model) => Ok(remarks(&model)),
            Err(Error::Import { error, .. }) => Ok(error.into()),
            Err(error) => Err(error),
        };
    }
    one_for_all_variants(path)?;
    let (mut sources, root) = read_text(path)?;
    let diagnostics = lint::check(&mut sources, root, &Options::default(), &mut FolderLoader::new(path), allowed);
    Ok(Findings { diagnostics, sources })
}

/// Whether a file is named without a variant.
pub(crate) fn one_for_all_variants(path: &Path) -> Result<(), Error> {
    match split_variant(path.as_os_str()) {
        (file, Some(_)) if file.exists() => Err(Error::OneVariant { path: path.to_owned(), file }),
        _ => Ok(()),
    }
}

/// What of an imported file is not as it is in the file.
fn remarks(model: &Model) -> Findings {
    let warning = |remark: &String| Diagnostic::warning("W0600", remark.as_str());
    Findings { diagnostics: model.remarks().iter().map(warning).collect(), sources: SourceMap::default() }
}
