//! Flushes and index builds that are taken back half-way: nothing of them stays, nothing is lost, the next one does it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kyro_engine::{Batch, Engine, MaintenanceError, Options};

const KEYS: u64 = 100_000;

/// An engine that sets the flag when the work of this name says how far it is.
fn engine(dir: &Path, at: &Arc<Mutex<&'static str>>) -> (Engine, Arc<AtomicBool>, Arc<AtomicU64>) {
    let (cancel, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (wish, count, at) = (Arc::clone(&cancel), Arc::clone(&told), Arc::clone(at));
    let mut options = Options::default();
    options.auto_flush = false;
    options.max_runs = 8;
    options.on_progress = Some(Arc::new(move |progress| {
        if progress.task == *at.lock().unwrap() {
            wish.store(true, Ordering::Release);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }));
    (Engine::open(dir, options).unwrap(), cancel, told)
}

fn put(engine: &Engine, keys: impl Iterator<Item = u64>) {
    let mut batch = Batch::new();
    keys.for_each(|key| {
        batch.put(key, key.to_le_bytes());
    });
    engine.write(batch).unwrap().wait().unwrap();
}

fn files(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir.join("runs")).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    names
}

fn is_cancelled<T: std::fmt::Debug>(result: &Result<T, MaintenanceError>) {
    assert!(matches!(result, Err(MaintenanceError::Cancelled)), "{result:?}");
}

#[test]
fn a_cancelled_flush_leaves_everything_as_it_was() {
    // While the run is written, and when it is being verified.
    for work in ["flush", "verify"] {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("db");
        let at = Arc::new(Mutex::new(work));
        let (engine, cancel, told) = engine(&dir, &at);
        put(&engine, 0..KEYS);
        is_cancelled(&engine.flush_unless(&cancel));
        assert!(told.load(Ordering::Relaxed) > 0, "{work} was never begun");
        assert_eq!((engine.stats().runs.len(), files(&dir)), (0, Vec::new()), "{work}");
        assert_eq!(engine.count(..).unwrap(), KEYS);
        // Writers went on; what was frozen and what came since are flushed together.
        put(&engine, KEYS..KEYS + 10);
        *at.lock().unwrap() = "nothing";
        cancel.store(false, Ordering::Release);
        assert_eq!(engine.flush_unless(&cancel).unwrap().entries, KEYS + 10, "{work}");
        assert_eq!(engine.count(..).unwrap(), KEYS + 10);
    }
}

#[test]
fn a_cancelled_flush_is_in_the_log_after_a_crash() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("db");
    let at = Arc::new(Mutex::new("verify"));
    let (engine, cancel, _) = engine(&dir, &at);
    put(&engine, 0..KEYS);
    is_cancelled(&engine.flush_unless(&cancel));
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(&dir, Options::default()).unwrap();
    assert_eq!(engine.count(..).unwrap(), KEYS);
    assert_eq!(engine.get(KEYS - 1).unwrap().as_deref(), Some(&(KEYS - 1).to_le_bytes()[..]));
}

#[test]
fn a_cancelled_index_build_keeps_what_was_flushed() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("db");
    let at = Arc::new(Mutex::new("flush"));
    let (engine, cancel, told) = engine(&dir, &at);
    put(&engine, 0..KEYS);
    is_cancelled(&engine.build_index_unless(&cancel));
    assert_eq!(engine.stats().runs.len(), 0, "the flush was cut");
    *at.lock().unwrap() = "nothing";
    engine.flush().unwrap();
    // Two runs: their keys have to be counted one by one.
    put(&engine, (0..KEYS).map(|key| 2 * key));
    cancel.store(false, Ordering::Release);
    told.store(0, Ordering::Relaxed);
    *at.lock().unwrap() = "count";
    is_cancelled(&engine.build_index_unless(&cancel));
    assert!(told.load(Ordering::Relaxed) > 0, "nothing was counted");
    assert_eq!(engine.stats().runs.len(), 2, "what was flushed stays");
    *at.lock().unwrap() = "nothing";
    cancel.store(false, Ordering::Release);
    assert_eq!(engine.build_index_unless(&cancel).unwrap().keys, KEYS + KEYS / 2);
    assert_eq!(engine.count(..).unwrap(), KEYS + KEYS / 2);
}

#[test]
fn what_nobody_wants_is_not_begun() {
    let place = tempfile::tempdir().unwrap();
    let at = Arc::new(Mutex::new("nothing"));
    let (engine, cancel, _) = engine(&place.path().join("db"), &at);
    put(&engine, 0..10);
    cancel.store(true, Ordering::Release);
    is_cancelled(&engine.flush_unless(&cancel));
    is_cancelled(&engine.build_index_unless(&cancel));
    is_cancelled(&engine.compact_unless(&cancel));
    assert_eq!(engine.stats().runs.len(), 0);
    assert_eq!(engine.flush().unwrap().entries, 10, "the wish was for those calls alone");
}
