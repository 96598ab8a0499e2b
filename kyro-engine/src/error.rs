//! One error type per verb, each naming the place, the reason and what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::conditions::FailedPrecondition;

/// Why [`Engine::open`](crate::Engine::open) refused. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory open for writing.
    #[error("{} is in use by another process{}; stop it first, or use another data directory",
        .dir.display(), pid_text(*.pid))]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The holder's process id, when its lock file could be read.
        pid: Option<u32>,
    },
    /// A file was written by a newer version of this software.
    #[error("{} has format version {found}, this build reads up to {supported}; use the version of KyroDB that wrote it, or newer",
        .file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// The version found in it.
        found: u32,
        /// The newest version this build reads.
        supported: u32,
    },
    /// A file is damaged, or one that must be there is missing.
    #[error("{} is damaged at byte {offset}: {reason}; nothing was changed", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The byte at which the damage shows.
        offset: u64,
        /// What was found, and what should have been there.
        reason: String,
    },
    /// The directory holds files, but none of them is a database of ours.
    #[error("{} is not a KyroDB data directory ({reason}); name one that KyroDB made; for a new database, an empty or new directory",
        .dir.display())]
    NotADatabase {
        /// The directory.
        dir: PathBuf,
        /// What was found there.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The reason given.
        #[source]
        source: io::Error,
    },
    /// The log refused. Its own message names segment, byte and the command that salvages.
    #[error("the write-ahead log refused to open")]
    Log(#[source] Box<kyro_wal::Error>),
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Why a write was not acknowledged.
///
/// Only [`WriteError::CommitUnknown`] leaves its outcome open: after a restart the batch is there whole or not
/// at all. Every other variant means that nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A value, or the whole batch, is over the limit.
    #[error("the {what} is {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// `value` or `batch`.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The batch holds more operations than a batch may.
    #[error("the batch holds {operations} operations, the limit is {limit}; split it")]
    TooManyOperations {
        /// Operations in the batch.
        operations: usize,
        /// [`MAX_BATCH_OPERATIONS`](crate::MAX_BATCH_OPERATIONS).
        limit: usize,
    },
    /// The batch holds no operation.
    #[error("the batch holds no operation")]
    EmptyBatch,
    /// Too much waits already: slow down and try again.
    #[error("no more writes are taken at the moment: {reason}; try again shortly")]
    Busy {
        /// What the committer is waiting for.
        reason: &'static str,
    },
    /// A condition of the batch did not hold: nothing of it was written, and it took no offset.
    #[error("{}", failed_text(.failed))]
    PreconditionFailed {
        /// Every condition that did not hold, in the batch's order.
        failed: Vec<FailedPrecondition>,
    },
    /// What a condition asks about could not be read: nothing of the batch was written.
    #[error("a condition of the batch could not be checked, nothing of it was written")]
    Unchecked(#[source] Arc<ReadError>),
    /// The file system is full: nothing was written. Writing resumes when there is space again.
    #[error("no space left for the log: {reason}; nothing was written, free some space and try again")]
    StorageFull {
        /// The reason given by the log.
        reason: Arc<str>,
    },
    /// Something that the write needed could not be done, before anything of it was written: a new segment or the
    /// manifest could not be made, for example because the process has too many files open.
    #[error("nothing was written: {reason}; try again")]
    NotWritten {
        /// The reason given.
        reason: Arc<str>,
    },
    /// The commit failed after bytes may have reached the log.
    #[error("the commit's outcome is unknown: {reason}; after a restart it is there whole or not at all")]
    CommitUnknown {
        /// The first failure.
        reason: Arc<str>,
    },
    /// An earlier failure of the log made the engine read-only.
    #[error("the engine is read-only after a storage failure: {reason}; restart it to recover")]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The engine is closed.
    #[error("the engine is closed")]
    Closed,
}

fn failed_text(failed: &[FailedPrecondition]) -> String {
    let first = failed.first().map_or_else(String::new, |first| {
        let FailedPrecondition { index, key, expected, found, .. } = first;
        let found =
            found.map_or_else(|| "no value".to_owned(), |offset| format!("the value of offset {offset}"));
        format!(": operation {index} expects key {key} to be {expected:?}, it has {found}")
    });
    format!("{} of the batch's conditions did not hold{first}; nothing was written", failed.len())
}

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Stored bytes fail their checksum. Other keys go on being served.
    #[error("{} is damaged at byte {offset}: {reason}; check the directory with `kyro-http verify`", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The first byte of the damaged block.
        offset: u64,
        /// Expected and found checksum.
        reason: String,
    },
    /// The history asked for is no longer kept.
    #[error("history before offset {oldest} is no longer kept; start at {oldest}")]
    HistoryGone {
        /// The oldest offset that can be replayed.
        oldest: u64,
    },
    /// The log could not be read.
    #[error("the log could not be read")]
    Log(#[source] Box<kyro_wal::Error>),
}

/// Why a flush, compaction or index build did not finish. The state before it stays authoritative.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// Another maintenance operation is running.
    #[error("{running} is running; try again when it is done")]
    Busy {
        /// Which one.
        running: &'static str,
    },
    /// Stored bytes that had to be read fail their checksum.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file system refused.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The reason given.
        #[source]
        source: io::Error,
    },
    /// A finished run or index did not hold what was written to it; it was not published.
    #[error("{} was not published: {reason}", .file.display())]
    Unverified {
        /// The file.
        file: PathBuf,
        /// What did not hold.
        reason: String,
    },
    /// It panicked, which is a bug: please report it. The state before it stays in force.
    #[error("the operation panicked: this is a bug, please report it")]
    Panicked,
    /// An earlier failure of the log made the engine read-only.
    #[error("the engine is read-only after a storage failure: {reason}; restart it to recover")]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The engine is closed.
    #[error("the engine is closed")]
    Closed,
    /// Whoever asked for it took it back. The state before stays in force.
    #[error("it was cancelled; nothing has changed")]
    Cancelled,
}

/// Why [`Engine::close`](crate::Engine::close) could not leave the clean-shutdown mark. Everything acknowledged
/// in mode `always` is durable all the same; the next open recovers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The log failed, now or earlier.
    #[error("the log could not be closed cleanly: {reason}; the next open recovers it")]
    Log {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The manifest could not be written.
    #[error("cannot write {}", .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The reason given.
        #[source]
        source: io::Error,
    },
}

/// An error and its causes in one line: `cannot open /data: Permission denied (os error 13)`.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
