//! Reads while the engine is busy: puts at a steady rate, flushes, and compactions one after the other.
//!
//! One thread reads keys that are there, each get timed by itself; the same thread without load is the measure of what
//! the machine does by itself. A get that took long is set against the time that the thread waited for a processor
//! according to the kernel: what remains of it must be explained by the engine.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kyro_engine::{Batch, Durability, Engine, Options};
use serde::Serialize;

use crate::engine::asked::Records;
use crate::engine::results::Size;
use crate::engine::run::{EngineBenchError, Plan};
use crate::kv::Failure;
use crate::kv::kyro::batch;
use crate::kv::reads::first_word;
use crate::latency::histogram;
use crate::random::Random;

/// Puts a second.
const PUTS_PER_SECOND: u64 = 50_000;
/// Puts of a batch: one every two milliseconds.
const BATCH: u64 = 100;
/// Recent writes kept in memory, so that flushes come while this is measured.
const DELTA_BYTES: u64 = 8 << 20;
/// Batches on their way, as from so many writers.
const IN_FLIGHT: usize = 256;
/// A get that takes this long is a stall.
const STALL: Duration = Duration::from_millis(10);
/// Keys asked for again and again.
const KEYS: usize = 100_000;
/// Gets between two looks at the kernel's count of waiting.
const LOOK_EVERY: usize = 512;

/// How long gets took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Gets.
    pub gets: u64,
    /// Median, in nanoseconds.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            gets: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// Reads beside writes and compactions.
#[derive(Clone, Debug, Serialize)]
pub struct BusyRow {
    /// Records at the start.
    pub size: Size,
    /// Puts a second that were asked for, in batches of 100, synced when acknowledged.
    pub puts_per_second: u64,
    /// Puts a second that were acknowledged.
    pub acknowledged: f64,
    /// Flushes and compactions meanwhile.
    pub flushes: u64,
    /// See [`BusyRow::flushes`].
    pub compactions: u64,
    /// Groups of batches that were written and synced together.
    pub groups: u64,
    /// Milliseconds of a sync, on average.
    pub sync_ms: f64,
    /// Without any load.
    pub quiet: Latency,
    /// Beside it.
    pub busy: Latency,
    /// Nanoseconds from the time a batch was due to its acknowledgement.
    pub puts: Latency,
    /// Gets of ten milliseconds and more.
    pub stalls: u64,
    /// Milliseconds of the worst of them that the thread did not wait for a processor.
    pub unexplained_ms: f64,
    /// Seconds that the reading thread waited for a processor in all, of how many.
    pub waited_seconds: f64,
    /// See [`BusyRow::waited_seconds`].
    pub seconds: f64,
}

impl fmt::Display for BusyRow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "## reads beside {} puts/s and compactions: {}\n", self.puts_per_second, self.size)?;
        let mut table = crate::report::Table::new(["µs", "count", "p50", "p99", "p99.9", "most"]);
        let us = |nanos: u64| format!("{:.2}", nanos as f64 / 1e3);
        for (name, one) in [
            ("get, no load", &self.quiet),
            ("get, beside the load", &self.busy),
            ("put, from its due time", &self.puts),
        ] {
            table.row([
                name.to_owned(),
                one.gets.to_string(),
                us(one.p50),
                us(one.p99),
                us(one.p999),
                us(one.max),
            ]);
        }
        writeln!(
            out,
            "{table}\nBatches of {BATCH}, synced when acknowledged: {:.0} puts/s acknowledged, in {} groups, {:.2} ms a \
             sync; {} flushes (at {} MiB), {} \
             compactions, one after the other. The reading thread waited {:.2} of {:.1} s for a processor. Gets of 10 ms and \
             more: {}; the most that one of them took beyond waiting for a processor: {:.1} ms.\n",
            self.acknowledged,
            self.groups,
            self.sync_ms,
            self.flushes,
            DELTA_BYTES >> 20,
            self.compactions,
            self.waited_seconds,
            self.seconds,
            self.stalls,
            self.unexplained_ms
        )
    }
}

/// Loads the records, reads without load, and reads with it.
pub(super) fn measure(plan: &Plan, size: Size, place: &Path) -> Result<BusyRow, EngineBenchError> {
    busy(plan, size, place)
        .map_err(|source| EngineBenchError::Engine { doing: "reading beside writes", source })
}

fn busy(plan: &Plan, size: Size, place: &Path) -> Result<BusyRow, Failure> {
    let dir = place.join("busy");
    let mut options = Options::default();
    options.durability = Durability::Always;
    options.delta_bytes = DELTA_BYTES;
    let engine = Engine::open(&dir, options)?;
    let records = Records::new(size, plan.seed);
    let mut last = None;
    for start in (0..size.records).step_by(1_000) {
        last = Some(engine.write_waiting(batch(records.entries, start..(start + 1_000).min(size.records)))?);
    }
    last.map(kyro_engine::Commit::wait).transpose()?;
    engine.compact()?;
    let asked = records.uniform(KEYS, &mut Random::new(plan.seed, "busy"));
    let words: Vec<u64> = asked
        .keys
        .iter()
        .map(|&key| {
            let mut value = Vec::new();
            records.entries.fill(key, &mut value);
            first_word(&value)
        })
        .collect();
    let keys: Vec<(u64, u64)> = asked.keys.iter().copied().zip(words).collect();

    let quiet = read(&engine, &keys, &|elapsed| elapsed >= plan.busy / 2)?;
    let before = engine.stats();
    let stop = AtomicBool::new(false);
    let (busy, writing, compacting) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&engine, records.entries, size.records, plan.busy, &stop));
        let compactor = scope.spawn(|| -> Result<(), Failure> {
            while !stop.load(Ordering::Relaxed) {
                engine.compact()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        });
        let busy = read(&engine, &keys, &|_| stop.load(Ordering::Relaxed));
        // Also when reading failed.
        stop.store(true, Ordering::Relaxed);
        let ended = || "a thread panicked".into();
        (
            busy,
            writer.join().unwrap_or_else(|_| Err(ended())),
            compactor.join().unwrap_or_else(|_| Err(ended())),
        )
    });
    let (busy, (puts, acknowledged)) = (busy?, writing?);
    compacting?;
    let after = engine.stats();
    let row = BusyRow {
        size,
        puts_per_second: PUTS_PER_SECOND,
        acknowledged,
        flushes: after.flushes - before.flushes,
        compactions: after.compactions - before.compactions,
        groups: after.groups - before.groups,
        sync_ms: (after.sync_time.saturating_sub(before.sync_time)).as_secs_f64() * 1e3
            / (after.syncs - before.syncs).max(1) as f64,
        quiet: (&quiet.latencies).into(),
        busy: (&busy.latencies).into(),
        puts: (&puts).into(),
        stalls: busy.stalls,
        unexplained_ms: busy.unexplained.as_secs_f64() * 1e3,
        waited_seconds: busy.waited.as_secs_f64(),
        seconds: busy.elapsed.as_secs_f64(),
    };
    engine.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(row)
}

/// What a reader saw.
struct Read {
    latencies: Histogram<u64>,
    stalls: u64,
    unexplained: Duration,
    waited: Duration,
    elapsed: Duration,
}

/// Gets `keys` over and over until `is_over`, a few of them in any case, and compares what comes.
fn read(engine: &Engine, keys: &[(u64, u64)], is_over: &dyn Fn(Duration) -> bool) -> Result<Read, Failure> {
    let mut latencies = histogram();
    let (mut stalls, mut unexplained) = (0, Duration::ZERO);
    let waited_before = waited();
    let mut looked = waited_before;
    let started = Instant::now();
    let mut number = 0;
    loop {
        for _ in 0..LOOK_EVERY {
            let (key, word) = keys[number % keys.len()];
            number += 1;
            let asked = Instant::now();
            let value = engine.get(key)?;
            let took = asked.elapsed();
            latencies.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            if value.as_deref().map(first_word) != Some(word) {
                return Err(format!("key {key} has another value beside the load").into());
            }
            if took >= STALL {
                stalls += 1;
                let now = waited();
                unexplained = unexplained.max(took.saturating_sub(now.saturating_sub(looked)));
                looked = now;
            }
        }
        looked = waited();
        if is_over(started.elapsed()) {
            break;
        }
    }
    let elapsed = started.elapsed();
    Ok(Read { latencies, stalls, unexplained, waited: waited().saturating_sub(waited_before), elapsed })
}

/// How long this thread has waited for a processor since it began, by the kernel's count; zero where it keeps none.
fn waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_ascii_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Puts new entries from number `start` on at the rate, and half as many times overwrites old ones. Gives how long each
/// batch took from the time it was due, and the puts a second.
fn write(
    engine: &Engine,
    entries: crate::kv::Entries,
    start: u64,
    length: Duration,
    stop: &AtomicBool,
) -> Result<(Histogram<u64>, f64), Failure> {
    let every = Duration::from_secs(1) * BATCH as u32 / PUTS_PER_SECOND as u32;
    let started = Instant::now();
    let mut random = Random::new(entries.seed, "overwrites");
    let mut done = 0_u64;
    let (on_their_way, commits) = std::sync::mpsc::sync_channel(IN_FLIGHT);
    let latencies = std::thread::scope(|scope| {
        // By a thread of its own: an answer counts when it comes, not when the next batch is due.
        let acknowledged = scope.spawn(move || acknowledge(commits, started));
        let result = (|| -> Result<(), Failure> {
            let mut value = Vec::new();
            let mut number = start;
            while started.elapsed() < length && !stop.load(Ordering::Relaxed) {
                let due = every * u32::try_from(done / BATCH).unwrap_or(u32::MAX);
                if let Some(early) = due.checked_sub(started.elapsed()) {
                    std::thread::sleep(early);
                }
                let mut writes = Batch::with_capacity(BATCH as usize * (entries.value_bytes + 16));
                for turn in 0..BATCH {
                    let key = entries.key(if turn % 3 == 2 { random.below(start) } else { number });
                    number += u64::from(turn % 3 != 2);
                    entries.fill(key, &mut value);
                    writes.put(key, &value);
                }
                if on_their_way.send((due, engine.write_waiting(writes)?)).is_err() {
                    // Whoever waits for the commits has met an error, which follows.
                    break;
                }
                done += BATCH;
            }
            Ok(())
        })();
        drop(on_their_way);
        let acknowledged =
            acknowledged.join().unwrap_or_else(|_| Err("a thread of the benchmark panicked".into()));
        result.and(acknowledged)
    });
    stop.store(true, Ordering::Relaxed);
    Ok((latencies?, done as f64 / started.elapsed().as_secs_f64()))
}

/// Waits for commits in their order. Gives how long each took from the time its batch was due.
fn acknowledge(
    commits: std::sync::mpsc::Receiver<(Duration, kyro_engine::Commit)>,
    started: Instant,
) -> Result<Histogram<u64>, Failure> {
    let mut latencies = histogram();
    for (due, commit) in commits {
        commit.wait()?;
        let took = started.elapsed().saturating_sub(due);
        latencies.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(latencies)
}
