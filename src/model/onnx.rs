//! Models that are ONNX files.

use super::weights::Own;
use super::{Model, ModelOptions};
use crate::error::{Error, ModelError};
use crate::front::onnx;
use crate::front::onnx::constant::External;
use crate::io;
use crate::io::card::Card;
use crate::ir::weights::WeightSource;
use crate::source::SourceMap;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
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

/// Bytes that somebody else holds, such as those of a tensor.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Tensors that are given beside an ONNX model in memory.
struct Given<'g>(&'g mut dyn FnMut(&str) -> Option<SharedBytes>);

impl External for Given<'_> {
    fn open(&mut self, location: &str) -> Result<SharedBytes, String> {
        (self.0)(location).ok_or_else(|| "no such tensor is given".into())
    }

    fn varies(&self) -> bool {
        true
    }
}

impl ModelOptions {
    /// A model of an ONNX file; what is defined are sizes that the file leaves open.
    pub(super) fn import(&self, path: &Path) -> Result<Model, Error> {
        let start = Instant::now();
        if let Some(variant) = &self.build.variant {
            return Err(Error::NoVariants { path: path.to_owned(), variant: variant.clone() });
        }
        let import = import(path, &onnx::Options { sizes: self.open_sizes(path)?, ..onnx::Options::default() })?;
        let model = self.imported(path.display().to_string(), import, start);
        Ok(Model { path: Some(path.to_owned()), card: Card::for_model(path)?, ..model })
    }

    /// Reads an ONNX model from memory; messages call it by `name`. `beside` gives the content of what the model says lies
    /// in other files (`external_data`, by its `location`), which the model's weights share until they are packed; what network
    /// it is does not depend on these numbers.
    ///
    /// # Errors
    /// All that no layer says together.
    pub fn read_onnx(
        &self,
        name: &str,
        file: SharedBytes,
        beside: &mut dyn FnMut(&str) -> Option<SharedBytes>,
    ) -> Result<Model, Error> {
        let start = Instant::now();
        let sizes = self.open_sizes(Path::new(name))?;
        let options = onnx::Options { sizes, name: name.into(), whole: true, ..onnx::Options::default() };
        let import = onnx::import(&file, &mut Given(beside), &options)
            .map_err(|diagnostics| ModelError { diagnostics, sources: SourceMap::default() })?;
        Ok(self.imported(name.into(), import, start))
    }

    fn open_sizes(&self, path: &Path) -> Result<Vec<(String, usize)>, Error> {
        let size = |(name, value): &(String, String)| {
            let size = value.parse().ok().filter(|&size| size > 0);
            let wrong = || Error::OpenSize { path: path.to_owned(), name: name.clone(), value: value.clone() };
            Ok((name.clone(), size.ok_or_else(wrong)?))
        };
        self.build.defines.iter().map(size).collect()
    }

    fn imported(&self, name: String, import: onnx::Import, start: Instant) -> Model {
        Model {
            path: None,
            graph: import.graph,
            sources: import.sources,
            warnings: Vec::new(),
            remarks: import.notes.into_iter().map(|note| format!("{name}: {note}")).collect(),
            card: None,
            own_weights: Some(Own { real: Arc::new(import.weights), whole: import.whole }),
            program: import.program,
            options: Default::default(),
            memory_limit: self.memory_limit,
            time: start.elapsed(),
            name,
        }
    }
}

impl Model {
    /// The weights that came with an ONNX model: name, sizes, and values, which are borrowed where they lie as they are in
    /// what was read. Other models have none, nor have layers whose norms are folded into whole numbers.
    pub fn own_weights(&self) -> impl Iterator<Item = (&str, &[usize], Cow<'_, [f32]>)> {
        let own = self.own_weights.iter();
        own.flat_map(|own| {
            let params = self.graph.params.iter().filter(|param| own.real.get(&param.name).is_some());
            params.map(|param| (param.name.as_str(), &param.dims[..], own.real.values(param)))
        })
    }

    /// Writes a model that was read from ONNX as a text, a weight file and the card that joins them, and gives the text's
    /// path: what `svertka import` does.
    ///
    /// # Errors
    /// Where the model came without weights, and what the system refuses.
    pub fn save(&self, folder: impl AsRef<Path>, name: &str) -> Result<PathBuf, Error> {
        let Some(own) = &self.own_weights else {
            let why = "a text is a file of its own already".into();
            return Err(Error::NoWeights { name: self.name.clone(), why });
        };
        io::write::create_folder(folder.as_ref())?;
        let text = &self.sources.files()[0].text;
        Ok(io::onnx::write(text, &self.graph, (&own.real, own.whole.as_deref()), folder.as_ref(), name)?)
    }
}
