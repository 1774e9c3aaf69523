//! Choosing kernels by measuring them where they will work: inside the network.
//!
//! A *race* runs two sessions of the same network in turn, one with the estimated choices, one in which every layer has
//! its n-th candidate, and compares them layer by layer. So each candidate meets the caches as the layers around it
//! leave them, with its weights as far away as they will be, and all layers are measured at once.
//!
//! Like is compared with like: both sessions of a race are made for it and are of one age, each is the first in every
//! other turn, and both run equally often in one. Where memory lies for a pair of sessions is luck all the same, and a machine
//! is not the same a minute later: the races of all candidates are repeated one after the other, each with a pair of sessions
//! of its own, and several pairs decide.

use super::disturbance::{Disturbance, Look};
use super::pin;
use super::stats::{Estimate, median};
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
    /// The least time of each candidate's races together.
    pub span: Duration,
    /// A core for each thread of a session while it is measured; none where threads are not to be pinned.
    pub cores: &'a [usize],
    /// All cores that this process may use: sessions are made on them.
    pub all_cores: &'a [usize],
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
    /// Of all steps together; `None` where no layer leaves a choice, and nothing was measured.
    pub network: Option<Times>,
    /// While sessions ran.
    pub disturbance: Disturbance,
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
    /// Time of each candidate over that of the analytic choice, over pairs of sessions.
    pub candidates: Vec<(String, Estimate)>,
}

/// Medians of times in seconds, and the ratio of those in pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    pub analytic_s: f64,
    pub tuned_s: f64,
    /// Tuned over analytic, over pairs of sessions.
    pub ratio: Estimate,
}

/// A candidate that is not faster by this part of the time is not worth leaving the estimated choice for.
const WORTHWHILE: f64 = 0.97;
/// The least number of turns of all races that decide the same.
const TURNS: usize = 5;
/// Pairs of sessions, one after the other with those of all other candidates between, that tell which candidate is the best.
const REPETITIONS: usize = 3;
/// Pairs of sessions that decide whether it is taken.
const PAIRS: usize = 5;
/// Counted runs of one session in a turn at most. Before them goes one that finds the caches as the other session left
/// them.
const BURST: usize = 3;
/// A turn does not last longer than this because of further runs: slow networks vary less.
const LONG_TURN: Duration = Duration::from_millis(80);

impl Tuner<'_> {
    /// Measures all candidates; nothing where no layer has any. `progress` is told how far it is, 0 to 1.
    ///
    /// # Errors
    /// Where a session cannot be made, or does not take the inputs.
    pub fn run(&self, progress: &mut dyn FnMut(f64)) -> Result<Tuned, TuneError> {
        let found = self.measure(progress);
        // Whoever called is not left on one core.
        self.spread();
        found
    }

    fn measure(&self, progress: &mut dyn FnMut(f64)) -> Result<Tuned, TuneError> {
        let plan = schedule::plan_tuned(self.graph.clone(), self.options.target(), &Choices::default());
        let offers = schedule::offers(&plan);
        let mut layers: Vec<LayerChoice> = offers.iter().map(|offer| LayerChoice::new(&plan, offer)).collect();
        if layers.is_empty() {
            return Ok(Tuned { layers, network: None, disturbance: Disturbance::default() });
        }
        let rounds = offers.iter().map(|offer| offer.candidates.len()).max().unwrap_or(0);
        let mut course = Course { progress, done: 0, all: REPETITIONS * rounds + 2 * PAIRS, seen: Vec::new() };
        for (round, races) in self.repeated(&offers, rounds, &mut course)?.iter().enumerate() {
            for (index, _, decision) in candidates(&offers, round) {
                layers[index].candidates.push((decision.clone(), times(races, &offers[index].steps).ratio));
            }
        }
        layers.iter_mut().for_each(LayerChoice::decide);
        // What was best of many was lucky, too: once more.
        let races = self.races(&decisions(&layers), &mut course)?;
        for (layer, offer) in layers.iter_mut().zip(&offers) {
            layer.confirm(times(&races, &offer.steps).ratio);
        }
        let races = self.races(&decisions(&layers), &mut course)?;
        for (layer, offer) in layers.iter_mut().zip(&offers) {
            layer.times = times(&races, &offer.steps);
        }
        let all: Vec<usize> = (0..plan.steps.len()).collect();
        Ok(Tuned { layers, network: Some(times(&races, &all)), disturbance: Disturbance::sum(&course.seen) })
    }

    /// For each of so many candidates the races of it, in which every layer has it that has as many.
    fn repeated(&self, offers: &[Offer], rounds: usize, course: &mut Course) -> Result<Vec<Vec<Race>>, TuneError> {
        let mut races: Vec<Vec<Race>> = (0..rounds).map(|_| Vec::new()).collect();
        for repetition in 0..REPETITIONS {
            for (round, races) in races.iter_mut().enumerate() {
                let choices = candidates(offers, round).map(|(_, key, decision)| (key.clone(), decision.clone()));
                races.push(course.note(self.race(&choices.collect(), repetition % 2 == 1, REPETITIONS)?));
            }
        }
        Ok(races)
    }

    /// Races of the pairs of sessions that decide.
    fn races(&self, choices: &Choices, course: &mut Course) -> Result<Vec<Race>, TuneError> {
        (0..PAIRS).map(|pair| Ok(course.note(self.race(choices, pair % 2 == 1, PAIRS)?))).collect()
    }

    /// A race between sessions that are made for it, the tuned one first if `swapped`; one of so many.
    fn race(&self, choices: &Choices, swapped: bool, pairs: usize) -> Result<Race, TuneError> {
        let session = |choices: &Choices| Session::tuned(self.graph.clone(), self.weights, self.options, choices);
        let estimates = Choices::default();
        let mut order = [&estimates, choices];
        if swapped {
            order.reverse();
        }
        self.spread();
        let mut sessions = [session(order[0])?, session(order[1])?];
        let looked = self.pin();
        let runs = self.runs_of_turn(&mut sessions)?;
        let before = Look::new(&[std::process::id()], looked);
        let (start, turns, span) = (Instant::now(), TURNS.div_ceil(pairs), self.span / pairs as u32);
        let mut seen = [Vec::new(), Vec::new()];
        while seen[0].len() < turns || start.elapsed() < span {
            let first = seen[0].len() % 2;
            for which in [first, 1 - first] {
                seen[which].push(self.burst(&mut sessions[which], runs)?);
            }
        }
        let disturbance = Look::new(&[std::process::id()], looked).since(&before);
        if swapped {
            seen.reverse();
        }
        let [analytic, tuned] = seen;
        Ok(Race { analytic, tuned, disturbance })
    }

    /// Puts each thread of the sessions on its core. Gives the cores on which they are.
    fn pin(&self) -> &[usize] {
        match pin::pin(std::process::id(), self.cores) {
            Ok(()) if !self.cores.is_empty() => self.cores,
            _ => self.all_cores,
        }
    }

    /// Lets all threads use all cores, as for making sessions.
    fn spread(&self) {
        if !self.cores.is_empty() {
            // Who could not be pinned is still where it was.
            let _ = pin::spread(std::process::id(), self.all_cores);
        }
    }

    /// How often both run in a turn: the least of more runs is less.
    fn runs_of_turn(&self, sessions: &mut [Session; 2]) -> Result<usize, RunError> {
        let mut slowest = Duration::ZERO;
        for session in sessions {
            session.run(self.inputs)?;
            let start = Instant::now();
            session.run(self.inputs)?;
            slowest = slowest.max(start.elapsed());
        }
        let fit = LONG_TURN.as_secs_f64() / slowest.as_secs_f64().max(1e-9);
        // One of them does not count.
        Ok((fit as usize).saturating_sub(1).clamp(1, BURST))
    }

    /// The least time of each step, in seconds.
    fn burst(&self, session: &mut Session, runs: usize) -> Result<Vec<f64>, RunError> {
        let mut least = vec![f64::INFINITY; session.plan().steps.len()];
        for run in 0..=runs {
            session.run_observed(self.inputs, &mut |done| {
                if run > 0 {
                    least[done.index] = least[done.index].min(done.time.as_secs_f64());
                }
            })?;
        }
        Ok(least)
    }
}

/// How far it is, and what disturbed it until then.
struct Course<'a> {
    progress: &'a mut dyn FnMut(f64),
    /// Races, of all that there are.
    done: usize,
    all: usize,
    seen: Vec<Disturbance>,
}

impl Course<'_> {
    fn note(&mut self, race: Race) -> Race {
        self.done += 1;
        (self.progress)(self.done as f64 / self.all as f64);
        self.seen.push(race.disturbance);
        race
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
    disturbance: Disturbance,
}

impl Race {
    /// For each turn, the seconds of these steps together: analytic and tuned.
    fn sums(&self, steps: &[usize]) -> [Vec<f64>; 2] {
        [&self.analytic, &self.tuned]
            .map(|turns| turns.iter().map(|turn| steps.iter().map(|&step| turn[step]).sum()).collect())
    }
}

/// Of these steps together, over all pairs of sessions.
fn times(races: &[Race], steps: &[usize]) -> Times {
    let medians: Vec<[f64; 2]> = races.iter().map(|race| race.sums(steps).map(|sums| median(&sums))).collect();
    let [analytic, tuned] = [0, 1].map(|which| medians.iter().map(|pair| pair[which]).collect::<Vec<f64>>());
    let ratio = Estimate::of_pairs(&analytic, &tuned);
    Times { analytic_s: median(&analytic), tuned_s: median(&tuned), ratio }
}

impl LayerChoice {
    /// With nothing measured yet.
    fn new(plan: &Plan, offer: &Offer) -> LayerChoice {
        let step = &plan.steps[offer.steps[0]];
        let ratio = Estimate { value: 1.0, low: None, high: None, processes: 0 };
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

    /// Takes the fastest candidate, if it is faster than the analytic choice by as much as it must be. Whether that is
    /// beyond doubt, [`LayerChoice::confirm`] asks, of more pairs of sessions than each candidate has.
    fn decide(&mut self) {
        let worthwhile = self.candidates.iter().filter(|(_, ratio)| ratio.value < WORTHWHILE);
        if let Some((decision, _)) = worthwhile.min_by(|(_, a), (_, b)| a.value.total_cmp(&b.value)) {
            self.decision = decision.clone();
        }
    }

    /// Goes back to the analytic choice, unless several pairs of sessions say the same.
    fn confirm(&mut self, ratio: Estimate) {
        if ratio.value > WORTHWHILE || ratio.high.is_none_or(|high| high >= 1.0) {
            self.decision = self.analytic.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::weights::RandomWeights;

    const WEIGHTS: RandomWeights = RandomWeights { seed: 1 };

    /// That does not pin, for the threads of this process are those of other tests too.
    fn tuner<'a>(graph: &'a Verified<Graph>, options: &'a Options, inputs: &'a [Tensor]) -> Tuner<'a> {
        let span = Duration::from_millis(1);
        Tuner { graph, weights: &WEIGHTS, options, inputs, span, cores: &[], all_cores: &[] }
    }

    const CONV: &str = "model m\ninput x: f32[N, 8, 8, 8]\nnet { conv 3x3, 8, half }\n";

    /// Of candidates with the ratios of their pairs of sessions.
    fn layer(candidates: &[(&str, [f64; 3])]) -> LayerChoice {
        LayerChoice {
            layer: "conv".into(),
            count: 1,
            kernel: "conv_direct".into(),
            key: "key".into(),
            analytic: "estimated".into(),
            decision: "estimated".into(),
            times: Times { analytic_s: 1.0, tuned_s: 1.0, ratio: Estimate::new(&[1.0]) },
            candidates: candidates
                .iter()
                .map(|(decision, ratios)| (decision.to_string(), Estimate::new(ratios)))
                .collect(),
        }
    }

    #[test]
    fn the_fastest_of_all_repetitions_is_asked_for_again() {
        let decided = |candidates: &[(&str, [f64; 3])]| {
            let mut layer = layer(candidates);
            layer.decide();
            layer.decision
        };
        assert_eq!(decided(&[]), "estimated");
        assert_eq!(decided(&[("a", [0.97, 0.98, 0.99])]), "estimated", "not worth it");
        assert_eq!(decided(&[("a", [0.5, 1.6, 1.5])]), "estimated", "once");
        assert_eq!(decided(&[("a", [0.8, 0.9, 0.95]), ("b", [0.7, 0.8, 0.9]), ("c", [0.85, 0.86, 0.87])]), "b");
        assert_eq!(decided(&[("a", [0.3, 0.99, 0.99]), ("b", [0.6, 0.6, 0.6])]), "b", "once is luck");
    }

    #[test]
    fn what_one_pair_of_sessions_says_is_confirmed_by_others() {
        let confirmed = |ratios: &[f64]| {
            let mut layer = layer(&[("a", [0.8, 0.9, 0.95])]);
            layer.decide();
            layer.confirm(Estimate::new(ratios));
            layer.decision
        };
        assert_eq!(confirmed(&[0.9, 0.91, 0.89, 0.9, 0.9]), "a");
        assert_eq!(confirmed(&[0.98, 0.981, 0.98, 0.98, 0.98]), "estimated", "not worth it");
        assert_eq!(confirmed(&[0.9, 1.1, 0.7, 1.0, 0.9]), "estimated", "luck");
        assert_eq!(confirmed(&[0.5]), "estimated", "one pair");
    }

    #[test]
    fn times_are_those_of_all_steps_together() {
        let race = |factor: f64| Race {
            analytic: vec![vec![1.0, 2.0, 9.0], vec![1.0, 2.0, 9.0]],
            tuned: vec![vec![0.5 * factor, factor, 9.0], vec![0.5 * factor, factor, 9.0]],
            disturbance: Disturbance::default(),
        };
        let times = times(&[race(1.0), race(1.0), race(2.0)], &[0, 1]);
        assert_eq!((times.analytic_s, times.tuned_s), (3.0, 1.5));
        assert_eq!(times.ratio, Estimate::new(&[0.5, 0.5, 1.0]));
    }

    /// Each repetition measures all candidates, one after the other, with a pair of sessions for each.
    #[test]
    fn races_of_candidates_are_repeated() {
        let graph = crate::analysis::testing::model(CONV);
        let (options, inputs) = (Options::default(), [Tensor::zeros([1, 8, 8, 8])]);
        let mut parts = Vec::new();
        let tuned = tuner(&graph, &options, &inputs).run(&mut |part| parts.push(part)).unwrap();
        let layer = &tuned.layers[0];
        assert!(layer.candidates.len() > 1, "{layer:?}");
        assert!(layer.candidates.iter().all(|(_, ratio)| ratio.processes == REPETITIONS), "{layer:?}");
        assert_eq!((layer.times.ratio.processes, tuned.network.unwrap().ratio.processes), (PAIRS, PAIRS));
        assert_eq!(parts.len(), REPETITIONS * layer.candidates.len() + 2 * PAIRS);
        assert!(parts.is_sorted() && parts.last() == Some(&1.0), "{parts:?}");
    }

    #[test]
    fn a_network_without_choices_is_not_measured() {
        let graph =
            crate::analysis::testing::model("model m\ninput x: f32[N, 8, 8, 8]\nnet { maxpool 2x2, stride 2 }\n");
        let (options, inputs) = (Options::default(), [Tensor::zeros([1, 8, 8, 8])]);
        let tuned = tuner(&graph, &options, &inputs).run(&mut |_| panic!("nothing is to be done")).unwrap();
        assert_eq!((tuned.layers.len(), tuned.network), (0, None));
    }

    /// The least of three runs is less than that of one.
    #[test]
    fn both_sessions_run_as_often() {
        let graph = crate::analysis::testing::model(CONV);
        let options = Options::default();
        let inputs = [Tensor::zeros([1, 8, 8, 8])];
        let tuner = tuner(&graph, &options, &inputs);
        for (swapped, pairs) in [(false, 1), (true, 1), (true, PAIRS)] {
            let race = tuner.race(&Choices::default(), swapped, pairs).unwrap();
            assert!(race.analytic.len() == race.tuned.len() && race.tuned.len() >= TURNS / pairs);
            assert!(race.analytic.iter().chain(&race.tuned).flatten().all(|seconds| seconds.is_finite()));
        }
        let mut sessions = [(); 2].map(|()| Session::new(graph.clone(), &WEIGHTS, &options).unwrap());
        assert_eq!(tuner.runs_of_turn(&mut sessions).unwrap(), BURST);
    }
}
