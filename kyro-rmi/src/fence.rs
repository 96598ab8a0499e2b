//! Separators, for keys that no grid fits: a static tree over straight segments of any length.
//!
//! An inner node is one 64-byte block and has up to eight children:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | bits 0–31: block of the first child; bits 56–58: how many separators; bit 63: the children are leaves |
//! | 8 | 8 × 7 | the first key under each child but the first; unused ones are 2^64 − 1 |
//!
//! A leaf is two blocks and holds up to seven segments:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 × 8 | the first key of each segment; unused ones are 2^64 − 1 |
//! | 64 | 8 × 8 | bits 0–37: the position of that key; bits 38–57: slope; bits 58–63: shift. Unused: the end, no slope |
//!
//! A key belongs to the last child or segment whose first key is not greater.
//!
//! A key that is `d` above its segment's first key is predicted `d × (slope << shift) / 2^64` positions above it.

use crate::entry::{MOST_KEYS, POSITION_BITS};
use crate::line::{Block, head};
use crate::root::multiply;
use kyro_simd::Kernel;

/// How many children an inner node has at most.
pub(crate) const FANOUT: usize = 8;
/// How many segments a leaf has at most.
pub(crate) const SEGMENTS: usize = 7;

const LEAVES: u64 = 1 << 63;
const SEPARATORS_SHIFT: u32 = 56;
const SLOPE_BITS: u32 = 20;
const SHIFT_AT: u32 = POSITION_BITS + SLOPE_BITS;

/// One straight segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Its first key.
    pub(crate) key: u64,
    /// That key's position.
    pub(crate) first: u64,
    /// Positions per key, in 2^−64, as far as a record can say it.
    pub(crate) slope: u64,
}

impl Segment {
    /// A segment from the first key's position and the slope in positions a key, which is at most 1.
    #[expect(clippy::cast_sign_loss, reason = "a slope is never negative")]
    pub(crate) fn new(key: u64, first: u64, slope: f64) -> Self {
        let exact = (slope.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u64; // saturates at 2^64 − 1
        let shift = (64 - exact.leading_zeros()).saturating_sub(SLOPE_BITS);
        Self { key, first, slope: exact >> shift << shift }
    }

    fn record(self) -> u64 {
        let shift = (64 - self.slope.leading_zeros()).saturating_sub(SLOPE_BITS);
        u64::from(shift) << SHIFT_AT | self.slope >> shift << POSITION_BITS | self.first
    }

    /// How far above the segment's first position a key is predicted.
    #[inline(always)]
    pub(crate) fn within(self, key: u64) -> u64 {
        multiply(key.saturating_sub(self.key), self.slope).0
    }
}

/// The child of an inner node that `key` belongs to, and whether that is a leaf.
#[inline(always)]
pub(crate) fn child<K: Kernel>(kernel: K, node: &Block, key: u64) -> (u64, bool) {
    let [head, separators @ ..] = words(node);
    let below = not_greater(kernel, &separators, key) as u64;
    let child = below.min(head >> SEPARATORS_SHIFT & 7);
    let leaves = head & LEAVES != 0;
    ((head & u64::from(u32::MAX)) + (child << u32::from(leaves)), leaves)
}

/// The segment of a leaf that `key` belongs to, and the position after the segment's last key.
#[inline(always)]
pub(crate) fn segment<K: Kernel>(kernel: K, keys: &Block, records: &Block, key: u64) -> (Segment, u64) {
    let below = not_greater(kernel, &words(keys), key);
    segment_at(keys, records, below.saturating_sub(1))
}

/// How many of `keys` are not greater than `key`.
#[inline(always)]
fn not_greater<const N: usize, K: Kernel>(kernel: K, keys: &[u64; N], key: u64) -> usize {
    let smaller = kernel.lower_bound_exact(keys, key.wrapping_add(1));
    if key == u64::MAX { N } else { smaller }
}

/// Segment `index` of a leaf, and the position after its last key.
#[inline(always)]
pub(crate) fn segment_at(keys: &Block, records: &Block, index: usize) -> (Segment, u64) {
    let word = |block: &Block, index: usize| {
        let word = block.get(index * 8..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |&word| u64::from_le_bytes(word))
    };
    let record = word(records, index);
    let next = word(records, (index + 1).min(SEGMENTS));
    let slope = (record >> POSITION_BITS & ((1 << SLOPE_BITS) - 1)) << (record >> SHIFT_AT);
    (Segment { key: word(keys, index), first: record & MOST_KEYS, slope }, next & MOST_KEYS)
}

#[inline(always)]
fn words(block: &Block) -> [u64; 8] {
    let mut words = [0; 8];
    for (word, &bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(bytes);
    }
    words
}

/// Writes an inner node over children that start with these keys.
pub(crate) fn encode_inner(leaves: bool, first: u64, keys: &[u64]) -> Block {
    let separators = keys.len().saturating_sub(1).min(FANOUT - 1);
    let head = first | (separators as u64) << SEPARATORS_SHIFT | if leaves { LEAVES } else { 0 };
    let rest = keys.iter().copied().skip(1).chain(core::iter::repeat(u64::MAX));
    encode(core::iter::once(head).chain(rest))
}

/// Writes a leaf over at most [`SEGMENTS`] segments, the last of which ends before position `end`.
pub(crate) fn encode_leaf(segments: &[Segment], end: u64) -> [Block; 2] {
    let keys = segments.iter().map(|segment| segment.key).chain(core::iter::repeat(u64::MAX));
    let records = segments.iter().map(|segment| segment.record()).chain(core::iter::repeat(end));
    [encode(keys), encode(records)]
}

fn encode(words: impl Iterator<Item = u64>) -> Block {
    let mut block = [0; 64];
    for (slot, word) in block.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *slot = word.to_le_bytes();
    }
    block
}

/// What an inner node says, for a walk over all of them: its first child, how many, whether they are leaves.
pub(crate) fn children(node: &Block) -> (u64, u64, bool) {
    let head = head(node);
    (head & u64::from(u32::MAX), (head >> SEPARATORS_SHIFT & 7) + 1, head & LEAVES != 0)
}
