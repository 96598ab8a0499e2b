//! A full disk: writes are refused, deletes and compaction run in the space that was kept back, and writing resumes by
//! itself when there is space.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says why")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kyro_engine::storage::{RealStorage, SimDisk, Storage};
use kyro_engine::{Engine, Options, WriteError};

const BALLAST: u64 = 256 << 10;
const VALUE: [u8; 1000] = [7; 1000];

fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 128 << 10;
    options.ballast_bytes = BALLAST;
    options.auto_flush = false;
    options.delta_bytes = 1 << 30;
    options
}

/// Writes until the disk is full, and says how many keys were acknowledged.
fn fill(engine: &Engine) -> u64 {
    for key in 0..100_000 {
        match engine.put(key, VALUE) {
            Ok(_) => {}
            Err(WriteError::StorageFull { .. }) => return key,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk never filled")
}

/// What must hold on any storage with a bounded size; `free` makes room.
fn runs_full_and_resumes(storage: &Arc<dyn Storage>, dir: &Path, free: impl FnOnce()) {
    let engine = Engine::open_on(Arc::clone(storage), dir, options()).unwrap();
    engine.put(u64::MAX, "first").unwrap();
    let ballast = dir.join("BALLAST");
    assert_eq!(storage.len(&ballast).unwrap(), BALLAST, "made with the first write");
    let acknowledged = fill(&engine);
    assert!(acknowledged > 50, "{acknowledged}");
    // Now and then it is tried whether there is space for it again: its name may be there, its bytes are not.
    assert_ne!(storage.len(&ballast).ok(), Some(BALLAST), "given up");
    // Deletes go on, far beyond what is left of the segment; puts do not eat up what was given up.
    for key in 0..acknowledged / 2 {
        engine.delete(key).unwrap_or_else(|error| panic!("delete {key} of {acknowledged}: {error}"));
        assert!(matches!(engine.put(key, VALUE), Err(WriteError::StorageFull { .. })), "put {key}");
    }
    let stalls = engine.stats().stalls;
    assert!(stalls.iter().any(|stall| stall.reason == "storage_full" && stall.count > 0), "{stalls:?}");
    free();
    let freed = Instant::now();
    while storage.len(&ballast).ok() != Some(BALLAST) {
        assert!(freed.elapsed() < Duration::from_secs(60), "nobody had to write for it to come back");
        std::thread::sleep(Duration::from_millis(10));
    }
    engine.put(0, "again").unwrap();
    engine.compact().unwrap();
    let check = |engine: &Engine| {
        assert_eq!(engine.get(0).unwrap().unwrap(), "again");
        for key in 1..acknowledged {
            let expected = (key >= acknowledged / 2).then_some(&VALUE[..]);
            assert_eq!(engine.get(key).unwrap().as_deref(), expected, "key {key}");
        }
    };
    check(&engine);
    assert!(engine.stats().poisoned.is_none());
    drop(engine);
    check(&Engine::open_on(Arc::clone(storage), dir, options()).unwrap());
}

#[test]
fn on_a_simulated_disk() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(2 << 20));
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    runs_full_and_resumes(&storage, Path::new("/db"), || disk.set_capacity(None));
}

#[test]
fn a_compaction_on_a_full_disk_makes_the_space_that_writing_needs() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(4 << 20));
    let engine = Engine::open_on(Arc::new(disk.clone()), "/db", options()).unwrap();
    engine.put(u64::MAX, "first").unwrap();
    // The same few keys again and again: nearly all of the log is garbage.
    let full = (0..10_000).any(|round| engine.put(round % 20, VALUE).is_err());
    assert!(full, "the disk never filled");
    engine.compact().unwrap();
    let compacted = Instant::now();
    while engine.put(1, "resumed").is_err() {
        assert!(compacted.elapsed() < Duration::from_secs(60), "writing did not resume");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(engine.get(1).unwrap().unwrap(), "resumed");
}

/// A mount that goes when the test ends, however it ends.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

#[test]
fn on_a_file_system_of_a_bounded_size() {
    let parent = tempfile::tempdir().unwrap();
    let at = parent.path().join("small");
    RealStorage.create_dir(&at).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&at).output();
    match mounted {
        Ok(output) if output.status.success() => {}
        other => {
            println!("skipped: no tmpfs can be mounted here: {other:?}");
            return;
        }
    }
    let mount = Mount(at.clone());
    let filler = at.join("filler");
    RealStorage.create(&filler).unwrap().zero_fill(1 << 20).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    runs_full_and_resumes(&storage, &at.join("db"), || RealStorage.remove(&filler).unwrap());
    drop(mount);
}
