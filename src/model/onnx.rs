//! Models that are ONNX files.

use super::{Model, ModelOptions};
use crate::error::{Error, ModelError};
use crate::front::onnx;
use crate::io;
use crate::io::card::Card;
use crate::source::SourceMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Whether a file's name says that it is an ONNX model.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// The network of an ONNX file as a text, a graph and weights; the file's name is that of a network without one.
///
/// # Errors
/// Where the file cannot be read, and all that no layer says together.
pub(crate) fn import(path: &Path, options: &onnx::Options) -> Result<onnx::Import, Error> {
    let name = path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
    let options = onnx::Options { name, ..options.clone() };
    let file = io::onnx::read(path)?;
    onnx::import(&file, &mut io::onnx::Beside::new(path), &options).map_err(|diagnostics| {
        let error = ModelError { diagnostics, sources: SourceMap::default() };
        Error::Import { path: path.to_owned(), error }
    })
}

impl ModelOptions {
    /// A model of an ONNX file; what is defined are sizes that the file leaves open.
    pub(super) fn import(&self, path: &Path) -> Result<Model, Error> {
        let start = Instant::now();
        if let Some(variant) = &self.build.variant {
            return Err(Error::NoVariants { path: path.to_owned(), variant: variant.clone() });
        }
        let size = |(name, value): &(String, String)| {
            let size = value.parse().ok().filter(|&size| size > 0);
            let wrong = || Error::OpenSize { path: path.to_owned(), name: name.clone(), value: value.clone() };
            Ok((name.clone(), size.ok_or_else(wrong)?))
        };
        let sizes = self.build.defines.iter().map(size).collect::<Result<_, Error>>()?;
        let import = import(path, &onnx::Options { sizes, ..onnx::Options::default() })?;
        let remark = |note: String| format!("{}: {note}", path.display());
        Ok(Model {
            name: path.display().to_string(),
            path: Some(path.to_owned()),
            graph: import.graph,
            sources: import.sources,
            warnings: Vec::new(),
            remarks: import.notes.into_iter().map(remark).collect(),
            card: Card::for_model(path)?,
            own_weights: Some(Arc::new(import.weights)),
            program: import.program,
            options: Default::default(),
            memory_limit: self.memory_limit,
            time: start.elapsed(),
        })
    }
}
