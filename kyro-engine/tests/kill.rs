//! SIGKILL of a process that writes with several threads, again and again on one directory: whatever it had
//! acknowledged is there after each opening, batches are whole, and no offset is given out twice.
//!
//! The test's own executable is the writer: with `KYRO_KILL_DIR` set it writes until it is killed. It says on its
//! standard output what it is about to write and what was acknowledged.
//!
//! `KYRO_KILL_CYCLES` sets the number of kills.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::{Batch, Commit, Engine, Options};

const WRITERS: u64 = 4;
/// Keys of one writer, each of which is written in pairs with the one of the same place in the second half.
const KEYS: u64 = 40;

fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 64 << 10;
    options.delta_bytes = 96 << 10;
    options.max_runs = 3;
    options.confirm_after = Duration::from_millis(2);
    options
}

/// A value that says its key and version, of a length that its version decides.
fn value(key: u64, version: u64) -> Vec<u8> {
    let mut value = [key.to_le_bytes(), version.to_le_bytes()].concat();
    value.resize(16 + (version.wrapping_mul(31) % 600) as usize, version as u8);
    value
}

fn keys(writer: u64, turn: u64) -> [u64; 2] {
    let place = turn * 7 % KEYS;
    [writer * 1000 + place, writer * 1000 + 500 + place]
}

/// The child: writes pairs of keys until it is killed. `?` and `!` lines go out whole: one write each.
fn write_for_ever(dir: &Path, cycle: u64) {
    let engine = Engine::open(dir, options()).unwrap();
    // The harness has begun a line of its own.
    println!("\nopen {}", engine.next_offset());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let engine = &engine;
            scope.spawn(move || {
                let say = |line: String| std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                for turn in 1.. {
                    let version = cycle * 1_000_000 + turn;
                    let mut batch = Batch::new();
                    for key in keys(writer, turn) {
                        batch.put(key, value(key, version));
                    }
                    say(format!("? {writer} {turn}\n"));
                    let committed = engine.write(batch).and_then(Commit::wait).unwrap();
                    say(format!("! {writer} {turn} {}\n", committed.first_offset));
                }
            });
        }
    });
}

/// What is known of a pair of keys: the version that must be there, and those that may be there instead.
#[derive(Debug, Default, Clone)]
struct Known {
    acknowledged: u64,
    attempted: Vec<u64>,
}

#[derive(Debug, Default)]
struct Ledger {
    openings: u64,
    pairs: BTreeMap<[u64; 2], Known>,
    next_offset: u64,
    acknowledgements: u64,
}

impl Ledger {
    /// What the child said until its end; a line that was cut by the kill counts for nothing.
    fn note(&mut self, cycle: u64, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words.get(at).and_then(|word: &&str| word.parse::<u64>().ok());
            match (words.first().copied(), number(1), number(2), number(3)) {
                (Some("open"), Some(next), ..) => {
                    assert!(next >= self.next_offset, "cycle {cycle}: offset {next} would be given twice");
                    self.openings += 1;
                }
                (Some("?"), Some(writer), Some(turn), _) => {
                    let known = self.pairs.entry(keys(writer, turn)).or_default();
                    known.attempted.push(cycle * 1_000_000 + turn);
                }
                (Some("!"), Some(writer), Some(turn), Some(offset)) => {
                    let known = self.pairs.entry(keys(writer, turn)).or_default();
                    let version = cycle * 1_000_000 + turn;
                    known.acknowledged = version;
                    known.attempted.retain(|attempted| *attempted > version);
                    self.next_offset = self.next_offset.max(offset + 2);
                    self.acknowledgements += 1;
                }
                _ => {}
            }
        }
    }

    /// Checks every pair, and settles what was open.
    fn check(&mut self, engine: &Engine, cycle: u64) {
        for (pair, known) in &mut self.pairs {
            let found = pair.map(|key| {
                let bytes = engine.get(key).unwrap()?;
                let version = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
                assert_eq!(&*bytes, value(key, version), "cycle {cycle}: key {key} holds a mixture");
                Some(version)
            });
            assert_eq!(found[0], found[1], "cycle {cycle}: half a batch at {pair:?}, {known:?}");
            let version = found[0].unwrap_or(0);
            assert!(
                version == known.acknowledged || known.attempted.contains(&version),
                "cycle {cycle}: {pair:?} holds version {version}, {known:?}"
            );
            *known = Known { acknowledged: version, attempted: Vec::new() };
        }
        assert!(engine.next_offset() >= self.next_offset);
    }
}

/// Starts the child, kills it after so many acknowledgements and a little more, and gives what it had said.
fn one_life(dir: &Path, cycle: u64) -> Vec<String> {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_acknowledged_survives_every_kill", "--nocapture", "--test-threads=1"])
        .env("KYRO_KILL_DIR", dir)
        .env("KYRO_KILL_CYCLE", cycle.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (acknowledged, over) = (Arc::clone(&acknowledged), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut lines = Vec::new();
            let mut bytes = stdout;
            let mut line = String::new();
            while bytes.read_line(&mut line).is_ok_and(|read| read > 0) {
                // Without its end the line was cut.
                if let Some(whole) = line.strip_suffix('\n') {
                    acknowledged.fetch_add(u64::from(whole.starts_with('!')), Ordering::SeqCst);
                    lines.push(whole.to_owned());
                }
                line.clear();
            }
            over.store(true, Ordering::SeqCst);
            lines
        })
    };
    let started = Instant::now();
    let enough = 1 + cycle * 37 % 120;
    while acknowledged.load(Ordering::SeqCst) < enough && !over.load(Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(300), "the writers stand still");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_micros(cycle * 613 % 9000));
    let early = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = reader.join().unwrap();
    assert!(early.is_none(), "cycle {cycle}: the writer ended by itself ({early:?}): {:?}", lines.last());
    lines
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(dir) = variable("KYRO_KILL_DIR") {
        let cycle = variable("KYRO_KILL_CYCLE").and_then(|text| text.parse().ok()).unwrap();
        return write_for_ever(Path::new(&dir), cycle);
    }
    let cycles: u64 = variable("KYRO_KILL_CYCLES").and_then(|text| text.parse().ok()).unwrap_or(300);
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("db");
    let mut ledger = Ledger::default();
    for cycle in 1..=cycles {
        let lines = one_life(&dir, cycle);
        ledger.note(cycle, &lines);
        // Each second opening is the next child's: recoveries that are killed, too.
        if cycle.is_multiple_of(2) || cycle == cycles {
            let engine = Engine::open(&dir, options()).unwrap();
            ledger.check(&engine, cycle);
            if cycle.is_multiple_of(3) {
                engine.close().unwrap();
            }
        }
    }
    println!("{cycles} kills, {} acknowledgements, none lost", ledger.acknowledgements);
    assert_eq!(ledger.openings, cycles, "an opening went unchecked");
    assert!(ledger.acknowledgements > cycles * 20, "the load was none");
}
