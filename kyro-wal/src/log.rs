//! The log, open for writing.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unused_self,
    clippy::needless_pass_by_value,
    unused_variables,
    reason = "signatures first; the bodies follow"
)]

use std::path::Path;
use std::sync::Arc;

use crate::storage::Storage;
use crate::{CleanMark, Error, Identity, Options};

/// A log, open for writing.
#[derive(Debug)]
pub struct Wal {}

/// What one [`Wal::write_group`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    pub frames: u64,
    pub bytes: u64,
    pub next_offset: u64,
    pub rotated: bool,
}

/// What [`Wal::purge_before`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    pub segments: u64,
    pub bytes: u64,
    pub first_segment: u64,
}

/// Given to the callback of [`Wal::on_sync`] after each successful sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Synced {
    pub next_offset: u64,
    pub segment: u64,
    pub end: u64,
}

/// Plain numbers about a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    pub segments: u64,
    pub bytes: u64,
    pub first_segment: u64,
    pub last_segment: u64,
    pub oldest_offset: u64,
    pub next_offset: u64,
    pub synced_offset: u64,
    pub written: u64,
    pub synced: u64,
    pub rotations: u64,
    pub poisoned: bool,
}

/// Work that prepares the next segment's file off the commit path; see [`Wal::spare_job`].
#[derive(Debug)]
pub struct SpareJob {}
/// A prepared file; see [`Wal::accept_spare`].
#[derive(Debug)]
pub struct Spare {}
impl SpareJob {
    pub fn run(self) -> Result<Spare, Error> {
        Ok(Spare {})
    }
}

fn stub<T>() -> Result<T, Error> {
    Err(Error::Io { action: "stub", path: "stub".into(), source: std::io::Error::other("not written yet") })
}

impl Wal {
    pub fn create(
        storage: Arc<dyn Storage>,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Self, Error> {
        stub()
    }
    pub fn next_offset(&self) -> u64 {
        0
    }
    pub fn append(&mut self, count: u32, payload: &[u8]) -> Result<u64, Error> {
        stub()
    }
    /// As append, but the caller writes the payload straight into the group buffer (no second copy).
    pub fn append_with(
        &mut self,
        count: u32,
        bytes_hint: usize,
        fill: impl FnOnce(&mut Payload<'_>),
    ) -> Result<u64, Error> {
        stub()
    }
    pub fn group_bytes(&self) -> usize {
        0
    }
    pub fn write_group(&mut self) -> Result<Written, Error> {
        stub()
    }
    pub fn abort_group(&mut self) {}
    pub fn sync(&mut self) -> Result<(), Error> {
        stub()
    }
    pub fn confirm(&mut self) -> Result<bool, Error> {
        stub()
    }
    pub fn rotate(&mut self) -> Result<u64, Error> {
        stub()
    }
    pub fn close(self) -> Result<CleanMark, Error> {
        stub()
    }
    /// What `purge_before(offset)` would leave as first segment: write it to the manifest BEFORE purging.
    pub fn first_segment_after_purge(&self, offset: u64) -> u64 {
        0
    }
    pub fn purge_before(&mut self, offset: u64) -> Result<Purged, Error> {
        stub()
    }
    pub fn truncate_after(&mut self, offset: u64) -> Result<(), Error> {
        stub()
    }
    pub fn metadata(&self) -> &[u8] {
        &[]
    }
    pub fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), Error> {
        stub()
    }
    pub fn on_sync(&mut self, notify: Box<dyn FnMut(Synced) + Send>) {}
    pub fn stats(&self) -> LogStats {
        LogStats::default()
    }
    pub fn spare_job(&self) -> Option<SpareJob> {
        None
    }
    pub fn accept_spare(&mut self, spare: Spare) {}
}

/// Where [`Wal::append_with`] writes a payload.
#[derive(Debug)]
pub struct Payload<'a> {
    buffer: &'a mut Vec<u8>,
}
impl Payload<'_> {
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
}
