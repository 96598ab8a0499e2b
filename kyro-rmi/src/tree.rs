//! A tree of separators over straight segments: the root for keys that no grid fits.
//!
//! Every lookup takes the same number of steps and no branch that depends on the key, so that lookups overlap.
//! The children of a node lie one after the other, so that no node holds pointers. Levels follow one another from the
//! top down:
//!
//! | level | blocks a node | holds |
//! |---|---|---|
//! | top, one node | 8 | 64 separators: up to 65 children |
//! | inner, as many as it takes | 2 | 16 separators: up to 17 children |
//! | leaves | 4 | up to 15 segments: see [`leaf`](crate::leaf) |
//!
//! A separator is the first bound under the child after it: the first key there, less one. Unused ones are 2^64 − 1. So a key belongs to the
//! child after as many separators as are smaller.

use crate::entry::MOST_KEYS;
use crate::leaf::{self, Leaf};
use crate::line::Block;
use crate::model::Place;
use alloc::vec::Vec;
use kyro_simd::{Kernel, prefetch};

/// How many separators the top node has, and an inner node.
const TOP: usize = 64;
const INNER: usize = 16;
/// Children of a full inner node.
pub(crate) const FANOUT: u64 = INNER as u64 + 1;
/// The keys in a window under a tree: four cache lines.
pub(crate) const WINDOW: usize = 32;
/// How far from its prediction a key may be so that it surely lies in such a window, whatever the window's alignment.
pub(crate) const REACH: u64 = 12;

const TOP_BYTES: usize = 8 * TOP;
const INNER_BYTES: usize = 8 * INNER;
/// More levels than a tree over 2^38 keys has.
const MOST_LEVELS: usize = 8;

/// Where the levels of a tree lie. It follows from the number of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// How many leaves there are; 0 where the root is no tree.
    pub(crate) leaves: u64,
    /// The byte of the body at which each level of inner nodes starts.
    inner: [usize; MOST_LEVELS],
    /// How many such levels there are.
    depth: usize,
    /// The byte at which the leaves start.
    leaves_at: usize,
}

impl Tree {
    /// No tree.
    pub(crate) const NONE: Self = Self { leaves: 0, inner: [0; MOST_LEVELS], depth: 0, leaves_at: 0 };

    /// The tree over so many leaves; `None` for more than there can be.
    pub(crate) fn new(leaves: u64) -> Option<Self> {
        if leaves > MOST_KEYS {
            return None;
        }
        let mut tree = Self { leaves, ..Self::NONE };
        let mut at = TOP_BYTES;
        for (slot, nodes) in tree.inner.iter_mut().zip(levels(leaves)) {
            *slot = at;
            at += nodes as usize * INNER_BYTES;
            tree.depth += 1;
        }
        tree.leaves_at = at;
        Some(tree)
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.leaves_at + self.leaves as usize * leaf::BYTES
    }

    /// How many nodes a lookup visits.
    pub(crate) fn steps(&self) -> u32 {
        self.depth as u32 + 2
    }

    /// Where `key` belongs. Damaged nodes lead to some place or other.
    #[inline(always)]
    pub(crate) fn place<K: Kernel>(&self, kernel: K, body: &[u8], key: u64) -> Place {
        let mut node = Self::top(kernel, body, key);
        for level in 0..self.depth {
            node = self.inner(kernel, body, level, node, key);
        }
        self.prefetch_leaf(body, node);
        self.leaf(body, node).map_or(Place::NOWHERE, |leaf| leaf::place(kernel, leaf, key))
    }

    /// How many levels of inner nodes there are.
    #[inline(always)]
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The node below the top that `key` belongs to.
    #[inline(always)]
    pub(crate) fn top<K: Kernel>(kernel: K, body: &[u8], key: u64) -> u64 {
        let Some(node) = body.first_chunk::<TOP_BYTES>() else { return 0 };
        kernel.lower_bound_exact::<TOP>(&words(node), key) as u64
    }

    /// The node below `node` of inner level `level` that `key` belongs to.
    #[inline(always)]
    pub(crate) fn inner<K: Kernel>(&self, kernel: K, body: &[u8], level: usize, node: u64, key: u64) -> u64 {
        let at = self.inner_at(level, node);
        let Some(block) = body.get(at..).and_then(|rest| rest.first_chunk::<INNER_BYTES>()) else { return 0 };
        node.wrapping_mul(FANOUT).wrapping_add(kernel.lower_bound_exact::<INNER>(&words(block), key) as u64)
    }

    /// Leaf `leaf`.
    #[inline(always)]
    pub(crate) fn leaf<'a>(&self, body: &'a [u8], leaf: u64) -> Option<&'a Leaf> {
        body.get(self.leaf_at(leaf)..)?.first_chunk()
    }

    /// Asks for node `node` of inner level `level`.
    #[inline(always)]
    pub(crate) fn prefetch_inner(&self, body: &[u8], level: usize, node: u64) {
        let at = self.inner_at(level, node);
        prefetch(body, at);
        prefetch(body, at.wrapping_add(64));
    }

    /// Asks for leaf `leaf`.
    #[inline(always)]
    pub(crate) fn prefetch_leaf(&self, body: &[u8], leaf: u64) {
        let at = self.leaf_at(leaf);
        for line in 0..leaf::BYTES / 64 {
            prefetch(body, at.wrapping_add(64 * line));
        }
    }

    #[inline(always)]
    fn inner_at(&self, level: usize, node: u64) -> usize {
        let start = self.inner.get(level).copied().unwrap_or(0);
        start.wrapping_add((node as usize).wrapping_mul(INNER_BYTES))
    }

    #[inline(always)]
    fn leaf_at(&self, leaf: u64) -> usize {
        self.leaves_at.wrapping_add((leaf as usize).wrapping_mul(leaf::BYTES))
    }

    /// Whether every node's separators and every leaf's bounds are sorted, so that places are monotone in the key.
    pub(crate) fn is_sorted(&self, body: &[u8]) -> bool {
        let Some((inner, leaves)) =
            body.get(..self.len()).and_then(|body| body.split_at_checked(self.leaves_at))
        else {
            return false;
        };
        let Some((top, inner)) = inner.split_at_checked(TOP_BYTES) else { return false };
        let sorted = |node: &[u8]| node.as_chunks::<8>().0.is_sorted_by_key(|&word| u64::from_le_bytes(word));
        sorted(top)
            && inner.chunks(INNER_BYTES).all(sorted)
            && leaves.chunks(leaf::BYTES).all(|leaf| sorted(leaf.get(..leaf::BYTES / 2).unwrap_or_default()))
    }

    /// The blocks of the tree over `leaves`, of which these are the first bounds.
    pub(crate) fn encode(&self, leaves: &[Leaf], bounds: &[u64]) -> Vec<Block> {
        let mut words = alloc::vec![u64::MAX; self.leaves_at / 8];
        // From the level above the leaves up: the first bounds under the nodes of the level below.
        let mut below: Vec<u64> = bounds.into();
        for level in (0..self.depth).rev() {
            let start = self.inner.get(level).copied().unwrap_or(0) / 8;
            for (node, children) in below.chunks(FANOUT as usize).enumerate() {
                write(&mut words, start + node * INNER, children);
            }
            below = below.chunks(FANOUT as usize).filter_map(|children| children.first().copied()).collect();
        }
        write(&mut words, 0, &below);
        let blocks = words.chunks(8).map(block);
        blocks.chain(leaves.iter().flat_map(|leaf| leaf.as_chunks::<64>().0.iter().copied())).collect()
    }
}

/// How many nodes each level of inner nodes has, from the top down.
fn levels(leaves: u64) -> impl Iterator<Item = u64> {
    let mut counts = [0; MOST_LEVELS];
    let (mut nodes, mut depth) = (leaves, 0);
    while nodes > TOP as u64 + 1 {
        nodes = nodes.div_ceil(FANOUT);
        if let Some(slot) = counts.get_mut(depth) {
            *slot = nodes;
        }
        depth += 1;
    }
    counts.into_iter().take(depth).rev()
}

/// Writes the separators of a node over children with these first bounds, from word `at` on.
fn write(words: &mut [u64], at: usize, children: &[u64]) {
    let slots = words.get_mut(at..).unwrap_or_default();
    for (slot, &separator) in slots.iter_mut().zip(children.iter().skip(1)) {
        *slot = separator;
    }
}

/// The words of a node.
#[inline(always)]
fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, &bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(bytes);
    }
    words
}

/// A block of eight words.
fn block(words: &[u64]) -> Block {
    let mut block = [0; 64];
    for (slot, word) in block.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *slot = word.to_le_bytes();
    }
    block
}
