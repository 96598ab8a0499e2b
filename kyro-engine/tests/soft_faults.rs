//! Failures that say nothing about the log: an unlink, an open, a full disk beside it. They refuse; they do not end
//! writing, lose space, or show a reader what was taken back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod meddler;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{Durability, Engine, EventOp, MaintenanceError, OpenError, Options, ReadError, WriteError};
use meddler::{Act, EIO, EMFILE, ENOSPC, Meddler, Op, errno};

fn small() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options.confirm_after = Duration::from_millis(1);
    options
}

fn open(storage: impl Storage, options: Options) -> Engine {
    Engine::open_on(Arc::new(storage), "/db", options).unwrap()
}

fn ends_with(path: &Path, suffix: &str) -> bool {
    path.to_string_lossy().ends_with(suffix)
}

/// Waits for something that happens by itself.
fn until(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_segment_that_cannot_be_removed_costs_space_only() {
    let disk = Meddler::new(SimDisk::new());
    let engine = open(disk.clone(), small());
    (0..40).for_each(|key| assert!(engine.put(key, [7; 1000]).unwrap() < 10_000));
    disk.set(|op, path| (op == Op::Remove && ends_with(path, ".wal")).then(|| Act::Fail(errno(EIO))));
    assert!(matches!(engine.flush(), Err(MaintenanceError::Io { .. })));
    disk.clear();
    engine.put(1000, "x").unwrap();
    let before = engine.stats().wal.segments;
    assert!(engine.flush().unwrap().segments_removed > 0);
    assert!(engine.stats().wal.segments < before);
}

#[test]
fn too_many_open_files_refuse_a_write_and_no_more() {
    let disk = Meddler::new(SimDisk::new());
    let engine = open(disk.clone(), small());
    engine.put(1, "x").unwrap();
    let log = |path: &Path| path.starts_with("/db/wal");
    disk.set(move |op, path| (op == Op::Create && log(path)).then(|| Act::Fail(errno(EMFILE))));
    let refused = (0..100).find_map(|key| engine.put(key, [7; 1000]).err());
    assert!(matches!(refused, Some(WriteError::NotWritten { .. })), "{refused:?}");
    disk.clear();
    engine.put(1000, "x").unwrap();

    // The same at a session's first write, which replaces the manifest.
    engine.close().unwrap();
    drop(engine);
    let engine = open(disk.clone(), small());
    disk.set(|op, path| {
        (op == Op::Create && path.starts_with("/db/MANIFEST.tmp")).then(|| Act::Fail(errno(EMFILE)))
    });
    assert!(matches!(engine.put(1, "y"), Err(WriteError::NotWritten { .. })));
    disk.clear();
    engine.put(1, "y").unwrap();
}

#[test]
fn flushes_that_fail_leave_neither_files_nor_frozen_deltas() {
    let disk = SimDisk::new();
    let meddler = Meddler::new(disk.clone());
    let engine = open(meddler.clone(), small());
    for suffix in [".idx.tmp", "MANIFEST.tmp", ".run.tmp"] {
        meddler.set(move |op, path| {
            (op == Op::Create && ends_with(path, suffix)).then(|| Act::Fail(errno(ENOSPC)))
        });
        for key in 0..20 {
            engine.put(key, [7; 100]).unwrap();
            engine.flush().unwrap_err();
        }
        meddler.clear();
        engine.put(100, suffix).unwrap();
        engine.compact().unwrap();
        let files = disk.contents().into_keys().filter(|path| path.starts_with("/db/runs")).count();
        assert_eq!(files, 2, "one run and its index after {suffix} failed: {:?}", disk.contents().keys());
        assert!((0..20).all(|key| engine.get(key).unwrap().unwrap() == [7; 100][..]));
    }
}

#[test]
fn a_database_on_a_full_disk_opens_and_reads_after_a_kill() {
    let disk = SimDisk::new();
    let engine = open(disk.clone(), small());
    (0..10).for_each(|key| assert!(engine.put(key, "x").unwrap() < 1000));
    // What a kill leaves of a segment that is being prepared takes space which the next opening gives back.
    until("a prepared segment", || disk.contents().keys().any(|path| path.ends_with("spare.ready")));
    let disk = disk.restart();
    let used: u64 = disk.contents().values().map(|bytes| bytes.len().next_multiple_of(4096) as u64).sum();
    disk.set_capacity(Some(used));
    let engine = open(disk.clone(), small());
    assert!((0..10).all(|key| engine.contains(key).unwrap()));
    assert!(matches!(engine.put(10, "y"), Err(WriteError::StorageFull { .. })));
    disk.set_capacity(None);
    engine.put(10, "y").unwrap();
}

#[test]
fn a_replay_never_gives_what_was_taken_back() {
    let disk = Meddler::new(SimDisk::new());
    let mut options = small();
    options.confirm_after = Duration::from_secs(3600);
    let engine = open(disk.clone(), options);
    engine.put(1, "one").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let replay = Arc::new(Mutex::new(engine.replay(0, None).unwrap()));
    let (reader, done) = (Arc::clone(&replay), AtomicBool::new(false));
    disk.set(move |op, path| {
        let first = op == Op::Write && path.starts_with("/db/wal") && !done.swap(true, Ordering::SeqCst);
        // The group's bytes are in the file, a subscriber reads at that moment, then the disk is full.
        let reader = Arc::clone(&reader);
        let read = Box::new(move || assert_eq!(reader.lock().unwrap().by_ref().count(), 1));
        first.then(|| Act::DoThenFail(read, errno(ENOSPC)))
    });
    assert!(matches!(engine.put(2, "refused"), Err(WriteError::StorageFull { .. })));
    disk.clear();
    engine.put(2, "accepted").unwrap();
    engine.put(3, "three").unwrap();
    let given: Vec<_> = replay.lock().unwrap().by_ref().map(|event| event.unwrap().op).collect();
    let expected = |key, value: &'static str| EventOp::Put { key, value: value.into() };
    assert_eq!(given, [expected(2, "accepted"), expected(3, "three")]);
}

#[test]
fn a_replay_says_so_when_its_next_segment_is_purged() {
    let disk = Meddler::new(SimDisk::new());
    let engine = open(disk.clone(), small());
    (0..4).for_each(|key| assert!(engine.put(key, [1; 1000]).unwrap() < 10_000));
    let mut replay = engine.replay(0, None).unwrap();
    assert_eq!(replay.by_ref().count(), 4);
    (4..60).for_each(|key| assert!(engine.put(key, [1; 1000]).unwrap() < 10_000));
    let (flusher, done) = (engine.clone(), AtomicBool::new(false));
    disk.set(move |op, path| {
        if op == Op::OpenRead && ends_with(path, "2.wal") && !done.swap(true, Ordering::SeqCst) {
            flusher.flush().unwrap();
        }
        None
    });
    let given: Vec<_> = replay.by_ref().collect();
    let gone = matches!(given.last(), Some(Err(ReadError::HistoryGone { .. })));
    assert!(gone || given.len() == 56, "{} of 56 events and then silence", given.len());
    assert!(replay.next().is_none(), "an error is the last thing a replay gives");
    disk.clear();
}

#[test]
fn after_a_recovery_the_last_group_gets_its_witness() {
    let disk = SimDisk::new();
    let mut options = small();
    options.confirm_after = Duration::from_secs(3600);
    let engine = open(disk.clone(), options);
    engine.put(1, [7; 600]).unwrap();
    let disk = disk.restart();
    let recovered = open(disk.clone(), small());
    until("a witness", || recovered.stats().wal.segments >= 2);
    let crashed = disk.crash(1);
    let (path, bytes) = crashed.contents().into_iter().find(|(path, _)| ends_with(path, "1.wal")).unwrap();
    let at = bytes.windows(20).position(|window| window == [7; 20]).unwrap();
    crashed.flip_bit(&path, at as u64 * 8).unwrap();
    let opened = Engine::open_on(Arc::new(crashed), "/db", small());
    assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "a flipped bit passed for a torn write");
}

#[test]
fn an_interval_syncs_by_itself_and_a_barrier_syncs_at_once() {
    for (mode, by_itself) in [
        (Durability::Interval(Duration::from_millis(30)), true),
        (Durability::Interval(Duration::from_secs(3600)), false),
        (Durability::Never, false),
    ] {
        let disk = SimDisk::new();
        let mut options = small();
        options.durability = mode;
        let engine = open(disk.clone(), options);
        (0..5).for_each(|key| assert!(engine.put(key, "x").unwrap() < 1000));
        let is_durable = || {
            let after = open(disk.crash(0), small());
            (0..5).all(|key| after.contains(key).unwrap())
        };
        if by_itself {
            until("a sync", is_durable);
        } else {
            engine.sync().unwrap();
            assert!(is_durable(), "{mode:?}");
        }
        engine.put(5, "kill").unwrap();
        let after = open(disk.restart(), small());
        assert!(after.contains(5).unwrap(), "{mode:?}: a kill loses nothing");
    }
}

#[test]
fn restarts_without_end_do_not_pile_up_segments() {
    let disk = SimDisk::new();
    for session in 0..120_u64 {
        let mut options = small();
        options.auto_flush = true;
        let engine = open(disk.clone(), options);
        engine.put(session, "x").unwrap();
        engine.close().unwrap();
    }
    let mut options = small();
    options.auto_flush = true;
    let engine = open(disk.clone(), options);
    assert!((0..120).all(|key| engine.contains(key).unwrap()));
    let segments = engine.stats().wal.segments;
    assert!(segments < 60, "{segments} segments after 120 sessions");
}

#[test]
fn a_long_log_is_opened_with_few_files() {
    let disk = SimDisk::new();
    let engine = open(disk.clone(), small());
    // The event keeps every segment after it.
    engine.append("an event").unwrap();
    (0..600).for_each(|key| assert!(engine.put(key, [7; 2000]).unwrap() < 10_000));
    engine.flush().unwrap();
    assert!(engine.stats().wal.segments > 60, "{:?}", engine.stats().wal);
    engine.close().unwrap();
    drop(engine);
    for disk in [disk.restart(), disk.crash(0)] {
        let meddler = Meddler::new(disk);
        let engine = open(meddler.clone(), small());
        assert_eq!(engine.replay(0, None).unwrap().count(), 601);
        assert!(meddler.most_open() < 12, "{} files at once", meddler.most_open());
    }
}
