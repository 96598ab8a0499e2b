//! Range deletes: one operation each, heeded by every read, kept through flush and reopening, gone after compaction.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use kyro_engine::{Batch, Durability, Engine, EventOp, Options, Scan, WriteError, verify};

fn open(dir: &Path) -> Engine {
    let mut options = Options::default();
    options.durability = Durability::Never;
    options.auto_flush = false;
    options.max_runs = 20;
    Engine::open(dir, options).unwrap()
}

fn put(engine: &Engine, keys: RangeInclusive<u64>) {
    let mut batch = Batch::new();
    for key in keys {
        batch.put(key, key.to_le_bytes());
    }
    engine.write(batch).unwrap().wait().unwrap();
}

/// The live keys, which every way of reading must agree on.
fn live(engine: &Engine) -> Vec<u64> {
    let view = engine.view().unwrap();
    let keys: Vec<u64> = view.scan(Scan::all()).map(|entry| entry.unwrap().key).collect();
    for key in 0..200 {
        assert_eq!(engine.contains(key).unwrap(), keys.contains(&key), "key {key}");
    }
    assert_eq!(engine.count(..).unwrap(), keys.len() as u64);
    let all: Vec<u64> = (0..200).collect();
    let got = engine.mget(&all).unwrap();
    assert!(all.iter().zip(got).all(|(key, value)| value.is_some() == keys.contains(key)));
    keys
}

fn manifest(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("MANIFEST")).unwrap()
}

#[test]
fn a_range_is_gone_through_flush_reopening_and_compaction_and_later_puts_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = open(dir.path());
    put(&engine, 0..=99);
    engine.flush().unwrap();
    put(&engine, 50..=149);
    let before = engine.view().unwrap();
    let offset = engine.delete_range(20..=129).unwrap();
    assert_eq!(engine.next_offset(), offset + 1, "one operation, one offset");
    put(&engine, 60..=61);
    let expected: Vec<u64> = (0..20).chain(60..=61).chain(130..150).collect();

    assert_eq!(live(&engine), expected, "in the delta");
    assert_eq!(engine.stats().range_tombstones, 1);
    let event = engine.replay(offset, Some(offset + 1)).unwrap().next().unwrap().unwrap();
    assert_eq!(event.op, EventOp::DeleteRange { from: 20, to: 129 });

    engine.close().unwrap();
    drop(engine);
    engine = open(dir.path());
    assert_eq!(live(&engine), expected, "after a replay of the log");
    assert!(manifest(dir.path()).starts_with(r#"{"kyrodb_manifest":1,"#));

    let report = engine.flush().unwrap();
    assert_eq!(report.entries, 22, "the flush leaves out what is covered");
    assert_eq!(live(&engine), expected, "in the manifest");
    assert!(manifest(dir.path()).starts_with(r#"{"kyrodb_manifest":2,"#), "an older build must refuse it");
    let stats = engine.stats();
    assert_eq!((stats.range_tombstones, stats.runs.len()), (1, 2));

    engine.close().unwrap();
    drop(engine);
    assert!(verify(dir.path(), None).unwrap().damage.is_empty());
    engine = open(dir.path());
    assert_eq!(live(&engine), expected, "from the manifest");
    assert_eq!(engine.build_index().unwrap().keys, expected.len() as u64);

    let report = engine.compact().unwrap();
    assert_eq!(report.keys_retained, expected.len() as u64);
    assert_eq!(live(&engine), expected, "compacted");
    let stats = engine.stats();
    assert_eq!((stats.range_tombstones, stats.runs.len(), stats.runs[0].entries), (0, 1, 42));
    assert!(manifest(dir.path()).starts_with(r#"{"kyrodb_manifest":1,"#), "and a manifest like before");

    let seen: Vec<u64> = before.scan(Scan::all()).map(|entry| entry.unwrap().key).collect();
    assert_eq!(seen, (0..150).collect::<Vec<u64>>(), "a view from before sees what it saw");
    assert_eq!(before.count(20..=129).unwrap(), 110);
    assert!(before.contains(100).unwrap() && before.mget(&[100]).unwrap()[0].is_some());
}

#[test]
fn a_range_over_one_run_alone_is_compacted_away_too() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 0..=99);
    engine.flush().unwrap();
    engine.delete_range(0..=u64::MAX).unwrap();
    assert_eq!(live(&engine), [] as [u64; 0]);
    assert_eq!(engine.compact().unwrap().keys_retained, 0);
    let stats = engine.stats();
    assert_eq!((stats.runs.len(), stats.range_tombstones), (0, 0));
    engine.delete_range(0..=u64::MAX).unwrap();
    engine.flush().unwrap();
    assert_eq!(engine.stats().range_tombstones, 0, "nothing older, nothing to cover");
}

#[test]
fn within_a_batch_order_decides_and_an_empty_range_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut batch = Batch::new();
    let nothing = RangeInclusive::new(9, 3);
    batch.put(1, "a").put(2, "b").delete_range(0..=10).put(2, "again").put(5, "c").delete_range(nothing);
    let committed = engine.write(batch).unwrap().wait().unwrap();
    assert_eq!(committed.last_offset - committed.first_offset, 5);
    assert_eq!(live(&engine), [2, 5]);
    engine.flush().unwrap();
    assert_eq!(live(&engine), [2, 5]);
}

#[test]
fn merges_of_some_runs_keep_the_tombstone_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.durability = Durability::Never;
    options.max_runs = 3;
    let engine = Engine::open(dir.path(), options).unwrap();
    put(&engine, 0..=199);
    let mut batch = Batch::new();
    batch.put(1000, vec![7; 200_000]);
    engine.write(batch).unwrap().wait().unwrap();
    engine.flush().unwrap();
    engine.delete_range(0..=150).unwrap();
    for round in 0..8 {
        put(&engine, 160 + round..=161 + round);
        put(&engine, round..=round);
        engine.flush().unwrap();
        let expected: Vec<u64> = (0..=round).chain(151..200).chain([1000]).collect();
        assert_eq!(live(&engine), expected, "round {round}: {:?}", engine.stats().runs.len());
    }
    // The merges of small runs are what this tests; a thread of the engine makes them.
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine.stats().compactions == 0 || engine.stats().runs.len() > 3 {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(live(&engine), (0..=7).chain(151..200).chain([1000]).collect::<Vec<u64>>());
    assert_eq!(engine.stats().range_tombstones, 1, "the large run still holds what is covered");
}

#[test]
fn too_many_are_refused_with_the_reason_until_a_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 0..=199);
    engine.flush().unwrap();
    let ranges = |count: u64| {
        let mut batch = Batch::new();
        (0..count).for_each(|at| {
            batch.delete_range(at % 300..=at % 300 + at % 7);
        });
        engine.write(batch).and_then(kyro_engine::Commit::wait)
    };
    assert!(matches!(ranges(4097), Err(WriteError::TooManyOperations { limit: 4096, .. })));
    ranges(4000).unwrap();
    match ranges(97) {
        Err(WriteError::Busy { reason }) => assert!(reason.contains("compaction"), "{reason}"),
        other => panic!("{other:?}"),
    }
    put(&engine, 500..=501);
    assert_eq!(live(&engine), [500, 501]);
    engine.flush().unwrap();
    assert!(matches!(ranges(97), Err(WriteError::Busy { .. })), "in the manifest they count too");
    engine.compact().unwrap();
    ranges(4096).unwrap();
    assert_eq!(live(&engine), [500, 501]);
    assert_eq!(engine.stats().stalls.iter().find(|stall| stall.reason == "ranges").unwrap().count, 2);
}

#[test]
fn many_ranges_are_flushed_and_merged_away_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.durability = Durability::Never;
    let engine = Engine::open(dir.path(), options).unwrap();
    put(&engine, 0..=199);
    engine.flush().unwrap();
    for at in 0..1100_u64 {
        engine.delete_range(at % 100..=at % 100).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine.stats().range_tombstones >= 1024 {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        // Each counts until then: not so many that they are refused.
        engine.delete_range(5..=5).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(live(&engine), (100..200).collect::<Vec<u64>>());
}
