//! What a choice costs, estimated: nanoseconds over all the keys concerned, and bytes at a price in nanoseconds.
//!
//! The prices come from measurements at 10 M keys. They decide speed and size, never correctness.

use crate::fence::{FANOUT, SEGMENTS};

/// The price of one more record on a key's way: a miss in the first cache and, often, a mispredicted branch.
pub(super) const RECORD: u64 = 30;
/// The price of a line on a key's way, which is foreseen.
pub(super) const LINE: u64 = 4;
/// The price of a key outside the core of its window: a mispredicted branch and another search.
pub(super) const OFF_CORE: u64 = 25;
/// The price, beside that, of a key further off than the margins of the core: another wait for memory.
pub(super) const OFF_MARGIN: u64 = 150;

/// The price of a key in a leaf of so few keys that any order of them fits the window, if not its core.
const SMALL: u64 = 10;

/// What bytes of index cost: they displace one another, and keys, from the caches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prices {
    byte: u64,
}

impl Prices {
    /// The prices for an index over so many keys. A small index fits the second cache whatever it does.
    pub(super) fn new(keys: usize) -> Self {
        Self { byte: if keys < 2_000_000 { 300 } else { 800 } }
    }

    /// A block of 64 bytes.
    pub(super) fn block(self) -> u64 {
        64 * self.byte
    }

    /// A word of 8 bytes.
    pub(super) fn word(self) -> u64 {
        8 * self.byte
    }

    /// `segments` segments under separators, over `count` keys.
    pub(super) fn segments(self, segments: u64, count: u64) -> u64 {
        let mut nodes = segments.div_ceil(SEGMENTS as u64);
        let (mut blocks, mut depth) = (2 * nodes, 1);
        while nodes > 1 {
            nodes = nodes.div_ceil(FANOUT as u64);
            blocks += nodes;
            depth += 1;
        }
        blocks * self.block() + depth * RECORD * count
    }

    /// `count` keys in a record of their own whose kind is not yet known: the cheaper of segments as long as they
    /// are near by and lines as good as they are near by.
    pub(super) fn cell(self, count: u64, nearby: Nearby) -> u64 {
        if count <= 64 {
            return SMALL * count;
        }
        self.segments(count.div_ceil(nearby.segment_keys), count)
            .min(nearby.lines_per_key.saturating_mul(count))
    }
}

/// What was found out about keys near by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nearby {
    /// How many keys a segment has on average, at least 1.
    pub(super) segment_keys: u64,
    /// What lines cost, in nanoseconds a key.
    pub(super) lines_per_key: u64,
    /// How far from its segment a key may best lie, in positions.
    pub(super) epsilon: Option<f64>,
}
