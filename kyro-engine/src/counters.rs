//! Counters of the read and write paths. Each thread has a cache line of its own and adds with a load and a store: a
//! locked addition would keep the reads of a loop from overlapping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::background::Bell;
use crate::thread_number::{self, NUMBERS};

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
    /// A run was searched for a key that it does not have.
    VainSearch,
    /// A filter said that a run does not have a key.
    Filtered,
}

const EVENTS: usize = 8;

/// The counters of one engine. Adding costs a load and a store in the thread's own line; reading sums the lines.
#[derive(Debug)]
pub(crate) struct Counters {
    /// By thread number: only that thread writes.
    own: Box<[CachePadded<[AtomicU64; EVENTS]>]>,
    /// Of the threads without a number.
    shared: CachePadded<[AtomicU64; EVENTS]>,
    /// Rung when a thread has searched in vain many times.
    vain: Arc<Bell>,
}

/// Searches in vain of one thread between two rings of the bell.
pub(crate) const VAIN_SEARCHES: u64 = 1 << 14;

impl Counters {
    /// Zeros. `vain` is rung when a thread has searched runs in vain [`VAIN_SEARCHES`] times more.
    pub(crate) fn new(vain: Arc<Bell>) -> Self {
        let own = (0..NUMBERS).map(|_| CachePadded::default()).collect();
        Self { own, shared: CachePadded::default(), vain }
    }

    /// Counts so many times [`Event::VainSearch`].
    #[inline]
    pub(crate) fn count_vain_searches(&self, searches: u64) {
        let all = self.add(Event::VainSearch, searches);
        if all / VAIN_SEARCHES != all.wrapping_sub(searches) / VAIN_SEARCHES {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        self.vain.ring();
    }

    #[inline]
    pub(crate) fn count(&self, event: Event) {
        self.add(event, 1);
    }

    /// Gives what the line that it was added to says then.
    #[inline]
    pub(crate) fn add(&self, event: Event, count: u64) -> u64 {
        match self.own.get(thread_number::get()) {
            Some(own) => {
                let own = &own[event as usize];
                // No other thread adds here: the one that had the number before has ended, and its sum is seen.
                let sum = own.load(Ordering::Relaxed).wrapping_add(count);
                own.store(sum, Ordering::Relaxed);
                sum
            }
            None => self.shared[event as usize].fetch_add(count, Ordering::Relaxed).wrapping_add(count),
        }
    }

    pub(crate) fn total(&self, event: Event) -> u64 {
        let lines = self.own.iter().chain([&self.shared]);
        lines.fold(0, |sum, line| sum.wrapping_add(line[event as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counters = Counters::new(Arc::default());
        let _numbers = thread_number::tests::take_all();
        let (waves, threads) = (3, NUMBERS + 10);
        for _ in 0..waves {
            let barrier = Barrier::new(threads);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        // All live at once, so that some have no number.
                        barrier.wait();
                        (0..1000).for_each(|_| counters.count(Event::IndexHit));
                        barrier.wait();
                    });
                }
            });
        }
        assert_eq!(counters.total(Event::IndexHit), (waves * threads * 1000) as u64);
        assert_eq!(counters.total(Event::CorruptRead), 0);
    }
}
