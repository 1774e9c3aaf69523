//! Splitting a step's tasks over threads.

use super::denormals::FlushDenormals;
use std::ops::Range;

/// The threads that run kernels.
pub struct Threads {
    /// None for one thread: the caller's.
    pool: Option<rayon::ThreadPool>,
    count: usize,
}

impl Threads {
    /// # Errors
    /// Where the system refuses to start threads.
    pub fn new(count: usize) -> Result<Threads, rayon::ThreadPoolBuildError> {
        let pool = match count {
            1 => None,
            _ => Some(rayon::ThreadPoolBuilder::new().num_threads(count).build()?),
        };
        Ok(Threads { pool, count })
    }

    /// Calls `work(thread, range)` with ranges that together are `0..tasks`, on as many threads as there are, each of
    /// which has its own number below `count`. The split depends on nothing but the numbers; tasks do not share
    /// results, so it does not change them either.
    pub fn run(&self, tasks: usize, worth_splitting: bool, work: impl Fn(usize, Range<usize>) + Sync) {
        match &self.pool {
            Some(pool) if worth_splitting && tasks > 1 => {
                pool.broadcast(|context| {
                    let range = share(tasks, self.count, context.index());
                    if !range.is_empty() {
                        let _flush = FlushDenormals::new();
                        work(context.index(), range);
                    }
                });
            }
            _ => {
                let _flush = FlushDenormals::new();
                work(0, 0..tasks);
            }
        }
    }
}

/// The part of `0..tasks` of worker `index` of `count`.
fn share(tasks: usize, count: usize, index: usize) -> Range<usize> {
    tasks * index / count..tasks * (index + 1) / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_task_is_done_once() {
        for (tasks, count) in [(1, 2), (7, 2), (7, 3), (100, 4)] {
            let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            Threads::new(count).unwrap().run(tasks, true, |_, range| {
                range.for_each(|task| {
                    done[task].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1), "{tasks} tasks, {count} threads");
        }
    }
}
