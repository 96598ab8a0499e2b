//! What a choice costs, estimated: nanoseconds over all the keys concerned, and bytes at a price in nanoseconds.
//!
//! The prices come from measurements at 10 M keys: a byte a key more in the index costs a lookup about 45 ns of
//! cache misses; another record on the way costs 20 (a miss in the first cache and a mispredicted branch).

use crate::fence::FANOUT;

/// The price of a byte of index, in nanoseconds.
pub(super) const BYTE: u64 = 45;
/// The price of one more record on a key's way, in nanoseconds.
pub(super) const RECORD: u64 = 20;

/// A block of 64 bytes.
pub(super) const BLOCK: u64 = 64 * BYTE;
/// A word of 8 bytes.
pub(super) const WORD: u64 = 8 * BYTE;

/// `count` keys among separators, with windows of `window` keys.
pub(super) fn fence(count: u64, window: u64) -> u64 {
    let mut nodes = count.div_ceil(window * FANOUT as u64).max(1);
    let (mut blocks, mut depth) = (nodes, 1);
    while nodes > 1 {
        nodes = nodes.div_ceil(FANOUT as u64);
        blocks += nodes;
        depth += 1;
    }
    blocks * BLOCK + depth * RECORD * count
}

/// `count` keys in a record of their own whose kind is not yet known: lines of the density that fits elsewhere.
pub(super) fn cell(count: u64, window: u64, keys_per_line: u64) -> u64 {
    if count <= window - 7 {
        return 0;
    }
    let lines = count.div_ceil(keys_per_line) * BLOCK + RECORD * count;
    lines.min(fence(count, window))
}
