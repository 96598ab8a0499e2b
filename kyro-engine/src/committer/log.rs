//! The log's life under the committer: begun by the session's first write, synced, given its witness, cut loose from
//! what runs hold, closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use kyro_wal::{Recovery, Wal};

use super::Committer;
use crate::error::{CloseError, MaintenanceError, WriteError, describe};
use crate::open::close_slack;
use crate::queue::{Frozen, Purged};
use crate::versions::Change;

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

/// What opening leaves to the committer.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) log: Log,
    /// The oldest event without a key that the log keeps.
    pub(crate) oldest_event: Option<u64>,
    /// The session's epoch, and whether the manifest already says so.
    pub(crate) epoch: u64,
    pub(crate) begun: bool,
}

impl Committer {
    /// The log, ready for a frame. The session's first write makes its epoch durable and clears the mark of the last
    /// clean close; until then nothing has been written, so that a full disk can be opened and read.
    pub(super) fn live(&mut self) -> Result<&mut Wal, WriteError> {
        self.refuse_poisoned()?;
        if !self.begun {
            let epoch = self.epoch;
            let begun = self.shared.manifest.update(|manifest| {
                manifest.epoch = epoch;
                manifest.clean = None;
            });
            if let Err(error) = begun {
                let reason: Arc<str> = format!("{}: {error}", self.shared.manifest.path().display()).into();
                return Err(if kyro_wal::storage::is_storage_full(&error) {
                    self.shared.ballast.release(&*self.shared.storage);
                    WriteError::StorageFull { reason }
                } else {
                    WriteError::NotWritten { reason }
                });
            }
            self.begun = true;
        }
        self.shared.ballast.make_once(&*self.shared.storage);
        self.log = match std::mem::replace(&mut self.log, Log::Gone) {
            Log::Clean(recovery) => match recovery.finish(self.epoch) {
                Ok((wal, _)) => Log::Live(Box::new(wal)),
                Err(error) => return Err(WriteError::Poisoned { reason: self.poison(&error) }),
            },
            other => other,
        };
        match &mut self.log {
            Log::Live(wal) => Ok(wal),
            Log::Clean(_) | Log::Gone => Err(WriteError::Closed),
        }
    }

    /// What a failure of the log is to a writer whose batch was not acknowledged. Only the log itself says when it
    /// takes nothing more; whatever else failed has written nothing, and may pass.
    pub(super) fn failed(&self, error: &kyro_wal::Error) -> WriteError {
        let reason = || Arc::from(describe(error));
        if matches!(error, kyro_wal::Error::StorageFull { .. }) {
            self.shared.ballast.release(&*self.shared.storage);
        }
        match error {
            kyro_wal::Error::Poisoned { .. } => WriteError::CommitUnknown { reason: self.poison(error) },
            kyro_wal::Error::StorageFull { certain: true, .. } => {
                WriteError::StorageFull { reason: reason() }
            }
            kyro_wal::Error::StorageFull { .. } => WriteError::CommitUnknown { reason: reason() },
            _ => WriteError::NotWritten { reason: reason() },
        }
    }

    /// Nothing waits: sync what the interval wants synced, then give the last group its witness when it is time.
    pub(super) fn idle(&mut self) {
        self.shared.ballast.restore(&*self.shared.storage);
        if self.unsynced {
            // A failure has poisoned the engine; there is no writer to tell.
            self.sync().ok();
            return;
        }
        if !self.unconfirmed || self.last_sync.elapsed() < self.shared.options.confirm_after {
            return;
        }
        self.unconfirmed = false;
        let Ok(wal) = self.live() else { return };
        if let Err(error) = wal.confirm() {
            // Where there was no room for a witness, or no descriptor, the next group will be one.
            self.failed(&error);
        }
        self.publish_log_stats();
    }

    /// Syncs the log. A failure is final.
    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        self.refuse_poisoned()?;
        let Log::Live(wal) = &mut self.log else { return Ok(()) };
        let start = Instant::now();
        let synced = wal.sync();
        let elapsed = start.elapsed();
        self.sync_time = elapsed;
        self.shared.commits.sync_times.observe_time(elapsed);
        self.last_sync = Instant::now();
        match synced {
            Ok(()) => {
                self.unsynced = false;
                Ok(())
            }
            Err(error) => Err(WriteError::Poisoned { reason: self.poison(&error) }),
        }
    }

    pub(super) fn freeze(&mut self) -> Result<Frozen, MaintenanceError> {
        // What goes into a run must not be lost by the log: also where writers did not wait for a sync.
        if self.unsynced
            && let Err(error) = self.sync()
        {
            return Err(maintenance(&error));
        }
        self.refuse_poisoned().map_err(|error| maintenance(&error))?;
        if let Some(left) = self.shared.views.load().frozen.clone() {
            // An earlier flush failed: its delta first. What came since waits in the one that still grows.
            return Ok(Frozen { fresh: false, ..left });
        }
        let through = self.shared.visible.next();
        let mut frozen = Frozen { delta: None, through, oldest_event: self.oldest_event, fresh: true };
        if self.shared.views.load().delta.operations() > 0 {
            self.shared.views.replace(|view| {
                frozen.delta = Some(std::mem::take(&mut view.delta));
                view.frozen = Some(frozen.clone());
            });
        }
        Ok(frozen)
    }

    /// Logs the operation by which the content changes as a whole, and shows it.
    pub(super) fn change(&mut self, change: Change) {
        let reply = change.reply.clone();
        let logged = self.log_change(&change);
        if let Ok(offset) = logged {
            let shared = &self.shared;
            let version = change.switch.version;
            shared.manifest.amend(|manifest| {
                manifest.switch(version, offset);
            });
            shared.views.replace(|sources| change.show(sources, offset));
            shared.visible.publish(offset + 1);
            shared.commits.operations.fetch_add(1, Ordering::Relaxed);
            self.publish_log_stats();
            // The log says it until the manifest does: this one or the next that can be written.
            shared.manifest.update(|_| {}).ok();
        }
        reply.send(logged).ok();
    }

    /// Gives the operation's offset when it is durable.
    fn log_change(&mut self, change: &Change) -> Result<u64, WriteError> {
        let payload = change.switch.to_payload();
        let appended = self.live()?.append(1, &payload);
        let offset = appended.map_err(|error| self.failed(&error))?;
        let written = self.live()?.write_group();
        written.map_err(|error| self.failed(&error))?;
        self.unsynced = true;
        self.unconfirmed = true;
        self.sync().map_err(|error| match error {
            WriteError::Poisoned { reason } => WriteError::CommitUnknown { reason },
            other => WriteError::CommitUnknown { reason: other.to_string().into() },
        })?;
        Ok(offset)
    }

    pub(super) fn purge(&mut self, before: u64) -> Result<Purged, MaintenanceError> {
        let Log::Live(wal) = &mut self.log else { return Ok(Purged::default()) };
        let first_segment = wal.first_segment_after_purge(before);
        let manifest = &self.shared.manifest;
        if manifest.current().wal.first_segment != Some(first_segment) {
            // Named before removed: a log that starts later than the manifest says would be refused.
            manifest.update(|manifest| manifest.wal.first_segment = Some(first_segment)).map_err(
                |source| MaintenanceError::Io { doing: "write", path: manifest.path().to_owned(), source },
            )?;
        }
        // What cannot be removed now is history that is kept a little longer.
        let purged = wal.purge_before(before);
        // What was written while the flush ran is new.
        let new = wal.segments_above(manifest.current().wal.replay_from);
        self.publish_log_stats();
        let commits = &self.shared.commits;
        let left = commits.wal_segments.load(Ordering::Relaxed);
        commits.wal_segments_kept.store(left.saturating_sub(new), Ordering::Relaxed);
        match purged {
            Ok(purged) => Ok(Purged { segments: purged.segments }),
            Err(kyro_wal::Error::Io { action, path, source }) => {
                Err(MaintenanceError::Io { doing: action, path, source })
            }
            Err(error) => Err(MaintenanceError::Poisoned { reason: self.poison(&error) }),
        }
    }

    /// A log of any size may hold nothing but what is in runs too. Where that is worth the syncs it goes, its last segment
    /// too, which nobody writes any more: an empty one of the smallest size ends it. Not where this session has read
    /// history: whoever did wants to go on where it was. Best effort: what is wrong with the log, closing it will say.
    fn let_go_of_the_live_segment(&mut self) {
        let shared = Arc::clone(&self.shared);
        let (keep_from, slack) = (shared.manifest.current().wal.keep_from(), close_slack(&shared.options));
        if shared.visible.next() > keep_from || shared.history_was_read.load(Ordering::Relaxed) {
            return;
        }
        let is_worth_it = match &self.log {
            // Opened and closed without a change, nothing changes.
            Log::Clean(recovery) => {
                let made = [&shared.maintenance.flushes, &shared.maintenance.compactions];
                recovery.extent().bytes > slack && made.iter().any(|count| count.load(Ordering::Relaxed) > 0)
            }
            Log::Live(wal) => self.begun && wal.stats().live_bytes > slack,
            Log::Gone => false,
        };
        if !is_worth_it || self.live().is_err() {
            return;
        }
        let Log::Live(wal) = &mut self.log else { return };
        if wal.stats().next_offset > keep_from {
            return;
        }
        wal.set_segment_bytes(0);
        if wal.rotate().is_ok() {
            self.purge(keep_from).ok();
        }
    }

    pub(super) fn close(&mut self) -> Result<(), CloseError> {
        if let Some(reason) = self.shared.health.poisoned() {
            return Err(CloseError::Log { reason });
        }
        self.let_go_of_the_live_segment();
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

    pub(super) fn refuse_poisoned(&self) -> Result<(), WriteError> {
        match self.shared.health.poisoned() {
            Some(reason) => Err(WriteError::Poisoned { reason }),
            None => Ok(()),
        }
    }

    fn poison(&self, error: &kyro_wal::Error) -> Arc<str> {
        self.shared.health.poison(describe(error))
    }

    pub(super) fn publish_log_stats(&self) {
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

fn maintenance(error: &WriteError) -> MaintenanceError {
    match error {
        WriteError::Poisoned { reason } => MaintenanceError::Poisoned { reason: Arc::clone(reason) },
        other => MaintenanceError::Poisoned { reason: other.to_string().into() },
    }
}
