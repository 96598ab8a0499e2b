//! Runs with compressed values: every way to read, write, merge, copy, check and mend them gives what was put, beside
//! runs without, and within the bound of what is kept unpacked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{
    Batch, BulkBuild, BulkOptions, Commit, Compression, Engine, Options, ReadError, RepairOptions, Scan,
    repair_on, verify_on,
};

type Model = BTreeMap<u64, Vec<u8>>;

fn options(compression: Compression) -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options.compression = compression;
    options.value_cache_bytes = 400 << 10;
    options
}

fn open_with(disk: &SimDisk, dir: &str, options: Options) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), dir, options).unwrap()
}

fn open(disk: &SimDisk, compression: Compression) -> Engine {
    open_with(disk, "/db", options(compression))
}

/// Text, noise that stays as it is, nothing at all, and a value over many blocks.
fn value(key: u64, round: u64) -> Vec<u8> {
    let seed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round;
    match key % 9 {
        0 => Vec::new(),
        1 => (0..300_u64).map(|at| ((seed + at).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8).collect(),
        2 if key % 36 == 2 => format!("long {key} {round} ").repeat(4_000).into_bytes(),
        _ => format!("{{\"key\":{key},\"round\":{round},\"text\":\"a value\"}} ").repeat(6).into_bytes(),
    }
}

fn put(engine: &Engine, model: &mut Model, keys: impl Iterator<Item = u64>, round: u64) {
    let keys: Vec<u64> = keys.collect();
    for some in keys.chunks(40) {
        let mut batch = Batch::new();
        for &key in some {
            batch.put(key * 7, value(key, round));
            model.insert(key * 7, value(key, round));
        }
        engine.write(batch).and_then(Commit::wait).unwrap();
    }
}

/// Reads everything in every way.
fn check(engine: &Engine, model: &Model) {
    for (key, value) in model {
        assert_eq!(engine.get(*key).unwrap().as_deref(), Some(&value[..]), "key {key}");
        assert_eq!(engine.get_with(*key, <[u8]>::to_vec).unwrap().as_ref(), Some(value));
        assert_eq!(engine.get_entry(*key).unwrap().unwrap().1, value);
        assert!(engine.contains(*key).unwrap() && !engine.contains(key + 1).unwrap());
    }
    let keys: Vec<u64> = model.keys().flat_map(|key| [*key, key + 1]).collect();
    let found = engine.mget(&keys).unwrap();
    for (key, found) in keys.iter().zip(found) {
        assert_eq!(found.as_deref(), model.get(key).map(|value| &value[..]));
    }
    for reverse in [false, true] {
        let scan = if reverse { Scan::all().reverse() } else { Scan::all() };
        let mut expected: Vec<_> = model.iter().map(|(key, value)| (*key, value.clone())).collect();
        if reverse {
            expected.reverse();
        }
        let scanned: Vec<_> = engine
            .scan(scan)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|e| (e.key, e.value.to_vec()))
            .collect();
        assert_eq!(scanned, expected);
        let mut visited = Vec::new();
        let visit = |entry: kyro_engine::EntryRef<'_>| {
            visited.push((entry.key, entry.value.to_vec()));
            ControlFlow::Continue(())
        };
        engine.scan(scan).unwrap().visit(visit).unwrap();
        assert_eq!(visited, expected);
    }
    assert_eq!(engine.count(..).unwrap(), model.len() as u64);
    assert!(engine.stats().value_cache_bytes <= 400 << 10);
}

#[test]
fn every_way_to_read_and_merge_gives_what_was_put() {
    let disk = SimDisk::new();
    let mut model = Model::new();
    let engine = open(&disk, Compression::None);
    put(&engine, &mut model, 0..300, 1);
    engine.flush().unwrap();
    engine.close().unwrap();

    // The next runs are compressed; the first stays as it is until a merge.
    let engine = open(&disk, Compression::Lz4);
    put(&engine, &mut model, (0..500).step_by(3), 2);
    engine.flush().unwrap();
    for key in (0..500).step_by(20) {
        engine.delete(key * 7).unwrap();
        model.remove(&(key * 7));
    }
    engine.flush().unwrap();
    put(&engine, &mut model, 450..520, 3);
    check(&engine, &model);
    let stats = engine.stats();
    let packed = |run: &kyro_engine::RunStats| run.stored_value_bytes < run.value_bytes;
    assert_eq!(stats.runs.iter().map(packed).collect::<Vec<_>>(), [false, true, false]);
    assert!(stats.blocks_unpacked > 0 && stats.blocks_found > 0, "reads came from the compressed run");
    engine.compact().unwrap();
    check(&engine, &model);
    let run = engine.stats().runs[0].clone();
    assert!(packed(&run) && engine.stats().runs.len() == 1);
    assert!(run.stored_value_bytes * 2 < run.value_bytes, "text gets shorter");
    engine.verify().unwrap();

    engine.checkpoint("/copy").unwrap();
    engine.close().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    assert!(verify_on(&storage, Path::new("/db"), None).unwrap().damage.is_empty());
    check(&open_with(&disk, "/copy", options(Compression::None)), &model);
    let reader =
        Engine::open_read_only_on(Arc::new(disk.clone()), "/db", options(Compression::None)).unwrap();
    for (key, value) in &model {
        assert_eq!(reader.view().get(*key).unwrap().as_deref(), Some(&value[..]));
    }

    // And back: without the option a merge writes them as they are.
    let engine = open(&disk, Compression::None);
    put(&engine, &mut model, 0..5, 4);
    engine.compact().unwrap();
    assert_eq!(engine.stats().runs[0].stored_value_bytes, engine.stats().runs[0].value_bytes);
    check(&engine, &model);
}

#[test]
fn a_bulk_build_in_any_order_is_compressed() {
    for (spread, memory_bytes) in [(1, 1 << 20), (379, 200 << 10)] {
        let disk = SimDisk::new();
        let mut bulk = BulkOptions::default();
        bulk.memory_bytes = memory_bytes;
        bulk.engine = options(Compression::Lz4);
        let mut build = BulkBuild::create_on(Arc::new(disk.clone()), "/db", bulk).unwrap();
        let mut model = Model::new();
        for number in 0..1_000 {
            let key = number * spread % 1_000;
            build.push(key * 7, &value(key, 5)).unwrap();
            model.insert(key * 7, value(key, 5));
        }
        let report = build.finish().unwrap();
        assert_eq!((report.keys, report.spills > 0), (1_000, spread > 1));
        let engine = open(&disk, Compression::None);
        assert!(engine.stats().runs[0].stored_value_bytes < engine.stats().runs[0].value_bytes);
        check(&engine, &model);
    }
}

/// The file of the only run.
fn run_file(disk: &SimDisk) -> (std::path::PathBuf, Vec<u8>) {
    disk.contents().into_iter().find(|(path, _)| path.extension().is_some_and(|ext| ext == "run")).unwrap()
}

#[test]
fn damage_is_an_error_for_its_block_and_repair_keeps_the_rest() {
    let disk = SimDisk::new();
    let mut model = Model::new();
    let engine = open(&disk, Compression::Lz4);
    put(&engine, &mut model, 0..2_000, 1);
    engine.compact().unwrap();
    engine.close().unwrap();
    let (path, file) = run_file(&disk);
    // A byte of values, of the value table and footer copy, and the footer.
    for (at, lost_all) in [(40_000, false), (file.len() - 900, false), (file.len() - 100, true)] {
        let mut bytes = file.clone();
        bytes[at] ^= 0x10;
        let damaged = disk.restart();
        damaged.overwrite(&path, &bytes).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(damaged.clone());
        assert!(!verify_on(&storage, Path::new("/db"), None).unwrap().damage.is_empty(), "byte {at}");
        if !lost_all {
            let engine = open(&damaged, Compression::None);
            let mut failed = 0;
            for (key, value) in &model {
                match engine.get(*key) {
                    Ok(found) => assert_eq!(found.as_deref(), Some(&value[..])),
                    Err(ReadError::Corrupt { file, .. }) => {
                        assert_eq!(file, path);
                        failed += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert!((1..=model.len()).contains(&failed), "{failed} of byte {at}");
            drop(engine);
        }
        let damaged = disk.restart();
        damaged.overwrite(&path, &bytes).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(damaged.clone());
        repair_on(&storage, Path::new("/db"), Path::new("/new"), &RepairOptions::default()).unwrap();
        let engine = open_with(&damaged, "/new", options(Compression::None));
        let mut kept = 0;
        for (key, value) in &model {
            if let Some(found) = engine.get(*key).unwrap() {
                assert_eq!(found, value);
                kept += 1;
            }
        }
        if lost_all {
            assert_eq!(kept, model.len(), "the copy of the footer says where everything is");
        }
        assert!(kept > 0 || at > 40_000, "byte {at}: {kept} kept");
    }
}
