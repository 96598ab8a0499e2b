//! A leaf of the tree of separators: up to 15 straight segments in four cache lines. Smaller leaves are slower: the keys
//! that are read between two visits to a leaf push it out of the caches, and a visit to a large one keeps more of it.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 × 16 | the bound of each segment: its first key, less one (0 at least); unused ones are 2^64 − 1 |
//! | 128 | 8 × 16 | bits 0–37: the position of that key; bits 38–57: slope; bits 58–63: shift. Unused: the end, no slope |
//!
//! All integers little-endian. A key belongs to the last segment whose bound is smaller (to the first one if none is). A
//! key that is `d` above its segment's bound is predicted `d × (slope << shift) / 2^64` positions above its start.

use crate::entry::{MOST_KEYS, POSITION_BITS};
use crate::model::Place;
use crate::root::multiply;
use kyro_simd::Kernel;

/// How many segments a leaf has at most.
pub(crate) const SEGMENTS: usize = 15;
/// The size of a leaf.
pub(crate) const BYTES: usize = 2 * BOUNDS;
const BOUNDS: usize = 8 * (SEGMENTS + 1);

const SLOPE_BITS: u32 = 20;
const SHIFT_AT: u32 = POSITION_BITS + SLOPE_BITS;

/// A leaf, as it is stored.
pub(crate) type Leaf = [u8; BYTES];

/// One straight segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Its first key, less one; 0 at least.
    pub(crate) bound: u64,
    /// The position of its first key.
    pub(crate) first: u64,
    /// Positions per key, in 2^−64, as far as a record can say it.
    pub(crate) slope: u64,
    /// The position after its last key.
    pub(crate) end: u64,
}

/// As much of a slope, in positions a key, as a record can say: never more.
#[expect(clippy::cast_sign_loss, reason = "a slope is never negative")]
pub(crate) fn slope(slope: f64) -> u64 {
    let exact = (slope.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u64; // saturates at 2^64 − 1
    let shift = (64 - exact.leading_zeros()).saturating_sub(SLOPE_BITS);
    exact >> shift << shift
}

/// Where `key` belongs by this leaf.
#[inline(always)]
pub(crate) fn place<K: Kernel>(kernel: K, leaf: &Leaf, key: u64) -> Place {
    let mut bounds = [0; SEGMENTS + 1];
    for (bound, &bytes) in bounds.iter_mut().zip(leaf.as_chunks::<8>().0) {
        *bound = u64::from_le_bytes(bytes);
    }
    let below = kernel.lower_bound_exact(&bounds, key);
    let Segment { bound, first, slope, end } = segment(leaf, below.saturating_sub(1));
    let within = multiply(key.saturating_sub(bound), slope).0;
    Place { first, count: end.saturating_sub(first), within }
}

/// Segment `index` of a leaf.
#[inline(always)]
pub(crate) fn segment(leaf: &Leaf, index: usize) -> Segment {
    let word = |index: usize| {
        let word = leaf.get(8 * index..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |&word| u64::from_le_bytes(word))
    };
    let index = index.min(SEGMENTS - 1);
    let record = word(SEGMENTS + 1 + index);
    let next = word(SEGMENTS + 2 + index);
    let slope = (record >> POSITION_BITS & ((1 << SLOPE_BITS) - 1)) << (record >> SHIFT_AT);
    Segment { bound: word(index), first: record & MOST_KEYS, slope, end: next & MOST_KEYS }
}

/// Writes a leaf over at most [`SEGMENTS`] segments.
pub(crate) fn encode(segments: &[Segment]) -> Leaf {
    let end = segments.last().map_or(0, |segment| segment.end);
    let records = segments.iter().map(|segment| {
        let shift = (64 - segment.slope.leading_zeros()).saturating_sub(SLOPE_BITS);
        u64::from(shift) << SHIFT_AT | segment.slope >> shift << POSITION_BITS | segment.first
    });
    let bounds = segments.iter().map(|segment| segment.bound).chain(core::iter::repeat(u64::MAX));
    let words = bounds.take(SEGMENTS + 1).chain(records).chain(core::iter::repeat(end));
    let mut leaf = [0; BYTES];
    for (slot, word) in leaf.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *slot = word.to_le_bytes();
    }
    leaf
}
