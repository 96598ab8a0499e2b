//! The committer: owns the log, extends the delta and moves the visible offset.
//!
//! It has a thread, which serves what waits in the queue and gives the log its witness when nothing does. A writer that
//! finds nothing waiting and the [`Seat`] free commits its own batch without waking anybody; see [`commit_here`].
//!
//! A group goes one way: take everything that waits → append to the log's buffer → one write → one sync (mode
//! `always`) → apply to the delta → publish the offset → answer the writers. A step that fails ends the group there.

mod log;
#[cfg(any(mutant = "publish_before_durable", mutant = "split_batch"))]
mod mutant;
mod seat;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Sender;
use kyro_wal::SpareJob;

use crate::commit::{Committed, Promise};
use crate::conditions::{GroupState, Precondition};
use crate::error::WriteError;
use crate::gates::Opening;
use crate::options::Durability;
use crate::queue::{Patience, Request, Requests, Rested, Write};
use crate::reading::Reading;
use crate::shared::Shared;
use crate::stalls::Stall;

pub(crate) use log::{Log, Start};
pub(crate) use seat::Seat;

/// Payload bytes after which a group is closed, whatever still waits.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// Batches after which a group is closed: what bounds the time of the first of them.
const MAX_GROUP_BATCHES: usize = 1024;

/// A group waits for writers at most this part of the last sync's time, and at most this long.
const LINGER_SHARE: u32 = 4;
const MAX_LINGER: Duration = Duration::from_millis(1);

/// And for so many quarters of those who are expected: the last ones get ready while the sync runs.
const EXPECTED_PARTS: usize = 3;

/// Few writers, each of whom comes again sooner than a thread is woken: the committer looks out for them this long.
const FEW_WRITERS: usize = 2;
const SPIN: Duration = Duration::from_micros(25);

/// Size of a segment that is begun while the disk is full.
const SMALL_SEGMENT: u64 = 64 << 10;

/// How often a full disk is looked at.
const FULL_RETRY: Duration = Duration::from_millis(200);

/// A batch whose frame is in the log's buffer.
#[derive(Debug)]
struct Pending {
    first_offset: u64,
    operations: u32,
    payload: Bytes,
    promise: Promise,
}

/// The group being gathered.
#[derive(Debug, Default)]
struct Group {
    pending: Vec<Pending>,
    /// What they make of their keys, as far as conditions asked.
    state: GroupState,
    /// Batches whose conditions failed because of others in the group: answered when those are durable.
    refused: Vec<(Promise, WriteError)>,
    /// Whether one of them is to be synced, whatever the mode.
    sync: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    requests: Requests,
    log: Log,
    /// The oldest event without a key that the log keeps.
    oldest_event: Option<u64>,
    /// Takes preallocation off this thread.
    spare_jobs: Sender<SpareJob>,
    group: Group,
    /// Written since the last sync.
    unsynced: bool,
    /// So many writers are looked out for without sleeping: none where they have no processor beside this thread's.
    few_writers: usize,
    /// The last group has no witness yet.
    unconfirmed: bool,
    last_sync: Instant,
    /// Batches that the next group may have, by the last one.
    expected_batches: usize,
    /// What the last sync took.
    sync_time: Duration,
    /// The session's epoch, and whether the manifest says so: it does from the first write on.
    epoch: u64,
    begun: bool,
}

/// What to do after a request.
enum Next {
    Go,
    Stop,
}

/// The committer's thread: serves requests until it is told to close, or until the committer is gone.
pub(crate) fn run(seat: &Seat<Committer>, shared: &Shared) {
    let served = std::panic::catch_unwind(AssertUnwindSafe(|| serve_until_close(seat, shared)));
    if served.is_err() {
        end_after_panic(shared);
    }
    // However it ended, everything that waits is now answered.
    seat.wait().take();
    shared.visible.close();
}

fn serve_until_close(seat: &Seat<Committer>, shared: &Shared) {
    let mut rested = Rested::Called;
    loop {
        let mut seated = seat.wait();
        let Some(committer) = &mut *seated else { return };
        if matches!(committer.serve_all(rested), Next::Stop) {
            return;
        }
        shared.queue.announce(committer.rest_until());
        let few_writers = (1..=committer.few_writers).contains(&committer.expected_batches);
        drop(seated);
        if few_writers {
            shared.queue.spin(SPIN);
        }
        rested = shared.queue.rest();
    }
}

/// Commits a batch on the caller's thread, or gives it back where it has to go through the queue: because somebody else
/// commits or waits, or is about to. A writer by itself is so spared two changes of threads, each longer than the commit
/// takes without a sync. A batch never passes one that was queued before: nothing waits when this commits.
pub(crate) fn commit_here(seat: &Seat<Committer>, shared: &Shared, write: Write) -> Option<Write> {
    let Some(mut seated) = seat.try_take() else { return Some(write) };
    let Some(committer) = &mut *seated else { return Some(write) };
    if !committer.lets_writers_commit() || !shared.queue.is_idle() {
        return Some(write);
    }
    shared.commits.by_writers.fetch_add(1, Ordering::Relaxed);
    let served = std::panic::catch_unwind(AssertUnwindSafe(|| committer.commit_alone(write)));
    if served.is_err() {
        end_after_panic(shared);
        // The thread ends when it finds the seat empty.
        *seated = None;
    }
    None
}

/// Whoever waits is told that the outcome is unknown, by the promises that are dropped.
fn end_after_panic(shared: &Shared) {
    shared.health.poison("the committer panicked: this is a bug, please report it");
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: Requests,
        start: Start,
        spare_jobs: Sender<SpareJob>,
    ) -> Self {
        Self {
            // A log that was not closed cleanly ends without a witness.
            unconfirmed: matches!(start.log, Log::Live(_)),
            shared,
            requests,
            log: start.log,
            oldest_event: start.oldest_event,
            epoch: start.epoch,
            begun: start.begun,
            spare_jobs,
            group: Group::default(),
            unsynced: false,
            few_writers: match std::thread::available_parallelism() {
                Ok(processors) if processors.get() > 1 => FEW_WRITERS,
                _ => 0,
            },
            last_sync: Instant::now(),
            expected_batches: 0,
            sync_time: Duration::ZERO,
        }
    }

    /// Serves everything that waits. Where nothing did although a rest is over, does what was put off until then.
    fn serve_all(&mut self, rested: Rested) -> Next {
        let mut idle = rested == Rested::ToTheEnd;
        while let Some(request) = self.requests.next(Patience::None) {
            idle = false;
            if matches!(self.serve(request), Next::Stop) {
                return Next::Stop;
            }
        }
        if idle {
            self.idle();
        }
        Next::Go
    }

    /// When [`Committer::idle`] will have something to do, where nothing comes before.
    fn rest_until(&self) -> Option<Instant> {
        let confirm_after = self.shared.options.confirm_after;
        if self.shared.health.poisoned().is_some() {
            return None;
        }
        if self.shared.ballast.is_released() {
            return Some(Instant::now() + FULL_RETRY.min(confirm_after));
        }
        match self.shared.options.durability {
            Durability::Interval(period) if self.unsynced => self.last_sync.checked_add(period),
            Durability::Always | Durability::Interval(_) if self.unconfirmed => {
                self.last_sync.checked_add(confirm_after)
            }
            _ => None,
        }
    }

    /// Whether a writer may commit by itself. Not where each group is synced and several writers are about: a batch
    /// alone would keep the others waiting for a sync that they could have shared.
    fn lets_writers_commit(&self) -> bool {
        !self.syncs_every_group() || self.expected_batches <= 1
    }

    /// Commits a batch as a group of its own, on its writer's thread.
    fn commit_alone(&mut self, write: Write) {
        self.append(write);
        self.finish_group();
        if let Some(until) = self.rest_until() {
            self.shared.queue.ring_before(until);
        }
    }

    fn serve(&mut self, mut request: Request) -> Next {
        loop {
            request = match request {
                Request::Write(first) => match self.commit_group(first) {
                    Some(leftover) => leftover,
                    None => return Next::Go,
                },
                Request::Close(reply) => {
                    answer(&reply, self.close());
                    return Next::Stop;
                }
                other => {
                    self.control(other);
                    return Next::Go;
                }
            };
        }
    }

    fn control(&mut self, request: Request) {
        match request {
            Request::Freeze(reply) => answer(&reply, self.freeze()),
            Request::Hold(reply, held) => {
                let frozen = self.freeze();
                let is_held = frozen.is_ok();
                answer(&reply, frozen);
                if is_held && let Ok(change) = held.recv() {
                    self.change(change);
                }
            }
            Request::Purge(before, reply) => answer(&reply, self.purge(before)),
            Request::Sync(reply) => {
                let result = if self.unsynced { self.sync() } else { self.refuse_poisoned() };
                answer(&reply, result);
            }
            Request::Spare(spare) => {
                if let Log::Live(wal) = &mut self.log {
                    wal.accept_spare(spare);
                }
            }
            // Served by `serve`.
            Request::Write(_) | Request::Close(_) => {}
        }
    }

    /// Commits `first` and everything that waits behind it, up to a request of another kind, which is given back.
    ///
    /// Writers that were answered a moment ago are about to come again. When as many as lately are not all there yet,
    /// the group waits for them, for a small part of what its sync will take: they would otherwise fall into two
    /// groups that take turns, each half as large.
    fn commit_group(&mut self, first: Write) -> Option<Request> {
        let mut bytes = 0;
        let mut batches = 0;
        let mut deadline = None;
        let mut next = Some(Request::Write(first));
        let mut leftover = None;
        while let Some(request) = next.take() {
            let Request::Write(write) = request else {
                leftover = Some(request);
                break;
            };
            bytes += write.payload.len();
            batches += 1;
            self.append(write);
            if bytes >= MAX_GROUP_BYTES || batches >= MAX_GROUP_BATCHES {
                break;
            }
            next = self.requests.next(Patience::None);
            let wanted = self.expected_batches * EXPECTED_PARTS / 4;
            if next.is_none() && batches < wanted && self.syncs_every_group() {
                let deadline = *deadline
                    .get_or_insert_with(|| Instant::now() + (self.sync_time / LINGER_SHARE).min(MAX_LINGER));
                next = self.requests.next(Patience::Batches(deadline, wanted - batches));
            }
        }
        self.finish_group();
        leftover
    }

    fn syncs_every_group(&self) -> bool {
        matches!(self.shared.options.durability, Durability::Always)
    }

    fn append(&mut self, write: Write) {
        let Write { payload, operations, conditions, grows, sync, promise } = write;
        let shared = &self.shared;
        if grows && shared.ballast.is_released() && !shared.ballast.restore(&*shared.storage) {
            shared.queue.stalls.refused(Stall::StorageFull);
            let reason = "the disk was full, and there is not enough space again yet".into();
            return promise.fill(Err(WriteError::StorageFull { reason }));
        }
        let Some(promise) = self.check(&conditions, promise) else { return };
        let wal = match self.live() {
            Ok(wal) => wal,
            Err(error) => return promise.fill(Err(error)),
        };
        #[cfg(not(mutant = "split_batch"))]
        let appended = wal.append(operations, &payload);
        #[cfg(mutant = "split_batch")]
        let appended = mutant::append_in_two(wal, operations, &payload);
        match appended {
            Ok(first_offset) => {
                self.group.sync |= sync;
                self.group.pending.push(Pending { first_offset, operations, payload, promise });
            }
            Err(kyro_wal::Error::TooLarge { bytes, max_bytes, .. }) => {
                promise.fill(Err(WriteError::TooLarge { what: "batch", bytes, limit: max_bytes }));
            }
            Err(error) => promise.fill(Err(self.failed(&error))),
        }
    }

    /// Checks the conditions of a batch. Answers it where one fails, and otherwise gives its promise back.
    fn check(&mut self, conditions: &[Precondition], promise: Promise) -> Option<Promise> {
        if conditions.is_empty() {
            return Some(promise);
        }
        let pending = self.group.pending.iter().map(|pending| (pending.first_offset, &pending.payload));
        if let Err(error) = self.group.state.extend(pending) {
            // Our own bytes, laid down by `Batch`: only a bug or bad memory comes here.
            promise.fill(Err(WriteError::NotWritten { reason: error.to_string().into() }));
            return None;
        }
        let shared = &self.shared;
        let sources = shared.views.load();
        let reading =
            Reading { sources: &sources, visible: shared.visible.next(), counters: &shared.counters };
        match self.group.state.check(conditions, |key| reading.offset(key)) {
            Ok(checked) if checked.failed.is_empty() => return Some(promise),
            Ok(checked) => {
                let error = WriteError::PreconditionFailed { failed: checked.failed };
                if checked.on_group {
                    self.group.refused.push((promise, error));
                } else {
                    promise.fill(Err(error));
                }
            }
            Err(error) => promise.fill(Err(WriteError::Unchecked(Arc::new(error)))),
        }
        None
    }

    fn finish_group(&mut self) {
        let outcome = self.commit_pending();
        if let Err(error) = &outcome {
            let mut opening = Opening::default();
            for pending in self.group.pending.drain(..) {
                pending.promise.fill_later(Err(error.clone()), &mut opening);
            }
            self.shared.queue.gates.open(opening);
        }
        for (promise, error) in self.group.refused.drain(..) {
            // Where what it failed on was not written either, it says no more than that.
            promise.fill(Err(match &outcome {
                Ok(()) => error,
                Err(WriteError::StorageFull { reason }) => {
                    WriteError::StorageFull { reason: Arc::clone(reason) }
                }
                Err(other) => WriteError::NotWritten { reason: other.to_string().into() },
            }));
        }
        self.group.state.clear();
        self.group.sync = false;
    }

    /// Writes, syncs and applies the group. After an error its batches are still to be answered with it.
    fn commit_pending(&mut self) -> Result<(), WriteError> {
        let Log::Live(wal) = &mut self.log else { return Ok(()) };
        if self.group.pending.is_empty() {
            return Ok(());
        }
        let full = self.shared.ballast.is_released() && !wal.stats().spare;
        wal.set_segment_bytes(if full { SMALL_SEGMENT } else { self.shared.options.wal_segment_bytes });
        if let Err(error) = wal.write_group() {
            // The log has dropped the group and taken its offsets back, whatever the error.
            return Err(self.failed(&error));
        }
        self.unsynced = true;
        self.unconfirmed = true;
        let sync_now = match self.shared.options.durability {
            _ if self.group.sync => true,
            Durability::Always => true,
            Durability::Interval(period) => self.last_sync.elapsed() >= period,
            Durability::Never => false,
        };
        #[cfg(mutant = "publish_before_durable")]
        self.publish_unsynced();
        if sync_now
            && !cfg!(mutant = "acknowledge_early")
            && let Err(error) = self.sync()
        {
            let reason = match error {
                WriteError::Poisoned { reason } => reason,
                other => other.to_string().into(),
            };
            return Err(WriteError::CommitUnknown { reason });
        }
        self.apply_group()?;
        self.after_group();
        Ok(())
    }

    /// The group is as durable as promised: make it visible and answer its writers.
    fn apply_group(&mut self) -> Result<(), WriteError> {
        let delta = Arc::clone(&self.shared.views.load().delta);
        let commits = &self.shared.commits;
        commits.group_sizes.observe(self.group.pending.len() as u64);
        let mut next = self.shared.visible.next();
        for pending in &self.group.pending {
            match delta.apply(pending.first_offset, pending.payload.clone()) {
                Ok(applied) => self.oldest_event = self.oldest_event.or(applied.first_event),
                Err(error) => {
                    // Our own bytes, laid down by `Batch`: only a bug or bad memory comes here.
                    let reason = self.shared.health.poison(error.to_string());
                    return Err(WriteError::CommitUnknown { reason });
                }
            }
            next = pending.first_offset + u64::from(pending.operations);
            commits.operations.fetch_add(u64::from(pending.operations), Ordering::Relaxed);
        }
        // Whoever waits now and whoever is about to be answered: as many may be in the next group.
        self.expected_batches = self.group.pending.len() + self.requests.batches();
        self.shared.visible.publish(next);
        let mut opening = Opening::default();
        for Pending { first_offset, operations, promise, .. } in self.group.pending.drain(..) {
            let last_offset = first_offset + u64::from(operations) - 1;
            promise.fill_later(Ok(Committed { first_offset, last_offset }), &mut opening);
        }
        self.shared.queue.gates.open(opening);
        Ok(())
    }

    fn after_group(&mut self) {
        self.publish_log_stats();
        if !self.shared.ballast.is_released()
            && let Log::Live(wal) = &self.log
            && let Some(job) = wal.spare_job()
        {
            // When the last job is still running, rotation may have to preallocate itself.
            self.spare_jobs.try_send(job).ok();
        }
        if self.shared.flush_is_due() {
            self.shared.flusher.ring();
        }
    }
}

/// An asker that went away needs no answer.
fn answer<T>(reply: &Sender<T>, result: T) {
    reply.send(result).ok();
}
