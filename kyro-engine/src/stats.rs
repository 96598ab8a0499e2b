//! What the engine can tell of itself: plain numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::counters::Event as Counted;
use crate::histogram::Histogram;
use crate::shared::{Chore, Shared};
use crate::stalls::StallStats;

/// The engine's state and counters at one moment. Counters start at zero with each opening.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// One past the newest visible operation.
    pub next_offset: u64,
    /// The oldest offset that can be replayed.
    pub oldest_offset: u64,
    /// Live keys: exact while everything is in one run, otherwise at most this many (a key may be in several places).
    pub keys_at_most: u64,
    /// Entries in the deltas, and the memory they take, in bytes, by estimate.
    pub delta_entries: u64,
    /// See [`Stats::delta_entries`].
    pub delta_bytes: u64,
    /// The size in bytes at which the delta is flushed.
    pub delta_limit_bytes: u64,
    /// Unpacked blocks of compressed values that are kept, in bytes.
    pub value_cache_bytes: u64,
    /// Blocks that reads by key unpacked, and blocks that they found unpacked.
    pub blocks_unpacked: u64,
    /// See [`Stats::blocks_unpacked`].
    pub blocks_found: u64,
    /// Deleted ranges that reads have to heed until compactions have dropped what they cover.
    pub range_tombstones: u64,
    /// The runs, newest first.
    pub runs: Vec<RunStats>,
    /// The log.
    pub wal: WalStats,
    /// Operations acknowledged.
    pub operations: u64,
    /// Groups written to the log, each with one write.
    pub groups: u64,
    /// Batches in those groups.
    pub group_batches: u64,
    /// Batches that were groups of their own, served by the thread that waited for them: see [`Engine::commit`].
    ///
    /// [`Engine::commit`]: crate::Engine::commit
    pub groups_by_writers: u64,
    /// Batches of each of those groups.
    pub group_sizes: Histogram,
    /// Syncs of the log by the committer, and the time they took in all.
    pub syncs: u64,
    /// See [`Stats::syncs`].
    pub sync_time: Duration,
    /// What each of them took, in nanoseconds.
    pub sync_times: Histogram,
    /// Reads answered by a delta.
    pub delta_reads: u64,
    /// Reads that went to the runs, through their indexes.
    pub index_reads: u64,
    /// Of those: key or tombstone found.
    pub index_hits: u64,
    /// Of those: found nowhere.
    pub index_misses: u64,
    /// Searches of a run that did not have the key, but for those of many keys at once.
    pub vain_searches: u64,
    /// Searches of a run that its filter made unnecessary.
    pub filtered_searches: u64,
    /// Keys found outside their predicted window; must stay 0.
    pub mispredicts: u64,
    /// Reads that met a failed checksum.
    pub corrupt_reads: u64,
    /// Flushes that wrote a run.
    pub flushes: u64,
    /// What each of them took, in nanoseconds.
    pub flush_times: Histogram,
    /// Bytes of run files that flushes wrote.
    pub flush_bytes: u64,
    /// Merges of runs.
    pub compactions: u64,
    /// What each compaction of everything took, its flush included, in nanoseconds.
    pub compact_times: Histogram,
    /// Bytes of run files that merges read, and bytes that they wrote.
    pub compaction_read_bytes: u64,
    /// See [`Stats::compaction_read_bytes`].
    pub compaction_bytes: u64,
    /// Indexes trained, at flush, compaction or because one was missing.
    pub index_builds: u64,
    /// Time the last index took to train and verify.
    pub last_index_build: Duration,
    /// Batches refused for back-pressure.
    pub refused_busy: u64,
    /// Writes that waited or were refused for back-pressure, a row for each reason.
    pub stalls: Vec<StallStats>,
    /// Failed checksums met in the log: by replays, and a torn end that opening cut off.
    pub wal_checksum_errors: u64,
    /// Why the engine takes no more writes, if so.
    pub poisoned: Option<String>,
    /// The last failure of a background flush or compaction, until one succeeds.
    pub maintenance_error: Option<String>,
    /// Since the engine was opened.
    pub uptime: Duration,
    /// What recovery did.
    pub recovery: RecoveryStats,
}

impl Stats {
    /// The numbers of this moment.
    pub(crate) fn of(shared: &Shared) -> Self {
        let view = shared.views.pin();
        let commits = &shared.commits;
        let (group_sizes, sync_times) = (commits.group_sizes.read(), commits.sync_times.read());
        let maintenance = &shared.maintenance;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let total = |event| shared.counters.total(event);
        let delta_entries = view.deltas().map(|delta| delta.len() as u64).sum();
        Stats {
            next_offset: shared.visible.next(),
            oldest_offset: load(&commits.wal_oldest_offset),
            keys_at_most: delta_entries
                + view.runs.iter().map(|run| run.len() - run.tombstones()).sum::<u64>(),
            delta_entries,
            delta_bytes: view.memory_bytes(),
            delta_limit_bytes: shared.options.delta_share(),
            value_cache_bytes: shared.options.value_cache.bytes(),
            blocks_unpacked: shared.options.value_cache.counts().0,
            blocks_found: shared.options.value_cache.counts().1,
            range_tombstones: view.range_tombstones() as u64,
            runs: view.runs.iter().map(|run| run.stats()).collect(),
            wal: WalStats {
                segments: load(&commits.wal_segments),
                bytes: load(&commits.wal_bytes),
                first_segment: load(&commits.wal_first_segment),
            },
            operations: load(&commits.operations),
            groups: group_sizes.count(),
            group_batches: group_sizes.sum,
            group_sizes,
            syncs: sync_times.count(),
            sync_time: Duration::from_nanos(sync_times.sum),
            sync_times,
            delta_reads: total(Counted::DeltaRead),
            index_reads: total(Counted::IndexHit) + total(Counted::IndexMiss),
            index_hits: total(Counted::IndexHit),
            index_misses: total(Counted::IndexMiss),
            vain_searches: total(Counted::VainSearch),
            filtered_searches: total(Counted::Filtered),
            mispredicts: total(Counted::Mispredict),
            corrupt_reads: total(Counted::CorruptRead),
            flushes: load(&maintenance.flushes),
            flush_times: maintenance.flush_times.read(),
            flush_bytes: load(&maintenance.flush_bytes),
            compactions: load(&maintenance.compactions),
            compact_times: maintenance.compact_times.read(),
            compaction_read_bytes: load(&maintenance.compaction_read_bytes),
            compaction_bytes: load(&maintenance.compaction_bytes),
            index_builds: load(&maintenance.index_builds),
            last_index_build: Duration::from_nanos(load(&maintenance.last_index_nanos)),
            groups_by_writers: load(&commits.by_writers),
            refused_busy: load(&commits.refused_busy),
            stalls: shared.queue.stalls.read(),
            wal_checksum_errors: total(Counted::CorruptLog) + u64::from(shared.recovery.tail.is_some()),
            poisoned: shared.health.poisoned().map(|reason| reason.to_string()),
            maintenance_error: shared
                .health
                .failure(Chore::Flush)
                .or_else(|| shared.health.failure(Chore::Compact)),
            uptime: shared.opened.elapsed(),
            recovery: shared.recovery.clone(),
        }
    }
}

/// One run and its index.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RunStats {
    /// Its number, in its file names.
    pub number: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Of those, tombstones.
    pub tombstones: u64,
    /// The run file's size in bytes.
    pub bytes: u64,
    /// Of those, the bytes of values.
    pub value_bytes: u64,
    /// Bytes that they take in the file: fewer where they are compressed.
    pub stored_value_bytes: u64,
    /// The index's size in bytes.
    pub index_bytes: u64,
    /// Leaves of the index.
    pub index_leaves: u64,
    /// Largest distance between a predicted and a true position, in entries.
    pub epsilon_max: u64,
    /// Median of that distance over the leaves.
    pub epsilon_p50: u64,
    /// 99th percentile of that distance over the leaves.
    pub epsilon_p99: u64,
    /// Largest window searched, in entries.
    pub max_window: u64,
    /// Index bits per key.
    pub bits_per_key: f64,
    /// Share of the keys that no model fits, which are found by a bounded search among separators: 0 to 1.
    pub fallback_share: f64,
    /// Memory of the filter that refuses absent keys, in bytes; 0 while there is none.
    pub filter_bytes: u64,
}

/// The log, as the committer left it after its last group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalStats {
    /// Segments on disk.
    pub segments: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Number of the oldest segment.
    pub first_segment: u64,
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryStats {
    /// Time it took.
    pub time: Duration,
    /// Operations replayed from the log.
    pub operations: u64,
    /// What was cut off the log's end, in words, when something was.
    pub tail: Option<String>,
    /// Indexes that were missing or damaged and were trained again.
    pub indexes_rebuilt: u64,
}
