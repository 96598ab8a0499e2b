//! What makes flushes and compactions start by themselves, and that none of it removes what no run covers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kyro_engine::storage::SimDisk;
use kyro_engine::{Engine, Options, Stats};

fn small() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options
}

fn open(options: Options) -> Engine {
    Engine::open_on(Arc::new(SimDisk::new()), "/db", options).unwrap()
}

fn put(engine: &Engine, keys: std::ops::Range<u64>) {
    keys.for_each(|key| assert!(engine.put(key, [7; 100]).unwrap() < 1_000_000));
}

/// Waits until it holds; fails when it does not in time.
fn until(engine: &Engine, what: &str, holds: impl Fn(&Stats) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds(&engine.stats()) {
        assert!(Instant::now() < deadline, "{what}: {:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Long enough for a flush that should not come to show.
fn stays(engine: &Engine, what: &str, holds: impl Fn(&Stats) -> bool) {
    std::thread::sleep(Duration::from_millis(150));
    assert!(holds(&engine.stats()), "{what}: {:?}", engine.stats());
}

#[test]
fn appends_and_their_share_of_the_keys_bring_an_index() {
    let mut options = small();
    options.rmi_rebuild_appends = Some(20);
    let engine = open(options);
    put(&engine, 0..19);
    stays(&engine, "19 of 20 appends", |stats| stats.flushes == 0);
    put(&engine, 19..20);
    until(&engine, "20 appends", |stats| stats.index_builds == 1 && stats.delta_entries == 0);

    let mut options = small();
    options.rmi_rebuild_ratio = Some(0.5);
    let engine = open(options);
    put(&engine, 0..100);
    engine.flush().unwrap();
    let flushes = engine.stats().flushes;
    put(&engine, 0..40);
    stays(&engine, "a ratio below a half", |stats| stats.flushes == flushes);
    put(&engine, 0..40);
    until(&engine, "half as many appends as keys", |stats| stats.flushes > flushes);
}

#[test]
fn segments_and_time_bring_a_flush_and_nothing_is_lost() {
    let mut options = small();
    options.wal_max_segments = Some(3);
    let engine = open(options);
    put(&engine, 0..1000);
    until(&engine, "segments", |stats| stats.flushes > 0 && stats.wal.segments < 6);
    assert!((0..1000).all(|key| engine.contains(key).unwrap()));

    let mut options = small();
    options.auto_snapshot = Some(Duration::from_millis(50));
    let engine = open(options);
    stays(&engine, "nothing was written", |stats| stats.flushes == 0);
    put(&engine, 0..1);
    until(&engine, "time", |stats| stats.flushes == 1);
    stays(&engine, "nothing was written since", |stats| stats.flushes == 1);
}

#[test]
fn time_and_the_size_of_the_log_bring_a_compaction() {
    let mut options = small();
    options.compact_interval = Some(Duration::from_millis(60));
    let engine = open(options);
    put(&engine, 0..10);
    engine.flush().unwrap();
    engine.delete(3).unwrap();
    until(&engine, "time", |stats| stats.runs.len() == 1 && stats.runs[0].entries == 9);

    let mut options = small();
    options.compact_interval = Some(Duration::from_millis(20));
    options.compact_when_wal_bytes = Some(100_000);
    let engine = open(options);
    put(&engine, 0..10);
    stays(&engine, "the log is small", |stats| stats.flushes == 0);
    put(&engine, 10..600);
    until(&engine, "time and size", |stats| stats.flushes > 0 && stats.wal.bytes < 100_000);
    assert!((0..600).all(|key| engine.contains(key).unwrap()));
}

#[test]
fn without_leave_nothing_starts_by_itself() {
    let mut options = small();
    options.auto_flush = false;
    options.rmi_rebuild_appends = Some(1);
    options.rmi_rebuild_ratio = Some(0.01);
    options.wal_max_segments = Some(1);
    options.auto_snapshot = Some(Duration::from_millis(1));
    options.compact_interval = Some(Duration::from_millis(1));
    let engine = open(options);
    put(&engine, 0..50);
    stays(&engine, "auto_flush is off", |stats| stats.flushes == 0 && stats.compactions == 0);
}
