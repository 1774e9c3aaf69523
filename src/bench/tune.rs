//! Choosing kernels by measuring them where they will work: inside the network.
//!
//! A *race* runs two sessions of the same network in turn, one with the estimated choices, one in which every layer has
//! its n-th candidate, and compares them layer by layer. So each candidate meets the caches as the layers around it
//! leave them, with its weights as far away as they will be, and all layers are measured at once.

use super::stats::{Ratio, median};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Verified};
use crate::kernels::tuning::Choices;
use crate::runtime::{Options, RunError, Session, SessionError};
use crate::schedule::{self, Offer, Plan};
use crate::tensor::Tensor;
use std::time::{Duration, Instant};

/// A network whose kernels are to be chosen.
pub struct Tuner<'a> {
    pub graph: &'a Verified<Graph>,
    pub weights: &'a dyn WeightSource,
    pub options: &'a Options,
    pub inputs: &'a [Tensor],
    /// The least time of each race.
    pub span: Duration,
}

/// Why a network could not be tuned.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What was found for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// In the order of the network.
    pub layers: Vec<LayerChoice>,
    /// Of all steps together.
    pub network: Times,
}

/// What was found for the layers that share a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerChoice {
    /// Path of the first of the layers.
    pub layer: String,
    /// How many they are.
    pub count: usize,
    /// Name of the kernel that was estimated to be fastest.
    pub kernel: String,
    pub key: String,
    pub analytic: String,
    /// The fastest that was measured; often the same.
    pub decision: String,
    /// With all layers as they were decided.
    pub times: Times,
    /// Time of each candidate over that of the analytic choice.
    pub candidates: Vec<(String, Ratio)>,
}

/// Medians of times in seconds, and the ratio of those in pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    pub analytic_s: f64,
    pub tuned_s: f64,
    /// Tuned over analytic.
    pub ratio: Ratio,
}

/// A candidate that is not faster by this part of the time is not worth leaving the estimated choice for.
const WORTHWHILE: f64 = 0.97;
/// The least number of turns of a race.
const TURNS: usize = 5;
/// Runs of one session in a turn at most. The first one finds the caches as the other session left them and does not
/// count.
const BURST: usize = 4;
/// No further run follows in a turn that has taken so long: slow networks vary less.
const LONG_TURN: Duration = Duration::from_millis(80);

impl Tuner<'_> {
    /// Measures all candidates. `progress` is told how far it is, 0 to 1.
    pub fn run(&self, progress: &mut dyn FnMut(f64)) -> Result<Tuned, TuneError> {
        let mut analytic = self.session(&Choices::default())?;
        let offers = schedule::offers(analytic.plan());
        let mut layers: Vec<LayerChoice> =
            offers.iter().map(|offer| LayerChoice::new(analytic.plan(), offer)).collect();
        let rounds = offers.iter().map(|offer| offer.candidates.len()).max().unwrap_or(0);
        for round in 0..rounds {
            progress(round as f64 / (rounds + 2) as f64);
            let choices = candidates(&offers, round).map(|(_, key, decision)| (key.clone(), decision.clone()));
            let race = self.race(&mut analytic, &mut self.session(&choices.collect())?)?;
            for (index, _, decision) in candidates(&offers, round) {
                layers[index].candidates.push((decision.clone(), race.times(&offers[index].steps).ratio));
            }
        }
        layers.iter_mut().for_each(LayerChoice::decide);
        // What was best of many was lucky, too: once more.
        progress(rounds as f64 / (rounds + 2) as f64);
        let race = self.race(&mut analytic, &mut self.session(&decisions(&layers))?)?;
        for (layer, offer) in layers.iter_mut().zip(&offers) {
            if race.times(&offer.steps).ratio.median > WORTHWHILE {
                layer.decision = layer.analytic.clone();
            }
        }
        progress((rounds + 1) as f64 / (rounds + 2) as f64);
        let race = self.race(&mut analytic, &mut self.session(&decisions(&layers))?)?;
        for (layer, offer) in layers.iter_mut().zip(&offers) {
            layer.times = race.times(&offer.steps);
        }
        let all: Vec<usize> = (0..analytic.plan().steps.len()).collect();
        Ok(Tuned { layers, network: race.times(&all) })
    }

    fn session(&self, choices: &Choices) -> Result<Session, SessionError> {
        Session::tuned(self.graph.clone(), self.weights, self.options, choices)
    }

    fn race(&self, analytic: &mut Session, tuned: &mut Session) -> Result<Race, RunError> {
        let start = Instant::now();
        let mut race = Race { analytic: Vec::new(), tuned: Vec::new() };
        while race.tuned.len() < TURNS || start.elapsed() < self.span {
            race.analytic.push(self.burst(analytic)?);
            race.tuned.push(self.burst(tuned)?);
        }
        Ok(race)
    }

    /// The least time of each step, in seconds.
    fn burst(&self, session: &mut Session) -> Result<Vec<f64>, RunError> {
        let mut least = vec![f64::INFINITY; session.plan().steps.len()];
        let start = Instant::now();
        for run in 0..BURST {
            if run > 1 && start.elapsed() > LONG_TURN {
                break;
            }
            let mut last = Instant::now();
            session.run_observed(self.inputs, &mut |done| {
                let now = Instant::now();
                if run > 0 {
                    least[done.index] = least[done.index].min((now - last).as_secs_f64());
                }
                last = now;
            })?;
        }
        Ok(least)
    }
}

/// The layers that have so many candidates: index, key, and this candidate.
fn candidates(offers: &[Offer], round: usize) -> impl Iterator<Item = (usize, &String, &String)> {
    let of = move |(index, offer)| -> Option<(usize, &String, &String)> {
        let offer: &Offer = offer;
        Some((index, &offer.key, offer.candidates.get(round)?))
    };
    offers.iter().enumerate().filter_map(of)
}

fn decisions(layers: &[LayerChoice]) -> Choices {
    layers.iter().map(|layer| (layer.key.clone(), layer.decision.clone())).collect()
}

/// For each turn, the seconds of each step.
struct Race {
    analytic: Vec<Vec<f64>>,
    tuned: Vec<Vec<f64>>,
}

impl Race {
    /// Of these steps together.
    fn times(&self, steps: &[usize]) -> Times {
        let sums = |turns: &[Vec<f64>]| -> Vec<f64> {
            turns.iter().map(|turn| steps.iter().map(|&step| turn[step]).sum()).collect()
        };
        let (analytic, tuned) = (sums(&self.analytic), sums(&self.tuned));
        Times { analytic_s: median(&analytic), tuned_s: median(&tuned), ratio: Ratio::paired(&analytic, &tuned) }
    }
}

impl LayerChoice {
    /// With nothing measured yet.
    fn new(plan: &Plan, offer: &Offer) -> LayerChoice {
        let step = &plan.steps[offer.steps[0]];
        let ratio = Ratio { median: 1.0, low: 1.0, high: 1.0 };
        LayerChoice {
            layer: plan.graph[step.node].name(),
            count: offer.steps.len(),
            kernel: step.kernel.name(),
            key: offer.key.clone(),
            analytic: offer.analytic.clone(),
            decision: offer.analytic.clone(),
            times: Times { analytic_s: 0.0, tuned_s: 0.0, ratio },
            candidates: Vec::new(),
        }
    }

    /// Takes the fastest candidate, if it is faster than the analytic choice beyond doubt.
    fn decide(&mut self) {
        let sure = self.candidates.iter().filter(|(_, ratio)| ratio.high < 1.0 && ratio.median < WORTHWHILE);
        if let Some((decision, _)) = sure.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median)) {
            self.decision = decision.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(candidates: &[(&str, [f64; 3])]) -> LayerChoice {
        let ratio = |[low, median, high]: [f64; 3]| Ratio { median, low, high };
        LayerChoice {
            layer: "conv".into(),
            count: 1,
            kernel: "conv_direct".into(),
            key: "key".into(),
            analytic: "estimated".into(),
            decision: "estimated".into(),
            times: Times { analytic_s: 1.0, tuned_s: 1.0, ratio: ratio([1.0; 3]) },
            candidates: candidates.iter().map(|&(decision, r)| (decision.to_string(), ratio(r))).collect(),
        }
    }

    #[test]
    fn only_what_is_faster_beyond_doubt_is_chosen() {
        let decided = |candidates: &[(&str, [f64; 3])]| {
            let mut layer = layer(candidates);
            layer.decide();
            layer.decision
        };
        assert_eq!(decided(&[]), "estimated");
        assert_eq!(decided(&[("a", [0.97, 0.98, 0.99])]), "estimated", "not worth it");
        assert_eq!(decided(&[("a", [0.5, 0.6, 1.1])]), "estimated", "noise");
        assert_eq!(decided(&[("a", [0.8, 0.9, 0.95]), ("b", [0.7, 0.8, 0.9]), ("c", [0.85, 0.86, 0.87])]), "b");
    }

    #[test]
    fn times_are_those_of_all_steps_together() {
        let race = Race {
            analytic: vec![vec![1.0, 2.0, 9.0], vec![1.0, 2.0, 9.0]],
            tuned: vec![vec![0.5, 1.0, 9.0], vec![0.5, 1.0, 9.0]],
        };
        let times = race.times(&[0, 1]);
        assert_eq!((times.analytic_s, times.tuned_s, times.ratio.median), (3.0, 1.5, 0.5));
    }
}
