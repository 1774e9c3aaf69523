//! From scores to the likeliest classes.

use super::Model;
use crate::error::Error;
use crate::layers::{Op, Softmax};
use crate::tensor::{AsTensor, TensorView};

/// What a picture may show.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its place among the scores.
    pub index: usize,
    /// Its name by the model's card, where that has one for each score.
    pub label: Option<String>,
    /// Between 0 and 1; not a number where the scores are none.
    pub probability: f32,
}

impl Model {
    /// The names of the classes, in the order of the scores; empty where the card has none.
    ///
    /// # Errors
    /// Where the card names a file that cannot be read.
    pub fn labels(&self) -> Result<Vec<String>, Error> {
        Ok(self.card().map_or(Ok(Vec::new()), |card| card.labels())?)
    }

    /// For each sample of the main output its classes, the likeliest first. Scores become probabilities by softmax, unless
    /// the model ends with one.
    ///
    /// # Errors
    /// Where the output is not one score for each class, or the card's labels cannot be read.
    pub fn classes(&self, output: &impl AsTensor) -> Result<Vec<Vec<Class>>, Error> {
        let ranked = self.ranked(output)?;
        let labels = self.labels()?;
        let label = |index: usize, classes: usize| labels.get(index).filter(|_| labels.len() == classes).cloned();
        let of_sample = |ranked: Vec<(usize, f32)>| {
            let classes = ranked.len();
            let class = |(index, probability)| Class { index, label: label(index, classes), probability };
            ranked.into_iter().map(class).collect()
        };
        Ok(ranked.into_iter().map(of_sample).collect())
    }

    /// As [`Model::classes`], each class by its place among the scores and its probability.
    pub(crate) fn ranked(&self, output: &impl AsTensor) -> Result<Vec<Vec<(usize, f32)>>, Error> {
        let output = output.as_tensor();
        let classes = class_count(output)?;
        let is_probability =
            matches!(self.graph()[self.graph().outputs[0].node].op, Op::Softmax(Softmax { log: false, .. }));
        let of_sample = |scores: &[f32]| {
            let probabilities = if is_probability { scores.to_vec() } else { softmax(scores) };
            let mut ranked: Vec<(usize, f32)> = probabilities.into_iter().enumerate().collect();
            ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            ranked
        };
        Ok(output.data().chunks_exact(classes).map(of_sample).collect())
    }
}

/// Scores of one sample.
fn class_count(output: TensorView) -> Result<usize, Error> {
    match output.shape() {
        [_, classes, spatial @ ..] if *classes > 0 && spatial.iter().all(|&size| size == 1) => Ok(*classes),
        other => Err(Error::NoClasses(other.to_vec())),
    }
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|s| (s - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}
