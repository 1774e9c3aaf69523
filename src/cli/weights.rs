//! Which weights a model runs with.

use super::Failure;
use super::model::Model;
use crate::io::bind::BoundWeights;
use crate::io::card::Card;
use crate::io::weights::WeightFile;
use crate::ir::weights::{RandomWeights, WeightSource};
use std::path::{Path, PathBuf};

/// The file that was asked for, else the card's, else random weights (with a notice).
pub fn choose(given: Option<&Path>, model: &Model, seed: u64) -> Result<Box<dyn WeightSource>, Failure> {
    let of_card = || model.card.as_ref().and_then(Card::weights_path);
    match given.map(PathBuf::from).or_else(of_card) {
        Some(path) => {
            let bound = BoundWeights::bind(&model.graph, WeightFile::open(&path)?).map_err(Failure::input)?;
            Ok(Box::new(bound))
        }
        None => {
            eprintln!("note: no weight file given; random weights with seed {seed}");
            Ok(Box::new(RandomWeights { seed }))
        }
    }
}
