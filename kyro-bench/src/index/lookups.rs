//! Which keys are looked up.

use crate::random::Random;

/// Keys that are there and keys that are not, with their right answers.
#[derive(Clone, Debug)]
pub struct Lookups {
    /// Keys of the column, drawn at random, each as likely.
    pub hits: Vec<u64>,
    /// Where they are.
    pub positions: Vec<usize>,
    /// Keys between those of the column; beyond its ends where there is no room between.
    pub misses: Vec<u64>,
    /// How many keys of the column are smaller.
    pub places: Vec<usize>,
}

impl Lookups {
    /// `count` hits and `count` misses in `keys`, the same for the same `seed`.
    ///
    /// # Panics
    /// When `keys` is empty, or holds every number there is.
    pub fn new(keys: &[u64], count: usize, seed: u64) -> Self {
        assert!(!keys.is_empty(), "there is nothing to look up");
        let random = &mut Random::new(seed, "lookups");
        let positions: Vec<usize> = (0..count).map(|_| random.below(keys.len() as u64) as usize).collect();
        let hits = positions.iter().map(|&position| keys[position]).collect();
        let misses: Vec<u64> = (0..count).map(|_| absent(keys, random)).collect();
        let places = misses.iter().map(|&key| keys.partition_point(|&other| other < key)).collect();
        Self { hits, positions, misses, places }
    }

    /// All of them.
    pub fn all(&self) -> Part<'_> {
        self.part(0, 1)
    }

    /// The lookups of one repeat out of `repeats`.
    pub fn part(&self, repeat: usize, repeats: usize) -> Part<'_> {
        let len = self.hits.len() / repeats;
        let range = repeat * len..(repeat + 1) * len;
        Part {
            hits: &self.hits[range.clone()],
            positions: &self.positions[range.clone()],
            misses: &self.misses[range.clone()],
            places: &self.places[range],
        }
    }
}

/// A part of [`Lookups`], field by field the same.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub(super) hits: &'a [u64],
    pub(super) positions: &'a [usize],
    pub(super) misses: &'a [u64],
    pub(super) places: &'a [usize],
}

/// How often a gap is looked for before the ends are taken.
const TRIES: usize = 16;

/// A key that is not in `keys`: in a gap behind a random key, each gap as likely, or beyond an end.
fn absent(keys: &[u64], random: &mut Random) -> u64 {
    for _ in 0..TRIES {
        let position = random.below(keys.len() as u64) as usize;
        let after = keys.get(position + 1).copied().unwrap_or(u64::MAX);
        let room = after - keys[position];
        if room > 1 {
            return keys[position] + 1 + random.below(room - 1);
        }
    }
    let (first, last) = (keys[0], keys[keys.len() - 1]);
    let before = first;
    let behind = u64::MAX - last;
    assert!(before > 0 || behind > 0, "every number is a key");
    if random.below(2) == 0 && before > 0 || behind == 0 {
        random.below(before)
    } else {
        last + 1 + random.below(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_hit_and_misses_miss() {
        let sets = [
            vec![5],
            vec![0, u64::MAX],
            (0..1000).collect(),
            (0..1000).map(|key| key * 3 + 7).collect::<Vec<_>>(),
        ];
        for keys in sets {
            let lookups = Lookups::new(&keys, 2000, 1);
            for (hit, &position) in lookups.hits.iter().zip(&lookups.positions) {
                assert_eq!(keys.binary_search(hit), Ok(position));
            }
            for (miss, &place) in lookups.misses.iter().zip(&lookups.places) {
                assert_eq!(keys.binary_search(miss), Err(place));
            }
            assert_eq!(lookups.hits.len() + lookups.misses.len(), 4000);
        }
    }

    #[test]
    fn parts_do_not_overlap() {
        let keys: Vec<u64> = (0..100).map(|key| key * 10).collect();
        let lookups = Lookups::new(&keys, 1000, 1);
        let joined: Vec<u64> = (0..4).flat_map(|repeat| lookups.part(repeat, 4).hits.to_vec()).collect();
        assert_eq!(joined, lookups.hits);
    }
}
