//! Versions of the content: pushed whole, rolled back, pruned, added as a layer; beside writers and readers, and over
//! reopening, repair, verification, checkpoints and other processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::storage::SimDisk;
use kyro_engine::storage::sim::{Fault, FaultKind};
use kyro_engine::{
    BulkBuild, BulkOptions, Condition, Engine, EventOp, Options, RepairError, RepairOptions, Scan,
    VersionError, VersionId, WriteError, repair_on, verify, verify_on,
};

fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.ballast_bytes = 0;
    options.auto_flush = false;
    options
}

fn open(disk: &SimDisk) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), "/db", options()).unwrap()
}

/// Builds a data set of `keys`, each with `value` and its own number.
fn build(disk: &SimDisk, dir: &str, keys: impl Iterator<Item = u64>, value: &str) {
    let mut bulk = BulkOptions::default();
    bulk.engine = options();
    let mut build = BulkBuild::create_on(Arc::new(disk.clone()), dir, bulk).unwrap();
    for key in keys {
        build.push(key, format!("{value} {key}").as_bytes()).unwrap();
    }
    build.finish().unwrap();
}

fn content(engine: &Engine) -> BTreeMap<u64, String> {
    let entries = engine.view().unwrap().scan(Scan::all());
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let found: BTreeMap<_, _> =
        entries.map(|entry| entry.unwrap()).map(|entry| (entry.key, text(&entry.value))).collect();
    for (&key, value) in &found {
        assert_eq!(engine.get(key).unwrap().as_deref(), Some(value.as_bytes()));
    }
    found
}

fn set(keys: impl Iterator<Item = u64>, value: &str) -> BTreeMap<u64, String> {
    keys.map(|key| (key, format!("{value} {key}"))).collect()
}

#[test]
fn a_push_replaces_everything_and_a_rollback_brings_it_back() {
    let disk = SimDisk::new();
    build(&disk, "/first", 0..500, "first");
    build(&disk, "/second", 100..300, "second");
    let mut engine = open(&disk);
    assert_eq!(engine.versions().len(), 1);
    for key in 0..50 {
        engine.put(key, format!("own {key}")).unwrap();
    }
    engine.delete_range(40..=49).unwrap();
    let own = content(&engine);
    let view = engine.view().unwrap();

    let pushed = engine.push("/first", "first set").unwrap();
    assert_eq!((pushed.version, pushed.offset, pushed.entries), (VersionId(1), 51, 500));
    assert_eq!(content(&engine), set(0..500, "first"));
    assert_eq!(view.get(3).unwrap().as_deref(), Some(&b"own 3"[..]), "a view from before");
    assert_eq!((view.next_offset(), engine.view().unwrap().next_offset()), (51, 52));
    assert_eq!(engine.offset(7).unwrap(), Some(51), "every entry has the push's offset");
    let event = engine.replay(51, None).unwrap().next().unwrap().unwrap();
    assert_eq!(event.op, EventOp::Version { id: VersionId(1), label: "first set".to_owned() });

    // Writes go on top, with conditions and range deletes in the order of offsets.
    assert_eq!(engine.put_if(7, "seven", Condition::Offset(51)).unwrap(), 52);
    engine.delete_range(10..=499).unwrap();
    engine.put(20, "twenty").unwrap();
    let mut on_top = set(0..10, "first");
    on_top.extend([(7, "seven".to_owned()), (20, "twenty".to_owned())]);
    assert_eq!(content(&engine), on_top);

    let second = engine.push("/second", "second set").unwrap();
    assert_eq!((second.version, second.offset), (VersionId(2), 55));
    assert_eq!(content(&engine), set(100..300, "second"));
    engine.close().unwrap();
    engine = open(&disk);
    assert_eq!(content(&engine), set(100..300, "second"));

    let back = engine.rollback(VersionId(1)).unwrap();
    assert_eq!((back.version, back.offset), (VersionId(1), 56));
    assert_eq!(content(&engine), on_top, "with what was written on top of it");
    let ids: Vec<_> = engine.versions().iter().map(|one| (one.id.0, one.is_current, one.since)).collect();
    assert_eq!(ids, [(0, false, 0), (1, true, 56), (2, false, 55)]);
    assert!(matches!(engine.rollback(VersionId(1)), Err(VersionError::IsCurrent { .. })));
    assert!(matches!(engine.prune_version(VersionId(1)), Err(VersionError::IsCurrent { .. })));
    assert!(matches!(engine.rollback(VersionId(9)), Err(VersionError::NoSuchVersion { .. })));

    // Compactions are of the content alone; what is kept stays as it is.
    engine.compact().unwrap();
    assert_eq!(content(&engine), on_top);
    assert_eq!(engine.offset(3).unwrap(), Some(51), "also once it is written into another run");
    engine.rollback(VersionId(0)).unwrap();
    assert_eq!(content(&engine), own);
    let files = |disk: &SimDisk| disk.contents().keys().filter(|path| path.starts_with("/db/runs")).count();
    let before = files(&disk);
    assert!(engine.prune_version(VersionId(2)).unwrap() > 0);
    assert_eq!(files(&disk), before - 2, "a run and its index are gone");
    engine.close().unwrap();
    engine = open(&disk);
    assert_eq!(content(&engine), own);
    assert_eq!(engine.versions().len(), 2);
    engine.rollback(VersionId(1)).unwrap();
    assert_eq!(content(&engine), on_top);
    engine.verify().unwrap();
}

#[test]
fn a_layer_goes_on_top() {
    let disk = SimDisk::new();
    build(&disk, "/night", 5..15, "night");
    let engine = open(&disk);
    for key in 0..10 {
        engine.put(key, format!("own {key}")).unwrap();
    }
    engine.delete_range(8..=20).unwrap();
    let report = engine.ingest("/night", "nightly").unwrap();
    assert_eq!((report.version, report.offset), (VersionId(0), 11));
    let mut expected = set(0..5, "own");
    expected.extend(set(5..15, "night"));
    assert_eq!(content(&engine), expected);
    let event = engine.replay(11, None).unwrap().next().unwrap().unwrap();
    assert_eq!(event.op, EventOp::Layer { label: "nightly".to_owned() });
    engine.put(6, "later").unwrap();
    expected.insert(6, "later".to_owned());
    engine.compact().unwrap();
    assert_eq!(content(&engine), expected);
    assert_eq!(engine.offset(5).unwrap(), Some(11), "also in another run");
    engine.put(5, "trickle").unwrap();
    engine.ingest("/night", "again").unwrap();
    expected.extend(set(5..15, "night"));
    assert_eq!(content(&engine), expected);
    assert_eq!(content(&engine), expected);
    assert_eq!(engine.versions().len(), 1);
}

#[test]
fn what_is_no_data_set_is_refused_and_nothing_changes() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.put(1, "one").unwrap();
    let refused = |dir: &str| engine.push(dir, "x").unwrap_err();
    assert!(matches!(refused("/nowhere"), VersionError::NotADataSet { .. } | VersionError::DataSet(_)));
    assert!(matches!(engine.push("/nowhere", &"x".repeat(257)), Err(VersionError::Label { bytes: 257 })));

    let other = Engine::open_on(Arc::new(disk.clone()), "/open", options()).unwrap();
    other.put(2, "two").unwrap();
    assert!(matches!(refused("/open"), VersionError::DataSet(_)), "it is locked");
    other.close().unwrap();
    assert!(matches!(refused("/open"), VersionError::NotADataSet { .. }), "its log holds more");

    build(&disk, "/broken", 0..100, "broken");
    let run = Path::new("/broken/runs/0000000000000001.run");
    let mut bytes = disk.contents()[run].clone();
    bytes[100] ^= 1;
    disk.overwrite(run, &bytes).unwrap();
    let error = refused("/broken");
    assert!(matches!(error, VersionError::DataSet(_)), "{error:?}");
    assert_eq!(content(&engine), BTreeMap::from([(1, "one".to_owned())]));
    assert_eq!(engine.versions().len(), 1);
    assert!(!disk.contents().keys().any(|path| path.starts_with("/db/runs") && !path.ends_with("tmp")));
    assert_eq!(engine.put(2, "two").unwrap(), 1, "no offset was taken");

    // A broken index is mended.
    build(&disk, "/unindexed", 0..100, "unindexed");
    let index = Path::new("/unindexed/runs/0000000000000001.idx");
    disk.overwrite(index, &[7; 100]).unwrap();
    engine.push("/unindexed", "").unwrap();
    assert_eq!(content(&engine), set(0..100, "unindexed"));
    assert_eq!(engine.stats().mispredicts, 0);
}

#[test]
fn readers_see_one_version_and_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, value) in [("a", 1_u64), ("b", 2)] {
        let mut bulk = BulkOptions::default();
        bulk.engine.wal_segment_bytes = 64 << 10;
        let mut build = BulkBuild::create(path(name), bulk).unwrap();
        (0..2000).for_each(|key| build.push(key, &value.to_le_bytes()).unwrap());
        build.finish().unwrap();
    }
    let mut options = Options::default();
    options.durability = kyro_engine::Durability::Never;
    options.wal_segment_bytes = 1 << 20;
    let engine = Engine::open(path("db"), options).unwrap();
    engine.push(path("a"), "a").unwrap();
    let done = AtomicBool::new(false);
    let (reads, newest) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _ended = Ends(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let view = engine.view().unwrap();
                let keys: Vec<u64> = (0..2000).step_by(97).collect();
                let all = view.mget(&keys).unwrap();
                assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "two versions in one view");
                assert_eq!(view.count(..2000).unwrap(), 2000);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            // Each write is read back: from its own version, or it is gone with a switch that came later.
            let mut number = 0_u64;
            while !done.load(Ordering::Acquire) {
                number += 1;
                let offset = engine.put(10_000, number.to_le_bytes()).unwrap();
                let (found, since) = (
                    engine.view().unwrap().get_entry(10_000).unwrap(),
                    engine.versions().iter().find(|one| one.is_current).unwrap().since,
                );
                if since < offset {
                    assert_eq!(found.map(|(at, _)| at), Some(offset), "a write is gone");
                }
                newest.store(offset, Ordering::Release);
            }
        });
        // Both are under way.
        let start = Instant::now();
        while reads.load(Ordering::Relaxed) == 0 || newest.load(Ordering::Relaxed) == 0 {
            assert!(start.elapsed() < Duration::from_secs(60), "nobody reads or writes");
            std::thread::sleep(Duration::from_millis(1));
        }
        for round in 0..20 {
            let before = newest.load(Ordering::Acquire);
            let report = match round % 3 {
                0 => engine.push(path("b"), "b").unwrap(),
                1 => engine.push(path("a"), "a").unwrap(),
                _ => {
                    let kept = engine.versions().into_iter().rfind(|one| !one.is_current).unwrap();
                    engine.rollback(kept.id).unwrap()
                }
            };
            assert!(report.offset > before, "offsets go on");
        }
    });
    let kept: Vec<_> = engine.versions().into_iter().filter(|one| !one.is_current).collect();
    for version in &kept {
        engine.prune_version(version.id).unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    // Only now do the files stay as they are: flushes and merges run until the end.
    let verified = verify(path("db"), None).unwrap();
    assert!(
        verified.damage.is_empty() && verified.unnamed.is_empty(),
        "something was left over: {verified:?}"
    );
    let engine = Engine::open(path("db"), Options::default()).unwrap();
    assert_eq!(engine.versions().len(), 1);
    let value = engine.get(5).unwrap().unwrap();
    assert!((0..2000).all(|key| engine.get(key).unwrap().as_ref() == Some(&value)));
}

/// Ends the other threads, also where an assertion failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn others_see_it_too() {
    let disk = SimDisk::new();
    build(&disk, "/first", 0..100, "first");
    let storage: Arc<dyn kyro_engine::storage::Storage> = Arc::new(disk.clone());
    let engine = open(&disk);
    engine.put(3, "own 3").unwrap();
    let reader = Engine::open_read_only_on(Arc::clone(&storage), "/db", options()).unwrap();
    engine.push("/first", "first").unwrap();
    engine.put(200, "on top").unwrap();
    assert_eq!(reader.get(3).unwrap().as_deref(), Some(&b"own 3"[..]));
    reader.refresh().unwrap();
    assert_eq!(reader.get(3).unwrap().as_deref(), Some(&b"first 3"[..]));
    assert_eq!(reader.view().offset(3).unwrap(), Some(1));
    assert_eq!(reader.get(200).unwrap().as_deref(), Some(&b"on top"[..]));
    engine.checkpoint("/copy").unwrap();
    let expected = content(&engine);
    engine.close().unwrap();

    let copy = Engine::open_on(Arc::clone(&storage), "/copy", options()).unwrap();
    assert_eq!(content(&copy), expected);
    assert_eq!(copy.offset(3).unwrap(), Some(1));
    let versions = copy.versions();
    assert_eq!((versions.len(), versions[0].id, versions[0].label.as_str()), (1, VersionId(1), "first"));
    drop(copy);
    let report = verify_on(&storage, Path::new("/db"), None).unwrap();
    assert!(report.damage.is_empty() && report.unnamed.is_empty(), "{report:?}");
    repair_on(&storage, Path::new("/db"), Path::new("/mended"), &RepairOptions::default()).unwrap();
    let mended = Engine::open_on(storage, "/mended", options()).unwrap();
    assert_eq!(content(&mended), expected);
    assert_eq!((mended.offset(3).unwrap(), mended.offset(200).unwrap()), (Some(1), Some(2)));
}

/// A checkpoint has no version to go back to, and says so. A repair without a manifest mixes nothing.
#[test]
fn kept_versions_stay_out_of_checkpoints_and_of_repairs_without_a_manifest() {
    let disk = SimDisk::new();
    build(&disk, "/first", 0..100, "first");
    build(&disk, "/second", 50..150, "second");
    let storage: Arc<dyn kyro_engine::storage::Storage> = Arc::new(disk.clone());
    let engine = open(&disk);
    for key in 0..30 {
        engine.put(key, format!("own {key}")).unwrap();
    }
    engine.push("/first", "first").unwrap();
    engine.put(7, "on top").unwrap();
    engine.push("/second", "second").unwrap();
    engine.put(60, "on top of the second").unwrap();
    engine.flush().unwrap();
    let expected = content(&engine);
    assert_eq!(engine.versions().len(), 3);
    engine.checkpoint("/copy").unwrap();
    engine.close().unwrap();

    let copy = Engine::open_on(Arc::clone(&storage), "/copy", options()).unwrap();
    assert_eq!(content(&copy), expected);
    let versions = copy.versions();
    assert_eq!((versions.len(), versions[0].id, versions[0].is_current), (1, VersionId(2), true));
    for id in [0, 1] {
        let refused = copy.rollback(VersionId(id)).unwrap_err();
        assert!(matches!(refused, VersionError::NoSuchVersion { .. }), "{refused}");
    }
    copy.close().unwrap();
    for dir in ["/db", "/copy"] {
        let mended = format!("{dir}-mended");
        repair_on(&storage, Path::new(dir), Path::new(&mended), &RepairOptions::default()).unwrap();
        assert_eq!(content(&Engine::open_on(Arc::clone(&storage), &mended, options()).unwrap()), expected);
    }

    disk.vanish(Path::new("/db/MANIFEST")).unwrap();
    let options_of_repair = RepairOptions::default();
    let refused = repair_on(&storage, Path::new("/db"), Path::new("/guess"), &options_of_repair).unwrap_err();
    let RepairError::PushedRuns { runs, .. } = &refused else { panic!("{refused}") };
    assert_eq!(runs.len(), 2, "{refused}");
    assert!(storage.list(Path::new("/guess")).is_err(), "nothing is made");
    // Whoever takes them away has said what is wanted: what was written here, which is less, and none of theirs.
    for run in runs {
        disk.vanish(run).unwrap();
    }
    repair_on(&storage, Path::new("/db"), Path::new("/own"), &options_of_repair).unwrap();
    let own = content(&Engine::open_on(storage, "/own", options()).unwrap());
    assert!(
        own.len() == 31 && own.values().all(|value| value.starts_with("own") || value.starts_with("on top"))
    );
}

#[test]
fn a_closed_or_poisoned_engine_takes_no_push() {
    let disk = SimDisk::new();
    build(&disk, "/first", 0..10, "first");
    let engine = open(&disk);
    engine.put(1, "one").unwrap();
    engine.close().unwrap();
    assert!(engine.push("/first", "late").is_err());
    let engine = open(&disk);
    engine.put(1, "one").unwrap();
    disk.inject(Fault { at: disk.operations(), kind: FaultKind::SyncError, sticky: true });
    engine.push("/first", "failing").unwrap_err();
    let engine = open(&disk.restart());
    assert_eq!(content(&engine), BTreeMap::from([(1, "one".to_owned())]));
    assert_eq!(engine.versions().len(), 1);
}

/// A push and a rollback, with every operation of the disk failing in turn: one content or the other, told rightly.
#[test]
fn a_fault_at_any_operation_leaves_one_content() {
    let kinds = [FaultKind::Eio, FaultKind::NoSpace, FaultKind::SyncError, FaultKind::ShortWrite];
    let failed = AtomicU64::new(0);
    let failed_at = &failed;
    std::thread::scope(|scope| {
        for (kind, sticky) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            scope.spawn(move || {
                for nth in 0.. {
                    let (has_failed, has_fired) = with_fault(kind, nth, sticky);
                    failed_at.fetch_add(u64::from(has_failed), Ordering::Relaxed);
                    if !has_fired {
                        break;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed > 100, "{failed} pushes failed: too few to mean anything");
}

/// A push and a rollback where the disk's operation `nth` from their beginning fails. Gives whether the push failed, and
/// whether anything did.
fn with_fault(kind: FaultKind, nth: u64, sticky: bool) -> (bool, bool) {
    let disk = SimDisk::new();
    build(&disk, "/first", 0..20, "first");
    let engine = open(&disk);
    engine.put(1, "one").unwrap();
    let at = disk.operations() + nth;
    disk.inject(Fault { at, kind, sticky });
    let (own, first) = (BTreeMap::from([(1, "one".to_owned())]), set(0..20, "first"));
    let pushed = engine.push("/first", "first");
    let back = pushed.as_ref().ok().map(|_| engine.rollback(VersionId(0)));
    let context = format!("{kind:?} at {nth}, sticky {sticky}: {pushed:?}, {back:?}");
    let expected: &[_] = match (&pushed, &back) {
        (Err(VersionError::Write(WriteError::CommitUnknown { .. })), _) => &[&own, &first],
        (Err(_), _) | (_, Some(Ok(_))) => &[&own],
        (_, Some(Err(VersionError::Write(WriteError::CommitUnknown { .. })))) => &[&own, &first],
        _ => &[&first],
    };
    let found = content(&engine);
    assert!(expected.contains(&&found), "{context}: {found:?}");
    let has_fired = disk.faults_fired() > 0;
    disk.clear_faults();
    drop(engine);
    for after in [disk.restart(), disk.crash(0), disk.crash(nth + 7)] {
        let engine = open(&after);
        let found = content(&engine);
        assert!(expected.contains(&&found), "{context}: reopened: {found:?}");
        engine.put(1, "on").unwrap();
        engine.push("/first", "again").unwrap_or_else(|error| panic!("{context}: again: {error:?}"));
        assert_eq!(content(&engine), first, "{context}");
        engine.close().unwrap();
        assert_eq!(content(&open(&after)), first, "{context}");
    }
    (pushed.is_err(), has_fired)
}
