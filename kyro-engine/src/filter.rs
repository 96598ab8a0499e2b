//! A filter over the keys of a run: says of most absent keys that they are absent, at the price of one cache line.
//!
//! A blocked Bloom filter with blocks of one word: a key sets four bits of the word that it hashes to. With twelve bits
//! a key it lets about one absent key in fifty through; a present one always. It lies in memory only, so that nothing on
//! disk has to be trusted or rebuilt, and it is made when it pays: see [`crate::filters`].

use kyro_simd::prefetch;

/// Bits of memory for each key.
const BITS_PER_KEY: u64 = 12;

/// See the module.
#[derive(Debug)]
pub(crate) struct Filter {
    words: Box<[u64]>,
}

impl Filter {
    /// Room for so many keys.
    pub(crate) fn for_keys(keys: u64) -> Self {
        let words = Self::bytes_for(keys) / 8;
        Self { words: vec![0; usize::try_from(words).unwrap_or(1)].into() }
    }

    /// Memory that a filter for so many keys takes, in bytes.
    pub(crate) fn bytes_for(keys: u64) -> u64 {
        keys.saturating_mul(BITS_PER_KEY).div_ceil(64).max(1) * 8
    }

    /// Memory taken, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    pub(crate) fn insert(&mut self, key: u64) {
        let (at, bits) = self.place(key);
        self.words[at] |= bits;
    }

    /// Asks for the cache line that [`Filter::may_contain`] reads.
    #[inline]
    pub(crate) fn prefetch(&self, key: u64) {
        prefetch(&self.words, self.place(key).0);
    }

    /// Whether `key` may be one that was inserted: `false` is certain.
    #[inline]
    pub(crate) fn may_contain(&self, key: u64) -> bool {
        let (at, bits) = self.place(key);
        self.words[at] & bits == bits
    }

    /// The word of `key`, and its bits there.
    #[inline]
    fn place(&self, key: u64) -> (usize, u64) {
        // Two multiplications by odd constants: every bit of the key reaches every bit of the hash.
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let at = ((u128::from(hash) * self.words.len() as u128) >> 64) as usize;
        // The high bits chose the word; the low ones, four times six of them, choose in it.
        let bit = |shift: u32| 1_u64 << ((hash >> shift) & 63);
        (at, bit(0) | bit(6) | bit(12) | bit(18))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_let_through(keys: impl Iterator<Item = u64>, absent: impl Iterator<Item = u64>) -> f64 {
        let keys: Vec<u64> = keys.collect();
        let mut filter = Filter::for_keys(keys.len() as u64);
        for &key in &keys {
            filter.insert(key);
        }
        assert!(keys.iter().all(|&key| filter.may_contain(key)), "a key that is there is refused");
        let (mut asked, mut passed) = (0_u32, 0_u32);
        for key in absent {
            asked += 1;
            passed += u32::from(filter.may_contain(key));
        }
        f64::from(passed) / f64::from(asked)
    }

    #[test]
    fn most_absent_keys_are_refused_whatever_the_keys_look_like() {
        let count = 50_000_u64;
        let random = |key: u64| key.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(29) ^ key;
        let shapes: [(&str, f64); 4] = [
            ("dense", share_let_through(0..count, count..4 * count)),
            ("strided", share_let_through((0..count).map(|i| i << 20), (0..count).map(|i| (i << 20) + 1))),
            ("high", share_let_through((0..count).map(|i| i << 45), (0..count).map(|i| i << 45 | 1 << 44))),
            ("random", share_let_through((0..count).map(random), (count..4 * count).map(random))),
        ];
        for (name, share) in shapes {
            assert!(share < 0.03, "{name}: {share} of the absent keys are let through");
        }
    }

    #[test]
    fn an_empty_filter_refuses_everything() {
        let filter = Filter::for_keys(0);
        assert_eq!(filter.bytes(), 8);
        assert!((0..100).all(|key| !filter.may_contain(key)));
    }
}
