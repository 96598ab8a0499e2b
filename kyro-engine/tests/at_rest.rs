//! What a clean close leaves of the log: what a later session needs, and of the rest a small segment.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;

use kyro_engine::storage::SimDisk;
use kyro_engine::storage::sim::{Fault, FaultKind};
use kyro_engine::{Batch, Commit, Engine, Options};

const DIR: &str = "/db";
/// A segment of the smallest size, which holds nothing.
const EMPTY: usize = 16 << 10;

fn open(disk: &SimDisk) -> Engine {
    let mut options = Options::default();
    options.wal_segment_bytes = 64 << 10;
    options.auto_flush = false;
    options.ballast_bytes = 4096;
    Engine::open_on(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

fn fill(engine: &Engine) {
    for key in 0..20_u64 {
        let mut batch = Batch::new();
        batch.put(key, [key as u8; 1000]);
        engine.write(batch).and_then(Commit::wait).unwrap();
    }
}

fn log_bytes(disk: &SimDisk) -> usize {
    let files = disk.contents().into_iter().filter(|(path, _)| path.starts_with("/db/wal"));
    files.map(|(_, bytes)| bytes.len()).sum()
}

#[test]
fn what_runs_hold_goes_in_the_session_that_flushed_it_or_in_a_later_one() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    fill(&engine);
    engine.close().unwrap();
    drop(engine);
    assert!(log_bytes(&disk) > 20_000, "no run holds it");
    let still = disk.contents();
    open(&disk).close().unwrap();
    assert_eq!(disk.contents(), still, "nothing was changed, so nothing changes");
    // This session writes nothing into the log.
    let engine = open(&disk);
    engine.compact().unwrap();
    engine.close().unwrap();
    drop(engine);
    assert_eq!(log_bytes(&disk), EMPTY);
    let engine = open(&disk);
    assert_eq!((engine.oldest_offset(), engine.next_offset()), (20, 20));
    assert_eq!(engine.put(99, "new").unwrap(), 20);
    assert_eq!(engine.get(19).unwrap().as_deref(), Some(&[19; 1000][..]));
    engine.close().unwrap();
}

#[test]
fn history_that_someone_follows_is_there_after_a_restart() {
    for follows in [true, false] {
        let disk = SimDisk::new();
        let engine = open(&disk);
        fill(&engine);
        engine.flush().unwrap();
        if follows {
            assert_eq!(engine.replay(19, None).unwrap().count(), 1);
        }
        engine.close().unwrap();
        drop(engine);
        let engine = open(&disk);
        assert_eq!(engine.replay(19, None).is_ok(), follows, "{} is the oldest", engine.oldest_offset());
        assert_eq!(engine.replay(20, None).unwrap().count(), 0);
        engine.close().unwrap();
    }
}

/// Whatever fails while it goes, once or from then on: nothing is lost, no offset is given twice, nothing is refused.
#[test]
fn a_fault_at_any_operation_of_the_close_loses_nothing() {
    let kinds = [
        FaultKind::Eio,
        FaultKind::NoSpace,
        FaultKind::ShortWrite,
        FaultKind::SyncError,
        FaultKind::PowerCut,
    ];
    let mut cases = 0;
    for (kind, sticky) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        for nth in 0.. {
            let disk = SimDisk::new();
            let engine = open(&disk);
            fill(&engine);
            engine.flush().unwrap();
            disk.inject(Fault { at: disk.operations() + nth, kind, sticky });
            let closed = engine.close();
            drop(engine);
            if disk.faults_fired() == 0 {
                break;
            }
            cases += 1;
            disk.clear_faults();
            for manner in 0..4 {
                let what = format!("{kind:?}, sticky {sticky}, operation {nth}, manner {manner}, {closed:?}");
                let after = if manner == 3 { disk.restart() } else { disk.crash(manner * (1 + nth)) };
                let engine = open(&after);
                assert!((0..20).all(|key| engine.contains(key).unwrap()), "{what}");
                assert!(engine.next_offset() >= 20, "{what}");
                let given = engine.put(99, "new").unwrap();
                assert!(given >= 20, "{what}: offset {given} again");
                engine.close().unwrap_or_else(|error| panic!("{what}: {error}"));
                drop(engine);
                let engine = open(&after);
                assert!(engine.contains(99).unwrap() && engine.contains(19).unwrap(), "{what}");
            }
        }
    }
    assert!(cases > 100, "{cases} cases");
}
