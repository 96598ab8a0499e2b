//! Backups that are incremental, and restoring one: whole under its name or not there, verified, apart from the original.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kyro_engine::storage::sim::{Fault, FaultKind};
use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{CheckpointOptions, Engine, Options, RestoreError, restore, restore_on};

fn small() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options
}

fn fill(engine: &Engine, keys: std::ops::Range<u64>) {
    for key in keys {
        engine.put(key, key.to_le_bytes()).unwrap();
    }
}

fn check(engine: &Engine, keys: u64) {
    assert_eq!(engine.count(..).unwrap(), keys);
    for key in 0..keys {
        assert_eq!(engine.get(key).unwrap().as_deref(), Some(&key.to_le_bytes()[..]), "{key}");
    }
}

fn run_files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut files: Vec<_> = fs::read_dir(dir.join("runs"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (PathBuf::from(entry.file_name()), entry.metadata().unwrap().ino()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_backup_above_another_copies_only_what_is_new() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let engine = Engine::open(at("db"), small()).unwrap();
    fill(&engine, 0..500);
    let mut options = CheckpointOptions::default();
    options.copy = true;
    let first = engine.checkpoint_with(at("1"), &options).unwrap();
    assert_eq!((first.runs, first.copied, first.reused, first.linked), (1, 2, 0, 0));
    fill(&engine, 500..1000);
    options.base = Some(at("1"));
    let second = engine.checkpoint_with(at("2"), &options).unwrap();
    assert_eq!((second.runs, second.copied, second.reused, second.linked), (2, 2, 2, 0));
    assert!(second.copied_bytes < second.bytes, "{second:?}");
    let (one, two, original) = (run_files(&at("1")), run_files(&at("2")), run_files(&at("db")));
    assert!(one.iter().all(|file| two.contains(file)), "second names: {one:?} {two:?}");
    assert!(two.iter().all(|file| !original.contains(file)), "no file is shared with the database");
    // A base that rotted is not believed.
    let rotten = at("2").join("runs").join(&two[0].0);
    let mut bytes = fs::read(&rotten).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&rotten, bytes).unwrap();
    options.base = Some(at("2"));
    let third = engine.checkpoint_with(at("3"), &options).unwrap();
    assert_eq!((third.runs, third.copied + third.reused), (2, 4));
    assert!(third.copied >= 2, "the damaged run is copied from the original: {third:?}");
    engine.close().unwrap();
    restore(at("3"), at("restored"), None).unwrap();
    check(&Engine::open(at("restored"), small()).unwrap(), 1000);
}

#[test]
fn what_is_restored_is_verified_and_shares_nothing() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let engine = Engine::open(at("db"), small()).unwrap();
    fill(&engine, 0..300);
    engine.append("an event without a key").unwrap();
    engine.checkpoint(at("backup")).unwrap();
    fill(&engine, 300..310);
    engine.close().unwrap();
    let report = restore(at("backup"), at("new"), None).unwrap();
    assert_eq!(
        (report.entries, report.files),
        (300, 4),
        "a run, its index, the log, the manifest: {report:?}"
    );
    assert_eq!(report.operations, 1, "the event: everything else is in the run");
    let (backup, new) = (run_files(&at("backup")), run_files(&at("new")));
    assert!(new.iter().all(|file| !backup.contains(file)));
    let restored = Engine::open(at("new"), small()).unwrap();
    check(&restored, 300);
    assert!(restored.put(1, "goes on").unwrap() >= 301, "offsets go on behind those of the backup");
    let refused = restore(at("backup"), at("new"), None).unwrap_err();
    assert!(matches!(refused, RestoreError::Exists { .. }), "{refused:?}");
    let refused = restore(at("nothing"), at("other"), None).unwrap_err();
    assert!(matches!(refused, RestoreError::Backup(_)) && !at("other").exists(), "{refused:?}");
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let engine = Engine::open(at("db"), small()).unwrap();
    fill(&engine, 0..300);
    engine.checkpoint(at("backup")).unwrap();
    for (file, _) in run_files(&at("backup")) {
        let path = at("backup").join("runs").join(file);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 0x10;
        // The file has two names: it is replaced, as the database must not be harmed.
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        let refused = restore(at("backup"), at("new"), None).unwrap_err();
        assert!(matches!(refused, RestoreError::Damaged { .. }), "{}: {refused:?}", path.display());
        assert!(!at("new").exists() && !at("new.partial").exists());
        fs::write(&path, whole).unwrap();
    }
    restore(at("backup"), at("new"), None).unwrap();
    check(&engine, 300);
}

#[test]
fn cut_or_failed_at_any_operation_it_is_whole_or_not_there() {
    let disk = SimDisk::new();
    let prepare = |disk: &SimDisk| {
        let engine = Engine::open_on(Arc::new(disk.clone()), "/db", small()).unwrap();
        fill(&engine, 0..200);
        engine.checkpoint("/backup").unwrap();
        engine.close().unwrap();
    };
    let run = |disk: &SimDisk| {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        restore_on(&storage, Path::new("/backup"), Path::new("/new"), None)
    };
    prepare(&disk);
    let begun = disk.operations();
    disk.record_history();
    run(&disk).unwrap();
    let operations = disk.operations() - begun;
    let mut seen = [0, 0];
    for moment in disk.take_history() {
        let after = moment.disk.crash(moment.operation);
        let there = after.list(Path::new("/")).unwrap().contains(&"new".to_owned());
        if !there {
            run(&after).expect("what was left is no obstacle");
        }
        check(&Engine::open_on(Arc::new(after), "/new", small()).unwrap(), 200);
        seen[usize::from(there)] += 1;
    }
    assert!(seen[0] > 10 && operations > 10, "{seen:?} of {operations}");
    for at in 0..operations {
        let disk = SimDisk::new();
        prepare(&disk);
        disk.inject(Fault { at: disk.operations() + at, kind: FaultKind::NoSpace, sticky: false });
        let made = run(&disk);
        disk.clear_faults();
        if made.is_ok() {
            check(&Engine::open_on(Arc::new(disk), "/new", small()).unwrap(), 200);
        } else {
            let names = disk.list(Path::new("/")).unwrap();
            assert!(!names.contains(&"new.partial".to_owned()), "fault {at}: {names:?}");
        }
    }
}
