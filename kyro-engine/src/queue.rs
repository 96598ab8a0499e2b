//! The way into the committer: a queue bounded in batches and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::commit::Promise;
use crate::delta::Delta;
use crate::error::{CloseError, MaintenanceError, WriteError};

/// Payload bytes that may wait, in all. One batch may always wait, whatever its size.
const MAX_QUEUED_BYTES: u64 = 128 << 20;

/// A batch on its way.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) payload: Bytes,
    pub(crate) operations: u32,
    pub(crate) promise: Promise,
}

/// What the committer is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Commit a batch.
    Write(Write),
    /// Stop growing the delta: it becomes a frozen one, a new one takes its place.
    Freeze(Sender<Result<Frozen, MaintenanceError>>),
    /// Remove the log's segments that hold nothing at or after this offset.
    Purge(u64, Sender<Result<Purged, MaintenanceError>>),
    /// Everything acknowledged so far becomes durable.
    Sync(Sender<Result<(), WriteError>>),
    /// A segment preallocated beside the commit path.
    Spare(kyro_wal::Spare),
    /// Finish what waits, close the log, stop.
    Close(Sender<Result<(), CloseError>>),
}

/// The answer to [`Request::Freeze`].
#[derive(Debug)]
pub(crate) struct Frozen {
    /// Everything below this offset is in the frozen deltas or in runs.
    pub(crate) through: u64,
    /// The oldest event without a key that the log keeps.
    pub(crate) oldest_event: Option<u64>,
    /// The deltas that no longer grow, newest first. Empty when there is nothing to flush.
    pub(crate) deltas: Vec<Arc<Delta>>,
}

/// The answer to [`Request::Purge`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Purged {
    pub(crate) segments: u64,
}

/// The writers' end.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: Sender<Request>,
    bytes: Arc<AtomicU64>,
}

/// The committer's end.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) receiver: Receiver<Request>,
    bytes: Arc<AtomicU64>,
}

pub(crate) fn queue(max_batches: usize) -> (Queue, Requests) {
    let (sender, receiver) = bounded(max_batches.max(1));
    let bytes = Arc::new(AtomicU64::new(0));
    (Queue { sender, bytes: Arc::clone(&bytes) }, Requests { receiver, bytes })
}

impl Queue {
    /// Puts a batch into the queue, or says at once why not.
    pub(crate) fn try_write(&self, write: Write) -> Result<(), WriteError> {
        let bytes = write.payload.len() as u64;
        if !self.reserve(bytes) {
            return Err(WriteError::Busy { reason: "too many bytes wait for the log" });
        }
        self.sender.try_send(Request::Write(write)).map_err(|refused| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => WriteError::Busy { reason: "too many batches wait for the log" },
                TrySendError::Disconnected(_) => WriteError::Closed,
            }
        })
    }

    /// Puts a batch into the queue, and waits for room where there is none.
    pub(crate) fn write(&self, write: Write) -> Result<(), WriteError> {
        let bytes = write.payload.len() as u64;
        while !self.reserve(bytes) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.sender.send(Request::Write(write)).map_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            WriteError::Closed
        })
    }

    /// Asks for something other than a write. `false` when the committer is gone.
    pub(crate) fn ask(&self, request: Request) -> bool {
        self.sender.send(request).is_ok()
    }

    fn reserve(&self, bytes: u64) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before + bytes <= MAX_QUEUED_BYTES;
        if !fits {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Requests {
    /// Accounts for a batch that left the queue.
    pub(crate) fn taken(&self, write: &Write) {
        self.bytes.fetch_sub(write.payload.len() as u64, Ordering::Relaxed);
    }
}
