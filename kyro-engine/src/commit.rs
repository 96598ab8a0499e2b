//! A commit's result: filled in once by the committer, waited for or awaited by the writer.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::WriteError;
use crate::gates::{Gates, Opening};
use crate::sync::{Mutex, MutexGuard};

/// The offsets a batch was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Offset of the batch's first operation.
    pub first_offset: u64,
    /// Offset of its last operation.
    pub last_offset: u64,
}

/// A batch on its way into the log.
///
/// Block on it with [`Commit::wait`], or `.await` it under any executor. Dropping it does not take the batch back.
#[must_use = "the batch is durable only when its commit has answered"]
pub struct Commit {
    slot: Arc<Slot>,
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").field("done", &self.slot.lock().result.is_some()).finish()
    }
}

impl Commit {
    /// Waits until the batch is as durable as the engine's mode promises, and visible.
    ///
    /// # Errors
    /// See [`WriteError`]; only [`WriteError::CommitUnknown`] leaves the outcome open.
    pub fn wait(self) -> Result<Committed, WriteError> {
        let Slot { gates, gate, .. } = &*self.slot;
        loop {
            let ticket = {
                let mut state = self.slot.lock();
                if let Some(result) = state.result.take() {
                    return result;
                }
                state.sleeps = true;
                gates.ticket(*gate)
            };
            gates.wait(*gate, ticket);
        }
    }
}

impl Future for Commit {
    type Output = Result<Committed, WriteError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[derive(Default)]
struct State {
    result: Option<Result<Committed, WriteError>>,
    waker: Option<Waker>,
    /// Whether a thread sleeps at the gate, or is about to.
    sleeps: bool,
}

struct Slot {
    state: Mutex<State>,
    gates: Arc<Gates>,
    gate: usize,
}

impl Slot {
    /// Puts the result there, and wakes a task. Gives the gate where a thread sleeps.
    fn put(&self, result: Result<Committed, WriteError>) -> Option<usize> {
        let mut state = self.lock();
        state.result = Some(result);
        let waker = state.waker.take();
        let gate = state.sleeps.then_some(self.gate);
        drop(state);
        if let Some(waker) = waker {
            wake(waker);
        }
        gate
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The committer's end of a [`Commit`]. Dropped unfilled (the committer died), it answers that the outcome is unknown.
pub(crate) struct Promise {
    slot: Option<Arc<Slot>>,
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

/// A commit and its promise, which wait for the group that comes next.
pub(crate) fn pair(gates: &Arc<Gates>) -> (Promise, Commit) {
    let slot = Slot { state: Mutex::default(), gates: Arc::clone(gates), gate: gates.current() };
    let slot = Arc::new(slot);
    (Promise { slot: Some(Arc::clone(&slot)) }, Commit { slot })
}

impl Promise {
    pub(crate) fn fill(mut self, result: Result<Committed, WriteError>) {
        self.complete(result);
    }

    /// As [`fill`](Self::fill), where many are filled: whoever sleeps is woken only when `opening` is
    /// [opened](Gates::open).
    pub(crate) fn fill_later(mut self, result: Result<Committed, WriteError>, opening: &mut Opening) {
        if let Some(slot) = self.slot.take() {
            opening.add(slot.put(result));
        }
    }

    fn complete(&mut self, result: Result<Committed, WriteError>) {
        let Some(slot) = self.slot.take() else { return };
        let mut opening = Opening::default();
        opening.add(slot.put(result));
        slot.gates.open(opening);
    }
}

/// Wakes a task. Its waker is somebody else's code, on the committer's thread: a panic of it stays its own.
pub(crate) fn wake(waker: Waker) {
    std::panic::catch_unwind(AssertUnwindSafe(|| waker.wake())).ok();
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.complete(Err(WriteError::CommitUnknown { reason: "the committer stopped".into() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_promise_answers_a_waiter_on_another_thread() {
        let (promise, commit) = pair(&Arc::default());
        let waiter = std::thread::spawn(move || commit.wait());
        promise.fill(Ok(Committed { first_offset: 3, last_offset: 4 }));
        assert_eq!(waiter.join().unwrap().unwrap(), Committed { first_offset: 3, last_offset: 4 });
    }

    #[test]
    fn a_dropped_promise_leaves_the_outcome_unknown() {
        let (promise, commit) = pair(&Arc::default());
        drop(promise);
        assert!(matches!(commit.wait(), Err(WriteError::CommitUnknown { .. })));
    }

    #[test]
    fn awaiting_is_woken() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let flag = Arc::new(Flag(std::sync::atomic::AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let (promise, mut commit) = pair(&Arc::default());
        assert!(Pin::new(&mut commit).poll(&mut Context::from_waker(&waker)).is_pending());
        promise.fill(Err(WriteError::EmptyBatch));
        assert!(flag.0.load(std::sync::atomic::Ordering::SeqCst));
        assert!(Pin::new(&mut commit).poll(&mut Context::from_waker(&waker)).is_ready());
    }
}
