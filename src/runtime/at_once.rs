//! Two things that do not wait for each other.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes of stack, as a program's first thread has them.
const STACK: usize = 8 << 20;

/// What both give. The second is done on another thread, or behind the first where the system gives none.
///
/// # Panics
/// If one of them does, when both have ended.
pub fn at_once<A, B: Send>(here: impl FnOnce() -> A, there: impl FnOnce() -> B + Send) -> (A, B) {
    on_thread(thread::Builder::new().stack_size(STACK), here, there)
}

fn on_thread<A, B: Send>(
    builder: thread::Builder,
    here: impl FnOnce() -> A,
    there: impl FnOnce() -> B + Send,
) -> (A, B) {
    // Who cannot start a thread has lost the closure that it was to run.
    let there = Mutex::new(Some(there));
    let take = || there.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it is taken once");
    thread::scope(|scope| {
        let other = builder.spawn_scoped(scope, || take()());
        let first = here();
        let second = match other {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => take()(),
        };
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::channel;

    /// Each waits for the other.
    #[test]
    fn both_are_done_at_the_same_time() {
        let ((to_there, from_here), (to_here, from_there)) = (channel(), channel());
        let here = move || {
            to_there.send(1).unwrap();
            from_there.recv().unwrap()
        };
        let there = move || {
            to_here.send(2).unwrap();
            from_here.recv().unwrap()
        };
        assert_eq!(at_once(here, there), (2, 1));
    }

    #[test]
    fn without_a_thread_one_follows_the_other() {
        let own = thread::current().id();
        let none = thread::Builder::new().stack_size(usize::MAX / 2);
        assert_eq!(on_thread(none, || 1, || thread::current().id()), (1, own));
    }

    #[test]
    fn a_panic_is_passed_on() {
        let said = |f: &mut dyn FnMut()| {
            let panic = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
            panic.downcast::<&str>().map(|text| *text).unwrap()
        };
        let mut there = || at_once(|| (), || panic!("there")).0;
        let mut here = || at_once(|| panic!("here"), || ()).1;
        assert_eq!([said(&mut there), said(&mut here)], ["there", "here"]);
    }
}
