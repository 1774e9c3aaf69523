//! Splitting a step's tasks over threads.
//!
//! A network has a hundred steps in some milliseconds, so workers wait for the next step with their eyes open for a
//! moment and only then park; waking a parked thread costs more than many a step. Each thread has its fixed share of the
//! tasks, but the caller also does the shares that their threads have not begun when its own is done: it never waits for
//! a thread that sleeps or has no core. Who waits for longer than a small step takes offers the core to others between
//! two looks, since there may be more threads than cores: another session, or the very thread that is waited for.

use super::sync::thread::{self, JoinHandle};
use super::sync::{Arc, AtomicBool, AtomicUsize, LOOKS, Mutex, Ordering, SPIN, Shareable, spin_loop};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// A closure whose lifetime is not known to the compiler.
type Work = dyn Fn(usize, Range<usize>) + Sync + 'static;

/// The threads that run kernels: the caller's, and workers that live as long as this.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts the jobs published.
    epoch: AtomicUsize,
    /// For each worker, the last job of which somebody has begun its share.
    claims: Vec<AtomicUsize>,
    /// The current job.
    job: Shareable<Option<Job>>,
    /// Shares of workers of the current job that are not done.
    pending: AtomicUsize,
    /// For each worker, whether it must be unparked to see a new job.
    parked: Vec<AtomicBool>,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const Work,
    tasks: usize,
}

// SAFETY: `job` is written by the owner of `Threads` only, while `pending` is 0, before it publishes a new epoch (with
// release ordering), and read by workers only after they have claimed their share of that epoch (acquire) and before
// they count down `pending`. The pointer in it is to a `Sync` closure that outlives the job: `Threads::run` waits.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Threads {
    /// `count` threads, the caller's included.
    ///
    /// # Errors
    /// Where `count` is 0 or the system refuses to start threads.
    pub fn new(count: usize) -> std::io::Result<Threads> {
        let workers = count.checked_sub(1).ok_or_else(|| std::io::Error::other("at least one is needed"))?;
        let shared = Arc::new(Shared::new(workers));
        let mut threads = Threads { shared, workers: Vec::new() };
        for index in 1..count {
            let shared = threads.shared.clone();
            let worker = thread::Builder::new().name(format!("svertka-{index}"));
            threads.workers.push(worker.spawn(move || shared.work(index, count))?);
        }
        Ok(threads)
    }

    /// Calls `work(thread, range)` with ranges that together are `0..tasks`, on all threads if it is worth it; each has
    /// its own number. Tasks do not share results, so the split does not change them.
    pub fn run(&mut self, tasks: usize, worth_splitting: bool, work: &(dyn Fn(usize, Range<usize>) + Sync)) {
        if self.workers.is_empty() || !worth_splitting || tasks == 1 {
            return work(0, 0..tasks);
        }
        let count = self.workers.len() + 1;
        // SAFETY: only the lifetime of the closure is dropped from the type; `wait` below outlasts every use.
        let work_of_job =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize, Range<usize>) + Sync), *const Work>(work) };
        self.publish(Job { work: work_of_job, tasks });
        self.shared.attempt(|| work(0, share(tasks, count, 0)));
        for worker in 0..self.workers.len() {
            if self.shared.claim(worker) {
                self.shared.attempt(|| work(0, share(tasks, count, worker + 1)));
                self.shared.pending.fetch_sub(1, Ordering::Release);
            }
        }
        // Even after a panic: the workers may still be reading `work`.
        self.wait();
        let panic = self.shared.panic.lock().map_or(None, |mut p| p.take());
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn publish(&mut self, job: Job) {
        // SAFETY: `&mut self` and `pending` 0 (the last `run` waited for it): no worker reads the job.
        self.shared.job.with_mut(|place| unsafe { *place = Some(job) });
        self.shared.pending.store(self.workers.len(), Ordering::Relaxed);
        // Before `wake` swaps `parked`, which a worker swaps too, before it looks at the epoch for the last time: whoever
        // swaps second sees what the other has done.
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        for (parked, worker) in self.shared.parked.iter().zip(&self.workers) {
            if parked.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    fn wait(&self) {
        let done = || self.shared.pending.load(Ordering::Acquire) == 0;
        if looked(done) {
            return;
        }
        while !done() {
            thread::yield_now();
        }
    }
}

/// Looks for a moment; whether it came true.
fn looked(condition: impl Fn() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        spin_loop();
        condition()
    })
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.wake();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn new(workers: usize) -> Shared {
        Shared {
            epoch: AtomicUsize::new(0),
            claims: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            job: Shareable::new(None),
            pending: AtomicUsize::new(0),
            parked: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    /// The life of worker `index` of `count`.
    fn work(&self, index: usize, count: usize) {
        let worker = index - 1;
        loop {
            self.await_job(worker);
            if !self.claim(worker) {
                continue;
            }
            // Not before: the last job may have ended and the pool been dropped meanwhile, and what was claimed is the
            // epoch that says so.
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the epoch was published after the job, which stays until `pending` is counted down below.
            let job = self.job.with(|place| unsafe { *place }).expect("published before the epoch");
            // SAFETY: `Threads::run`, which holds the closure, waits for `pending`.
            let work = unsafe { &*job.work };
            self.attempt(|| work(index, share(job.tasks, count, index)));
            self.pending.fetch_sub(1, Ordering::Release);
        }
    }

    /// Takes a worker's share of the current job; false where it was taken before. The job stays until the share is
    /// done.
    fn claim(&self, worker: usize) -> bool {
        let (claim, last) = (&self.claims[worker], self.claims[worker].load(Ordering::SeqCst));
        let epoch = self.epoch.load(Ordering::SeqCst);
        // If the job of `epoch` has ended since, the share was taken, and `last` is out of date.
        last != epoch && claim.compare_exchange(last, epoch, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Calls `work` and keeps its panic for the caller of [`Threads::run`].
    fn attempt(&self, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work))
            && let Ok(mut slot) = self.panic.lock()
        {
            *slot = Some(panic);
        }
    }

    /// Returns when nobody has begun the worker's share of the current job.
    fn await_job(&self, worker: usize) {
        let published = || self.epoch.load(Ordering::SeqCst) != self.claims[worker].load(Ordering::SeqCst);
        if looked(published) {
            return;
        }
        let start = Instant::now();
        while !published() {
            if start.elapsed() < SPIN {
                thread::yield_now();
                continue;
            }
            // Read and written in one: who has swapped before has published before, and is seen.
            self.parked[worker].swap(true, Ordering::SeqCst);
            if !published() {
                thread::park();
            }
        }
    }
}

/// The part of `0..tasks` of thread `index` of `count`.
fn share(tasks: usize, count: usize, index: usize) -> Range<usize> {
    tasks * index / count..tasks * (index + 1) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for (tasks, count) in [(1, 2), (7, 1), (7, 2), (7, 3), (100, 4), (2, 4)] {
            let mut threads = Threads::new(count).unwrap();
            for _ in 0..100 {
                let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                threads.run(tasks, true, &|_, range| {
                    range.for_each(|task| {
                        done[task].fetch_add(1, Ordering::Relaxed);
                    });
                });
                assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1), "{tasks} tasks, {count} threads");
            }
        }
    }

    #[test]
    fn a_share_is_taken_once() {
        let shared = Shared::new(1);
        assert!(!shared.claim(0), "there is no job yet");
        for _ in 0..3 {
            shared.epoch.fetch_add(1, Ordering::SeqCst);
            assert!(shared.claim(0));
            assert!(!shared.claim(0), "taken already");
        }
    }

    #[test]
    fn the_caller_does_what_its_workers_have_not_begun() {
        let mut threads = Threads::new(2).unwrap();
        for _ in 0..200 {
            // Long enough for the worker to park now and then, and not to wake before the caller is done.
            thread::sleep(SPIN * 2);
            let done = AtomicUsize::new(0);
            threads.run(2, true, &|_, range| {
                done.fetch_add(range.len(), Ordering::Relaxed);
            });
            assert_eq!(done.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn parked_workers_wake() {
        let mut threads = Threads::new(2).unwrap();
        for _ in 0..3 {
            thread::sleep(SPIN * 20);
            let sum = AtomicUsize::new(0);
            threads.run(10, true, &|_, range| {
                sum.fetch_add(range.sum::<usize>(), Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 45);
        }
    }

    #[test]
    fn a_panic_of_a_worker_reaches_the_caller() {
        let mut threads = Threads::new(2).unwrap();
        let result =
            catch_unwind(AssertUnwindSafe(|| threads.run(2, true, &|_, range| assert!(range.start == 0, "second"))));
        assert!(result.is_err());
        threads.run(2, true, &|_, _| {});
    }
}
