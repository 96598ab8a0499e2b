//! The lookup: key → root → records → window. The only arithmetic on keys, shared by build and lookup.

use crate::entry::{Entry, Kind};
use crate::fence;
use crate::line::{self, Block, PARTS};
use crate::root::{Root, multiply};
use crate::tree::Tree;
use kyro_simd::Kernel;

/// The most records one lookup follows before it gives up: more than any built index needs, so that damaged
/// records cannot lead a lookup in circles.
pub(crate) const MOST_STEPS: usize = 32;
/// The keys that are searched first: the cache line of the prediction. To wait for two lines takes a tenth longer
/// than to wait for one, which a mispredicted branch for the keys just outside it does not.
pub(crate) const CORE: usize = 8;
/// The keys on each side of the core that are searched next: a cache line.
pub(crate) const MARGIN: usize = 8;

/// How a prediction becomes a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The keys in a window: a multiple of 8, or all the keys where there are fewer.
    pub(crate) keys: usize,
    /// How many keys there are.
    pub(crate) total: u64,
}

/// What the records say of a key: it belongs to an interval of `count` keys from position `first` on, and is
/// predicted `within` positions further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) within: u64,
}

impl Place {
    /// Where damaged records lead.
    pub(crate) const NOWHERE: Self = Self { first: 0, count: 0, within: 0 };
}

impl Window {
    /// How many positions a window surely covers from wherever it is asked to start: it starts up to 7
    /// earlier, at a multiple of 8, so that it spans as few cache lines as can be.
    #[inline(always)]
    pub(crate) const fn span(self) -> u64 {
        self.keys as u64 - 7
    }

    /// Where the window of `place` starts. Monotone in `within`; never leaves the interval by more than it must.
    #[inline(always)]
    pub(crate) fn start(self, place: Place) -> u64 {
        let half = self.keys as u64 / 2 - 4;
        let start = place.within.saturating_sub(half).min(place.count.saturating_sub(self.span()));
        (place.first.wrapping_add(start) & !7).min(self.total.saturating_sub(self.keys as u64))
    }

    /// The core of the window: the same for [`CORE`] keys.
    #[inline(always)]
    pub(crate) fn core(self) -> Self {
        Self { keys: CORE, total: self.total }
    }
}

/// Everything a lookup needs, by value, beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// The grid, where the root is one.
    pub(crate) root: Root,
    /// The tree, where the root is that.
    pub(crate) tree: Tree,
    pub(crate) window: Window,
    /// The byte of the body at which the blocks start, after the words.
    pub(crate) blocks_at: u64,
}

impl Model {
    /// Whether the root is a tree of separators.
    #[inline(always)]
    pub(crate) fn is_tree(&self) -> bool {
        self.tree.leaves != 0
    }

    /// The start of the window of `key`. O(1) but for fences, which are O(log n).
    #[inline(always)]
    pub(crate) fn window_start<K: Kernel>(&self, kernel: K, body: &[u8], key: u64) -> u64 {
        self.window.start(self.place(kernel, body, key))
    }

    /// Follows the records to where `key` belongs. Damaged ones lead to some place or other.
    #[inline(always)]
    pub(crate) fn place<K: Kernel>(&self, kernel: K, body: &[u8], key: u64) -> Place {
        if self.is_tree() {
            return self.tree.place(kernel, body, key);
        }
        let (mut word, mut fraction) = self.root.cell(key);
        for _ in 0..MOST_STEPS {
            let Some(entry) = entry(body, word) else { break };
            match entry.kind() {
                Kind::Lines { first, count } => {
                    let (line, rest) = multiply(fraction, count);
                    let (index, rest) = multiply(rest, PARTS as u64);
                    let Some(block) = self.block(body, first + line) else { break };
                    let part = line::part(block, index as usize);
                    fraction = rest;
                    match part.record {
                        None => return interval(part.first, part.count, fraction),
                        Some(record) => word = record,
                    }
                }
                Kind::Leaf { first, count } => return interval(first, count, fraction),
                Kind::Grid { first, count } => {
                    let (part, rest) = multiply(fraction, count);
                    fraction = rest;
                    word = first + part;
                }
                Kind::Fence { root, leaf } => return self.search(kernel, body, key, root, leaf),
            }
        }
        Place::NOWHERE
    }

    /// Searches among separators.
    #[inline(always)]
    fn search<K: Kernel>(&self, kernel: K, body: &[u8], key: u64, mut node: u64, mut leaf: bool) -> Place {
        for _ in 0..MOST_STEPS {
            if leaf {
                return self.place_in_leaf(kernel, body, node, key).unwrap_or(Place::NOWHERE);
            }
            let Some(block) = self.block(body, node) else { break };
            (node, leaf) = fence::child(kernel, block, key);
        }
        Place::NOWHERE
    }

    /// Searches the leaf of separators in blocks `node` and `node + 1`.
    #[inline(always)]
    pub(crate) fn place_in_leaf<K: Kernel>(
        &self,
        kernel: K,
        body: &[u8],
        node: u64,
        key: u64,
    ) -> Option<Place> {
        let (keys, records) = (self.block(body, node)?, self.block(body, node + 1)?);
        let (segment, end) = fence::segment(kernel, keys, records, key);
        let (first, count) = (segment.first, end.saturating_sub(segment.first));
        Some(Place { first, count, within: segment.within(key) })
    }

    /// Block `block`.
    #[inline(always)]
    pub(crate) fn block<'a>(&self, body: &'a [u8], block: u64) -> Option<&'a Block> {
        body.get(self.block_at(block)..)?.first_chunk()
    }

    /// The byte of the body at which block `block` starts.
    #[inline(always)]
    pub(crate) fn block_at(&self, block: u64) -> usize {
        (self.blocks_at as usize).wrapping_add((block as usize).wrapping_mul(64))
    }
}

/// The place of a key that lies `fraction` of the way through an interval whose keys lie on a straight line.
#[inline(always)]
pub(crate) fn interval(first: u64, count: u64, fraction: u64) -> Place {
    Place { first, count, within: multiply(fraction, count).0 }
}

/// The record in word `word`.
#[inline(always)]
pub(crate) fn entry(body: &[u8], word: u64) -> Option<Entry> {
    let bytes = body.get((word as usize).wrapping_mul(8)..)?.first_chunk()?;
    Some(Entry(u64::from_le_bytes(*bytes)))
}
