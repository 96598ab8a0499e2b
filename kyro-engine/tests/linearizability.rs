//! Concurrent clients, kills and power cuts: for each key there is one order of the operations that explains every
//! answer and agrees with the clock. Whatever was acknowledged or read before a cut is in it; what was under way may be.
//!
//! `KYRO_HISTORIES` sets how many histories are made.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod workload;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use kyro_engine::Engine;
use kyro_engine::storage::SimDisk;
use workload::{Random, open};

const CLIENTS: u64 = 4;
const KEYS: u64 = 3;
/// Operations of a client between two cuts, at most.
const TURNS: u64 = 10;
const LIVES: u64 = 3;

/// What a client asked for and, of a read, what it was told. Every written value is written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Write(Option<u64>),
    Read(Option<u64>),
}

/// An operation on one key. One without an answer may have happened at any time after it was begun, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operation {
    begun: u64,
    answered: Option<u64>,
    action: Action,
}

/// Whether some order of the operations explains all of them (the search of Wing and Gong, with the states that were
/// seen to lead nowhere remembered).
fn is_linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= 128, "a bit for each");
    let answered: u128 = operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.answered.is_some())
        .fold(0, |bits, (at, _)| bits | 1 << at);
    let mut seen = HashSet::new();
    let mut open = vec![(0_u128, None)];
    while let Some((done, value)) = open.pop() {
        if done & answered == answered {
            return true;
        }
        if !seen.insert((done, value)) {
            continue;
        }
        let left = || operations.iter().enumerate().filter(|(at, _)| done & (1 << at) == 0);
        // Nothing may come before an operation that was answered before it was begun.
        let first_answer = left().filter_map(|(_, operation)| operation.answered).min().unwrap_or(u64::MAX);
        for (at, operation) in left().filter(|(_, operation)| operation.begun < first_answer) {
            match operation.action {
                Action::Write(written) => open.push((done | 1 << at, written)),
                Action::Read(read) if read == value => open.push((done | 1 << at, value)),
                Action::Read(_) => {}
            }
        }
    }
    false
}

/// One run of clients with cuts between them: the operations of each key.
fn history(seed: u64) -> BTreeMap<u64, Vec<Operation>> {
    let clock = AtomicU64::new(1);
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    let next_value = AtomicU64::new(1);
    let mut disk = SimDisk::new();
    let mut whole: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
    for life in 0..LIVES {
        let engine = open(&disk).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error:?}"));
        let done = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let said: Mutex<Vec<(u64, Operation)>> = Mutex::default();
        let (before, next, after) = std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (engine, done, stop, said, tick, next_value) =
                    (&engine, &done, &stop, &said, &tick, &next_value);
                scope.spawn(move || {
                    let mut random = Random(seed << 16 | life << 8 | client);
                    for _ in 0..TURNS {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let key = random.below(KEYS);
                        let begun = tick();
                        let action = act(engine, key, &mut random, next_value);
                        said.lock().unwrap().push((key, Operation { begun, answered: Some(tick()), action }));
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let mut random = Random(!seed ^ life);
            if random.below(3) == 0 {
                engine.flush().expect("flushes beside the clients");
            }
            let enough = random.below(CLIENTS * TURNS) as usize;
            while done.load(Ordering::SeqCst) < enough {
                std::hint::spin_loop();
                std::thread::yield_now();
            }
            let before = tick();
            let next = if random.below(3) == 0 { disk.restart() } else { disk.crash(random.next()) };
            let after = tick();
            stop.store(true, Ordering::SeqCst);
            (before, next, after)
        });
        for (key, mut operation) in said.into_inner().unwrap() {
            // Answered after the cut: on the disk that lives on it may have happened or not; a read proves nothing.
            if operation.answered.is_some_and(|answered| answered > before) {
                if operation.begun > after || matches!(operation.action, Action::Read(_)) {
                    continue;
                }
                operation.answered = None;
            }
            whole.entry(key).or_default().push(operation);
        }
        disk = next;
    }
    // What the last cut left is read by a client that comes after all.
    let engine = open(&disk).unwrap_or_else(|error| panic!("seed {seed}, at last: {error:?}"));
    for (key, operations) in &mut whole {
        let begun = tick();
        let action = Action::Read(read(&engine, *key));
        operations.push(Operation { begun, answered: Some(tick()), action });
    }
    whole
}

fn read(engine: &Engine, key: u64) -> Option<u64> {
    let value = engine.get(key).expect("reads");
    value.map(|bytes| u64::from_le_bytes((&*bytes).try_into().expect("eight bytes")))
}

fn act(engine: &Engine, key: u64, random: &mut Random, next_value: &AtomicU64) -> Action {
    match random.below(8) {
        0..=3 => {
            let value = next_value.fetch_add(1, Ordering::SeqCst);
            engine.put(key, value.to_le_bytes()).expect("a healthy disk");
            Action::Write(Some(value))
        }
        4 => {
            engine.delete(key).expect("a healthy disk");
            Action::Write(None)
        }
        _ => Action::Read(read(engine, key)),
    }
}

#[test]
fn every_history_has_an_order_that_explains_it() {
    let variable = std::env::var("KYRO_HISTORIES").ok();
    let histories: u64 = variable.and_then(|text| text.parse().ok()).unwrap_or(300);
    let (next, operations) = (AtomicU64::new(0), AtomicUsize::new(0));
    let unanswered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).filter(|seed| *seed < histories)
                {
                    for (key, of_key) in history(seed) {
                        operations.fetch_add(of_key.len(), Ordering::Relaxed);
                        let open = of_key.iter().filter(|operation| operation.answered.is_none()).count();
                        unanswered.fetch_add(open, Ordering::Relaxed);
                        assert!(
                            is_linearizable(&of_key),
                            "seed {seed}, key {key}: no order explains {of_key:#?}"
                        );
                    }
                }
            });
        }
    });
    let (operations, unanswered) = (operations.into_inner(), unanswered.into_inner());
    println!("{histories} histories, {operations} operations, {unanswered} cut off by a kill or power cut");
    assert!(
        operations as u64 > histories * 20 && unanswered as u64 > histories / 10,
        "the clients did too little"
    );
}

#[test]
fn the_search_refuses_what_no_order_explains() {
    let operation = |begun, answered, action| Operation { begun, answered, action };
    let write = |begun, answered, value| operation(begun, answered, Action::Write(value));
    let read = |begun, answered, value| operation(begun, Some(answered), Action::Read(value));
    // Stale: the new value was acknowledged before the read began.
    assert!(!is_linearizable(&[write(1, Some(2), Some(7)), read(3, 4, None)]));
    // Lost: read once, then gone.
    assert!(!is_linearizable(&[write(1, None, Some(7)), read(2, 3, Some(7)), read(4, 5, None)]));
    // Back and forth between two writes that were both over.
    assert!(!is_linearizable(&[
        write(1, Some(4), Some(1)),
        write(2, Some(3), Some(2)),
        read(5, 6, Some(1)),
        read(7, 8, Some(2)),
    ]));
    // Invented.
    assert!(!is_linearizable(&[read(1, 2, Some(9))]));
    // Under way at the cut: there or not, as long as it stays so.
    assert!(is_linearizable(&[write(1, None, Some(7)), read(2, 3, None), read(4, 5, None)]));
    assert!(is_linearizable(&[write(1, None, Some(7)), read(2, 3, None), read(4, 5, Some(7))]));
    // Overlapping, in the order that only the reads tell.
    assert!(is_linearizable(&[
        write(1, Some(6), Some(1)),
        write(2, Some(5), Some(2)),
        read(7, 8, Some(1)),
        read(3, 4, Some(2)),
    ]));
}
