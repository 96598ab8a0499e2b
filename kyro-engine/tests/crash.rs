//! Power cuts: at every operation that changes the disk, in many manners, and again during the recovery.
//!
//! After each: the database opens; it holds every acknowledged batch, each batch whole or not at all, in order; no
//! offset is given out again; a batch that was once gone stays gone; and it works on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod workload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kyro_engine::Engine;
use kyro_engine::storage::SimDisk;
use workload::{Attempt, DIR, KEYS, Model, Op, Random, batch, burst, check, open, options, run};

/// How wide the search is; `KYRO_CRASH_SEEDS`, `KYRO_CRASH_STATES` and `KYRO_CRASH_DOUBLE` widen it.
struct Width {
    /// Workloads.
    seeds: u64,
    /// Disks that may be left behind by a cut before each operation.
    states: u64,
    /// Of those, every how many-th is cut again during its recovery.
    double_every: u64,
}

impl Width {
    fn from_env() -> Self {
        let number =
            |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
        Self {
            seeds: number("KYRO_CRASH_SEEDS", 6),
            states: number("KYRO_CRASH_STATES", 6),
            double_every: number("KYRO_CRASH_DOUBLE", 7),
        }
    }
}

#[derive(Default)]
struct Counts {
    cuts: AtomicU64,
    states: AtomicU64,
    second_states: AtomicU64,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

#[test]
fn nothing_acknowledged_is_lost_at_any_cut() {
    let width = Width::from_env();
    let counts = Counts::default();
    let next_seed = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    // An engine mostly waits for its own threads: more workloads at once than there are processors.
    std::thread::scope(|scope| {
        for _ in 0..width.seeds.min(8) {
            scope.spawn(|| {
                while let Some(seed) = Some(count(&next_seed) - 1).filter(|seed| *seed < width.seeds) {
                    let stop = StopOthers(&failed);
                    cut_everywhere(seed, &width, &counts, &stop);
                }
            });
        }
    });
    let [cuts, states, second] =
        [&counts.cuts, &counts.states, &counts.second_states].map(|counter| counter.load(Ordering::Relaxed));
    println!(
        "crash: {} workloads, {cuts} cuts, {states} states, {second} states of a second cut during recovery",
        width.seeds
    );
    assert!(states > 1000 && second > 100, "the search was not wide enough to mean anything");
}

/// Ends the search of the other threads when its own has found something.
struct StopOthers<'a>(&'a AtomicBool);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs one workload and cuts the power before each of its operations.
fn cut_everywhere(seed: u64, width: &Width, counts: &Counts, stop: &StopOthers<'_>) {
    let disk = SimDisk::new();
    disk.record_history();
    let model = run(&disk, seed, 30);
    for moment in disk.take_history() {
        if stop.0.load(Ordering::Relaxed) {
            return;
        }
        count(&counts.cuts);
        let acked = model.acked_before(moment.operation);
        let submitted = model.submitted_before(moment.operation);
        // What a kill at this point leaves is everything that was written, synced or not.
        let context = format!("workload {seed}, killed before operation {}", moment.operation);
        let killed =
            open(&moment.disk.restart()).unwrap_or_else(|error| panic!("{context}: refused: {error:?}"));
        let written = check(&killed, &model, acked, submitted);
        drop(killed);
        let bounds = Bounds { acked, written, submitted };
        for choice in 0..width.states {
            let manner = choice.min(1).max(choice * (1 + moment.operation));
            let crashed = moment.disk.crash(manner);
            let again = count(&counts.states).is_multiple_of(width.double_every);
            let context =
                format!("workload {seed}, cut before operation {}, manner {manner}", moment.operation);
            recover(&crashed, &model, &bounds, again, counts, &context);
        }
    }
}

/// Batches that must be there, that had reached a file, and that had been handed over.
struct Bounds {
    acked: usize,
    written: usize,
    submitted: usize,
}

/// Opens a crashed disk, checks it, writes on; with `again`, cuts the power during that as well.
fn recover(disk: &SimDisk, model: &Model, bounds: &Bounds, again: bool, counts: &Counts, context: &str) {
    if again {
        disk.record_history();
    }
    let engine = open(disk).unwrap_or_else(|error| panic!("{context}: refused: {error:?}"));
    let batches = check(&engine, model, bounds.acked, bounds.submitted);
    // What is there now is there for good; what is not must not come back. One more batch, and it goes on from there.
    let mut after = Model { attempts: model.attempts[..batches].to_vec() };
    let ops = after.next_batch(&mut Random(bounds.written as u64));
    let begun = disk.operations();
    let committed = engine.write(batch(&ops)).and_then(kyro_engine::Commit::wait);
    let committed = committed.unwrap_or_else(|error| panic!("{context}: write refused: {error}"));
    let used = model.next_offset(bounds.written);
    assert!(
        committed.first_offset >= used,
        "{context}: offset {} again, {used} is next",
        committed.first_offset
    );
    let acked_at = disk.operations();
    after.attempts.push(Attempt {
        submitted: begun,
        acked: Some(acked_at),
        first_offset: Some(committed.first_offset),
        ops,
    });
    check(&engine, &after, batches + 1, batches + 1);
    engine.close().unwrap_or_else(|error| panic!("{context}: close: {error}"));
    if !again {
        return;
    }
    for moment in disk.take_history() {
        for manner in [0, 1, 2 + moment.operation] {
            count(&counts.second_states);
            let twice = moment.disk.crash(manner);
            let context =
                format!("{context}; cut again before operation {}, manner {manner}", moment.operation);
            let engine = open(&twice).unwrap_or_else(|error| panic!("{context}: refused: {error:?}"));
            // Until the first recovery was through, a batch that it did not acknowledge may still go either way.
            if moment.operation >= begun {
                let acked = if moment.operation >= acked_at { batches + 1 } else { batches };
                check(&engine, &after, acked, batches + 1);
            } else {
                check(&engine, model, bounds.acked, bounds.submitted);
            }
            engine.close().unwrap_or_else(|error| panic!("{context}: close: {error}"));
        }
    }
}

/// One batch of two long values, cut at each operation of its commit in as many ways as there are, or many.
#[test]
fn a_batch_is_whole_or_absent_at_any_cut() {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    engine.put(1, "before").unwrap();
    disk.record_history();
    let mut ops = kyro_engine::Batch::new();
    ops.put(2, [2; 1500]).put(3, [3; 1500]);
    engine.write(ops).and_then(kyro_engine::Commit::wait).unwrap();
    let (mut whole, mut absent) = (0, 0);
    for moment in disk.take_history() {
        let (states, _) = moment.disk.crash_states(64);
        for (number, cut) in states.take(64).enumerate() {
            let context = format!("cut before operation {}, state {number}", moment.operation);
            let engine = open(&cut).unwrap_or_else(|error| panic!("{context}: refused: {error:?}"));
            let [first, second] = [2, 3].map(|key| engine.get(key).unwrap());
            assert_eq!(engine.get(1).unwrap().as_deref(), Some(&b"before"[..]), "{context}");
            assert_eq!(first.is_some(), second.is_some(), "{context}: half a batch");
            *if first.is_some() { &mut whole } else { &mut absent } += 1;
        }
    }
    assert!(whole > 0 && absent > 0, "{whole} whole, {absent} absent");
}

/// A close that gives space of the log back, and the session after it, cut at every operation: what was acknowledged is
/// there, nothing is refused, and it closes and opens again.
#[test]
fn a_close_that_gives_space_back_can_be_cut_anywhere() {
    let mut options = options();
    options.wal_segment_bytes = 3 << 20;
    let disk = SimDisk::new();
    let (mut model, mut random) = (Model::default(), Random(7));
    let engine = open_with(&disk, &options);
    // The second no longer fits into the session's first segment, which is a short one.
    for _ in 0..2 {
        let mut ops = model.next_batch(&mut random);
        ops.push(Op::Append(vec![0xee; 600 << 10]));
        write(&disk, &engine, &mut model, ops);
    }
    // The session's first segment, cut behind its frames, and one of full size; a spare of that size perhaps.
    let taken = log_bytes(&disk);
    assert!(taken > 3 << 20, "the log takes {taken} bytes at work");
    disk.record_history();
    engine.close().unwrap();
    let kept = log_bytes(&disk);
    assert!(kept < 13 << 17, "the log takes {kept} bytes at rest, {taken} at work");
    let engine = open_with(&disk, &options);
    burst(&disk, &engine, &mut model, &mut random);
    engine.close().unwrap();
    cut_everything_since(&disk, &model, &options);
}

/// A close that lets go of a log whose every operation a run holds, and the session after it, cut in the same way.
#[test]
fn a_close_that_lets_go_of_what_runs_hold_can_be_cut_anywhere() {
    let mut options = options();
    options.wal_segment_bytes = 256 << 10;
    let disk = SimDisk::new();
    let (mut model, mut random) = (Model::default(), Random(11));
    let engine = open_with(&disk, &options);
    for _ in 0..3 {
        let mut ops = model.next_batch(&mut random);
        // An event without a key would keep the log.
        ops.retain(|op| !matches!(op, Op::Append(_)));
        ops.push(Op::Put(KEYS[3], vec![0xee; 20 << 10]));
        write(&disk, &engine, &mut model, ops);
    }
    assert!(engine.flush().unwrap().entries > 0);
    let first_segment = engine.stats().wal.first_segment;
    disk.record_history();
    engine.close().unwrap();
    assert_eq!(log_bytes(&disk), 16 << 10, "one segment of the smallest size");
    let engine = open_with(&disk, &options);
    assert!(engine.stats().wal.first_segment > first_segment, "{:?}", engine.stats().wal);
    burst(&disk, &engine, &mut model, &mut random);
    engine.flush().unwrap();
    engine.close().unwrap();
    cut_everything_since(&disk, &model, &options);
}

fn open_with(disk: &SimDisk, options: &kyro_engine::Options) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), Path::new(DIR), options.clone()).unwrap()
}

/// Has one batch committed, by itself.
fn write(disk: &SimDisk, engine: &Engine, model: &mut Model, ops: Vec<Op>) {
    let submitted = disk.operations();
    let committed = engine.write(batch(&ops)).and_then(kyro_engine::Commit::wait).unwrap();
    let (acked, first_offset) = (Some(disk.operations()), Some(committed.first_offset));
    model.attempts.push(Attempt { submitted, acked, first_offset, ops });
}

/// What the files of the log take.
fn log_bytes(disk: &SimDisk) -> usize {
    let files = disk.contents().into_iter().filter(|(path, _)| path.starts_with(Path::new(DIR).join("wal")));
    files.map(|(_, bytes)| bytes.len()).sum()
}

/// Cuts the power before each operation that was recorded, in three manners, and opens, checks and closes twice.
fn cut_everything_since(disk: &SimDisk, model: &Model, options: &kyro_engine::Options) {
    let moments = disk.take_history();
    assert!(moments.len() > 20, "{} operations", moments.len());
    for moment in moments {
        let (acked, submitted) =
            (model.acked_before(moment.operation), model.submitted_before(moment.operation));
        for manner in [0, 1, 2 + moment.operation] {
            let crashed = moment.disk.crash(manner);
            let open = |context: &str| {
                let engine = Engine::open_on(Arc::new(crashed.clone()), Path::new(DIR), options.clone());
                engine.unwrap_or_else(|error| panic!("{context}: refused: {error:?}"))
            };
            let context = format!("cut before operation {}, manner {manner}", moment.operation);
            let engine = open(&context);
            let batches = check(&engine, model, acked, submitted);
            engine.close().unwrap_or_else(|error| panic!("{context}: close: {error}"));
            let engine = open(&context);
            check(&engine, model, batches, batches);
        }
    }
}
