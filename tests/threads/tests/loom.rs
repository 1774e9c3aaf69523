//! The thread pool under loom, which lets the steps of its threads happen in every order that the memory model allows
//! (the orders of more threads or jobs are bounded by how often a thread is stopped where it could go on).

#[path = "../../../src/runtime/threads.rs"]
#[allow(dead_code, unused_imports)]
mod threads;

/// As `src/runtime/sync.rs`, of loom's models. Nobody looks before he waits: that would only repeat what comes.
mod sync {
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub use loom::sync::{Arc, Mutex};
    pub use loom::thread;
    pub type Shareable<T> = loom::cell::UnsafeCell<T>;
    pub const SPIN: std::time::Duration = std::time::Duration::ZERO;
    pub const LOOKS: usize = 0;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use sync::Shareable;
use threads::Threads;

/// A counter for each task; loom finds it when one is written while another thread may get at it.
struct Results(Vec<Shareable<usize>>);

// SAFETY: each counter is written by the thread that has its task, and read when all have ended; loom checks it.
unsafe impl Sync for Results {}

impl Results {
    fn add(&self, task: usize) {
        // SAFETY: see above.
        self.0[task].with_mut(|counter| unsafe { *counter += 1 });
    }

    fn are_all(&self, expected: usize) -> bool {
        // SAFETY: see above.
        self.0.iter().all(|counter| counter.with(|counter| unsafe { *counter }) == expected)
    }
}

fn model(name: &str, preemptions: Option<usize>, check: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    builder.check(check);
    println!("{name}: ok");
}

/// Every task of `jobs` jobs is done once, and seen when the job has ended.
fn jobs(count: usize, tasks: usize, jobs: usize) {
    let mut threads = Threads::new(count).unwrap();
    let results = Results((0..tasks).map(|_| Shareable::new(0)).collect());
    for job in 1..=jobs {
        threads.run(tasks, true, &|_, range| range.for_each(|task| results.add(task)));
        assert!(results.are_all(job));
    }
}

fn panics() {
    let mut threads = Threads::new(2).unwrap();
    let job = AssertUnwindSafe(|| threads.run(2, true, &|_, range| std::panic::resume_unwind(Box::new(range.start))));
    assert!(catch_unwind(job).is_err(), "the panic is the caller's");
}

fn main() {
    model("threads without a job end", None, || drop(Threads::new(2).unwrap()));
    model("a job on two threads", None, || jobs(2, 2, 1));
    model("two jobs on two threads", Some(3), || jobs(2, 2, 2));
    model("a job on three threads", Some(2), || jobs(3, 3, 1));
    model("panics on two threads", Some(2), panics);
}
