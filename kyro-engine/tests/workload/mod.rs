//! A workload on a simulated disk, and the model it is checked against after a crash.
//!
//! Every batch also puts its own number under [`COUNTER`], so that a recovered database says itself how many batches
//! it holds; everything else must then be exactly what that many batches make.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kyro_engine::storage::SimDisk;
use kyro_engine::{Batch, Engine, EventOp, Options, Scan, View};

/// The database's directory on the simulated disk.
pub(crate) const DIR: &str = "/db";

/// The key under which each batch puts its number, counted from 1.
pub(crate) const COUNTER: u64 = u64::MAX;

/// Keys the workload writes: few, so that they are overwritten and deleted often. Ends of the range included.
pub(crate) const KEYS: [u64; 12] =
    [0, 1, 2, 7, 1 << 20, (1 << 53) + 1, 1 << 63, u64::MAX - 1, 99, 100, 101, 5_000_000];

/// A small generator of pseudo-random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// One operation of a batch, as the model keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Put(u64, Vec<u8>),
    Delete(u64),
    Append(Vec<u8>),
    DeleteRange(u64, u64),
}

/// One batch that was handed to the engine.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// Disk operations there had been when it was handed over, and when it was acknowledged.
    pub(crate) submitted: u64,
    pub(crate) acked: Option<u64>,
    pub(crate) first_offset: Option<u64>,
    pub(crate) ops: Vec<Op>,
}

/// Everything that was attempted, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) attempts: Vec<Attempt>,
}

/// What a number of batches makes: values with their offsets (where known), and events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) values: BTreeMap<u64, (Option<u64>, Vec<u8>)>,
    pub(crate) events: Vec<Vec<u8>>,
}

impl Model {
    /// The state after the first `batches` attempts.
    pub(crate) fn state(&self, batches: usize) -> State {
        let mut state = State::default();
        for attempt in &self.attempts[..batches] {
            for (index, op) in attempt.ops.iter().enumerate() {
                let offset = attempt.first_offset.map(|first| first + index as u64);
                match op {
                    Op::Put(key, value) => drop(state.values.insert(*key, (offset, value.clone()))),
                    Op::Delete(key) => drop(state.values.remove(key)),
                    Op::Append(payload) => state.events.push(payload.clone()),
                    Op::DeleteRange(from, to) => state.values.retain(|key, _| key < from || to < key),
                }
            }
        }
        state
    }

    /// How many batches were acknowledged before the disk's operation `operation`.
    pub(crate) fn acked_before(&self, operation: u64) -> usize {
        self.attempts.iter().take_while(|attempt| attempt.acked.is_some_and(|at| at <= operation)).count()
    }

    /// How many batches had been handed over before the disk's operation `operation`.
    pub(crate) fn submitted_before(&self, operation: u64) -> usize {
        self.attempts.iter().take_while(|attempt| attempt.submitted <= operation).count()
    }

    /// One past the last offset that the first `batches` attempts used, as far as it is known.
    pub(crate) fn next_offset(&self, batches: usize) -> u64 {
        let used = self.attempts[..batches]
            .iter()
            .rev()
            .find_map(|attempt| attempt.first_offset.map(|first| first + attempt.ops.len() as u64));
        used.unwrap_or(0)
    }

    /// The next batch: one to four operations and the counter.
    pub(crate) fn next_batch(&self, random: &mut Random) -> Vec<Op> {
        let number = self.attempts.len() as u64 + 1;
        let mut ops = vec![Op::Put(COUNTER, number.to_le_bytes().to_vec())];
        for _ in 0..=random.below(3) {
            let key = KEYS[random.below(KEYS.len() as u64) as usize];
            ops.push(match random.below(11) {
                // Never the counter: it is the largest key.
                10 => {
                    let other = KEYS[random.below(KEYS.len() as u64) as usize];
                    Op::DeleteRange(key.min(other), key.max(other))
                }
                0..=6 => Op::Put(key, value(key, number, random)),
                7..=8 => Op::Delete(key),
                _ => Op::Append(value(0, number, random)),
            });
        }
        ops
    }
}

/// A value that says whose it is, of a length that now and then is none or spans many sectors.
fn value(key: u64, number: u64, random: &mut Random) -> Vec<u8> {
    let length = match random.below(8) {
        0 => 0,
        1 => 1000 + random.below(4000),
        _ => random.below(80),
    };
    let mut bytes = Random(key ^ number.rotate_left(32));
    (0..length).map(|_| bytes.next() as u8).collect()
}

pub(crate) fn batch(ops: &[Op]) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        match op {
            Op::Put(key, value) => batch.put(*key, value),
            Op::Delete(key) => batch.delete(*key),
            Op::Append(payload) => batch.append(payload),
            Op::DeleteRange(from, to) => batch.delete_range(*from..=*to),
        };
    }
    batch
}

/// Small segments and an eager witness, so that rotation and confirmation happen all the time.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.confirm_after = Duration::from_millis(1);
    options.auto_flush = false;
    options.ballast_bytes = 4096;
    options.max_runs = 3;
    options
}

pub(crate) fn open(disk: &SimDisk) -> Result<Engine, kyro_engine::OpenError> {
    Engine::open_on(Arc::new(disk.clone()), Path::new(DIR), options())
}

/// Writes `batches` batches, in bursts of up to three, with flushes, compactions and reopenings between them.
pub(crate) fn run(disk: &SimDisk, seed: u64, batches: usize) -> Model {
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut engine = open(disk).expect("an empty disk opens");
    while model.attempts.len() < batches {
        match random.below(12) {
            0 => drop(engine.flush().expect("flush")),
            1 => drop(engine.compact().expect("compact")),
            2 => {
                engine.close().expect("close");
                engine = open(disk).expect("reopen");
            }
            3 => std::thread::sleep(Duration::from_millis(2)),
            _ => burst(disk, &engine, &mut model, &mut random),
        }
    }
    engine.close().expect("close");
    model
}

/// One to three batches in flight together.
pub(crate) fn burst(disk: &SimDisk, engine: &Engine, model: &mut Model, random: &mut Random) {
    let first = model.attempts.len();
    let mut commits = Vec::new();
    for _ in 0..=random.below(3) {
        let ops = model.next_batch(random);
        let submitted = disk.operations();
        commits.push(engine.write(batch(&ops)).expect("room in the queue"));
        model.attempts.push(Attempt { submitted, acked: None, first_offset: None, ops });
    }
    for (index, commit) in commits.into_iter().enumerate() {
        let committed = commit.wait().expect("a healthy disk");
        let attempt = &mut model.attempts[first + index];
        attempt.acked = Some(disk.operations());
        attempt.first_offset = Some(committed.first_offset);
        assert_eq!(committed.last_offset - committed.first_offset + 1, attempt.ops.len() as u64);
    }
}

/// Checks that an engine holds exactly what some number of batches, at least `acked` and at most `submitted`, makes,
/// and gives that number.
pub(crate) fn check(engine: &Engine, model: &Model, acked: usize, submitted: usize) -> usize {
    let counter = engine.get(COUNTER).expect("the counter reads");
    let batches = counter.map_or(0, |bytes| u64::from_le_bytes((&*bytes).try_into().expect("eight bytes")));
    let batches = usize::try_from(batches).expect("a count");
    assert!(batches >= acked, "{acked} batches were acknowledged, {batches} are there");
    assert!(batches <= submitted, "{submitted} batches were begun, {batches} are there");
    let state = model.state(batches);
    for key in KEYS {
        let found = engine.get(key).expect("a key reads").map(|value| value.to_vec());
        let expected = state.values.get(&key);
        assert_eq!(found, expected.map(|(_, value)| value.clone()), "key {key} after {batches} batches");
        if let Some((Some(offset), _)) = expected {
            assert_eq!(engine.offset(key).expect("a key reads"), Some(*offset), "offset of key {key}");
        }
    }
    check_view(&engine.view().expect("a view"), model, batches);
    let mut events = Vec::new();
    for event in engine.replay(engine.oldest_offset(), None).expect("history reads") {
        let event = event.expect("history reads");
        if let EventOp::Append { payload } = event.op {
            events.push(payload.to_vec());
        }
    }
    assert_eq!(events, state.events, "events after {batches} batches");
    assert!(engine.next_offset() >= model.next_offset(batches), "offsets go on");
    batches
}

/// Checks that a view sees exactly what `batches` batches make: key by key, all keys at once, and in order both ways.
pub(crate) fn check_view(view: &View, model: &Model, batches: usize) {
    let state = model.state(batches);
    let forward: Vec<_> = view.scan(Scan::all()).map(|entry| entry.expect("an entry reads")).collect();
    let scanned: Vec<_> = forward.iter().map(|entry| (entry.key, entry.value.to_vec())).collect();
    let expected: Vec<_> = state.values.iter().map(|(key, (_, value))| (*key, value.clone())).collect();
    assert_eq!(scanned, expected, "scan after {batches} batches");
    let mut backward: Vec<_> =
        view.scan(Scan::all().reverse()).map(|entry| entry.expect("an entry reads")).collect();
    backward.reverse();
    assert_eq!(backward, forward, "both directions after {batches} batches");
    assert_eq!(view.count(..).expect("counts"), forward.len() as u64);
    let all_at_once = view.mget(&KEYS).expect("keys read");
    let one_by_one = KEYS.map(|key| view.get(key).expect("a key reads"));
    assert_eq!(all_at_once, one_by_one, "mget after {batches} batches");
    for key in KEYS {
        let found = view.get_entry(key).expect("a key reads");
        let expected = state.values.get(&key);
        let value = found.as_ref().map(|(_, value)| value.to_vec());
        assert_eq!(value, expected.map(|(_, value)| value.clone()), "key {key} after {batches} batches");
        if let Some((Some(offset), _)) = expected {
            assert_eq!(found.map(|(offset, _)| offset), Some(*offset), "offset of key {key}");
        }
    }
}
