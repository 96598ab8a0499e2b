//! The bytes of a segment. All integers are little-endian; format version 1.
//!
//! ```text
//! | byte               | what                                                        |
//! |--------------------|-------------------------------------------------------------|
//! | 0                  | header block, 4096 bytes              (`format::header`)    |
//! | 4096               | frames, one after the other, each starting at a multiple of |
//! |                    | 8 and padded with zeros to the next   (`format::frame`)     |
//! | end of frames      | zeros, or what a torn write left                            |
//! | file length - 4096 | footer block, 4096 bytes: zeros until the segment is sealed |
//! |                    |                                       (`format::footer`)    |
//! ```
//!
//! Checksums are CRC-32 (IEEE) and never start from the standard initial value: a segment's *seed* is the checksum of
//! its database's UUID, its number and its writer's epoch, and every checksum of its frames and its footer starts from
//! it. Bytes of another segment, writer or database, left in a recycled block, therefore never validate. Each frame
//! names the header checksum of the one before it (the first one that of the segment header), so a frame validates
//! only in its place; and since that checksum covers the payload's, one number stands for all that came before.

pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod header;

pub(crate) use footer::Footer;
pub(crate) use frame::{FrameHeader, padded};
pub(crate) use header::{Predecessor, SegmentHeader};

/// The format version written here, and the newest that is read.
pub const FORMAT_VERSION: u32 = 1;

/// Id of the checksum algorithm in the headers: CRC-32 as in IEEE 802.3, `crc32fast`.
pub const CHECKSUM_CRC32: u32 = 1;

/// The header block's and the footer block's size: a page, so that they share none with a frame.
pub(crate) const BLOCK: usize = 4096;

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER: usize = frame::BYTES;

/// Where the first frame of a segment starts.
pub(crate) const FIRST_FRAME: u64 = BLOCK as u64;

/// The most bytes the opaque metadata of a segment may have.
pub const MAX_METADATA: usize = 1024;

/// The smallest segment: header, footer, and room for frames.
pub(crate) const MIN_SEGMENT: u64 = 4 * BLOCK as u64;

/// Offsets a segment reserves, durably, before its first frame: those it may give out.
pub const SEGMENT_OFFSETS: u64 = 1 << 22;

/// The most offsets one frame may cover.
pub const MAX_FRAME_OFFSETS: u32 = 1 << 22;

/// Checksum of some bytes, starting from a seed.
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// What a segment's checksums start from.
pub(crate) fn seed(uuid: &[u8; 16], number: u64, epoch: u64) -> u32 {
    if cfg!(mutant = "trust_stale_frame") {
        return 0;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(uuid);
    hasher.update(&number.to_le_bytes());
    hasher.update(&epoch.to_le_bytes());
    hasher.finalize()
}

/// A decoder's fields, one after the other. Past the end it gives zeros, which no checksum lets through.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => [0; N],
        }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_depends_on_each_of_its_parts() {
        let seeds = [seed(&[1; 16], 2, 3), seed(&[2; 16], 2, 3), seed(&[1; 16], 3, 3), seed(&[1; 16], 2, 4)];
        for (index, one) in seeds.iter().enumerate() {
            assert!(!seeds[index + 1..].contains(one));
            assert_ne!(checksum(*one, b"same"), checksum(0, b"same"));
        }
    }
}
