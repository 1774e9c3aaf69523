//! Which weights a model runs with.

use super::model::Model;
use super::{Failure, tell};
use crate::io::bind::BoundWeights;
use crate::io::card::Card;
use crate::io::weights::WeightFile;
use crate::ir::ParamSource;
use crate::ir::weights::{RandomWeights, WeightSource};
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

    /// The file that was asked for, else the card's, else the model's own, else random weights.
    ///
    /// # Errors
    /// Where the weights do not fit the model, or there are none.
    pub fn choose(&self, model: &Model, missing: Missing) -> Result<Box<dyn WeightSource>, Failure> {
        let of_card = || model.card.as_ref().filter(|_| !self.random_weights).and_then(Card::weights_path);
        if let Some(path) = self.weights.clone().or_else(of_card) {
            let file = WeightFile::open_dictionary(&path, self.weights_key.as_deref())?;
            let bound = BoundWeights::bind(&model.graph, file).map_err(Failure::input)?;
            if let Some(note) = bound.note() {
                tell(&format!("note: {}: names are taken {note}", path.display()));
            }
            return Ok(Box::new(bound));
        }
        if let Some(own) = model.weights.as_ref().filter(|_| !self.random_weights) {
            return Ok(Box::new(own.clone()));
        }
        if self.weights_key.is_some() {
            let message = "--weights-key names a dictionary of a weight file; give that with --weights";
            return Err(Failure::usage(message));
        }
        let needed = model.graph.params.iter().any(|param| param.source == ParamSource::File);
        if needed && missing == Missing::Refused && !self.random_weights && self.seed.is_none() {
            return Err(Failure::input(no_weights(model)));
        }
        if needed {
            tell(&format!("note: no weight file given; random weights with seed {}", self.seed()));
        }
        Ok(Box::new(RandomWeights { seed: self.seed() }))
    }
}

fn no_weights(model: &Model) -> String {
    let why = match &model.card {
        Some(card) => format!("its card {} names none", card.path().display()),
        None => format!("it has no card {}", model.path.with_extension("yaml").display()),
    };
    format!(
        "{}: no weights: none are given, and {why}; give a file with --weights, or ask for random ones with \
         --random-weights",
        model.path.display()
    )
}
