//! The next segment's file, made before it is needed.
//!
//! A spare is a file of zeros, really written and synced before it gets its name. It is renamed to a segment's number
//! only after that segment's header was written into it and synced. One that an earlier run left behind is taken over
//! when it is of the right length and all zeros behind its first block (which may hold the header of a rotation that a
//! crash interrupted, and is written anew).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::format::FIRST_FRAME;
use crate::scan;
use crate::segment::{NEW, SPARE, SPARE_NEW};
use crate::storage::{Storage, StorageFile, is_storage_full};

/// Prepares the next segment's file off the commit path; see [`Wal::spare_job`](crate::Wal::spare_job).
///
/// Runs on any thread, while the log is written.
#[derive(Debug)]
pub struct SpareJob {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) bytes: u64,
    /// Held by the job and then by the spare, so that there is one of them at a time.
    pub(crate) ticket: Arc<()>,
}

/// A prepared file; see [`Wal::accept_spare`](crate::Wal::accept_spare).
#[derive(Debug)]
pub struct Spare {
    pub(crate) file: Box<dyn StorageFile>,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    #[expect(dead_code, reason = "held for its count")]
    pub(crate) ticket: Arc<()>,
}

impl SpareJob {
    /// Writes and syncs the file. Cost: a segment's bytes written and one sync, or a segment's bytes read.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Io`]. The log is not affected, whatever failed: the file was not part of it,
    /// is removed, and the next attempt makes another one.
    pub fn run(self) -> Result<Spare, Error> {
        let path = self.dir.join(SPARE);
        if let Some(file) = adopt(&*self.storage, &path, self.bytes)? {
            return Ok(Spare { file, path, bytes: self.bytes, ticket: self.ticket });
        }
        let temporary = self.dir.join(SPARE_NEW);
        let file = zeros(&*self.storage, &temporary, self.bytes)?;
        let named = file.sync_all().and_then(|()| self.storage.rename(&temporary, &path));
        if let Err(error) = named {
            clean_up(&*self.storage, &temporary);
            return Err(Error::io("preparing", &temporary, error));
        }
        Ok(Spare { file, path, bytes: self.bytes, ticket: self.ticket })
    }
}

/// Removes the prepared file of a log that is closed, if it is larger than `over_bytes`: as [`Wal::close`](crate::Wal::close) does,
/// for one whose [`SpareJob`] ended only afterwards. It was never part of the log, and a crash may bring it back.
///
/// # Errors
/// Whatever the file system reports; that there is none is no error.
pub fn remove_spare(storage: &dyn Storage, dir: &Path, over_bytes: u64) -> io::Result<()> {
    let path = dir.join(SPARE);
    let removed =
        storage.len(&path).and_then(|len| if len > over_bytes { storage.remove(&path) } else { Ok(()) });
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens the spare that an earlier run left, if there is one that is good.
pub(crate) fn adopt(
    storage: &dyn Storage,
    path: &Path,
    bytes: u64,
) -> Result<Option<Box<dyn StorageFile>>, Error> {
    let file = match storage.open_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("opening", path, error)),
    };
    let len = file.len().map_err(|error| Error::io("reading", path, error))?;
    if len == bytes && scan::used_until(path, &*file, FIRST_FRAME, len)? == FIRST_FRAME {
        return Ok(Some(file));
    }
    drop(file);
    clean_up(storage, path);
    Ok(None)
}

/// A new file of zeros, unsynced, in place of one of this name that was left behind.
pub(crate) fn zeros(storage: &dyn Storage, path: &Path, bytes: u64) -> Result<Box<dyn StorageFile>, Error> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("removing", path, error));
        }
        _ => {}
    }
    let full = |source: io::Error| {
        if is_storage_full(&source) {
            Error::StorageFull { file: path.to_owned(), needed: bytes, certain: true, source }
        } else {
            Error::io("preallocating", path, source)
        }
    };
    let file = storage.create(path).map_err(full)?;
    if let Err(error) = file.zero_fill(bytes) {
        drop(file);
        clean_up(storage, path);
        return Err(full(error));
    }
    Ok(file)
}

/// Removes a file that is no longer wanted. A failure is of no consequence: the next attempt, or the next opening,
/// removes it.
pub(crate) fn clean_up(storage: &dyn Storage, path: &Path) {
    storage.remove(path).ok();
}

/// Removes what an interrupted preparation left. The finished spare stays.
pub(crate) fn clean_up_temporaries(storage: &dyn Storage, dir: &Path) {
    for name in [NEW, SPARE_NEW] {
        clean_up(storage, &dir.join(name));
    }
}
