//! A writer that finds nobody else at it commits by itself; everybody else goes through the committer's thread. Either
//! way the log gets the same, in the same order, and whoever waits is answered.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod meddler;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::storage::{Contents, SimDisk, Storage};
use kyro_engine::{Batch, CloseError, Durability, Engine, Options, Stats, WriteError, WriteOptions};
use meddler::{Act, EIO, ENOSPC, Meddler, Op, errno};

fn options(durability: Durability) -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 64 << 10;
    options.auto_flush = false;
    options.durability = durability;
    options.confirm_after = Duration::from_secs(3600);
    options
}

fn open(storage: impl Storage, options: Options) -> Engine {
    Engine::open_on(Arc::new(storage), "/db", options).unwrap()
}

fn put(key: u64, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

fn writes_the_log(op: Op, path: &Path) -> bool {
    op == Op::Write && path.starts_with("/db/wal")
}

/// What the log's segments hold; not what is being prepared beside them, which comes and goes by itself.
fn log(disk: &SimDisk) -> Vec<Vec<u8>> {
    let dir = Path::new("/db/wal");
    let bytes = |name: &String| match disk.load(&dir.join(name)).unwrap() {
        Contents::Bytes(bytes) => bytes,
        Contents::File(_) => unreachable!("a simulated disk has no such files"),
    };
    let is_segment = |name: &&String| Path::new(name).extension().is_some_and(|ending| ending == "wal");
    disk.list(dir).unwrap().iter().filter(is_segment).map(bytes).collect()
}

/// Waits for something that happens by itself.
fn until(engine: &Engine, what: &str, happened: impl Fn(&Stats) -> bool) {
    let start = Instant::now();
    while !happened(&engine.stats()) {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} never happened: {:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_writer_by_itself_commits_and_one_that_does_not_wait_is_committed_for() {
    for mode in [Durability::Always, Durability::Interval(Duration::from_secs(3600)), Durability::Never] {
        let start = Instant::now();
        let (disk, engine, stats) = loop {
            let disk = SimDisk::new();
            let engine = open(disk.clone(), options(mode));
            for key in 0..100 {
                assert_eq!(engine.put(key, "alone").unwrap(), key);
            }
            let committed = engine.commit(put(100, "alone, too")).unwrap();
            assert_eq!((committed.first_offset, committed.last_offset), (100, 100));
            let stats = engine.stats();
            assert_eq!((stats.groups, stats.operations), (101, 101), "{mode:?}");
            // The thread looks in where it is rung and where it takes a preallocated segment: rarely, but a busy machine
            // may stop it right there.
            if stats.groups_by_writers > 50 {
                break (disk, engine, stats);
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{mode:?}: {} of 101",
                stats.groups_by_writers
            );
        };
        let by_writers = stats.groups_by_writers;
        assert_eq!(stats.syncs, if matches!(mode, Durability::Always) { 101 } else { 0 }, "{mode:?}");
        let synced = engine.write_with(put(101, "for me"), WriteOptions::new().sync()).unwrap();
        assert_eq!(synced.wait().unwrap().first_offset, 101);
        assert_eq!(engine.stats().groups_by_writers, by_writers, "{mode:?}");
        // The power goes: what was written before a sync is there, whoever wrote it.
        let after = open(disk.crash(0), options(mode));
        assert!((0..102).all(|key| after.contains(key).unwrap()), "{mode:?}");
    }
}

#[test]
fn a_batch_does_not_pass_those_that_its_thread_queued_before() {
    let engine = open(SimDisk::new(), options(Durability::Never));
    for round in 0..5_000_u64 {
        let queued = engine.write_waiting(put(1, "queued")).unwrap();
        let waited_for = engine.commit(put(1, "waited for")).unwrap();
        assert!(queued.wait().unwrap().first_offset < waited_for.first_offset, "round {round}");
        assert_eq!(&engine.get(1).unwrap().unwrap()[..], b"waited for");
    }
}

#[test]
fn writers_of_both_kinds_beside_flushes_and_reads_lose_nothing() {
    for mode in [Durability::Always, Durability::Never] {
        let disk = SimDisk::new();
        let engine = open(disk.clone(), options(mode));
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let engine = &engine;
                scope.spawn(move || {
                    let mut last = None;
                    for number in 0..500 {
                        let key = thread << 32 | number;
                        let offset = if number % 3 == thread % 3 {
                            engine.write_waiting(put(key, "queued")).unwrap().wait().unwrap().first_offset
                        } else {
                            engine.put(key, "here").unwrap()
                        };
                        assert!(last < Some(offset), "a thread's writes keep their order");
                        last = Some(offset);
                        assert_eq!(
                            engine.offset(key).unwrap(),
                            Some(offset),
                            "a thread reads its own writes"
                        );
                    }
                });
            }
            (0..20).for_each(|_| assert!(engine.flush().is_ok()));
        });
        assert_eq!(engine.next_offset(), 2_000);
        engine.close().unwrap();
        let after = open(disk.restart(), options(mode));
        assert_eq!(after.count(..).unwrap(), 2_000, "{mode:?}");
    }
}

#[test]
fn a_group_that_its_writer_committed_is_synced_by_the_interval_and_gets_its_witness() {
    let mut eager = options(Durability::Interval(Duration::from_millis(5)));
    let engine = open(SimDisk::new(), eager.clone());
    // The thread rests for ever when this comes, or for an hour.
    engine.put(1, "synced soon").unwrap();
    until(&engine, "the interval's sync", |stats| stats.syncs >= 1);
    engine.put(2, "again").unwrap();
    until(&engine, "the next", |stats| stats.syncs >= 2);

    for mode in [Durability::Always, Durability::Interval(Duration::from_millis(1))] {
        (eager.durability, eager.confirm_after) = (mode, Duration::from_millis(100));
        let disk = SimDisk::new();
        let engine = open(disk.clone(), eager.clone());
        let before = loop {
            let (start, by_writers) = (Instant::now(), engine.stats().groups_by_writers);
            engine.put(1, "confirmed soon").unwrap();
            let (before, in_time) = (log(&disk), start.elapsed() < eager.confirm_after / 2);
            if in_time && engine.stats().groups_by_writers > by_writers {
                break before;
            }
        };
        until(&engine, "the witness", |_| log(&disk) != before);
    }
}

#[test]
fn errors_are_the_same_on_the_writers_own_thread() {
    let meddler = Meddler::new(SimDisk::new());
    let engine = open(meddler.clone(), options(Durability::Always));
    engine.put(1, "x").unwrap();
    let first = AtomicBool::new(true);
    meddler.set(move |op, path| {
        let fails = writes_the_log(op, path) && first.swap(false, Ordering::SeqCst);
        fails.then(|| Act::Fail(errno(ENOSPC)))
    });
    assert!(matches!(engine.put(2, "x"), Err(WriteError::StorageFull { .. })));
    meddler.clear();
    let start = Instant::now();
    while engine.put(3, "x").is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "the engine does not resume");
        std::thread::sleep(Duration::from_millis(1));
    }
    meddler.set(|op, path| writes_the_log(op, path).then(|| Act::Fail(errno(EIO))));
    assert!(engine.put(4, "x").is_err());
    assert!(engine.get(1).unwrap().is_some() && engine.get(2).unwrap().is_none());
}

#[test]
fn a_panic_in_a_writers_commit_ends_writing_and_leaves_nobody_waiting() {
    let meddler = Meddler::new(SimDisk::new());
    let engine = open(meddler.clone(), options(Durability::Always));
    engine.put(1, "x").unwrap();
    meddler.set(|op, path| writes_the_log(op, path).then_some(Act::Panic));
    assert!(matches!(engine.put(2, "x"), Err(WriteError::CommitUnknown { .. })));
    meddler.clear();
    assert!(matches!(engine.put(3, "x"), Err(WriteError::Poisoned { .. })));
    assert!(engine.sync().is_err(), "nobody is left to ask");
    assert_eq!(&engine.get(1).unwrap().unwrap()[..], b"x", "reads go on");
    assert!(matches!(engine.close(), Err(CloseError::Log { .. })));
}
