//! A durable, append-only key-value engine, u64 key to bytes, whose read path is a learned index.
//!
//! ```
//! use kyro_engine::{Engine, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let engine = Engine::open(dir.path(), Options::default())?;
//! let offset = engine.put(42, "forty-two")?;          // on stable storage when it returns
//! assert_eq!(engine.get(42)?.as_deref(), Some(&b"forty-two"[..]));
//! assert_eq!(engine.offset(42)?, Some(offset));
//! engine.flush()?;                                     // into a run with its index
//! engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! What holds, whatever happens:
//!
//! 1. A write acknowledged in [`Durability::Always`] survives a kill and a power loss; one that was not is there whole
//!    or not at all.
//! 2. A torn end of the log is cut and reported. Damage anywhere else refuses to open, names file and byte, and
//!    changes nothing.
//! 3. After any failed sync or write of the log the engine is read-only and says so.
//! 4. A flipped bit in any file is noticed before wrong bytes are returned.
//! 5. One process writes.
//! 6. An index is published only after every key was looked up through it. A damaged index costs time, never an answer.
//!
//! A PUT travels [`Engine::write`] → queue → committer → log → delta. A GET travels [`Engine::get`] → view → delta →
//! runs: index, window, entry.

mod background;
mod ballast;
mod batch;
mod bulk;
mod checkpoint;
mod commit;
mod committer;
mod compaction;
mod conditions;
mod count;
mod counters;
mod cursor;
mod delta;
mod engine;
mod error;
mod filter;
mod filters;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod gates;
mod histogram;
mod index_quality;
mod indexed_run;
mod inspect;
mod maintenance;
mod manifest;
mod merge;
mod merged;
mod mget;
mod open;
mod options;
mod pace;
mod presence;
mod published;
mod queue;
mod range_tombstones;
mod read_only;
mod reading;
mod repair;
mod replay;
mod restore;
mod run_files;
mod run_writer;
mod scan;
#[cfg(all(test, shuttle))]
mod schedules;
mod shared;
mod sources;
mod stalls;
mod stats;
mod sync;
mod thread_number;
mod threads;
mod tiering;
mod triggers;
mod value_cache;
mod verify;
mod versions;
mod view;
mod visible;

pub use batch::{Batch, MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS};
pub use bulk::{BulkBuild, BulkError, BulkOptions, BulkReport, Duplicates};
pub use checkpoint::{CheckpointError, CheckpointOptions, CheckpointReport};
pub use commit::{Commit, Committed};
pub use compaction::CompactReport;
pub use conditions::{Condition, FailedPrecondition};
pub use engine::{Engine, WriteOptions};
pub use error::{CloseError, MaintenanceError, OpenError, ReadError, WriteError, describe};
pub use histogram::Histogram;
pub use index_quality::IndexQuality;
pub use inspect::{Fact, InspectError, InspectOptions, Inspection, Table, inspect, inspect_on};
pub use maintenance::{FlushReport, IndexReport, WarmReport};
pub use manifest::MANIFEST_FORMAT;
pub use options::{Durability, OnProgress, Options, Progress};
pub use presence::{Presence, major_faults};
pub use read_only::ReadOnly;
pub use repair::{
    FileDamage, LostEntries, LostKey, LostOffsets, Renumbered, RepairError, RepairOptions, RepairReport,
    Unfinished, repair, repair_on,
};
pub use replay::{Event, EventOp, Replay};
pub use restore::{RestoreError, RestoreReport, restore, restore_on};
pub use scan::{Entry, EntryRef, Scan, ScanIter};
pub use stalls::StallStats;
pub use stats::{RecoveryStats, RunStats, Stats, WalStats};
pub use verify::{Damage, VerifyReport, verify, verify_on};
pub use versions::{MAX_LABEL_BYTES, PushReport, Version, VersionError, VersionId};
pub use view::View;
pub use visible::VisibleAfter;

/// Whether and how values are compressed, re-exported: what [`Options::compression`] takes.
pub use kyro_snapshot::Compression;
/// The storage interface and its implementations, re-exported: what [`Engine::open_on`] takes.
pub use kyro_wal::storage;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

/// The workspace's README.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
struct WorkspaceReadme;

/// The instruction set that key searches use on this machine: `scalar`, `avx2`, `avx512` or `neon`.
pub fn simd_level() -> &'static str {
    match kyro_simd::Searcher::new().level() {
        kyro_simd::Level::Avx512 => "avx512",
        kyro_simd::Level::Avx2 => "avx2",
        kyro_simd::Level::Neon => "neon",
        _ => "scalar",
    }
}
