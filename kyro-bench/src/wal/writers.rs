//! Writers at work: how many puts a second a store acknowledges, to one thread or to many.

use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kv::{Commits, Entries, Failure, KeyValue};

/// Entries of a batch where batches are loaded.
pub const BATCH: u64 = 1_000;

/// What writers did.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// One past the last entry: all before it are acknowledged.
    pub end: u64,
    /// Puts a second.
    pub puts_per_second: f64,
    /// How they were committed, if the store tells.
    pub groups: Option<Groups>,
}

/// How puts were committed together.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// Puts of a group, on average.
    pub mean: f64,
    /// Groups a second.
    pub per_second: f64,
    /// Microseconds of a sync, on average; none where nothing was synced.
    pub sync_us: Option<f64>,
}

/// Has `writers` threads put entries from number `start` on, one at a time and each after its last was acknowledged, for
/// `length`.
///
/// # Errors
/// The first failure of the store.
pub fn put(
    store: &dyn KeyValue,
    entries: Entries,
    start: u64,
    writers: usize,
    length: Duration,
) -> Result<Written, Failure> {
    // A writer takes a number and puts its entry before it looks at the time: so no number is left out.
    let next = AtomicU64::new(start);
    let ready = Barrier::new(writers + 1);
    let before = store.commits();
    let (elapsed, results) = std::thread::scope(|scope| {
        let write = || -> Result<(), Failure> {
            let mut value = Vec::with_capacity(entries.value_bytes);
            ready.wait();
            let started = Instant::now();
            loop {
                let key = entries.key(next.fetch_add(1, Ordering::Relaxed));
                entries.fill(key, &mut value);
                store.put(key, &value)?;
                if started.elapsed() >= length {
                    return Ok(());
                }
            }
        };
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        ready.wait();
        let started = Instant::now();
        let results: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a writer panicked".into())))
            .collect();
        (started.elapsed(), results)
    });
    results.into_iter().collect::<Result<(), Failure>>()?;
    let end = next.into_inner();
    Ok(Written {
        end,
        puts_per_second: (end - start) as f64 / elapsed.as_secs_f64(),
        groups: groups(before, store.commits(), elapsed),
    })
}

/// Has one thread load entries from number `start` on in batches of [`BATCH`], for `length`.
///
/// # Errors
/// What the store says.
pub fn load(
    store: &dyn KeyValue,
    entries: Entries,
    start: u64,
    length: Duration,
) -> Result<Written, Failure> {
    let before = store.commits();
    let started = Instant::now();
    let mut batches = Batches { start, next: start, until: started + length };
    store.load(entries, &mut batches)?;
    let elapsed = started.elapsed();
    Ok(Written {
        end: batches.next,
        puts_per_second: (batches.next - start) as f64 / elapsed.as_secs_f64(),
        groups: groups(before, store.commits(), elapsed),
    })
}

/// Batches until the time is over; one at least.
struct Batches {
    start: u64,
    next: u64,
    until: Instant,
}

impl Iterator for Batches {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.start && Instant::now() >= self.until {
            return None;
        }
        let start = self.next;
        self.next += BATCH;
        Some(start..self.next)
    }
}

fn groups(before: Option<Commits>, after: Option<Commits>, elapsed: Duration) -> Option<Groups> {
    let (before, after) = (before?, after?);
    let groups = after.groups - before.groups;
    let syncs = after.syncs - before.syncs;
    (groups > 0).then(|| Groups {
        mean: (after.writes - before.writes) as f64 / groups as f64,
        per_second: groups as f64 / elapsed.as_secs_f64(),
        sync_us: (syncs > 0).then(|| (after.sync_nanos - before.sync_nanos) as f64 / syncs as f64 / 1e3),
    })
}
