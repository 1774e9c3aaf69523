//! How a run cuts its batch.

/// Which samples go through the network by themselves, and which together.
///
/// A sample that goes by itself finds in the caches what its last step wrote, and a thread that takes its own samples
/// through all steps waits for no other. The few samples that are left when each thread has as many as the others go
/// together: all threads share each step. So do the last steps of a plan for all samples, where it says so
/// ([`Plan::joint_from`](super::Plan::joint_from)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Samples of the run.
    pub batch: usize,
    /// The first samples, which go by themselves, equally many on each thread.
    pub alone: usize,
    /// Samples whose values are in memory at the same time, but for those of the steps that all do together.
    pub slots: usize,
}

impl Cut {
    /// For a run on so many threads.
    pub fn new(batch: usize, threads: usize) -> Cut {
        Cut { batch, alone: batch - batch % threads, slots: batch.min(threads) }
    }

    /// All samples do a step before the next one begins.
    pub fn together(batch: usize) -> Cut {
        Cut { batch, alone: 0, slots: batch }
    }

    /// Samples that go together.
    pub fn rest(&self) -> usize {
        self.batch - self.alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_as_many_samples_and_no_more_are_in_memory() {
        for (batch, threads, expected) in
            [(1, 1, (1, 1)), (8, 1, (8, 1)), (8, 2, (8, 2)), (1, 2, (0, 1)), (7, 4, (4, 4)), (3, 4, (0, 3))]
        {
            let cut = Cut::new(batch, threads);
            assert_eq!((cut.alone, cut.slots), expected, "{batch} samples on {threads} threads");
            assert!(cut.rest() <= cut.slots);
        }
    }
}
