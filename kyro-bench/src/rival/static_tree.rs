//! A static B-tree with SIMD nodes, after the S+ tree: 16 separators a node, 17 children, no pointers; the leaves are
//! the column itself.
#![expect(clippy::inline_always, reason = "a kernel must be inlined into code of its level")]

use kyro_simd::{Kernel, Operation, Searcher, prefetch};

use crate::store::Store;

/// Keys in a node: two cache lines, compared at once.
const NODE: usize = 16;
const CHILDREN: usize = NODE + 1;
/// Lookups under way at once in a batch.
const GROUP: usize = 32;

/// The levels above the column, from the root down.
#[derive(Debug)]
pub struct StaticTree<'a> {
    keys: &'a [u64],
    levels: Vec<Vec<[u64; NODE]>>,
    searcher: Searcher,
}

impl<'a> StaticTree<'a> {
    /// One pass over the column, and one over each level.
    pub fn build(keys: &'a [u64]) -> Self {
        // The smallest key under each node of the level below.
        let mut smallest: Vec<u64> = keys.iter().step_by(NODE).copied().collect();
        let mut levels = Vec::new();
        while smallest.len() > 1 {
            let level = smallest.chunks(CHILDREN).map(|children| {
                let mut node = [u64::MAX; NODE];
                node[..children.len() - 1].copy_from_slice(&children[1..]);
                node
            });
            levels.push(level.collect());
            smallest = smallest.iter().step_by(CHILDREN).copied().collect();
        }
        levels.reverse();
        Self { keys, levels, searcher: Searcher::new() }
    }
}

/// One lookup: the lower bound.
struct One<'a> {
    tree: &'a StaticTree<'a>,
    key: u64,
}

impl Operation for One<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> usize {
        let mut node = 0;
        for level in &self.tree.levels {
            node = node * CHILDREN + kernel.lower_bound_exact(&level[node], self.key);
        }
        in_leaf(kernel, self.tree.keys, node, self.key)
    }
}

/// A group of lookups, level by level.
struct Many<'a> {
    tree: &'a StaticTree<'a>,
    wanted: &'a [u64],
    found: &'a mut [Option<usize>],
}

impl Operation for Many<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let keys = self.tree.keys;
        for (wanted, found) in self.wanted.chunks(GROUP).zip(self.found.chunks_mut(GROUP)) {
            let mut nodes = [0; GROUP];
            for (depth, level) in self.tree.levels.iter().enumerate() {
                let below = self.tree.levels.get(depth + 1);
                for (node, &key) in nodes.iter_mut().zip(wanted) {
                    *node = *node * CHILDREN + kernel.lower_bound_exact(&level[*node], key);
                    if let Some(below) = below {
                        // The column's end may leave the last node of a level without children.
                        let next = below.get(*node).map_or(&[][..], |next| &next[..]);
                        prefetch(next, 0);
                        prefetch(next, NODE / 2);
                    } else {
                        prefetch(keys, *node * NODE);
                        prefetch(keys, *node * NODE + NODE / 2);
                    }
                }
            }
            for ((found, &key), &node) in found.iter_mut().zip(wanted).zip(&nodes) {
                let place = in_leaf(kernel, keys, node, key);
                *found = (keys.get(place) == Some(&key)).then_some(place);
            }
        }
    }
}

#[inline(always)]
fn in_leaf<K: Kernel>(kernel: K, keys: &[u64], leaf: usize, key: u64) -> usize {
    let start = leaf * NODE;
    let rest = keys.get(start..).unwrap_or_default();
    start
        + match rest.first_chunk::<NODE>() {
            Some(whole) => kernel.lower_bound_exact(whole, key),
            None => kernel.lower_bound(rest, key),
        }
}

impl Store for StaticTree<'_> {
    fn name(&self) -> String {
        "S+ tree (16-key SIMD nodes)".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.searcher.run(One { tree: self, key });
        (self.keys.get(place) == Some(&key)).then_some(place)
    }

    #[inline]
    fn lower_bound(&self, key: u64) -> Option<usize> {
        Some(self.searcher.run(One { tree: self, key }))
    }

    #[inline]
    fn find_batch(&self, keys: &[u64], found: &mut [Option<usize>]) {
        self.searcher.run(Many { tree: self, wanted: keys, found });
    }

    fn index_bytes(&self) -> u64 {
        self.levels.iter().map(|level| size_of_val(level.as_slice()) as u64).sum()
    }
}
