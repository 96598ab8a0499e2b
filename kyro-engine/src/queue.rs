//! The way into the committer: a queue bounded in batches and in bytes.
//!
//! It is our own, not a channel, because of its end: once the committer is gone, whatever it did not take is answered,
//! and nothing can be put behind it. Both happen under one lock, so no writer waits for an answer that cannot come.

mod requests;

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};

use crate::commit::Promise;
use crate::conditions::Precondition;
use crate::delta::Delta;
use crate::error::{CloseError, MaintenanceError, WriteError};
use crate::gates::Gates;
use crate::stalls::{Stall, Stalls};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::versions::Change;

pub(crate) use requests::{Patience, Requests};

/// Payload bytes that may wait, in all. One batch may always wait, whatever its size.
const MAX_QUEUED_BYTES: u64 = 128 << 20;

/// A batch on its way.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) payload: Bytes,
    pub(crate) operations: u32,
    /// What must hold for it to be written.
    pub(crate) conditions: Vec<Precondition>,
    /// Whether it adds to what is stored.
    pub(crate) grows: bool,
    /// Whether it is acknowledged only after a sync, whatever the mode.
    pub(crate) sync: bool,
    pub(crate) promise: Promise,
}

/// What the committer is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Commit a batch.
    Write(Write),
    /// Stop growing the delta: it becomes the frozen one, a new one takes its place.
    Freeze(Sender<Result<Frozen, MaintenanceError>>),
    /// Freeze, and then commit nothing until a change of the content comes or the other end goes.
    Hold(Sender<Result<Frozen, MaintenanceError>>, Receiver<Change>),
    /// Remove the log's segments that hold nothing at or after this offset.
    Purge(u64, Sender<Result<Purged, MaintenanceError>>),
    /// Everything acknowledged so far becomes durable.
    Sync(Sender<Result<(), WriteError>>),
    /// A segment preallocated beside the commit path.
    Spare(kyro_wal::Spare),
    /// Finish what waits, close the log, stop.
    Close(Sender<Result<(), CloseError>>),
}

/// A delta that no longer grows.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    /// The delta; `None` when there is nothing to flush.
    pub(crate) delta: Option<Arc<Delta>>,
    /// Everything below this offset is in it or in runs.
    pub(crate) through: u64,
    /// The oldest event without a key that the log keeps.
    pub(crate) oldest_event: Option<u64>,
    /// Whether it was frozen by this request; otherwise an earlier flush failed and left it, and there is more.
    pub(crate) fresh: bool,
}

/// The answer to [`Request::Purge`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Purged {
    pub(crate) segments: u64,
}

/// The writers' end.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Condvar,
    max_batches: usize,
    max_bytes: u64,
    /// Where those sleep who wait for their answers.
    pub(crate) gates: Arc<Gates>,
    /// Counts what was put here, for a committer that looks without the lock.
    arrivals: AtomicUsize,
    /// Writes held back, here and before.
    pub(crate) stalls: Stalls,
}

/// How a rest of the committer's thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rested {
    /// Before its time, because there is something to do.
    Called,
    ToTheEnd,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    batches: usize,
    bytes: u64,
    closed: bool,
    /// Whether the committer sleeps, until how many batches wait, and how many writers sleep: nobody is woken for nothing.
    committer_sleeps: bool,
    wake_at: usize,
    writers_asleep: usize,
    /// Until when the committer's thread rests or is about to, where not for ever; and whether it is not to.
    rests_until: Option<Instant>,
    rung: bool,
}

impl Waiting {
    /// Why another batch of so many bytes has to wait, if it has to.
    fn lacks_room(&self, bytes: u64, max_batches: usize, max_bytes: u64) -> Option<Stall> {
        if self.batches >= max_batches {
            Some(Stall::QueueBatches)
        } else if self.bytes > 0 && self.bytes + bytes > max_bytes {
            Some(Stall::QueueBytes)
        } else {
            None
        }
    }
}

impl Queue {
    pub(crate) fn new(max_batches: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            room: Condvar::new(),
            max_batches: max_batches.max(1),
            max_bytes: MAX_QUEUED_BYTES,
            gates: Arc::default(),
            arrivals: AtomicUsize::new(0),
            stalls: Stalls::default(),
        }
    }

    /// With at most this many payload bytes waiting, where that is fewer.
    pub(crate) fn bounded_by(mut self, bytes: Option<u64>) -> Self {
        self.max_bytes = bytes.map_or(self.max_bytes, |bytes| bytes.min(self.max_bytes));
        self
    }

    /// Puts a batch into the queue, or says at once why not.
    pub(crate) fn try_write(&self, write: Write) -> Result<(), WriteError> {
        let waiting = self.lock();
        if waiting.closed {
            return Err(WriteError::Closed);
        }
        if let Some(stall) = waiting.lacks_room(write.payload.len() as u64, self.max_batches, self.max_bytes)
        {
            self.stalls.refused(stall);
            let reason = match stall {
                Stall::QueueBytes => "too many bytes wait for the log",
                _ => "too many batches wait for the log",
            };
            return Err(WriteError::Busy { reason });
        }
        self.put(waiting, Request::Write(write));
        Ok(())
    }

    /// Puts a batch into the queue, and waits for room where there is none.
    pub(crate) fn write(&self, write: Write) -> Result<(), WriteError> {
        let mut waiting = self.lock();
        let mut stalled = None;
        while let Some(stall) =
            waiting.lacks_room(write.payload.len() as u64, self.max_batches, self.max_bytes)
            && !waiting.closed
        {
            stalled.get_or_insert_with(|| (stall, Instant::now()));
            waiting.writers_asleep += 1;
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.writers_asleep -= 1;
        }
        if let Some((stall, start)) = stalled {
            self.stalls.waited(stall, start);
        }
        if waiting.closed {
            return Err(WriteError::Closed);
        }
        self.put(waiting, Request::Write(write));
        Ok(())
    }

    /// Asks for something other than a write. `false` when the committer is gone.
    pub(crate) fn ask(&self, request: Request) -> bool {
        let waiting = self.lock();
        if waiting.closed {
            return false;
        }
        self.put(waiting, request);
        true
    }

    /// Whether nothing waits, and something may.
    pub(crate) fn is_idle(&self) -> bool {
        let waiting = self.lock();
        waiting.requests.is_empty() && !waiting.closed
    }

    /// Says until when the committer's thread is about to [rest](Self::rest). To be said while nobody else can commit:
    /// who commits from then on [rings](Self::ring_before) where that is too long.
    pub(crate) fn announce(&self, until: Option<Instant>) {
        let mut waiting = self.lock();
        (waiting.rests_until, waiting.rung) = (until, false);
    }

    /// Ends the rest of the committer's thread where it would last beyond `until`.
    pub(crate) fn ring_before(&self, until: Instant) {
        let mut waiting = self.lock();
        if waiting.rung || waiting.rests_until.is_some_and(|announced| announced <= until) {
            return;
        }
        waiting.rung = true;
        if std::mem::take(&mut waiting.committer_sleeps) {
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// Sleeps until something waits or the queue is closed, somebody rings, or the announced time has come.
    pub(crate) fn rest(&self) -> Rested {
        let mut waiting = self.lock();
        while waiting.requests.is_empty() && !waiting.rung && !waiting.closed {
            let left = waiting.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
            (waiting.committer_sleeps, waiting.wake_at) = (true, 1);
            waiting = match left {
                Some(left) if left.is_zero() => {
                    waiting.committer_sleeps = false;
                    return Rested::ToTheEnd;
                }
                Some(left) => {
                    self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
            waiting.committer_sleeps = false;
        }
        Rested::Called
    }

    /// Looks for a while whether anything comes, without sleeping: for less than it takes to be woken.
    pub(crate) fn spin(&self, longest: Duration) {
        let seen = self.arrivals.load(Ordering::Acquire);
        if !self.lock().requests.is_empty() {
            return;
        }
        let start = Instant::now();
        while self.arrivals.load(Ordering::Acquire) == seen && start.elapsed() < longest {
            for _ in 0..8 {
                std::hint::spin_loop();
            }
        }
    }

    fn put(&self, mut waiting: MutexGuard<'_, Waiting>, request: Request) {
        let mut wake = true;
        if let Request::Write(write) = &request {
            waiting.batches += 1;
            waiting.bytes += write.payload.len() as u64;
            wake = waiting.batches >= waiting.wake_at;
        }
        waiting.requests.push_back(request);
        self.arrivals.fetch_add(1, Ordering::Release);
        if wake && std::mem::take(&mut waiting.committer_sleeps) {
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit;

    fn write(bytes: usize) -> (Write, commit::Commit) {
        let (promise, commit) = commit::pair(&Arc::default());
        (
            Write {
                payload: Bytes::from(vec![0; bytes]),
                operations: 1,
                conditions: Vec::new(),
                grows: true,
                sync: false,
                promise,
            },
            commit,
        )
    }

    #[test]
    fn both_bounds_hold_and_room_wakes_whoever_waits() {
        let queue = Arc::new(Queue::new(2));
        let mut requests = Requests::new(Arc::clone(&queue));
        let big = MAX_QUEUED_BYTES as usize;
        queue.try_write(write(big + 1).0).unwrap();
        assert!(matches!(queue.try_write(write(1).0), Err(WriteError::Busy { .. })), "bytes");
        assert!(requests.next(Patience::None).is_some());
        queue.try_write(write(1).0).unwrap();
        queue.try_write(write(1).0).unwrap();
        assert!(matches!(queue.try_write(write(1).0), Err(WriteError::Busy { .. })), "batches");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| queue.write(write(1).0));
            while queue.lock().writers_asleep == 0 {
                std::thread::yield_now();
            }
            assert!(requests.next(Patience::None).is_some());
            writer.join().unwrap().unwrap();
        });
        assert_eq!(requests.batches(), 2);
        let stalls: Vec<_> = queue
            .stalls
            .read()
            .iter()
            .map(|stall| (stall.reason, stall.count, stall.time > Duration::ZERO))
            .collect();
        assert_eq!(
            stalls,
            [
                ("queue_batches", 2, true),
                ("queue_bytes", 1, false),
                ("memory", 0, false),
                ("ranges", 0, false),
                ("storage_full", 0, false)
            ]
        );
    }

    #[test]
    fn when_the_committer_goes_everybody_is_answered() {
        let queue = Arc::new(Queue::new(1));
        let requests = Requests::new(Arc::clone(&queue));
        let (first, commit) = write(1);
        queue.try_write(first).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| queue.write(write(1).0));
            while queue.lock().writers_asleep == 0 {
                std::thread::yield_now();
            }
            drop(requests);
            assert!(matches!(writer.join().unwrap(), Err(WriteError::Closed)));
        });
        assert!(matches!(commit.wait(), Err(WriteError::Closed)));
        assert!(matches!(queue.try_write(write(1).0), Err(WriteError::Closed)));
        let (reply, _answer) = crossbeam_channel::bounded(1);
        assert!(!queue.ask(Request::Sync(reply)));
    }

    #[test]
    fn a_deadline_ends_the_waiting() {
        let queue = Arc::new(Queue::new(1));
        let mut requests = Requests::new(Arc::clone(&queue));
        queue.announce(Some(Instant::now()));
        assert_eq!(queue.rest(), Rested::ToTheEnd);
        assert!(requests.next(Patience::Batches(Instant::now(), 1)).is_none());
        assert!(requests.next(Patience::None).is_none());
    }

    #[test]
    fn the_committer_sleeps_until_as_many_wait_as_it_asked_for_or_the_time_is_over() {
        let queue = Arc::new(Queue::new(10));
        let mut requests = Requests::new(Arc::clone(&queue));
        let far = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let first = requests.next(Patience::Batches(far, 2));
                (first.is_some(), requests.batches())
            });
            queue.try_write(write(1).0).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            assert!(!taker.is_finished(), "one of two has come");
            queue.try_write(write(1).0).unwrap();
            assert_eq!(taker.join().unwrap(), (true, 1));
        });
        assert!(requests.next(Patience::None).is_some());
        queue.try_write(write(1).0).unwrap();
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(requests.next(Patience::Batches(soon, 9)).is_some(), "fewer, when the time is over");
        let (reply, _answer) = crossbeam_channel::bounded(1);
        assert!(queue.ask(Request::Sync(reply)));
        assert!(requests.next(Patience::Batches(far, 9)).is_some(), "another request ends the wait");
    }
}
