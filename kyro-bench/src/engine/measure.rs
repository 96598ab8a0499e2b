//! What is measured, with its unit and the side on which it is better.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Measure {
    /// Gets of keys that are there, each as likely, each waiting for the value before: latency.
    HitSerial,
    /// The same gets, independent of each other.
    Hit,
    /// Gets of keys by Zipf's law (0.99), each waiting for the value before.
    ZipfSerial,
    /// The same gets, independent of each other.
    Zipf,
    /// Gets of absent keys, independent of each other.
    Miss,
    /// Of independent gets timed one by one: the median.
    HitP50,
    /// The 99th percentile of the same.
    HitP99,
    /// The 99.9th percentile of the same.
    HitP999,
    /// Keys of [`Measure::Hit`] handed over 1,000 at once.
    Many,
    /// Independent gets by two threads at once.
    TwoThreads,
    /// Those, over the gets of one thread in the same repeat.
    Speedup,
    /// Scans of 100 entries from a key that is there.
    Scan100,
    /// A scan of everything.
    ScanAll,
    /// Loading sorted keys until all can be read.
    LoadSorted,
    /// Loading keys in random order, unsynced batches of 1,000, until nothing is left to compact.
    LoadRandom,
    /// Bytes that the process had written when it had done so, over keys and values.
    Amplification,
    /// Bytes on disk over records, after sorted loading.
    DiskSorted,
    /// The same, after random loading and compaction.
    DiskRandom,
    /// The same of the runs and their indexes alone: without the log, which has a fixed size.
    DiskRuns,
    /// From opening the store to the first value, after a clean close, with warm files.
    Reopen,
}

impl Measure {
    /// The name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::HitSerial => "get, uniform, serial",
            Self::Hit => "get, uniform, independent",
            Self::ZipfSerial => "get, zipf 0.99, serial",
            Self::Zipf => "get, zipf 0.99, independent",
            Self::Miss => "get, absent, independent",
            Self::HitP50 => "get, uniform, each timed: p50",
            Self::HitP99 => "get, uniform, each timed: p99",
            Self::HitP999 => "get, uniform, each timed: p99.9",
            Self::Many => "get of 1,000 keys at once, a key",
            Self::TwoThreads => "get, uniform, 2 threads",
            Self::Speedup => "2 threads / 1 thread",
            Self::Scan100 => "scan of 100",
            Self::ScanAll => "scan of everything",
            Self::LoadSorted => "load, sorted",
            Self::LoadRandom => "load, random order, until compacted",
            Self::Amplification => "bytes written by it, a byte of data",
            Self::DiskSorted => "disk after sorted load",
            Self::DiskRandom => "disk after random load",
            Self::DiskRuns => "the same, runs and indexes alone",
            Self::Reopen => "reopen to first get",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::HitSerial
            | Self::Hit
            | Self::ZipfSerial
            | Self::Zipf
            | Self::Miss
            | Self::HitP50
            | Self::HitP99
            | Self::HitP999
            | Self::Many => "ns",
            Self::TwoThreads => "M/s",
            Self::Speedup | Self::Amplification => "×",
            Self::Scan100 => "k/s",
            Self::ScanAll => "M keys/s",
            Self::LoadSorted | Self::LoadRandom => "k records/s",
            Self::DiskSorted | Self::DiskRandom | Self::DiskRuns => "bytes a record",
            Self::Reopen => "ms",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::TwoThreads
                | Self::Speedup
                | Self::Scan100
                | Self::ScanAll
                | Self::LoadSorted
                | Self::LoadRandom
        )
    }

    /// Whether figures of two stores are compared: what a second thread adds to a store says nothing beside what it adds to
    /// another, whose one thread is slower.
    pub fn is_compared(self) -> bool {
        self != Self::Speedup
    }

    /// How many times better `ours` is than `theirs`.
    pub fn advantage(self, ours: f64, theirs: f64) -> f64 {
        if self.more_is_better() { ours / theirs } else { theirs / ours }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}", self.title(), self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_have_a_side() {
        assert!((Measure::Hit.advantage(100.0, 300.0) - 3.0).abs() < 1e-9);
        assert!((Measure::ScanAll.advantage(100.0, 300.0) - 1.0 / 3.0).abs() < 1e-9);
        assert!(Measure::TwoThreads.is_compared() && !Measure::Speedup.is_compared());
        assert_eq!(Measure::Hit.to_string(), "get, uniform, independent, ns");
    }
}
