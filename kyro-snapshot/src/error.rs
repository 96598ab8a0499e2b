//! One error type per verb: writing, opening, reading.

use std::io;

/// Why a run could not be written. Whatever reached the output so far is not a run; discard it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Keys must be strictly increasing. Sort and deduplicate before pushing.
    #[error("key {key} was pushed after key {previous}: keys must be strictly increasing")]
    KeyOrder {
        /// The key pushed before.
        previous: u64,
        /// The key that is not larger.
        key: u64,
    },
    /// The offset uses the bit that marks tombstones.
    #[error("offset {offset} of key {key} is larger than {limit}")]
    OffsetTooLarge {
        /// The entry's key.
        key: u64,
        /// The offset given.
        offset: u64,
        /// [`MAX_OFFSET`](crate::MAX_OFFSET).
        limit: u64,
    },
    /// The value is longer than a run can hold.
    #[error("the value of key {key} has {bytes} bytes, more than {limit}")]
    ValueTooLong {
        /// The entry's key.
        key: u64,
        /// Length of the value.
        bytes: u64,
        /// [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES).
        limit: u64,
    },
    /// The values together are longer than a run can hold. Finish this run and go on in another.
    #[error(
        "the value of key {key} has {bytes} bytes, more than the {room} that this run still has room for"
    )]
    RunFull {
        /// The entry's key.
        key: u64,
        /// Length of the value.
        bytes: u64,
        /// Bytes left of [`MAX_RUN_VALUE_BYTES`](crate::MAX_RUN_VALUE_BYTES).
        room: u64,
    },
    /// The output refused bytes. The writer accepts nothing more.
    #[error("writing to the output at byte {position} failed; discard the file and write the run again")]
    Io {
        /// Where in the file.
        position: u64,
        /// What the output said.
        source: io::Error,
    },
    /// An earlier write failed, so the output is incomplete.
    #[error("an earlier write failed; discard the file and write the run again")]
    Failed,
}

/// Why bytes could not be opened as a run. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than the smallest run: truncated, or never finished.
    #[error("{bytes} bytes are too few for a run, which has at least {needed}: truncated or never finished")]
    TooShort {
        /// Bytes given.
        bytes: u64,
        /// Bytes of an empty run's header and footer.
        needed: u64,
    },
    /// The first eight bytes are not a run's.
    #[error("not a run: it starts with {:?}, not \"kyro-run\"", String::from_utf8_lossy(found))]
    NotARun {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// Written by a newer release.
    #[error(
        "run format version {found} is newer than {supported}, the newest this release reads: use the release that wrote it"
    )]
    NewerVersion {
        /// Version in the file.
        found: u32,
        /// Newest version read here.
        supported: u32,
    },
    /// The header does not have its checksum.
    #[error("the header (bytes 0 to 4095) is damaged: checksum {found:#010x}, expected {expected:#010x}")]
    Header {
        /// Checksum written in the header.
        expected: u32,
        /// Checksum of the header's bytes.
        found: u32,
    },
    /// The file does not end with a footer: truncated, grown, or never finished.
    #[error("no footer at byte {position}: the file is truncated, has grown, or was never finished")]
    NoFooter {
        /// Where the footer should start.
        position: u64,
    },
    /// The footer does not have its checksum.
    #[error("the footer at byte {position} is damaged: checksum {found:#010x}, expected {expected:#010x}")]
    Footer {
        /// Where the footer starts.
        position: u64,
        /// Checksum written in the footer.
        expected: u32,
        /// Checksum of the footer's bytes.
        found: u32,
    },
    /// The footer belongs to another run than the header.
    #[error("the footer at byte {position} belongs to another run than the header")]
    ForeignFooter {
        /// Where the footer starts.
        position: u64,
        /// Run UUID in the header.
        header: [u8; 16],
        /// Run UUID in the footer.
        footer: [u8; 16],
    },
    /// A field of header or footer contradicts the others or the length of the file.
    #[error("the {field} is {found}, which does not fit {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// The value, or the limit, that the rest of the file requires.
        expected: u64,
        /// The value in the file.
        found: u64,
    },
    /// The bytes do not start at a multiple of eight in memory, so that the key column cannot be read in place.
    /// [`Mapping`](crate::Mapping) always aligns.
    #[error(
        "the bytes start at address {address:#x}, which is not a multiple of {needed}: load them into a Mapping"
    )]
    Misaligned {
        /// Address of the first byte.
        address: usize,
        /// Required alignment.
        needed: usize,
    },
}

/// Damage found while reading. The entry that was asked for cannot be answered; entries in other blocks can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// A block does not have its checksum. The same block answers the same for as long as the run is open.
    #[error(
        "block {block} at byte {position} is damaged: checksum {found:#010x}, expected {expected:#010x}; restore the file"
    )]
    Block {
        /// Where the block starts in the file.
        position: u64,
        /// Number of the block.
        block: u64,
        /// Checksum recorded for it.
        expected: u32,
        /// Checksum of its bytes.
        found: u32,
    },
    /// The section of block checksums does not have its own checksum.
    #[error(
        "the block checksums at byte {position} are damaged: checksum {found:#010x}, expected {expected:#010x}; restore the file"
    )]
    Table {
        /// Where the section starts in the file.
        position: u64,
        /// Checksum recorded in the footer.
        expected: u32,
        /// Checksum of the section.
        found: u32,
    },
    /// Bytes have their checksums but contradict each other: not damage on the way, but a faulty writer.
    #[error(
        "{what} of entry {entry} at byte {position} contradicts the rest of the file; write the run again"
    )]
    Contradiction {
        /// Where in the file.
        position: u64,
        /// Index of the entry.
        entry: u64,
        /// What is contradictory.
        what: &'static str,
    },
    /// A block of compressed values has its checksum and does not unpack: not damage on the way, but a faulty writer.
    #[error("value block {block} at byte {position} {what}; write the run again")]
    Packed {
        /// Where in the file the packed block starts, or what says where.
        position: u64,
        /// Number of the value block.
        block: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Corrupt {
    /// Where in the file the damage is: the start of the damaged block or field.
    pub fn position(&self) -> u64 {
        match self {
            Self::Block { position, .. }
            | Self::Table { position, .. }
            | Self::Contradiction { position, .. }
            | Self::Packed { position, .. } => *position,
        }
    }
}
