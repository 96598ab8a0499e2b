//! The seat of whoever commits: one at a time.

use std::sync::{PoisonError, TryLockError};

use crate::sync::{Mutex, MutexGuard};

/// Holds the committer while it lives. It is the committer's thread that waits for the seat; a writer takes it where it is
/// free, and else queues its batch.
#[derive(Debug)]
pub(crate) struct Seat<C> {
    committer: Mutex<Option<C>>,
}

impl<C> Seat<C> {
    pub(crate) fn new(committer: C) -> Self {
        Self { committer: Mutex::new(Some(committer)) }
    }

    /// Waits until the seat is free. `None` in it says that the committer is gone.
    pub(crate) fn wait(&self) -> MutexGuard<'_, Option<C>> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the seat where it is free.
    pub(crate) fn try_take(&self) -> Option<MutexGuard<'_, Option<C>>> {
        match self.committer.try_lock() {
            Ok(seated) => Some(seated),
            // Only the thread lets a panic through, and empties the seat then.
            Err(TryLockError::Poisoned(seated)) => Some(seated.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
