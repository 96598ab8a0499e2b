//! The one door to the disk, for the log and for everything above it.
//!
//! Every file operation of the database goes through [`Storage`] and [`StorageFile`], so that a test can put a
//! simulated disk behind them and crash, tear, reorder and fail any operation. The contract is that of POSIX, stated
//! strictly:
//!
//! - written bytes are durable once a later [`StorageFile::sync_data`] or [`StorageFile::sync_all`] of that file
//!   returned success, and not before;
//! - a created, renamed or removed name is durable once a later [`Storage::sync_dir`] of its directory returned success,
//!   and not before (syncing the file does not make its name durable);
//! - after a sync that failed nothing is known about the bytes it covered, and a second sync that succeeds proves
//!   nothing about them;
//! - an unsynced write may survive a power cut wholly, in part (in units of 512-byte sectors), or not at all, in any
//!   order with other unsynced writes; bytes that a sector write leaves as they were survive it.

mod publish;
mod real;
#[cfg(feature = "sim")]
pub mod sim;

use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use publish::write_atomically;
pub use real::RealStorage;
#[cfg(feature = "sim")]
pub use sim::SimDisk;

/// A file system, or something that behaves like one.
///
/// Implementations are shared between threads behind an `Arc<dyn Storage>`.
pub trait Storage: Debug + Send + Sync + 'static {
    /// Makes a directory with mode 0700. Succeeds when it is already there. Its name is durable only after
    /// [`sync_dir`](Self::sync_dir) of the parent.
    ///
    /// # Errors
    /// Whatever the file system reports, for example a missing parent.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates a file with mode 0600 for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; otherwise whatever the file system reports.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none; otherwise whatever the file system reports.
    fn open_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// `NotFound` when there is none; otherwise whatever the file system reports.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;

    /// Gives a file that nobody writes any more: one to map into memory where there is a real one, its bytes otherwise.
    ///
    /// # Errors
    /// `NotFound` when there is none; otherwise whatever the file system reports.
    fn load(&self, path: &Path) -> io::Result<Contents>;

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound` when there is none; otherwise whatever the file system reports.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Names of the entries of a directory, sorted, without `.` and `..`. Names that are not UTF-8 are left out: this
    /// workspace never makes one.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory; otherwise whatever the file system reports.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file, replacing `to` if it exists. Atomic: after a crash either the old or the new names are there.
    ///
    /// # Errors
    /// Whatever the file system reports. After an error it is not known which of the names is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, `to`, which must not exist. Both names are of one file from then on; the new one is
    /// durable only after [`sync_dir`](Self::sync_dir) of its directory.
    ///
    /// # Errors
    /// `CrossesDevices` when the names would be on different file systems, `Unsupported` where there is no such thing;
    /// otherwise whatever the file system reports.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Writes a copy of a file that nobody changes meanwhile, and makes its bytes durable; its name is durable only
    /// after [`sync_dir`](Self::sync_dir). `to` must not exist.
    ///
    /// # Errors
    /// Whatever the file system reports; a part of the copy may be left.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.open_read(from)?, self.create(to)?);
        let mut buffer = vec![0; 1 << 18];
        let mut at = 0;
        loop {
            let read = from.read_at(&mut buffer, at)?;
            if read == 0 {
                return to.sync_all();
            }
            to.write_at(buffer.get(..read).unwrap_or_default(), at)?;
            at += read as u64;
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound` when there is none, `DirectoryNotEmpty`, `Unsupported` where there is no such thing; otherwise whatever
    /// the file system reports.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Removes a file. Handles that are open go on reading it.
    ///
    /// # Errors
    /// `NotFound` when there is none; otherwise whatever the file system reports.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes every earlier creation, rename and removal in this directory durable.
    ///
    /// # Errors
    /// Whatever the file system reports. After an error nothing is known about those operations.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, creating it if need be, and writes our process id into it. Held until the
    /// guard is dropped or the process ends, however it ends.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process (or another handle in this one) has it, [`LockError::Io`] otherwise.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError>;

    /// Bytes that can still be written in the file system of a directory; `None` where that is not known.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn free_bytes(&self, _dir: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Sixteen random bytes, for names that must be unique. Deterministic in the simulated disk.
    ///
    /// # Errors
    /// When the system has no source of randomness to offer.
    fn random(&self) -> io::Result<[u8; 16]>;
}

/// An open file, read and written at given positions. It has no cursor, so every method takes `&self`.
///
/// Writing and reading through different handles of one file see each other at once, as through a page cache.
pub trait StorageFile: Debug + Send + Sync {
    /// Writes all bytes at the offset, or fails. After a failure any part of them may have been written.
    ///
    /// # Errors
    /// Whatever the file system reports; a short write is an error (`WriteZero`, or the errno that cut it short).
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads at the offset until the buffer is full or the file ends, and says how many bytes were read.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Preallocates: writes zeros (really: no holes, no unwritten extents) over the first `len` bytes of the file.
    /// A later write inside them needs no allocation, which makes its sync about 1.5 times as fast.
    ///
    /// # Errors
    /// Whatever the file system reports, for example `StorageFull`.
    fn zero_fill(&self, len: u64) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes every byte written so far, and the length, durable (fdatasync).
    ///
    /// # Errors
    /// Any error is final: see the module's contract. Never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`sync_data`](Self::sync_data), with the file's other attributes (fsync).
    ///
    /// # Errors
    /// Any error is final: see the module's contract. Never retry.
    fn sync_all(&self) -> io::Result<()>;
}

/// Keeps a lock for as long as it lives; see [`Storage::lock`].
pub trait LockGuard: Debug + Send + Sync {}

/// An immutable file, as [`Storage::load`] gives it.
#[derive(Debug)]
pub enum Contents {
    /// A file of the operating system, to be mapped or read.
    File(std::fs::File),
    /// The whole file.
    Bytes(Vec<u8>),
}

/// Why [`Storage::lock`] gave no lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Someone has it.
    #[error("{}", held(*pid))]
    Held {
        /// The process that holds it, when the lock file says so.
        pid: Option<u32>,
    },
    /// The lock file could not be created, read or written.
    #[error("the lock file cannot be used")]
    Io(#[from] io::Error),
}

fn held(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("the lock is held by process {pid}"),
        None => "the lock is held by another process".to_owned(),
    }
}

/// Whether an error means that there is no room, so that the same operation may succeed later.
///
/// `ENOSPC`, `EDQUOT`, and a write that was cut short without an errno.
pub fn is_storage_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero
    )
}
