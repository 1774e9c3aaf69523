//! Which weights a model runs with.

use super::Model;
use crate::error::Error;
use crate::front::onnx::weights::Weights as ImportedWeights;
use crate::hash::{hash_of, hash_of_numbers};
use crate::io::bind;
use crate::io::card::Card;
use crate::io::weights::WeightFile;
use crate::ir::weights::{Kept, RandomWeights, WeightSource};
use crate::ir::{Graph, Param, Verified};
use crate::quant::{self, WholeFile};
use crate::tensor::{Half, Tensor};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the weights of a model come from. Random ones are never taken unasked.
#[derive(Clone, Debug)]
pub struct Weights {
    source: Source,
    /// Where they are kept packed.
    packed: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Source {
    Card,
    File { path: PathBuf, key: Option<String> },
    Tensors(Arc<Vec<(String, Tensor)>>),
    Random { seed: u64 },
}

impl Weights {
    /// The model's own: those in an ONNX file, else those of the file that the model's card names.
    pub fn of_card() -> Weights {
        Source::Card.into()
    }

    /// A file: safetensors, the index of one in several files, or what `torch.save` wrote.
    pub fn file(path: impl AsRef<Path>) -> Weights {
        Source::File { path: path.as_ref().to_owned(), key: None }.into()
    }

    /// One of several dictionaries of tensors in a file of `torch.save`: its key or, where it stands in others, their keys
    /// joined by dots.
    pub fn dictionary(path: impl AsRef<Path>, key: impl Into<String>) -> Weights {
        Source::File { path: path.as_ref().to_owned(), key: Some(key.into()) }.into()
    }

    /// Tensors by their names, of the sizes that [`Model::weights`] tells.
    pub fn tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Weights {
        Source::Tensors(Arc::new(tensors.into_iter().collect())).into()
    }

    /// Random numbers, for what does not depend on them, such as times.
    pub fn random(seed: u64) -> Weights {
        Source::Random { seed }.into()
    }

    /// The same, kept in files of this folder as they are packed for a network: whoever compiles that again with these
    /// weights, on a CPU of the same kind, is ready without packing, and all processes of a machine that do share the
    /// memory. The folder is made if need be, and whatever is in it can be deleted; what is damaged, or of other weights,
    /// is made anew. Nobody else may write into its files.
    pub fn packed_in(self, folder: impl AsRef<Path>) -> Weights {
        Weights { packed: Some(folder.as_ref().to_owned()), ..self }
    }
}

impl From<Source> for Weights {
    fn from(source: Source) -> Weights {
        Weights { source, packed: None }
    }
}

/// The weights of an ONNX file.
pub(super) struct Own {
    /// In f32.
    pub real: Arc<ImportedWeights>,
    /// Where the file computes on whole numbers.
    pub whole: Option<Arc<WholeFile>>,
}

/// Weights that are known to be those of a model.
pub struct BoundWeights {
    bound: Bound,
    /// See [`Kept`].
    packed: Option<(PathBuf, u64)>,
}

enum Bound {
    File(Box<FileWeights>),
    Own(Arc<ImportedWeights>),
    Random(RandomWeights),
}

struct FileWeights {
    bound: bind::BoundWeights,
    /// Some weights have eight bits.
    whole: bool,
    /// The network that the file makes of the model, where it is another one.
    network: Option<Verified<Graph>>,
}

impl FileWeights {
    /// Finds the weights of a graph in a file.
    fn new(graph: &Verified<Graph>, file: WeightFile) -> Result<FileWeights, Error> {
        let whole = quant::is_quantised(&file);
        let (network, bound) = match whole {
            false => (None, bind::BoundWeights::bind(graph, file)?),
            true => {
                let (network, served) = quant::load(graph, &file)?;
                let bound = bind::BoundWeights::bind_rest(&network, file, &served)?;
                (Some(network), bound)
            }
        };
        let network = bound.in_halves(network.as_ref().unwrap_or(graph)).or(network);
        Ok(FileWeights { bound, whole, network })
    }

    /// The network that the file makes of the model's graph at other sizes.
    fn network_of(&self, graph: Verified<Graph>) -> Result<Verified<Graph>, Error> {
        let graph = if self.whole { quant::load(&graph, self.bound.file())?.0 } else { graph };
        Ok(self.bound.in_halves(&graph).unwrap_or(graph))
    }
}

impl Model {
    /// Finds each weight of the model.
    ///
    /// # Errors
    /// All weights that are missing, surplus or of a wrong shape; a file that cannot be read.
    pub fn bind(&self, weights: &Weights) -> Result<BoundWeights, Error> {
        let bound = BoundWeights { bound: self.find(&weights.source)?, packed: None };
        Ok(match &weights.packed {
            Some(folder) => bound.packed_in(self, folder),
            None => bound,
        })
    }

    /// A hash of the values that are read from outside: of when their file was written, or of themselves.
    fn identity(&self, weights: &BoundWeights) -> u64 {
        let values = || {
            let graph = weights.network(self);
            let params = graph.params.iter().filter(|param| param.is_read());
            params.fold(0, |hash, param| hash_of(&(hash, hash_of_numbers(&weights.values(param)))))
        };
        match &weights.bound {
            Bound::File(file) => file.bound.stamp().unwrap_or_else(values),
            Bound::Random(RandomWeights { seed }) => hash_of(&("random", seed)),
            Bound::Own(_) => values(),
        }
    }

    fn find(&self, source: &Source) -> Result<Bound, Error> {
        let file = match source {
            Source::Card if let Some(own) = &self.own_weights => match &own.whole {
                Some(whole) => WeightFile::of_whole(Path::new(&self.name), whole.clone()),
                None => return Ok(Bound::Own(own.real.clone())),
            },
            Source::Random { seed } => return Ok(Bound::Random(RandomWeights { seed: *seed })),
            Source::Card => match self.card().and_then(Card::weights_path) {
                Some(path) => WeightFile::open(&path)?,
                None if self.weights().next().is_some() => return Err(self.no_weights()),
                None => WeightFile::of_tensors(Arc::default()),
            },
            Source::File { path, key } => WeightFile::open_dictionary(path, key.as_deref())?,
            Source::Tensors(tensors) => WeightFile::of_tensors(tensors.clone()),
        };
        Ok(Bound::File(FileWeights::new(self.graph(), file)?.into()))
    }

    fn no_weights(&self) -> Error {
        let why = match (self.card(), self.path()) {
            (Some(card), _) => format!("its card {} names none", card.path().display()),
            (None, Some(path)) => format!("it has no card {}", path.with_extension("yaml").display()),
            (None, None) => "a text has no card".into(),
        };
        Error::NoWeights { name: self.name().to_owned(), why }
    }
}

impl BoundWeights {
    /// As [`Weights::packed_in`], of weights of this model.
    pub fn packed_in(self, model: &Model, folder: impl AsRef<Path>) -> BoundWeights {
        let packed = Some((folder.as_ref().to_owned(), model.identity(&self)));
        BoundWeights { packed, ..self }
    }

    /// The network that computes with these weights: the model's own, or the same on whole numbers, or with weights in 16
    /// bits.
    #[doc(hidden)]
    pub fn network<'a>(&'a self, model: &'a Model) -> &'a Verified<Graph> {
        match &self.bound {
            Bound::File(file) => file.network.as_ref().unwrap_or(model.graph()),
            Bound::Own(_) | Bound::Random(_) => model.graph(),
        }
    }

    /// The same of the model's graph at any sizes.
    ///
    /// # Errors
    /// Where whole numbers of the file do not fit it.
    #[doc(hidden)]
    pub fn network_of(&self, graph: Verified<Graph>) -> Result<Verified<Graph>, Error> {
        match &self.bound {
            Bound::File(file) => file.network_of(graph),
            Bound::Own(_) | Bound::Random(_) => Ok(graph),
        }
    }

    /// The file, where layers with weights of it compute on whole numbers.
    pub fn whole(&self) -> Option<&Path> {
        match &self.bound {
            Bound::File(file) => file.whole.then(|| file.bound.path()),
            Bound::Own(_) | Bound::Random(_) => None,
        }
    }

    /// The weight file, where layers with weights of it compute on whole numbers.
    pub(crate) fn whole_file(&self) -> Option<&WeightFile> {
        match &self.bound {
            Bound::File(file) => file.whole.then(|| file.bound.file()),
            Bound::Own(_) | Bound::Random(_) => None,
        }
    }

    /// The file that they were read from and its size in bytes; `None` of an ONNX file's own and of random weights.
    #[cfg(feature = "cli")]
    pub(crate) fn file(&self) -> Option<(&Path, u64)> {
        match &self.bound {
            Bound::File(file) => Some((file.bound.path(), file.bound.file().size()?)),
            Bound::Own(_) | Bound::Random(_) => None,
        }
    }

    /// The file that they were read from; `None` of an ONNX file's own and of random weights.
    #[cfg(feature = "cli")]
    pub(crate) fn file_path(&self) -> Option<&Path> {
        match &self.bound {
            Bound::File(file) => Some(file.bound.path()),
            Bound::Own(_) | Bound::Random(_) => None,
        }
    }

    /// Whether they are random.
    #[cfg(feature = "cli")]
    pub(crate) fn are_random(&self) -> bool {
        matches!(self.bound, Bound::Random(_))
    }

    /// What was taken off the names in the file to find those of the model, to be told to the user.
    pub fn note(&self) -> Option<String> {
        match &self.bound {
            Bound::File(file) => {
                let bound = &file.bound;
                bound.note().map(|note| format!("{}: names are taken {note}", bound.path().display()))
            }
            Bound::Own(_) | Bound::Random(_) => None,
        }
    }
}

impl WeightSource for BoundWeights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        match &self.bound {
            Bound::File(file) => file.bound.values(param),
            Bound::Own(own) => own.values(param),
            Bound::Random(random) => random.values(param),
        }
    }

    fn halves<'a>(&'a self, param: &Param, half: Half) -> Cow<'a, [u16]> {
        match &self.bound {
            Bound::File(file) => file.bound.halves(param, half),
            Bound::Own(own) => own.halves(param, half),
            Bound::Random(random) => random.halves(param, half),
        }
    }

    fn release(&self, param: &Param) {
        match &self.bound {
            Bound::File(file) => file.bound.release(param),
            Bound::Own(own) => own.release(param),
            Bound::Random(random) => random.release(param),
        }
    }

    fn kept(&self) -> Option<Kept<'_>> {
        self.packed.as_ref().map(|(folder, weights)| Kept { folder, weights: *weights })
    }
}
