//! Eytzinger: the keys in the order of a breadth-first walk of the search tree, so that the next levels can be
//! prefetched together.

use crate::store::Store;

/// How many levels ahead is prefetched: the 8 nodes three levels down share one cache line.
const AHEAD: usize = 8;

/// A copy of the keys in Eytzinger order; node 1 is the root, node 0 is unused.
#[derive(Debug)]
pub struct Eytzinger {
    nodes: Vec<u64>,
    keys: usize,
    /// Depth of the deepest level, from 0.
    depth: u32,
}

impl Eytzinger {
    /// Copies the keys into their order.
    pub fn build(keys: &[u64]) -> Self {
        let mut eytzinger =
            Self { nodes: vec![0; keys.len() + 1], keys: keys.len(), depth: keys.len().max(1).ilog2() };
        for node in 1..=keys.len() {
            eytzinger.nodes[node] = keys[eytzinger.position(node)];
        }
        eytzinger
    }

    /// Where the key of `node` is in sorted order: its place in a full tree, less the leaves that are missing before it.
    #[inline]
    fn position(&self, node: usize) -> usize {
        let level = node.ilog2();
        let below = self.depth - level;
        let in_full_tree = (((node - (1 << level)) * 2 + 1) << below) - 1;
        let leaves_before = in_full_tree.div_ceil(2);
        let leaves = self.keys + 1 - (1 << self.depth);
        in_full_tree - leaves_before.saturating_sub(leaves)
    }

    #[inline]
    fn node(&self, key: u64) -> usize {
        let mut node = 1;
        while node < self.nodes.len() {
            kyro_simd::prefetch(&self.nodes, node * AHEAD);
            node = 2 * node + usize::from(self.nodes[node] < key);
        }
        // The last turn to the left was at the lower bound: undo the turns to the right after it.
        node >> (node.trailing_ones() + 1)
    }
}

impl Store for Eytzinger {
    fn name(&self) -> String {
        "Eytzinger, prefetched".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let node = self.node(key);
        (node != 0 && self.nodes[node] == key).then(|| self.position(node))
    }

    #[inline]
    fn lower_bound(&self, key: u64) -> Option<usize> {
        let node = self.node(key);
        Some(if node == 0 { self.keys } else { self.position(node) })
    }

    fn index_bytes(&self) -> u64 {
        8 * self.nodes.len() as u64
    }
}
