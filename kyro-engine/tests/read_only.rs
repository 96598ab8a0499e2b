//! Readers without a lock: beside a writer that flushes and compacts they see a whole state, and they write nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod workload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::storage::{RealStorage, SimDisk, Storage};
use kyro_engine::{Batch, Engine, OpenError, Options, ReadOnly};

fn small() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options
}

fn reader(storage: impl Storage, dir: &Path) -> Result<ReadOnly, OpenError> {
    Engine::open_read_only_on(Arc::new(storage), dir, small())
}

#[test]
fn a_reader_sees_runs_and_log_refreshes_and_changes_nothing() {
    let disk = SimDisk::new();
    let dir = Path::new("/db");
    assert!(matches!(reader(disk.clone(), dir), Err(OpenError::Io { .. } | OpenError::NotADatabase { .. })));
    let mut options = small();
    options.auto_flush = false;
    let engine = Engine::open_on(Arc::new(disk.clone()), dir, options).unwrap();
    engine.put(1, "run").unwrap();
    engine.put(2, "run").unwrap();
    engine.flush().unwrap();
    engine.put(2, "log").unwrap();
    engine.put(3, "log").unwrap();
    // On a copy: beside the open engine its committer may confirm the log's tail or prepare a segment meanwhile.
    let still = disk.fork();
    let before = still.contents();
    assert_eq!(reader(still.clone(), dir).unwrap().next_offset(), 4);
    assert_eq!(still.contents(), before, "opening wrote something");
    let reader = reader(disk.clone(), dir).unwrap();
    let text = |key| reader.get(key).unwrap().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    assert_eq!([text(1), text(2), text(3)], ["run", "log", "log"].map(|text| Some(text.to_owned())));
    assert_eq!(reader.next_offset(), 4);

    let held = reader.view();
    engine.delete(1).unwrap();
    engine.put(4, "new").unwrap();
    assert_eq!(text(4), None, "not before a refresh");
    engine.flush().unwrap();
    engine.compact().unwrap();
    assert_eq!(reader.refresh().unwrap(), 6);
    assert_eq!([text(1), text(4)], [None, Some("new".to_owned())]);
    assert_eq!(held.get(1).unwrap().as_deref(), Some(&b"run"[..]), "a view keeps its state");
    assert_eq!(held.next_offset(), 4);
    engine.close().unwrap();
    drop(engine);
    let before = disk.contents();
    let log: usize =
        before.iter().filter(|(path, _)| path.starts_with("/db/wal")).map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(reader.refresh().unwrap(), 6);
    assert_eq!(reader.stats().wal.bytes, log as u64, "{:?}", reader.stats().wal);
    assert_eq!(disk.contents(), before);
}

/// Ends the writer, also where an assertion failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn beside_a_busy_writer_every_state_is_whole_and_goes_forward() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.flush_every_operations = Some(40);
    options.max_runs = 2;
    options.durability = kyro_engine::Durability::Never;
    let engine = Engine::open(dir.path(), options).unwrap();
    engine.put(0, 0_u64.to_le_bytes()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                let mut batch = Batch::new();
                for key in 0..4 {
                    batch.put(key, round.to_le_bytes());
                }
                batch.put(1000 + round % 500, b"filler");
                engine.write_waiting(batch).unwrap().wait().unwrap();
            }
        });
        let _ended = Ends(&done);
        let reader = reader(RealStorage, dir.path()).unwrap();
        let (mut last, mut refreshes) = (0, 0);
        let start = Instant::now();
        // Longer where the machine is busy: until runs were taken away beside refreshes.
        while start.elapsed() < Duration::from_secs(2) || refreshes <= 20 || engine.stats().compactions == 0 {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{refreshes} refreshes: {:?}",
                engine.stats()
            );
            let next = reader.refresh().unwrap_or_else(|error| panic!("refresh {refreshes}: {error:?}"));
            let view = reader.view();
            assert_eq!(view.next_offset(), next);
            let rounds: Vec<u64> = (0..4)
                .filter_map(|key| view.get(key).unwrap())
                .map(|bytes| u64::from_le_bytes((&*bytes).try_into().unwrap()))
                .collect();
            assert!(rounds.windows(2).all(|pair| pair[0] == pair[1]), "a batch in part: {rounds:?}");
            assert!(rounds[0] >= last, "went back from {last} to {}", rounds[0]);
            last = rounds[0];
            refreshes += 1;
        }
        assert!(last > 0);
    });
}
