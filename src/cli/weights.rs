//! Which weights a model runs with.

use super::arguments::is_typed;
use super::{Failure, progress, tell};
use crate::io::card::Card;
use crate::model::{BoundWeights, Model, Weights};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct WeightArgs {
    /// Weight file: safetensors, the index (.index.json) of one in several files, or PyTorch's .pth; the one that the
    /// model's card names where none is given
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Which dictionary of tensors to take where a .pth holds several: its key or, within others, keys joined by dots
    #[arg(long, value_name = "NAME")]
    pub weights_key: Option<String>,
    /// Take random weights where none are given; the outputs then mean nothing
    #[arg(long, conflicts_with = "weights")]
    pub random_weights: bool,
    /// Seed of random weights and random inputs; asks for random weights where none are given
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Where packed weights are kept.
#[derive(clap::Args)]
pub struct PackedArgs {
    /// Keep packed weights in files of this folder: who runs the same model with the same weights again is ready without
    /// packing them, and processes share their memory
    #[arg(long, value_name = "FOLDER", env = "SVERTKA_PACKED")]
    packed: Option<PathBuf>,
}

impl PackedArgs {
    /// Whether it was asked for, not by the environment.
    pub fn is_typed(&self) -> bool {
        self.packed.as_deref().is_some_and(|folder| is_typed(folder.as_os_str(), "SVERTKA_PACKED"))
    }

    /// These weights of the model, kept where it was asked for.
    pub fn keep(&self, model: &Model, weights: BoundWeights) -> BoundWeights {
        match &self.packed {
            Some(folder) => weights.packed_in(model, folder),
            None => weights,
        }
    }
}

/// What a command does where it is given no weights and the card names none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It refuses, unless random ones were asked for: what it makes would be taken for the model's.
    Refused,
    /// It takes random ones, and says so: times and differences do not depend on them.
    Random,
}

impl WeightArgs {
    /// The seed of what is random.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// The file that was asked for, else the card's, else random weights.
    ///
    /// # Errors
    /// Where the weights do not fit the model, or there are none, or some of them have eight bits.
    pub fn choose(&self, model: &Model, missing: Missing) -> Result<BoundWeights, Failure> {
        let bound = self.choose_any(model, missing)?;
        match bound.whole() {
            None => Ok(bound),
            Some(path) => {
                let path = path.display();
                Err(Failure::input(format!(
                    "{path}: weights of eight bits, which only run, verify, bench, tune, explain, compile and export take"
                )))
            }
        }
    }

    /// As [`choose`](Self::choose), also weights of eight bits: the network is [`BoundWeights::network`].
    ///
    /// # Errors
    /// As [`choose`](Self::choose).
    pub fn choose_any(&self, model: &Model, missing: Missing) -> Result<BoundWeights, Failure> {
        let source = self.source(model, missing)?;
        let bound = progress::during("reading weights", || model.bind(&source))?;
        if let Some(note) = bound.note() {
            tell(&format!("note: {note}"));
        }
        Ok(bound)
    }

    fn source(&self, model: &Model, missing: Missing) -> Result<Weights, Failure> {
        match (&self.weights, &self.weights_key) {
            (Some(path), None) => return Ok(Weights::file(path)),
            (Some(path), Some(key)) => return Ok(Weights::dictionary(path, key)),
            (None, None) => {}
            (None, Some(key)) => match model.card().and_then(Card::weights_path).filter(|_| !self.random_weights) {
                Some(path) => return Ok(Weights::dictionary(path, key)),
                None => {
                    let message = "--weights-key names a dictionary of a weight file; give that with --weights";
                    return Err(Failure::usage(message));
                }
            },
        }
        let needed = model.weights().next().is_some();
        let asked_for = self.random_weights || missing == Missing::Random || self.seed.is_some();
        if (model.has_weights() && !self.random_weights) || !asked_for {
            return Ok(Weights::of_card());
        }
        if needed {
            tell(&format!("note: no weight file given; random weights with seed {}", self.seed()));
        }
        Ok(Weights::random(self.seed()))
    }
}
