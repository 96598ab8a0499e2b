//! A histogram over fixed bounds that any number of threads fill without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for latencies, in nanoseconds: 10 µs to 10 s.
const BOUNDS_NANOS: [u64; 16] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Durations, counted by size. Observing costs two atomic additions.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS_NANOS.len() + 1],
    sum_nanos: AtomicU64,
}

/// A histogram's numbers at one moment.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot {
    /// Sum of all observations in seconds.
    pub(crate) sum: f64,
    /// How many there are.
    pub(crate) count: u64,
    /// Upper bound in seconds (the last is infinite) and how many fell between it and the bound before.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        self.observe_weighted(duration, 1);
    }

    /// Counts one observation for so many: a sample of that many.
    pub(crate) fn observe_weighted(&self, duration: Duration, weight: u64) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(weight, Ordering::Relaxed);
        }
        self.sum_nanos.fetch_add(nanos.saturating_mul(weight), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let bounds = BOUNDS_NANOS.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Snapshot {
            sum: self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

impl Snapshot {
    /// The numbers of two histograms together.
    pub(crate) fn merged(mut self, other: &Self) -> Self {
        self.sum += other.sum;
        self.count += other.count;
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_under_the_first_bound_that_holds_them() {
        let histogram = Histogram::default();
        for micros in [0, 10, 11, 25, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count, 5);
        assert_eq!(snapshot.buckets.first(), Some(&(0.000_01, 2)));
        assert_eq!(snapshot.buckets.get(1), Some(&(0.000_025, 2)));
        assert_eq!(snapshot.buckets.last(), Some(&(f64::INFINITY, 1)));
        assert!((snapshot.sum - 20.000_046).abs() < 1e-9);
    }
}
