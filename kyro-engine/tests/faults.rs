//! Disks that fail: what is refused, what goes on, and what is there afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod workload;

use std::sync::Arc;
use std::time::Duration;

use kyro_engine::storage::SimDisk;
use kyro_engine::storage::sim::{Fault, FaultKind};
use kyro_engine::{Batch, Commit, Engine, MaintenanceError, OpenError, WriteError};
use workload::{Attempt, Model, Random, batch, check, open};

fn put(engine: &Engine, key: u64, value: &str) -> Result<u64, WriteError> {
    engine.put(key, value)
}

/// Opens without a witness by the clock: between requests the engine does nothing.
fn open_quietly(disk: &SimDisk) -> Result<Engine, OpenError> {
    let mut options = workload::options();
    options.confirm_after = Duration::from_secs(3600);
    Engine::open_on(Arc::new(disk.clone()), workload::DIR, options)
}

#[test]
fn a_failed_sync_ends_writing_until_a_restart_and_reads_go_on() {
    let disk = SimDisk::new();
    // The sync that fails is the put's, not an idle witness's.
    let engine = open_quietly(&disk).unwrap();
    put(&engine, 1, "durable").unwrap();
    // Sticky: the sync of a spare segment, on its own thread, may come first.
    disk.inject(Fault { at: disk.operations(), kind: FaultKind::SyncError, sticky: true });
    assert!(matches!(put(&engine, 2, "unknown"), Err(WriteError::CommitUnknown { .. })));
    assert!(disk.faults_fired() > 0);
    disk.clear_faults();
    for _ in 0..3 {
        assert!(matches!(put(&engine, 3, "refused"), Err(WriteError::Poisoned { .. })), "no retry, ever");
    }
    assert!(matches!(engine.flush(), Err(MaintenanceError::Poisoned { .. })));
    assert!(matches!(engine.sync(), Err(WriteError::Poisoned { .. })));
    assert_eq!(engine.get(1).unwrap().as_deref(), Some(&b"durable"[..]));
    assert_eq!(engine.get(2).unwrap(), None, "not visible before it is durable");
    assert!(engine.stats().poisoned.is_some());
    assert!(engine.close().is_err());
    drop(engine);

    let disk = disk.restart();
    let engine = open(&disk).unwrap();
    assert_eq!(engine.get(1).unwrap().as_deref(), Some(&b"durable"[..]));
    assert_eq!(engine.get(3).unwrap(), None);
    put(&engine, 4, "again").unwrap();
}

#[test]
fn a_full_disk_refuses_writes_and_resumes_by_itself() {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    let mut written = Vec::new();
    for key in 0..20 {
        put(&engine, key, "before").unwrap();
        written.push(key);
    }
    // No room for another segment: writes go on until the live one is full.
    let used: u64 = disk.contents().values().map(|bytes| bytes.len().next_multiple_of(4096) as u64).sum();
    disk.set_capacity(Some(used + 4096));
    let value = "x".repeat(1000);
    let full = (100..400).find_map(|key| match put(&engine, key, &value) {
        Ok(_) => {
            written.push(key);
            None
        }
        Err(error) => Some(error),
    });
    assert!(matches!(full, Some(WriteError::StorageFull { .. })), "{full:?}");
    assert!(matches!(put(&engine, 999, &value), Err(WriteError::StorageFull { .. })));
    assert!(engine.stats().poisoned.is_none());
    let next = engine.next_offset();
    assert!(engine.get(999).unwrap().is_none());

    disk.set_capacity(None);
    assert_eq!(put(&engine, 1000, &value).unwrap(), next, "a refused write used no offset");
    written.push(1000);
    engine.close().unwrap();
    drop(engine);
    for disk in [disk.restart(), disk.crash(0)] {
        let engine = open(&disk).unwrap();
        assert!(written.iter().all(|&key| engine.contains(key).unwrap()));
        assert!(!engine.contains(999).unwrap());
    }
}

#[test]
fn a_flush_that_fails_at_any_operation_leaves_everything_as_it_was() {
    let mut failures = 0;
    for kind in [FaultKind::Eio, FaultKind::NoSpace, FaultKind::ShortWrite, FaultKind::SyncError] {
        for nth in 0..200 {
            let disk = SimDisk::new();
            let engine = open(&disk).unwrap();
            let mut batch = Batch::new();
            for key in 0..50 {
                batch.put(key, "first");
            }
            engine.write(batch).and_then(Commit::wait).unwrap();
            engine.flush().unwrap();
            put(&engine, 7, "second").unwrap();
            let begin = disk.operations();
            disk.inject(Fault { at: begin + nth, kind, sticky: false });
            let flushed = engine.compact();
            let fired = disk.faults_fired() > 0;
            disk.clear_faults();
            let poisoned = engine.stats().poisoned.is_some();
            let left_behind = [disk.restart(), disk.crash(0), disk.crash(nth + 2)];
            let read = |engine: &Engine, when: &str| {
                for key in 0..50 {
                    let expected: &[u8] = if key == 7 { b"second" } else { b"first" };
                    assert_eq!(
                        engine.get(key).unwrap().as_deref(),
                        Some(expected),
                        "{kind:?} at {nth}, {when}"
                    );
                }
            };
            read(&engine, "after the failure");
            if flushed.is_err() {
                failures += 1;
                if !poisoned {
                    engine
                        .compact()
                        .unwrap_or_else(|error| panic!("{kind:?} at {nth}: not tried again: {error}"));
                    read(&engine, "after the second try");
                }
            }
            drop(engine);
            for disk in left_behind.into_iter().chain([disk.restart(), disk.crash(nth + 2)]) {
                let engine =
                    open_quietly(&disk).unwrap_or_else(|error| panic!("{kind:?} at {nth}: {error:?}"));
                read(&engine, "after a restart");
                // What this process saw may have been in the page cache only: it must not rely on it.
                for seed in 0..6 {
                    let engine = open(&disk.crash(seed))
                        .unwrap_or_else(|error| panic!("{kind:?} at {nth}, then cut {seed}: {error:?}"));
                    read(&engine, "after a restart and a cut");
                }
            }
            if !fired {
                break;
            }
        }
    }
    println!("faults: {failures} flushes and compactions failed");
    assert!(failures > 60, "only {failures} failures: the faults did not reach the operations");
}

/// Every operation of a small workload fails once, in every way; whatever was acknowledged is there afterwards.
#[test]
fn nothing_acknowledged_is_lost_whatever_operation_fails() {
    let kinds = [FaultKind::Eio, FaultKind::NoSpace, FaultKind::ShortWrite, FaultKind::SyncError];
    // An engine mostly waits for its own threads: all of them side by side.
    let points: usize = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for kind in kinds {
            for (sticky, seed) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
                threads.push(scope.spawn(move || fail_everywhere(kind, sticky, seed)));
            }
        }
        threads.into_iter().map(|thread| thread.join().expect("no violation")).sum()
    });
    println!("faults: {points} points");
    assert!(points > 1500, "only {points} faults fired");
}

/// Fails one operation after the other of a workload, until a run has no such operation; gives how many there were.
fn fail_everywhere(kind: FaultKind, sticky: bool, seed: u64) -> usize {
    let mut points = 0;
    loop {
        let at = points as u64;
        let disk = SimDisk::new();
        disk.inject(Fault { at, kind, sticky });
        let finished = faulty_run(&disk, seed);
        if disk.faults_fired() == 0 {
            return points;
        }
        points += 1;
        let Some((model, acked)) = finished else { continue };
        for next in [disk.restart(), disk.crash(at + 2)] {
            next.clear_faults();
            let engine =
                open(&next).unwrap_or_else(|error| panic!("{kind:?} at {at}, sticky {sticky}: {error:?}"));
            check(&engine, &model, acked, model.attempts.len());
        }
    }
}

/// Twelve batches, a flush and a compaction, each of which may fail. Gives what was attempted, cut after the last
/// batch that may be there, and how many must be there. `None` when the database could not even be made.
fn faulty_run(disk: &SimDisk, seed: u64) -> Option<(Model, usize)> {
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut acked = 0;
    let engine = open(disk).ok()?;
    for step in 0..12 {
        let ops = model.next_batch(&mut random);
        let submitted = disk.operations();
        match engine.write(batch(&ops)).and_then(Commit::wait) {
            Ok(committed) => {
                let first_offset = Some(committed.first_offset);
                model.attempts.push(Attempt { submitted, acked: Some(disk.operations()), first_offset, ops });
                acked = model.attempts.len();
            }
            // It may be there or not; nothing else is taken any more.
            Err(WriteError::CommitUnknown { .. }) => {
                model.attempts.push(Attempt { submitted, acked: None, first_offset: None, ops });
                break;
            }
            // It is not there, and its number is free again.
            Err(
                WriteError::StorageFull { .. } | WriteError::NotWritten { .. } | WriteError::Poisoned { .. },
            ) => {}
            Err(other) => panic!("{other:?}"),
        }
        match step {
            5 => drop(engine.flush()),
            9 => drop(engine.compact()),
            _ => {}
        }
    }
    engine.close().ok();
    Some((model, acked))
}
