//! What can be set when an engine is opened. A plain struct: nothing is read from the environment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// Size of a log segment in bytes, preallocated. Default 16 MiB.
    pub wal_segment_bytes: u64,
    /// Recent writes kept in memory before a flush starts, in bytes. While a flush is running, writers go on until
    /// four times as much is waiting, and are then held back. Default 64 MiB.
    pub delta_bytes: u64,
    /// Operations taken after which a flush starts, whatever their size. Default: no such limit.
    pub flush_every_operations: Option<u64>,
    /// Bytes of log written since the last flush after which another starts. Default: no such limit (the delta's
    /// limit bounds the log too).
    pub wal_max_bytes: Option<u64>,
    /// Whether flushes and merges start by themselves. Default true.
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
    /// Called with the progress of long operations. Default: nobody.
    pub on_progress: Option<OnProgress>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Always,
            wal_segment_bytes: 16 << 20,
            delta_bytes: 64 << 20,
            flush_every_operations: None,
            wal_max_bytes: None,
            auto_flush: true,
            max_runs: 8,
            compaction_io_bytes_per_sec: None,
            max_value_bytes: 16 << 20,
            max_queue: 4096,
            confirm_after: Duration::from_millis(20),
            on_progress: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("durability", &self.durability)
            .field("wal_segment_bytes", &self.wal_segment_bytes)
            .field("delta_bytes", &self.delta_bytes)
            .field("flush_every_operations", &self.flush_every_operations)
            .field("wal_max_bytes", &self.wal_max_bytes)
            .field("auto_flush", &self.auto_flush)
            .field("max_runs", &self.max_runs)
            .field("compaction_io_bytes_per_sec", &self.compaction_io_bytes_per_sec)
            .field("max_value_bytes", &self.max_value_bytes)
            .field("max_queue", &self.max_queue)
            .field("confirm_after", &self.confirm_after)
            .finish_non_exhaustive()
    }
}
