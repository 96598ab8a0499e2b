//! Restoring: a backup, verified whole, becomes a data directory of its own, verified again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kyro_wal::storage::{RealStorage, Storage};

use crate::error::OpenError;
use crate::manifest::{FILE_NAME, ManifestFile};
use crate::open::{create_dir, no_manifest};
use crate::options::OnProgress;
use crate::run_files::{index_path, run_path};
use crate::shared::{RUNS_DIR, WAL_DIR};
use crate::verify::{VerifyReport, verify_on};

/// What [`restore`] made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Files that were copied, and their bytes.
    pub files: u64,
    /// See [`RestoreReport::files`].
    pub bytes: u64,
    /// Entries of runs that were read and checked in the copy.
    pub entries: u64,
    /// Operations of the log that were read and checked in the copy.
    pub operations: u64,
}

/// Why nothing was restored. Nothing is left under the new name, and the backup is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The directory is there already.
    #[error("{} is there already; name a directory that does not exist", .dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The backup is no database, is newer than this build, is in use, or cannot be read.
    #[error("the backup cannot be read")]
    Backup(#[source] OpenError),
    /// The backup is damaged: this is the first thing that is wrong with it.
    #[error("the backup {} is damaged; take another one", .dir.display())]
    Damaged {
        /// The backup.
        dir: PathBuf,
        /// What refuses, with file, byte and reason.
        #[source]
        damage: OpenError,
    },
    /// The copy could not be made, or did not hold what it should.
    #[error("the copy could not be made")]
    Copy(#[source] OpenError),
}

/// Makes `to`, which must not exist, from the checkpoint in `backup`: everything in the backup is read and checked,
/// copied to `to` with `.partial` appended, read and checked there, and named in one step. The backup is not changed and
/// shares no file with the copy. Costs two readings of the backup, one of the copy.
///
/// The new directory is the same database, by its UUID: let only one of those that are it go on being written.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    backup: impl AsRef<Path>,
    to: impl AsRef<Path>,
    on_progress: Option<OnProgress>,
) -> Result<RestoreReport, RestoreError> {
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    restore_on(&storage, backup.as_ref(), to.as_ref(), on_progress)
}

/// As [`restore`], on any storage.
///
/// # Errors
/// As [`restore`].
pub fn restore_on(
    storage: &Arc<dyn Storage>,
    backup: &Path,
    to: &Path,
    on_progress: Option<OnProgress>,
) -> Result<RestoreReport, RestoreError> {
    if storage.list(to).is_ok() || storage.len(to).is_ok() {
        return Err(RestoreError::Exists { dir: to.to_owned() });
    }
    whole(storage, backup, on_progress.clone()).map_err(|refused| match refused {
        Refused::Unreadable(error) => RestoreError::Backup(error),
        Refused::Damaged(damage) => RestoreError::Damaged { dir: backup.to_owned(), damage },
    })?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    remove(&**storage, &partial);
    let made = copy(&**storage, backup, &partial).and_then(|mut report| {
        let found = whole(storage, &partial, on_progress).map_err(Refused::into_error)?;
        (report.entries, report.operations) = (found.entries, found.operations);
        publish(&**storage, &partial, to)?;
        Ok(report)
    });
    if made.is_err() {
        remove(&**storage, &partial);
    }
    made.map_err(RestoreError::Copy)
}

enum Refused {
    Unreadable(OpenError),
    Damaged(OpenError),
}

impl Refused {
    fn into_error(self) -> OpenError {
        match self {
            Self::Unreadable(error) | Self::Damaged(error) => error,
        }
    }
}

/// Reads and checks everything in a directory. A damaged index is damage here: a backup was verified when it was made.
fn whole(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    on_progress: Option<OnProgress>,
) -> Result<VerifyReport, Refused> {
    let mut report = verify_on(storage, dir, on_progress).map_err(Refused::Unreadable)?;
    if report.damage.is_empty() {
        Ok(report)
    } else {
        Err(Refused::Damaged(report.damage.swap_remove(0).error))
    }
}

/// Copies the files that the manifest names, and the log.
fn copy(storage: &dyn Storage, from: &Path, to: &Path) -> Result<RestoreReport, OpenError> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    };
    let manifest = ManifestFile::read(storage, from)?.ok_or_else(|| no_manifest(storage, from))?;
    let mut files = Vec::new();
    for entry in manifest.all_runs() {
        for path in [run_path, index_path] {
            let name = |dir: &Path| path(&dir.join(RUNS_DIR), entry.number);
            files.push((name(from), name(to)));
        }
    }
    let log = from.join(WAL_DIR);
    for name in storage.list(&log).map_err(io("list", &log))? {
        if Path::new(&name).extension().is_some_and(|ending| ending == "wal") {
            files.push((log.join(&name), to.join(WAL_DIR).join(&name)));
        }
    }
    files.push((from.join(FILE_NAME), to.join(FILE_NAME)));
    let dirs = [to.to_owned(), to.join(RUNS_DIR), to.join(WAL_DIR)];
    for dir in &dirs {
        create_dir(storage, dir)?;
    }
    let mut report = RestoreReport::default();
    for (file, copy) in files {
        storage.copy(&file, &copy).map_err(io("copy", &file))?;
        report.files += 1;
        report.bytes += storage.len(&copy).map_err(io("measure", &copy))?;
    }
    for dir in &dirs {
        storage.sync_dir(dir).map_err(io("sync", dir))?;
    }
    Ok(report)
}

fn publish(storage: &dyn Storage, partial: &Path, to: &Path) -> Result<(), OpenError> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    };
    storage.rename(partial, to).map_err(io("rename", partial))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    storage.sync_dir(parent).map_err(io("sync", parent))
}

/// Removes what an interrupted restore left. Best effort: the next one does it again.
fn remove(storage: &dyn Storage, dir: &Path) {
    // The manifest first: without it the rest is no database.
    storage.remove(&dir.join(FILE_NAME)).ok();
    for dir in [dir.join(RUNS_DIR), dir.join(WAL_DIR), dir.to_owned()] {
        for name in storage.list(&dir).unwrap_or_default() {
            storage.remove(&dir.join(name)).ok();
        }
        storage.remove_dir(&dir).ok();
    }
}
