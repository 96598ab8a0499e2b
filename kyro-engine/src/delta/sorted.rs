//! The delta in key order, for scans: sorted segments beside the arena, extended when a scan needs them.
//!
//! The writer knows nothing of them. A scan sorts what has come since the last one into a new segment and merges
//! segments while the older one is less than [`GROWTH`] times as long, so that there are few of them, a scan of an
//! unchanged delta costs a binary search in each, and a version is moved a bounded number of times. All versions stay:
//! a view may want an older one, and takes for each key the newest below its own bound.
//!
//! A segment has copies of offsets and of small values, in its order: the versions themselves and their values lie in the
//! order of their writing, and to go there for each key would cost two accesses to memory far apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use kyro_simd::prefetch;

use super::{Delta, Version};

/// A segment is at least this many times as long as the next one.
const GROWTH: usize = 4;

/// A version in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: u64,
    /// Its number in the arena: the higher, the newer.
    pub(crate) number: u64,
}

/// What a segment has of a version beside its place.
#[derive(Debug, Clone, Copy)]
struct Held {
    offset: u64,
    /// Where the copied value starts in the bytes, and in the lowest byte its length or one of the two codes.
    value: u64,
}

/// The version is a tombstone.
const TOMBSTONE: u64 = 255;
/// The value is too long to be copied: the version has it.
const ELSEWHERE: u64 = 254;
/// The longest value that is copied, in bytes.
const COPIED: usize = 128;

/// Where a version's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SortedValue<'a> {
    Tombstone,
    Here(&'a [u8]),
    /// In the version.
    Elsewhere,
}

/// Places by key, of equal keys the newest first, with what is read most of their versions.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    places: Vec<Place>,
    held: Vec<Held>,
    bytes: Vec<u8>,
    has_elsewhere: bool,
}

/// How far ahead of their turn versions, and their values, are asked for where they have to be read one by one.
const VERSION_AHEAD: usize = 32;
const VALUE_AHEAD: usize = 16;

impl Segment {
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The offset of the version at a place.
    #[inline]
    pub(crate) fn offset(&self, at: usize) -> u64 {
        self.held[at].offset
    }

    /// The value of the version at a place.
    #[inline]
    pub(crate) fn value(&self, at: usize) -> SortedValue<'_> {
        let value = self.held[at].value;
        match value & 0xff {
            TOMBSTONE => SortedValue::Tombstone,
            ELSEWHERE => SortedValue::Elsewhere,
            len => {
                let start = (value >> 8) as usize;
                SortedValue::Here(&self.bytes[start..start + len as usize])
            }
        }
    }

    /// Whether some values have to be read from their versions.
    #[inline]
    pub(crate) fn has_elsewhere(&self) -> bool {
        self.has_elsewhere
    }

    fn with_capacity(places: usize, bytes: usize) -> Self {
        Self {
            places: Vec::with_capacity(places),
            held: Vec::with_capacity(places),
            bytes: Vec::with_capacity(bytes),
            has_elsewhere: false,
        }
    }

    /// Memory taken, in bytes.
    fn memory(&self) -> u64 {
        let places = self.places.capacity() * (size_of::<Place>() + size_of::<Held>());
        (places + self.bytes.capacity()) as u64
    }

    fn push(&mut self, place: Place, offset: u64, value: SortedValue<'_>) {
        let value = match value {
            SortedValue::Tombstone => TOMBSTONE,
            SortedValue::Elsewhere => {
                self.has_elsewhere = true;
                ELSEWHERE
            }
            SortedValue::Here(value) => {
                let start = self.bytes.len() as u64;
                self.bytes.extend_from_slice(value);
                start << 8 | value.len() as u64
            }
        };
        self.places.push(place);
        self.held.push(Held { offset, value });
    }

    /// A segment of these places, which are in its order, with what `delta` has of them.
    fn gather(delta: &Delta, places: &[Place]) -> Self {
        let value_of = |place: &Place| delta.version(place.number).and_then(|version| version.value.as_ref());
        let mut segment = Self::with_capacity(places.len(), 0);
        for (at, place) in places.iter().enumerate() {
            if let Some(ahead) = places.get(at + VERSION_AHEAD) {
                delta.prefetch_version(ahead.number);
            }
            if let Some(value) = places.get(at + VALUE_AHEAD).and_then(value_of) {
                prefetch(value, 0);
            }
            // Places are of versions that are there.
            let Some(Version { offset, value }) = delta.version(place.number) else { continue };
            let value = match value {
                None => SortedValue::Tombstone,
                Some(value) if value.len() > COPIED => SortedValue::Elsewhere,
                Some(value) => SortedValue::Here(value),
            };
            segment.push(*place, *offset, value);
        }
        segment
    }

    /// Both in one; every number in `older` is smaller than those in `newer`.
    fn merge(older: &Self, newer: &Self) -> Self {
        let places = older.places.len() + newer.places.len();
        let mut merged = Self::with_capacity(places, older.bytes.len() + newer.bytes.len());
        let mut take = |from: &Self, at: usize| merged.push(from.places[at], from.offset(at), from.value(at));
        let mut left = 0;
        for (at, place) in newer.places.iter().enumerate() {
            while older.places.get(left).is_some_and(|before| before.key < place.key) {
                take(older, left);
                left += 1;
            }
            take(newer, at);
        }
        (left..older.places.len()).for_each(|at| take(older, at));
        merged
    }
}

/// All versions up to some number.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// Versions with a number below this are in the segments.
    covered: u64,
    /// Oldest first; the numbers in each are all smaller than those in the next.
    oldest_first: Vec<Arc<Segment>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    segments: ArcSwap<Segments>,
    extending: Mutex<()>,
    /// Memory that the segments take, in bytes.
    pub(super) memory: AtomicU64,
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
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Arc<Segment>> {
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
        let mut new = Segment::gather(self, &new);
        let mut oldest_first = old.oldest_first.clone();
        while let Some(older) = oldest_first.pop_if(|older| older.places.len() < GROWTH * new.places.len()) {
            new = Segment::merge(&older, &new);
        }
        oldest_first.push(Arc::new(new));
        let memory = oldest_first.iter().map(|segment| segment.memory()).sum();
        self.sorted.memory.store(memory, Ordering::Relaxed);
        let segments = Arc::new(Segments { covered, oldest_first });
        self.sorted.segments.store(Arc::clone(&segments));
        segments
    }
}

/// By key, of equal keys the newest first.
fn order(place: Place) -> (u64, u64) {
    (place.key, !place.number)
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
            assert_eq!(segments.iter().map(|segment| segment.places.len() as u64).sum::<u64>(), number + 1);
            assert!(segments.iter().all(|segment| segment.places.is_sorted_by_key(|place| order(*place))));
            let youngest = |segment: &Segment| segment.places.iter().map(|place| place.number).max();
            let oldest = |segment: &Segment| segment.places.iter().map(|place| place.number).min();
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
            // Short and long values, and tombstones.
            let value = |number: u64| match number % 4 {
                0 => None,
                1 => Some(vec![number as u8; COPIED + 1]),
                length => Some(vec![number as u8; length as usize]),
            };
            let segment = |keys: &[u64], first: u64| {
                let delta = Delta::default();
                let mut batch = Batch::new();
                for (&key, number) in keys.iter().zip(first..) {
                    match value(number) {
                        None => batch.delete(key),
                        Some(value) => batch.put(key, value),
                    };
                }
                if !batch.is_empty() {
                    delta.apply(100 + first, batch.into_payload()).unwrap();
                }
                let sorted = delta.sorted(u64::MAX);
                let mut segment = Segment::default();
                for of_one in sorted.newest_first() {
                    for (at, place) in of_one.places().iter().enumerate() {
                        let place = Place { number: place.number + first, ..*place };
                        segment.push(place, of_one.offset(at), of_one.value(at));
                    }
                }
                segment
            };
            let (first, second) = (segment(&older, 0), segment(&newer, older.len() as u64));
            let merged = Segment::merge(&first, &second);
            let mut all = [first.places.clone(), second.places.clone()].concat();
            all.sort_unstable_by_key(|place| order(*place));
            prop_assert_eq!(merged.places(), all);
            for (at, place) in merged.places().iter().enumerate() {
                prop_assert_eq!(merged.offset(at), 100 + place.number);
                match (merged.value(at), value(place.number)) {
                    (SortedValue::Tombstone, None) => {}
                    (SortedValue::Here(here), Some(value)) => prop_assert_eq!(here, value),
                    (SortedValue::Elsewhere, Some(value)) => prop_assert!(value.len() > COPIED),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
