//! Binary search in the column: the standard library's, and one without branches.

use std::hint::select_unpredictable;

use crate::store::Store;

/// `partition_point` of the standard library.
#[derive(Debug)]
pub struct PartitionPoint<'a> {
    keys: &'a [u64],
}

impl<'a> PartitionPoint<'a> {
    /// Nothing to build.
    pub fn new(keys: &'a [u64]) -> Self {
        Self { keys }
    }
}

impl Store for PartitionPoint<'_> {
    fn name(&self) -> String {
        "binary search (partition_point)".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.keys.partition_point(|&other| other < key);
        (self.keys.get(place) == Some(&key)).then_some(place)
    }

    #[inline]
    fn lower_bound(&self, key: u64) -> Option<usize> {
        Some(self.keys.partition_point(|&other| other < key))
    }

    fn index_bytes(&self) -> u64 {
        0
    }
}

/// Binary search whose steps select instead of branching, with both next probes prefetched.
#[derive(Debug)]
pub struct Branchless<'a> {
    keys: &'a [u64],
}

impl<'a> Branchless<'a> {
    /// Nothing to build.
    pub fn new(keys: &'a [u64]) -> Self {
        Self { keys }
    }

    #[inline]
    fn place(&self, key: u64) -> usize {
        let mut start = 0;
        let mut len = self.keys.len();
        while len > 1 {
            let half = len / 2;
            len -= half;
            kyro_simd::prefetch(self.keys, (start + len / 2).saturating_sub(1));
            kyro_simd::prefetch(self.keys, start + half + len / 2 - 1);
            start = select_unpredictable(self.keys[start + half - 1] < key, start + half, start);
        }
        start + usize::from(self.keys.get(start).is_some_and(|&last| last < key))
    }
}

impl Store for Branchless<'_> {
    fn name(&self) -> String {
        "binary search (branchless, prefetched)".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.place(key);
        (self.keys.get(place) == Some(&key)).then_some(place)
    }

    #[inline]
    fn lower_bound(&self, key: u64) -> Option<usize> {
        Some(self.place(key))
    }

    fn index_bytes(&self) -> u64 {
        0
    }
}
