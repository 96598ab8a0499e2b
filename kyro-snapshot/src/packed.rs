//! Compressed values, version 2: unpacking the blocks that a value lies in.
//!
//! The values of all entries, one after the other, are cut into blocks of [`VALUE_BLOCK_BYTES`] (the last one may be
//! shorter), whatever entry they belong to. Each block is compressed by itself, or kept as it is where that would not
//! make it shorter, and the packed blocks follow each other without gaps. Locators count in values as they were: only
//! where the blocks are is looked up.
//!
//! For each block the value table has a word:
//!
//! | bits | holds |
//! |---:|---|
//! | 0 to 62 | where the packed block ends, counted from the start of the values |
//! | 63 | set: the block is not compressed |
//!
//! A block starts where the one before it ends. Its unpacked length follows from its number, so nothing in the block is
//! believed about it: one that unpacks to fewer or to more bytes is refused, and never gets more memory than a block.
//! The block checksums of the file cover the packed bytes and the table, and are verified before anything is unpacked.

use std::ops::{Deref, Range};
use std::sync::Arc;

use lz4_flex::block::decompress_into;

use crate::error::Corrupt;
use crate::format::{MAX_VALUE_BYTES, VALUE_BLOCK_BYTES};
use crate::run::{Run, words};

pub(crate) const NOT_COMPRESSED: u64 = 1 << 63;

/// A value as it was read: it dereferences to its bytes.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Where it lies in the file.
    InFile(&'a [u8]),
    /// In memory that it was unpacked to.
    Unpacked(Unpacked),
}

impl Deref for Value<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::InFile(bytes) => bytes,
            Self::Unpacked(unpacked) => unpacked.as_ref(),
        }
    }
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Value<'_> {}

/// A value in an unpacked block, which it keeps in memory.
#[derive(Clone, Debug)]
pub struct Unpacked {
    block: Arc<[u8]>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Unpacked {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.block[self.range.clone()]
    }
}

/// Who has unpacked blocks: a cache, or nobody.
pub trait ValueBlocks {
    /// The value block with this number: one that is at hand, or what `unpack` gives.
    ///
    /// # Errors
    /// What `unpack` reports.
    fn block(
        &mut self,
        number: u64,
        unpack: &mut dyn FnMut() -> Result<Arc<[u8]>, Corrupt>,
    ) -> Result<Arc<[u8]>, Corrupt>;
}

/// The block that was asked for last: what a walk in order needs.
#[derive(Clone, Debug, Default)]
pub struct LastBlock(Option<(u64, Arc<[u8]>)>);

impl ValueBlocks for LastBlock {
    fn block(
        &mut self,
        number: u64,
        unpack: &mut dyn FnMut() -> Result<Arc<[u8]>, Corrupt>,
    ) -> Result<Arc<[u8]>, Corrupt> {
        match &self.0 {
            Some((last, block)) if *last == number => Ok(Arc::clone(block)),
            _ => {
                let block = unpack()?;
                self.0 = Some((number, Arc::clone(&block)));
                Ok(block)
            }
        }
    }
}

/// A packed block in the file.
struct Stored {
    /// Bytes of the file.
    range: Range<usize>,
    is_compressed: bool,
    /// Bytes it unpacks to.
    len: usize,
}

impl<B: AsRef<[u8]>> Run<B> {
    /// Whether the values are compressed. Then [`value`](Self::value) and [`entry`](Self::entry) give places that only
    /// [`read`](Self::read) understands.
    #[inline]
    pub fn is_compressed(&self) -> bool {
        self.layout.is_packed()
    }

    /// Bytes that the values take in the file.
    pub fn stored_value_bytes(&self) -> u64 {
        self.layout.packed.map_or(self.value_bytes, |packed| packed.bytes)
    }

    /// The value at a place that [`value`](Self::value) or an [`Entry`](crate::Entry) named. Where values are
    /// compressed, the blocks it lies in (more than one for a value over a border) are asked for in `blocks` or
    /// unpacked: some microseconds each. A value of three blocks or more is unpacked without asking `blocks`, so that a
    /// long one does not push others out. Blocks that are not compressed are read where they lie.
    ///
    /// # Errors
    /// [`Corrupt`] when a block is damaged or does not unpack.
    ///
    /// # Panics
    /// When `place` is not one that this run gave.
    pub fn read(&self, place: Range<usize>, blocks: &mut dyn ValueBlocks) -> Result<Value<'_>, Corrupt> {
        if !self.is_compressed() || place.is_empty() {
            self.touch(place.clone())?;
            return Ok(Value::InFile(if place.is_empty() { &[] } else { self.slice(place) }));
        }
        let (start, end) = (place.start - self.values_at, place.end - self.values_at);
        let (first, last) = (start / VALUE_BLOCK_BYTES, (end - 1) / VALUE_BLOCK_BYTES);
        let skip = start - first * VALUE_BLOCK_BYTES;
        let len = end - start;
        if len > MAX_VALUE_BYTES {
            let what = "begins a value that is longer than any can be";
            return Err(Corrupt::Packed { position: self.values_at as u64, block: first as u64, what });
        }
        if let Some(value) = self.read_in_place(first, last, skip, len)? {
            return Ok(Value::InFile(value));
        }
        if first == last {
            let block = blocks.block(first as u64, &mut || self.unpack(first))?;
            return self.within(first, block, skip..skip + len);
        }
        // It grows as blocks prove right: a wrong length costs no memory.
        let mut joined = Vec::new();
        for number in first..=last {
            let block = if last - first > 1 {
                self.unpack(number)?
            } else {
                blocks.block(number as u64, &mut || self.unpack(number))?
            };
            joined.extend_from_slice(&block);
        }
        self.within(first, joined.into(), skip..skip + len)
    }

    /// The value in a block, or in several that were joined.
    fn within(
        &self,
        number: usize,
        block: Arc<[u8]>,
        range: Range<usize>,
    ) -> Result<Value<'static>, Corrupt> {
        if range.end > block.len() {
            return Err(self.packed(number, "is shorter than the values that are said to be in it"));
        }
        Ok(Value::Unpacked(Unpacked { block, range }))
    }

    /// A value whose blocks are all kept as they are: then they follow each other in the file.
    fn read_in_place(
        &self,
        first: usize,
        last: usize,
        skip: usize,
        len: usize,
    ) -> Result<Option<&[u8]>, Corrupt> {
        let mut start = None;
        for number in first..=last {
            let stored = self.stored(number)?;
            if stored.is_compressed {
                return Ok(None);
            }
            start.get_or_insert(stored.range.start);
        }
        let at = start.unwrap_or(self.values_at) + skip;
        if at + len > self.keys_at {
            return Err(self.packed(last, "ends beyond the values"));
        }
        self.touch(at..at + len)?;
        Ok(Some(self.slice_of_file(at..at + len)))
    }

    /// Unpacks one block.
    pub(crate) fn unpack(&self, number: usize) -> Result<Arc<[u8]>, Corrupt> {
        let stored = self.stored(number)?;
        self.touch(stored.range.clone())?;
        let packed = self.slice_of_file(stored.range);
        if !stored.is_compressed {
            return Ok(packed.into());
        }
        let mut block: Arc<[u8]> = std::iter::repeat_n(0, stored.len).collect();
        let bytes = Arc::get_mut(&mut block).unwrap_or_default();
        match decompress_into(packed, bytes) {
            Ok(len) if len == stored.len => Ok(block),
            Ok(_) => Err(self.packed(number, "unpacks to fewer bytes than belong in it")),
            Err(_) => Err(self.packed(number, "does not unpack to the bytes that belong in it")),
        }
    }

    /// Where a block is, from the words of the value table, which are verified.
    fn stored(&self, number: usize) -> Result<Stored, Corrupt> {
        let table_at = self.layout.value_table_at as usize;
        let before = number.saturating_sub(1);
        let count = self.layout.packed.map_or(0, |packed| packed.blocks as usize);
        if number >= count {
            return Err(self.packed(number, "is beyond the last"));
        }
        self.touch(table_at + 8 * before..table_at + 8 * (number + 1))?;
        let table = words(self.as_bytes(), table_at, count);
        let start = if number == 0 { 0 } else { table[before] & !NOT_COMPRESSED };
        let (end, is_compressed) = (table[number] & !NOT_COMPRESSED, table[number] & NOT_COMPRESSED == 0);
        let len = (self.value_bytes - (number * VALUE_BLOCK_BYTES) as u64).min(VALUE_BLOCK_BYTES as u64);
        let stored_len = end.checked_sub(start).filter(|_| end <= self.stored_value_bytes());
        if stored_len.is_none_or(|stored| if is_compressed { stored >= len } else { stored != len }) {
            return Err(self.packed(number, "does not have a length that fits it"));
        }
        let range = self.values_at + start as usize..self.values_at + end as usize;
        Ok(Stored { range, is_compressed, len: len as usize })
    }

    /// The words of the value table that tell where the value at `place`, which is not empty, is in the file.
    pub(crate) fn table_for(&self, place: &Range<usize>) -> Range<usize> {
        let first = (place.start - self.values_at) / VALUE_BLOCK_BYTES;
        let last = (place.end - 1 - self.values_at) / VALUE_BLOCK_BYTES;
        let table_at = self.layout.value_table_at as usize;
        table_at + 8 * first.saturating_sub(1)..table_at + 8 * (last + 1)
    }

    /// The bytes of the file that the value at `place`, which is not empty, is read from.
    pub(crate) fn stored_place(&self, place: &Range<usize>) -> Result<Range<usize>, Corrupt> {
        let (start, end) = (place.start - self.values_at, place.end - self.values_at);
        let (first, last) = (start / VALUE_BLOCK_BYTES, (end - 1) / VALUE_BLOCK_BYTES);
        let mut plain = true;
        for number in first..=last {
            plain &= !self.stored(number)?.is_compressed;
        }
        let stored = self.stored(first)?.range.start..self.stored(last)?.range.end;
        if !plain {
            return Ok(stored);
        }
        let at = stored.start + (start - first * VALUE_BLOCK_BYTES);
        Ok(at..at + (end - start))
    }

    fn packed(&self, number: usize, what: &'static str) -> Corrupt {
        let position = self.layout.value_table_at + 8 * number as u64;
        Corrupt::Packed { position, block: number as u64, what }
    }

    /// Unpacks every block, and looks whether they fill the values.
    pub(crate) fn verify_packed(&self) -> Result<(), Corrupt> {
        let Some(packed) = self.layout.packed else { return Ok(()) };
        let mut end = self.values_at;
        for number in 0..packed.blocks as usize {
            end = self.stored(number)?.range.end;
            self.unpack(number)?;
        }
        if end - self.values_at != packed.bytes as usize {
            return Err(self.packed((packed.blocks as usize).saturating_sub(1), "does not end the values"));
        }
        self.verify_footer_copy()
    }
}
