//! The header of a segment: written and synced before the segment gets its name, never changed.
//!
//! ```text
//! | byte | bytes | field                                                                     |
//! |------|-------|---------------------------------------------------------------------------|
//! |    0 |     8 | magic `KYROWAL\0`                                                         |
//! |    8 |     4 | format version                                                            |
//! |   12 |     4 | checksum algorithm: 1 = CRC-32 (IEEE)                                     |
//! |   16 |    16 | UUID of the database                                                      |
//! |   32 |     8 | number of the segment, as in its file name; the first is 1                |
//! |   40 |     8 | epoch of the writer                                                       |
//! |   48 |     8 | first offset                                                              |
//! |   56 |     8 | offset limit: the segment gives out no offset from here on                |
//! |   64 |     8 | capacity: length of the file until it is sealed                           |
//! |   72 |     8 | predecessor: its number, 0 when there is none                             |
//! |   80 |     8 | predecessor: end of its frames                                            |
//! |   88 |     8 | predecessor: the offset after its last one                                |
//! |   96 |     4 | predecessor: header checksum of its last frame (of its header if no frame) |
//! |  100 |     4 | flags: 1 = what followed the predecessor's end was truncated; others are 0 |
//! |  104 |     4 | bytes of metadata                                                         |
//! |  108 |  1024 | metadata, opaque here, zero padded                                        |
//! | 1132 |  2960 | zeros                                                                     |
//! | 4092 |     4 | checksum over bytes 0..4092, seeded with the UUID, number and epoch found |
//! ```
//!
//! The version comes before anything that another version might move, and is believed only when the magic is right.
//! The first frame chains to this checksum, so a segment's frames hang on its header.

use super::{
    BLOCK, CHECKSUM_CRC32, FIRST_FRAME, FORMAT_VERSION, Fields, MAX_METADATA, MIN_SEGMENT, checksum, seed,
};

pub(crate) const MAGIC: [u8; 8] = *b"KYROWAL\0";
const METADATA: usize = 108;
const CHECKSUM: usize = BLOCK - size_of::<u32>();
/// The flag of a segment that cut its predecessor short.
pub(crate) const TRUNCATES: u32 = 1;

const _: () = assert!(METADATA + MAX_METADATA <= CHECKSUM, "the metadata slot fits into the header block");

/// What a segment says of the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Predecessor {
    /// 0 when there is none.
    pub(crate) number: u64,
    pub(crate) end: u64,
    pub(crate) next_offset: u64,
    pub(crate) checksum: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) uuid: [u8; 16],
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) first_offset: u64,
    pub(crate) offset_limit: u64,
    pub(crate) capacity: u64,
    pub(crate) predecessor: Predecessor,
    pub(crate) truncates: bool,
    pub(crate) metadata: Vec<u8>,
}

/// Why a header block is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadSegmentHeader {
    Magic,
    Version(u32),
    Algorithm(u32),
    Checksum { expected: u32, found: u32 },
    Fields,
}

impl SegmentHeader {
    /// What the checksums of the segment start from.
    pub(crate) fn seed(&self) -> u32 {
        seed(&self.uuid, self.number, self.epoch)
    }

    /// The header block, and its checksum for the first frame's chain.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&CHECKSUM_CRC32.to_le_bytes());
        bytes.extend_from_slice(&self.uuid);
        for number in [self.number, self.epoch, self.first_offset, self.offset_limit, self.capacity] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let predecessor = &self.predecessor;
        for number in [predecessor.number, predecessor.end, predecessor.next_offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&predecessor.checksum.to_le_bytes());
        let flags = if self.truncates { TRUNCATES } else { 0 };
        bytes.extend_from_slice(&flags.to_le_bytes());
        let metadata = self.metadata.get(..MAX_METADATA).unwrap_or(&self.metadata);
        bytes.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
        bytes.extend_from_slice(metadata);
        bytes.resize(CHECKSUM, 0);
        let sum = checksum(self.seed(), &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        (bytes, sum)
    }

    /// Reads a header block and its checksum.
    pub(crate) fn decode(block: &[u8]) -> Result<(Self, u32), BadSegmentHeader> {
        let mut fields = Fields(block);
        if fields.bytes::<8>() != MAGIC || block.len() != BLOCK {
            return Err(BadSegmentHeader::Magic);
        }
        let version = fields.u32();
        let algorithm = fields.u32();
        let mut header = Self {
            uuid: fields.bytes(),
            number: fields.u64(),
            epoch: fields.u64(),
            first_offset: fields.u64(),
            offset_limit: fields.u64(),
            capacity: fields.u64(),
            predecessor: Predecessor {
                number: fields.u64(),
                end: fields.u64(),
                next_offset: fields.u64(),
                checksum: fields.u32(),
            },
            truncates: false,
            metadata: Vec::new(),
        };
        let flags = fields.u32();
        let metadata = fields.u32() as usize;
        let found = checksum(header.seed(), &block[..CHECKSUM]);
        let expected = Fields(&block[CHECKSUM..]).u32();
        if found != expected {
            // A header of another version may keep its checksum elsewhere; a damaged one of this version does not
            // become another version by a flipped bit: its checksum with the version put right is checked first.
            return Err(match (version, algorithm) {
                (FORMAT_VERSION, CHECKSUM_CRC32) => BadSegmentHeader::Checksum { expected, found },
                _ if header.repaired(block) == expected => BadSegmentHeader::Checksum { expected, found },
                (FORMAT_VERSION, _) => BadSegmentHeader::Algorithm(algorithm),
                _ => BadSegmentHeader::Version(version),
            });
        }
        if version != FORMAT_VERSION {
            return Err(BadSegmentHeader::Version(version));
        }
        if algorithm != CHECKSUM_CRC32 {
            return Err(BadSegmentHeader::Algorithm(algorithm));
        }
        let Some(metadata) = block.get(METADATA..METADATA + metadata.min(MAX_METADATA + 1)) else {
            return Err(BadSegmentHeader::Fields);
        };
        header.truncates = flags == TRUNCATES;
        header.metadata = metadata.to_vec();
        if flags > TRUNCATES || !header.is_sane() {
            Err(BadSegmentHeader::Fields)
        } else {
            Ok((header, found))
        }
    }

    /// The checksum if version and algorithm were those of this crate.
    fn repaired(&self, block: &[u8]) -> u32 {
        let mut bytes = block[..CHECKSUM].to_vec();
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&CHECKSUM_CRC32.to_le_bytes());
        checksum(self.seed(), &bytes)
    }

    fn is_sane(&self) -> bool {
        let before = &self.predecessor;
        self.number > 0
            && self.metadata.len() <= MAX_METADATA
            && before.number < self.number
            && (before.number > 0) == (self.number > 1)
            && (before.number == 0 || before.end >= FIRST_FRAME)
            && (before.number + 1 == self.number || self.truncates)
            && before.next_offset <= self.first_offset
            && self.first_offset <= self.offset_limit
            && self.capacity >= MIN_SEGMENT
            && self.capacity.is_multiple_of(BLOCK as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            uuid: [7; 16],
            number: 3,
            epoch: 4,
            first_offset: 10,
            offset_limit: 20,
            capacity: 1 << 16,
            predecessor: Predecessor { number: 2, end: 5000, next_offset: 9, checksum: 1 },
            truncates: false,
            metadata: b"opaque".to_vec(),
        }
    }

    #[test]
    fn a_header_survives_its_bytes_and_no_flipped_bit() {
        let (mut bytes, sum) = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header(), sum)));
        for bit in 0..BLOCK * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match SegmentHeader::decode(&bytes) {
                Err(BadSegmentHeader::Checksum { .. }) => {}
                Err(BadSegmentHeader::Magic) => assert!(bit < 64),
                other => panic!("bit {bit} flipped: {other:?}"),
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn another_version_is_named_whatever_else_it_changed() {
        let (mut bytes, _) = header().encode();
        bytes[8] = 2;
        bytes[2000] = 99;
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadSegmentHeader::Version(2)));
    }
}
