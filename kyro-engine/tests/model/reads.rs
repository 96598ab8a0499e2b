//! Every kind of read against the model.

use std::collections::{BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use kyro_engine::{Engine, Entry, ReadError, ReadOnly, Scan, ScanIter, View};

use crate::content::Content;
use crate::workload::{KEYS, Random};

/// What can be asked of an engine and of a view alike.
pub(crate) trait Reads {
    fn get(&self, key: u64) -> Result<Option<Bytes>, ReadError>;
    fn get_with(&self, key: u64) -> Result<Option<Vec<u8>>, ReadError>;
    fn get_entry(&self, key: u64) -> Result<Option<(u64, Bytes)>, ReadError>;
    fn offset(&self, key: u64) -> Result<Option<u64>, ReadError>;
    fn contains(&self, key: u64) -> Result<bool, ReadError>;
    fn mget(&self, keys: &[u64]) -> Result<Vec<Option<Bytes>>, ReadError>;
    fn mget_with(&self, keys: &[u64], visit: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), ReadError>;
    fn scan(&self, scan: Scan) -> Result<ScanIter, ReadError>;
    fn count(&self, range: (Bound<u64>, Bound<u64>)) -> Result<u64, ReadError>;
    fn select(&self, rank: u64) -> Result<Option<Entry>, ReadError>;
}

macro_rules! reads {
    ($type:ty, $self:ident, $scan:expr) => {
        impl Reads for $type {
            fn get(&self, key: u64) -> Result<Option<Bytes>, ReadError> {
                <$type>::get(self, key)
            }
            fn get_with(&self, key: u64) -> Result<Option<Vec<u8>>, ReadError> {
                <$type>::get_with(self, key, <[u8]>::to_vec)
            }
            fn get_entry(&self, key: u64) -> Result<Option<(u64, Bytes)>, ReadError> {
                <$type>::get_entry(self, key)
            }
            fn offset(&self, key: u64) -> Result<Option<u64>, ReadError> {
                <$type>::offset(self, key)
            }
            fn contains(&self, key: u64) -> Result<bool, ReadError> {
                <$type>::contains(self, key)
            }
            fn mget(&self, keys: &[u64]) -> Result<Vec<Option<Bytes>>, ReadError> {
                <$type>::mget(self, keys)
            }
            fn mget_with(
                &self,
                keys: &[u64],
                visit: &mut dyn FnMut(usize, Option<&[u8]>),
            ) -> Result<(), ReadError> {
                <$type>::mget_with(self, keys, visit)
            }
            fn scan(&$self, scan: Scan) -> Result<ScanIter, ReadError> {
                $scan(scan)
            }
            fn count(&self, range: (Bound<u64>, Bound<u64>)) -> Result<u64, ReadError> {
                <$type>::count(self, range)
            }
            fn select(&self, rank: u64) -> Result<Option<Entry>, ReadError> {
                <$type>::select(self, rank)
            }
        }
    };
}

reads!(Engine, self, |scan| Engine::scan(self, scan));
reads!(View, self, |scan| Ok(View::scan(self, scan)));

/// What a key reads as, and that all ways of reading it agree.
fn check_key(reads: &dyn Reads, content: &Content, key: u64) {
    let expected = content.get(&key);
    let value = expected.map(|(_, value)| value.clone());
    assert_eq!(reads.get(key).expect("reads").map(|value| value.to_vec()), value, "get of {key}");
    assert_eq!(reads.get_with(key).expect("reads"), value, "get_with of {key}");
    let entry = reads.get_entry(key).expect("reads").map(|(offset, value)| (offset, value.to_vec()));
    assert_eq!(entry.as_ref(), expected, "entry of {key}");
    let offset = expected.map(|(offset, _)| *offset);
    assert_eq!(reads.offset(key).expect("reads"), offset, "offset of {key}");
    assert_eq!(reads.contains(key).expect("reads"), expected.is_some(), "contains {key}");
}

/// Everything there is: in order both ways, counted, key by key and all at once.
pub(crate) fn check_whole(reads: &dyn Reads, content: &Content) {
    let expected: Vec<_> =
        content.iter().map(|(key, (offset, value))| (*key, *offset, value.clone())).collect();
    let all = |scan| {
        let entries = reads.scan(scan).expect("a scan").map(|entry| entry.expect("an entry reads"));
        entries.map(|entry| (entry.key, entry.offset, entry.value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(all(Scan::all()), expected, "scan");
    let mut backward = all(Scan::all().reverse());
    backward.reverse();
    assert_eq!(backward, expected, "scan backwards");
    let everything = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(reads.count(everything).expect("counts"), expected.len() as u64, "count");
    for key in KEYS {
        check_key(reads, content, key);
    }
    let values: Vec<_> = KEYS.iter().map(|key| content.get(key).map(|(_, value)| value.clone())).collect();
    let found = reads.mget(&KEYS).expect("keys read");
    assert_eq!(found.into_iter().map(|value| value.map(|value| value.to_vec())).collect::<Vec<_>>(), values);
}

/// A key that is there or near one that is.
fn some_key(random: &mut Random) -> u64 {
    let key = KEYS[random.below(KEYS.len() as u64) as usize];
    match random.below(4) {
        0 => key.wrapping_add(1),
        1 => key.wrapping_sub(1),
        _ => key,
    }
}

fn some_bound(random: &mut Random) -> Bound<u64> {
    match random.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(some_key(random)),
        _ => Bound::Excluded(some_key(random)),
    }
}

/// The keys of a range, also of one that is the wrong way round.
fn in_range(content: &Content, range: (Bound<u64>, Bound<u64>)) -> Vec<(u64, u64, Vec<u8>)> {
    use std::ops::RangeBounds;
    let inside = content.iter().filter(|(key, _)| range.contains(key));
    inside.map(|(key, (offset, value))| (*key, *offset, value.clone())).collect()
}

/// A scan with random bounds, direction and limit, and what it must give.
pub(crate) fn some_scan(content: &Content, random: &mut Random) -> (Scan, VecDeque<(u64, u64, Vec<u8>)>) {
    let range = (some_bound(random), some_bound(random));
    let mut expected = in_range(content, range);
    let mut scan = Scan::range(range);
    if random.below(2) == 0 {
        scan = scan.reverse();
        expected.reverse();
    }
    if random.below(2) == 0 {
        let limit = random.below(6);
        scan = scan.limit(limit);
        expected.truncate(limit as usize);
    }
    if random.below(3) == 0 {
        scan = scan.keys_only();
        for (_, _, value) in &mut expected {
            value.clear();
        }
    }
    (scan, expected.into())
}

/// A few random reads with bounds, limits, ranks, and batches of keys with some twice and some absent.
pub(crate) fn probe(reads: &dyn Reads, content: &Content, random: &mut Random) {
    for _ in 0..3 {
        let (scan, mut expected) = some_scan(content, random);
        let mut entries = reads.scan(scan).expect("a scan");
        // By all three ways of going on.
        for _ in 0..random.below(3) {
            let found = entries.next().map(|entry| entry.expect("an entry reads"));
            let found = found.map(|entry| (entry.key, entry.offset, entry.value.to_vec()));
            assert_eq!(found, expected.pop_front(), "{scan:?}");
        }
        for _ in 0..random.below(3) {
            let found = entries.next_ref().map(|entry| entry.expect("an entry reads"));
            let found = found.map(|entry| (entry.key, entry.offset, entry.value.to_vec()));
            assert_eq!(found, expected.pop_front(), "{scan:?}");
        }
        let stop_after = random.below(8);
        let mut seen = 0;
        let visited = entries.visit(|entry| {
            let found = Some((entry.key, entry.offset, entry.value.to_vec()));
            assert_eq!(found, expected.pop_front(), "{scan:?}");
            seen += 1;
            if seen == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        visited.expect("entries read");
        let rest: VecDeque<_> = entries
            .map(|entry| entry.expect("an entry reads"))
            .map(|entry| (entry.key, entry.offset, entry.value.to_vec()))
            .collect();
        assert_eq!(rest, expected, "the rest of {scan:?}");

        let range = (some_bound(random), some_bound(random));
        let counted = reads.count(range).expect("counts");
        assert_eq!(counted, in_range(content, range).len() as u64, "count of {range:?}");

        let rank = random.below(content.len() as u64 + 2);
        let selected =
            reads.select(rank).expect("selects").map(|entry| (entry.key, entry.offset, entry.value.to_vec()));
        let expected = content.iter().nth(rank as usize);
        let expected = expected.map(|(key, (offset, value))| (*key, *offset, value.clone()));
        assert_eq!(selected, expected, "select of {rank}");
        check_key(reads, content, some_key(random));
    }
    let keys: Vec<u64> = (0..random.below(300)).map(|_| some_key(random)).collect();
    let mut visited = BTreeSet::new();
    let visit = &mut |index: usize, value: Option<&[u8]>| {
        let expected = content.get(&keys[index]).map(|(_, value)| &**value);
        assert_eq!(value, expected, "mget of {}", keys[index]);
        assert!(visited.insert(index), "visited twice");
    };
    reads.mget_with(&keys, visit).expect("keys read");
    assert_eq!(visited.len(), keys.len(), "every key is answered");
}

/// A reader without a lock sees exactly the state of its last refresh.
pub(crate) fn check_reader(reader: &ReadOnly, content: &Content) {
    check_whole(&reader.view(), content);
    for key in KEYS {
        let expected = content.get(&key).map(|(_, value)| &**value);
        assert_eq!(reader.get(key).expect("reads").as_deref(), expected, "key {key} of a reader");
        assert_eq!(reader.contains(key).expect("reads"), expected.is_some());
    }
}
