//! Step by step: where a network's time goes, and how far from the roofline each step is.

use super::clock::Clock;
use super::measure::{Budget, Done, Subject, Turn};
use super::occupation::{self, Occupation, Simulation, Watched};
use super::peak::{Bound, COMPUTE, Peak};
use super::rate;
use super::stats::{Summary, median};
use super::work::Work;
use crate::runtime::{RunError, Session, SessionError};
use crate::schedule::{Place, Plan, Step, View};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// All steps of a network's plan, as one process or several saw them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// In the order in which they run.
    pub steps: Vec<StepProfile>,
    /// Sum of the steps' median times.
    pub time_s: f64,
    /// Sum of the steps' bounds.
    pub bound_s: f64,
    /// Time of the whole network, its steps' medians and the median of what is between them, over the sum of their bounds. A
    /// run is disturbed more often than any step of it.
    pub distance: f64,
    /// How many times as fast as when the peak was measured the clock was beside these runs: bounds are at this clock.
    pub clock: f64,
    /// How many times as fast as the peak at that clock arithmetic and memory were taken to be, because a step was; mostly
    /// 1.
    pub arithmetic_raised: f64,
    pub memory_raised: f64,
    /// Bytes of the arena of one sample.
    pub arena_bytes: u64,
    pub arena: Vec<ArenaBuffer>,
    /// What the threads did; absent on one thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupation: Option<Occupation>,
    /// With `--simulate`: what other numbers of threads would do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub simulated: Vec<Occupation>,
}

/// One kernel call. The first one's time includes the allocation of the outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepProfile {
    /// Path of the layer; its text where it has no label.
    pub layer: String,
    /// The layer as in the model file, and what the step is for where it only prepares or copies a value.
    pub what: String,
    pub kernel: String,
    pub time: Summary,
    /// Of the sum of all steps' times, 0 to 1.
    pub share: f64,
    /// Two for each multiply-accumulate of the layer's definition, for the whole batch.
    pub flops: u64,
    /// By these. A kernel that needs fewer, such as Winograd's, can pass the peak.
    pub gflops: f64,
    /// Two for each multiply-accumulate that the kernel makes at the least, of whole numbers for as many as an
    /// instruction makes in a lane; for the whole batch.
    pub own_flops: u64,
    /// By these, of the peak of the cores used, 0 to 1.
    pub peak_share: f64,
    /// Inputs, output and weights, each once, for the whole batch.
    pub bytes: u64,
    /// Operations for each byte.
    pub intensity: f64,
    /// What bounds the step: `compute`, or the level of memory that holds its bytes.
    pub bound: String,
    pub bound_s: f64,
    /// Median time over bound.
    pub distance: f64,
    /// Elements of the output, for the whole batch.
    pub elements: u64,
    /// All decisions about the kernel.
    pub conf: String,
    pub reads: Vec<String>,
    pub writes: String,
    /// What the passes did with the layer, and why kernels were refused.
    pub notes: Vec<String>,
    /// What the threads did; absent on one thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupation: Option<Occupation>,
}

/// Memory of one or more values, and when it is in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArenaBuffer {
    pub offset: u64,
    pub bytes: u64,
    /// The step that writes it first.
    pub first_step: usize,
    /// The step that touches it last.
    pub last_step: usize,
}

/// What a profile is made for.
pub struct Wanted<'a> {
    pub budget: &'a Budget,
    pub peak: &'a Peak,
    /// Cores that the session's threads can occupy, and all of the machine.
    pub cores: usize,
    pub cores_of_machine: usize,
    /// Numbers of threads to be simulated.
    pub simulate: &'a [usize],
}

/// Why a profile could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The session does not take the inputs.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The system gives no memory or threads for the sessions beside it.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Measures every step, of all samples of a batch together. Several threads are measured in turn with one. Bounds are at the
/// clock that is seen beside the runs.
///
/// # Errors
/// As [`ProfileError`] says.
pub fn profile(
    session: &mut Session,
    inputs: &[Tensor],
    wanted: &Wanted,
    clock: &mut Clock,
    progress: &mut dyn FnMut(Done),
) -> Result<Profile, ProfileError> {
    let (batch, warmup) = (inputs[0].batch(), wanted.budget.warmup);
    session.run(inputs)?;
    // What it has seen until now was not beside these runs.
    clock.forget();
    let watched = watch(session, inputs, wanted, &mut |done| {
        clock.look();
        progress(done);
    })?;
    let clock = clock.gflops().map_or(1.0, |gflops| gflops / wanted.peak.clock_gflops());
    let wanted = &Wanted { peak: &wanted.peak.at_clock(clock), ..*wanted };
    let (own, plan) = (&watched[0], session.plan());
    let times: Vec<Summary> = own.times().map(|times| Summary::new(&times[warmup..])).collect();
    let works: Vec<Work> = plan.steps.iter().map(|step| Work::new(plan, step)).collect();
    let (arithmetic_raised, memory_raised) = passed(&works, &times, batch, wanted);
    let peak = &wanted.peak.raised(arithmetic_raised, memory_raised);
    let all = plan.steps.iter().zip(&works).zip(times);
    let mut steps: Vec<StepProfile> =
        all.map(|((step, work), time)| step_profile(plan, step, work, time, batch, (peak, wanted.cores))).collect();
    let time_s: f64 = steps.iter().map(|s| s.time.median_s).sum();
    let bound_s: f64 = steps.iter().map(|s| s.bound_s).sum();
    steps.iter_mut().for_each(|s| s.share = rate(s.time.median_s, time_s));
    let mut profile = Profile {
        steps,
        time_s,
        bound_s,
        distance: rate(time_s + own.between_s(warmup), bound_s),
        clock,
        arithmetic_raised,
        memory_raised,
        arena_bytes: plan.arena_bytes() as u64,
        arena: arena(plan),
        occupation: None,
        simulated: Vec::new(),
    };
    profile.add_threads(plan, batch, &watched, wanted);
    Ok(profile)
}

impl Profile {
    /// Of several processes, step by step: of times, bounds and distances the medians, each process's own bounds being at
    /// its own clock; of what threads do, the means over the middle half of the processes by their time.
    ///
    /// # Panics
    /// Where there is none, or they are not of the same plan.
    pub fn over_processes(all: &[Profile]) -> Profile {
        let of = |figure: &dyn Fn(&Profile) -> f64| median(&all.iter().map(figure).collect::<Vec<_>>());
        let totals: Vec<f64> = all.iter().map(|one| one.occupation.map_or(one.time_s, |o| o.time_s)).collect();
        let middle = occupation::middle(&totals);
        let seen = |of: &dyn Fn(&Profile) -> Option<Occupation>| -> Option<Occupation> {
            let seen: Vec<Occupation> = middle.iter().map(|&index| of(&all[index])).collect::<Option<_>>()?;
            Some(occupation::mean(seen.first()?.threads, seen.into_iter()))
        };
        let step = |index: usize| {
            let steps: Vec<&StepProfile> = all.iter().map(|one| &one.steps[index]).collect();
            StepProfile { occupation: seen(&|one| one.steps[index].occupation), ..StepProfile::over_processes(&steps) }
        };
        let mut steps: Vec<StepProfile> = (0..all[0].steps.len()).map(step).collect();
        let time_s: f64 = steps.iter().map(|s| s.time.median_s).sum();
        steps.iter_mut().for_each(|s| s.share = rate(s.time.median_s, time_s));
        let simulated = 0..all[0].simulated.len();
        Profile {
            time_s,
            bound_s: steps.iter().map(|s| s.bound_s).sum(),
            steps,
            distance: of(&|one| one.distance),
            clock: of(&|one| one.clock),
            arithmetic_raised: of(&|one| one.arithmetic_raised),
            memory_raised: of(&|one| one.memory_raised),
            occupation: seen(&|one| one.occupation),
            simulated: simulated.filter_map(|index| seen(&|one| one.simulated.get(index).copied())).collect(),
            arena_bytes: all[0].arena_bytes,
            arena: all[0].arena.clone(),
        }
    }

    /// What several threads did, and what others would do, where one alone was watched too.
    fn add_threads(&mut self, plan: &Plan, batch: usize, watched: &[Watched], wanted: &Wanted) {
        let (own, warmup) = (&watched[0], wanted.budget.warmup);
        let Some(alone) = watched.iter().find(|watched| watched.threads() == 1) else { return };
        if own.threads() > 1 {
            self.occupy(&own.occupations(alone, warmup));
        }
        let handover_s = watched.iter().map(|watched| watched.handover_s(warmup)).fold(0.0, f64::max);
        let simulation = Simulation::new(plan, batch, alone, warmup, handover_s);
        self.simulated = wanted.simulate.iter().map(|&threads| simulation.on(threads)).collect();
    }

    fn occupy(&mut self, steps: &[Occupation]) {
        self.occupation = Some(occupation::sum(steps[0].threads, steps.iter().copied()));
        self.steps.iter_mut().zip(steps).for_each(|(step, &occupation)| step.occupation = Some(occupation));
    }
}

impl StepProfile {
    /// Of several processes; all but times, and what follows from them, is the same in each.
    fn over_processes(all: &[&StepProfile]) -> StepProfile {
        let of = |figure: &dyn Fn(&StepProfile) -> f64| median(&all.iter().map(|one| figure(one)).collect::<Vec<_>>());
        let times: Vec<Summary> = all.iter().map(|one| one.time.clone()).collect();
        let time = Summary::over_processes(&times);
        let mut by_bound = all.to_vec();
        by_bound.sort_by(|a, b| a.bound_s.total_cmp(&b.bound_s));
        StepProfile {
            bound: by_bound[all.len() / 2].bound.clone(),
            gflops: rate(all[0].flops as f64, time.median_s) / 1e9,
            peak_share: of(&|one| one.peak_share),
            bound_s: of(&|one| one.bound_s),
            distance: of(&|one| one.distance),
            time,
            ..all[0].clone()
        }
    }
}

/// What is seen of the session and of those beside it.
fn watch(
    session: &mut Session,
    inputs: &[Tensor],
    wanted: &Wanted,
    progress: &mut dyn FnMut(Done),
) -> Result<Vec<Watched>, ProfileError> {
    let mut others = others(session, wanted)?;
    let mut sessions: Vec<&mut Session> = [session].into_iter().chain(&mut others).collect();
    let watch = |session: &&mut Session| Watched::new(session.plan(), session.threads());
    let mut watched: Vec<Watched> = sessions.iter().map(watch).collect();
    let mut runs: Vec<_> = (sessions.iter_mut().zip(&mut watched))
        .map(|(session, watched)| {
            move |turn: &Turn| {
                Ok::<_, Infallible>(turn.take(|| watched.run(session, inputs).expect("the first run was accepted")))
            }
        })
        .collect();
    let mut subjects: Vec<&mut Subject<_>> = runs.iter_mut().map(|run| run as &mut Subject<_>).collect();
    wanted.budget.interleave(&mut subjects, progress).unwrap_or_else(|never| match never {});
    drop(runs);
    Ok(watched)
}

/// Sessions to be measured in turn with another: on one thread, what several are compared with and simulated by, and on
/// two, for the time between two steps, if it is to be known and there are two cores. None beside one that is emulated.
fn others(session: &Session, wanted: &Wanted) -> Result<Vec<Session>, SessionError> {
    let threads = session.threads();
    let one = (threads > 1).then_some(1);
    let two = (threads == 1 && !wanted.simulate.is_empty() && wanted.cores_of_machine > 1).then_some(2);
    let network = session.network();
    let counts = one.into_iter().chain(two).filter(|_| session.executed().is_none());
    counts.map(|threads| network.session(threads)).collect()
}

/// How many times as fast as its bound the fastest step was, 1 at the least: of those that arithmetic bounds, and of
/// those that memory does. Then the peak was measured on a slower clock, or was disturbed.
fn passed(works: &[Work], times: &[Summary], batch: usize, wanted: &Wanted) -> (f64, f64) {
    let mut passed = (1.0f64, 1.0f64);
    for (work, time) in works.iter().zip(times).filter(|(_, time)| time.median_s > 0.0) {
        let bound = bound(work, batch, (wanted.peak, wanted.cores));
        let of_limit = if bound.limit == COMPUTE { &mut passed.0 } else { &mut passed.1 };
        *of_limit = of_limit.max(bound.seconds / time.median_s);
    }
    passed
}

fn bound(work: &Work, batch: usize, (peak, cores): (&Peak, usize)) -> Bound {
    let batch = batch as u64;
    let flops = 2 * work.own_macs * batch;
    peak.bound(flops as f64, work.read * batch + work.weights, work.written * batch, cores)
}

fn step_profile(
    plan: &Plan,
    step: &Step,
    work: &Work,
    time: Summary,
    batch: usize,
    (peak, cores): (&Peak, usize),
) -> StepProfile {
    let node = &plan.graph[step.node];
    let samples = batch as u64;
    let (flops, own_flops) = (2 * work.macs * samples, 2 * work.own_macs * samples);
    let bytes = work.values * samples + work.weights;
    let bound = bound(work, batch, (peak, cores));
    let gflops = rate(flops as f64, time.median_s) / 1e9;
    let path = &node.origin.path;
    let layers = step.nodes().map(|id| plan.graph[id].op.layer().map_or("input".to_string(), |l| l.to_string()));
    let layer = layers.collect::<Vec<_>>().join(", then ");
    let paths: Vec<&String> = step.nodes().map(|id| &plan.graph[id].origin.path).collect();
    let passes = plan.notes.iter().filter(|note| paths.contains(&&note.path));
    let passes = passes.map(|n| format!("{}: {}{}", n.pass, if n.done { "" } else { "not done: " }, n.text));
    StepProfile {
        layer: if path.is_empty() { layer.clone() } else { path.clone() },
        what: step.purpose.map_or(layer.clone(), |purpose| format!("{layer}: {purpose}")),
        kernel: step.kernel.name(),
        share: 0.0,
        flops,
        gflops,
        own_flops,
        peak_share: rate(own_flops as f64, time.median_s) / 1e9 / (peak.gflops() * cores as f64),
        bytes,
        intensity: flops as f64 / bytes as f64,
        distance: rate(time.median_s, bound.seconds),
        bound: bound.limit,
        bound_s: bound.seconds,
        time,
        elements: (step.output.ty.elements() * batch) as u64,
        conf: format!("{:?}", step.kernel),
        reads: step.inputs.iter().map(describe).collect(),
        writes: describe(&step.output),
        notes: passes.chain(step.refusals.iter().map(|why| format!("not {why}"))).collect(),
        occupation: None,
    }
}

fn describe(view: &View) -> String {
    format!("{:?} {}", view.layout, view.ty)
}

fn arena(plan: &Plan) -> Vec<ArenaBuffer> {
    let used = plan.buffers.iter().filter(|buffer| buffer.is_used());
    let in_arena = used.filter_map(|buffer| {
        let offset = match buffer.place {
            Place::Arena(offset) => offset,
            // As if it lay behind the arena of the sample.
            Place::Joint(offset) => plan.arena + offset,
            Place::Input(_) | Place::Output(_) => return None,
        };
        Some(ArenaBuffer {
            offset: offset as u64,
            bytes: buffer.bytes as u64,
            first_step: buffer.live.0,
            last_step: buffer.live.1,
        })
    });
    in_arena.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::model;
    use crate::bench::clock;
    use crate::bench::peak::tests::round_figures;
    use crate::bench::report::tests::report;
    use crate::ir::weights::RandomWeights;
    use crate::ir::{Graph, Output, verify};
    use crate::layers::{Conv, Dense, Padding, Softmax, Window};
    use crate::runtime::Options;
    use crate::tensor::{Batch, DType, TensorType};
    use std::time::Duration;

    #[test]
    fn figures_follow_from_shapes_and_times() {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![64] };
        let x = graph.add_input("x", ty);
        let fc = graph.add_layer(Dense { features: 32, bias: true, flatten: false }, &[x], "fc").unwrap();
        let y = graph.add_layer(Softmax::CHANNELS, &[fc], "prob").unwrap();
        graph.outputs.push(Output { name: "y".into(), node: y });
        let mut session =
            Session::new(verify(graph).unwrap(), &RandomWeights { seed: 1 }, &Options::default()).unwrap();
        let inputs = [Tensor::zeros([3, 64])];
        let budget = Budget { warmup: 2, runs: 5, min_time: Duration::ZERO, target_cv: None, turn: Duration::ZERO };
        let peak = round_figures();
        let wanted = Wanted { budget: &budget, peak: &peak, cores: 2, cores_of_machine: 2, simulate: &[1, 4] };
        let found = profile(&mut session, &inputs, &wanted, &mut clock::tests::unknown(), &mut |_| {}).unwrap();

        let fc = found.steps.iter().find(|s| s.layer == "fc").unwrap();
        assert_eq!((fc.time.runs, fc.flops, fc.elements), (5, 2 * 3 * 64 * 32, 3 * 32));
        assert_eq!(fc.bytes, 4 * (3 * 64 + 3 * 32 + 64 * 32 + 32));
        assert_eq!((fc.bound.as_str(), fc.own_flops), ("compute", fc.flops));
        assert_eq!(fc.bound_s, fc.flops as f64 / (200e9 * found.arithmetic_raised));
        assert_eq!(fc.distance, fc.time.median_s / fc.bound_s);
        let softmax = found.steps.iter().find(|s| s.layer == "prob").unwrap();
        assert_eq!((softmax.flops, softmax.bound.as_str()), (0, "L1"));
        assert!(found.steps.iter().all(|step| step.distance > 1.0 - 1e-9));
        assert!((found.steps.iter().map(|s| s.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(found.distance > 0.0);
        for buffer in &found.arena {
            assert!(buffer.offset + buffer.bytes <= found.arena_bytes, "{buffer:?}");
            assert!(buffer.last_step < found.steps.len(), "{buffer:?}");
        }
    }

    #[test]
    fn a_step_of_two_layers_has_the_arithmetic_of_both_and_does_not_move_what_is_between() {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![8, 6, 6] };
        let x = graph.add_input("x", ty);
        let conv = |channels, kernel, groups| {
            let (stride, dilation) = (vec![1; 2], vec![1; 2]);
            let window = Window { kernel: vec![kernel; 2], stride, dilation, padding: Padding::Valid, ceil: false };
            Conv { channels, window, groups, bias: true, weights: None }
        };
        let wide = graph.add_layer(conv(32, 1, 1), &[x], "wide").unwrap();
        let deep = graph.add_layer(conv(32, 3, 32), &[wide], "deep").unwrap();
        graph.outputs.push(Output { name: "y".into(), node: deep });
        let options =
            Options { forced: crate::runtime::Forced { chain: Some(1), ..Default::default() }, ..Options::default() };
        let session = Session::new(verify(graph).unwrap(), &RandomWeights { seed: 1 }, &options).unwrap();
        let plan = session.plan();
        let step = plan.steps.iter().find(|step| step.chained.is_some()).unwrap();
        let work = Work::new(plan, step);
        assert_eq!((work.macs, work.own_macs), (36 * 8 * 32 + 16 * 9 * 32, work.macs));
        assert_eq!((work.read, work.written), (4 * 8 * 36, 4 * 32 * 16));
        assert_eq!((work.values, work.weights), (work.read + work.written, 4 * (32 * 8 + 32 + 32 * 9 + 32)));
    }

    /// A convolution and a pool as this machine does them, with bounds by a peak that was measured when the machine was a
    /// thousand times as slow.
    fn with_old_peak(clock: &mut Clock) -> Profile {
        let text = "model m\ninput x: f32[N, 8, 12, 12]\nnet { conv 3x3, 8, half | maxpool 2x2, stride 2 | flatten | dense 4 }\n";
        let mut session = Session::new(model(text), &RandomWeights { seed: 1 }, &Options::default()).unwrap();
        let budget = Budget { warmup: 1, runs: 3, min_time: Duration::ZERO, target_cv: None, turn: Duration::ZERO };
        let peak = round_figures().raised(1e-3, 1e-3);
        let wanted = Wanted { budget: &budget, peak: &peak, cores: 1, cores_of_machine: 1, simulate: &[] };
        profile(&mut session, &[Tensor::zeros([1, 8, 12, 12])], &wanted, clock, &mut |_| {}).unwrap()
    }

    #[test]
    fn bounds_are_at_the_clock_of_the_runs() {
        let found = with_old_peak(&mut Clock::new());
        assert!(found.clock > 10.0 && (1.0..2.0).contains(&found.arithmetic_raised), "{found:?}");
        assert_eq!(with_old_peak(&mut clock::tests::unknown()).clock, 1.0);
    }

    /// Where a step was faster than the peak allows, the peak is taken to be higher: a bound is never passed.
    #[test]
    fn no_step_passes_its_bound() {
        let found = with_old_peak(&mut clock::tests::unknown());
        assert!(found.arithmetic_raised > 1.0 && found.memory_raised > 1.0, "{found:?}");
        let least = |limit: &str| {
            let of_limit = found.steps.iter().filter(|step| (step.bound == "compute") == (limit == "compute"));
            of_limit.map(|step| step.distance).fold(f64::INFINITY, f64::min)
        };
        assert!(least("compute") > 1.0 - 1e-9 && least("memory") > 1.0 - 1e-9, "{found:?}");
        assert!(found.steps.iter().all(|step| step.peak_share < 1.0 + 1e-9), "{found:?}");
    }

    /// A clock that was half as fast in one process makes its times and its bounds twice as long, but no distance.
    #[test]
    fn processes_are_taken_together_step_by_step() {
        let seen = |step_s: [f64; 2], slow: f64| {
            let mut one = report().results.remove(0).profile.unwrap();
            let step = one.steps[0].clone();
            let step = |seconds: f64| StepProfile {
                time: Summary::new(&[seconds * slow; 3]),
                bound_s: 0.5 * slow,
                distance: seconds / 0.5,
                peak_share: 0.5 / seconds,
                ..step.clone()
            };
            one.steps = step_s.map(step).to_vec();
            Profile { distance: step_s.iter().sum(), clock: 1.0 / slow, ..one }
        };
        let all = [seen([1.0, 4.0], 1.0), seen([2.0, 1.0], 1.0), seen([1.0, 1.0], 2.0)];
        let found = Profile::over_processes(&all);
        let of = |figure: &dyn Fn(&StepProfile) -> f64| found.steps.iter().map(figure).collect::<Vec<_>>();
        assert_eq!(of(&|s| s.distance), [2.0, 2.0], "layer by layer, of different processes");
        assert_eq!(of(&|s| s.time.median_s), [2.0, 2.0]);
        assert_eq!((of(&|s| s.bound_s), of(&|s| s.share)), (vec![0.5, 0.5], vec![0.5, 0.5]));
        assert_eq!((found.time_s, found.bound_s, found.clock, found.distance), (4.0, 1.0, 1.0, 3.0));
        assert_eq!((found.steps[0].time.runs, found.steps[0].time.min_s), (9, 1.0));
        assert_eq!(found.steps[0].gflops, 2000.0 / 2.0 / 1e9);
        // One by itself says what it saw.
        let alone = Profile::over_processes(&all[..1]);
        assert_eq!((alone.time_s, alone.distance, &alone.steps[1].time), (5.0, 5.0, &all[0].steps[1].time));
    }

    /// What several threads did adds up, also over processes.
    #[test]
    fn what_threads_did_is_the_mean_of_the_middle_processes() {
        let seen = |time_s: f64| {
            let mut one = report().results.remove(0).profile.unwrap();
            let run =
                Occupation { threads: 2, time_s, work_s: 1.5 * time_s, uneven_s: 0.5 * time_s, ..Default::default() };
            one.occupy(&[run]);
            one.simulated = vec![Occupation { threads: 4, time_s, ..Default::default() }];
            one
        };
        // The middle half of these are 2, 3 and 4.
        let found = Profile::over_processes(&[3.0, 1.0, 90.0, 2.0, 4.0].map(seen));
        let run = found.occupation.unwrap();
        assert_eq!((run.threads, run.time_s, run.work_s, run.uneven_s), (2, 3.0, 4.5, 1.5));
        assert_eq!((found.steps[0].occupation.unwrap().time_s, found.simulated[0].threads), (3.0, 4));
    }
}
