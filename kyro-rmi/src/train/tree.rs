//! Straight segments of all the keys, and the tree over them: one pass, one division a key.

use crate::leaf::{self, Leaf, SEGMENTS, Segment};
use crate::line::Block;
use crate::root::multiply;
use crate::tree::{REACH, Tree};
use alloc::vec::Vec;

/// How far above a key's position its segment may lie, in positions, and how far below. A slope is rounded down by half
/// a position at most over a segment (where it is by more, the keys are looked at), and the prediction by less than
/// one: with both, a key is at most [`REACH`] off.
const ABOVE: f64 = REACH as f64 + 0.99;
const BELOW: f64 = REACH as f64 - 0.51;
/// The most keys in one segment: over so many, a slope of 20 bits is off by half a position at most.
const MOST_IN_SEGMENT: usize = 1 << 18;

/// A tree and its blocks.
pub(super) struct Trained {
    pub(super) tree: Tree,
    pub(super) blocks: Vec<Block>,
    pub(super) segments: u64,
}

/// A tree over `keys`.
pub(super) fn train(keys: &[u64]) -> Trained {
    let (mut leaves, mut bounds): (Vec<Leaf>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut pending = Vec::with_capacity(SEGMENTS);
    let (mut at, mut segments) = (0, 0);
    while at < keys.len() {
        let segment = segment(keys, at);
        at = segment.end as usize;
        segments += 1;
        pending.push(segment);
        if pending.len() == SEGMENTS || at == keys.len() {
            bounds.push(pending.first().map_or(0, |segment| segment.bound));
            leaves.push(leaf::encode(&pending));
            pending.clear();
        }
    }
    let tree = Tree::new(leaves.len() as u64).unwrap_or(Tree::NONE);
    let blocks = tree.encode(&leaves, &bounds);
    Trained { tree, blocks, segments }
}

/// The longest straight segment of the keys from position `start` on of which no key is further off than allowed,
/// among those through the first key.
fn segment(keys: &[u64], start: usize) -> Segment {
    let own = keys.get(start..keys.len().min(start + MOST_IN_SEGMENT)).unwrap_or_default();
    let bound = own.first().map_or(0, |first| first.saturating_sub(1));
    // The slopes that keep every key so far close enough, narrowing with every key.
    let (mut least, mut most) = (0.0f64, 1.0f64);
    let mut count = own.len();
    for (index, &key) in own.iter().enumerate().skip(1) {
        let across = 1.0 / (key - bound) as f64;
        let (low, high) = ((index as f64 - BELOW) * across, (index as f64 + ABOVE) * across);
        if low > most || high < least {
            count = index;
            break;
        }
        (least, most) = (least.max(low), most.min(high));
    }
    let slope = leaf::slope(f64::midpoint(least, most));
    // A slope of fewer bits than a record has room for is rounded by more than that: few keys over a wide range.
    if slope < 2 * count as u64 {
        let is_near =
            |(index, key): (usize, &u64)| multiply(key - bound, slope).0.abs_diff(index as u64) <= REACH;
        count = own.iter().enumerate().take(count).position(|at| !is_near(at)).unwrap_or(count);
    }
    Segment { bound, first: start as u64, slope, end: (start + count) as u64 }
}
