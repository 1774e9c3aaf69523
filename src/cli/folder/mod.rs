//! `svertka run` on a folder or a list of pictures: so many at the same time, each with a session of its own on the same
//! packed weights, and a row for each.
//!
//! Rows that go to a file are kept in a [`journal`] until all are there, with the values that go to arrays. Whoever is
//! stopped, by `kill -9` too, goes on where he was: no picture is lost, and none has two rows. Then all is written whole.

mod files;
mod journal;
mod parquet;
mod row;
mod targets;

use super::progress::Progress;
use super::run::{Args, label, unusable_scores};
use super::weights::Missing;
use super::{Failure, Outcome, model, print, tell};
use crate::bench::machine;
use crate::error::Error;
use crate::model::Model;
use crate::runtime::{Network, RunError, Session};
use crate::tensor::{Batch, Tensor};
use journal::Journal;
use row::{Ranked, Row};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use targets::Targets;

pub use files::is_meant;

/// Rows of a worker that wait to be written, at most: one that is further ahead waits too.
const WAITING_ROWS: usize = 16;

/// Bytes of values that wait with the rows of all workers.
const WAITING_BYTES: usize = 256 << 20;

pub fn run(args: &Args) -> Outcome {
    let model = model::load(&args.model)?;
    check(args, &model)?;
    let targets = Targets::of(args, &model)?;
    let files = files::list(&args.input.input)?;
    let jobs = args.jobs.map_or_else(machine::cores, usize::from).min(files.len());
    let threads = args.engine.threads.map_or(1, usize::from);
    let Some(options) = args.engine.options_on(threads)? else {
        return Err(Failure::usage("the interpreter takes pictures one by one: `--engine interp` goes with no folder"));
    };
    let weights = args.packed.keep(&model, args.weights.choose_any(&model, Missing::Refused)?);
    let names = if targets.has_classes() { labels(&model)? } else { Vec::new() };
    let network = args.engine.tuned().session(weights.network(&model).clone(), &weights, &options)?.network();
    let work = Work { model: &model, network: &network, args, targets: &targets, threads, files: &files, jobs };
    let Some(name) = targets.first() else {
        return work.run(&mut Lines { args, names: &names, next: 0, waiting: BTreeMap::new() }, &[]);
    };
    let identity = row::identity(args, &model, weights.network(&model), &weights, &options, &targets);
    let mut journal = Journal::open(name, targets.values(), &identity)?;
    let done = journal.done(&files);
    let rows = done.iter().filter(|done| **done).count();
    if rows > 0 {
        let part = journal.path().display();
        tell(&format!("note: {rows} of {} pictures are in {part} from a run before", files.len()));
    }
    work.run(&mut journal, &done)?;
    targets.write(&journal, &journal.places(&files)?, &names, args.top())?;
    journal.remove()
}

/// Arguments that do not go with a folder, and models that cannot take one picture after the other.
fn check(args: &Args, model: &Model) -> Outcome {
    if args.input.keep_size {
        return Err(Failure::usage(
            "`--keep-size` goes with single pictures: those of a folder are brought to one size",
        ));
    }
    if args.verbose {
        return Err(Failure::usage(
            "`--verbose` goes with single pictures: it says how long the parts of one run took",
        ));
    }
    let graph = model.graph();
    if let [_, second, ..] = graph.inputs[..] {
        let name = &graph[second].origin.path;
        return Err(Failure::usage(format!("a folder fills one input, the model has `{name}` too")));
    }
    match graph[graph.inputs[0]].ty.batch {
        Batch::Fixed(batch) if batch != 1 => {
            Err(Failure::usage(format!("pictures of a folder come one by one, the model takes {batch} at a time")))
        }
        _ => Ok(()),
    }
}

/// The names of the classes, or nothing; an error where the outputs are no classes. Asked before the work.
fn labels(model: &Model) -> Result<Vec<String>, Failure> {
    let (_, output) = model.outputs().next().expect("a network has an output");
    let classes = output.channels();
    if output.elements() != classes {
        return Err(Error::NoClasses(output.shape(1)).into());
    }
    let labels = model.labels()?;
    if !labels.is_empty() && labels.len() != classes {
        tell(&format!("warning: {} labels for {classes} classes, which are shown by their numbers", labels.len()));
        return Ok(Vec::new());
    }
    Ok(labels)
}

/// What the workers share.
struct Work<'a> {
    model: &'a Model,
    network: &'a Network,
    args: &'a Args,
    targets: &'a Targets,
    /// Of each session.
    threads: usize,
    files: &'a [PathBuf],
    jobs: usize,
}

/// What a picture gives.
struct Made {
    row: Row,
    /// Of the outputs that go to arrays.
    values: Vec<f32>,
}

/// Takes rows as they come, with the index of their file.
trait Sink {
    fn take(&mut self, index: usize, made: Made) -> Outcome;
}

impl Work<'_> {
    /// Gives the sink a row for every file that is not done.
    fn run(&self, sink: &mut dyn Sink, done: &[bool]) -> Outcome {
        let left: Vec<usize> =
            (0..self.files.len()).filter(|&index| !done.get(index).is_some_and(|done| *done)).collect();
        let sessions: Result<Vec<Session>, _> = (0..self.jobs).map(|_| self.network.session(self.threads)).collect();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let row = self.targets.values().saturating_mul(size_of::<f32>()).max(1);
        let (sender, receiver) = sync_channel((WAITING_BYTES / row).clamp(1, WAITING_ROWS * self.jobs));
        std::thread::scope(|scope| {
            for mut session in sessions? {
                let (sender, next, stop, left) = (sender.clone(), &next, &stop, &left);
                scope.spawn(move || self.work(&mut session, &sender, next, stop, left));
            }
            drop(sender);
            let outcome = self.collect(sink, &receiver, left.len());
            // Workers whose rows nobody takes end at the next one.
            stop.store(true, Ordering::Relaxed);
            drop(receiver);
            outcome
        })
    }

    /// A worker's life.
    fn work(
        &self,
        session: &mut Session,
        rows: &SyncSender<Result<(usize, Made), RunError>>,
        next: &AtomicUsize,
        stop: &AtomicBool,
        left: &[usize],
    ) {
        while let Some(&index) = left.get(next.fetch_add(1, Ordering::Relaxed)) {
            let made = self.make(session, &self.files[index]).map(|made| (index, made));
            if stop.load(Ordering::Relaxed) || rows.send(made).is_err() {
                return;
            }
        }
    }

    /// What is wrong with the picture is its row; what is wrong with the run is an error.
    fn make(&self, session: &mut Session, file: &Path) -> Result<Made, RunError> {
        let of = |result, values| Made { row: Row { path: files::shown(file), result }, values };
        let bad = |error: String| Ok(of(Err(error), vec![f32::NAN; self.targets.values()]));
        let (name, _) = self.model.inputs().next().expect("a network has an input");
        let input = match self.model.read_input(name, file, self.args.input.layout) {
            Ok(input) if input.batch() == 1 => input,
            Ok(input) => return bad(format!("{}: {} samples in one file", file.display(), input.batch())),
            Err(error) => return bad(error.to_string()),
        };
        let outputs = session.run(&[input])?;
        let values = self.targets.arrays.iter().flat_map(|array| outputs[array.output].data());
        Ok(of(self.classes(&outputs[0]), values.copied().collect()))
    }

    /// The likeliest classes, where any are asked for; or why there are none.
    fn classes(&self, scores: &Tensor) -> Result<Vec<Ranked>, String> {
        if !self.targets.has_classes() {
            return Ok(Vec::new());
        }
        if let Some(unusable) = unusable_scores(scores.data()) {
            return Err(unusable);
        }
        let classes = self.model.ranked(scores).expect("the output was looked at before");
        let best = classes[0].iter().take(self.args.top());
        Ok(best.map(|&(class, probability)| Ranked { class, probability }).collect())
    }

    fn collect(&self, sink: &mut dyn Sink, rows: &Receiver<Result<(usize, Made), RunError>>, left: usize) -> Outcome {
        let (mut progress, start) = (Progress::new(), Instant::now());
        let before = self.files.len() - left;
        for count in 1..=left {
            // A worker that panics sends nothing more, and the scope passes its panic on.
            let Ok(made) = rows.recv() else { return Ok(()) };
            let (index, made) = made?;
            sink.take(index, made)?;
            let (all, done) = (self.files.len(), before + count);
            let rate = count as f64 / start.elapsed().as_secs_f64().max(1e-9);
            let rest = shown_time(Duration::from_secs_f64((all - done) as f64 / rate));
            progress.show_bar(done as f64 / all as f64, &format!("{done} of {all}, {rate:.1}/s, {rest} left"));
        }
        Ok(())
    }
}

fn shown_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Prints rows in the order of the files.
struct Lines<'a> {
    args: &'a Args,
    names: &'a [String],
    next: usize,
    waiting: BTreeMap<usize, Row>,
}

impl Sink for Lines<'_> {
    fn take(&mut self, index: usize, made: Made) -> Outcome {
        self.waiting.insert(index, made.row);
        while let Some(row) = self.waiting.remove(&self.next) {
            self.next += 1;
            let text = match &row.result {
                Err(error) => format!("{}: {error}", row.path),
                Ok(best) => match self.args.top {
                    None => format!("{}: {}  {:.4}", row.path, label(self.names, best[0].class), best[0].probability),
                    Some(_) => {
                        let class = |r: &Ranked| format!("\n  {:<32} {:.4}", label(self.names, r.class), r.probability);
                        format!("{}:{}", row.path, best.iter().map(class).collect::<String>())
                    }
                },
            };
            print(&text)?;
        }
        Ok(())
    }
}
