//! Compaction: merges of runs that are neighbours in age, beside flushes and writers.
//!
//! A merge reads runs that never change and writes one that nobody knows of, so it holds up nobody. It is published by
//! replacing exactly the runs it has read, wherever they stand by then: flushes may have put newer ones in front.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::MaintenanceError;
use crate::indexed_run::IndexedRun;
use crate::maintenance::entry;
use crate::merge::Merge;
use crate::run_files::{Task, remove_files, write_run};
use crate::shared::Shared;
use crate::tiering;

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

/// The right to merge runs: one at a time, and nobody else takes a run away.
pub(crate) struct MergeTurn<'a> {
    shared: &'a Shared,
    _guard: MutexGuard<'a, ()>,
}

impl Shared {
    /// Waits for a merge that runs, and takes its turn.
    pub(crate) fn take_merge_turn(&self) -> Result<MergeTurn<'_>, MaintenanceError> {
        let turn = self.last_merge_turn();
        // Whoever closed the engine waited for this turn, so that nothing is published after it let go of the lock.
        if self.health.is_closed() { Err(MaintenanceError::Closed) } else { Ok(turn) }
    }

    /// As [`take_merge_turn`](Self::take_merge_turn), for whoever closes the engine.
    pub(crate) fn last_merge_turn(&self) -> MergeTurn<'_> {
        let guard = self.merge_turn.lock().unwrap_or_else(PoisonError::into_inner);
        MergeTurn { shared: self, _guard: guard }
    }

    /// Flushes, then merges all runs into one without anything overwritten or deleted.
    pub(crate) fn compact(&self) -> Result<CompactReport, MaintenanceError> {
        let before_bytes = self.disk_bytes();
        let started = Instant::now();
        let merging = self.take_merge_turn()?;
        let flushed = self.take_flush_turn()?.flush()?;
        merging.merge_all()?;
        self.maintenance.compact_times.observe_time(started.elapsed());
        let view = self.views.pin();
        Ok(CompactReport {
            before_bytes,
            after_bytes: self.disk_bytes(),
            segments_removed: flushed.segments_removed,
            segments_active: self.commits.wal_segments.load(Ordering::Relaxed),
            keys_retained: view.runs.iter().map(|run| run.len()).sum(),
        })
    }
}

impl MergeTurn<'_> {
    /// Merges all runs there are into one, unless there is nothing to gain.
    pub(crate) fn merge_all(&self) -> Result<(), MaintenanceError> {
        let sources = self.shared.views.pin();
        let runs = &sources.runs;
        let tombstones: u64 = runs.iter().map(|run| run.tombstones()).sum();
        if tombstones == 0 && sources.ranges.is_empty() && runs.len() <= 1 {
            return Ok(());
        }
        self.merge(runs, 0..runs.len())
    }

    /// Merges until there are no more runs than the options allow.
    pub(crate) fn merge_tiers(&self) -> Result<(), MaintenanceError> {
        loop {
            let runs = self.shared.views.pin().runs.clone();
            let sizes: Vec<u64> = runs.iter().map(|run| run.file_bytes()).collect();
            let Some(chosen) = tiering::choose(&sizes, self.shared.options.max_runs) else { return Ok(()) };
            self.merge(&runs, chosen)?;
        }
    }

    /// Replaces the `chosen` ones of all `runs`, which are newest first, by what they make together.
    fn merge(&self, runs: &[Arc<IndexedRun>], chosen: Range<usize>) -> Result<(), MaintenanceError> {
        let Some(old) = runs.get(chosen.clone()) else { return Ok(()) };
        // A tombstone hides what older runs hold: it goes when none is left.
        let has_older = chosen.end < runs.len();
        let ranges = Arc::clone(&self.shared.views.load().ranges);
        let covered = |key, offset| !ranges.is_empty() && ranges.cover(key, offset);
        let newest = Merge::new(old.iter().map(|run| run.records()))
            .filter(|item| !matches!(item, Ok((key, version)) if covered(*key, version.offset)));
        let merged = write_run(self.shared, Task::Compact, newest, has_older)?;
        let gone = Cell::new(Vec::new());
        let is_old = |number: u64| old.iter().any(|run| run.number() == number);
        self.shared.publish(
            merged.as_deref(),
            |manifest| {
                let new = merged.as_deref().map(entry);
                gone.set(manifest.settle_ranges(is_old, new.as_ref().map(|run| run.number), &ranges));
                replace(&mut manifest.runs, |run| is_old(run.number), new);
            },
            |view| {
                replace(&mut view.runs, |run| is_old(run.number()), merged.clone());
                view.drop_ranges(&gone.take());
            },
        )?;
        let stats = &self.shared.maintenance;
        stats.compactions.fetch_add(1, Ordering::Relaxed);
        let _names = self.shared.run_names.lock().unwrap_or_else(PoisonError::into_inner);
        for run in old {
            stats.compaction_read_bytes.fetch_add(run.file_bytes(), Ordering::Relaxed);
            remove_files(self.shared, run.number());
        }
        Ok(())
    }
}

/// Puts `new` in the place of the neighbours that are `old`.
fn replace<T>(runs: &mut Vec<T>, old: impl Fn(&T) -> bool, new: Option<T>) {
    let Some(start) = runs.iter().position(&old) else { return };
    let end = runs.iter().rposition(&old).map_or(start, |last| last + 1);
    runs.splice(start..end, new);
}
