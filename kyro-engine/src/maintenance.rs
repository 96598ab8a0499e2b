//! Flush, compaction, index build, warm-up: one at a time, beside the committer.
//!
//! The law of all of them: what is new is durable before it is named, named before it is seen, seen before the old
//! is removed.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::error::{MaintenanceError, ReadError, describe};
use crate::indexed_run::IndexedRun;
use crate::manifest::{Manifest, RunEntry, Uuid};
use crate::merge::Merge;
use crate::queue::{Frozen, Purged, Request};
use crate::run_files::{index_path, remove_files, write_run};
use crate::shared::{ProgressMeter, Shared};
use crate::sources::Sources;

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Entries of the new run, tombstones included; 0 when nothing was waiting, or nothing of it was left.
    pub entries: u64,
    /// The new run's bytes on disk.
    pub bytes: u64,
    /// Operations below this offset are in runs.
    pub through: u64,
    /// Log segments that were removed because runs hold everything in them.
    pub segments_removed: u64,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Bytes of log and runs before.
    pub before_bytes: u64,
    /// Bytes of log and runs after.
    pub after_bytes: u64,
    /// Log segments removed.
    pub segments_removed: u64,
    /// Log segments left.
    pub segments_active: u64,
    /// Live keys.
    pub keys_retained: u64,
}

/// What an index build covered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexReport {
    /// Live keys, every one of them answered through a verified index.
    pub keys: u64,
}

/// What a warm-up touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmReport {
    /// Bytes of runs made resident.
    pub bytes: u64,
}

/// The right to change runs.
pub(crate) struct Turn<'a> {
    shared: &'a Shared,
    _guard: MutexGuard<'a, ()>,
}

impl Shared {
    /// Waits for whatever runs and takes its turn.
    pub(crate) fn take_turn(&self) -> Turn<'_> {
        let guard = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Turn { shared: self, _guard: guard }
    }

    /// Takes the turn if nothing runs.
    pub(crate) fn try_turn(&self) -> Result<Turn<'_>, MaintenanceError> {
        match self.turn.try_lock() {
            Ok(guard) => Ok(Turn { shared: self, _guard: guard }),
            Err(TryLockError::Poisoned(poisoned)) => Ok(Turn { shared: self, _guard: poisoned.into_inner() }),
            Err(TryLockError::WouldBlock) => {
                Err(MaintenanceError::Busy { running: "another flush, compaction or index build" })
            }
        }
    }
}

impl Turn<'_> {
    /// Writes everything in memory into a new run and lets the log go that it covers. Writers go on.
    pub(crate) fn flush(&self) -> Result<FlushReport, MaintenanceError> {
        let mut report = FlushReport::default();
        loop {
            let frozen = self.ask::<Frozen>(Request::Freeze)?;
            if cfg!(mutant = "drop_wal_before_run") {
                self.ask::<Purged>(|reply| Request::Purge(frozen.through, reply))?;
            }
            self.flush_frozen(&frozen, &mut report)?;
            if frozen.fresh {
                break;
            }
        }
        let wal = self.shared.manifest.current().wal;
        // An event without a key lives in the log alone: it is kept from the oldest of them on.
        let keep_from = wal.oldest_event.map_or(wal.replay_from, |event| event.min(wal.replay_from));
        let purged = self.ask::<Purged>(|reply| Request::Purge(keep_from, reply))?;
        Ok(FlushReport { through: wal.replay_from, segments_removed: purged.segments, ..report })
    }

    fn flush_frozen(&self, frozen: &Frozen, report: &mut FlushReport) -> Result<(), MaintenanceError> {
        let has_older = !self.shared.views.load().runs.is_empty();
        let versions = frozen.delta.iter().flat_map(|delta| delta.to_sorted()).map(Ok);
        let run = write_run(self.shared, "flush", versions, has_older)?;
        if frozen.through > self.shared.manifest.current().wal.replay_from {
            self.publish(
                run.as_deref(),
                |manifest| {
                    manifest.runs.splice(0..0, run.as_deref().map(entry));
                    manifest.wal.replay_from = frozen.through;
                    manifest.wal.oldest_event = frozen.oldest_event;
                },
                |view| {
                    view.runs.splice(0..0, run.clone());
                    view.frozen = None;
                },
            )?;
        }
        self.shared.maintenance.flushes.fetch_add(u64::from(run.is_some()), Ordering::Relaxed);
        report.entries += run.as_ref().map_or(0, |run| run.len());
        report.bytes += run.as_ref().map_or(0, |run| run.file_bytes());
        Ok(())
    }

    /// Flushes, then merges all runs into one without anything overwritten or deleted.
    pub(crate) fn compact(&self) -> Result<CompactReport, MaintenanceError> {
        let before_bytes = self.disk_bytes();
        let flushed = self.flush()?;
        self.merge_runs()?;
        let view = self.shared.views.pin();
        Ok(CompactReport {
            before_bytes,
            after_bytes: self.disk_bytes(),
            segments_removed: flushed.segments_removed,
            segments_active: self.shared.commits.wal_segments.load(Ordering::Relaxed),
            keys_retained: view.runs.iter().map(|run| run.len()).sum(),
        })
    }

    /// Merges all runs into one, unless there is nothing to gain.
    pub(crate) fn merge_runs(&self) -> Result<(), MaintenanceError> {
        let old = self.shared.views.pin().runs.clone();
        if old.iter().map(|run| run.tombstones()).sum::<u64>() == 0 && old.len() <= 1 {
            return Ok(());
        }
        let sources = old.iter().map(|run| run.versions());
        let merged = write_run(self.shared, "compact", Merge::new(sources), false)?;
        // Only whoever holds the turn changes the runs, so the old ones are still all there are.
        self.publish(
            merged.as_deref(),
            |manifest| manifest.runs = merged.iter().map(|run| entry(run)).collect(),
            |view| view.runs = merged.iter().cloned().collect(),
        )?;
        self.shared.maintenance.compactions.fetch_add(1, Ordering::Relaxed);
        for run in &old {
            remove_files(self.shared, run.number());
        }
        Ok(())
    }

    /// Flushes and counts the live keys, each of which the indexes of the runs now answer for: an index is only ever
    /// published after every key was looked up through it.
    pub(crate) fn build_index(&self) -> Result<IndexReport, MaintenanceError> {
        self.flush()?;
        let runs = self.shared.views.pin().runs.clone();
        let keys = match &*runs {
            [] => 0,
            [only] if only.tombstones() == 0 => only.len(),
            several => {
                let mut keys = 0;
                for version in Merge::new(several.iter().map(|run| run.versions())) {
                    let (_, version) = version?;
                    keys += u64::from(version.value.is_some());
                }
                keys
            }
        };
        Ok(IndexReport { keys })
    }

    /// First durable in the manifest, then seen by readers. Where the manifest still is the old one after a failure,
    /// the new run's files go; where that cannot be told they stay, unnamed, until the directory is next opened.
    fn publish(
        &self,
        new: Option<&IndexedRun>,
        name: impl FnOnce(&mut Manifest),
        show: impl FnOnce(&mut Sources),
    ) -> Result<(), MaintenanceError> {
        let next_run = self.shared.next_run.load(Ordering::Relaxed);
        let manifest = &self.shared.manifest;
        let named = manifest.update(|manifest| {
            name(manifest);
            manifest.next_run = next_run;
        });
        if let Err(source) = named {
            if let Some(new) = new.filter(|_| manifest.is_in_force()) {
                remove_files(self.shared, new.number());
            }
            return Err(MaintenanceError::Io { doing: "write", path: manifest.path().to_owned(), source });
        }
        self.shared.views.replace(show);
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        let runs: u64 = self.shared.views.pin().runs.iter().map(|run| run.file_bytes()).sum();
        runs + self.shared.commits.wal_bytes.load(Ordering::Relaxed)
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(crossbeam_channel::Sender<Result<T, MaintenanceError>>) -> Request,
    ) -> Result<T, MaintenanceError> {
        let (reply, answer) = bounded(1);
        if !self.shared.queue.ask(request(reply)) {
            return Err(MaintenanceError::Closed);
        }
        // The committer drops the reply only when it stops.
        answer.recv().unwrap_or(Err(MaintenanceError::Closed))
    }
}

fn entry(run: &IndexedRun) -> RunEntry {
    RunEntry { number: run.number(), uuid: Uuid(run.uuid()), entries: run.len(), bytes: run.file_bytes() }
}

/// Makes index and data of every run resident.
pub(crate) fn warm_up(shared: &Shared) -> WarmReport {
    let view = shared.views.pin();
    let mut meter = ProgressMeter::new(&shared.options, "warm-up", "bytes");
    let mut bytes = 0;
    for run in &view.runs {
        run.warm_up(&mut |done, total| meter.at(done, Some(total)));
        bytes += run.file_bytes();
    }
    meter.done(bytes);
    WarmReport { bytes }
}

/// Reads and checks every run; the first damage ends it.
pub(crate) fn verify(shared: &Shared) -> Result<(), ReadError> {
    let view = shared.views.pin();
    let mut meter = ProgressMeter::new(&shared.options, "verify", "bytes");
    view.runs.iter().try_for_each(|run| run.verify(&mut |done, total| meter.at(done, Some(total))))
}

/// Longest pause between two tries of a background flush that fails.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// What the maintenance thread is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wake {
    /// A flush is due.
    Due,
    /// The engine closes.
    Stop,
}

/// The maintenance thread: flushes when it is woken and a flush is due, merges when there are too many runs. A
/// failure leaves everything as it was and is tried again after a pause that doubles.
pub(crate) fn run(shared: &Shared, wakes: &Receiver<Wake>) {
    let mut backoff: Option<Duration> = None;
    loop {
        let woken = match backoff {
            None => wakes.recv().unwrap_or(Wake::Stop),
            Some(pause) => pause_for(wakes, pause),
        };
        if matches!(woken, Wake::Stop) {
            return;
        }
        // A panic is a bug. It must not leave writers waiting for a thread that is gone.
        let tended = std::panic::catch_unwind(AssertUnwindSafe(|| tend(shared)));
        match tended.unwrap_or(Err(MaintenanceError::Panicked)) {
            Ok(()) => {
                shared.health.set_maintenance_error(None);
                backoff = None;
            }
            Err(MaintenanceError::Closed | MaintenanceError::Poisoned { .. }) => return,
            Err(error) => {
                shared.health.set_maintenance_error(Some(describe(&error)));
                let pause = backoff.map_or(Duration::from_millis(50), |pause| pause * 2);
                backoff = Some(pause.min(MAX_BACKOFF));
            }
        }
    }
}

/// Waits the whole pause, whoever knocks, unless it is to stop.
fn pause_for(wakes: &Receiver<Wake>, pause: Duration) -> Wake {
    let deadline = Instant::now() + pause;
    loop {
        match wakes.recv_deadline(deadline) {
            Ok(Wake::Due) => {}
            Err(RecvTimeoutError::Timeout) => return Wake::Due,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return Wake::Stop,
        }
    }
}

fn tend(shared: &Shared) -> Result<(), MaintenanceError> {
    let turn = shared.take_turn();
    if shared.flush_is_due() || shared.views.load().frozen.is_some() || log_is_idle(shared) {
        turn.flush()?;
    }
    if shared.options.auto_flush && shared.views.load().runs.len() > shared.options.max_runs {
        turn.merge_runs()?;
    }
    Ok(())
}

/// Whether the log keeps segments for nothing, as after stops in the middle of a session that wrote little.
fn log_is_idle(shared: &Shared) -> bool {
    shared.options.auto_flush
        && shared.views.load().delta.operations() == 0
        && shared.commits.wal_segments.load(Ordering::Relaxed) > 1
        && shared.visible.next() > shared.manifest.current().wal.replay_from
}

/// Removes files in the runs' directory that the manifest does not name: what an interrupted flush or compaction
/// left. Called when everything named has been opened.
///
/// The manifest is written again first: the one that was read may be a newer one than the disk holds, where an earlier
/// process failed to sync it, and the older one may name what is about to go. Where it cannot be written, all stays.
pub(crate) fn remove_orphans(shared: &Shared) {
    let runs_dir = shared.runs_dir();
    let Ok(files) = shared.storage.list(&runs_dir) else { return };
    let named = |path: &Path| {
        let runs = &shared.views.load().runs;
        runs.iter().any(|run| path == run.path() || path == index_path(&runs_dir, run.number()))
    };
    let ours =
        |path: &Path| path.extension().is_some_and(|ext| ["run", "idx", "tmp"].iter().any(|own| ext == *own));
    let paths = files.iter().map(|name| runs_dir.join(name));
    let orphans: Vec<_> = paths.filter(|path| ours(path) && !named(path)).collect();
    if orphans.is_empty()
        || (!cfg!(mutant = "trust_manifest_read") && shared.manifest.update(|_| ()).is_err())
    {
        return;
    }
    for path in orphans {
        shared.storage.remove(&path).ok();
    }
}
