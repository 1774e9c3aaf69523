//! What is wrong or odd in a model file.

use super::{FolderLoader, Model, is_onnx, read_text, split_variant, zoo};
use crate::analysis::lint;
use crate::diagnostic::{Diagnostic, Severity, render};
use crate::error::{Error, ModelError};
use crate::front::text::build::{Loader, Options};
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

/// Every error of every variant of a model file, or of `FILE:VARIANT` alone, or of a network of the zoo; where there is none, what in it breaks a rule of thumb or has no effect,
/// but for the warnings whose names are `allowed`. Of an ONNX file, all that is not imported, or else what is not as it is
/// in the file.
///
/// # Errors
/// Where the file cannot be read, or the zoo has no such network.
pub fn check(path: impl AsRef<Path>, allowed: &[String]) -> Result<Findings, Error> {
    let path = path.as_ref();
    if is_onnx(path) {
        return match Model::open(path) {
            Ok(model) => Ok(remarks(&model)),
            Err(Error::Import { error, .. }) => Ok(error.into()),
            Err(error) => Err(error),
        };
    }
    let check = |(mut sources, root), variant, loader: &mut dyn Loader| {
        let options = Options { variant, ..Options::default() };
        Findings { diagnostics: lint::check(&mut sources, root, &options, loader, allowed), sources }
    };
    if let Some(entry) = zoo::named(path) {
        let entry = entry?;
        return Ok(check(entry.source(), entry.variant, &mut zoo::ZooLoader));
    }
    Ok(match split_variant(path.as_os_str()) {
        (file, Some(variant)) if file.exists() => {
            check(read_text(&file)?, Some(variant), &mut FolderLoader::new(&file))
        }
        _ => check(read_text(path)?, None, &mut FolderLoader::new(path)),
    })
}

/// What of an imported file is not as it is in the file.
fn remarks(model: &Model) -> Findings {
    let warning = |remark: &String| Diagnostic::warning("W0600", remark.as_str());
    Findings { diagnostics: model.remarks().iter().map(warning).collect(), sources: SourceMap::default() }
}
