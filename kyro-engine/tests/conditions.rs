//! Conditional writes and writes that are synced for themselves: alone, against each other, and across power cuts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod meddler;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{Batch, Condition, Durability, Engine, Options, ReadError, WriteError, WriteOptions};
use meddler::{Act, ENOSPC, Meddler, Op, errno};

const COUNTER: u64 = u64::MAX;

fn open(storage: impl Storage, change: impl FnOnce(&mut Options)) -> Engine {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options.ballast_bytes = 0;
    options.confirm_after = Duration::from_millis(1);
    change(&mut options);
    Engine::open_on(Arc::new(storage), "/db", options).unwrap()
}

/// The log is written for groups only, not for a witness when some time has passed: the first write is the first group's.
fn without_witness(options: &mut Options) {
    options.confirm_after = Duration::from_secs(3600);
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// The condition on a key as it was found.
fn unchanged(entry: Option<&(u64, bytes::Bytes)>) -> Condition {
    entry.map_or(Condition::Absent, |(offset, _)| Condition::Offset(*offset))
}

/// Adds one to the counter, and puts its new value under a key of its own in the same batch.
fn increment(engine: &Engine, own: u64) {
    loop {
        let entry = engine.get_entry(COUNTER).unwrap();
        let next = entry.as_ref().map_or(0, |(_, value)| number(value)) + 1;
        let mut batch = Batch::new();
        batch.put(own, next.to_le_bytes());
        batch.put_if(COUNTER, next.to_le_bytes(), unchanged(entry.as_ref()));
        match engine.write_waiting(batch).unwrap().wait() {
            Ok(committed) => {
                assert_eq!(committed.last_offset, committed.first_offset + 1);
                return;
            }
            Err(WriteError::PreconditionFailed { failed }) => {
                assert_eq!((failed.len(), failed[0].index, failed[0].key), (1, 1, COUNTER));
                assert_ne!(Some(failed[0].expected), failed[0].found.map(Condition::Offset));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// The counter, checked: the batches that are there are those that counted to it, each once.
fn counted(engine: &Engine, keys: impl Iterator<Item = u64>) -> u64 {
    let counter = engine.get(COUNTER).unwrap().map_or(0, |value| number(&value));
    let mut steps: Vec<u64> =
        keys.filter_map(|key| engine.get(key).unwrap()).map(|value| number(&value)).collect();
    steps.sort_unstable();
    assert_eq!(steps, (1..=counter).collect::<Vec<_>>(), "an increment was lost or made twice");
    counter
}

#[test]
fn each_condition_is_met_or_refuses_the_whole_batch() {
    let engine = open(SimDisk::new(), |_| ());
    let found = |result: Result<u64, WriteError>| match result {
        Err(WriteError::PreconditionFailed { failed }) => failed[0].found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found(engine.put_if(1, "x", Condition::Present)), None);
    assert_eq!(found(engine.put_if(1, "x", Condition::Offset(0))), None);
    let first = engine.put_if(1, "x", Condition::Absent).unwrap();
    assert_eq!(first, 0, "what was refused took no offset");
    assert_eq!(found(engine.put_if(1, "y", Condition::Absent)), Some(first));
    // From a run, and with a tombstone above it.
    engine.flush().unwrap();
    assert_eq!(found(engine.delete_if(1, Condition::Offset(7))), Some(first));
    let second = engine.put_if(1, "z", Condition::Offset(first)).unwrap();
    assert_eq!(found(engine.delete_if(1, Condition::Offset(first))), Some(second));
    engine.delete_if(1, Condition::Present).unwrap();
    assert_eq!(found(engine.delete_if(1, Condition::Present)), None);
    engine.flush().unwrap();
    assert_eq!(found(engine.delete_if(1, Condition::Present)), None);

    let before = engine.next_offset();
    let mut batch = Batch::new();
    batch.put(5, "a").put_if(6, "b", Condition::Absent).put_if(1, "c", Condition::Present).append("d");
    batch.delete_if(7, Condition::Offset(3));
    let refused = engine.write(batch).unwrap().wait();
    let Err(error @ WriteError::PreconditionFailed { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("2 of the batch's conditions"), "{error}");
    assert!(!engine.contains(5).unwrap() && !engine.contains(6).unwrap());
    assert_eq!(engine.next_offset(), before);
}

#[test]
fn increments_of_many_threads_are_all_there() {
    const THREADS: u64 = 8;
    const TIMES: u64 = 200;
    let engine = open(SimDisk::new(), |options| {
        options.auto_flush = true;
        options.delta_bytes = 20_000;
    });
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for time in 0..TIMES {
                    increment(engine, thread * TIMES + time);
                    // However late the engine's own thread comes to it: conditions are read from runs too.
                    if thread == 0 && time % 50 == 25 {
                        engine.flush().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(counted(&engine, 0..THREADS * TIMES), THREADS * TIMES);
    assert!(engine.stats().flushes > 0);
}

#[test]
fn batches_of_one_group_see_each_other_in_order() {
    let disk = Meddler::new(SimDisk::new());
    let engine = open(disk.clone(), without_witness);
    engine.put(1, "first").unwrap();
    // The committer is held in a write while a whole group gathers behind it.
    let (held, release) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let once = AtomicU64::new(0);
    let (in_write, go_on) = (Arc::clone(&held), Arc::clone(&release));
    disk.set(move |op, path| {
        if op == Op::Write && path.starts_with("/db/wal") && once.fetch_add(1, Ordering::SeqCst) == 0 {
            in_write.wait();
            go_on.wait();
        }
        None
    });
    let mut blocked = Batch::new();
    blocked.put(9, "blocked");
    let blocked = engine.write(blocked).unwrap();
    held.wait();
    let groups = engine.stats().groups;
    let commits: Vec<_> = (0..4)
        .map(|value: u8| {
            let mut batch = Batch::new();
            batch.put_if(2, [value], Condition::Absent);
            engine.write(batch).unwrap()
        })
        .collect();
    let mut batch = Batch::new();
    batch.delete_if(2, Condition::Present);
    let deleted = engine.write(batch).unwrap();
    let mut again = Batch::new();
    again.put_if(2, "again", Condition::Absent);
    let again = engine.write(again).unwrap();
    release.wait();
    let blocked = blocked.wait().unwrap().first_offset;
    let outcomes: Vec<_> = commits.into_iter().map(kyro_engine::Commit::wait).collect();
    assert_eq!(outcomes[0].as_ref().unwrap().first_offset, blocked + 1);
    for refused in &outcomes[1..] {
        let Err(WriteError::PreconditionFailed { failed }) = refused else { panic!("{refused:?}") };
        assert_eq!(failed[0].found, Some(blocked + 1));
    }
    assert_eq!(deleted.wait().unwrap().first_offset, blocked + 2, "the refused ones took no offset");
    assert_eq!(again.wait().unwrap().first_offset, blocked + 3);
    assert_eq!(engine.get(2).unwrap().unwrap(), "again");
    assert_eq!(engine.stats().groups, groups + 2, "the blocked one, and one group of six batches");
}

#[test]
fn nobody_is_refused_for_what_was_not_written() {
    let disk = Meddler::new(SimDisk::new());
    let engine = open(disk.clone(), without_witness);
    engine.put(1, "first").unwrap();
    let (held, release) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let writes = AtomicU64::new(0);
    let (in_write, go_on) = (Arc::clone(&held), Arc::clone(&release));
    disk.set(move |op, path| {
        if op != Op::Write || !path.starts_with("/db/wal") {
            return None;
        }
        match writes.fetch_add(1, Ordering::SeqCst) {
            0 => {
                in_write.wait();
                go_on.wait();
                None
            }
            1 => Some(Act::Fail(errno(ENOSPC))),
            _ => None,
        }
    });
    let mut blocked = Batch::new();
    blocked.put(9, "blocked");
    let blocked = engine.write(blocked).unwrap();
    held.wait();
    let commits: Vec<_> = (0..2)
        .map(|value: u8| {
            let mut batch = Batch::new();
            batch.put_if(2, [value], Condition::Absent);
            engine.write(batch).unwrap()
        })
        .collect();
    release.wait();
    blocked.wait().unwrap();
    for commit in commits {
        let outcome = commit.wait();
        assert!(matches!(outcome, Err(WriteError::StorageFull { .. })), "{outcome:?}");
    }
    disk.clear();
    engine.put_if(2, "x", Condition::Absent).unwrap();
}

#[test]
fn a_condition_that_cannot_be_read_refuses_its_batch_only() {
    let disk = SimDisk::new();
    let engine = open(disk.clone(), |_| ());
    (0..100).for_each(|key| assert!(engine.put(key, [7; 100]).unwrap() < 100));
    engine.flush().unwrap();
    engine.close().unwrap();
    drop(engine);
    let run =
        disk.contents().into_keys().find(|path| path.extension().is_some_and(|it| it == "run")).unwrap();
    // The key column follows the values: 100 × 100 bytes behind the header.
    for byte in (10_000..12_000).step_by(50) {
        disk.flip_bit(&run, byte * 8).unwrap();
    }
    let engine = match Engine::open_on(Arc::new(disk.clone()), "/db", Options::default()) {
        Ok(engine) => engine,
        Err(error) => panic!("the run opens, and says so when it is read: {error}"),
    };
    let refused = engine.put_if(5, "x", Condition::Present);
    let Err(WriteError::Unchecked(source)) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, ReadError::Corrupt { .. }), "{source}");
    engine.put(5, "y").unwrap();
    engine.put_if(5, "z", Condition::Present).unwrap();
    assert!(engine.stats().poisoned.is_none());
}

#[test]
fn what_was_counted_is_there_after_any_power_cut() {
    let disk = SimDisk::new();
    disk.record_history();
    let engine = open(disk.clone(), |_| ());
    let acked = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (engine, disk, acked) = (&engine, &disk, &acked);
            scope.spawn(move || {
                for time in 0..8 {
                    increment(engine, thread * 8 + time);
                    acked.lock().unwrap().push(disk.operations());
                }
            });
        }
    });
    engine.close().unwrap();
    let acked = acked.into_inner().unwrap();
    let mut states = 0;
    for moment in disk.take_history() {
        let least = acked.iter().filter(|at| **at <= moment.operation).count() as u64;
        for manner in 0..4 {
            let engine = open(moment.disk.crash(manner * (1 + moment.operation)), |_| ());
            let count = counted(&engine, 0..24);
            assert!(count >= least, "{least} increments were acknowledged, {count} are there");
            increment(&engine, 24);
            assert_eq!(counted(&engine, 0..25), count + 1);
            states += 1;
        }
    }
    assert!(states > 100, "{states}");
}

#[test]
fn one_write_is_synced_where_the_others_are_not() {
    for durability in [Durability::Never, Durability::Interval(Duration::from_secs(3600))] {
        let disk = SimDisk::new();
        let engine = open(disk.clone(), |options| {
            options.durability = durability;
            options.confirm_after = Duration::from_secs(3600);
        });
        let write = |key: u64, options| {
            let mut batch = Batch::new();
            batch.put(key, "x");
            engine.write_with(batch, options).unwrap().wait().unwrap();
        };
        write(1, WriteOptions::new());
        assert!(!open(disk.crash(0), |_| ()).contains(1).unwrap(), "{durability:?}: it was only in memory");
        write(2, WriteOptions::new().sync());
        write(3, WriteOptions::new().wait());
        let left = open(disk.crash(0), |_| ());
        let kept: Vec<u64> = (1..=3).filter(|key| left.contains(*key).unwrap()).collect();
        assert_eq!(kept, [1, 2], "{durability:?}: the synced one and what came before it");
        assert_eq!(engine.stats().syncs, 1, "{durability:?}");
    }
}
