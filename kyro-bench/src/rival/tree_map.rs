//! The standard library's B-tree, built from sorted input: what the original KyroDB compared itself with, at its best.

use std::collections::BTreeMap;

use crate::store::Store;

/// Key to position in a [`BTreeMap`].
#[derive(Debug)]
pub struct TreeMap {
    map: BTreeMap<u64, usize>,
}

impl TreeMap {
    /// Bulk-built: the standard library fills the nodes from sorted input.
    pub fn build(keys: &[u64]) -> Self {
        Self { map: keys.iter().enumerate().map(|(position, &key)| (key, position)).collect() }
    }
}

impl Store for TreeMap {
    fn name(&self) -> String {
        "BTreeMap (bulk-built)".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        self.map.get(&key).copied()
    }

    /// By the next entry: the map knows no ranks, so each carries its own.
    #[inline]
    fn lower_bound(&self, key: u64) -> Option<usize> {
        Some(self.map.range(key..).next().map_or(self.map.len(), |(_, &position)| position))
    }

    /// Computed: bulk-built nodes are full. Of twelve entries eleven are in a leaf of 192 bytes and one is in an inner
    /// node, which has eleven entries in 288 bytes. What malloc adds is not counted.
    fn index_bytes(&self) -> u64 {
        let leaves = self.map.len().div_ceil(12) as u64;
        192 * leaves + 288 * leaves.div_ceil(11)
    }
}
