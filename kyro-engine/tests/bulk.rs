//! Bulk builds: any order gives what putting each record in turn would, and a build that ends early gives nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use kyro_engine::storage::sim::{Fault, FaultKind};
use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{BulkBuild, BulkError, BulkOptions, Duplicates, Engine, Options};

fn options() -> BulkOptions {
    let mut options = BulkOptions::default();
    options.engine = small();
    options
}

fn small() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options
}

fn begin(storage: impl Storage, options: BulkOptions) -> Result<BulkBuild, BulkError> {
    BulkBuild::create_on(Arc::new(storage), "/db", options)
}

fn open(storage: impl Storage) -> Engine {
    Engine::open_on(Arc::new(storage), "/db", small()).unwrap()
}

fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Builds from records and compares with a map, here and after writing on and a power cut.
fn check(records: &[(u64, Vec<u8>)], options: BulkOptions, spilled: bool) {
    let disk = SimDisk::new();
    let mut build = begin(disk.clone(), options).unwrap();
    let mut model = BTreeMap::new();
    for (offset, (key, value)) in records.iter().enumerate() {
        build.push(*key, value).unwrap();
        model.insert(*key, (offset as u64, value.clone()));
    }
    let report = build.finish().unwrap();
    assert_eq!((report.records, report.keys), (records.len() as u64, model.len() as u64));
    assert_eq!(report.spills > 0, spilled, "{} parts", report.spills);
    let is_there = |engine: &Engine| {
        for (key, (offset, value)) in &model {
            let (found, bytes) = engine.get_entry(*key).unwrap().unwrap();
            assert_eq!((found, &*bytes), (*offset, &**value), "key {key}");
            assert_eq!(engine.contains(key ^ 1).unwrap(), model.contains_key(&(key ^ 1)));
        }
        assert_eq!(engine.stats().mispredicts, 0);
    };
    let after_cut = disk.crash(0);
    assert!(after_cut.contents().keys().all(|path| !path.to_string_lossy().ends_with(".tmp")));
    let engine = open(after_cut.clone());
    is_there(&engine);
    assert_eq!(engine.next_offset(), records.len() as u64);
    assert_eq!(engine.put(77, "later").unwrap(), records.len() as u64, "offsets go on");
    engine.flush().unwrap();
    drop(engine);
    assert_eq!(open(after_cut.crash(0)).get(77).unwrap().as_deref(), Some(&b"later"[..]));
}

#[test]
fn sorted_records_stream_into_the_run() {
    let records: Vec<_> = (0..5000_u64).map(|key| (key * 3, key.to_le_bytes().to_vec())).collect();
    check(&records, options(), false);
    check(&[], options(), false);
    check(&[(u64::MAX, Vec::new())], options(), false);
}

#[test]
fn unsorted_records_are_sorted_in_memory_and_beyond_it() {
    let records: Vec<_> = (0..20_000_u64)
        .map(|number| (mixed(number % 15_000), vec![number as u8; number as usize % 40]))
        .collect();
    // The first few are in order: what was streamed is a part of its own.
    check(&records, options(), true);
    let mut tight = options();
    tight.memory_bytes = 60_000;
    check(&records, tight, true);
    let mut backwards: Vec<_> = (0..3000_u64).map(|key| (key, vec![1])).collect();
    backwards.reverse();
    check(&backwards, options(), false);
}

#[test]
fn a_key_that_comes_twice_is_refused_where_that_is_asked_for() {
    let refuse = |memory_bytes, keys: &[u64]| {
        let mut options = options();
        options.duplicates = Duplicates::Refuse;
        options.memory_bytes = memory_bytes;
        let disk = SimDisk::new();
        let mut build = begin(disk.clone(), options).unwrap();
        let pushed = keys.iter().try_for_each(|&key| build.push(key, b"value"));
        let error = pushed.and_then(|()| build.finish().map(|_| ())).unwrap_err();
        assert!(matches!(error, BulkError::Duplicate { key: 5 }), "{error}");
        assert_eq!(open(disk).stats().keys_at_most, 0, "nothing of it is there");
    };
    refuse(1 << 20, &[1, 5, 5]);
    refuse(1 << 20, &[9, 5, 1, 5]);
    refuse(1, &[9, 5, 1, 5]);
    refuse(1 << 20, &[5, 9, 5]);
}

#[test]
fn a_directory_with_a_database_is_refused_and_one_in_use_too() {
    let disk = SimDisk::new();
    let engine = open(disk.clone());
    assert!(matches!(begin(disk.clone(), options()), Err(BulkError::Open(_))), "it is locked");
    engine.put(1, "one").unwrap();
    engine.close().unwrap();
    drop(engine);
    assert!(matches!(begin(disk.clone(), options()), Err(BulkError::NotEmpty { .. })));
    assert_eq!(open(disk).get(1).unwrap().as_deref(), Some(&b"one"[..]));
}

#[test]
fn cut_or_failed_at_any_operation_it_is_there_whole_or_not_at_all() {
    let build = |disk: &SimDisk| -> Result<(), BulkError> {
        let mut tight = options();
        tight.memory_bytes = 2000;
        let mut build = begin(disk.clone(), tight)?;
        for number in 0..120_u64 {
            build.push(mixed(number), &number.to_le_bytes())?;
        }
        build.finish().map(|_| ())
    };
    let whole_or_nothing = |disk: &SimDisk, context: &str| {
        let engine = Engine::open_on(Arc::new(disk.clone()), "/db", small());
        let engine = engine.unwrap_or_else(|error| panic!("{context}: {error}"));
        let keys = (0..120_u64).filter(|number| engine.contains(mixed(*number)).unwrap()).count();
        assert!(keys == 0 || keys == 120, "{context}: {keys} keys");
        engine.put(1, "one").unwrap();
        keys
    };
    let disk = SimDisk::new();
    disk.record_history();
    build(&disk).unwrap();
    let mut seen = [0, 0];
    for moment in disk.take_history() {
        for seed in [0, 1, 2 + moment.operation] {
            let context = format!("cut before operation {}, seed {seed}", moment.operation);
            seen[whole_or_nothing(&moment.disk.crash(seed), &context) / 120] += 1;
        }
    }
    assert!(seen[0] > 50 && seen[1] > 0, "{seen:?}");
    for at in 0..disk.operations() {
        let disk = SimDisk::new();
        disk.inject(Fault { at, kind: FaultKind::NoSpace, sticky: false });
        let outcome = build(&disk);
        disk.clear_faults();
        let keys = whole_or_nothing(&disk, &format!("full at operation {at}"));
        assert_eq!(keys == 120, outcome.is_ok(), "full at operation {at}: {outcome:?}");
    }
}
