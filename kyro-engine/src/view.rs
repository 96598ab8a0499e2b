//! A view: the database as it was at one offset, for as long as the view is held.

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::ReadError;
use crate::reading::Reading;
use crate::scan::{Entry, Scan, ScanIter};
use crate::shared::Shared;
use crate::sources::Sources;

/// A snapshot handle: every read through it sees exactly the operations below [`View::next_offset`], whatever is
/// written, flushed or compacted meanwhile. Made by [`Engine::view`](crate::Engine::view); clones share the snapshot.
///
/// It holds on to what it sees: recent writes in memory, and the maps of runs, whose files keep their space on disk
/// until the last view of them goes, even where a compaction has removed their names. It takes no lock, stops nobody,
/// and outlives [`Engine::close`](crate::Engine::close).
#[derive(Clone)]
pub struct View {
    sources: Arc<Sources>,
    next_offset: u64,
    shared: Arc<Shared>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("next_offset", &self.next_offset).finish_non_exhaustive()
    }
}

impl View {
    /// What is visible now.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (sources, next_offset) = shared.views.pin_at(&shared.visible);
        Self { sources, next_offset, shared }
    }

    /// One past the newest operation that the view sees.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The value of `key`: a slice of the mapped run or of recent writes, not a copy.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when the bytes that the answer depends on are damaged.
    pub fn get(&self, key: u64) -> Result<Option<Bytes>, ReadError> {
        self.reading().get(key)
    }

    /// What `read` makes of the value of `key`, borrowed where it lies: cheaper than [`View::get`] by the counting of
    /// references.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn get_with<R>(&self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, ReadError> {
        self.reading().get_with(key, read)
    }

    /// The value of `key` and the offset of the put that gave it.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn get_entry(&self, key: u64) -> Result<Option<(u64, Bytes)>, ReadError> {
        self.reading().get_entry(key)
    }

    /// The offset of the put that gave `key` its value; `None` when it has none.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn offset(&self, key: u64) -> Result<Option<u64>, ReadError> {
        self.reading().offset(key)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn contains(&self, key: u64) -> Result<bool, ReadError> {
        self.reading().contains(key)
    }

    /// The value of each of `keys`, in their order, as one view sees them. The keys' cache misses overlap: several times
    /// the throughput of as many single gets.
    ///
    /// # Errors
    /// As [`View::get`], for the first key that meets damage.
    pub fn mget(&self, keys: &[u64]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.reading().mget(keys)
    }

    /// As [`View::mget`], without an allocation: calls `visit` with each index of `keys`, in order, and the value of the
    /// key there, borrowed where it lies.
    ///
    /// # Errors
    /// As [`View::mget`]; `visit` may have been called for keys before.
    pub fn mget_with(&self, keys: &[u64], visit: impl FnMut(usize, Option<&[u8]>)) -> Result<(), ReadError> {
        self.reading().mget_with(keys, visit)
    }

    /// The live entries of a range of keys, in order. Takes memory for a cursor in each source, whatever the range.
    ///
    /// The first scan after writes sorts what has come since the last one.
    pub fn scan(&self, scan: Scan) -> ScanIter {
        ScanIter::new(Arc::clone(&self.shared), Arc::clone(&self.sources), self.next_offset, scan)
    }

    /// How many keys in `range` have a value. Two lookups when everything is in one run without tombstones. Otherwise
    /// costs by the keys of recent writes, of smaller runs and of runs with tombstones: stretches of other runs between
    /// them are not gone through.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn count(&self, range: impl RangeBounds<u64>) -> Result<u64, ReadError> {
        self.reading().count(&range)
    }

    /// The entry with exactly `rank` live keys before it; `None` when there are no more than `rank`. Costs as
    /// [`View::count`].
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn select(&self, rank: u64) -> Result<Option<Entry>, ReadError> {
        self.reading().select(rank)
    }

    fn reading(&self) -> Reading<'_> {
        Reading { sources: &self.sources, visible: self.next_offset, counters: &self.shared.counters }
    }
}
