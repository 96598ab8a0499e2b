//! From what a disk holds to a log.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unused_self,
    clippy::needless_pass_by_value,
    unused_variables,
    reason = "signatures first; the bodies follow"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::Storage;
use crate::{Error, Expected, Options, Wal};

/// A log being read back. The only road to a [`Wal`] over an existing log.
#[derive(Debug)]
pub struct Recovery {}

/// One frame of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'a> {
    pub first_offset: u64,
    pub count: u32,
    pub payload: &'a [u8],
    pub segment: u64,
    pub at: u64,
}

/// How the log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// At the mark of a clean close.
    Clean,
    /// Without a mark, at a whole frame. `rewritten` bytes had no witness that they were durable; they are now.
    Unconfirmed { segment: u64, end: u64, rewritten: u64 },
    /// In a frame that was being written; `dropped` bytes (up to the last that is not zero) were cut.
    Torn { segment: u64, kept: u64, dropped: u64, last_offset: Option<u64>, quarantined: Option<PathBuf> },
}

impl Recovery {
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        expected: Expected,
        options: Options,
    ) -> Result<Self, Error> {
        Err(Error::io("stub", dir, std::io::Error::other("not written yet")))
    }
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        Ok(None)
    }
    pub fn metadata(&self) -> &[u8] {
        &[]
    }
    /// Bytes read so far and bytes to read in all, for progress.
    pub fn progress(&self) -> (u64, u64) {
        (0, 0)
    }
    pub fn finish(self, epoch: u64) -> Result<(Wal, Tail), Error> {
        Err(Error::io("stub", Path::new(""), std::io::Error::other("not written yet")))
    }
}
