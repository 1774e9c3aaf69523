//! The threads that read and build texts, and lay them out, so that the editor has its answers meanwhile. A layout needs
//! its own text alone, and waits for no model.

use super::analysis::{Model, Texts};
use super::documents::Open;
use super::position::Encoding;
use super::requests::{Answer, formatting};
use super::server::DEFECT;
use crate::front::text::stop::Stop;
use crate::front::text::syntax::Kept;
use crossbeam_channel::{Receiver, Sender, unbounded};
use gen_lsp_types::{TextEdit, Uri};
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

/// A text that is to be read and built.
pub struct Job {
    pub uri: Uri,
    /// Which state of all texts this is.
    pub state: u64,
    pub text: Arc<str>,
    pub open: Open,
    /// Called when the text has changed, or another that it may use.
    pub stop: Stop,
}

/// A text that is to be laid out.
pub struct Order {
    pub uri: Uri,
    pub text: Arc<str>,
    pub encoding: Encoding,
    /// Called when the text has changed.
    pub stop: Stop,
}

/// What became of a text.
pub struct Report {
    pub uri: Uri,
    pub found: Found,
}

pub enum Found {
    /// Of a state.
    Texts(u64, Arc<Texts>),
    Model(u64, Arc<Model>),
    /// Because of a defect: there will be nothing more of this state.
    Nothing(u64),
    /// Of a text.
    Layout(Arc<str>, Layout),
}

/// The edits that give a text its standard layout.
pub type Layout = Answer<Option<Vec<TextEdit>>>;

/// A thread with its queue.
pub struct Worker<J> {
    jobs: Option<Sender<J>>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Worker<J> {
    fn start(name: &str, mut work: impl FnMut(J) + Send + 'static) -> std::io::Result<Worker<J>> {
        let (jobs, todo) = unbounded::<J>();
        let work = move || todo.iter().for_each(&mut work);
        let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK).spawn(work)?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    pub fn submit(&self, job: J) {
        if let Some(jobs) = &self.jobs {
            // It ends with the worker only.
            let _ = jobs.send(job);
        }
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub struct Workers {
    pub models: Worker<Job>,
    pub layouts: Worker<Order>,
    pub reports: Receiver<Report>,
}

impl Workers {
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> std::io::Result<Workers> {
        let (done, reports) = unbounded();
        let (laid_out, mut kept) = (done.clone(), Kept::of(KEPT));
        Ok(Workers {
            models: Worker::start("models", move |job| work(&job, &mut kept, &done))?,
            layouts: Worker::start("layouts", move |order| lay_out(order, &laid_out))?,
            reports,
        })
    }
}

fn work(job: &Job, kept: &mut Kept, done: &Sender<Report>) {
    if job.stop.is_called() {
        return;
    }
    let report = |found| {
        if !job.stop.is_called() {
            let _ = done.send(Report { uri: job.uri.clone(), found });
        }
    };
    // A defect in one model is no reason to leave the editor without answers for the others.
    let read = || Texts::read(&job.uri, &job.text, job.open.clone(), &job.stop, kept);
    let Ok(texts) = catch_unwind(AssertUnwindSafe(read)).map(Arc::new) else {
        return report(Found::Nothing(job.state));
    };
    report(Found::Texts(job.state, texts.clone()));
    let model = catch_unwind(AssertUnwindSafe(|| Model::build(&texts, job.stop.within(BUDGET))));
    report(Found::Model(job.state, Arc::new(model.unwrap_or_default())));
}

fn lay_out(Order { uri, text, encoding, stop }: Order, done: &Sender<Report>) {
    if stop.is_called() {
        return;
    }
    let layout = || formatting::layout(&text, encoding, &stop.within(BUDGET));
    let layout = catch_unwind(AssertUnwindSafe(layout)).unwrap_or_else(|_| Err(DEFECT.into()));
    let _ = done.send(Report { uri, found: Found::Layout(text, layout) });
}
