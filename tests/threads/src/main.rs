//! Many short jobs on few threads, for ThreadSanitizer: results, borrowed closures, panics, parked workers.

#[path = "../../../src/runtime/sync.rs"]
mod sync;
#[path = "../../../src/runtime/threads.rs"]
mod threads;

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;
use threads::Threads;

/// Results without any synchronisation of their own.
struct Results(Vec<UnsafeCell<u64>>);

// SAFETY: each element is written by the thread that has its task, and read when all have ended.
unsafe impl Sync for Results {}

fn main() {
    let jobs: u64 = std::env::args().nth(1).map_or(1_000_000, |jobs| jobs.parse().expect("a number of jobs"));
    for count in [2, 3, 4] {
        let mut threads = Threads::new(count).expect("threads");
        let mut results = Results((0..7).map(|_| UnsafeCell::new(0)).collect());
        for job in 0..jobs / 3 {
            let shared = &results;
            threads.run(7, true, &|_, range| {
                // SAFETY: no other thread has these tasks.
                range.for_each(|task| unsafe { *shared.0[task].get() += job });
            });
            let expected = job * (job + 1) / 2;
            assert!(results.0.iter_mut().all(|result| *result.get_mut() == expected), "job {job}");
            if job % 10_000 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // One at a time: the standard library is not built for ThreadSanitizer, which cannot see how a mutex is handed over.
        let fail = || resume_unwind(Box::new("a panic"));
        let job = AssertUnwindSafe(|| {
            threads.run(7, true, &|_, range| {
                if range.end == 7 {
                    fail()
                }
            })
        });
        assert!(catch_unwind(job).is_err(), "the panic is the caller's");
    }
    println!("{jobs} jobs");
}
