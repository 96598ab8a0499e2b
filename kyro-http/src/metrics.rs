//! What the server counts of itself. Counting never takes a lock and never allocates; scraping does both.
//!
//! What every request counts is kept once for each thread, so that threads do not fight over one cache line.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use hyper::StatusCode;

use crate::histogram::{ENTRIES, Histogram, LOOKUPS, Snapshot};
use crate::route::Route;

/// The statuses that this server answers with; any other is counted in the last place, as 599.
pub(crate) const STATUSES: [u16; 28] = [
    200, 404, 304, 201, 202, 204, 206, 400, 401, 403, 405, 408, 409, 410, 412, 413, 414, 415, 416, 429, 431,
    500, 501, 503, 504, 505, 507, 599,
];

/// The route name under which requests to unknown paths are counted.
pub(crate) const UNKNOWN: &str = "unknown";
const ROUTES: usize = Route::ALL.len() + 1;

/// Why a connection was cut or turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Idle,
    SlowHead,
    SlowReader,
    TooMany,
    TooManyOfClient,
}

impl Cut {
    pub(crate) const ALL: [Self; 5] =
        [Self::Idle, Self::SlowHead, Self::SlowReader, Self::TooMany, Self::TooManyOfClient];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::SlowReader => "slow_reader",
            Self::TooMany => "too_many",
            Self::TooManyOfClient => "too_many_of_client",
        }
    }
}

/// Threads that count apart; further ones share.
const SHARDS: usize = 32;

/// What one thread counted.
#[derive(Debug)]
struct Shard {
    requests: [Statuses; ROUTES],
    durations: [Histogram; ROUTES],
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            requests: std::array::from_fn(|_| Statuses::default()),
            durations: std::array::from_fn(|_| Histogram::default()),
        }
    }
}

#[derive(Debug, Default)]
struct Statuses([AtomicU64; STATUSES.len()]);

/// This thread's place among the shards.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let shard = SHARD.get();
    if shard != usize::MAX {
        return shard;
    }
    let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    SHARD.set(shard);
    shard
}

/// The server's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    shards: [CachePadded<Shard>; SHARDS],
    /// Requests whose answer is being worked on.
    pub(crate) in_flight: Gauge,
    /// Connections open now.
    pub(crate) connections: Gauge,
    /// Connections accepted.
    pub(crate) connections_total: AtomicU64,
    cut: [AtomicU64; Cut::ALL.len()],
    /// Streams ended because the reader was too slow.
    pub(crate) sse_lagged: AtomicU64,
    /// From a write's arrival to its acknowledgement.
    pub(crate) append_latency: Histogram,
    /// Index builds asked for over HTTP.
    pub(crate) rmi_rebuild_duration: Histogram,
    /// Reads of one key that were not answered by the connection's task, as they may wait for the disk.
    pub(crate) cold_reads: AtomicU64,
    /// Reads of one key, of which a sample is timed.
    pub(crate) lookups: Lookups,
}

/// What a sample of the reads of one key cost.
#[derive(Debug)]
pub(crate) struct Lookups {
    /// From the parsed request to its answer.
    pub(crate) latency: Histogram,
    /// Entries in the windows that the indexes predicted.
    pub(crate) probe_len: Histogram,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { latency: Histogram::new(&LOOKUPS), probe_len: Histogram::new(&ENTRIES) }
    }
}

impl Metrics {
    /// Counts one answered request, and how long it took where that was measured: for itself and the others of which
    /// it is a sample, `weight` in all.
    pub(crate) fn request(
        &self,
        route: Option<Route>,
        status: StatusCode,
        measured: Option<(Duration, u64)>,
    ) {
        let Some(shard) = self.shards.get(shard()) else { return };
        let row = route.map_or(ROUTES - 1, |route| route as usize);
        let status = status.as_u16();
        let column = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        if let Some(count) = shard.requests.get(row).and_then(|counts| counts.0.get(column)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(histogram), Some((duration, weight))) = (shard.durations.get(row), measured) {
            histogram.observe_weighted(duration, weight);
        }
    }

    /// Counts a connection cut or turned away.
    pub(crate) fn cut(&self, cut: Cut) {
        if let Some(count) = self.cut.get(cut as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn cuts(&self) -> impl Iterator<Item = (Cut, u64)> {
        Cut::ALL.into_iter().zip(&self.cut).map(|(cut, count)| (cut, count.load(Ordering::Relaxed)))
    }

    /// Each route that was asked for: its name, its answers by status, its durations.
    pub(crate) fn by_route(&self) -> impl Iterator<Item = (&'static str, Vec<(u16, u64)>, Snapshot)> {
        let names = Route::ALL.iter().map(|route| route.path()).chain([UNKNOWN]);
        names.enumerate().filter_map(|(row, name)| {
            let count = |column: usize| -> u64 {
                let cells = self.shards.iter().filter_map(|shard| shard.requests.get(row)?.0.get(column));
                cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
            };
            let counts = STATUSES.iter().enumerate().map(|(column, status)| (*status, count(column)));
            let counts: Vec<(u16, u64)> = counts.filter(|(_, count)| *count > 0).collect();
            let durations = self.shards.iter().filter_map(|shard| shard.durations.get(row));
            let durations = durations
                .map(Histogram::snapshot)
                .reduce(|all, more| all.merged(&more))
                .filter(|_| !counts.is_empty());
            durations.map(|durations| (name, counts, durations))
        })
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more until the returned guard is dropped.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.add();
        Held(self)
    }
}

/// See [`Gauge::hold`].
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.subtract();
    }
}

/// Observes the time from now to its drop.
#[derive(Debug)]
pub(crate) struct Stopwatch<'a> {
    histogram: &'a Histogram,
    start: Instant,
}

impl<'a> Stopwatch<'a> {
    pub(crate) fn start(histogram: &'a Histogram) -> Self {
        Self { histogram, start: Instant::now() }
    }

    /// Observes; without this call nothing is observed.
    pub(crate) fn stop(self) {
        self.histogram.observe(self.start.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    #[test]
    fn every_status_of_an_error_code_has_its_own_place() {
        for code in Code::ALL {
            assert!(STATUSES.contains(&code.parts().0), "{code:?}");
        }
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.request(Some(Route::Put), StatusCode::OK, Some((Duration::from_micros(5), 1)));
        metrics.request(Some(Route::Put), StatusCode::OK, Some((Duration::from_micros(5), 1)));
        metrics.request(None, StatusCode::NOT_FOUND, Some((Duration::from_micros(5), 1)));
        metrics.request(Some(Route::Health), StatusCode::IM_A_TEAPOT, None);
        let counts: Vec<_> = metrics.by_route().map(|(name, counts, _)| (name, counts)).collect();
        assert_eq!(
            counts,
            [("/v1/put", vec![(200, 2)]), ("/health", vec![(599, 1)]), ("unknown", vec![(404, 1)])]
        );
        let held = metrics.in_flight.hold();
        assert_eq!(metrics.in_flight.get(), 1);
        drop(held);
        assert_eq!(metrics.in_flight.get(), 0);
    }
}
