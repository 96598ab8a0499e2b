//! What can be set when an engine is opened. A plain struct: nothing is read from the environment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kyro_snapshot::Compression;

use crate::value_cache::ValueCache;

/// What an acknowledgement of a write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The write is on stable storage: it survives a kill and a power loss. The default.
    Always,
    /// The write is in the operating system's page cache and is synced within this time: it survives a kill;
    /// a power loss may take what was acknowledged after the last sync, never a part out of the middle.
    Interval(Duration),
    /// As [`Durability::Interval`], but synced only at segment rotation and close.
    Never,
}

/// How far a long operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done: `recover`, `flush`, `compact`, `verify`, `index`, `warm-up`.
    pub task: &'static str,
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    pub total: Option<u64>,
    /// The unit: `operations`, `entries`, `bytes`, `keys`.
    pub unit: &'static str,
}

/// Receives [`Progress`] at least every few hundred milliseconds of a long operation, on the thread that does the work.
pub type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How an engine is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// What an acknowledgement means. Default: [`Durability::Always`].
    pub durability: Durability,
    /// Size of a log segment in bytes, preallocated; the first of a session has 1 MiB at most. A clean
    /// close gives back what is not used of the last one. Where runs hold all of it and nobody read history in the session
    /// it gives back all, if that is more than 1 MiB or a sixteenth of a segment, whichever is less. Default 16 MiB.
    pub wal_segment_bytes: u64,
    /// Memory for everything that grows with load, in bytes: recent writes (two fifths, counting those that wait for a
    /// flush; their tables grow by doubling, which may take it up to a half), the queue of writers (an eighth), the columns
    /// of runs that are being written (a sixteenth for a flush and as much for a merge), the filters
    /// of runs (a sixteenth; those beyond it have none), unpacked values (a sixteenth); the rest is
    /// for what flushes sort (16 bytes a key), frames, buffers, and the training of an index, which reads the keys where
    /// they are mapped and takes half a MiB beside the index. A bulk build sorts in half of it. At least 16 MiB. Beside it
    /// are what grows with the data and not with load: one bit for every 16 KiB of the runs, and while one is written four
    /// bytes for every 16 KiB of it (0.03 %). Mapped files are not counted: the operating system takes their pages back
    /// when it needs them. Default: none; the single options say it.
    pub memory_budget: Option<u64>,
    /// Whether the values of runs that are written are compressed, block by block. A run stays as it was written until a
    /// merge writes it again; one engine reads both. A get from a compressed run unpacks 8 KiB unless the block is kept
    /// (see [`value_cache_bytes`](Self::value_cache_bytes)), and its value is no longer borrowed from the file. Releases
    /// before run format 2 refuse such runs. Default: not compressed.
    pub compression: Compression,
    /// Memory for unpacked blocks of compressed values that reads by key needed, in bytes. Not used where nothing is
    /// compressed. Below 134 KiB nothing is kept. Default 32 MiB.
    pub value_cache_bytes: u64,
    pub(crate) value_cache: Arc<ValueCache>,
    /// Recent writes kept in memory before a flush starts, in bytes. While a flush is running, writers go on until
    /// four times as much is waiting, and are then held back. Default 64 MiB.
    pub delta_bytes: u64,
    /// Operations taken after which a flush starts, whatever their size (`snapshot_every_n_appends` of the server).
    /// Default: no such limit.
    pub flush_every_operations: Option<u64>,
    /// Bytes of log written since the last flush after which another starts. Default: no such limit (the delta's
    /// limit bounds the log too).
    pub wal_max_bytes: Option<u64>,
    /// Segments of the log at which a flush starts, so that those it covers can go. A segment that no run covers is never
    /// removed. Default: no such limit.
    pub wal_max_segments: Option<u64>,
    /// Time since the last flush after which another starts, when anything was written. Default: no such limit.
    pub auto_snapshot: Option<Duration>,
    /// Operations since the last flush after which they are to be under an index, which is what a flush does. Default:
    /// no such limit.
    pub rmi_rebuild_appends: Option<u64>,
    /// The same, as a share of the entries in runs: 0.25 means a quarter as many operations. Default: no such limit.
    pub rmi_rebuild_ratio: Option<f64>,
    /// Time between full compactions, when anything was written. With
    /// [`compact_when_wal_bytes`](Self::compact_when_wal_bytes), only when the log is of that size too. Default: never.
    pub compact_interval: Option<Duration>,
    /// Size of the log in bytes at which a full compaction starts, when anything was written since the last. Looked at
    /// once a second. Default: never.
    pub compact_when_wal_bytes: Option<u64>,
    /// Whether flushes and merges start by themselves: without it none of these limits does anything. Default true.
    pub auto_flush: bool,
    /// Runs kept before some are merged. A read may look into each of them. Those of similar size are merged, so that
    /// a byte is written again only a few times; a larger bound means fewer times. There may be more of them while
    /// flushes are faster than merges. Default 8: with it, 1,000 flushes of one size write each byte 5.4 times in all.
    pub max_runs: usize,
    /// Bytes a second that merges of runs may write, and may read about as many. Default: no limit.
    pub compaction_io_bytes_per_sec: Option<u64>,
    /// Largest value in bytes. Default 16 MiB.
    pub max_value_bytes: u32,
    /// Commits that may wait for the committer. Default 4096.
    pub max_queue: usize,
    /// Idle time after which the last group gets a witness (an empty confirming frame). Default 20 ms.
    pub confirm_after: Duration,
    /// Bytes kept back in a file, and given up when the disk is full, so that deletes, flushes and merges still run. 0 for
    /// none. Default 4 MiB.
    pub ballast_bytes: u64,
    /// Called with the progress of long operations. Default: nobody.
    pub on_progress: Option<OnProgress>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Always,
            wal_segment_bytes: 16 << 20,
            memory_budget: None,
            compression: Compression::None,
            value_cache_bytes: 32 << 20,
            value_cache: Arc::default(),
            delta_bytes: 64 << 20,
            flush_every_operations: None,
            wal_max_bytes: None,
            wal_max_segments: None,
            auto_snapshot: None,
            rmi_rebuild_appends: None,
            rmi_rebuild_ratio: None,
            compact_interval: None,
            compact_when_wal_bytes: None,
            auto_flush: true,
            max_runs: 8,
            compaction_io_bytes_per_sec: None,
            max_value_bytes: 16 << 20,
            max_queue: 4096,
            confirm_after: Duration::from_millis(20),
            ballast_bytes: 4 << 20,
            on_progress: None,
        }
    }
}

/// The smallest memory budget that is honoured.
const MIN_MEMORY_BUDGET: u64 = 16 << 20;

/// Memory for the columns of a run that is being written, without a budget.
const COLUMN_BYTES: u64 = 32 << 20;

impl Options {
    fn share(&self, part: u64) -> Option<u64> {
        self.memory_budget.map(|budget| budget.max(MIN_MEMORY_BUDGET) / part)
    }

    /// Recent writes after which a flush starts; four times as much may wait.
    pub(crate) fn delta_share(&self) -> u64 {
        self.share(10).map_or(self.delta_bytes, |share| share.min(self.delta_bytes))
    }

    /// Payload bytes that may wait for the committer, when a budget says it.
    pub(crate) fn queue_share(&self) -> Option<u64> {
        self.share(8)
    }

    /// Memory for records that a bulk build sorts: it has no recent writes, no queue and no filters.
    pub(crate) fn sort_share(&self) -> u64 {
        self.share(2).unwrap_or(u64::MAX)
    }

    /// Memory for the filters of all runs together.
    pub(crate) fn filter_share(&self) -> u64 {
        self.share(16).unwrap_or(u64::MAX)
    }

    /// With a cache of its own for unpacked values, as large as the options say.
    pub(crate) fn with_value_cache(mut self) -> Self {
        let share = self.share(16).map_or(self.value_cache_bytes, |share| share.min(self.value_cache_bytes));
        self.value_cache = Arc::new(ValueCache::with_bytes(share));
        self
    }

    /// Memory for the columns of a run that is being written; what is beyond waits in temporary files.
    pub(crate) fn column_share(&self) -> usize {
        let share = self.share(16).map_or(COLUMN_BYTES, |share| share.min(COLUMN_BYTES));
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("durability", &self.durability)
            .field("wal_segment_bytes", &self.wal_segment_bytes)
            .field("memory_budget", &self.memory_budget)
            .field("compression", &self.compression)
            .field("value_cache_bytes", &self.value_cache_bytes)
            .field("delta_bytes", &self.delta_bytes)
            .field("flush_every_operations", &self.flush_every_operations)
            .field("wal_max_bytes", &self.wal_max_bytes)
            .field("wal_max_segments", &self.wal_max_segments)
            .field("auto_snapshot", &self.auto_snapshot)
            .field("rmi_rebuild_appends", &self.rmi_rebuild_appends)
            .field("rmi_rebuild_ratio", &self.rmi_rebuild_ratio)
            .field("compact_interval", &self.compact_interval)
            .field("compact_when_wal_bytes", &self.compact_when_wal_bytes)
            .field("auto_flush", &self.auto_flush)
            .field("max_runs", &self.max_runs)
            .field("compaction_io_bytes_per_sec", &self.compaction_io_bytes_per_sec)
            .field("max_value_bytes", &self.max_value_bytes)
            .field("max_queue", &self.max_queue)
            .field("confirm_after", &self.confirm_after)
            .field("ballast_bytes", &self.ballast_bytes)
            .finish_non_exhaustive()
    }
}
