//! hashbrown with its default hasher, foldhash: the fastest there is for keys that are there or not; knows no order.

use hashbrown::HashMap;

use crate::store::Store;

/// Key to position in a hash table.
#[derive(Debug)]
pub struct Hash {
    map: HashMap<u64, usize>,
}

impl Hash {
    /// Allocates once, inserts all.
    pub fn build(keys: &[u64]) -> Self {
        let mut map = HashMap::with_capacity(keys.len());
        map.extend(keys.iter().enumerate().map(|(position, &key)| (key, position)));
        Self { map }
    }
}

impl Store for Hash {
    fn name(&self) -> String {
        "hashbrown".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        self.map.get(&key).copied()
    }

    #[inline]
    fn lower_bound(&self, _key: u64) -> Option<usize> {
        None
    }

    fn index_bytes(&self) -> u64 {
        self.map.allocation_size() as u64
    }
}
