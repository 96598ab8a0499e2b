//! The bytes of a run file, versions 1 and 2: tables, positions, and the arithmetic between them.
//!
//! All integers are little-endian. Every section starts at a multiple of 64; the gap before it is zero.
//!
//! | section | bytes | holds |
//! |---|---|---|
//! | header | 4096 | identity; see [`Header`] |
//! | values | value bytes | the values of all entries, in key order, without gaps; in version 2 packed, see [`crate::packed`] |
//! | keys | 8 × entries | strictly increasing |
//! | offsets | 8 × entries | the offset of each entry; the top bit says tombstone |
//! | locators | 64 × ⌈entries / 14⌉, or none | where each value ends and which entries have none; see [`crate::locator`]. None when every entry has a value and all have one width |
//! | value blocks | 8 × value blocks | version 2 only: where each packed block of values ends |
//! | footer copy | 256 | version 2 only: the footer with the checksum of the block checksums left zero |
//! | block checksums | 4 × blocks | one CRC-32 for every 16 KiB of everything before this section |
//! | footer | 256 | see [`Footer`]; the last bytes of the file |
//!
//! A block checksum is the CRC-32 (the polynomial of zlib) of the run's UUID followed by the block, so that a block and
//! its checksum that belong to another run do not pass here.
//!
//! Version 2 is written where values are compressed, and only there: everything else is version 1, byte for byte.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::OpenError;
use crate::locator::{BASE_BITS, ENTRIES_PER_LINE, LINE_BYTES};

/// The newest version of the file format that this crate reads: the one of runs with compressed values. Runs without
/// are written as version 1.
pub const FORMAT_VERSION: u32 = 2;

const PLAIN_VERSION: u32 = 1;
const PACKED_VERSION: u32 = 2;

/// How many bytes one block checksum covers: the unit in which damage is found on first touch.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// How many bytes of values are compressed together, and unpacked together to read one of them.
pub const VALUE_BLOCK_BYTES: usize = 8 * 1024;

/// The longest value an entry can hold, in bytes: 256 MiB.
///
/// It bounds the fourteen 32-bit relative ends of a locator line, so that they can never overflow.
pub const MAX_VALUE_BYTES: usize = 1 << 28;

/// The most bytes that the values of one run can have together: 1 PiB.
pub const MAX_RUN_VALUE_BYTES: u64 = (1 << BASE_BITS) - 1;

/// The largest offset an entry can carry; the bit above it marks a tombstone.
pub const MAX_OFFSET: u64 = (1 << 63) - 1;

pub(crate) const MAGIC: [u8; 8] = *b"kyro-run";
pub(crate) const FOOTER_MAGIC: [u8; 8] = *b"kyro-end";
/// CRC-32 as in zlib, gzip and PNG.
pub(crate) const CHECKSUM_CRC32: u32 = 1;
pub(crate) const ALIGNMENT: usize = 64;
pub(crate) const TOMBSTONE: u64 = 1 << 63;
/// The footer's compression field: the block format of LZ4, without a size before it.
pub(crate) const LZ4: u32 = 1;
/// The footer's width field when the values have locators instead of one width.
pub(crate) const NO_FIXED_WIDTH: u64 = u64::MAX;

/// The first 4096 bytes.
///
/// In every version, present and future, the first twelve bytes are the magic and the version, and the last four are
/// the CRC-32 of the 4092 before them: so a reader can trust the version it refuses.
///
/// | at | bytes | field |
/// |---:|---:|---|
/// | 0 | 8 | magic, `kyro-run` |
/// | 8 | 4 | format version |
/// | 12 | 4 | checksum algorithm: 1 = CRC-32 |
/// | 16 | 16 | UUID of the database |
/// | 32 | 16 | UUID of this run |
/// | 48 | 8 | epoch of the writer (fencing) |
/// | 56 | 4 | bytes per checksummed block, 16384 |
/// | 60 | 4032 | zero |
/// | 4092 | 4 | CRC-32 of the bytes before it |
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) checksum_algorithm: U32,
    pub(crate) database: [u8; 16],
    pub(crate) run: [u8; 16],
    pub(crate) epoch: U64,
    pub(crate) block_bytes: U32,
    pub(crate) zero: [u8; 4032],
    pub(crate) checksum: U32,
}

/// The last 256 bytes.
///
/// | at | bytes | field |
/// |---:|---:|---|
/// | 0 | 8 | magic, `kyro-end` |
/// | 8 | 16 | UUID of this run, as in the header |
/// | 24 | 8 | length of the whole file |
/// | 32 | 8 | entries, tombstones included |
/// | 40 | 8 | tombstones |
/// | 48 | 8 | position of the values |
/// | 56 | 8 | bytes of values |
/// | 64 | 8 | position of the keys |
/// | 72 | 8 | position of the offsets |
/// | 80 | 8 | position of the locators |
/// | 88 | 8 | locator lines |
/// | 96 | 8 | position of the block checksums |
/// | 104 | 8 | blocks |
/// | 112 | 8 | width of every value, or all ones: the locators tell |
/// | 120 | 8 | smallest key |
/// | 128 | 8 | largest key |
/// | 136 | 8 | smallest offset |
/// | 144 | 8 | largest offset |
/// | 152 | 4 | CRC-32 of the key column |
/// | 156 | 4 | CRC-32 of the block checksums |
/// | 160 | 8 | version 2: bytes of packed values; version 1: zero, as the next four |
/// | 168 | 8 | version 2: position of the value blocks |
/// | 176 | 8 | version 2: value blocks |
/// | 184 | 4 | version 2: compression, 1 = LZ4 blocks |
/// | 188 | 4 | version 2: bytes of values in a value block, 8192 |
/// | 192 | 60 | zero |
/// | 252 | 4 | CRC-32 of the bytes before it |
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Footer {
    pub(crate) magic: [u8; 8],
    pub(crate) run: [u8; 16],
    pub(crate) file_bytes: U64,
    pub(crate) entries: U64,
    pub(crate) tombstones: U64,
    pub(crate) values_at: U64,
    pub(crate) value_bytes: U64,
    pub(crate) keys_at: U64,
    pub(crate) offsets_at: U64,
    pub(crate) locators_at: U64,
    pub(crate) locator_lines: U64,
    pub(crate) table_at: U64,
    pub(crate) blocks: U64,
    pub(crate) fixed_width: U64,
    pub(crate) min_key: U64,
    pub(crate) max_key: U64,
    pub(crate) min_offset: U64,
    pub(crate) max_offset: U64,
    pub(crate) key_checksum: U32,
    pub(crate) table_checksum: U32,
    pub(crate) packed_bytes: U64,
    pub(crate) value_table_at: U64,
    pub(crate) value_blocks: U64,
    pub(crate) compression: U32,
    pub(crate) value_block_bytes: U32,
    pub(crate) zero: [u8; 60],
    pub(crate) checksum: U32,
}

pub(crate) const HEADER_BYTES: usize = size_of::<Header>();
pub(crate) const FOOTER_BYTES: usize = size_of::<Footer>();
const CHECKSUM_BYTES: usize = size_of::<U32>();

const _: () = assert!(HEADER_BYTES == 4096 && FOOTER_BYTES == 256);
const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT) && BLOCK_BYTES.is_multiple_of(ALIGNMENT));
const _: () = assert!(LINE_BYTES == ALIGNMENT, "a locator line never crosses a block");
const _: () =
    assert!(MAX_VALUE_BYTES * ENTRIES_PER_LINE <= u32::MAX as usize, "relative ends fit in 32 bits");

/// Which run a file is: its own identity and its database's. Written into the header and read back by
/// [`Run::info`](crate::Run::info).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunInfo {
    /// UUID of this run. It also seeds the block checksums; give every file its own.
    pub uuid: [u8; 16],
    /// UUID of the database that the run belongs to.
    pub database: [u8; 16],
    /// Epoch of the writer, for fencing: a newer writer has a larger one.
    pub epoch: u64,
}

impl Header {
    pub(crate) fn new(info: &RunInfo, is_packed: bool) -> Self {
        let mut header = Self::new_zeroed();
        header.magic = MAGIC;
        header.version = if is_packed { PACKED_VERSION } else { PLAIN_VERSION }.into();
        header.checksum_algorithm = CHECKSUM_CRC32.into();
        header.database = info.database;
        header.run = info.uuid;
        header.epoch = info.epoch.into();
        header.block_bytes = (BLOCK_BYTES as u32).into();
        header.checksum = crc32fast::hash(&header.as_bytes()[..HEADER_BYTES - CHECKSUM_BYTES]).into();
        header
    }

    pub(crate) fn info(&self) -> RunInfo {
        RunInfo { uuid: self.run, database: self.database, epoch: self.epoch.get() }
    }

    /// Whether the values are compressed.
    pub(crate) fn is_packed(&self) -> bool {
        self.version.get() == PACKED_VERSION
    }

    /// The header at the start of `file`, once everything in it has been checked.
    pub(crate) fn read(file: &[u8]) -> Result<&Self, OpenError> {
        let too_short =
            OpenError::TooShort { bytes: file.len() as u64, needed: (HEADER_BYTES + FOOTER_BYTES) as u64 };
        let Ok((header, _)) = Self::ref_from_prefix(file) else { return Err(too_short) };
        if header.magic != MAGIC {
            return Err(OpenError::NotARun { found: header.magic });
        }
        let found = crc32fast::hash(&file[..HEADER_BYTES - CHECKSUM_BYTES]);
        if found != header.checksum.get() {
            return Err(OpenError::Header { expected: header.checksum.get(), found });
        }
        let version = header.version.get();
        if version > FORMAT_VERSION {
            return Err(OpenError::NewerVersion { found: version, supported: FORMAT_VERSION });
        }
        let one = |field, expected: u32, found: u32| {
            if expected == found {
                return Ok(());
            }
            Err(OpenError::Field { field, expected: expected.into(), found: found.into() })
        };
        if version == 0 {
            one("format version", PLAIN_VERSION, version)?;
        }
        one("checksum algorithm", CHECKSUM_CRC32, header.checksum_algorithm.get())?;
        one("block bytes", BLOCK_BYTES as u32, header.block_bytes.get())?;
        if file.len() < HEADER_BYTES + FOOTER_BYTES {
            return Err(too_short);
        }
        Ok(header)
    }
}

impl Footer {
    pub(crate) fn new_empty(info: &RunInfo) -> Self {
        let mut footer = Self::new_zeroed();
        footer.magic = FOOTER_MAGIC;
        footer.run = info.uuid;
        footer
    }

    pub(crate) fn seal(&mut self) {
        self.checksum = self.found_checksum().into();
    }

    fn found_checksum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..FOOTER_BYTES - CHECKSUM_BYTES])
    }

    /// Whether it has its checksum.
    pub(crate) fn is_sealed(&self) -> bool {
        self.found_checksum() == self.checksum.get()
    }

    /// The footer at the end of `file` and the layout it proves, once every position in it has been checked.
    pub(crate) fn read<'a>(file: &'a [u8], header: &Header) -> Result<(&'a Self, Layout), OpenError> {
        let (footer, layout) = Self::read_of(file, header.run)?;
        let expected = if layout.is_packed() { PACKED_VERSION } else { PLAIN_VERSION };
        let found = header.version.get();
        if found != expected {
            let (expected, found) = (expected.into(), found.into());
            return Err(OpenError::Field { field: "format version", expected, found });
        }
        Ok((footer, layout))
    }

    /// As [`Footer::read`], for a run whose header may not be known but for its UUID.
    pub(crate) fn read_of(file: &[u8], run: [u8; 16]) -> Result<(&Self, Layout), OpenError> {
        let position = (file.len() - FOOTER_BYTES.min(file.len())) as u64;
        let Ok((_, footer)) = Self::ref_from_suffix(file) else {
            return Err(OpenError::NoFooter { position });
        };
        if footer.magic != FOOTER_MAGIC {
            return Err(OpenError::NoFooter { position });
        }
        if !footer.is_sealed() {
            let (expected, found) = (footer.checksum.get(), footer.found_checksum());
            return Err(OpenError::Footer { position, expected, found });
        }
        if footer.run != run {
            return Err(OpenError::ForeignFooter { position, header: run, footer: footer.run });
        }
        let layout = footer.check(file.len() as u64)?;
        Ok((footer, layout))
    }

    /// Recomputes every position from the counts and compares it with what is written.
    pub(crate) fn check(&self, file_bytes: u64) -> Result<Layout, OpenError> {
        let same = |field, expected: u64, found: U64| {
            if found.get() == expected {
                return Ok(());
            }
            Err(OpenError::Field { field, expected, found: found.get() })
        };
        let range = |field, found: U64, ok: bool, limit: u64| {
            if ok {
                return Ok(());
            }
            Err(OpenError::Field { field, expected: limit, found: found.get() })
        };
        same("file bytes", file_bytes, self.file_bytes)?;
        let entries = self.entries.get();
        range("entries", self.entries, entries <= file_bytes / 16, file_bytes / 16)?;
        let packed = self.check_packed(file_bytes)?;
        let most = packed.map_or(file_bytes, |packed| packed.blocks * VALUE_BLOCK_BYTES as u64);
        range("value bytes", self.value_bytes, self.value_bytes.get() <= most, most)?;
        range("tombstones", self.tombstones, self.tombstones.get() <= entries, entries)?;

        let width = self.fixed_width.get();
        if width != NO_FIXED_WIDTH {
            range("value width", self.fixed_width, width <= MAX_VALUE_BYTES as u64, MAX_VALUE_BYTES as u64)?;
            same("value bytes", entries.saturating_mul(width), self.value_bytes)?;
            same("tombstones", 0, self.tombstones)?;
        }
        let value_bytes = self.value_bytes.get();
        range("value bytes", self.value_bytes, value_bytes <= MAX_RUN_VALUE_BYTES, MAX_RUN_VALUE_BYTES)?;
        let (min_key, max_key) = (self.min_key.get(), self.max_key.get());
        let key_room = max_key.checked_sub(min_key).is_some_and(|span| entries == 0 || span >= entries - 1);
        range("largest key", self.max_key, key_room, min_key.saturating_add(entries.saturating_sub(1)))?;
        let (min_offset, max_offset) = (self.min_offset.get(), self.max_offset.get());
        range("smallest offset", self.min_offset, min_offset <= max_offset, max_offset)?;
        range("largest offset", self.max_offset, max_offset <= MAX_OFFSET, MAX_OFFSET)?;

        // Every number below is at most a small multiple of the file's length: nothing can overflow.
        let layout = Layout::of(entries, value_bytes, width == NO_FIXED_WIDTH, packed);
        same("position of values", layout.values_at, self.values_at)?;
        same("position of keys", layout.keys_at, self.keys_at)?;
        same("position of offsets", layout.offsets_at, self.offsets_at)?;
        same("position of locators", layout.locators_at, self.locators_at)?;
        same("locator lines", layout.locator_lines, self.locator_lines)?;
        same("position of value blocks", layout.value_table_at, self.value_table_at)?;
        same("position of block checksums", layout.table_at, self.table_at)?;
        same("blocks", layout.blocks, self.blocks)?;
        same("file bytes", layout.file_bytes, self.file_bytes)?;
        Ok(layout)
    }
}

impl Footer {
    /// What the footer says of compressed values; `None` where they are not compressed, and then all of it is zero.
    fn check_packed(&self, file_bytes: u64) -> Result<Option<Packed>, OpenError> {
        let field = |ok: bool, field, expected: u64, found: u64| {
            if ok { Ok(()) } else { Err(OpenError::Field { field, expected, found }) }
        };
        let (bytes, blocks) = (self.packed_bytes.get(), self.value_blocks.get());
        let block_bytes = u64::from(self.value_block_bytes.get());
        let compression = self.compression.get();
        if compression == 0 {
            field(bytes == 0, "bytes of packed values", 0, bytes)?;
            field(blocks == 0, "value blocks", 0, blocks)?;
            field(block_bytes == 0, "bytes of a value block", 0, block_bytes)?;
            return Ok(None);
        }
        field(compression == LZ4, "compression", LZ4.into(), compression.into())?;
        let expected = VALUE_BLOCK_BYTES as u64;
        field(block_bytes == expected, "bytes of a value block", expected, block_bytes)?;
        field(bytes <= file_bytes, "bytes of packed values", file_bytes, bytes)?;
        let needed = self.value_bytes.get().div_ceil(expected);
        field(blocks == needed && blocks <= file_bytes / 8, "value blocks", needed, blocks)?;
        Ok(Some(Packed { bytes, blocks }))
    }
}

/// Values as version 2 has them: compressed, in so many blocks, to so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

/// Where everything is, derived from the counts alone: there is one layout for given counts, so the writer and the
/// reader compute it with the same function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) values_at: u64,
    pub(crate) keys_at: u64,
    pub(crate) offsets_at: u64,
    pub(crate) locators_at: u64,
    pub(crate) locator_lines: u64,
    /// Zero in version 1.
    pub(crate) value_table_at: u64,
    pub(crate) packed: Option<Packed>,
    pub(crate) table_at: u64,
    pub(crate) blocks: u64,
    pub(crate) footer_at: u64,
    pub(crate) file_bytes: u64,
}

impl Layout {
    /// `entries` and `value_bytes` must each be below 2^58; the callers' checks are far stricter.
    pub(crate) fn of(entries: u64, value_bytes: u64, locators: bool, packed: Option<Packed>) -> Self {
        let values_at = HEADER_BYTES as u64;
        let keys_at = align(values_at + packed.map_or(value_bytes, |packed| packed.bytes));
        let offsets_at = align(keys_at + 8 * entries);
        let locators_at = align(offsets_at + 8 * entries);
        let locator_lines = if locators { entries.div_ceil(ENTRIES_PER_LINE as u64) } else { 0 };
        let locators_end = locators_at + LINE_BYTES as u64 * locator_lines;
        let value_table_at = packed.map_or(0, |_| locators_end);
        let table_at = packed
            .map_or(locators_end, |packed| align(locators_end + 8 * packed.blocks) + FOOTER_BYTES as u64);
        let blocks = table_at.div_ceil(BLOCK_BYTES as u64);
        let footer_at = align(table_at + 4 * blocks);
        let file_bytes = footer_at + FOOTER_BYTES as u64;
        Self {
            values_at,
            keys_at,
            offsets_at,
            locators_at,
            locator_lines,
            value_table_at,
            packed,
            table_at,
            blocks,
            footer_at,
            file_bytes,
        }
    }

    /// Whether the values are compressed.
    pub(crate) fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// Where the copy of the footer is, in a file that has one.
    pub(crate) fn copy_at(&self) -> u64 {
        self.table_at - FOOTER_BYTES as u64
    }
}

pub(crate) fn align(position: u64) -> u64 {
    position.next_multiple_of(ALIGNMENT as u64)
}

/// The checksum of one block of the run `uuid`.
pub(crate) fn block_checksum(uuid_checksum: u32, block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(uuid_checksum);
    hasher.update(block);
    hasher.finalize()
}
