//! Whoever waits is answered: when the engine closes under load, when code of the application panics or drops the
//! last handle on a thread of the engine, when flushes cannot run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod meddler;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{Batch, Commit, Engine, Options, Progress, WriteError};
use meddler::{Act, ENOSPC, Meddler, Op, errno};

fn small() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options
}

fn open(storage: impl Storage, options: Options) -> Engine {
    Engine::open_on(Arc::new(storage), "/db", options).unwrap()
}

fn put(key: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, "value");
    batch
}

/// Runs something on a thread of its own; fails when it has not ended in time.
fn ends<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(body()).ok());
    receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what} hangs"))
}

#[test]
fn every_commit_is_answered_when_the_engine_closes_under_load() {
    let start = Instant::now();
    let mut rounds = 0;
    // For three seconds, and longer where the machine is busy.
    while rounds < 20 || start.elapsed() < Duration::from_secs(3) {
        rounds += 1;
        let mut options = small();
        options.max_queue = 1 + rounds % 3;
        let engine = open(SimDisk::new(), options);
        let commits = Mutex::new(Vec::<Commit>::new());
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (engine, commits) = (&engine, &commits);
                scope.spawn(move || {
                    for key in 0.. {
                        match engine.write_waiting(put(thread << 32 | key)) {
                            Ok(commit) => commits.lock().unwrap().push(commit),
                            Err(WriteError::Closed) => break,
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
            let engine = &engine;
            scope.spawn(move || drop((engine.flush(), engine.sync(), engine.flush())));
            std::thread::sleep(Duration::from_micros(300));
            engine.close().unwrap();
        });
        let commits = commits.into_inner().unwrap();
        ends("a commit", move || {
            for commit in commits {
                assert!(matches!(commit.wait(), Ok(_) | Err(WriteError::Closed)));
            }
        });
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the application panics, on purpose");
    }
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    let engine = open(SimDisk::new(), small());
    let waker: Waker = Arc::new(Panics).into();
    let mut wait = engine.visible_after(0);
    assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(engine.put(1, "one").unwrap(), 0);
    assert_eq!(engine.put(2, "two").unwrap(), 1);
    assert!(matches!(Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)), Poll::Ready(2)));
    engine.close().unwrap();
}

struct HoldsEngine(Mutex<Option<Engine>>, AtomicBool);

impl Wake for HoldsEngine {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
        self.1.store(true, Ordering::SeqCst);
    }
}

#[test]
fn the_last_handle_may_be_dropped_by_a_waker() {
    let disk = SimDisk::new();
    let engine = open(disk.clone(), small());
    let holder = Arc::new(HoldsEngine(Mutex::new(None), AtomicBool::new(false)));
    let waker: Waker = Arc::clone(&holder).into();
    let mut wait = engine.visible_after(0);
    assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)).is_pending());
    let clone = engine.clone();
    *holder.0.lock().unwrap() = Some(engine);
    let commit = clone.write(put(1)).unwrap();
    drop(clone);
    commit.wait().unwrap();
    ends("dropping the last handle", move || {
        while !holder.1.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // The lock is given up by whoever finishes the closing.
        while Engine::open_on(Arc::new(disk.clone()), "/db", small()).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn a_progress_callback_that_panics_does_not_stop_the_flushes() {
    let mut options = small();
    options.auto_flush = true;
    options.delta_bytes = 10_000;
    options.on_progress =
        Some(Arc::new(|_: &Progress| panic!("a callback of the application panics, on purpose")));
    let engine = open(SimDisk::new(), options);
    let engine = ends("writing", move || {
        (0..500).for_each(|key| assert!(engine.put(key, [1; 50]).unwrap() < 10_000));
        engine
    });
    // A flush is counted after it has made room for the writer.
    ends("counting a flush", move || {
        while engine.stats().flushes == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn writers_are_told_when_flushes_cannot_run_and_go_on_when_they_can() {
    let disk = Meddler::new(SimDisk::new());
    let mut options = small();
    options.auto_flush = true;
    options.delta_bytes = 5000;
    let engine = open(disk.clone(), options);
    disk.set(|op, path| (op == Op::Create && is_run(path)).then(|| Act::Fail(errno(ENOSPC))));
    let refused = (0..10_000).find_map(|key| engine.put(key, [1; 100]).err());
    assert!(matches!(refused, Some(WriteError::Busy { .. })), "{refused:?}");
    assert!(engine.stats().maintenance_error.is_some());
    assert!(matches!(engine.write(put(1)), Err(WriteError::Busy { .. })));
    assert!(engine.stats().delta_bytes < 5000 * 5, "memory is bounded: {:?}", engine.stats());
    assert!(engine.stats().refused_busy >= 2);
    disk.clear();
    ends("the next write", move || {
        while engine.put(1, "after").is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(engine.get(1).unwrap().unwrap(), "after");
    });
}

fn is_run(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".run.tmp")
}

#[test]
fn no_budget_at_all_still_takes_writes() {
    let mut options = small();
    options.auto_flush = true;
    options.delta_bytes = 0;
    options.max_queue = 0;
    let engine = open(SimDisk::new(), options);
    ends("a write", move || (0..50).for_each(|key| assert!(engine.put(key, "x").unwrap() < 1000)));
}
