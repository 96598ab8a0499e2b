//! The delta: recent writes in memory. One writer, any number of readers, none of which ever waits.
//!
//! Versions are appended to an arena and never moved. A hash table of atomic slots leads from a key to its newest
//! version, and each version to the one before it. A reader says below which offset it looks, so that a batch that is
//! being applied is seen whole or not at all. A miss costs one hash and usually one cache line, whatever the size, and that
//! of a filter a sixteenth as large as the table, which stays nearer to the processor.
//!
//! A table that is half full is followed by one of twice the size; the old ones stay until the delta goes, because a
//! reader may still be in one (together they are no larger than the newest).

mod sorted;
mod table;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use kyro_simd::prefetch;

use self::sorted::Sorted;
pub(crate) use self::sorted::{Place, Segment, SortedValue};
use self::table::Table;
use crate::batch::{Operation, Operations, PayloadError};
use crate::range_tombstones::{RangeTombstone, RangeTombstones};

/// A version of one key: its offset, and its value or that it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) offset: u64,
    pub(crate) value: Option<Bytes>,
}

/// A version in the arena.
#[derive(Debug)]
struct Entry {
    key: u64,
    version: Version,
    /// The version before it, as in [`Slot`].
    older: u64,
}

/// Recent writes; see the module.
#[derive(Debug)]
pub(crate) struct Delta {
    entries: boxcar::Vec<Entry>,
    tables: [OnceLock<Table>; TABLES],
    /// Which of the tables is the newest.
    newest: AtomicUsize,
    seed: u64,
    /// Keys with a version here. The lock makes the one writer one.
    keys: Mutex<usize>,
    /// Bytes of payloads, overwritten ones included: their batch keeps them alive.
    payload_bytes: AtomicU64,
    /// Memory taken by them, the arena and the tables.
    bytes: AtomicU64,
    /// Bytes the frames take in the log, by estimate.
    log_bytes: AtomicU64,
    operations: AtomicU64,
    len: AtomicUsize,
    sorted: Sorted,
    /// Deleted ranges, and whether there are any.
    ranges: ArcSwap<RangeTombstones>,
    has_ranges: AtomicBool,
}

const TABLES: usize = 36;
const FIRST_TABLE_SLOTS: usize = 64;
const NUMBER_BITS: u32 = 40;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// How many keys ahead of their turn a cache line is asked for.
const AHEAD: usize = 16;

/// Versions of each key from which a table is filled from the one before it and not from the versions.
const MANY_VERSIONS: usize = 4;

/// Versions whose turn comes in a moment.
#[derive(Default)]
struct Ahead {
    waiting: [Option<(u64, Version)>; AHEAD],
    next: usize,
}

/// Bytes a frame takes in the log beside its payload, and in memory, where its payload's bytes may have spare room; by
/// estimate.
const FRAME_BYTES: u64 = 64;

/// A version in the arena, with the mark that it is there.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64 + 8;

/// Memory that the arena takes with so many versions: it grows by chunks of twice the size, the first of 32, and makes the
/// next when the last is nearly full.
fn arena_bytes(versions: u64) -> u64 {
    ENTRY_BYTES * ((versions + versions / 15 + 33).next_power_of_two() - 32)
}

/// What applying one payload did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The first event without a key in it.
    pub(crate) first_event: Option<u64>,
    /// Operations it held.
    pub(crate) operations: u64,
}

impl Default for Delta {
    fn default() -> Self {
        let tables = [const { OnceLock::new() }; TABLES];
        tables[0].get_or_init(|| Table::new(FIRST_TABLE_SLOTS));
        Self {
            entries: boxcar::Vec::new(),
            tables,
            newest: AtomicUsize::new(0),
            // Keys come from anyone: without a seed they could be chosen to collide.
            seed: RandomState::new().hash_one(0_u64),
            keys: Mutex::new(0),
            payload_bytes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            len: AtomicUsize::new(0),
            sorted: Sorted::default(),
            ranges: ArcSwap::default(),
            has_ranges: AtomicBool::new(false),
        }
    }
}

impl Delta {
    /// The newest version of `key` with an offset below `visible`, if the key was written since the delta began.
    pub(crate) fn get(&self, key: u64, visible: u64) -> Option<&Version> {
        let table = self.newest()?;
        if !table.may_contain(self.hash(key)) {
            return None;
        }
        let (_, mut slot) = self.locate(table, key);
        while slot & NUMBER != 0 {
            let entry = self.entry(slot)?;
            if entry.version.offset < visible {
                return Some(&entry.version);
            }
            slot = entry.older;
        }
        None
    }

    /// Applies the operations of one frame, whose first offset is `first_offset`. Readers see them once the visible
    /// offset is past them.
    pub(crate) fn apply(&self, first_offset: u64, payload: Bytes) -> Result<Applied, PayloadError> {
        let mut applied = Applied::default();
        let bytes = payload.len() as u64;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut deleted = Vec::new();
        let mut ahead = Ahead::default();
        for operation in Operations::new(payload)? {
            let offset = first_offset + applied.operations;
            match operation? {
                Operation::Put { key, value } => {
                    self.insert_later(&mut keys, &mut ahead, key, Version { offset, value: Some(value) });
                }
                Operation::Delete { key } => {
                    self.insert_later(&mut keys, &mut ahead, key, Version { offset, value: None });
                }
                Operation::DeleteRange { from, to } => deleted.push(RangeTombstone { from, to, offset }),
                Operation::Append { .. } => {
                    applied.first_event.get_or_insert(offset);
                }
                // Says something of the sources, not of the delta.
                Operation::Switch(_) => {}
            }
            applied.operations += 1;
        }
        // The oldest of those that still wait is where the next would go.
        ahead.waiting.rotate_left(ahead.next % AHEAD);
        for (key, version) in ahead.waiting.into_iter().flatten() {
            self.insert(&mut keys, key, version);
        }
        if !deleted.is_empty() {
            let mut ranges = RangeTombstones::clone(&self.ranges.load());
            for tombstone in deleted {
                ranges.push(tombstone);
            }
            self.ranges.store(Arc::new(ranges));
            self.has_ranges.store(true, Ordering::Release);
        }
        self.len.store(*keys, Ordering::Relaxed);
        let payloads = self.payload_bytes.fetch_add(bytes + FRAME_BYTES, Ordering::Relaxed);
        let tables = Table::bytes(FIRST_TABLE_SLOTS << (self.newest.load(Ordering::Relaxed) + 1));
        let held = arena_bytes(self.entries.count() as u64) + tables as u64;
        self.bytes.store(payloads + bytes + FRAME_BYTES + held, Ordering::Relaxed);
        self.log_bytes.fetch_add(bytes + FRAME_BYTES, Ordering::Relaxed);
        self.operations.fetch_add(applied.operations, Ordering::Relaxed);
        Ok(applied)
    }

    /// Keys with a version here.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether no version is here. Asked after the visible offset was loaded, `true` holds for what is below it.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a range was deleted here.
    #[inline]
    pub(crate) fn has_ranges(&self) -> bool {
        self.has_ranges.load(Ordering::Acquire)
    }

    /// The deleted ranges, as far as they have been applied.
    pub(crate) fn ranges(&self) -> Guard<Arc<RangeTombstones>> {
        self.ranges.load()
    }

    fn newest(&self) -> Option<&Table> {
        self.tables[self.newest.load(Ordering::Acquire)].get()
    }

    /// Asks for the cache line that a probe for `key` begins at.
    #[inline]
    pub(crate) fn prefetch(&self, key: u64) {
        if let Some(table) = self.newest() {
            table.prefetch_filter(self.hash(key));
        }
    }

    /// Once that line is there: asks for the one that comes next, where the key may be here.
    #[inline]
    pub(crate) fn prefetch_slot(&self, key: u64) {
        if let Some(table) = self.newest().filter(|table| table.may_contain(self.hash(key))) {
            table.prefetch_slot(self.hash(key));
        }
    }

    /// Asks for the version with this number.
    #[inline]
    pub(crate) fn prefetch_version(&self, number: u64) {
        if let Some(entry) = self.entries.get(number as usize) {
            prefetch(std::slice::from_ref(entry), 0);
        }
    }

    /// The version with a number that a [`Place`] told.
    pub(crate) fn version(&self, number: u64) -> Option<&Version> {
        self.entries.get(number as usize).map(|entry| &entry.version)
    }

    /// Memory taken, in bytes, with what scans have sorted; 0 where nothing was written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) + self.sorted.memory.load(Ordering::Relaxed)
    }

    /// Log that must be kept for these writes, in bytes, by estimate.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Operations applied, events included.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// The newest version of every key, in key order, but for those that a range delete covers: for a delta that no
    /// longer grows. Takes 16 bytes a key.
    pub(crate) fn to_sorted(&self) -> Vec<Place> {
        let slots = self.newest().into_iter().flat_map(|table| &table.slots);
        let slots = slots.map(|slot| slot.load(Ordering::Acquire));
        let ranges = self.ranges();
        let covered = |entry: &&Entry| !ranges.is_empty() && ranges.cover(entry.key, entry.version.offset);
        let numbered = slots.filter_map(|slot| Some(((slot & NUMBER).checked_sub(1)?, self.entry(slot)?)));
        let newest = numbered.filter(|(_, entry)| !covered(entry));
        // Not collected: that would hold it twice while it grows.
        let mut places = Vec::with_capacity(self.len());
        places.extend(newest.map(|(number, entry)| Place { key: entry.key, number }));
        places.sort_unstable_by_key(|place| place.key);
        places
    }

    /// As [`insert`](Self::insert), after a few more: the cache lines that it needs are asked for now.
    fn insert_later(&self, keys: &mut usize, ahead: &mut Ahead, key: u64, version: Version) {
        if let Some(table) = self.newest() {
            table.prefetch_filter(self.hash(key));
            table.prefetch_slot(self.hash(key));
        }
        let place = ahead.next % AHEAD;
        ahead.next += 1;
        if let Some((key, version)) = ahead.waiting[place].replace((key, version)) {
            self.insert(keys, key, version);
        }
    }

    fn insert(&self, keys: &mut usize, key: u64, version: Version) {
        let mut number = self.newest.load(Ordering::Relaxed);
        if self.tables[number].get().is_none_or(|table| *keys * 2 >= table.slots.len()) && number + 1 < TABLES
        {
            self.grow(number, *keys);
            number += 1;
        }
        let Some(table) = self.tables[number].get() else { return };
        let (at, older) = self.locate(table, key);
        *keys += usize::from(older == 0);
        let entry = self.entries.push(Entry { key, version, older }) as u64;
        table.add(self.hash(key));
        table.slots[at].store(self.fingerprint(key) | (entry + 1), Ordering::Release);
    }

    /// Fills a table of twice the size and makes it the newest.
    fn grow(&self, number: usize, keys: usize) {
        let slots = FIRST_TABLE_SLOTS << (number + 1);
        let next = self.tables[number + 1].get_or_init(|| Table::new(slots));
        let versions = self.entries.count();
        if versions > keys.saturating_mul(MANY_VERSIONS) {
            for slot in self.tables[number].get().into_iter().flat_map(|table| &table.slots) {
                let slot = slot.load(Ordering::Relaxed);
                if let Some(entry) = self.entry(slot) {
                    let (at, _) = self.locate(next, entry.key);
                    next.add(self.hash(entry.key));
                    next.slots[at].store(slot, Ordering::Relaxed);
                }
            }
        } else {
            // In the order they were written: from memory that is read ahead, to lines that are asked for ahead.
            for at in 0..versions {
                if let Some(soon) = self.entries.get(at + AHEAD) {
                    next.prefetch_slot(self.hash(soon.key));
                }
                let Some(entry) = self.entries.get(at) else { continue };
                // The newest version of a key comes last.
                let (place, _) = self.locate(next, entry.key);
                next.add(self.hash(entry.key));
                next.slots[place].store(self.fingerprint(entry.key) | (at as u64 + 1), Ordering::Relaxed);
            }
        }
        self.newest.store(number + 1, Ordering::Release);
    }

    /// Where `key` is in a table, or the free slot where it would be; and the slot's content. Tables are at most half
    /// full, so a search ends.
    fn locate(&self, table: &Table, key: u64) -> (usize, u64) {
        let fingerprint = self.fingerprint(key);
        let mask = table.slots.len() - 1;
        let mut at = table.home(self.hash(key));
        loop {
            let slot = table.slots[at].load(Ordering::Acquire);
            let same =
                slot & !NUMBER == fingerprint && self.entry(slot).is_some_and(|entry| entry.key == key);
            if slot == 0 || same {
                return (at, slot);
            }
            at = (at + 1) & mask;
        }
    }

    fn entry(&self, slot: u64) -> Option<&Entry> {
        let number = (slot & NUMBER).checked_sub(1)?;
        self.entries.get(number as usize)
    }

    /// Both halves of a product with an odd constant: every bit of the key reaches every bit of the hash.
    fn hash(&self, key: u64) -> u64 {
        let product = u128::from(key ^ self.seed) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    }

    fn fingerprint(&self, key: u64) -> u64 {
        self.hash(key) & !NUMBER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    const ALL: u64 = u64::MAX;

    #[test]
    fn the_newest_version_wins_and_events_have_no_key() {
        let delta = Delta::default();
        let mut batch = Batch::new();
        batch.put(5, b"old").append(b"event").put(5, b"new").delete(9);
        let applied = delta.apply(100, batch.into_payload()).unwrap();
        assert_eq!(applied, Applied { first_event: Some(101), operations: 4 });
        assert_eq!(
            delta.get(5, ALL),
            Some(&Version { offset: 102, value: Some(Bytes::from_static(b"new")) })
        );
        assert_eq!(delta.get(9, ALL), Some(&Version { offset: 103, value: None }));
        assert_eq!(delta.get(1, ALL), None);
        assert_eq!((delta.len(), delta.operations()), (2, 4));
        let keys: Vec<u64> = delta.to_sorted().into_iter().map(|place| place.key).collect();
        assert_eq!(keys, [5, 9]);
    }

    #[test]
    fn a_reader_sees_what_is_below_its_offset() {
        let delta = Delta::default();
        for offset in 0..10 {
            let mut batch = Batch::new();
            batch.put(7, [offset as u8]);
            delta.apply(offset, batch.into_payload()).unwrap();
        }
        assert_eq!(delta.get(7, 0), None);
        for visible in 1..=10 {
            assert_eq!(delta.get(7, visible).unwrap().offset, visible - 1);
        }
    }

    #[test]
    fn grows_past_many_tables_with_the_ends_of_the_range() {
        let delta = Delta::default();
        let keys: Vec<u64> =
            (0..50_000).map(|index: u64| index.wrapping_mul(0x1234_5678_9abc_def1)).collect();
        let mut batch = Batch::new();
        keys.iter().chain(&[u64::MAX]).for_each(|&key| {
            batch.put(key, key.to_le_bytes());
        });
        delta.apply(0, batch.into_payload()).unwrap();
        assert_eq!(delta.len(), keys.len() + 1);
        for &key in &keys {
            assert_eq!(delta.get(key, ALL).unwrap().value.as_ref().unwrap(), &key.to_le_bytes()[..]);
        }
        for absent in (1..1000).map(|index| index << 20) {
            assert_eq!(delta.get(absent, ALL).is_some(), keys.contains(&absent));
        }
        assert!(delta.get(u64::MAX, ALL).is_some());
        let sorted = delta.to_sorted();
        assert!(sorted.is_sorted_by(|a, b| a.key < b.key) && sorted.len() == keys.len() + 1);
    }

    #[test]
    fn readers_beside_the_writer_see_batches_whole() {
        let delta = Delta::default();
        let visible = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..3000_u64 {
                    let mut batch = Batch::new();
                    for key in 0..4 {
                        batch.put(key, round.to_le_bytes());
                    }
                    batch.put(1000 + round, b"grows");
                    delta.apply(round * 5, batch.into_payload()).unwrap();
                    visible.store(round * 5 + 5, Ordering::Release);
                }
            });
            scope.spawn(|| {
                while visible.load(Ordering::Acquire) < 15_000 {
                    let below = visible.load(Ordering::Acquire);
                    let seen: Vec<_> =
                        (0..4).map(|key| delta.get(key, below).map(|version| &version.value)).collect();
                    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "a batch in part: {seen:?}");
                    assert_eq!(seen[0].is_some(), below > 0);
                }
            });
        });
    }
}
