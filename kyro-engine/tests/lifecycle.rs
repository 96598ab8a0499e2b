//! Opening, closing, and the directories that are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use kyro_engine::{Engine, MaintenanceError, OpenError, Options, Stats, WriteError};

/// How long to wait for what happens by itself, on a machine where any thread may stand still for a while.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> Result<Engine, OpenError> {
    let mut options = Options::default();
    options.wal_segment_bytes = 64 << 10;
    Engine::open(dir, options)
}

/// Every file under a directory with its bytes, but for the lock's pid.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name().unwrap() != "LOCK" {
                all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn what_was_written_is_there_after_a_restart_and_offsets_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    assert_eq!(engine.next_offset(), 0);
    assert_eq!(engine.put(7, "seven").unwrap(), 0);
    assert_eq!(engine.put(8, "").unwrap(), 1);
    assert_eq!(engine.delete(7).unwrap(), 2);
    assert_eq!(engine.append("event").unwrap(), 3);
    engine.flush().unwrap();
    assert_eq!(engine.put(u64::MAX, "last").unwrap(), 4);
    engine.close().unwrap();

    let engine = open(dir.path()).unwrap();
    assert_eq!(engine.next_offset(), 5, "a clean close leaves no gap");
    assert_eq!(engine.get(7).unwrap(), None);
    assert_eq!(engine.get(8).unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(engine.offset(u64::MAX).unwrap(), Some(4));
    assert_eq!(engine.stats().recovery.operations, 1, "only what no run holds is replayed");
    let events: Vec<_> = engine.replay(3, None).unwrap().map(|event| event.unwrap().offset).collect();
    assert_eq!(events, [3, 4]);
}

#[test]
fn opening_and_closing_without_a_write_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    engine.put(1, "one").unwrap();
    engine.close().unwrap();
    let before = contents(dir.path());
    for _ in 0..2 {
        let engine = open(dir.path()).unwrap();
        assert_eq!(engine.get(1).unwrap().as_deref(), Some(&b"one"[..]));
        engine.close().unwrap();
        assert!(contents(dir.path()) == before, "a session without a write wrote");
    }
}

#[test]
fn a_second_writer_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    match open(dir.path()) {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(engine);
    open(dir.path()).expect("the last handle gave the lock up");
}

#[test]
fn after_close_writes_are_refused_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    engine.put(1, "one").unwrap();
    let other = engine.clone();
    engine.close().unwrap();
    engine.close().unwrap();
    assert!(matches!(other.put(2, "two"), Err(WriteError::Closed)));
    assert!(matches!(other.flush(), Err(MaintenanceError::Closed)));
    assert!(matches!(other.sync(), Err(WriteError::Closed)));
    assert_eq!(other.get(1).unwrap().as_deref(), Some(&b"one"[..]));
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::NotADatabase { .. })));
    let file = dir.path().join("notes.txt");
    assert!(matches!(open(&file), Err(OpenError::Io { .. })), "a file is not a directory");
    assert!(matches!(open(&file.join("below")), Err(OpenError::Io { .. })));
    assert_eq!(std::fs::read(file).unwrap(), b"mine");
}

#[test]
fn parents_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    open(&deep).unwrap().put(1, "one").unwrap();
    assert!(open(&deep).unwrap().contains(1).unwrap());
}

#[test]
fn a_lost_or_newer_manifest_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    engine.put(1, "one").unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();
    let manifest = dir.path().join("MANIFEST");
    let good = std::fs::read(&manifest).unwrap();

    std::fs::write(&manifest, br#"{"kyrodb_manifest":9,"crc32":"00000000","body":{}}"#).unwrap();
    let before = contents(dir.path());
    match open(dir.path()) {
        Err(OpenError::NewerFormat { found: 9, supported: 3, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(contents(dir.path()) == before);

    std::fs::remove_file(&manifest).unwrap();
    let before = contents(dir.path());
    assert!(matches!(open(dir.path()), Err(OpenError::Corrupt { .. })));
    assert!(contents(dir.path()) == before);

    std::fs::write(&manifest, good).unwrap();
    assert!(open(dir.path()).unwrap().contains(1).unwrap());
}

#[test]
fn limits_are_told_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.max_value_bytes = 10;
    let engine = Engine::open(dir.path(), options).unwrap();
    engine.put(1, "0123456789").unwrap();
    match engine.put(1, "0123456789a") {
        Err(WriteError::TooLarge { what: "value", bytes: 11, limit: 10 }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(engine.write(kyro_engine::Batch::new()), Err(WriteError::EmptyBatch)));
    assert_eq!(engine.next_offset(), 1);
}

#[test]
fn writers_on_many_threads_share_groups_and_see_their_own_writes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut written = 0;
    // Who waits for a sync together is up to the machine: again until some have shared one.
    while written == 0 || engine.stats().groups == written {
        assert!(Instant::now() < deadline, "{written} batches of 16 writers, and each a group of its own");
        let start = Barrier::new(16);
        std::thread::scope(|scope| {
            for thread in 0..16_u64 {
                let (engine, start) = (&engine, &start);
                scope.spawn(move || {
                    start.wait();
                    for index in written..written + 50 {
                        let key = thread << 32 | index;
                        let offset = engine.put(key, key.to_le_bytes()).unwrap();
                        assert_eq!(engine.offset(key).unwrap(), Some(offset), "read your write");
                    }
                });
            }
        });
        written += 800;
        let stats = engine.stats();
        assert_eq!(stats.operations, written);
        assert_eq!(stats.next_offset, written, "offsets have no gap");
        assert_eq!(stats.group_batches, written);
    }
}

#[test]
fn a_full_delta_is_flushed_by_itself_and_runs_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.wal_segment_bytes = 64 << 10;
    options.delta_bytes = 20_000;
    options.max_runs = 2;
    let engine = Engine::open(dir.path(), options).unwrap();
    for key in 0..2000_u64 {
        engine.put(key, [key as u8; 100]).unwrap();
    }
    // The log lets go what runs hold.
    let settled = |stats: &Stats| {
        let merged = stats.flushes >= 3 && stats.compactions > 0 && stats.runs.len() <= 3;
        merged && stats.wal.first_segment > 1 && stats.wal.segments < 8
    };
    let deadline = Instant::now() + PATIENCE;
    while !settled(&engine.stats()) {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
    for key in 0..2000_u64 {
        assert_eq!(engine.get(key).unwrap().as_deref(), Some(&[key as u8; 100][..]));
    }
}
