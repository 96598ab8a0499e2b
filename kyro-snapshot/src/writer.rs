//! Writing a run: values stream through, the columns wait for their place behind them, in memory or in scratch space.

use std::fmt::{self, Debug};
use std::io;

use zerocopy::IntoBytes;

use crate::error::WriteError;
use crate::format::{
    FOOTER_BYTES, Footer, Header, LZ4, Layout, MAX_OFFSET, MAX_RUN_VALUE_BYTES, MAX_VALUE_BYTES,
    NO_FIXED_WIDTH, RunInfo, TOMBSTONE, VALUE_BLOCK_BYTES, align,
};
use crate::locator::{ENTRIES_PER_LINE, Line};

mod blocks;
mod column;
mod packer;

use blocks::BlockWriter;
use column::Column;
use packer::Packer;

/// Whether a run's values are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// They are not: they are read where they lie.
    #[default]
    None,
    /// LZ4, each [`VALUE_BLOCK_BYTES`](crate::VALUE_BLOCK_BYTES) of values by themselves. Reading a value unpacks the
    /// blocks it lies in. The file is then of format version 2.
    Lz4,
}

/// Writes one run into any [`io::Write`], front to back, without seeking.
///
/// Values go out as they come, in pieces of 2 MiB. What must wait is kept in memory: a piece, 16 bytes per entry (key and
/// offset), plus 4.6 bytes per entry once two values differ in length or a tombstone appears, plus 4 bytes per 16 KiB of
/// output. Chunks of 256 KiB are never moved, so there is no doubling on the way. With
/// [`spill_beyond`](Self::spill_beyond) what waits is moved to scratch space, and memory is bounded but for the 4 bytes
/// per 16 KiB.
///
/// The output is neither flushed to a device nor named: [`finish`](Self::finish) returns it, and publishing is the
/// caller's. A writer dropped before `finish` leaves bytes that [`Run::open`](crate::Run::open) refuses.
pub struct Writer<W: io::Write> {
    out: BlockWriter<W>,
    packer: Option<Box<Packer>>,
    spill: Option<Spill>,
    info: RunInfo,
    keys: Column<u64>,
    offsets: Column<u64>,
    widths: Widths,
    last_key: Option<u64>,
    min_offset: u64,
    max_offset: u64,
    tombstones: u64,
    value_bytes: u64,
    failed: bool,
}

/// Scratch space for a column that outgrows memory: appended to, then read from the start. It need not be durable.
pub trait Scratch: Debug + Send {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// Whatever the medium reports; the writer fails with it.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buffer` with the bytes from `at` on, all of which were appended.
    ///
    /// # Errors
    /// Whatever the medium reports; the writer fails with it.
    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

/// Makes scratch space; called at most four times by one writer. The space is dropped when it is no longer needed.
pub type MakeScratch = Box<dyn FnMut() -> io::Result<Box<dyn Scratch>> + Send>;

struct Spill {
    memory_bytes: usize,
    make: MakeScratch,
}

impl<W: io::Write> Debug for Writer<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("info", &self.info)
            .field("entries", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Entries between two looks at the memory that the columns take: a chunk of keys.
const SPILL_EVERY: u64 = 1 << 15;

/// What is known about the lengths of the values so far.
#[derive(Debug)]
enum Widths {
    /// Every entry so far has a value of this many bytes (`None`: there is no entry yet). Nothing needs to be kept.
    Fixed(Option<u32>),
    /// They differ, or there is a tombstone.
    Lines(Column<Line>),
}

/// What a finished run holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Identity, as given to [`Writer::new`].
    pub info: RunInfo,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Entries without a value.
    pub tombstones: u64,
    /// Bytes of all values together.
    pub value_bytes: u64,
    /// Bytes that they take in the file: fewer where they are compressed.
    pub stored_value_bytes: u64,
    /// Length of the whole file.
    pub file_bytes: u64,
    /// Smallest and largest key; `None` when there are no entries.
    pub keys: Option<(u64, u64)>,
    /// Smallest and largest offset; `None` when there are no entries.
    pub offsets: Option<(u64, u64)>,
    /// CRC-32 of the key column: binds an index to it.
    pub key_checksum: u32,
}

impl<W: io::Write> Writer<W> {
    /// Starts a run in `out`, its values not compressed.
    ///
    /// # Errors
    /// None today: the header leaves with the first block. The result keeps room for outputs that fail at once.
    pub fn new(out: W, info: RunInfo) -> Result<Self, WriteError> {
        Self::with_compression(out, info, Compression::None)
    }

    /// As [`new`](Self::new), with values compressed or not. Compressing takes 8 bytes of memory per 8 KiB of values
    /// beside the rest, and the time of LZ4: about 2 seconds per GiB.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_compression(out: W, info: RunInfo, compression: Compression) -> Result<Self, WriteError> {
        let is_packed = compression == Compression::Lz4;
        let mut writer = Self {
            out: BlockWriter::new(out, crc32fast::hash(&info.uuid)),
            packer: is_packed.then(|| Box::new(Packer::new())),
            spill: None,
            info,
            keys: Column::default(),
            offsets: Column::default(),
            widths: Widths::Fixed(None),
            last_key: None,
            min_offset: u64::MAX,
            max_offset: 0,
            tombstones: 0,
            value_bytes: 0,
            failed: false,
        };
        writer.write(Header::new(&info, is_packed).as_bytes())?;
        Ok(writer)
    }

    /// Moves columns that take more than about `memory_bytes` together into scratch space that `make` makes. At least
    /// 256 KiB a column stays in memory. Spilled entries are written twice and read once, 16 to 21 bytes each.
    #[must_use]
    pub fn spill_beyond(mut self, memory_bytes: usize, make: MakeScratch) -> Self {
        self.spill = Some(Spill { memory_bytes, make });
        self
    }

    /// Adds the next entry: a value, or with `None` a tombstone. Constant time beside copying the value.
    ///
    /// # Errors
    /// [`WriteError::KeyOrder`], [`WriteError::OffsetTooLarge`], [`WriteError::ValueTooLong`] and
    /// [`WriteError::RunFull`] leave the writer as it was, and another entry may follow. [`WriteError::Io`] is final:
    /// [`WriteError::Failed`] answers everything after.
    pub fn push(&mut self, key: u64, offset: u64, value: Option<&[u8]>) -> Result<(), WriteError> {
        if let Some(previous) = self.last_key
            && key <= previous
        {
            return Err(WriteError::KeyOrder { previous, key });
        }
        if offset > MAX_OFFSET {
            return Err(WriteError::OffsetTooLarge { key, offset, limit: MAX_OFFSET });
        }
        let length = value.map_or(0, <[u8]>::len);
        if length > MAX_VALUE_BYTES {
            return Err(WriteError::ValueTooLong {
                key,
                bytes: length as u64,
                limit: MAX_VALUE_BYTES as u64,
            });
        }
        let room = MAX_RUN_VALUE_BYTES - self.value_bytes;
        if length as u64 > room {
            return Err(WriteError::RunFull { key, bytes: length as u64, room });
        }
        self.write_value(value.unwrap_or_default())?;
        self.place(value.map(|value| value.len() as u32))?;
        self.last_key = Some(key);
        self.keys.push(key);
        self.offsets.push(if value.is_some() { offset } else { offset | TOMBSTONE });
        self.min_offset = self.min_offset.min(offset);
        self.max_offset = self.max_offset.max(offset);
        self.value_bytes += length as u64;
        if self.keys.len().is_multiple_of(SPILL_EVERY) { self.spill() } else { Ok(()) }
    }

    /// Entries pushed so far, tombstones included.
    pub fn entries(&self) -> u64 {
        self.keys.len()
    }

    /// Bytes of values pushed so far.
    pub fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// Writes columns, checksums and footer, and gives the output back, flushed but not synced. Costs one pass over
    /// the columns.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the output refuses bytes, [`WriteError::Failed`] when it did before.
    pub fn finish(mut self) -> Result<(W, Summary), WriteError> {
        let entries = self.keys.len();
        let has_lines = matches!(self.widths, Widths::Lines(_));
        self.pack_last()?;
        let packer = self.packer.take();
        let stored = packer.as_ref().map(|packer| packer.packed());
        let layout = Layout::of(entries, self.value_bytes, has_lines, stored);
        let keys = std::mem::take(&mut self.keys);
        let offsets = std::mem::take(&mut self.offsets);
        let mut key_hasher = crc32fast::Hasher::new();
        let key_range = (keys.first().unwrap_or(0), keys.last().unwrap_or(0));
        self.pad()?;
        keys.visit(|bytes| {
            key_hasher.update(bytes);
            self.write_column(bytes)
        })
        .map_err(|failed| self.fail(failed))?;
        self.pad()?;
        offsets.visit(|bytes| self.write_column(bytes)).map_err(|failed| self.fail(failed))?;
        self.pad()?;
        let widths = std::mem::replace(&mut self.widths, Widths::Fixed(None));
        let fixed_width = match widths {
            Widths::Fixed(width) => u64::from(width.unwrap_or(0)),
            Widths::Lines(lines) => {
                lines.visit(|bytes| self.write_column(bytes)).map_err(|failed| self.fail(failed))?;
                NO_FIXED_WIDTH
            }
        };

        let mut footer = Footer::new_empty(&self.info);
        footer.entries = entries.into();
        footer.tombstones = self.tombstones.into();
        footer.value_bytes = self.value_bytes.into();
        footer.fixed_width = fixed_width.into();
        footer.min_key = key_range.0.into();
        footer.max_key = key_range.1.into();
        footer.min_offset = if entries == 0 { 0 } else { self.min_offset }.into();
        footer.max_offset = self.max_offset.into();
        footer.key_checksum = key_hasher.finalize().into();
        place_sections(&mut footer, &layout);
        if let Some(packer) = packer {
            packer.ends.visit(|bytes| self.write_column(bytes)).map_err(|failed| self.fail(failed))?;
            self.pad()?;
            // Where the footer is lost, nothing else tells how the packed values lie.
            footer.seal();
            self.write(footer.as_bytes())?;
        }
        self.write_end(&layout, footer)
    }

    /// The block checksums and the footer, which no block checksum covers.
    fn write_end(mut self, layout: &Layout, mut footer: Footer) -> Result<(W, Summary), WriteError> {
        if self.failed {
            return Err(WriteError::Failed);
        }
        self.out.end_blocks()?;
        let table = self.out.take_checksums();
        footer.table_checksum = crc32fast::hash(table.as_bytes()).into();
        footer.seal();
        let mut end = table.as_bytes().to_vec();
        end.resize((layout.footer_at - layout.table_at) as usize, 0);
        end.extend_from_slice(footer.as_bytes());
        debug_assert_eq!(end.len() as u64, layout.file_bytes - layout.table_at);
        debug_assert!(end.len() >= FOOTER_BYTES);
        let out = self.out.finish(&end)?;

        let range = |min: u64, max: u64| (footer.entries.get() > 0).then_some((min, max));
        let summary = Summary {
            info: self.info,
            entries: footer.entries.get(),
            tombstones: self.tombstones,
            value_bytes: self.value_bytes,
            stored_value_bytes: layout.packed.map_or(self.value_bytes, |packed| packed.bytes),
            file_bytes: layout.file_bytes,
            keys: range(footer.min_key.get(), footer.max_key.get()),
            offsets: range(footer.min_offset.get(), footer.max_offset.get()),
            key_checksum: footer.key_checksum.get(),
        };
        Ok((out, summary))
    }

    /// Records the length of the next value, or that it has none; the entry is not counted yet.
    fn place(&mut self, length: Option<u32>) -> Result<(), WriteError> {
        self.tombstones += u64::from(length.is_none());
        let index = self.keys.len();
        match &mut self.widths {
            Widths::Fixed(None) if length.is_some() => self.widths = Widths::Fixed(length),
            Widths::Fixed(width) if length.is_some() && *width == length => {}
            Widths::Fixed(width) => {
                let width = width.unwrap_or(0);
                let mut lines = Column::default();
                for entry in 0..index {
                    add_end(&mut lines, entry, entry * u64::from(width), Some(width));
                    if entry.is_multiple_of(SPILL_EVERY)
                        && let Some(spill) = &mut self.spill
                        && lines.memory_bytes() > spill.memory_bytes
                        && let Err(source) = lines.spill(&mut *spill.make)
                    {
                        return Err(self.fail(Failed::Scratch(source)));
                    }
                }
                add_end(&mut lines, index, self.value_bytes, length);
                self.widths = Widths::Lines(lines);
            }
            Widths::Lines(lines) => add_end(lines, index, self.value_bytes, length),
        }
        Ok(())
    }

    /// Moves the columns out of memory when they have grown past their bound.
    #[cold]
    fn spill(&mut self) -> Result<(), WriteError> {
        let Some(spill) = &mut self.spill else { return Ok(()) };
        let lines = match &mut self.widths {
            Widths::Fixed(_) => None,
            Widths::Lines(lines) => Some(lines),
        };
        let lines_bytes = lines.as_ref().map_or(0, |lines| lines.memory_bytes());
        if self.keys.memory_bytes() + self.offsets.memory_bytes() + lines_bytes <= spill.memory_bytes {
            return Ok(());
        }
        let spilled = self
            .keys
            .spill(&mut *spill.make)
            .and_then(|()| self.offsets.spill(&mut *spill.make))
            .and_then(|()| lines.map_or(Ok(()), |lines| lines.spill(&mut *spill.make)))
            .and_then(|()| {
                let ends = self.packer.as_mut().map(|packer| &mut packer.ends);
                ends.map_or(Ok(()), |ends| ends.spill(&mut *spill.make))
            });
        spilled.map_err(|source| self.fail(Failed::Scratch(source)))
    }

    #[inline]
    fn write_value(&mut self, value: &[u8]) -> Result<(), WriteError> {
        if self.packer.is_none() { self.write(value) } else { self.pack(value) }
    }

    /// Adds the value to the block that is being gathered, and packs each that gets full.
    fn pack(&mut self, mut value: &[u8]) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Failed);
        }
        let Some(packer) = &mut self.packer else { return Ok(()) };
        while !value.is_empty() {
            value = packer.fill(value);
            if packer.is_full() {
                let out = &mut self.out;
                let written = packer.pack(|packed| out.write(packed));
                self.failed = written.is_err();
                written?;
            }
        }
        Ok(())
    }

    /// Packs the last block, which may be shorter.
    fn pack_last(&mut self) -> Result<(), WriteError> {
        let Some(packer) = self.packer.as_mut().filter(|packer| !packer.is_empty() && !self.failed) else {
            return Ok(());
        };
        let out = &mut self.out;
        let written = packer.pack(|packed| out.write(packed));
        self.failed = written.is_err();
        written
    }

    fn write_column(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.write(bytes).map_err(Failed::Output)
    }

    /// Nothing more is accepted.
    fn fail(&mut self, failed: Failed) -> WriteError {
        self.failed = true;
        match failed {
            Failed::Output(error) => error,
            Failed::Scratch(source) => WriteError::Io { position: self.out.position(), source },
        }
    }

    fn pad(&mut self) -> Result<(), WriteError> {
        let position = self.out.position();
        let gap = (align(position) - position) as usize;
        self.write(&[0; 64][..gap])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Failed);
        }
        let written = self.out.write(bytes);
        self.failed = written.is_err();
        written
    }
}

fn place_sections(footer: &mut Footer, layout: &Layout) {
    footer.file_bytes = layout.file_bytes.into();
    footer.values_at = layout.values_at.into();
    footer.keys_at = layout.keys_at.into();
    footer.offsets_at = layout.offsets_at.into();
    footer.locators_at = layout.locators_at.into();
    footer.locator_lines = layout.locator_lines.into();
    footer.table_at = layout.table_at.into();
    footer.blocks = layout.blocks.into();
    if let Some(packed) = layout.packed {
        footer.packed_bytes = packed.bytes.into();
        footer.value_table_at = layout.value_table_at.into();
        footer.value_blocks = packed.blocks.into();
        footer.compression = LZ4.into();
        footer.value_block_bytes = (VALUE_BLOCK_BYTES as u32).into();
    }
}

/// Which side failed while a column was written.
enum Failed {
    Output(WriteError),
    Scratch(io::Error),
}

impl From<io::Error> for Failed {
    fn from(source: io::Error) -> Self {
        Self::Scratch(source)
    }
}

/// Adds to `lines` the value of entry `index`, which starts at `start` (counted from the start of the values).
fn add_end(lines: &mut Column<Line>, index: u64, start: u64, length: Option<u32>) {
    let slot = (index % ENTRIES_PER_LINE as u64) as usize;
    if slot == 0 {
        lines.push(Line::new(start));
    }
    if let Some(line) = lines.last_mut() {
        line.extend(slot, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A petabyte is not at hand; the count of bytes is.
    #[test]
    fn a_full_run_refuses_values_and_takes_tombstones() {
        let mut writer = Writer::new(Vec::new(), RunInfo::default()).unwrap();
        writer.push(1, 1, Some(b"four")).unwrap();
        writer.value_bytes = MAX_RUN_VALUE_BYTES - 3;
        let error = writer.push(2, 2, Some(b"four")).unwrap_err();
        assert!(matches!(error, WriteError::RunFull { key: 2, bytes: 4, room: 3 }));
        writer.push(2, 2, Some(b"end")).unwrap();
        writer.push(3, 3, None).unwrap();
        assert!(matches!(writer.push(4, 4, Some(b"x")), Err(WriteError::RunFull { room: 0, .. })));
    }
}
