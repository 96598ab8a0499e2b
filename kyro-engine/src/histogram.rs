//! Histograms over fixed bounds: filled without a lock, read as plain data.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often something was how large, as plain data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histogram {
    /// Upper bounds of the buckets, ascending, each bound itself included; there is one more bucket above the last.
    pub bounds: &'static [u64],
    /// Observations in each bucket, those of smaller buckets not included: one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of everything observed.
    pub sum: u64,
}

impl Histogram {
    /// Observations in all.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Batches of a group.
pub(crate) const GROUP_SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 256, 512, 1024];

/// Durations of a sync, in nanoseconds: 10 µs to 5 s.
pub(crate) const SYNC_NANOS: &[u64] = &[
    10_000,
    25_000,
    50_000,
    100_000,
    200_000,
    300_000,
    400_000,
    600_000,
    800_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Durations of a flush or of a compaction, in nanoseconds: 1 ms to an hour.
pub(crate) const WORK_NANOS: &[u64] = &[
    1_000_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
    3_600_000_000_000,
];

/// Fills a [`Histogram`]. Observing costs a search among the bounds and two relaxed additions.
#[derive(Debug)]
pub(crate) struct Recorder {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn read(&self) -> Histogram {
        Histogram {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_under_the_first_bound_that_holds_them() {
        let recorder = Recorder::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11, 1000] {
            recorder.observe(value);
        }
        let read = recorder.read();
        assert_eq!((read.bounds, &*read.counts, read.sum), (&[1, 10][..], &[2, 2, 2][..], 1024));
        assert_eq!(read.count(), 6);
    }
}
