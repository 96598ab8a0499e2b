//! Counters of the read and write paths, spread over cache lines so that readers do not share one.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// A read answered by the delta or a frozen delta.
    DeltaRead,
    /// A read that went to the runs, through their indexes, and found the key (or its tombstone).
    IndexHit,
    /// A read that went to the runs and found it in none.
    IndexMiss,
    /// A key was outside the window that its index predicted; the answer came from a full search.
    Mispredict,
    /// A checksum failed.
    CorruptRead,
    /// A checksum failed in the log.
    CorruptLog,
}

const EVENTS: usize = 6;
const SHARDS: usize = 16;

/// The counters of one engine. Adding costs one uncontended atomic; reading sums the shards.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    shards: [CachePadded<[AtomicU64; EVENTS]>; SHARDS],
}

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn shard() -> usize {
    SHARD.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        own.get()
    })
}

impl Counters {
    pub(crate) fn count(&self, event: Event) {
        self.add(event, 1);
    }

    pub(crate) fn add(&self, event: Event, count: u64) {
        self.shards[shard()][event as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn total(&self, event: Event) -> u64 {
        self.shards.iter().map(|shard| shard[event as usize].load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..SHARDS + 3 {
                scope.spawn(|| (0..1000).for_each(|_| counters.count(Event::IndexHit)));
            }
        });
        assert_eq!(counters.total(Event::IndexHit), (SHARDS as u64 + 3) * 1000);
        assert_eq!(counters.total(Event::CorruptRead), 0);
    }
}
