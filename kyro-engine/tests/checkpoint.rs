//! Checkpoints: whole, of one moment, under their name only when they are done, and of no effect on the original.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;

use kyro_engine::storage::SimDisk;
use kyro_engine::storage::sim::{Fault, FaultKind};
use kyro_engine::{CheckpointError, Engine, EventOp, Options};

fn small() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options
}

fn open(disk: &SimDisk, dir: &str) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), dir, small()).unwrap_or_else(|error| panic!("{dir}: {error:?}"))
}

/// Two runs, a delete, events, a crash between them (so that offsets are skipped), and writes in memory.
fn fill(disk: &SimDisk) -> (SimDisk, Engine) {
    let engine = open(disk, "/db");
    (0..100).for_each(|key| assert_eq!(engine.put(key, [1; 50]).unwrap(), key));
    engine.flush().unwrap();
    engine.append("first event").unwrap();
    (50..150).for_each(|key| assert!(engine.put(key, [2; 50]).unwrap() > 100));
    let disk = disk.restart();
    let engine = open(&disk, "/db");
    engine.append("second event").unwrap();
    engine.flush().unwrap();
    engine.delete(7).unwrap();
    engine.put(200, "in memory").unwrap();
    (disk, engine)
}

fn check(engine: &Engine) {
    for key in 0..150_u64 {
        let value = if key < 50 { [1; 50] } else { [2; 50] };
        let expected = (key != 7).then_some(&value[..]);
        assert_eq!(engine.get(key).unwrap().as_deref(), expected, "key {key}");
    }
    assert_eq!(engine.get(200).unwrap().as_deref(), Some(&b"in memory"[..]));
    let events: Vec<_> = engine
        .replay(engine.oldest_offset(), None)
        .unwrap()
        .map(|event| event.unwrap())
        .filter_map(|event| match event.op {
            EventOp::Append { payload } => Some((event.offset, payload)),
            _ => None,
        })
        .collect();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].0, 100);
    assert_eq!(&*events[1].1, b"second event");
}

fn names(disk: &SimDisk) -> Vec<String> {
    use kyro_engine::storage::Storage;
    disk.list(Path::new("/")).unwrap()
}

#[test]
fn a_checkpoint_opens_as_what_it_was_made_of_and_both_go_on() {
    let (disk, engine) = fill(&SimDisk::new());
    let report = engine.checkpoint("/copy").unwrap();
    assert_eq!(report.next_offset, engine.next_offset());
    assert_eq!((report.runs, report.linked, report.copied), (3, 6, 0));
    assert!(matches!(engine.checkpoint("/copy"), Err(CheckpointError::Exists { .. })));
    engine.put(1, "only here").unwrap();
    engine.compact().unwrap();

    let after = disk.crash(0);
    assert_eq!(names(&after), ["copy", "db"]);
    let copy = open(&after, "/copy");
    check(&copy);
    let next = copy.next_offset();
    assert!(copy.put(2, "only there").unwrap() >= next);
    copy.compact().unwrap();
    copy.close().unwrap();
    let original = open(&after, "/db");
    assert_eq!(original.get(1).unwrap().as_deref(), Some(&b"only here"[..]));
    assert_eq!(original.get(2).unwrap().as_deref(), Some(&[1; 50][..]));
    assert_eq!(open(&after, "/copy").get(2).unwrap().as_deref(), Some(&b"only there"[..]));
}

#[test]
fn cut_or_failed_at_any_operation_it_is_whole_or_not_there() {
    let (disk, engine) = fill(&SimDisk::new());
    let begun = disk.operations();
    disk.record_history();
    engine.checkpoint("/copy").unwrap();
    let mut seen = [0, 0];
    for moment in disk.take_history() {
        for seed in [0, 1, 2 + moment.operation] {
            let after = moment.disk.crash(seed);
            check(&open(&after, "/db"));
            let there = names(&after).contains(&"copy".to_owned());
            if there {
                check(&open(&after, "/copy"));
            } else {
                open(&after, "/db").checkpoint("/copy").expect("what was left is no obstacle");
            }
            seen[usize::from(there)] += 1;
        }
    }
    let operations = disk.operations() - begun;
    assert!(seen[0] > 30, "{seen:?}");
    for at in 0..operations {
        let (disk, engine) = fill(&SimDisk::new());
        disk.inject(Fault { at: disk.operations() + at, kind: FaultKind::NoSpace, sticky: false });
        let made = engine.checkpoint("/copy");
        disk.clear_faults();
        // A fault may strike the confirming of the log instead, or what is done as well as it can.
        match made {
            Ok(_) => check(&open(&disk, "/copy")),
            Err(_) => assert!(!names(&disk).contains(&"copy.partial".to_owned()), "fault {at}"),
        }
        check(&engine);
    }
}

#[test]
fn on_a_real_file_system_runs_are_linked() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path().join("db"), small()).unwrap();
    engine.put(1, "one").unwrap();
    let report = engine.checkpoint(dir.path().join("copy")).unwrap();
    assert_eq!((report.linked, report.copied), (2, 0));
    let run = std::fs::read_dir(dir.path().join("copy/runs")).unwrap().next().unwrap().unwrap();
    assert_eq!(run.metadata().unwrap().nlink(), 2);
    let copy = Engine::open(dir.path().join("copy"), small()).unwrap();
    assert_eq!(copy.get(1).unwrap().as_deref(), Some(&b"one"[..]));
}
