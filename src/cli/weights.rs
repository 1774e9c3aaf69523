//! Which weights a model runs with.

use super::Failure;
use super::model::Model;
use crate::io::bind::BoundWeights;
use crate::io::card::Card;
use crate::io::weights::WeightFile;
use crate::ir::weights::{RandomWeights, WeightSource};
use std::path::PathBuf;

/// Which weights were asked for.
#[derive(clap::Args)]
pub struct WeightArgs {
    /// Weight file: safetensors, the index (.index.json) of one in several files, or PyTorch's .pth; the card's, or
    /// random weights, where none is given
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Which dictionary of tensors to take where a .pth holds several: its key or, within others, keys joined by dots
    #[arg(long, value_name = "NAME")]
    pub weights_key: Option<String>,
}

/// The file that was asked for, else the card's, else random weights (with a notice).
pub fn choose(args: &WeightArgs, model: &Model, seed: u64) -> Result<Box<dyn WeightSource>, Failure> {
    let of_card = || model.card.as_ref().and_then(Card::weights_path);
    match args.weights.clone().or_else(of_card) {
        Some(path) => {
            let file = WeightFile::open_dictionary(&path, args.weights_key.as_deref())?;
            let bound = BoundWeights::bind(&model.graph, file).map_err(Failure::input)?;
            if let Some(note) = bound.note() {
                eprintln!("note: {}: names are taken {note}", path.display());
            }
            Ok(Box::new(bound))
        }
        None if args.weights_key.is_some() => {
            Err(Failure::usage("--weights-key names a dictionary of a weight file; give that with --weights"))
        }
        None => {
            eprintln!("note: no weight file given; random weights with seed {seed}");
            Ok(Box::new(RandomWeights { seed }))
        }
    }
}
