//! Which weights a model runs with.

use super::Model;
use crate::error::Error;
use crate::front::onnx::weights::Weights as ImportedWeights;
use crate::io::bind;
use crate::io::card::Card;
use crate::io::weights::WeightFile;
use crate::ir::weights::{RandomWeights, WeightSource};
use crate::ir::{Graph, Param, Verified};
use crate::quant;
use crate::tensor::Tensor;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the weights of a model come from. Random ones are never taken unasked.
#[derive(Clone, Debug)]
pub struct Weights(Source);

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
        Weights(Source::Card)
    }

    /// A file: safetensors, the index of one in several files, or what `torch.save` wrote.
    pub fn file(path: impl AsRef<Path>) -> Weights {
        Weights(Source::File { path: path.as_ref().to_owned(), key: None })
    }

    /// One of several dictionaries of tensors in a file of `torch.save`: its key or, where it stands in others, their keys
    /// joined by dots.
    pub fn dictionary(path: impl AsRef<Path>, key: impl Into<String>) -> Weights {
        Weights(Source::File { path: path.as_ref().to_owned(), key: Some(key.into()) })
    }

    /// Tensors by their names, of the sizes that [`Model::weights`] tells.
    pub fn tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Weights {
        Weights(Source::Tensors(Arc::new(tensors.into_iter().collect())))
    }

    /// Random numbers, for what does not depend on them, such as times.
    pub fn random(seed: u64) -> Weights {
        Weights(Source::Random { seed })
    }
}

/// Weights that are known to be those of a model.
pub struct BoundWeights(Bound);

enum Bound {
    File(bind::BoundWeights),
    /// A file with weights of eight bits, and the network that it makes of the model.
    Whole(Box<Verified<Graph>>, bind::BoundWeights),
    Own(Arc<ImportedWeights>),
    Random(RandomWeights),
}

impl Model {
    /// Finds each weight of the model.
    ///
    /// # Errors
    /// All weights that are missing, surplus or of a wrong shape; a file that cannot be read.
    pub fn bind(&self, weights: &Weights) -> Result<BoundWeights, Error> {
        if let (Source::Card, Some(own)) = (&weights.0, &self.own_weights) {
            return Ok(BoundWeights(Bound::Own(own.clone())));
        }
        let file = match &weights.0 {
            Source::Random { seed } => return Ok(BoundWeights(Bound::Random(RandomWeights { seed: *seed }))),
            Source::Card => match self.card().and_then(Card::weights_path) {
                Some(path) => WeightFile::open(&path)?,
                None if self.weights().next().is_some() => return Err(self.no_weights()),
                None => WeightFile::of_tensors(Arc::default()),
            },
            Source::File { path, key } => WeightFile::open_dictionary(path, key.as_deref())?,
            Source::Tensors(tensors) => WeightFile::of_tensors(tensors.clone()),
        };
        if !quant::is_quantised(&file) {
            return Ok(BoundWeights(Bound::File(bind::BoundWeights::bind(self.graph(), file)?)));
        }
        let (graph, served) = quant::load(self.graph(), &file)?;
        let bound = bind::BoundWeights::bind_rest(&graph, file, &served)?;
        Ok(BoundWeights(Bound::Whole(Box::new(graph), bound)))
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
    /// The network that computes with these weights: the model's own, or the same on whole numbers.
    #[doc(hidden)]
    pub fn network<'a>(&'a self, model: &'a Model) -> &'a Verified<Graph> {
        match &self.0 {
            Bound::Whole(graph, _) => graph,
            Bound::File(_) | Bound::Own(_) | Bound::Random(_) => model.graph(),
        }
    }

    /// The file, where layers with weights of it compute on whole numbers.
    pub fn whole(&self) -> Option<&Path> {
        match &self.0 {
            Bound::Whole(_, bound) => Some(bound.path()),
            Bound::File(_) | Bound::Own(_) | Bound::Random(_) => None,
        }
    }

    /// What was taken off the names in the file to find those of the model, to be told to the user.
    pub fn note(&self) -> Option<String> {
        match &self.0 {
            Bound::File(bound) | Bound::Whole(_, bound) => {
                bound.note().map(|note| format!("{}: names are taken {note}", bound.path().display()))
            }
            Bound::Own(_) | Bound::Random(_) => None,
        }
    }
}

impl WeightSource for BoundWeights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        match &self.0 {
            Bound::File(bound) | Bound::Whole(_, bound) => bound.values(param),
            Bound::Own(own) => own.values(param),
            Bound::Random(random) => random.values(param),
        }
    }

    fn release(&self, param: &Param) {
        match &self.0 {
            Bound::File(bound) | Bound::Whole(_, bound) => bound.release(param),
            Bound::Own(own) => own.release(param),
            Bound::Random(random) => random.release(param),
        }
    }
}
