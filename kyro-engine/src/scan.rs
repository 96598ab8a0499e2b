//! Ordered reads: the live keys of a range, in either direction, as one view sees them.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;

use crate::counters::Counters;
use crate::error::ReadError;
use crate::merged::{At, Merged};
use crate::shared::Shared;
use crate::sources::Sources;

/// What to scan: a range of keys, a direction, a limit.
///
/// ```
/// use kyro_engine::Scan;
/// let newest_ten = Scan::range(100..).reverse().limit(10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// First and last key; `None` when no key is in the range.
    pub(crate) keys: Option<(u64, u64)>,
    pub(crate) reverse: bool,
    pub(crate) limit: u64,
    pub(crate) keys_only: bool,
}

impl Scan {
    /// All keys.
    pub fn all() -> Self {
        Self::range(..)
    }

    /// The keys in `range`. One that holds no key is a scan that gives nothing.
    pub fn range(range: impl RangeBounds<u64>) -> Self {
        Self { keys: ends(&range), reverse: false, limit: u64::MAX, keys_only: false }
    }

    /// From the largest key to the smallest.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// At most `entries` of them.
    #[must_use]
    pub fn limit(mut self, entries: u64) -> Self {
        self.limit = entries;
        self
    }

    /// Without their values: each [`Entry::value`] is empty, and no value is read from disk.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }
}

/// First and last key of a range; `None` when it holds none.
pub(crate) fn ends(range: &impl RangeBounds<u64>) -> Option<(u64, u64)> {
    let first = match range.start_bound() {
        Bound::Included(&first) => first,
        Bound::Excluded(&before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let last = match range.end_bound() {
        Bound::Included(&last) => last,
        Bound::Excluded(&after) => after.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (first <= last).then_some((first, last))
}

/// A key with its value and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The key.
    pub key: u64,
    /// The offset of the put that gave the value.
    pub offset: u64,
    /// The value, sharing the memory it is in, or a copy of a short one; empty in a scan of keys only.
    pub value: Bytes,
}

/// As [`Entry`], with the value borrowed where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryRef<'a> {
    /// The key.
    pub key: u64,
    /// The offset of the put that gave the value.
    pub offset: u64,
    /// The value; empty in a scan of keys only.
    pub value: &'a [u8],
}

/// The entries of a [`Scan`], in order. Made by [`View::scan`](crate::View::scan) and
/// [`Engine::scan`](crate::Engine::scan); holds its view. An error is the last thing it gives.
pub struct ScanIter {
    sources: Arc<Sources>,
    shared: Arc<Shared>,
    visible: u64,
    scan: Scan,
    /// Made when the first entry is asked for.
    merged: Option<Merged>,
    left: u64,
}

impl fmt::Debug for ScanIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanIter").field("scan", &self.scan).field("left", &self.left).finish_non_exhaustive()
    }
}

impl ScanIter {
    pub(crate) fn new(shared: Arc<Shared>, sources: Arc<Sources>, visible: u64, scan: Scan) -> Self {
        let left = if scan.keys.is_some() { scan.limit } else { 0 };
        Self { sources, shared, visible, scan, merged: None, left }
    }

    /// The next entry, its value borrowed: cheaper than [`Iterator::next`] by the counting of references.
    ///
    /// # Errors
    /// As an item: [`ReadError::Corrupt`] for an entry that damage makes unreadable; nothing follows it.
    #[inline]
    pub fn next_ref(&mut self) -> Option<Result<EntryRef<'_>, ReadError>> {
        match self.step() {
            Ok(None) => None,
            Ok(Some(at)) => self.merged.as_ref().map(|merged| Ok(merged.borrow(at))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Calls `visit` with each entry, its value borrowed, until it breaks or there are no more: the fastest way through
    /// a range. What it did not get to is still to come.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] for the first entry that damage makes unreadable; `visit` has seen those before it.
    pub fn visit(&mut self, mut visit: impl FnMut(EntryRef<'_>) -> ControlFlow<()>) -> Result<(), ReadError> {
        if self.left == 0 {
            return Ok(());
        }
        let mut left = self.left;
        let visited = self.merged().and_then(|(merged, counters)| {
            merged.visit(counters, |entry| {
                left -= 1;
                let flow = visit(entry);
                if left == 0 { ControlFlow::Break(()) } else { flow }
            })
        });
        self.left = if visited.is_ok() { left } else { 0 };
        visited
    }

    #[inline]
    fn step(&mut self) -> Result<Option<At>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        let stepped = self.merged().and_then(|(merged, counters)| merged.next(counters));
        self.left = if matches!(stepped, Ok(Some(_))) { self.left - 1 } else { 0 };
        stepped
    }

    #[inline]
    fn merged(&mut self) -> Result<(&mut Merged, &Counters), ReadError> {
        let counters = &self.shared.counters;
        let merged = match &mut self.merged {
            Some(merged) => merged,
            none => none.insert(Merged::open(&self.sources, self.visible, self.scan, counters)?),
        };
        Ok((merged, counters))
    }
}

impl Iterator for ScanIter {
    type Item = Result<Entry, ReadError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(None) => None,
            Ok(Some(at)) => self.merged.as_ref().map(|merged| Ok(merged.share(at))),
            Err(error) => Some(Err(error)),
        }
    }
}

impl FusedIterator for ScanIter {}
