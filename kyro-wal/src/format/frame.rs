//! A frame: what one append wrote, all or nothing.
//!
//! ```text
//! | byte | bytes | field                                                                          |
//! |------|-------|--------------------------------------------------------------------------------|
//! |    0 |     4 | magic `KYFR`                                                                   |
//! |    4 |     4 | length of the payload                                                          |
//! |    8 |     8 | first offset                                                                   |
//! |   16 |     8 | durable watermark: end of the bytes of this segment known synced when the      |
//! |      |       | frame was built; never beyond the frame's own start                            |
//! |   24 |     4 | count of offsets; 0 in a confirming frame                                      |
//! |   28 |     4 | flags: 1 = confirming frame (no offsets); others are 0                         |
//! |   32 |     4 | previous frame's header checksum; in the first frame the segment header's      |
//! |   36 |     4 | payload checksum, seeded                                                       |
//! |   40 |     4 | attempt: how many groups of this segment failed to be written before this one, |
//! |      |       | so that what such a group left behind cannot continue the chain of its retry   |
//! |   44 |     4 | header checksum over bytes 0..44, seeded                                       |
//! |   48 |       | payload, then zeros up to a multiple of 8                                      |
//! ```
//!
//! Confirming frames come in twos where there is room: the first is padded with zeros, as its payload, to the end of the
//! 4 KiB page, so that the second lies in another page than the frames it vouches for, and damage to one page cannot
//! take both.
//!
//! The header has a checksum of its own so that a damaged payload does not hide how far it reaches, and so that a scan
//! for frames after damage reads 48 bytes at each place and not a payload.

use super::{BLOCK, Fields, MAX_FRAME_OFFSETS, checksum};

pub(crate) const BYTES: usize = 48;
pub(crate) const MAGIC: [u8; 4] = *b"KYFR";
/// Where the header checksum is.
const CHECKSUM: usize = 44;
/// The flag of a confirming frame.
pub(crate) const CONFIRM: u32 = 1;

const _: () = assert!(BYTES.is_multiple_of(8), "payloads start aligned, and so does the next frame");
const _: () = assert!(CHECKSUM + size_of::<u32>() == BYTES, "the checksum comes last and covers the rest");

/// A frame's header, decoded or to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) first_offset: u64,
    pub(crate) watermark: u64,
    pub(crate) count: u32,
    pub(crate) flags: u32,
    pub(crate) previous: u32,
    pub(crate) payload_checksum: u32,
    pub(crate) attempt: u32,
}

/// A header whose checksum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHeader {
    pub(crate) expected: u32,
    pub(crate) found: u32,
}

/// Bytes a payload takes with its padding.
pub(crate) const fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

impl FrameHeader {
    /// Puts the header into its bytes; the checksum is returned for the next frame's chain.
    pub(crate) fn encode(&self, seed: u32, bytes: &mut [u8; BYTES]) -> u32 {
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first_offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.watermark.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.count.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.flags.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.previous.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[40..CHECKSUM].copy_from_slice(&self.attempt.to_le_bytes());
        let sum = checksum(seed, &bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        sum
    }

    /// Reads a header and its checksum.
    ///
    /// # Errors
    /// When the magic or the checksum is wrong, both are reported as a wrong checksum.
    pub(crate) fn decode(seed: u32, bytes: &[u8; BYTES]) -> Result<(Self, u32), BadHeader> {
        let mut fields = Fields(bytes);
        let magic: [u8; 4] = fields.bytes();
        let header = Self {
            length: fields.u32(),
            first_offset: fields.u64(),
            watermark: fields.u64(),
            count: fields.u32(),
            flags: fields.u32(),
            previous: fields.u32(),
            payload_checksum: fields.u32(),
            attempt: fields.u32(),
        };
        let expected = fields.u32();
        let found = checksum(seed, &bytes[..CHECKSUM]);
        if magic == MAGIC && expected == found {
            Ok((header, found))
        } else {
            Err(BadHeader { expected, found })
        }
    }

    /// Whether the fields are such as this crate writes; asked of a header whose checksum is right.
    pub(crate) fn is_sane(&self, at: u64) -> bool {
        let confirming = self.flags == CONFIRM && self.count == 0 && self.length as usize <= BLOCK;
        let carrying = self.flags == 0 && self.count > 0 && self.count <= MAX_FRAME_OFFSETS;
        (confirming || carrying)
            && self.watermark <= at
            && self.first_offset.checked_add(u64::from(self.count)).is_some()
    }

    /// Bytes of the frame, padding included.
    pub(crate) fn frame_bytes(&self) -> u64 {
        BYTES as u64 + padded(self.length as usize) as u64
    }

    /// The offset after the frame's last one.
    pub(crate) fn next_offset(&self) -> u64 {
        self.first_offset.saturating_add(u64::from(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_bytes_and_no_flipped_bit() {
        let header = FrameHeader {
            length: 1,
            first_offset: 2,
            watermark: 3,
            count: 4,
            flags: 0,
            previous: 5,
            payload_checksum: 6,
            attempt: 7,
        };
        let mut bytes = [0; BYTES];
        let sum = header.encode(99, &mut bytes);
        assert_eq!(FrameHeader::decode(99, &bytes), Ok((header, sum)));
        assert!(FrameHeader::decode(98, &bytes).is_err());
        for bit in 0..BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(99, &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
