//! Why a directory could not be salvaged.

use std::io;
use std::path::PathBuf;

use crate::error::OpenError;

/// Why [`repair`](crate::repair) gave up. The source was not changed; what is in the target is no database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// Another process has the source open: what it writes meanwhile would be missed.
    #[error("{} is in use by another process{}; stop it first", .dir.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The source.
        dir: PathBuf,
        /// The holder's process id, when its lock file could be read.
        pid: Option<u32>,
    },
    /// The source holds nothing of a database.
    #[error("{} is not a KyroDB data directory: it has no MANIFEST and neither log nor runs", .dir.display())]
    NotADatabase {
        /// The source.
        dir: PathBuf,
    },
    /// The target holds files already.
    #[error("{} is not empty: name a new directory to repair into", .dir.display())]
    TargetNotEmpty {
        /// The target.
        dir: PathBuf,
    },
    /// The target lies inside the source, or is the source.
    #[error("{} lies inside {}, which is not to be changed: name a directory elsewhere", .into.display(), .dir.display())]
    TargetInside {
        /// The source.
        dir: PathBuf,
        /// The target.
        into: PathBuf,
    },
    /// A file was written by a newer version of this software, or with something only a newer one knows.
    #[error("{} is of a newer format ({what}); repair with the version of KyroDB that wrote it, or newer", .file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// What is newer about it.
        what: String,
    },
    /// No file says which database this is: neither the manifest, nor any run, nor any segment of the log.
    #[error("nothing of {} can be read: no manifest, run or log segment has a header that is right; restore a backup", .dir.display())]
    NothingLeft {
        /// The source.
        dir: PathBuf,
    },
    /// Without a readable manifest, there are runs of data sets that were pushed or added: which of all runs are the
    /// content, and above what, only the manifest says.
    #[error(
        "the manifest of {} cannot be read, and {} files there came from data sets that were pushed (the first is {}): \
         which runs are the content cannot be told. Restore a backup; or copy the directory, remove from the copy the \
         runs that are not wanted, and repair that: runs and log of the database alone, or a data set from where it was built",
        .dir.display(), .runs.len(), .runs.first().map(|run| run.display().to_string()).unwrap_or_default()
    )]
    PushedRuns {
        /// The source.
        dir: PathBuf,
        /// Their files.
        runs: Vec<PathBuf>,
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
    /// The new log refused what was to be written to it.
    #[error("the new log could not be written")]
    Log(#[source] Box<kyro_wal::Error>),
    /// What was written did not read back as written; the target is not to be used.
    #[error("the new directory did not verify: do not use it")]
    Unverified(#[source] Box<OpenError>),
}

impl RepairError {
    /// For `map_err`.
    pub(super) fn io(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
