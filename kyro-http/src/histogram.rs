//! A histogram over fixed bounds that any number of threads fill without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: usize = 16;

/// What a histogram observes: where its buckets end, and how many of its whole numbers are one unit.
#[derive(Debug)]
pub(crate) struct Scale {
    bounds: [u64; BUCKETS],
    per_unit: f64,
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Durations of requests in nanoseconds: 10 µs to 10 s.
pub(crate) static LATENCIES: Scale = Scale {
    bounds: [
        10 * US,
        25 * US,
        50 * US,
        100 * US,
        250 * US,
        500 * US,
        MS,
        2500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        100 * MS,
        500 * MS,
        S,
        5 * S,
        10 * S,
    ],
    per_unit: 1e9,
};

/// Durations of lookups in nanoseconds: 100 ns to 100 ms.
pub(crate) static LOOKUPS: Scale = Scale {
    bounds: [
        100,
        200,
        300,
        500,
        750,
        US,
        1500,
        2 * US,
        3 * US,
        5 * US,
        10 * US,
        25 * US,
        100 * US,
        MS,
        10 * MS,
        100 * MS,
    ],
    per_unit: 1e9,
};

/// Entries that a lookup may have to search.
pub(crate) static ENTRIES: Scale =
    Scale { bounds: [0, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 1024], per_unit: 1.0 };

/// Whole numbers, counted by size. Observing costs two atomic additions.
#[derive(Debug)]
pub(crate) struct Histogram {
    scale: &'static Scale,
    counts: [AtomicU64; BUCKETS + 1],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(&LATENCIES)
    }
}

/// A histogram's numbers at one moment.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot {
    /// Sum of all observations, in units.
    pub(crate) sum: f64,
    /// How many there are.
    pub(crate) count: u64,
    /// Upper bound in units (the last is infinite) and how many fell between it and the bound before.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(crate) fn new(scale: &'static Scale) -> Self {
        Self { scale, counts: Default::default(), sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, duration: Duration) {
        self.observe_weighted(duration, 1);
    }

    /// Counts one observation for so many: a sample of that many.
    pub(crate) fn observe_weighted(&self, duration: Duration, weight: u64) {
        self.observe_number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), weight);
    }

    /// As [`observe_weighted`](Self::observe_weighted), of a plain number.
    pub(crate) fn observe_number(&self, number: u64, weight: u64) {
        let bucket = self.scale.bounds.partition_point(|bound| *bound < number);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(weight, Ordering::Relaxed);
        }
        self.sum.fetch_add(number.saturating_mul(weight), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let per_unit = self.scale.per_unit;
        let bounds = self.scale.bounds.iter().map(|bound| *bound as f64 / per_unit).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Snapshot {
            sum: self.sum.load(Ordering::Relaxed) as f64 / per_unit,
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
