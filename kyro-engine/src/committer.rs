//! The committer: the one thread that owns the log, extends the delta and moves the visible offset.
//!
//! A group goes one way: take everything that waits → append to the log's buffer → one write → one sync (mode
//! `always`) → apply to the delta → publish the offset → answer the writers. A step that fails ends the group there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{RecvTimeoutError, Sender};
use kyro_wal::{Recovery, SpareJob, Wal};

use crate::commit::{Committed, Promise};
use crate::delta::Delta;
use crate::error::{CloseError, MaintenanceError, WriteError};
use crate::maintenance::Wake;
use crate::options::Durability;
use crate::queue::{Frozen, Purged, Request, Requests, Write};
use crate::shared::Shared;

/// Payload bytes after which a group is closed, whatever still waits.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// A group waits for writers at most this part of the last sync's time, and at most this long.
const LINGER_SHARE: u32 = 4;
const MAX_LINGER: Duration = Duration::from_millis(1);

/// The log, and whether it may be written yet.
#[derive(Debug)]
pub(crate) enum Log {
    /// Closed cleanly by the last session and not written since. The first write clears the mark and begins.
    Clean(Box<Recovery>),
    /// Being written.
    Live(Box<Wal>),
    /// Gone: it failed between the two, or it was closed.
    Gone,
}

/// A batch whose frame is in the log's buffer.
#[derive(Debug)]
struct Pending {
    first_offset: u64,
    operations: u32,
    payload: Bytes,
    promise: Promise,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    requests: Requests,
    log: Log,
    /// The oldest event without a key that the log keeps.
    oldest_event: Option<u64>,
    /// Wakes the maintenance.
    wake_maintenance: Sender<Wake>,
    /// Takes preallocation off this thread.
    spare_jobs: Sender<SpareJob>,
    pending: Vec<Pending>,
    /// Written since the last sync.
    unsynced: bool,
    /// The last group has no witness yet.
    unconfirmed: bool,
    last_sync: Instant,
    /// Batches that the next group may have, by the last one.
    expected_batches: usize,
    /// How long to wait for them.
    linger: Duration,
}

/// What to do after a request.
enum Next {
    Go,
    Stop,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: Requests,
        log: Log,
        oldest_event: Option<u64>,
        wake_maintenance: Sender<Wake>,
        spare_jobs: Sender<SpareJob>,
    ) -> Self {
        Self {
            shared,
            requests,
            log,
            oldest_event,
            wake_maintenance,
            spare_jobs,
            pending: Vec::new(),
            unsynced: false,
            unconfirmed: false,
            last_sync: Instant::now(),
            expected_batches: 0,
            linger: Duration::ZERO,
        }
    }

    /// Serves requests until it is told to close. Never panics on purpose; if it does, the caller poisons.
    pub(crate) fn run(mut self) {
        loop {
            let request = match self.patience() {
                None => self.requests.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(patience) => self.requests.receiver.recv_timeout(patience),
            };
            match request {
                Ok(request) => {
                    if matches!(self.serve(request), Next::Stop) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.shared.visible.close();
        while let Ok(request) = self.requests.receiver.try_recv() {
            if let Request::Write(write) = request {
                write.promise.fill(Err(WriteError::Closed));
            }
        }
    }

    /// How long to wait for a request before [`Committer::idle`] has something to do.
    fn patience(&self) -> Option<Duration> {
        if self.shared.health.poisoned().is_some() {
            return None;
        }
        match self.shared.options.durability {
            Durability::Interval(period) if self.unsynced => {
                Some(period.saturating_sub(self.last_sync.elapsed()))
            }
            Durability::Never => None,
            _ => self.unconfirmed.then_some(self.shared.options.confirm_after),
        }
    }

    /// Nothing waits: sync what the interval wants synced, then give the last group its witness.
    fn idle(&mut self) {
        if self.unsynced {
            // A failure has poisoned the engine; there is no writer to tell.
            self.sync().ok();
            return;
        }
        let Log::Live(wal) = &mut self.log else { return };
        match wal.confirm() {
            // Where there is no room for a witness, the next group will be one.
            Ok(_) | Err(kyro_wal::Error::StorageFull { .. }) => self.unconfirmed = false,
            Err(error) => {
                self.poison(&error);
            }
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
        let mut deadline = None;
        let mut next = Some(Request::Write(first));
        let mut leftover = None;
        while let Some(request) = next.take() {
            let Request::Write(write) = request else {
                leftover = Some(request);
                break;
            };
            self.requests.taken(&write);
            bytes += write.payload.len();
            self.append(write);
            if bytes >= MAX_GROUP_BYTES {
                break;
            }
            next = self.requests.receiver.try_recv().ok();
            if next.is_none() && self.pending.len() < self.expected_batches {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.linger);
                next = self.requests.receiver.recv_deadline(deadline).ok();
            }
        }
        self.finish_group();
        leftover
    }

    fn append(&mut self, write: Write) {
        let Write { payload, operations, promise } = write;
        let wal = match self.live() {
            Ok(wal) => wal,
            Err(error) => return promise.fill(Err(error)),
        };
        match wal.append(operations, &payload) {
            Ok(first_offset) => self.pending.push(Pending { first_offset, operations, payload, promise }),
            Err(kyro_wal::Error::TooLarge { bytes, max_bytes, .. }) => {
                promise.fill(Err(WriteError::TooLarge { what: "batch", bytes, limit: max_bytes }));
            }
            Err(error) => {
                let reason = self.poison(&error);
                promise.fill(Err(WriteError::Poisoned { reason }));
            }
        }
    }

    /// The log, ready for a frame. The session's first write clears the mark of the last clean close, durably.
    fn live(&mut self) -> Result<&mut Wal, WriteError> {
        self.refuse_poisoned()?;
        if matches!(self.log, Log::Clean(_)) {
            let begun = self.shared.manifest.update(|manifest| {
                manifest.epoch += 1;
                manifest.clean = None;
            });
            if let Err(error) = begun {
                let reason = format!("{}: {error}", self.shared.manifest.path().display());
                if kyro_wal::storage::is_storage_full(&error) {
                    return Err(WriteError::StorageFull { reason: reason.into() });
                }
                let reason = self.shared.health.poison(reason);
                return Err(WriteError::Poisoned { reason });
            }
            if let Log::Clean(recovery) = std::mem::replace(&mut self.log, Log::Gone) {
                match recovery.finish(self.shared.manifest.current().epoch) {
                    Ok((wal, _)) => self.log = Log::Live(Box::new(wal)),
                    Err(error) => return Err(WriteError::Poisoned { reason: self.poison(&error) }),
                }
            }
        }
        match &mut self.log {
            Log::Live(wal) => Ok(wal),
            Log::Clean(_) | Log::Gone => Err(WriteError::Closed),
        }
    }

    fn finish_group(&mut self) {
        let Log::Live(wal) = &mut self.log else { return };
        if self.pending.is_empty() {
            return;
        }
        if let Err(error) = wal.write_group() {
            if let kyro_wal::Error::StorageFull { certain, .. } = &error {
                let certain = *certain;
                wal.abort_group();
                let reason: Arc<str> = describe(&error).into();
                self.fail_pending(|| {
                    let reason = Arc::clone(&reason);
                    if certain {
                        WriteError::StorageFull { reason }
                    } else {
                        WriteError::CommitUnknown { reason }
                    }
                });
                return;
            }
            let reason = self.poison(&error);
            self.fail_pending(|| WriteError::CommitUnknown { reason: Arc::clone(&reason) });
            return;
        }
        self.unsynced = true;
        self.unconfirmed = true;
        let sync_now = match self.shared.options.durability {
            Durability::Always => true,
            Durability::Interval(period) => self.last_sync.elapsed() >= period,
            Durability::Never => false,
        };
        if sync_now && let Err(error) = self.sync() {
            let reason = match error {
                WriteError::Poisoned { reason } => reason,
                other => other.to_string().into(),
            };
            self.fail_pending(|| WriteError::CommitUnknown { reason: Arc::clone(&reason) });
            return;
        }
        self.apply_group();
        self.after_group();
    }

    /// The group is as durable as promised: make it visible and answer its writers.
    fn apply_group(&mut self) {
        let delta = Arc::clone(&self.shared.views.load().delta);
        let commits = &self.shared.commits;
        commits.groups.fetch_add(1, Ordering::Relaxed);
        commits.group_batches.fetch_add(self.pending.len() as u64, Ordering::Relaxed);
        let mut next = self.shared.visible.next();
        for pending in &self.pending {
            match delta.apply(pending.first_offset, pending.payload.clone()) {
                Ok(applied) => self.oldest_event = self.oldest_event.or(applied.first_event),
                Err(error) => {
                    // Our own bytes, laid down by `Batch`: only a bug or bad memory comes here.
                    let reason = self.shared.health.poison(error.to_string());
                    return self.fail_pending(|| WriteError::CommitUnknown { reason: Arc::clone(&reason) });
                }
            }
            next = pending.first_offset + u64::from(pending.operations);
            commits.operations.fetch_add(u64::from(pending.operations), Ordering::Relaxed);
        }
        // Whoever waits now and whoever is about to be answered: as many may be in the next group.
        self.expected_batches = self.pending.len() + self.requests.receiver.len();
        self.shared.visible.publish(next);
        for Pending { first_offset, operations, promise, .. } in self.pending.drain(..) {
            let last_offset = first_offset + u64::from(operations) - 1;
            promise.fill(Ok(Committed { first_offset, last_offset }));
        }
    }

    fn after_group(&mut self) {
        self.publish_log_stats();
        if let Log::Live(wal) = &self.log
            && let Some(job) = wal.spare_job()
        {
            // When the last job is still running, rotation may have to preallocate itself.
            self.spare_jobs.try_send(job).ok();
        }
        if self.shared.flush_is_due() {
            self.wake_maintenance.try_send(Wake::Due).ok();
        }
    }

    fn fail_pending(&mut self, error: impl Fn() -> WriteError) {
        for pending in self.pending.drain(..) {
            pending.promise.fill(Err(error()));
        }
    }

    /// Syncs the log. A failure is final.
    fn sync(&mut self) -> Result<(), WriteError> {
        self.refuse_poisoned()?;
        let Log::Live(wal) = &mut self.log else { return Ok(()) };
        let start = Instant::now();
        let synced = wal.sync();
        let elapsed = start.elapsed();
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.linger = (elapsed / LINGER_SHARE).min(MAX_LINGER);
        self.shared.commits.syncs.fetch_add(1, Ordering::Relaxed);
        self.shared.commits.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.last_sync = Instant::now();
        match synced {
            Ok(()) => {
                self.unsynced = false;
                Ok(())
            }
            Err(error) => Err(WriteError::Poisoned { reason: self.poison(&error) }),
        }
    }

    fn freeze(&mut self) -> Result<Frozen, MaintenanceError> {
        // What goes into a run must not be lost by the log: also where writers did not wait for a sync.
        if self.unsynced
            && let Err(error) = self.sync()
        {
            return Err(maintenance(&error));
        }
        self.refuse_poisoned().map_err(|error| maintenance(&error))?;
        if self.shared.views.load().delta.operations() > 0 {
            self.shared.views.replace(|view| {
                let full = std::mem::replace(&mut view.delta, Arc::new(Delta::default()));
                view.frozen.insert(0, full);
            });
        }
        Ok(Frozen {
            through: self.shared.visible.next(),
            oldest_event: self.oldest_event,
            deltas: self.shared.views.load().frozen.clone(),
        })
    }

    fn purge(&mut self, before: u64) -> Result<Purged, MaintenanceError> {
        let Log::Live(wal) = &mut self.log else { return Ok(Purged::default()) };
        let first_segment = wal.first_segment_after_purge(before);
        let manifest = &self.shared.manifest;
        if manifest.current().wal.first_segment != Some(first_segment) {
            // Named before removed: a log that starts later than the manifest says would be refused.
            manifest.update(|manifest| manifest.wal.first_segment = Some(first_segment)).map_err(
                |source| MaintenanceError::Io { doing: "write", path: manifest.path().to_owned(), source },
            )?;
        }
        let purged = wal.purge_before(before);
        self.publish_log_stats();
        match purged {
            Ok(purged) => Ok(Purged { segments: purged.segments }),
            Err(error) => Err(MaintenanceError::Poisoned { reason: self.poison(&error) }),
        }
    }

    fn close(&mut self) -> Result<(), CloseError> {
        if let Some(reason) = self.shared.health.poisoned() {
            return Err(CloseError::Log { reason });
        }
        match std::mem::replace(&mut self.log, Log::Gone) {
            Log::Clean(_) | Log::Gone => Ok(()),
            Log::Live(wal) => {
                let mark = wal.close().map_err(|error| CloseError::Log { reason: self.poison(&error) })?;
                let manifest = &self.shared.manifest;
                manifest
                    .update(|manifest| manifest.clean = Some(mark.into()))
                    .map_err(|source| CloseError::Manifest { path: manifest.path().to_owned(), source })
            }
        }
    }

    fn refuse_poisoned(&self) -> Result<(), WriteError> {
        match self.shared.health.poisoned() {
            Some(reason) => Err(WriteError::Poisoned { reason }),
            None => Ok(()),
        }
    }

    fn poison(&self, error: &kyro_wal::Error) -> Arc<str> {
        self.shared.health.poison(describe(error))
    }

    fn publish_log_stats(&self) {
        if let Log::Live(wal) = &self.log {
            let stats = wal.stats();
            self.shared.commits.set_log(
                stats.segments,
                stats.bytes,
                stats.first_segment,
                stats.oldest_offset,
            );
        }
    }
}

/// An asker that went away needs no answer.
fn answer<T>(reply: &Sender<T>, result: T) {
    reply.send(result).ok();
}

fn maintenance(error: &WriteError) -> MaintenanceError {
    match error {
        WriteError::Poisoned { reason } => MaintenanceError::Poisoned { reason: Arc::clone(reason) },
        other => MaintenanceError::Poisoned { reason: other.to_string().into() },
    }
}

/// An error and its causes in one line.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
