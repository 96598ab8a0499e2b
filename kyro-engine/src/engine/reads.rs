//! Reading through the handle: each call sees what is visible when it begins.

use std::ops::RangeBounds;
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use crate::error::ReadError;
use crate::reading::Reading;
use crate::scan::{Entry, Scan, ScanIter};
use crate::sources::Sources;
use crate::view::View;

impl Engine {
    /// A snapshot of what is visible now, for reads that must agree with each other. Costs two counted references.
    ///
    /// # Errors
    /// None at present.
    pub fn view(&self) -> Result<View, ReadError> {
        Ok(View::new(Arc::clone(&self.shared)))
    }

    /// The value of `key`: a slice of the mapped run or of recent writes, not a copy.
    ///
    /// One probe of the recent writes; then, in each run, one predicted window. Bytes on disk are checked against
    /// their checksums when first touched.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when the bytes that the answer depends on are damaged.
    pub fn get(&self, key: u64) -> Result<Option<Bytes>, ReadError> {
        self.read(|reading| reading.get(key))
    }

    /// What `read` makes of the value of `key`, borrowed where it lies: cheaper than [`Engine::get`] by the counting of
    /// references. `read` should be short: what it borrows is kept until it returns.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn get_with<R>(&self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, ReadError> {
        self.read(|reading| reading.get_with(key, read))
    }

    /// The value of `key` and the offset of the put that gave it.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn get_entry(&self, key: u64) -> Result<Option<(u64, Bytes)>, ReadError> {
        self.read(|reading| reading.get_entry(key))
    }

    /// The offset of the put that gave `key` its value; `None` when it has none.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn offset(&self, key: u64) -> Result<Option<u64>, ReadError> {
        self.read(|reading| reading.offset(key))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn contains(&self, key: u64) -> Result<bool, ReadError> {
        self.read(|reading| reading.contains(key))
    }

    /// The value of each of `keys`, in their order, as one view sees them. The keys' cache misses overlap: several times
    /// the throughput of as many single gets.
    ///
    /// # Errors
    /// As [`Engine::get`], for the first key that meets damage.
    pub fn mget(&self, keys: &[u64]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.read(|reading| reading.mget(keys))
    }

    /// As [`Engine::mget`], without an allocation: calls `visit` with each index of `keys`, in order, and the value of the
    /// key there, borrowed where it lies.
    ///
    /// # Errors
    /// As [`Engine::mget`]; `visit` may have been called for keys before.
    pub fn mget_with(&self, keys: &[u64], visit: impl FnMut(usize, Option<&[u8]>)) -> Result<(), ReadError> {
        self.read(|reading| reading.mget_with(keys, visit))
    }

    /// The live entries of a range of keys, in order, as they are now: the scan holds a view. Takes memory for a cursor
    /// in each source, whatever the range.
    ///
    /// ```
    /// # use kyro_engine::{Engine, Options, Scan};
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path(), Options::default())?;
    /// for key in 0..100 {
    ///     engine.put(key, "value")?;
    /// }
    /// let newest: Result<Vec<_>, _> = engine.scan(Scan::range(..50).reverse().limit(3))?.collect();
    /// assert_eq!(newest?.iter().map(|entry| entry.key).collect::<Vec<_>>(), [49, 48, 47]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::view`].
    pub fn scan(&self, scan: Scan) -> Result<ScanIter, ReadError> {
        Ok(self.view()?.scan(scan))
    }

    /// How many keys in `range` have a value. Two lookups when everything is in one run without tombstones. Otherwise
    /// costs by the keys of recent writes, of smaller runs and of runs with tombstones: stretches of other runs between
    /// them are not gone through.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn count(&self, range: impl RangeBounds<u64>) -> Result<u64, ReadError> {
        self.read(|reading| reading.count(&range))
    }

    /// The entry with exactly `rank` live keys before it; `None` when there are no more than `rank`. Costs as
    /// [`Engine::count`].
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn select(&self, rank: u64) -> Result<Option<Entry>, ReadError> {
        self.read(|reading| reading.select(rank))
    }

    /// How many entries a lookup of `key` may have to search: the windows that the indexes of all runs predict, together.
    /// For sampling; reads nothing but the indexes.
    pub fn window_len(&self, key: u64) -> usize {
        self.read(|reading| reading.sources.runs.iter().map(|run| run.window_len(key)).sum())
    }

    /// Reads what is visible now. `read` is short: what it reads in is kept meanwhile.
    #[inline]
    pub(crate) fn read<T>(&self, read: impl FnOnce(Reading<'_>) -> T) -> T {
        let shared = &*self.shared;
        let read = |sources: &Sources| {
            // After the sources: what becomes visible from here on may be in newer ones.
            let visible = shared.visible.next();
            read(Reading { sources, visible, counters: &shared.counters })
        };
        shared.views.read(read, || self.leave_old_sources())
    }

    /// Sources that were replaced during a read may have waited for it alone. To unmap files takes time: a thread of
    /// the engine does it, as long as there is one.
    #[cold]
    fn leave_old_sources(&self) {
        if self.shared.health.is_closed() {
            self.shared.views.release();
        } else {
            self.shared.flusher.ring();
        }
    }
}
