//! Back-pressure as it was felt: writes that had to wait, or were refused, by reason.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why a write was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// [`Options::max_queue`](crate::Options::max_queue) batches wait for the log.
    QueueBatches,
    /// As many bytes as may wait for the log do.
    QueueBytes,
    /// Recent writes fill their memory budget and wait for a flush.
    Memory,
    /// Deleted ranges wait for a compaction.
    Ranges,
    /// The disk is full.
    StorageFull,
}

impl Stall {
    const ALL: [Self; 5] =
        [Self::QueueBatches, Self::QueueBytes, Self::Memory, Self::Ranges, Self::StorageFull];

    const fn name(self) -> &'static str {
        match self {
            Self::QueueBatches => "queue_batches",
            Self::QueueBytes => "queue_bytes",
            Self::Memory => "memory",
            Self::Ranges => "ranges",
            Self::StorageFull => "storage_full",
        }
    }
}

/// Writes held back for one reason since the opening.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StallStats {
    /// `queue_batches`: [`Options::max_queue`](crate::Options::max_queue) batches waited for the log. `queue_bytes`: so
    /// did as many bytes as may. `memory`: recent writes filled their budget and waited for a flush. `ranges`: too many
    /// deleted ranges waited for a compaction. `storage_full`: the disk was full, and there was no space again yet.
    pub reason: &'static str,
    /// Writes that waited or were refused.
    pub count: u64,
    /// The time that they waited, in all; one that was refused did not.
    pub time: Duration,
}

/// Counts stalls.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    counts: [AtomicU64; Stall::ALL.len()],
    nanos: [AtomicU64; Stall::ALL.len()],
}

impl Stalls {
    /// A write was refused.
    pub(crate) fn refused(&self, stall: Stall) {
        self.add(stall, 1, Duration::ZERO);
    }

    /// A write has waited since `start`.
    pub(crate) fn waited(&self, stall: Stall, start: Instant) {
        self.add(stall, 1, start.elapsed());
    }

    fn add(&self, stall: Stall, count: u64, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let (Some(counts), Some(sum)) = (self.counts.get(stall as usize), self.nanos.get(stall as usize)) {
            counts.fetch_add(count, Ordering::Relaxed);
            sum.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// One row for each reason there can be.
    pub(crate) fn read(&self) -> Vec<StallStats> {
        let rows = Stall::ALL.into_iter().zip(&self.counts).zip(&self.nanos);
        rows.map(|((stall, count), nanos)| StallStats {
            reason: stall.name(),
            count: count.load(Ordering::Relaxed),
            time: Duration::from_nanos(nanos.load(Ordering::Relaxed)),
        })
        .collect()
    }
}
