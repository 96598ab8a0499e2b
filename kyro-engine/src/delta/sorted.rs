//! The delta in key order, for scans: sorted segments beside the arena, extended when a scan needs them.
//!
//! The writer knows nothing of them. A scan sorts what has come since the last one into a new segment and merges
//! segments while the older one is less than [`GROWTH`] times as long, so that there are few of them, a scan of an
//! unchanged delta costs a binary search in each, and a version is moved a bounded number of times. All versions stay:
//! a view may want an older one, and takes for each key the newest below its own bound.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::Delta;

/// A segment is at least this many times as long as the next one.
const GROWTH: usize = 4;

/// A version in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: u64,
    /// Its number in the arena: the higher, the newer.
    pub(crate) number: u64,
}

/// Places by key, of equal keys the newest first.
pub(crate) type Segment = Arc<[Place]>;

/// All versions up to some number.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// Versions with a number below this are in the segments.
    covered: u64,
    /// Oldest first; the numbers in each are all smaller than those in the next.
    oldest_first: Vec<Segment>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    segments: ArcSwap<Segments>,
    extending: Mutex<()>,
}

/// A delta's versions below an offset, in key order.
#[derive(Debug)]
pub(crate) struct SortedDelta {
    segments: Arc<Segments>,
    /// Versions from this number on are not to be seen.
    pub(crate) bound: u64,
}

impl SortedDelta {
    /// The segments, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Segment> {
        self.segments.oldest_first.iter().rev()
    }
}

impl Delta {
    /// The versions with an offset below `visible`, in key order. Costs a sort of what is new since the last call.
    pub(crate) fn sorted(&self, visible: u64) -> SortedDelta {
        let mut segments = self.sorted.segments.load_full();
        if self.is_visible(segments.covered, visible) {
            segments = self.extend(visible);
        }
        let bound = match segments.covered.checked_sub(1) {
            Some(last) if !self.is_visible(last, visible) => self.first_invisible(segments.covered, visible),
            _ => u64::MAX,
        };
        SortedDelta { segments, bound }
    }

    fn is_visible(&self, number: u64, visible: u64) -> bool {
        self.entries.get(number as usize).is_some_and(|entry| entry.version.offset < visible)
    }

    /// The first number whose version is not visible; the one before `covered` is not.
    fn first_invisible(&self, covered: u64, visible: u64) -> u64 {
        let (mut low, mut high) = (0, covered);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_visible(middle, visible) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    #[cold]
    fn extend(&self, visible: u64) -> Arc<Segments> {
        let _turn = self.sorted.extending.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.sorted.segments.load_full();
        let mut new: Vec<Place> = (old.covered..)
            .map_while(|number| {
                let entry = self.entries.get(number as usize)?;
                (entry.version.offset < visible).then_some(Place { key: entry.key, number })
            })
            .collect();
        if new.is_empty() {
            return old;
        }
        let covered = old.covered + new.len() as u64;
        new.sort_unstable_by_key(|place| order(*place));
        let mut oldest_first = old.oldest_first.clone();
        while let Some(older) = oldest_first.pop_if(|older| older.len() < GROWTH * new.len()) {
            new = merge(&older, &new);
        }
        oldest_first.push(new.into());
        let segments = Arc::new(Segments { covered, oldest_first });
        self.sorted.segments.store(Arc::clone(&segments));
        segments
    }
}

/// By key, of equal keys the newest first.
fn order(place: Place) -> (u64, u64) {
    (place.key, !place.number)
}

fn merge(older: &[Place], newer: &[Place]) -> Vec<Place> {
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let mut older = older.iter().copied().peekable();
    for &place in newer {
        while let Some(before) = older.next_if(|older| older.key < place.key) {
            merged.push(before);
        }
        merged.push(place);
    }
    merged.extend(older);
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Batch;

    fn put(delta: &Delta, offset: u64, keys: &[u64]) {
        let mut batch = Batch::new();
        for &key in keys {
            batch.put(key, b"");
        }
        delta.apply(offset, batch.into_payload()).unwrap();
    }

    #[test]
    fn segments_are_few_sorted_and_complete() {
        let delta = Delta::default();
        for number in 0..3000_u64 {
            put(&delta, number, &[number.wrapping_mul(7919) % 500]);
            let sorted = delta.sorted(number + 1);
            let segments: Vec<_> = sorted.newest_first().collect();
            assert!(segments.len() <= 7, "{} segments", segments.len());
            assert_eq!(segments.iter().map(|segment| segment.len() as u64).sum::<u64>(), number + 1);
            assert!(segments.iter().all(|segment| segment.is_sorted_by_key(|place| order(*place))));
            let youngest = |segment: &Segment| segment.iter().map(|place| place.number).max();
            let oldest = |segment: &Segment| segment.iter().map(|place| place.number).min();
            assert!(segments.windows(2).all(|pair| oldest(pair[0]) > youngest(pair[1])));
        }
        let same = delta.sorted(3000);
        assert!(Arc::ptr_eq(&same.segments, &delta.sorted(3000).segments), "nothing new, nothing sorted");
    }

    #[test]
    fn only_what_was_visible_is_sorted_in_and_bounds_tell_older_views() {
        let delta = Delta::default();
        put(&delta, 10, &[5, 3, 5]);
        assert_eq!(delta.sorted(10).segments.covered, 0);
        assert_eq!(delta.sorted(12).segments.covered, 2);
        let all = delta.sorted(99);
        assert_eq!((all.segments.covered, all.bound), (3, u64::MAX));
        assert_eq!(delta.sorted(12).bound, 2);
        assert_eq!(delta.sorted(10).bound, 0);
    }

    proptest! {
        #[test]
        fn merging_is_sorting(older in proptest::collection::vec(0..9_u64, 0..40),
                              newer in proptest::collection::vec(0..9_u64, 0..40)) {
            let places = |keys: &[u64], from: usize| {
                let mut places: Vec<_> =
                    keys.iter().zip(from as u64..).map(|(&key, number)| Place { key, number }).collect();
                places.sort_unstable_by_key(|place| order(*place));
                places
            };
            let (older, newer) = (places(&older, 0), places(&newer, older.len()));
            let mut all = [older.clone(), newer.clone()].concat();
            all.sort_unstable_by_key(|place| order(*place));
            prop_assert_eq!(merge(&older, &newer), all);
        }
    }
}
