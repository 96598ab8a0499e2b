//! Flush, index build, warm-up: beside the committer, and beside a merge of runs.
//!
//! The law of all of them: what is new is durable before it is named, named before it is seen, seen before the old
//! is removed.
//!
//! A flush only puts a run in front of the others and a merge only replaces the runs it has read, so the two need no
//! turn against each other: whichever is done first, the manifest and the view come out the same.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use crossbeam_channel::bounded;

use crate::error::{MaintenanceError, ReadError};
use crate::indexed_run::IndexedRun;
use crate::manifest::{Manifest, RunEntry, Uuid};
use crate::pace;
use crate::queue::{Frozen, Purged, Request};
use crate::reading::Reading;
use crate::run_files::{Task, remove_files, write_run};
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

/// The right to flush: one at a time.
pub(crate) struct FlushTurn<'a> {
    shared: &'a Shared,
    _guard: MutexGuard<'a, ()>,
}

impl Shared {
    /// Waits for a flush that runs, and takes its turn.
    pub(crate) fn take_flush_turn(&self) -> Result<FlushTurn<'_>, MaintenanceError> {
        let turn = self.last_flush_turn();
        // Whoever closed the engine waited for this turn, so that nothing is published after it let go of the lock.
        if self.health.is_closed() { Err(MaintenanceError::Closed) } else { Ok(turn) }
    }

    /// As [`take_flush_turn`](Self::take_flush_turn), for whoever closes the engine.
    pub(crate) fn last_flush_turn(&self) -> FlushTurn<'_> {
        let guard = self.flush_turn.lock().unwrap_or_else(PoisonError::into_inner);
        FlushTurn { shared: self, _guard: guard }
    }

    /// Brings every live key under a verified index: flushes, and counts what the indexes of the runs answer for. An
    /// index is only ever published after every key was looked up through it.
    pub(crate) fn build_index(&self) -> Result<IndexReport, MaintenanceError> {
        let _one_at_a_time = match self.index_turn.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(MaintenanceError::Busy { running: "another index build" });
            }
        };
        self.take_flush_turn()?.flush()?;
        // Without what came since: that is in no run yet.
        let mut sources = Sources::clone(&self.views.pin());
        (sources.delta, sources.frozen) = Default::default();
        let reading = Reading { sources: &sources, visible: u64::MAX, counters: &self.counters };
        let mut meter = ProgressMeter::new(&self.options, "count", "keys");
        let mut stopped = None;
        let keys = reading.count_while(&mut |counted| {
            meter.at(counted, None);
            stopped = pace::stopped(self);
            stopped.is_none()
        })?;
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        meter.done(keys);
        Ok(IndexReport { keys })
    }

    /// First durable in the manifest, then seen by readers. Where the manifest still is the old one after a failure,
    /// the new run's files go; where that cannot be told they stay, unnamed, until the directory is next opened.
    pub(crate) fn publish(
        &self,
        new: Option<&IndexedRun>,
        name: impl FnOnce(&mut Manifest),
        show: impl FnOnce(&mut Sources),
    ) -> Result<(), MaintenanceError> {
        let manifest = &self.manifest;
        let named = manifest.update(|manifest| {
            name(manifest);
            manifest.next_run = self.next_run.load(Ordering::Relaxed);
        });
        if let Err(source) = named {
            if let Some(new) = new.filter(|_| manifest.is_in_force()) {
                remove_files(self, new.number());
            }
            return Err(MaintenanceError::Io { doing: "write", path: manifest.path().to_owned(), source });
        }
        self.views.replace(show);
        Ok(())
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        let runs: u64 = self.views.pin().runs.iter().map(|run| run.file_bytes()).sum();
        runs + self.commits.wal_bytes.load(Ordering::Relaxed)
    }
}

/// Versions that a flush asks for ahead of their turn: in the order of keys each is a cache miss.
const VERSIONS_AHEAD: usize = 16;

impl FlushTurn<'_> {
    /// Writes everything in memory into a new run and lets the log go that it covers. Writers go on. Where it is
    /// cancelled, what was frozen stays in memory and in the log, for the next flush.
    pub(crate) fn flush(&self) -> Result<FlushReport, MaintenanceError> {
        let mut report = FlushReport::default();
        loop {
            if pace::is_cancelled() {
                return Err(MaintenanceError::Cancelled);
            }
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
        let purged = self.ask::<Purged>(|reply| Request::Purge(wal.keep_from(), reply))?;
        Ok(FlushReport { through: wal.replay_from, segments_removed: purged.segments, ..report })
    }

    /// Writes what was frozen while the committer is held.
    pub(crate) fn flush_held(&self, frozen: &Frozen) -> Result<(), MaintenanceError> {
        if !frozen.fresh {
            return Err(MaintenanceError::Busy { running: "a flush that failed" });
        }
        self.flush_frozen(frozen, &mut FlushReport::default())
    }

    fn flush_frozen(&self, frozen: &Frozen, report: &mut FlushReport) -> Result<(), MaintenanceError> {
        let started = Instant::now();
        let has_older = !self.shared.views.load().runs.is_empty();
        let sorted = frozen.delta.as_ref().map(|delta| (delta, delta.to_sorted()));
        let versions = sorted.iter().flat_map(|(delta, places)| {
            // Places tell numbers of versions that are there.
            places.iter().enumerate().filter_map(|(at, place)| {
                if let Some(soon) = places.get(at + VERSIONS_AHEAD) {
                    delta.prefetch_version(soon.number);
                }
                Some(Ok((place.key, delta.version(place.number)?.into())))
            })
        });
        let run = write_run(self.shared, Task::Flush, versions, has_older)?;
        if frozen.through > self.shared.manifest.current().wal.replay_from {
            let ranges = frozen.delta.as_ref().map(|delta| Arc::clone(&delta.ranges())).unwrap_or_default();
            self.shared.publish(
                run.as_deref(),
                |manifest| {
                    manifest.keep_ranges(&ranges);
                    manifest.runs.splice(0..0, run.as_deref().map(entry));
                    manifest.wal.replay_from = frozen.through;
                    manifest.wal.oldest_event = frozen.oldest_event;
                },
                |view| {
                    view.keep_ranges(&ranges);
                    view.runs.splice(0..0, run.clone());
                    view.frozen = None;
                },
            )?;
        }
        self.shared.room.changed();
        let stats = &self.shared.maintenance;
        if run.is_some() {
            stats.flush_times.observe_time(started.elapsed());
            stats.flushes.fetch_add(1, Ordering::Relaxed);
        }
        stats.flushed_at_millis.store(self.shared.millis(), Ordering::Relaxed);
        report.entries += run.as_ref().map_or(0, |run| run.len());
        report.bytes += run.as_ref().map_or(0, |run| run.file_bytes());
        self.shared.compactor.ring();
        Ok(())
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

pub(crate) fn entry(run: &IndexedRun) -> RunEntry {
    RunEntry {
        number: run.number(),
        uuid: Uuid(run.uuid()),
        entries: run.len(),
        bytes: run.file_bytes(),
        offset: run.common_offset(),
    }
}

/// Makes index and data of every run resident, unless it is cancelled or the engine closes.
pub(crate) fn warm_up(shared: &Shared) -> Result<WarmReport, MaintenanceError> {
    let view = shared.views.pin();
    let mut meter = ProgressMeter::new(&shared.options, "warm-up", "bytes");
    let total = view.runs.iter().map(|run| run.file_bytes()).sum();
    let mut bytes = 0;
    for run in &view.runs {
        let mut stopped = None;
        bytes += run.warm_up(&mut |done, _| {
            meter.at(bytes + done, Some(total));
            stopped = pace::stopped(shared);
            if stopped.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
    }
    meter.done(bytes);
    Ok(WarmReport { bytes })
}

/// Reads and checks every run; the first damage ends it.
pub(crate) fn verify(shared: &Shared) -> Result<(), ReadError> {
    let view = shared.views.pin();
    let mut meter = ProgressMeter::new(&shared.options, "verify", "bytes");
    view.runs.iter().try_for_each(|run| run.verify(&mut |done, total| meter.at(done, Some(total))))
}

/// Removes files in the runs' directory that the manifest does not name: what an interrupted flush or compaction
/// left. Called when everything named has been opened.
///
/// The manifest is written again first: the one that was read may be a newer one than the disk holds, where an earlier
/// process failed to sync it, and the older one may name what is about to go. Where it cannot be written, all stays.
pub(crate) fn remove_orphans(shared: &Shared) {
    let runs_dir = shared.runs_dir();
    let Ok(files) = shared.storage.list(&runs_dir) else { return };
    let manifest = shared.manifest.current();
    let named = |path: &Path| manifest.names(&runs_dir, path);
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
