//! The footer of a sealed segment, in the last block of the file.
//!
//! ```text
//! | byte | bytes | field                                                          |
//! |------|-------|----------------------------------------------------------------|
//! |    0 |     8 | magic `KYROSEAL`                                               |
//! |    8 |     8 | number of the segment                                          |
//! |   16 |     8 | frames, confirming ones included                               |
//! |   24 |     8 | the offset after the last one                                  |
//! |   32 |     8 | end of the frames                                              |
//! |   40 |     4 | header checksum of the last frame (of the header if no frame)  |
//! |   44 |     4 | checksum over bytes 0..44, seeded                              |
//! |   48 |  4048 | zeros                                                          |
//! ```
//!
//! All of it lies in one sector. When the frames leave room, the file is cut short behind them and the footer follows.

use super::{BLOCK, FIRST_FRAME, Fields, checksum};

pub(crate) const MAGIC: [u8; 8] = *b"KYROSEAL";
const CHECKSUM: usize = 44;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) number: u64,
    pub(crate) frames: u64,
    pub(crate) next_offset: u64,
    pub(crate) end: u64,
    pub(crate) checksum: u32,
}

/// What the last block of a segment holds, when it is no footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFooter {
    /// Not sealed: no byte looks like a footer.
    Unsealed,
    /// Begins like a footer and is none.
    Bad { expected: u32, found: u32 },
}

impl Footer {
    /// The footer block.
    pub(crate) fn encode(&self, seed: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(&MAGIC);
        for number in [self.number, self.frames, self.next_offset, self.end] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.checksum.to_le_bytes());
        let sum = checksum(seed, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.resize(BLOCK, 0);
        bytes
    }

    /// Reads a footer block of a file of this length.
    pub(crate) fn decode(seed: u32, block: &[u8], file_len: u64) -> Result<Self, NoFooter> {
        let mut fields = Fields(block);
        let magic: [u8; 8] = fields.bytes();
        let footer = Self {
            number: fields.u64(),
            frames: fields.u64(),
            next_offset: fields.u64(),
            end: fields.u64(),
            checksum: fields.u32(),
        };
        let expected = fields.u32();
        let Some(covered) = block.get(..CHECKSUM) else { return Err(NoFooter::Unsealed) };
        let found = checksum(seed, covered);
        let fits = footer.end >= FIRST_FRAME && footer.end <= file_len.saturating_sub(BLOCK as u64);
        if magic == MAGIC && expected == found && fits {
            return Ok(footer);
        }
        // A footer whose very magic is damaged is told by its checksum.
        let mut mended = covered.to_vec();
        mended[..MAGIC.len()].copy_from_slice(&MAGIC);
        let meant = magic == MAGIC || checksum(seed, &mended) == expected;
        Err(if meant { NoFooter::Bad { expected, found } } else { NoFooter::Unsealed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_survives_its_bytes_and_no_flipped_bit_makes_it_blank() {
        let footer = Footer { number: 1, frames: 2, next_offset: 3, end: FIRST_FRAME + 8, checksum: 5 };
        let mut bytes = footer.encode(9);
        let len = 4 * BLOCK as u64;
        assert_eq!(Footer::decode(9, &bytes, len), Ok(footer));
        assert_eq!(Footer::decode(9, &[0; BLOCK], len), Err(NoFooter::Unsealed));
        for bit in 0..(CHECKSUM + size_of::<u32>()) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Footer::decode(9, &bytes, len), Err(NoFooter::Bad { .. })), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
