//! The committer's end of the queue.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{Queue, Request};
use crate::error::WriteError;

/// The committer's end. When it is dropped, however the committer ended, everything that waits is answered.
#[derive(Debug)]
pub(crate) struct Requests {
    queue: Arc<Queue>,
    /// Taken out of the queue and not served yet; they no longer count against its bounds.
    taken: VecDeque<Request>,
    taken_batches: usize,
}

/// How long [`Requests::next`] waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// Until so many batches wait, or anything else does, or the time has come; then whatever is there.
    Batches(Instant, usize),
    None,
}

impl Requests {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, taken: VecDeque::new(), taken_batches: 0 }
    }

    /// The next request; `None` when there is none in time.
    pub(crate) fn next(&mut self, patience: Patience) -> Option<Request> {
        if self.taken.is_empty() {
            self.take(patience);
        }
        let request = self.taken.pop_front()?;
        self.taken_batches -= usize::from(matches!(request, Request::Write(_)));
        Some(request)
    }

    /// Takes everything that waits, once that is enough: with one lock for all of it.
    fn take(&mut self, patience: Patience) {
        let mut waiting = self.queue.lock();
        if let Patience::Batches(deadline, wanted) = patience {
            while waiting.batches < wanted && waiting.batches == waiting.requests.len() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                (waiting.committer_sleeps, waiting.wake_at) = (true, wanted);
                let waited = self.queue.arrived.wait_timeout(waiting, left);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
                waiting.committer_sleeps = false;
            }
        }
        std::mem::swap(&mut self.taken, &mut waiting.requests);
        self.taken_batches = std::mem::take(&mut waiting.batches);
        waiting.bytes = 0;
        self.queue.gates.turn();
        if waiting.writers_asleep > 0 {
            self.queue.room.notify_all();
        }
    }

    /// Batches that wait.
    pub(crate) fn batches(&self) -> usize {
        self.taken_batches + self.queue.lock().batches
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.requests);
        (waiting.batches, waiting.bytes) = (0, 0);
        drop(waiting);
        self.queue.arrived.notify_one();
        self.queue.room.notify_all();
        for request in std::mem::take(&mut self.taken).into_iter().chain(left) {
            // Nothing of it was written. Of the others, a dropped reply says that the engine is closed.
            if let Request::Write(write) = request {
                write.promise.fill(Err(WriteError::Closed));
            }
        }
    }
}
