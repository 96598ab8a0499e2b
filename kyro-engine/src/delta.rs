//! The delta: recent writes in memory, in key order, newest version of each key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use crate::batch::{Operation, Operations, PayloadError};

/// The newest version of one key: its offset, and its value or that it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) offset: u64,
    pub(crate) value: Option<Bytes>,
}

/// Recent writes. The committer is the only writer; any number of readers.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    versions: RwLock<BTreeMap<u64, Version>>,
    /// Entries of the map: lets a read of an empty delta, the normal state, pass without the lock.
    entries: AtomicUsize,
    /// Memory taken, by estimate: payloads, overwritten ones included (their batch keeps them alive), and entries.
    bytes: AtomicU64,
    /// Bytes the frames take in the log, by estimate.
    log_bytes: AtomicU64,
    operations: AtomicU64,
}

/// Memory an entry takes beside its value, and bytes a frame takes in the log beside its payload; both by estimate.
const ENTRY_BYTES: u64 = 80;
const FRAME_BYTES: u64 = 64;

/// What applying one payload did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The first event without a key in it.
    pub(crate) first_event: Option<u64>,
    /// Operations it held.
    pub(crate) operations: u64,
}

impl Delta {
    /// The newest version of `key`, if it was written since the delta began. O(log entries) under a shared lock;
    /// one atomic load when the delta is empty.
    pub(crate) fn get(&self, key: u64) -> Option<Version> {
        if self.entries.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.versions.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Applies the operations of one frame, whose first offset is `first_offset`, all under one lock.
    pub(crate) fn apply(&self, first_offset: u64, payload: Bytes) -> Result<Applied, PayloadError> {
        let mut applied = Applied::default();
        let bytes = payload.len() as u64;
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        for operation in Operations::new(payload)? {
            let offset = first_offset + applied.operations;
            match operation? {
                Operation::Put { key, value } => {
                    versions.insert(key, Version { offset, value: Some(value) });
                }
                Operation::Delete { key } => {
                    versions.insert(key, Version { offset, value: None });
                }
                Operation::Append { .. } => {
                    applied.first_event.get_or_insert(offset);
                }
            }
            applied.operations += 1;
        }
        self.entries.store(versions.len(), Ordering::Release);
        self.bytes.fetch_add(bytes + ENTRY_BYTES * applied.operations, Ordering::Relaxed);
        self.log_bytes.fetch_add(bytes + FRAME_BYTES, Ordering::Relaxed);
        self.operations.fetch_add(applied.operations, Ordering::Relaxed);
        Ok(applied)
    }

    /// Keys with a version here.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    /// Memory taken, in bytes, by estimate.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Log that must be kept for these writes, in bytes, by estimate.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Operations applied, events included.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Every version, in key order. Copies handles, not values; for flush and merge.
    pub(crate) fn to_sorted(&self) -> Vec<(u64, Version)> {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        versions.iter().map(|(&key, version)| (key, version.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    #[test]
    fn the_newest_version_wins_and_events_have_no_key() {
        let delta = Delta::default();
        let mut batch = Batch::new();
        batch.put(5, b"old").append(b"event").put(5, b"new").delete(9);
        let applied = delta.apply(100, batch.into_payload()).unwrap();
        assert_eq!(applied, Applied { first_event: Some(101), operations: 4 });
        assert_eq!(delta.get(5), Some(Version { offset: 102, value: Some(Bytes::from_static(b"new")) }));
        assert_eq!(delta.get(9), Some(Version { offset: 103, value: None }));
        assert_eq!(delta.get(1), None);
        assert_eq!((delta.len(), delta.operations()), (2, 4));
        let keys: Vec<u64> = delta.to_sorted().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [5, 9]);
    }
}
