//! Space kept back for when the disk is full.
//!
//! A file of zeros beside the data. When the log, the manifest, a flush or a merge runs out of space, the file is
//! removed, so that deletes, flushes and merges, which end in less space being used, have something to work with.
//! Until there is space again for the file and for a segment of the log beside it, batches that put or append are
//! refused: they would only eat it up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use kyro_wal::storage::Storage;

/// The file's name.
pub(crate) const FILE_NAME: &str = "BALLAST";

/// See the module.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
    /// What must be free beside it before writing resumes.
    headroom: u64,
    full: AtomicBool,
    tried: AtomicBool,
    changing: Mutex<()>,
}

impl Ballast {
    /// `bytes` 0 is none at all: a full disk is then met anew by each write.
    pub(crate) fn new(dir: &Path, bytes: u64, headroom: u64) -> Self {
        let (full, tried, changing) = Default::default();
        Self { path: dir.join(FILE_NAME), bytes, headroom, full, tried, changing }
    }

    /// Whether it was given up and is not back yet.
    pub(crate) fn is_released(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Makes it where it is not there, at the first call. Where there is no space for it, there is none to give up later.
    pub(crate) fn make_once(&self, storage: &dyn Storage) {
        if self.bytes == 0 || self.tried.load(Ordering::Relaxed) || self.tried.swap(true, Ordering::Relaxed) {
            return;
        }
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_released() && !storage.len(&self.path).is_ok_and(|len| len == self.bytes) {
            self.write(storage, 0).ok();
        }
    }

    /// The disk is full: gives the space up.
    pub(crate) fn release(&self, storage: &dyn Storage) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes > 0 {
            self.full.store(true, Ordering::Release);
            // Where it is not there, or cannot be removed, there is nothing to give up.
            storage.remove(&self.path).ok();
        }
    }

    /// Makes it again if there is space for it and for what comes next. Says whether writing may go on.
    pub(crate) fn restore(&self, storage: &dyn Storage) -> bool {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_released() {
            return true;
        }
        let needed = self.bytes + self.headroom;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // Asked first where the file system can tell: trying takes space from whoever is using the last of it.
        let lacking = matches!(storage.free_bytes(dir), Ok(Some(free)) if free < needed);
        let restored = !lacking && self.write(storage, self.headroom).is_ok();
        self.full.store(!restored, Ordering::Release);
        restored
    }

    /// Writes the file, and `beside` bytes more that are then cut off.
    fn write(&self, storage: &dyn Storage, beside: u64) -> io::Result<()> {
        storage.remove(&self.path).ok();
        let file = storage.create(&self.path)?;
        let cut = || if beside > 0 { file.set_len(self.bytes) } else { Ok(()) };
        let written = file.zero_fill(self.bytes + beside).and_then(|()| cut());
        if written.is_err() {
            drop(file);
            storage.remove(&self.path).ok();
        }
        written
    }
}
