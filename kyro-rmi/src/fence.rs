//! Separators, for keys that no straight line fits: a static tree of 64-byte nodes, eight children each.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | bits 0–37: leaf: the position of its first stride; inner: the block of its first child; bits 56–58: how many separators; bit 63: leaf |
//! | 8 | 8 × 7 | separators, increasing; unused ones are 0 |
//!
//! A leaf node cuts up to eight windows' worth of keys into strides of one window: the bound is exact whatever
//! the keys are, and a lookup in `n` keys reads at most ⌈log₈(n / window)⌉ + 1 nodes.

use crate::entry::MOST_KEYS;
use crate::line::{Block, head};

/// How many children a node has at most.
pub(crate) const FANOUT: usize = 8;

const LEAF: u64 = 1 << 63;
const SEPARATORS_SHIFT: u32 = 56;

/// Where a node sends a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// To this stride, counted from this position.
    Stride { first: u64, stride: u64 },
    /// To this block.
    Node(u64),
}

/// Searches one node.
#[inline(always)]
pub(crate) fn step(block: &Block, key: u64) -> Step {
    let (words, _) = block.as_chunks::<8>();
    let mut words = words.iter().map(|&word| u64::from_le_bytes(word));
    let head = words.next().unwrap_or_default();
    let separators = head >> SEPARATORS_SHIFT & 7;
    let mut child = 0;
    for (index, separator) in words.enumerate() {
        child += u64::from((index as u64) < separators) & u64::from(separator <= key);
    }
    let first = head & MOST_KEYS;
    if head & LEAF == 0 { Step::Node(first + child) } else { Step::Stride { first, stride: child } }
}

/// Writes a node. `separators` has at most seven.
pub(crate) fn encode(leaf: bool, first: u64, separators: impl Iterator<Item = u64>) -> Block {
    let mut block = [0; 64];
    let mut count = 0;
    for (slot, separator) in block.as_chunks_mut::<8>().0.iter_mut().skip(1).zip(separators) {
        *slot = separator.to_le_bytes();
        count += 1;
    }
    let head = first | count << SEPARATORS_SHIFT | if leaf { LEAF } else { 0 };
    for (byte, value) in block.iter_mut().zip(head.to_le_bytes()) {
        *byte = value;
    }
    block
}

/// What a node says, for a walk over all of them.
pub(crate) fn children(block: &Block) -> (bool, u64, u64) {
    let head = head(block);
    (head & LEAF != 0, head & MOST_KEYS, (head >> SEPARATORS_SHIFT & 7) + 1)
}
