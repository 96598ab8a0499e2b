//! Power cuts while the content is pushed, rolled back, added to and pruned: at every operation that changes the disk, in
//! many manners, and again during the recovery.
//!
//! After each: the database opens; its content is that of one moment between the last acknowledged step and the last
//! begun one, never a mixture; nothing that was acknowledged is lost; offsets go on; it takes another push.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kyro_engine::storage::SimDisk;
use kyro_engine::storage::sim::Moment;
use kyro_engine::{BulkBuild, BulkOptions, Engine, Options, Scan, VersionId};

type Content = BTreeMap<u64, Vec<u8>>;

/// The disk's operations before and after a step, the next offset after it, and the content.
type Step = (u64, u64, u64, Content);

fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 8 << 10;
    options.confirm_after = Duration::from_millis(1);
    options.ballast_bytes = 0;
    options.auto_flush = false;
    options
}

fn open(disk: &SimDisk) -> Result<Engine, kyro_engine::OpenError> {
    Engine::open_on(Arc::new(disk.clone()), "/db", options())
}

fn data_set(disk: &SimDisk, dir: &str, keys: std::ops::Range<u64>) -> Content {
    let mut bulk = BulkOptions::default();
    bulk.engine = options();
    let mut build = BulkBuild::create_on(Arc::new(disk.clone()), dir, bulk).unwrap();
    let mut content = Content::new();
    for key in keys {
        let value = format!("{dir} {key}").into_bytes();
        build.push(key, &value).unwrap();
        content.insert(key, value);
    }
    build.finish().unwrap();
    content
}

/// Takes steps, and keeps what each of them makes of the content.
struct Steps<'a> {
    disk: &'a SimDisk,
    engine: Engine,
    now: Content,
    after: Vec<Step>,
}

impl Steps<'_> {
    fn step(&mut self, act: impl FnOnce(&Engine, &mut Content)) {
        let begun = self.disk.operations();
        act(&self.engine, &mut self.now);
        let next_offset = self.engine.next_offset();
        self.after.push((begun, self.disk.operations(), next_offset, self.now.clone()));
    }

    fn put(&mut self, key: u64, value: &str) {
        self.step(|engine, now| {
            engine.put(key, value).unwrap();
            now.insert(key, value.into());
        });
    }
}

fn content(engine: &Engine, context: &str) -> Content {
    let entries = engine.view().unwrap().scan(Scan::all());
    let entries: Result<Vec<_>, _> = entries.collect();
    let entries = entries.unwrap_or_else(|error| panic!("{context}: {error}"));
    entries.into_iter().map(|entry| (entry.key, entry.value.to_vec())).collect()
}

/// Checks an engine against the steps acknowledged and begun before an operation of the disk.
fn check(engine: &Engine, steps: &[Step], operation: u64, context: &str) {
    let acked = steps.iter().take_while(|step| step.1 <= operation).count();
    let begun = steps.iter().take_while(|step| step.0 <= operation).count();
    let found = content(engine, context);
    let empty = Content::new();
    let state = |count: usize| if count == 0 { &empty } else { &steps[count - 1].3 };
    let matches = (acked..=begun).any(|count| *state(count) == found);
    assert!(matches, "{context}: {acked} steps acknowledged, {begun} begun, and the content is {found:?}");
    let used = if acked == 0 { 0 } else { steps[acked - 1].2 };
    assert!(engine.next_offset() >= used, "{context}: offset {} again", engine.next_offset());
}

#[test]
fn the_content_is_one_version_at_any_cut() {
    let disk = SimDisk::new();
    let first = data_set(&disk, "/first", 0..40);
    let second = data_set(&disk, "/second", 20..30);
    let layer = data_set(&disk, "/layer", 25..50);
    disk.record_history();
    let engine = open(&disk).unwrap();
    let mut steps = Steps { disk: &disk, engine, now: Content::new(), after: Vec::new() };
    steps.put(1, "own");
    steps.put(100, "own too");
    steps.step(|engine, now| {
        engine.push("/first", "first").unwrap();
        *now = first;
    });
    steps.put(1, "on first");
    steps.step(|engine, now| {
        engine.delete_range(30..=35).unwrap();
        now.retain(|key, _| !(30..=35).contains(key));
    });
    let on_first = steps.now.clone();
    steps.step(|engine, now| {
        engine.push("/second", "second").unwrap();
        *now = second;
    });
    steps.step(|engine, now| {
        engine.ingest("/layer", "layer").unwrap();
        now.extend(layer);
    });
    steps.put(27, "on the layer");
    steps.step(|engine, _| drop(engine.close()));
    steps.engine = open(&disk).unwrap();
    steps.step(|engine, now| {
        engine.rollback(VersionId(1)).unwrap();
        *now = on_first;
    });
    steps.put(2, "after the rollback");
    steps.step(|engine, _| {
        engine.compact().unwrap();
    });
    steps.step(|engine, _| {
        engine.prune_version(VersionId(2)).unwrap();
    });
    steps.put(3, "at last");
    steps.engine.close().unwrap();
    let Steps { after: steps, .. } = steps;

    let counts = [AtomicU64::new(0), AtomicU64::new(0)];
    let moments = Mutex::new(disk.take_history().into_iter());
    let next = || moments.lock().unwrap_or_else(PoisonError::into_inner).next();
    // An engine mostly waits for its own threads: more of them at once than there are processors.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(moment) = next() {
                    cut(&moment, &steps, &counts);
                }
            });
        }
    });
    let [states, second] = counts.map(AtomicU64::into_inner);
    println!("versions crash: {} steps, {states} states, {second} states of a second cut", steps.len());
    assert!(states > 300 && second > 100, "{states} and {second}: too few to mean anything");
}

/// Cuts the power at one moment in several manners.
fn cut(moment: &Moment, steps: &[Step], counts: &[AtomicU64; 2]) {
    let context = format!("killed before operation {}", moment.operation);
    let killed = open(&moment.disk.restart()).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    check(&killed, steps, moment.operation, &context);
    drop(killed);
    for choice in 0..4_u64 {
        let manner = choice.min(1).max(choice * (1 + moment.operation));
        let context = format!("cut before operation {}, manner {manner}", moment.operation);
        let cut = moment.disk.crash(manner);
        let again = counts[0].fetch_add(1, Ordering::Relaxed).is_multiple_of(19);
        if again {
            cut.record_history();
        }
        let engine = open(&cut).unwrap_or_else(|error| panic!("{context}: refused: {error:?}"));
        check(&engine, steps, moment.operation, &context);
        let before = content(&engine, &context);
        // It goes on, and what it says now it says again.
        let used = engine.next_offset();
        assert!(engine.put(u64::MAX, "after").unwrap() >= used, "{context}: an offset twice");
        engine.close().unwrap();
        let engine = open(&cut).unwrap_or_else(|error| panic!("{context}: reopened: {error:?}"));
        let mut after = before.clone();
        after.insert(u64::MAX, b"after".to_vec());
        assert_eq!(content(&engine, &context), after, "{context}: reopened");
        if choice == 0 {
            engine.push("/second", "again").unwrap();
            assert_eq!(content(&engine, &context).len(), 10, "{context}: pushed again");
            for version in engine.versions().iter().filter(|version| !version.is_current) {
                engine.rollback(version.id).unwrap_or_else(|error| panic!("{context}: {error:?}"));
                content(&engine, &context);
            }
        }
        engine.close().unwrap();
        let storage: Arc<dyn kyro_engine::storage::Storage> = Arc::new(cut.clone());
        let report = kyro_engine::verify_on(&storage, "/db".as_ref(), None).unwrap();
        assert!(report.damage.is_empty(), "{context}: {report:?}");
        if !again {
            continue;
        }
        for second in cut.take_history().into_iter().step_by(3) {
            counts[1].fetch_add(1, Ordering::Relaxed);
            let context = format!("{context}; cut again before operation {}", second.operation);
            let twice = second.disk.crash(2 + second.operation);
            let engine = open(&twice).unwrap_or_else(|error| panic!("{context}: refused: {error:?}"));
            content(&engine, &context);
            engine.close().unwrap();
        }
    }
}
