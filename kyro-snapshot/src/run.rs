//! Reading a run in place.

use std::ops::{Range, RangeInclusive};

use zerocopy::FromBytes;

use crate::error::{Corrupt, OpenError};
use crate::first_touch::FirstTouch;
use crate::format::{
    BLOCK_BYTES, Footer, Header, Layout, MAX_OFFSET, NO_FIXED_WIDTH, RunInfo, block_checksum,
};
use crate::iter::Iter;
use crate::locator::{ENTRIES_PER_LINE, LINE_BYTES, Line};

/// An open run over `B`: a [`Mapping`](crate::Mapping), a slice aligned to eight bytes, or an `Arc` of either.
///
/// It is immutable and `Sync`; readers share it without a lock. Nothing is read at open beyond header and footer, and
/// every block of 16 KiB is verified when it is first touched. Once all blocks of the keys, or of the values, are, a read of
/// them asks one flag and nothing else (see [`verify`](Self::verify) and [`is_verified`](Self::is_verified)).
///
/// `B::as_ref` must return the same bytes at every call; the methods panic if it returns fewer.
#[derive(Debug)]
pub struct Run<B> {
    pub(crate) bytes: B,
    pub(crate) touched: FirstTouch,
    pub(crate) entries: usize,
    pub(crate) keys_at: usize,
    pub(crate) offsets_at: usize,
    pub(crate) locators_at: usize,
    pub(crate) values_at: usize,
    pub(crate) value_bytes: u64,
    /// Width of every value, or `None`: the locators tell.
    pub(crate) fixed_width: Option<u32>,
    pub(crate) layout: Layout,
    pub(crate) footer: Footer,
    pub(crate) uuid_checksum: u32,
    info: RunInfo,
}

/// One entry, as read: what is known beside the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The offset of the operation that wrote the entry.
    pub offset: u64,
    /// Where in the file the value is (see [`Run::slice`]), or for [`Run::read`] where values are compressed; `None` for
    /// a tombstone.
    pub value: Option<Range<usize>>,
}

/// Who wrote an entry; see [`Run::stamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The offset of the operation that wrote the entry.
    pub offset: u64,
    /// Whether that operation deleted the key.
    pub is_tombstone: bool,
}

impl<B: AsRef<[u8]>> Run<B> {
    /// Opens a run. Reads and checks 4.3 KiB, the header and the footer, whatever the size of the file, and allocates
    /// one bit per block (8 bytes per MiB).
    ///
    /// # Errors
    /// An [`OpenError`] that says what is wrong where: not a run, a newer version, truncated or grown, a checksum or a
    /// field that does not fit, or bytes that are not aligned to eight.
    pub fn open(bytes: B) -> Result<Self, OpenError> {
        let file = bytes.as_ref();
        let header = Header::read(file)?;
        let (footer, layout) = Footer::read(file, header)?;
        let address = file.as_ptr().addr();
        if !address.is_multiple_of(align_of::<u64>()) {
            return Err(OpenError::Misaligned { address, needed: align_of::<u64>() });
        }
        let (info, footer) = (header.info(), footer.clone());
        Ok(Self::assemble(bytes, info, footer, layout))
    }

    /// A run whose sections lie as `layout` says, which must be inside `bytes`.
    pub(crate) fn assemble(bytes: B, info: RunInfo, footer: Footer, layout: Layout) -> Self {
        let width = footer.fixed_width.get();
        // Every position is at most the length of the file, a usize.
        Self {
            touched: FirstTouch::new(&layout, footer.entries.get(), footer.value_bytes.get()),
            entries: footer.entries.get() as usize,
            keys_at: layout.keys_at as usize,
            offsets_at: layout.offsets_at as usize,
            locators_at: layout.locators_at as usize,
            values_at: layout.values_at as usize,
            value_bytes: footer.value_bytes.get(),
            fixed_width: (width != NO_FIXED_WIDTH).then_some(width as u32),
            layout,
            info,
            uuid_checksum: crc32fast::hash(&info.uuid),
            footer,
            bytes,
        }
    }

    /// Entries, tombstones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// True when there are no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The key column: strictly increasing, as long as it is intact.
    ///
    /// No checksum has covered it at this point. Before an answer depends on keys read from it, pass their indices to
    /// [`touch_keys`](Self::touch_keys); an index trained over it wants [`verify`](Self::verify) first.
    #[inline]
    pub fn keys(&self) -> &[u64] {
        words(self.bytes.as_ref(), self.keys_at, self.entries)
    }

    /// The offset column with its tombstone bits, unverified: for prefetching only.
    #[inline]
    pub fn raw_offsets(&self) -> &[u64] {
        words(self.bytes.as_ref(), self.offsets_at, self.entries)
    }

    /// The locator lines, eight words for every fourteen entries, unverified: for prefetching only. Empty when every
    /// value has one width.
    #[inline]
    pub fn raw_locators(&self) -> &[u64] {
        words(self.bytes.as_ref(), self.locators_at, self.layout.locator_lines as usize * (LINE_BYTES / 8))
    }

    /// Verifies, once, the blocks that hold the keys of the entries in `range` (cut to the entries there are).
    ///
    /// # Errors
    /// [`Corrupt::Block`] for the first damaged block, now and at every later call.
    #[inline]
    pub fn touch_keys(&self, range: Range<usize>) -> Result<(), Corrupt> {
        if self.touched.has_keys() {
            return Ok(());
        }
        let end = range.end.min(self.entries);
        let start = range.start.min(end);
        self.touch(self.keys_at + 8 * start..self.keys_at + 8 * end)
    }

    /// True once every block of the key column has been verified: then [`touch_keys`](Self::touch_keys) has nothing to do.
    #[inline]
    pub fn has_verified_keys(&self) -> bool {
        self.touched.has_keys()
    }

    /// The key of entry `index`, verified.
    ///
    /// # Errors
    /// [`Corrupt::Block`] when its block is damaged.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[inline]
    pub fn key(&self, index: usize) -> Result<u64, Corrupt> {
        let key = self.keys()[index];
        self.touch_keys(index..index + 1)?;
        Ok(key)
    }

    /// How many keys are smaller than `key`: its place, or where it would be. A binary search that verifies what it
    /// probes, for runs without an index: about log2(len) dependent accesses.
    ///
    /// # Errors
    /// [`Corrupt::Block`] when a probed block is damaged.
    pub fn lower_bound(&self, key: u64) -> Result<usize, Corrupt> {
        let keys = self.keys();
        let (mut low, mut high) = (0, keys.len());
        while low < high {
            let middle = low + (high - low) / 2;
            self.touch_keys(middle..middle + 1)?;
            if keys[middle] < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The index of `key`, if it is here. Costs as [`lower_bound`](Self::lower_bound).
    ///
    /// # Errors
    /// [`Corrupt::Block`] when a probed block is damaged.
    pub fn find(&self, key: u64) -> Result<Option<usize>, Corrupt> {
        let index = self.lower_bound(key)?;
        Ok((self.keys().get(index) == Some(&key)).then_some(index))
    }

    /// Where in the file the value of entry `index` is (see [`slice`](Self::slice)); `None` for a tombstone. Its locator
    /// and every byte of it have been verified when this returns. Reads one cache line beside the value, or none when
    /// all values have one width.
    ///
    /// Where values are compressed, the place is not one in the file: [`read`](Self::read) makes the value of it, and
    /// verifies its bytes only then.
    ///
    /// # Errors
    /// [`Corrupt`] when a block that the answer depends on is damaged.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[inline]
    pub fn value(&self, index: usize) -> Result<Option<Range<usize>>, Corrupt> {
        let value = self.locate(index)?;
        if let Some(value) = &value
            && !self.is_compressed()
        {
            self.touch(value.clone())?;
        }
        Ok(value)
    }

    /// The value of entry `index` as it lies in the file, with every byte of it verified; `None` for a tombstone. For runs
    /// whose values are not compressed.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len), or values are compressed.
    #[inline]
    pub fn value_in_file(&self, index: usize) -> Result<Option<&[u8]>, Corrupt> {
        assert!(!self.is_compressed(), "compressed values are read by `read`");
        let Some(place) = self.locate(index)? else { return Ok(None) };
        self.touch(place.clone())?;
        Ok(Some(self.slice_of_file(place)))
    }

    /// The value of entry `index` where nothing has to be checked any more: when every block that a value is read from has
    /// been verified and values are not compressed. `None` otherwise, and for a tombstone: [`value`](Self::value) tells. The shortest way to a value.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[inline]
    pub fn ready_value(&self, index: usize) -> Option<&[u8]> {
        if !self.touched.has_values_in_place() {
            return None;
        }
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        let file = self.bytes.as_ref();
        if let Some(width) = self.fixed_width {
            let start = self.values_at + index * width as usize;
            return file.get(start..start + width as usize);
        }
        let at = self.locators_at + index / ENTRIES_PER_LINE * LINE_BYTES;
        let (line, slot) =
            (Line::ref_from_bytes(file.get(at..at + LINE_BYTES)?).ok()?, index % ENTRIES_PER_LINE);
        if line.is_tombstone(slot) {
            return None;
        }
        let value = line.value(slot, self.value_bytes)?;
        file.get(self.values_at + value.start as usize..self.values_at + value.end as usize)
    }

    /// Where in the file the value of entry `index` is read first: the value itself when all have one width, otherwise
    /// its locator. For prefetching: any index will do, and the position may be beyond the file.
    #[inline]
    pub fn value_hint(&self, index: usize) -> usize {
        match self.fixed_width {
            Some(width) => self.values_at.wrapping_add(index.wrapping_mul(width as usize)),
            None => self.locators_at.wrapping_add(index / ENTRIES_PER_LINE * LINE_BYTES),
        }
    }

    /// The entry at `index`: its value as by [`value`](Self::value), and its offset, which costs one cache line more.
    ///
    /// # Errors
    /// [`Corrupt`] when a block that the answer depends on is damaged.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[inline]
    pub fn entry(&self, index: usize) -> Result<Entry, Corrupt> {
        let word = self.raw_offsets()[index];
        self.touch_offset(index)?;
        Ok(Entry { offset: word & MAX_OFFSET, value: self.value(index)? })
    }

    /// The offset of the operation that wrote entry `index`, and whether it is a tombstone. Reads one word, and nothing
    /// of the value.
    ///
    /// # Errors
    /// [`Corrupt::Block`] when its block is damaged.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[inline]
    pub fn stamp(&self, index: usize) -> Result<Stamp, Corrupt> {
        let word = self.raw_offsets()[index];
        self.touch_offset(index)?;
        Ok(Stamp { offset: word & MAX_OFFSET, is_tombstone: word & !MAX_OFFSET != 0 })
    }

    /// Where in [`raw_locators`](Self::raw_locators) the line of entry `index` begins, when there are any: for
    /// prefetching.
    #[inline]
    pub fn locator_word(&self, index: usize) -> Option<usize> {
        self.fixed_width.is_none().then_some(index / ENTRIES_PER_LINE * (LINE_BYTES / 8))
    }

    /// The bytes of the file in `range`, which an [`Entry`] named.
    ///
    /// # Panics
    /// When `range` leaves the file, and when values are compressed: see [`read`](Self::read).
    #[inline]
    pub fn slice(&self, range: Range<usize>) -> &[u8] {
        assert!(!self.is_compressed(), "compressed values are read by `read`");
        self.slice_of_file(range)
    }

    #[inline]
    pub(crate) fn slice_of_file(&self, range: Range<usize>) -> &[u8] {
        &self.bytes.as_ref()[range]
    }

    /// All entries in key order, from either end; every block is verified as it is reached.
    pub fn iter(&self) -> Iter<'_, B> {
        self.range(0..self.entries)
    }

    /// The entries with an index in `range` (cut to the entries there are), in key order, from either end.
    pub fn range(&self, range: Range<usize>) -> Iter<'_, B> {
        let end = range.end.min(self.entries);
        Iter::new(self, range.start.min(end)..end)
    }

    /// Identity: this run, its database, its writer's epoch.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// UUID of this run.
    pub fn uuid(&self) -> [u8; 16] {
        self.info.uuid
    }

    /// CRC-32 of the key column as it was written: binds an index to it.
    pub fn key_checksum(&self) -> u32 {
        self.footer.key_checksum.get()
    }

    /// Smallest and largest key; `None` when there are no entries.
    #[inline]
    pub fn key_range(&self) -> Option<RangeInclusive<u64>> {
        (self.entries > 0).then(|| self.footer.min_key.get()..=self.footer.max_key.get())
    }

    /// Smallest and largest offset of an entry; `None` when there are no entries.
    pub fn offsets(&self) -> Option<RangeInclusive<u64>> {
        (self.entries > 0).then(|| self.footer.min_offset.get()..=self.footer.max_offset.get())
    }

    /// Entries without a value.
    pub fn tombstones(&self) -> u64 {
        self.footer.tombstones.get()
    }

    /// Bytes of all values together.
    pub fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// The width of every value, when all have the same and there is no tombstone.
    pub fn fixed_width(&self) -> Option<u32> {
        self.fixed_width
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.layout.file_bytes
    }

    /// The whole file as it was given.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Gives the bytes back.
    pub fn into_inner(self) -> B {
        self.bytes
    }

    /// Where the value of entry `index` is in the file, if it has one; the locator has been verified, the value not yet.
    #[inline]
    pub(crate) fn locate(&self, index: usize) -> Result<Option<Range<usize>>, Corrupt> {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        if let Some(width) = self.fixed_width {
            let start = self.values_at + index * width as usize;
            return Ok(Some(start..start + width as usize));
        }
        let at = self.locators_at + index / ENTRIES_PER_LINE * LINE_BYTES;
        self.touch(at..at + LINE_BYTES)?;
        let line =
            Line::ref_from_bytes(&self.bytes.as_ref()[at..at + LINE_BYTES]).unwrap_or_else(|_| moved());
        let slot = index % ENTRIES_PER_LINE;
        if line.is_tombstone(slot) {
            return Ok(None);
        }
        match line.value(slot, self.value_bytes) {
            Some(value) => {
                Ok(Some(self.values_at + value.start as usize..self.values_at + value.end as usize))
            }
            None => Err(Corrupt::Contradiction {
                position: at as u64,
                entry: index as u64,
                what: "the value locator",
            }),
        }
    }

    #[inline]
    pub(crate) fn touch_offset(&self, index: usize) -> Result<(), Corrupt> {
        let at = self.offsets_at + 8 * index;
        self.touch(at..at + 8)
    }

    /// Verifies, once, the blocks that cover `range` of the file, which must lie before the block checksums.
    #[inline]
    pub(crate) fn touch(&self, range: Range<usize>) -> Result<(), Corrupt> {
        if self.touched.is_complete() || range.is_empty() {
            return Ok(());
        }
        for block in range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES {
            if !self.touched.is_verified(block as u64) {
                self.read_block(block as u64)?;
            }
        }
        Ok(())
    }

    /// Reads a whole block and compares it with its checksum, whatever was known about it.
    #[cold]
    pub(crate) fn read_block(&self, block: u64) -> Result<(), Corrupt> {
        let file = self.bytes.as_ref();
        let start = block as usize * BLOCK_BYTES;
        let end = (start + BLOCK_BYTES).min(self.layout.table_at as usize);
        let found = block_checksum(self.uuid_checksum, &file[start..end]);
        self.touched.record(block, self.block_checksums()[block as usize], found)
    }

    pub(crate) fn block_checksums(&self) -> &[u32] {
        let at = self.layout.table_at as usize;
        let bytes = &self.bytes.as_ref()[at..at + 4 * self.layout.blocks as usize];
        <[u32]>::ref_from_bytes(bytes).unwrap_or_else(|_| moved())
    }
}

/// The `count` words at `position`: a checked cast, since sections and the file itself are aligned.
#[inline]
pub(crate) fn words(file: &[u8], position: usize, count: usize) -> &[u64] {
    <[u64]>::ref_from_bytes(&file[position..position + 8 * count]).unwrap_or_else(|_| moved())
}

#[cold]
fn moved() -> ! {
    panic!(
        "the bytes of an open run were aligned and are no longer: `as_ref` returned other bytes than at open"
    )
}
