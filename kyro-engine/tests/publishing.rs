//! What is new is durable before it is named, and verified before it answers; what is old goes when nothing can name it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod meddler;
mod workload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kyro_engine::storage::SimDisk;
use kyro_engine::storage::sim::{Fault, FaultKind};
use kyro_engine::{Batch, Commit, Engine, MaintenanceError};
use kyro_rmi::{BuildOptions, Column, Rmi};
use meddler::Meddler;
use workload::{DIR, options};

/// An index for as many other keys, sealed as the one of this column.
fn index_of_other_keys(index: &[u8]) -> Vec<u8> {
    let number = |at: usize| u64::from_le_bytes(index[at..at + 8].try_into().unwrap());
    let column =
        Column { uuid: index[16..32].try_into().unwrap(), checksum: number(32) as u32, keys: number(40) };
    let others: Vec<u64> = (0..column.keys).map(|position| (1 << 60) + position * position).collect();
    Rmi::build(&others, &BuildOptions::default()).unwrap().encode(&column).unwrap()
}

#[test]
fn an_index_that_answers_wrongly_is_not_published() {
    let disk = SimDisk::new();
    let storage = Meddler::new(disk.clone());
    let engine = Engine::open_on(Arc::new(storage.clone()), DIR, options()).unwrap();
    let mut batch = Batch::new();
    for key in 0..500_u64 {
        batch.put(key * 7, "here");
    }
    engine.write(batch).and_then(Commit::wait).unwrap();
    let lies = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&lies);
    storage.set_lie(move |path, bytes| {
        if path.extension().is_some_and(|ext| ext == "idx") {
            told.fetch_add(1, Ordering::SeqCst);
            return index_of_other_keys(&bytes);
        }
        bytes
    });
    let flushed = engine.flush();
    assert!(matches!(flushed, Err(MaintenanceError::Unverified { .. })), "{flushed:?}");
    assert!(lies.load(Ordering::SeqCst) > 0, "the index was not read back");
    storage.set_lie(|_, bytes| bytes);
    engine.flush().unwrap();
    for key in 0..500_u64 {
        assert_eq!(engine.get(key * 7).unwrap().as_deref(), Some(&b"here"[..]));
    }
    assert_eq!(engine.stats().mispredicts, 0);
}

/// A compaction whose manifest was renamed but not synced: the next process reads the new manifest from the page cache,
/// where the old run is nobody's. The old manifest, on the disk, still names it.
#[test]
fn a_run_goes_only_when_no_manifest_on_the_disk_can_name_it() {
    let quiet = || {
        let mut options = options();
        options.confirm_after = Duration::from_secs(3600);
        options
    };
    let open = |disk: &SimDisk| Engine::open_on(Arc::new(disk.clone()), Path::new(DIR), quiet());
    let (mut unnamed, mut stale) = (0, 0);
    // What a failed sync leaves on the disk depends on when it comes: several histories.
    for history in 0..16_u64 {
        let disk = SimDisk::new();
        let engine = open(&disk).unwrap();
        for part in 0..2 + history % 2 {
            let mut batch = Batch::new();
            for key in 0..20 + history {
                batch.put(key, part.to_le_bytes());
            }
            engine.write(batch).and_then(Commit::wait).unwrap();
            engine.flush().unwrap();
        }
        engine.put(7, "the last").unwrap();
        for _ in 0..history {
            engine.put(8, "again").unwrap();
        }
        engine.flush().unwrap();
        engine.close().unwrap();
        drop(engine);
        let manifest = |disk: &SimDisk| disk.read(Path::new("/db/MANIFEST")).unwrap();
        let before = manifest(&disk);
        for nth in 0..60 {
            let disk = disk.fork();
            let engine = open(&disk).unwrap();
            disk.inject(Fault { at: disk.operations() + nth, kind: FaultKind::SyncError, sticky: true });
            let compacted = engine.compact();
            let left = disk.restart();
            left.clear_faults();
            drop(engine);
            if compacted.is_ok() || manifest(&left) == before {
                continue;
            }
            // The second process only opens, and reads.
            let runs = |disk: &SimDisk| {
                disk.contents().into_keys().filter(|path| path.starts_with("/db/runs")).count()
            };
            let runs_before = runs(&left);
            stale += u64::from(manifest(&left.crash(0)) != manifest(&left));
            let engine = open(&left).unwrap();
            let context = format!("history {history}, sync {nth} failed, restarted");
            assert_eq!(engine.get(7).unwrap().as_deref(), Some(&b"the last"[..]), "{context}");
            unnamed += u64::from(runs(&left) < runs_before);
            for seed in 0..12 {
                let engine = open(&left.crash(seed))
                    .unwrap_or_else(|error| panic!("{context}, cut {seed}: {error:?}"));
                assert_eq!(
                    engine.get(7).unwrap().as_deref(),
                    Some(&b"the last"[..]),
                    "{context}, cut {seed}"
                );
            }
        }
    }
    assert!(unnamed > 0, "no opening removed a run");
    assert!(stale > 0, "no opening read a manifest that the disk does not have");
}

/// A flush over several segments, cut at each of its operations: the log goes only when the run that covers it is
/// durable and named.
#[test]
fn a_flush_cut_anywhere_loses_nothing() {
    let disk = SimDisk::new();
    let open = |disk: &SimDisk| Engine::open_on(Arc::new(disk.clone()), Path::new(DIR), options());
    let engine = open(&disk).unwrap();
    for key in 0..40 {
        engine.put(key, [key as u8; 1500]).unwrap();
    }
    disk.record_history();
    let report = engine.flush().unwrap();
    assert!(report.segments_removed > 0, "{report:?}");
    let moments = disk.take_history();
    assert!(moments.len() > 15, "{} operations", moments.len());
    for moment in moments {
        for manner in [0, 1, 2 + moment.operation, 100 + moment.operation] {
            let context = format!("cut before operation {}, manner {manner}", moment.operation);
            let engine = open(&moment.disk.crash(manner))
                .unwrap_or_else(|error| panic!("{context}: refused: {error:?}"));
            for key in 0..40 {
                let found = engine.get(key).unwrap();
                assert_eq!(found.as_deref(), Some(&[key as u8; 1500][..]), "{context}: key {key}");
            }
        }
    }
}
