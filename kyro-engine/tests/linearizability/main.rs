//! Concurrent clients, kills and power cuts: there is one order of the operations that explains every answer and agrees
//! with the clock. Whatever was acknowledged or read before a cut is in it; what was under way may be.
//!
//! The clients put, delete, delete ranges, write batches, write on conditions, and read single keys and all at once.
//! `KYRO_HISTORIES` sets how many histories are made.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod search;
#[path = "../workload/mod.rs"]
mod workload;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use kyro_engine::storage::SimDisk;
use kyro_engine::{Batch, Condition, Engine, Scan, WriteError};
use search::{Action, Change, Expected, KEYS, Operation, State, is_linearizable};
use workload::{Random, open};

const CLIENTS: u64 = 4;
/// Operations of a client between two cuts, at most.
const TURNS: u64 = 10;
const LIVES: u64 = 3;

/// What the clients of a history share.
#[derive(Default)]
struct Shared {
    clock: AtomicU64,
    next_value: AtomicU64,
    /// Which value was put at which offset, as far as it was told.
    put_at: Mutex<HashMap<u64, u64>>,
    said: Mutex<Vec<Operation>>,
    done: AtomicUsize,
}

impl Shared {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn new_value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn put(&self, offset: u64, value: u64) {
        self.put_at.lock().unwrap().insert(offset, value);
    }

    /// Runs an operation between two ticks.
    fn say(&self, act: impl FnOnce() -> Action) {
        let begun = self.tick();
        let action = act();
        let over = self.tick();
        self.said.lock().unwrap().push(Operation { begun, answered: Some(over), over, action });
        self.done.fetch_add(1, Ordering::SeqCst);
    }
}

/// One run of clients with cuts between them: what they did, over all lives.
fn history(seed: u64) -> Vec<Operation> {
    let shared = Shared::default();
    let mut disk = SimDisk::new();
    let mut whole = Vec::new();
    for life in 0..LIVES {
        let engine = open(&disk).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error:?}"));
        let stop = AtomicBool::new(false);
        shared.done.store(0, Ordering::SeqCst);
        let (before, next, after) = std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (engine, shared, stop) = (&engine, &shared, &stop);
                scope.spawn(move || {
                    let mut random = Random(seed << 16 | life << 8 | client);
                    let mut left = TURNS;
                    while left > 0 && !stop.load(Ordering::SeqCst) {
                        left = left.saturating_sub(turn(engine, shared, &mut random, left));
                    }
                });
            }
            let mut random = Random(!seed ^ life);
            match random.below(6) {
                0 | 1 => drop(engine.flush().expect("flushes beside the clients")),
                2 => drop(engine.compact().expect("compacts beside the clients")),
                _ => {}
            }
            let enough = random.below(CLIENTS * TURNS) as usize;
            while shared.done.load(Ordering::SeqCst) < enough {
                std::hint::spin_loop();
                std::thread::yield_now();
            }
            let before = shared.tick();
            let next = if random.below(3) == 0 { disk.restart() } else { disk.crash(random.next()) };
            let after = shared.tick();
            stop.store(true, Ordering::SeqCst);
            (before, next, after)
        });
        for mut operation in std::mem::take(&mut *shared.said.lock().unwrap()) {
            // Answered after the cut: on the disk that lives on it may have happened or not; what changed nothing proves
            // nothing.
            if operation.over > before {
                let changed = matches!(operation.action, Action::Write(_) | Action::Swapped(..));
                if operation.begun > after || !changed {
                    continue;
                }
                (operation.answered, operation.over) = (None, after);
            }
            whole.push(operation);
        }
        disk = next;
    }
    // What the last cut left is read by a client that comes after all.
    let engine = open(&disk).unwrap_or_else(|error| panic!("seed {seed}, at last: {error:?}"));
    shared.say(|| Action::ReadAll(read_all(&engine)));
    whole.append(&mut shared.said.lock().unwrap());
    whole
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("eight bytes"))
}

fn read_all(engine: &Engine) -> State {
    let mut all = State::default();
    for entry in engine.scan(Scan::all()).expect("a scan") {
        let entry = entry.expect("reads");
        all[entry.key as usize] = Some(number(&entry.value));
    }
    all
}

fn change_of(key: u64, to: Option<u64>) -> Change {
    let mut change = Change::default();
    change[key as usize] = Some(to);
    change
}

/// One turn of a client, of one operation or, with `left` for it, two; gives how many.
fn turn(engine: &Engine, shared: &Shared, random: &mut Random, left: u64) -> u64 {
    let key = random.below(KEYS as u64);
    match random.below(16) {
        0..=2 => shared.say(|| {
            let value = shared.new_value();
            shared.put(engine.put(key, value.to_le_bytes()).expect("a healthy disk"), value);
            Action::Write(change_of(key, Some(value)))
        }),
        3 => shared.say(|| {
            engine.delete(key).expect("a healthy disk");
            Action::Write(change_of(key, None))
        }),
        4 | 5 => {
            let other = random.below(KEYS as u64);
            let range = key.min(other)..=key.max(other);
            shared.say(|| {
                engine.delete_range(range.clone()).expect("a healthy disk");
                let mut change = Change::default();
                change[*range.start() as usize..=*range.end() as usize].fill(Some(None));
                Action::Write(change)
            });
        }
        6 | 7 => shared.say(|| batch(engine, shared, key)),
        8 => shared.say(|| {
            let all = engine.mget(&[0, 1, 2]).expect("reads");
            let mut state = State::default();
            for (key, value) in state.iter_mut().zip(all) {
                *key = value.as_deref().map(number);
            }
            Action::ReadAll(state)
        }),
        9 => shared.say(|| Action::ReadAll(read_all(engine))),
        10..=13 => return swap(engine, shared, key, random, left),
        _ => shared.say(|| {
            let value = engine.get(key).expect("reads");
            Action::Read(key as usize, value.as_deref().map(number))
        }),
    }
    1
}

/// All keys are deleted, then one is put again and another one too: one step.
fn batch(engine: &Engine, shared: &Shared, key: u64) -> Action {
    let (one, two) = (shared.new_value(), shared.new_value());
    let other = (key + 1) % KEYS as u64;
    let mut batch = Batch::new();
    batch.delete_range(0..=KEYS as u64 - 1).put(key, one.to_le_bytes()).put(other, two.to_le_bytes());
    let committed = engine.write(batch).expect("room in the queue").wait().expect("a healthy disk");
    shared.put(committed.first_offset + 1, one);
    shared.put(committed.first_offset + 2, two);
    let mut change: Change = [Some(None); KEYS];
    (change[key as usize], change[other as usize]) = (Some(Some(one)), Some(Some(two)));
    Action::Write(change)
}

/// A write on a condition; on what was just read, where there is a turn left for the read.
fn swap(engine: &Engine, shared: &Shared, key: u64, random: &mut Random, left: u64) -> u64 {
    let (mut expected, mut condition) = match random.below(2) {
        0 => (Expected::Absent, Condition::Absent),
        _ => (Expected::Present, Condition::Present),
    };
    let reads = left > 1 && random.below(4) > 0;
    if reads {
        shared.say(|| {
            let entry = engine.get_entry(key).expect("reads");
            let entry = entry.map(|(offset, value)| (offset, number(&value)));
            if let Some((offset, value)) = entry {
                shared.put(offset, value);
                (expected, condition) = (Expected::Value(value), Condition::Offset(offset));
            }
            Action::Read(key as usize, entry.map(|(_, value)| value))
        });
    }
    let to = (random.below(3) > 0).then(|| shared.new_value());
    shared.say(|| {
        let result = match to {
            Some(value) => engine.put_if(key, value.to_le_bytes(), condition),
            None => engine.delete_if(key, condition),
        };
        let at = key as usize;
        match result {
            Ok(offset) => {
                if let Some(value) = to {
                    shared.put(offset, value);
                }
                Action::Swapped(at, expected, change_of(key, to))
            }
            Err(WriteError::PreconditionFailed { failed }) => {
                let found = match failed[0].found {
                    None => Some(None),
                    // Of a put that nobody was told of yet.
                    Some(offset) => shared.put_at.lock().unwrap().get(&offset).map(|value| Some(*value)),
                };
                Action::Refused(at, expected, found)
            }
            Err(error) => panic!("a healthy disk: {error:?}"),
        }
    });
    1 + u64::from(reads)
}

#[test]
fn every_history_has_an_order_that_explains_it() {
    let variable = std::env::var("KYRO_HISTORIES").ok();
    let histories: u64 = variable.and_then(|text| text.parse().ok()).unwrap_or(300);
    let next = AtomicU64::new(0);
    let counts: [AtomicUsize; 4] = Default::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).filter(|seed| *seed < histories)
                {
                    let operations = history(seed);
                    let count =
                        |of: &dyn Fn(&Operation) -> bool| operations.iter().filter(|one| of(one)).count();
                    let of_each = [
                        operations.len(),
                        count(&|one| one.answered.is_none()),
                        count(&|one| matches!(one.action, Action::Swapped(..))),
                        count(&|one| matches!(one.action, Action::Refused(..))),
                    ];
                    for (sum, count) in counts.iter().zip(of_each) {
                        sum.fetch_add(count, Ordering::Relaxed);
                    }
                    assert!(is_linearizable(&operations), "seed {seed}: no order explains {operations:#?}");
                }
            });
        }
    });
    let [operations, unanswered, swapped, refused] = counts.map(|count| count.into_inner() as u64);
    println!(
        "{histories} histories, {operations} operations, {unanswered} cut off by a kill or power cut, {swapped} on \
         conditions that held, {refused} on others"
    );
    assert!(operations > histories * 20 && unanswered > histories / 10, "the clients did too little");
    assert!(swapped > histories && refused > histories / 2, "conditions are hardly tried");
}
