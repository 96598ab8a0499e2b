//! The hash table of a delta: one thread writes it, any number read it meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use kyro_simd::prefetch;

/// A hash table, and what is asked before it.
#[derive(Debug)]
pub(super) struct Table {
    /// `fingerprint << 40 | number of the version + 1`; 0 is free.
    pub(super) slots: Box<[AtomicU64]>,
    /// A word for every [`SLOTS_A_WORD`] slots, with two bits for each key whose search begins there: a Bloom filter in
    /// blocks of one word (Putze, Sanders, Singler 2007).
    present: Box<[AtomicU64]>,
}

/// Slots that share a word of the filter. Half of them are taken when a table is full: sixteen bits of 64, and one absent
/// key in sixteen that gets past it.
const SLOTS_A_WORD: usize = 16;

impl Table {
    pub(super) fn new(slots: usize) -> Self {
        let zeros = |words| (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { slots: zeros(slots), present: zeros(slots.div_ceil(SLOTS_A_WORD)) }
    }

    /// Memory taken by one of so many slots, in bytes.
    pub(super) fn bytes(slots: usize) -> usize {
        size_of::<u64>() * (slots + slots.div_ceil(SLOTS_A_WORD))
    }

    /// Where a search for a key of this hash begins.
    #[inline]
    pub(super) fn home(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// The bits of a key of this hash in its word. From the upper end, as fingerprints are: the lower one chose the word.
    #[inline]
    fn bits(hash: u64) -> u64 {
        1 << (hash >> 58) | 1 << (hash >> 52 & 63)
    }

    /// False where no key of this hash is here.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        let bits = Self::bits(hash);
        self.present[self.home(hash) / SLOTS_A_WORD].load(Ordering::Acquire) & bits == bits
    }

    /// Of the one writer: makes way for a key, before its slot is written.
    #[inline]
    pub(super) fn add(&self, hash: u64) {
        let word = &self.present[self.home(hash) / SLOTS_A_WORD];
        word.store(word.load(Ordering::Relaxed) | Self::bits(hash), Ordering::Release);
    }

    #[inline]
    pub(super) fn prefetch_filter(&self, hash: u64) {
        prefetch(&self.present, self.home(hash) / SLOTS_A_WORD);
    }

    #[inline]
    pub(super) fn prefetch_slot(&self, hash: u64) {
        prefetch(&self.slots, self.home(hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_may_be_there_and_little_else() {
        let table = Table::new(1 << 12);
        let hash = |number: u64| {
            (number + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
                .wrapping_mul(0xd6e8_feb8_6659_fd93)
        };
        // As full as a table becomes.
        (0..1 << 11).for_each(|number| table.add(hash(number)));
        assert!((0..1 << 11).all(|number| table.may_contain(hash(number))));
        let others = (1 << 11..1 << 16).filter(|&number| table.may_contain(hash(number))).count();
        assert!((1_000..6_000).contains(&others), "{others} of 63,488");
    }
}
