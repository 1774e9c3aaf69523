//! The thread that reads and builds texts, so that the editor has its answers meanwhile.

use super::analysis::{Model, Texts};
use super::documents::Open;
use super::requests::{Answer, formatting};
use super::server::DEFECT;
use crate::front::text::stop::Stop;
use crate::front::text::syntax::Kept;
use crossbeam_channel::{Receiver, Sender, unbounded};
use gen_lsp_types::Uri;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a text may take to be built, or to be laid out, while one types.
const BUDGET: Duration = Duration::from_secs(2);
/// Bytes of text whose trees are kept for when it has changed.
const KEPT: usize = 1 << 18;
/// Trees are walked by recursion, as deep as the limits of the language allow.
const STACK: usize = 64 << 20;

/// What is to be done with a text.
pub struct Job {
    pub uri: Uri,
    /// Which state of all texts this is.
    pub state: u64,
    /// Called when the text has changed, or another that it may use.
    pub stop: Stop,
    pub task: Task,
}

pub enum Task {
    /// To be read and built.
    Look { text: Arc<str>, open: Open },
    /// To be laid out.
    Layout(Arc<Texts>),
}

pub enum Found {
    Texts(Arc<Texts>),
    Model(Arc<Model>),
    Layout(Answer<Option<String>>),
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
        let work = move || {
            let mut kept = Kept::of(KEPT);
            todo.iter().for_each(|job| work(&job, &mut kept, &done));
        };
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

fn work(job: &Job, kept: &mut Kept, done: &Sender<Report>) {
    if job.stop.is_called() {
        return;
    }
    let report = |found| {
        if !job.stop.is_called() {
            let _ = done.send(Report { uri: job.uri.clone(), state: job.state, found });
        }
    };
    let (text, open) = match &job.task {
        Task::Look { text, open } => (text, open),
        Task::Layout(texts) => return report(Found::Layout(layout(texts, &job.stop.within(BUDGET)))),
    };
    // A defect in one model is no reason to leave the editor without answers for the others.
    let read = catch_unwind(AssertUnwindSafe(|| Texts::read(&job.uri, text, open.clone(), &job.stop, kept)));
    let Ok(texts) = read.map(Arc::new) else { return report(Found::Nothing) };
    report(Found::Texts(texts.clone()));
    let model = catch_unwind(AssertUnwindSafe(|| Model::build(&texts, job.stop.within(BUDGET))));
    report(Found::Model(Arc::new(model.unwrap_or_default())));
}

fn layout(texts: &Texts, stop: &Stop) -> Answer<Option<String>> {
    let layout = catch_unwind(AssertUnwindSafe(|| formatting::layout(texts, stop)));
    layout.unwrap_or_else(|_| Err(DEFECT.into()))
}
