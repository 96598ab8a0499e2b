//! What the stores are asked for, with the right answers.

use crate::engine::results::Size;
use crate::kv::Entries;
use crate::kv::reads::first_word;
use crate::random::Random;
use crate::zipf::Zipf;

/// The theta of Zipf's law that keys are drawn by.
pub(super) const THETA: f64 = 0.99;

/// The records of one size, in key order.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) size: Size,
    pub(super) entries: Entries,
    /// All keys, sorted.
    pub(super) keys: Vec<u64>,
    /// Before each record, the wrapping sum of the keys and first words of those before it; and of all at the end.
    sums: Vec<u64>,
    zipf: Zipf,
}

/// Keys to get, and what comes of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) keys: Vec<u64>,
    /// Where each is among the sorted keys; none of absent keys.
    pub(super) positions: Vec<u32>,
    pub(super) expected: Expected,
}

/// How many entries a task must find, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) found: u64,
    pub(super) sum: u64,
}

impl Records {
    /// Costs a sort of all keys.
    pub(super) fn new(size: Size, seed: u64) -> Self {
        let entries = Entries { seed, value_bytes: size.value_bytes };
        let mut keys: Vec<u64> = (0..size.records).map(|number| entries.key(number)).collect();
        keys.sort_unstable();
        let mut sums = Vec::with_capacity(keys.len() + 1);
        let mut sum = 0_u64;
        sums.push(sum);
        let mut value = Vec::new();
        for &key in &keys {
            sum = sum.wrapping_add(key.wrapping_add(word(entries, key, &mut value)));
            sums.push(sum);
        }
        Self { size, entries, keys, sums, zipf: Zipf::new(size.records, THETA) }
    }

    /// Keys that are there, each as likely.
    pub(super) fn uniform(&self, count: usize, random: &mut Random) -> Asked {
        self.hits((0..count).map(|_| random.below(self.size.records) as u32))
    }

    /// Keys that are there, by Zipf's law. The order of ranks has nothing to do with that of keys.
    pub(super) fn zipf(&self, count: usize, random: &mut Random) -> Asked {
        let number = (0..count).map(|_| self.zipf.draw(random));
        self.hits(number.map(|number| {
            let key = self.entries.key(number);
            self.keys.partition_point(|&other| other < key) as u32
        }))
    }

    /// Keys that are not there.
    pub(super) fn absent(&self, count: usize, random: &mut Random) -> Asked {
        // Numbers past the records, and past what any part writes beside them.
        let keys = (0..count).map(|_| self.entries.key((1 << 40) + random.below(1 << 40))).collect();
        Asked { keys, ..Asked::default() }
    }

    /// What scans of `entries` records from each of these positions give.
    pub(super) fn scanned(&self, positions: &[u32], entries: usize) -> Expected {
        let mut expected = Expected::default();
        for &position in positions {
            let start = position as usize;
            let end = start.saturating_add(entries).min(self.keys.len());
            expected.found += (end - start) as u64;
            expected.sum = expected.sum.wrapping_add(self.sums[end].wrapping_sub(self.sums[start]));
        }
        expected
    }

    fn hits(&self, positions: impl Iterator<Item = u32>) -> Asked {
        let mut asked = Asked::default();
        let mut value = Vec::new();
        for position in positions {
            let key = self.keys[position as usize];
            asked.keys.push(key);
            asked.positions.push(position);
            asked.expected.found += 1;
            asked.expected.sum = asked.expected.sum.wrapping_add(word(self.entries, key, &mut value));
        }
        asked
    }
}

/// The first eight bytes of the value of `key`.
fn word(entries: Entries, key: u64, value: &mut Vec<u8>) -> u64 {
    // No more of it is needed than the word.
    Entries { value_bytes: entries.value_bytes.min(8), ..entries }.fill(key, value);
    first_word(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_records() {
        let records = Records::new(Size { records: 1_000, value_bytes: 24 }, 3);
        let mut random = Random::new(1, "asked");
        for asked in [records.uniform(500, &mut random), records.zipf(500, &mut random)] {
            let mut sum = 0_u64;
            for (&key, &position) in asked.keys.iter().zip(&asked.positions) {
                assert_eq!(records.keys[position as usize], key);
                let mut value = Vec::new();
                records.entries.fill(key, &mut value);
                assert_eq!(value.len(), 24);
                sum = sum.wrapping_add(first_word(&value));
            }
            assert_eq!(asked.expected, Expected { found: 500, sum });
        }
        let absent = records.absent(500, &mut random);
        assert!(absent.keys.iter().all(|key| records.keys.binary_search(key).is_err()));
        let all = records.scanned(&[0], usize::MAX);
        let halves = [records.scanned(&[0], 400), records.scanned(&[400], 10_000)];
        assert_eq!((all.found, all.sum), (1_000, halves[0].sum.wrapping_add(halves[1].sum)));
        assert_eq!(records.scanned(&[999, 999], 100).found, 2);
    }
}
