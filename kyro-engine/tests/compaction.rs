//! Merges of runs: beside flushes and writers, within their budget, ended by a close, and never a wrong answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod meddler;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{Engine, MaintenanceError, Options, Stats};
use meddler::{Meddler, Op};

/// How long to wait for what happens by itself, on a machine where any thread may stand still for a while.
const PATIENCE: Duration = Duration::from_secs(60);

fn manual() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options.max_runs = 8;
    options
}

fn open(storage: impl Storage, options: Options) -> Engine {
    Engine::open_on(Arc::new(storage), "/db", options).unwrap()
}

/// Three runs, the same keys in each: `base` in the oldest, then others.
fn three_runs(engine: &Engine) {
    for (round, keys) in [(0_u64, 0..400_u64), (1, 100..200), (2, 150..250)] {
        for key in keys {
            engine.put(key, (round * 1000 + key).to_le_bytes()).unwrap();
        }
        engine.flush().unwrap();
    }
    assert_eq!(engine.stats().runs.len(), 3);
}

fn expect(engine: &Engine, key: u64, value: Option<u64>) {
    let found = engine.get(key).unwrap().map(|bytes| u64::from_le_bytes((&*bytes).try_into().unwrap()));
    assert_eq!(found, value, "key {key}");
}

fn expect_three_runs(engine: &Engine) {
    for key in 0..500 {
        let round = match key {
            150..250 => 2,
            100..150 => 1,
            0..400 => 0,
            _ => {
                expect(engine, key, None);
                continue;
            }
        };
        expect(engine, key, Some(round * 1000 + key));
    }
}

/// Holds the first creation of a run's file from now on: says when it is there, goes on when told.
fn hold_next_run(disk: &Meddler) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (arrived, there) = mpsc::channel();
    let (go, release) = mpsc::channel();
    let (held, release) = (AtomicBool::new(false), Mutex::new(release));
    disk.set(move |op, path| {
        let run = path.to_string_lossy().ends_with(".run.tmp");
        if op == Op::Create && run && !held.swap(true, Ordering::SeqCst) {
            arrived.send(()).unwrap();
            release.lock().unwrap().recv().unwrap();
        }
        None
    });
    (there, go)
}

#[test]
fn a_flush_does_not_wait_for_a_merge_and_its_run_stays_in_front() {
    let disk = Meddler::new(SimDisk::new());
    let engine = open(disk.clone(), manual());
    three_runs(&engine);
    let (there, go) = hold_next_run(&disk);
    let merging = std::thread::spawn({
        let engine = engine.clone();
        move || engine.compact()
    });
    there.recv_timeout(PATIENCE).expect("the merge begins");

    engine.put(5, 9_000_u64.to_le_bytes()).unwrap();
    engine.delete(160).unwrap();
    let flushing = std::thread::spawn({
        let engine = engine.clone();
        move || engine.flush()
    });
    let deadline = Instant::now() + PATIENCE;
    while !flushing.is_finished() {
        assert!(Instant::now() < deadline, "the flush waits for the merge");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(flushing.join().unwrap().unwrap().entries, 2);
    assert!(!merging.is_finished());
    assert_eq!(engine.stats().runs.len(), 4);
    engine.put(6, 9_001_u64.to_le_bytes()).unwrap();

    go.send(()).unwrap();
    merging.join().unwrap().unwrap();
    disk.clear();
    let check = |engine: &Engine| {
        expect(engine, 5, Some(9_000));
        expect(engine, 6, Some(9_001));
        expect(engine, 160, None);
        expect(engine, 161, Some(2161));
        let runs = engine.stats().runs;
        assert_eq!(runs.iter().map(|run| run.entries).collect::<Vec<_>>(), [2, 400], "newest first");
        assert!(runs[0].number > runs[1].number, "the flush began after the merge");
    };
    check(&engine);
    engine.close().unwrap();
    let engine = open(disk, manual());
    check(&engine);
    assert_eq!(engine.compact().unwrap().keys_retained, 399);
    assert_eq!(engine.stats().runs[0].tombstones, 0);
}

#[test]
fn a_close_ends_a_slow_merge_and_leaves_nothing_behind() {
    let disk = SimDisk::new();
    let mut options = manual();
    options.compaction_io_bytes_per_sec = Some(1);
    let engine = open(disk.clone(), options);
    three_runs(&engine);
    let merging = std::thread::spawn({
        let engine = engine.clone();
        move || engine.compact()
    });
    let temporary =
        |disk: &SimDisk| disk.contents().keys().any(|path| path.to_string_lossy().ends_with(".tmp"));
    let deadline = Instant::now() + PATIENCE;
    while !temporary(&disk) {
        assert!(Instant::now() < deadline, "the merge begins");
        std::thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    engine.close().unwrap();
    // Left alone it would take hours.
    assert!(start.elapsed() < PATIENCE, "closing took {:?}", start.elapsed());
    assert!(matches!(merging.join().unwrap(), Err(MaintenanceError::Closed)));
    assert!(!temporary(&disk), "{:?}", disk.contents().keys());
    let engine = open(disk, manual());
    assert_eq!(engine.stats().runs.len(), 3);
    expect_three_runs(&engine);
}

#[test]
fn a_merge_keeps_to_its_budget() {
    let mut options = manual();
    options.compaction_io_bytes_per_sec = Some(100_000);
    let engine = open(SimDisk::new(), options);
    for round in 0..2_u8 {
        (0..30).for_each(|key| assert!(engine.put(key, [round; 2000]).unwrap() < 1000));
        engine.flush().unwrap();
    }
    let start = Instant::now();
    engine.compact().unwrap();
    // 66 KB; what fits into the first tenth of a second is free.
    assert!(start.elapsed() > Duration::from_millis(300), "{:?}", start.elapsed());
    assert_eq!(engine.stats().compaction_bytes, engine.stats().runs[0].bytes);
}

#[test]
fn background_merges_keep_the_runs_few_and_their_bytes_are_counted() {
    let disk = SimDisk::new();
    let mut options = manual();
    options.auto_flush = true;
    options.max_runs = 3;
    options.flush_every_operations = Some(50);
    let engine = open(disk, options);
    let deadline = Instant::now() + PATIENCE;
    for key in 0..4000_u64 {
        engine.put(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), key.to_le_bytes()).unwrap();
        // One writer can be faster than the thread that flushes is woken: one flush would then take it all.
        while key % 400 == 399 && engine.stats().flushes <= key / 400 {
            assert!(Instant::now() < deadline, "{} flushes after {key} keys", engine.stats().flushes);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // A last flush may be due, and a merge may be under way whose bytes are counted only in part.
    let settled = |stats: &Stats| {
        let merged = stats.runs.len() <= 3 && stats.compactions > 0;
        merged && stats.delta_entries < 50 && stats.compaction_read_bytes >= stats.compaction_bytes / 2
    };
    while !settled(&engine.stats()) {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    for key in 0..4000_u64 {
        expect(&engine, key.wrapping_mul(0x9e37_79b9_7f4a_7c15), Some(key));
    }
    let stats = engine.stats();
    assert!(stats.flushes > 4, "{}", stats.flushes);
    assert!(stats.flush_bytes > 4000 * 24 / 2 && stats.compaction_bytes > 0, "{stats:?}");
    assert_eq!(stats.maintenance_error, None);
}
