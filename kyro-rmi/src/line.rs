//! One line: a 64-byte block that says how many keys lie in each of 26 equal parts of its interval.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | bits 0–37: the position of the line's first key; bit 38 + i: part i has a record of its own |
//! | 8 | 4 | the first word of those records |
//! | 12 | 2 × 26 | how many of the line's keys lie in parts 0 to i, u16 each |
//!
//! All integers little-endian. A part costs 2.5 bytes, and a lookup touches one cache line for it.

use crate::entry::POSITION_BITS;
use core::hint::select_unpredictable;

/// How many parts a line has.
pub(crate) const PARTS: usize = 26;
/// The most keys in a line: the counts have 16 bits.
pub(crate) const MOST_IN_LINE: usize = u16::MAX as usize;

const RECORDS: usize = 8;
const ENDS: usize = RECORDS + 4;
const _: () = assert!(ENDS + 2 * PARTS == 64, "a line is a cache line");
const _: () = assert!(POSITION_BITS as usize + PARTS == 64, "positions and flags share a word");

/// A line, as it is stored.
pub(crate) type Block = [u8; 64];

/// What a line says about one of its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The position of the part's first key.
    pub(crate) first: u64,
    /// How many keys it has.
    pub(crate) count: u64,
    /// The word of its own record, where it has one.
    pub(crate) record: Option<u64>,
}

/// Reads part `part`, which is less than [`PARTS`] (any other gives a wrong but harmless answer).
#[inline(always)]
pub(crate) fn part(block: &Block, part: usize) -> Part {
    let head = head(block);
    // The counts before and up to the part, in one load; before part 0 lies the end of another field.
    let at = ENDS - 2 + 2 * part;
    let pair =
        block.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&pair| u32::from_le_bytes(pair));
    let start = u64::from(pair & select_unpredictable(part == 0, 0, 0xFFFF));
    let end = u64::from(pair >> 16);
    let flags = head >> POSITION_BITS;
    let record = (flags >> part & 1 == 1).then(|| {
        let before = (flags & ((1 << part) - 1)).count_ones();
        let records = block.get(RECORDS..ENDS).and_then(|word| word.first_chunk());
        u64::from(records.map_or(0, |&word| u32::from_le_bytes(word))) + u64::from(before)
    });
    Part { first: (head & crate::entry::MOST_KEYS) + start, count: end.saturating_sub(start), record }
}

/// The first word of a block.
#[inline(always)]
pub(crate) fn head(block: &Block) -> u64 {
    block.first_chunk().map_or(0, |&word| u64::from_le_bytes(word))
}

/// Writes a line whose first key is at `first`, whose part `i` ends before key `ends[i]` of the line, and whose
/// parts in `flags` have records from word `records` on.
pub(crate) fn encode(first: u64, ends: &[u16; PARTS], flags: u64, records: u32) -> Block {
    let mut block = [0; 64];
    let (head, rest) = block.split_at_mut(RECORDS);
    head.copy_from_slice(&(flags << POSITION_BITS | first).to_le_bytes());
    let (word, knots) = rest.split_at_mut(ENDS - RECORDS);
    word.copy_from_slice(&records.to_le_bytes());
    for (knot, end) in knots.as_chunks_mut::<2>().0.iter_mut().zip(ends) {
        *knot = end.to_le_bytes();
    }
    block
}
