//! Walking a run in key order.

use std::iter::FusedIterator;
use std::ops::Range;

use crate::error::Corrupt;
use crate::format::MAX_OFFSET;
use crate::packed::{LastBlock, Value};
use crate::run::Run;

/// One entry with its key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: u64,
    /// The offset of the operation that wrote the entry.
    pub offset: u64,
    /// The value; `None` for a tombstone.
    pub value: Option<Value<'a>>,
}

/// As [`Record`], with a value that is borrowed for as long as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordRef<'a> {
    /// The key.
    pub key: u64,
    /// The offset of the operation that wrote the entry.
    pub offset: u64,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Entries of a [`Run`] in key order, from either end. Made by [`Run::iter`] and [`Run::range`].
///
/// Every block is verified as it is reached, and compressed values are unpacked block by block; the last block is kept.
/// An entry that damage makes unreadable is one `Err`; the walk goes on
/// behind it.
#[derive(Debug)]
pub struct Iter<'a, B> {
    run: &'a Run<B>,
    keys: &'a [u64],
    offsets: &'a [u64],
    rest: Range<usize>,
    unpacked: LastBlock,
}

impl<'a, B: AsRef<[u8]>> Iter<'a, B> {
    pub(crate) fn new(run: &'a Run<B>, rest: Range<usize>) -> Self {
        Self { run, keys: run.keys(), offsets: run.raw_offsets(), rest, unpacked: LastBlock::default() }
    }

    #[inline]
    fn record(&mut self, index: usize) -> Result<Record<'a>, Corrupt> {
        let run = self.run;
        run.touch_keys(index..index + 1)?;
        run.touch_offset(index)?;
        let value = match run.value(index)? {
            Some(place) if run.is_compressed() => Some(run.read(place, &mut self.unpacked)?),
            Some(place) => Some(Value::InFile(run.slice_of_file(place))),
            None => None,
        };
        Ok(Record { key: self.keys[index], offset: self.offsets[index] & MAX_OFFSET, value })
    }
}

impl<B> Clone for Iter<'_, B> {
    fn clone(&self) -> Self {
        let unpacked = self.unpacked.clone();
        Self { run: self.run, keys: self.keys, offsets: self.offsets, rest: self.rest.clone(), unpacked }
    }
}

impl<'a, B: AsRef<[u8]>> Iterator for Iter<'a, B> {
    type Item = Result<Record<'a>, Corrupt>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.rest.next()?;
        Some(self.record(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let index = self.rest.nth(n)?;
        Some(self.record(index))
    }
}

impl<B: AsRef<[u8]>> DoubleEndedIterator for Iter<'_, B> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let index = self.rest.next_back()?;
        Some(self.record(index))
    }
}

impl<B: AsRef<[u8]>> ExactSizeIterator for Iter<'_, B> {}

impl<B: AsRef<[u8]>> FusedIterator for Iter<'_, B> {}

impl<'a, B: AsRef<[u8]>> IntoIterator for &'a Run<B> {
    type Item = Result<Record<'a>, Corrupt>;
    type IntoIter = Iter<'a, B>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
