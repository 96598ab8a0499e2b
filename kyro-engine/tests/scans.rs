//! Ordered reads, batched reads, counts and ranks: each against a map, over random states of deltas and runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::sync::Arc;

use kyro_engine::storage::SimDisk;
use kyro_engine::{Batch, Engine, Options, ReadError, Scan, View};
use proptest::prelude::*;

type Map = BTreeMap<u64, (u64, Vec<u8>)>;
type Row = (u64, u64, Vec<u8>);

fn open() -> Engine {
    let mut options = Options::default();
    options.max_runs = 20;
    Engine::open_on(Arc::new(SimDisk::new()), "/db", options).unwrap()
}

fn rows(view: &View, scan: Scan) -> Vec<Row> {
    let entries = view.scan(scan).map(|entry| entry.unwrap());
    entries.map(|entry| (entry.key, entry.offset, entry.value.to_vec())).collect()
}

/// The same by the two borrowing ways: `next_ref` for the first `by_hand`, then a visitor that stops twice.
fn rows_borrowed(view: &View, scan: Scan, by_hand: usize) -> Vec<Row> {
    let mut iter = view.scan(scan);
    let mut rows = Vec::new();
    while rows.len() < by_hand {
        let Some(entry) = iter.next_ref() else { break };
        let entry = entry.unwrap();
        rows.push((entry.key, entry.offset, entry.value.to_vec()));
    }
    for stop_after in [3, 7, usize::MAX] {
        let mut left = stop_after;
        iter.visit(|entry| {
            rows.push((entry.key, entry.offset, entry.value.to_vec()));
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    }
    assert!(iter.next().is_none() && iter.next_ref().is_none(), "a scan that has ended stays ended");
    rows
}

fn expected(map: &Map, range: (Bound<u64>, Bound<u64>), reverse: bool, limit: u64) -> Vec<Row> {
    let in_range = |key: &u64| {
        let above = match range.0 {
            Bound::Included(first) => *key >= first,
            Bound::Excluded(before) => *key > before,
            Bound::Unbounded => true,
        };
        let below = match range.1 {
            Bound::Included(last) => *key <= last,
            Bound::Excluded(after) => *key < after,
            Bound::Unbounded => true,
        };
        above && below
    };
    let all = map.iter().filter(|(key, _)| in_range(key));
    let mut all: Vec<Row> = all.map(|(key, (offset, value))| (*key, *offset, value.clone())).collect();
    if reverse {
        all.reverse();
    }
    all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    all
}

#[derive(Debug, Clone)]
enum Step {
    Put(u64, u8),
    Delete(u64),
    DeleteRange(u64, u64),
    Flush,
    Compact,
    /// A scan in between, so that later ones meet sorted segments of several ages.
    Scan,
    Hold,
}

fn key() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..24_u64, 1 => u64::MAX - 3..=u64::MAX, 1 => 1_000_000..1_000_040_u64]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        10 => key().prop_map(Step::Delete),
        3 => (key(), 0..9_u64).prop_map(|(key, more)| Step::DeleteRange(key, key.saturating_add(more))),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        3 => Just(Step::Scan),
        2 => Just(Step::Hold),
    ]
}

fn bound() -> impl Strategy<Value = Bound<u64>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

#[derive(Debug, Clone)]
struct Query {
    range: (Bound<u64>, Bound<u64>),
    reverse: bool,
    limit: u64,
    by_hand: usize,
}

fn query() -> impl Strategy<Value = Query> {
    let limit = prop_oneof![2 => Just(u64::MAX), 1 => 0..12_u64];
    (bound(), bound(), any::<bool>(), limit, 0..6_usize)
        .prop_map(|(from, to, reverse, limit, by_hand)| Query { range: (from, to), reverse, limit, by_hand })
}

fn check(view: &View, map: &Map, queries: &[Query]) {
    for Query { range, reverse, limit, by_hand } in queries.iter().cloned() {
        let mut scan = Scan::range(range).limit(limit);
        if reverse {
            scan = scan.reverse();
        }
        let expected_rows = expected(map, range, reverse, limit);
        assert_eq!(rows(view, scan), expected_rows, "{scan:?}");
        assert_eq!(rows_borrowed(view, scan, by_hand), expected_rows, "{scan:?} borrowed");
        let keys: Vec<Row> =
            expected_rows.iter().map(|(key, offset, _)| (*key, *offset, Vec::new())).collect();
        assert_eq!(rows(view, scan.keys_only()), keys, "{scan:?} keys only");
        assert_eq!(rows_borrowed(view, scan.keys_only(), by_hand), keys, "{scan:?} keys only, borrowed");
        let in_range = expected(map, range, false, u64::MAX).len() as u64;
        assert_eq!(view.count(range).unwrap(), in_range, "count of {range:?}");
    }
    for rank in 0..=map.len() {
        let selected = view.select(rank as u64).unwrap();
        let selected = selected.map(|entry| (entry.key, entry.offset, entry.value.to_vec()));
        let expected = map.iter().nth(rank).map(|(key, (offset, value))| (*key, *offset, value.clone()));
        assert_eq!(selected, expected, "rank {rank}");
    }
    let wanted: Vec<u64> =
        (0..300).map(|index| if index % 3 == 0 { index } else { index * 97 % 30 }).collect();
    let expected: Vec<_> = wanted.iter().map(|key| map.get(key).map(|(_, value)| value.clone())).collect();
    let got = view.mget(&wanted).unwrap();
    assert_eq!(
        got.iter().map(|value| value.as_ref().map(|value| value.to_vec())).collect::<Vec<_>>(),
        expected
    );
    let mut visited = Vec::new();
    view.mget_with(&wanted, |index, value| {
        assert_eq!(index, visited.len());
        visited.push(value.map(<[u8]>::to_vec));
    })
    .unwrap();
    assert_eq!(visited, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_view_reads_as_the_map_of_its_moment(
        steps in proptest::collection::vec(step(), 1..120),
        queries in proptest::collection::vec(query(), 1..8),
    ) {
        let engine = open();
        let mut map = Map::new();
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    let value = vec![value; usize::from(value) % 5];
                    map.insert(key, (engine.put(key, &value).unwrap(), value));
                }
                Step::Delete(key) => {
                    engine.delete(key).unwrap();
                    map.remove(&key);
                }
                Step::DeleteRange(from, to) => {
                    engine.delete_range(from..=to).unwrap();
                    map.retain(|key, _| *key < from || to < *key);
                }
                Step::Flush => drop(engine.flush().unwrap()),
                Step::Compact => drop(engine.compact().unwrap()),
                Step::Scan => assert_eq!(engine.scan(Scan::all()).unwrap().count(), map.len()),
                Step::Hold => held.push((engine.view().unwrap(), map.clone())),
            }
        }
        held.push((engine.view().unwrap(), map));
        for (view, map) in &held {
            check(view, map, &queries);
        }
    }
}

/// `count` keys in one run, and those divisible by `again` written again after it.
fn filled(count: u64, again: u64) -> Engine {
    let engine = open();
    let mut batch = Batch::new();
    (0..count).for_each(|key| {
        batch.put(key * 3, key.to_le_bytes());
    });
    engine.write(batch).unwrap().wait().unwrap();
    engine.flush().unwrap();
    let mut batch = Batch::new();
    (0..count).filter(|key| key.is_multiple_of(again)).for_each(|key| {
        batch.put(key * 3, b"again");
    });
    engine.write(batch).unwrap().wait().unwrap();
    engine
}

#[test]
fn a_long_scan_sees_every_key_once_while_others_write_flush_and_compact() {
    let engine = filled(20_000, 7);
    std::thread::scope(|scope| {
        let mut scan = engine.scan(Scan::all()).unwrap();
        let writer = scope.spawn(|| {
            for round in 0..300_u64 {
                engine.put(round * 60 + 1, b"new").unwrap();
                engine.put(round * 60, b"changed").unwrap();
                if round % 100 == 50 {
                    engine.flush().unwrap();
                }
            }
            engine.compact().unwrap();
        });
        for key in 0..20_000_u64 {
            let entry = scan.next().unwrap().unwrap();
            assert_eq!(entry.key, key * 3);
            let expected = if key.is_multiple_of(7) { b"again".to_vec() } else { key.to_le_bytes().to_vec() };
            assert_eq!(entry.value, expected, "key {key}");
            if key == 300 {
                std::thread::yield_now();
            }
        }
        assert!(scan.next().is_none());
        writer.join().unwrap();
    });
    assert_eq!(engine.count(..).unwrap(), 20_300);
}

#[test]
fn a_key_with_very_many_versions_costs_a_search_not_a_walk() {
    let engine = open();
    let before = engine.view().unwrap();
    for key in [4, 6] {
        engine.put(key, b"beside").unwrap();
    }
    let one = engine.view().unwrap();
    for round in 0..50_u64 {
        let mut batch = Batch::new();
        (0..1000_u64).for_each(|at| {
            batch.put(5, (round * 1000 + at).to_le_bytes());
        });
        engine.write(batch).unwrap().wait().unwrap();
    }
    let all = engine.view().unwrap();
    let keys = |view: &View, scan: Scan| rows(view, scan).iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(keys(&all, Scan::all()), [4, 5, 6]);
    assert_eq!(keys(&all, Scan::all().reverse()), [6, 5, 4]);
    assert_eq!(rows(&all, Scan::all())[1].2, 49_999_u64.to_le_bytes());
    assert_eq!(keys(&one, Scan::all()), [4, 6], "versions newer than the view");
    assert_eq!(keys(&one, Scan::all().reverse()), [6, 4]);
    assert_eq!(keys(&before, Scan::all()), [] as [u64; 0]);
}

/// A database of one run that holds these, after something was done to the bytes of its file; and that file.
fn damaged(batch: Batch, damage: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Options::default()).unwrap();
    engine.write(batch).unwrap().wait().unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();
    drop(engine);
    let runs = std::fs::read_dir(dir.path().join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let run = runs.filter(|path| path.extension().unwrap() == "run").last().unwrap();
    let mut bytes = std::fs::read(&run).unwrap();
    damage(&mut bytes);
    std::fs::write(&run, &bytes).unwrap();
    (dir, run)
}

#[test]
fn damage_ends_a_scan_at_its_place_and_keys_alone_do_not_read_values() {
    let mut batch = Batch::new();
    (0..2000_u64).for_each(|key| {
        batch.put(key, [key as u8; 100]);
    });
    // Values come first in the file.
    let (dir, run) = damaged(batch, |bytes| bytes[100_000] ^= 1);

    let engine = Engine::open(dir.path(), Options::default()).unwrap();
    let mut scan = engine.scan(Scan::all()).unwrap();
    let mut given = 0;
    let error = loop {
        match scan.next().expect("an error before the end") {
            Ok(entry) => {
                assert_eq!(entry.value, [entry.key as u8; 100][..]);
                given += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(given > 500 && given < 1000, "{given} entries before the damage");
    assert!(matches!(error, ReadError::Corrupt { file, .. } if file == run));
    assert!(scan.next().is_none(), "nothing follows an error");
    assert_eq!(engine.scan(Scan::all().keys_only()).unwrap().flatten().count(), 2000);
    assert_eq!(engine.scan(Scan::range(1500..).limit(9)).unwrap().flatten().count(), 9);
    assert_eq!(engine.scan(Scan::all().reverse()).unwrap().flatten().count(), 2000 - given - 164);
    assert!(engine.stats().corrupt_reads >= 2);
    assert!(engine.mget(&[1, 1000, 1999]).is_err());
    assert!(engine.mget(&[1, 1999]).is_ok());
}

/// Many keys at once are looked for before their blocks have been verified: none of it may show.
#[test]
fn keys_in_a_damaged_block_are_errors_one_by_one_and_together() {
    let mut batch = Batch::new();
    (0..10_000_u64).for_each(|key| {
        batch.put(key * 2, key.to_le_bytes());
    });
    // 4 KiB of header, 80 KB of values, then the keys: a key that is none of those asked for, and larger than its
    // neighbour.
    let (dir, _) = damaged(batch, |bytes| {
        let damaged = 4096 + 10_000 * 8 + 5000 * 8;
        assert_eq!(bytes[damaged..damaged + 8], 10_000_u64.to_le_bytes());
        bytes[damaged..damaged + 8].copy_from_slice(&10_005_u64.to_le_bytes());
    });

    let open = || Engine::open(dir.path(), Options::default()).unwrap();
    let corrupt = |error: ReadError| assert!(matches!(error, ReadError::Corrupt { .. }), "{error:?}");
    let wanted: Vec<u64> = (0..20_002).collect();
    let engine = open();
    let alone: Vec<Result<_, ()>> = wanted.iter().map(|&key| engine.get(key).map_err(corrupt)).collect();
    drop(engine);
    let engine = open();
    let mut wrong = 0;
    for (keys, alone) in wanted.chunks(3).zip(alone.chunks(3)) {
        match engine.mget(keys) {
            Ok(together) => {
                for ((key, alone), found) in keys.iter().zip(alone).zip(together) {
                    let right = (key % 2 == 0 && *key < 20_000).then(|| (key / 2).to_le_bytes());
                    let right = right.as_ref().map(|value| &value[..]);
                    assert_eq!(alone.as_ref().unwrap().as_deref(), right, "key {key}");
                    assert_eq!(found.as_deref(), right, "key {key} among others");
                }
            }
            Err(error) => {
                corrupt(error);
                assert!(alone.iter().any(Result::is_err), "keys {keys:?}");
                wrong += 1;
            }
        }
    }
    // A block holds 2,048 keys; windows reach a little into it from both sides.
    assert!((1_300..1_500).contains(&wrong), "{wrong} chunks of three keys");
}

#[test]
fn answers_come_from_where_they_should() {
    let engine = filled(5000, 10);
    let before = engine.stats();
    let wanted: Vec<u64> = (0..2000).collect();
    let found = engine.mget(&wanted).unwrap();
    let after = engine.stats();
    let hits = found.iter().filter(|value| value.is_some()).count() as u64;
    assert_eq!(hits, 2000_u64.div_ceil(3));
    let from_delta = 2000_u64.div_ceil(30);
    assert_eq!(after.delta_reads - before.delta_reads, from_delta);
    assert_eq!(after.index_hits - before.index_hits, hits - from_delta);
    assert_eq!(after.index_misses - before.index_misses, 2000 - hits);
    assert_eq!(after.mispredicts, 0);
}

#[test]
fn counts_and_ranks_step_over_what_lies_between_recent_writes() {
    let engine = filled(20_000, u64::MAX);
    let mut keys: std::collections::BTreeSet<u64> = (0..20_000).map(|key| key * 3).collect();
    engine.compact().unwrap();
    // New keys, keys written again, keys deleted, and ranges; sparse and dense, at both ends.
    for key in
        [0, 1, 2, 4, 5, 29_999, 30_000, 30_001, 59_997, 59_998, u64::MAX].into_iter().chain(9_000..9_040)
    {
        engine.put(key, b"new").unwrap();
        keys.insert(key);
    }
    for key in [3, 45_000, 45_003] {
        engine.delete(key).unwrap();
        keys.remove(&key);
    }
    let check = |keys: &std::collections::BTreeSet<u64>| {
        let view = engine.view().unwrap();
        assert_eq!(view.count(..).unwrap(), keys.len() as u64);
        let ends = [0, 1, 3, 8_999, 9_001, 9_040, 29_998, 30_000, 40_000, 45_001, 59_997, 60_000, u64::MAX];
        for from in ends {
            for to in ends.into_iter().filter(|to| from <= *to) {
                assert_eq!(
                    view.count(from..=to).unwrap(),
                    keys.range(from..=to).count() as u64,
                    "{from}..={to}"
                );
            }
        }
        let ordered: Vec<u64> = keys.iter().copied().collect();
        for rank in (0..ordered.len() + 2).step_by(97).chain([ordered.len() - 1, ordered.len()]) {
            let key = view.select(rank as u64).unwrap().map(|entry| entry.key);
            assert_eq!(key, ordered.get(rank).copied(), "rank {rank}");
        }
    };
    check(&keys);
    for range in [10_000..=10_500, 10_400..=12_000, 59_000..=59_996] {
        engine.delete_range(range.clone()).unwrap();
        keys.retain(|key| !range.contains(key));
    }
    engine.put(11_000, b"in a deleted range").unwrap();
    keys.insert(11_000);
    check(&keys);
    engine.flush().unwrap();
    check(&keys);
    engine.compact().unwrap();
    check(&keys);
}
