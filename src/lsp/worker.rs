//! The thread that reads and builds texts, so that the editor has its answers meanwhile.

use super::analysis::{Model, Texts};
use super::documents::Open;
use crate::front::text::stop::Stop;
use crossbeam_channel::{Receiver, Sender, unbounded};
use gen_lsp_types::Uri;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a model may take to be built while one types.
const BUDGET: Duration = Duration::from_secs(2);
/// Trees are walked by recursion, as deep as the limits of the language allow.
const STACK: usize = 64 << 20;

/// A text to be looked at.
pub struct Job {
    pub uri: Uri,
    /// Which state of all texts this is.
    pub state: u64,
    pub text: Arc<str>,
    pub open: Open,
    /// Called when a later job takes its place.
    pub stop: Stop,
}

pub enum Found {
    Texts(Arc<Texts>),
    Model(Arc<Model>),
    /// Because of a defect: there will be nothing more of this state.
    Nothing,
}

/// What became of a job.
pub struct Report {
    pub uri: Uri,
    pub state: u64,
    pub found: Found,
}

pub struct Worker {
    jobs: Option<Sender<Job>>,
    pub reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> std::io::Result<Worker> {
        let (jobs, todo) = unbounded::<Job>();
        let (done, reports) = unbounded();
        let work = move || todo.iter().for_each(|job| work(&job, &done));
        let thread = std::thread::Builder::new().name("models".into()).stack_size(STACK).spawn(work)?;
        Ok(Worker { jobs: Some(jobs), reports, thread: Some(thread) })
    }

    pub fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It ends with the worker only.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn work(job: &Job, done: &Sender<Report>) {
    if job.stop.is_called() {
        return;
    }
    let report = |found| {
        if !job.stop.is_called() {
            let _ = done.send(Report { uri: job.uri.clone(), state: job.state, found });
        }
    };
    // A defect in one model is no reason to leave the editor without answers for the others.
    let read =
        catch_unwind(AssertUnwindSafe(|| Arc::new(Texts::read(&job.uri, &job.text, job.open.clone(), &job.stop))));
    let Ok(texts) = read else { return report(Found::Nothing) };
    report(Found::Texts(texts.clone()));
    let model = catch_unwind(AssertUnwindSafe(|| Model::build(&texts, job.stop.within(BUDGET))));
    report(Found::Model(Arc::new(model.unwrap_or_default())));
}
