//! A long mixed load with flushes, compactions, kills and clean closes on one directory: memory, descriptors and disk
//! stay flat, every read answers with a whole value that is no older than the last, and everything verifies.
//!
//! The test's own executable is the load: with `KYRO_SOAK_DIR` set it writes and reads until its time is over or it is
//! killed, and says once a second what it takes. `KYRO_SOAK_SECONDS` sets how long all lives last together.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::{Batch, Commit, Engine, Options, verify};

const WRITERS: u64 = 3;
const READERS: u64 = 2;
/// Keys of one writer: few enough that everything is overwritten again and again.
const KEYS: u64 = 4000;

fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 1 << 20;
    options.delta_bytes = 1 << 20;
    options
}

fn value(key: u64, version: u64) -> Vec<u8> {
    let mut value = [key.to_le_bytes(), version.to_le_bytes()].concat();
    value.resize(16 + (version.wrapping_mul(131) % 400) as usize, version as u8);
    value
}

/// What a process takes, as the system counts it.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    rss_kib: u64,
    descriptors: u64,
    disk_kib: u64,
    operations: u64,
}

impl Sample {
    fn take(dir: &Path, operations: u64) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let rss_kib = line.trim().trim_end_matches(" kB").parse().unwrap();
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        Self { rss_kib, descriptors, disk_kib: disk_bytes(dir) >> 10, operations }
    }

    fn parse(line: &str) -> Option<Self> {
        let numbers: Vec<u64> = line.split_once("sample ")?.1.split(' ').flat_map(str::parse).collect();
        let [rss_kib, descriptors, disk_kib, operations] = *numbers.first_chunk()?;
        Some(Self { rss_kib, descriptors, disk_kib, operations })
    }
}

/// Bytes of every file below a directory; files that go while it is read count for nothing.
fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The child: writers that own their keys, readers that follow them.
fn load(dir: &Path, life: u64, lasts: Duration) {
    let engine = Engine::open(dir, options()).unwrap();
    let (stop, operations) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = || stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (engine, operations) = (&engine, &operations);
            scope.spawn(move || {
                for turn in 0.. {
                    if done() {
                        break;
                    }
                    let version = (life << 40) + turn;
                    let mut batch = Batch::new();
                    for step in 0..8 {
                        let key = writer * KEYS + (turn * 8 + step).wrapping_mul(2_654_435_761) % KEYS;
                        match (turn + step) % 11 {
                            0 => batch.delete(key),
                            _ => batch.put(key, value(key, version)),
                        };
                    }
                    // On a machine that starves the flusher a write waits for it; it is not refused.
                    engine.write_waiting(batch).and_then(Commit::wait).unwrap();
                    operations.fetch_add(8, Ordering::Relaxed);
                }
            });
        }
        for reader in 0..READERS {
            let (engine, operations) = (&engine, &operations);
            scope.spawn(move || {
                let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
                let mut place = reader;
                while !done() {
                    place =
                        place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let key = (place >> 33) % (WRITERS * KEYS);
                    if let Some(bytes) = engine.get(key).unwrap() {
                        let version = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
                        assert_eq!(&*bytes, value(key, version), "key {key} holds a mixture");
                        let seen = newest.entry(key).or_default();
                        assert!(version >= *seen, "key {key} went back from {seen} to {version}");
                        *seen = version;
                    }
                    operations.fetch_add(1, Ordering::Relaxed);
                    if place.is_multiple_of(64) {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < lasts {
            std::thread::sleep(Duration::from_secs(1).min(lasts / 4));
            let Sample { rss_kib, descriptors, disk_kib, operations } =
                Sample::take(dir, operations.load(Ordering::Relaxed));
            println!("sample {rss_kib} {descriptors} {disk_kib} {operations}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    engine.close().unwrap();
    println!("closed");
}

/// One life of the load: what it said. Each second one is killed instead of closed.
fn one_life(dir: &Path, life: u64, lasts: Duration) -> Vec<Sample> {
    let killed = life.is_multiple_of(2);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory_descriptors_and_disk_stay_flat", "--nocapture", "--test-threads=1"])
        .env("KYRO_SOAK_DIR", dir)
        .env("KYRO_SOAK_LIFE", life.to_string())
        // One that is to be killed is killed in the middle of its load.
        .env("KYRO_SOAK_MILLIS", if killed { lasts * 10 } else { lasts }.as_millis().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
    if killed {
        std::thread::sleep(lasts);
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let lines = reader.join().unwrap();
    if !killed {
        assert!(status.success() && lines.iter().any(|line| line == "closed"), "life {life}: {status}");
    }
    lines.iter().filter_map(|line| Sample::parse(line)).collect()
}

#[test]
fn memory_descriptors_and_disk_stay_flat() {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name).and_then(|text| text.parse::<u64>().ok());
    if let Some(dir) = variable("KYRO_SOAK_DIR") {
        let lasts = Duration::from_millis(number("KYRO_SOAK_MILLIS").unwrap());
        return load(Path::new(&dir), number("KYRO_SOAK_LIFE").unwrap(), lasts);
    }
    let seconds = number("KYRO_SOAK_SECONDS").unwrap_or(12);
    let lives = 12.min(seconds / 2).max(6);
    let lasts = Duration::from_millis(seconds * 1000 / lives);
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("db");
    let mut peaks: Vec<Sample> = Vec::new();
    let mut operations = 0;
    for life in 1..=lives {
        let samples = one_life(&dir, life, lasts);
        let report = verify(&dir, None).unwrap();
        assert!(report.damage.is_empty(), "life {life}: {report:?}");
        let half = &samples[samples.len() / 2..];
        let most = |field: fn(&Sample) -> u64| half.iter().map(field).max().unwrap_or(0);
        let peak = Sample {
            rss_kib: most(|sample| sample.rss_kib),
            descriptors: most(|sample| sample.descriptors),
            disk_kib: most(|sample| sample.disk_kib),
            operations: most(|sample| sample.operations),
        };
        operations += peak.operations;
        println!("soak: life {life} of {lives}: {peak:?}");
        // Within a life that is long enough to tell: the end takes no more than the middle did.
        if let [middle, .., end] = half
            && half.len() >= 10
        {
            assert_flat("memory (KiB)", middle.rss_kib, end.rss_kib, 24 << 10);
            assert_flat("descriptors", middle.descriptors, end.descriptors, 24);
        }
        peaks.push(peak);
    }
    // From one life to the next: the last third against the one after the beginning.
    let third = peaks.len() / 3;
    let most = |part: &[Sample], field: fn(&Sample) -> u64| part.iter().map(field).max().unwrap_or(0);
    let (early, late) = (&peaks[1..=third + 1], &peaks[peaks.len() - third..]);
    for (what, field, slack) in [
        ("memory (KiB)", (|sample| sample.rss_kib) as fn(&Sample) -> u64, 24 << 10),
        ("descriptors", |sample| sample.descriptors, 24),
        ("disk (KiB)", |sample| sample.disk_kib, 12 << 10),
    ] {
        assert_flat(what, most(early, field), most(late, field), slack);
    }
    println!("soak: {seconds} s, {lives} lives, {operations} operations, flat");
    assert!(operations > seconds * 50, "the load was none");
}

/// A quarter more and a fixed slack are noise; what grows for ever is more than that.
fn assert_flat(what: &str, early: u64, late: u64, slack: u64) {
    assert!(late <= early + early / 4 + slack, "{what} grows: {early} early, {late} late");
}
