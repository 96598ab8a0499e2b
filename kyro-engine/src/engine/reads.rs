//! Reading through the handle: each call sees what is visible when it begins.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use crate::error::ReadError;
use crate::reading::Reading;
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

    /// Reads what is visible now, with one load of the sources.
    #[inline]
    fn read<T>(&self, read: impl FnOnce(Reading<'_>) -> T) -> T {
        let sources = self.shared.views.load();
        // After the sources: what becomes visible from here on may be in newer ones.
        let visible = self.shared.visible.next();
        read(Reading { sources: &sources, visible, counters: &self.shared.counters })
    }
}
