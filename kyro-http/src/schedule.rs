//! Work that starts by itself: snapshots, compactions and index builds by time or by what was written.
//!
//! `--snapshot-every-n-appends` and `--wal-max-bytes` are the engine's own; the rest is watched here, by one task
//! that looks once a second and does one thing at a time. A failure is logged and tried again, later each time.

use std::sync::Arc;
use std::time::Duration;

use kyro_engine::{Engine, MaintenanceError, Stats, describe};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::app::{App, Life, reach};
use crate::cli::ServeArgs;
use crate::metrics::Metrics;

/// When what starts. `None` or zero: never for this reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    snapshot_every: Option<Duration>,
    snapshot_at_segments: u64,
    build_after_appends: u64,
    build_at_ratio: f64,
    compact_every: Option<Duration>,
    compact_at_wal_bytes: u64,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Snapshot,
    Compact,
    BuildIndex,
}

/// When each kind of work was last done, and at which offset.
#[derive(Debug, Clone, Copy)]
struct Done {
    snapshot: (Instant, u64),
    compact: (Instant, u64),
    build: u64,
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

impl Schedule {
    pub(crate) fn new(arguments: &ServeArgs) -> Self {
        let every = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Self {
            snapshot_every: every(arguments.storage.auto_snapshot_secs),
            snapshot_at_segments: arguments.storage.wal_max_segments,
            build_after_appends: arguments.storage.rmi_rebuild_appends,
            build_at_ratio: arguments.storage.rmi_rebuild_ratio,
            compact_every: every(arguments.storage.compact_interval_secs),
            compact_at_wal_bytes: arguments.storage.compact_when_wal_bytes,
        }
    }

    fn is_empty(&self) -> bool {
        self.snapshot_every.is_none()
            && self.snapshot_at_segments == 0
            && self.build_after_appends == 0
            && self.build_at_ratio <= 0.0
            && self.compact_every.is_none()
            && self.compact_at_wal_bytes == 0
    }

    /// What is due now. Nothing is, where nothing was written since it was last done.
    fn due(&self, stats: &Stats, done: &Done, now: Instant) -> Option<Work> {
        let next = stats.next_offset;
        let reached = |limit: u64, value: u64| limit > 0 && value >= limit;
        let since =
            |at: Instant, every: Option<Duration>| every.is_some_and(|every| now.duration_since(at) >= every);

        if next > done.compact.1 {
            let by_size = reached(self.compact_at_wal_bytes, stats.wal.bytes);
            let due = match self.compact_every {
                Some(_) => {
                    since(done.compact.0, self.compact_every) && (self.compact_at_wal_bytes == 0 || by_size)
                }
                None => by_size,
            };
            if due {
                return Some(Work::Compact);
            }
        }
        if next > done.snapshot.1
            && (since(done.snapshot.0, self.snapshot_every)
                || reached(self.snapshot_at_segments, stats.wal.segments))
        {
            return Some(Work::Snapshot);
        }
        let appended = next.saturating_sub(done.build);
        let ratio = appended as f64 / stats.keys_at_most.max(1) as f64;
        let by_ratio = self.build_at_ratio > 0.0 && appended > 0 && ratio >= self.build_at_ratio;
        (reached(self.build_after_appends, appended) || by_ratio).then_some(Work::BuildIndex)
    }
}

impl Done {
    /// At the start of the server. Whatever the log's tail holds counts as written since.
    fn at_start(stats: &Stats, now: Instant) -> Self {
        let flushed = stats.next_offset.saturating_sub(stats.delta_entries);
        Self { snapshot: (now, flushed), compact: (now, flushed), build: flushed }
    }

    fn note(&mut self, work: Work, now: Instant, offset: u64) {
        // A compaction flushes first, and every flush trains its index.
        self.build = self.build.max(offset);
        match work {
            Work::BuildIndex => {}
            Work::Snapshot => self.snapshot = (now, offset),
            Work::Compact => {
                self.snapshot = (now, offset);
                self.compact = (now, offset);
            }
        }
    }
}

/// Watches until the server stops.
pub(crate) async fn run(app: Arc<App>, engine: Engine, schedule: Schedule) {
    if schedule.is_empty() {
        return;
    }
    let mut life = app.watch_life();
    let mut done = Done::at_start(&engine.stats(), Instant::now());
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = reach(&mut life, Life::Draining) => return,
        }
        pause = LOOK_EVERY;
        let stats = engine.stats();
        let Some(work) = schedule.due(&stats, &done, Instant::now()) else { continue };
        let (engine, metrics) = (engine.clone(), Arc::clone(&app.metrics));
        match spawn_blocking(move || perform(work, &engine, &metrics)).await {
            Ok(Ok(())) => done.note(work, Instant::now(), stats.next_offset),
            Ok(Err(MaintenanceError::Closed)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::error!(
                    error = describe(&error),
                    ?work,
                    "scheduled work failed; it will be tried again"
                );
                pause = (pause * 10).min(LONGEST_PAUSE);
            }
        }
    }
}

fn perform(work: Work, engine: &Engine, metrics: &Metrics) -> Result<(), MaintenanceError> {
    let start = std::time::Instant::now();
    let histogram = match work {
        Work::Snapshot => engine.flush().map(|_| &metrics.snapshot_latency)?,
        Work::Compact => engine.compact().map(|_| &metrics.compaction_duration)?,
        Work::BuildIndex => engine.build_index().map(|_| &metrics.rmi_rebuild_duration)?,
    };
    histogram.observe(start.elapsed());
    tracing::info!(?work, seconds = start.elapsed().as_secs_f64(), "scheduled work done");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Schedule = Schedule {
        snapshot_every: None,
        snapshot_at_segments: 0,
        build_after_appends: 0,
        build_at_ratio: 0.0,
        compact_every: None,
        compact_at_wal_bytes: 0,
    };
    const MINUTE: Duration = Duration::from_secs(60);

    fn stats(next_offset: u64, segments: u64, wal_bytes: u64, keys: u64) -> Stats {
        let mut stats = Stats::default();
        stats.next_offset = next_offset;
        stats.wal.segments = segments;
        stats.wal.bytes = wal_bytes;
        stats.keys_at_most = keys;
        stats
    }

    #[test]
    fn each_trigger_starts_its_work_and_not_before() {
        let start = Instant::now();
        let done = Done::at_start(&stats(100, 1, 0, 100), start);
        let due =
            |schedule: Schedule, stats: Stats, after: Duration| schedule.due(&stats, &done, start + after);

        let by_time = Schedule { snapshot_every: Some(MINUTE), ..NEVER };
        assert_eq!(due(by_time, stats(101, 1, 0, 100), Duration::from_secs(59)), None);
        assert_eq!(due(by_time, stats(101, 1, 0, 100), MINUTE), Some(Work::Snapshot));
        assert_eq!(due(by_time, stats(100, 1, 0, 100), MINUTE), None, "nothing was written");

        let by_segments = Schedule { snapshot_at_segments: 8, ..NEVER };
        assert_eq!(due(by_segments, stats(101, 7, 0, 100), MINUTE), None);
        assert_eq!(due(by_segments, stats(101, 8, 0, 100), MINUTE), Some(Work::Snapshot));

        let by_appends = Schedule { build_after_appends: 10, ..NEVER };
        assert_eq!(due(by_appends, stats(109, 1, 0, 100), MINUTE), None);
        assert_eq!(due(by_appends, stats(110, 1, 0, 100), MINUTE), Some(Work::BuildIndex));

        let by_ratio = Schedule { build_at_ratio: 0.5, ..NEVER };
        assert_eq!(due(by_ratio, stats(149, 1, 0, 100), MINUTE), None);
        assert_eq!(due(by_ratio, stats(150, 1, 0, 100), MINUTE), Some(Work::BuildIndex));

        let by_size = Schedule { compact_at_wal_bytes: 1000, ..NEVER };
        assert_eq!(due(by_size, stats(101, 1, 999, 100), MINUTE), None);
        assert_eq!(due(by_size, stats(101, 1, 1000, 100), Duration::ZERO), Some(Work::Compact));
        assert_eq!(due(by_size, stats(100, 1, 1000, 100), MINUTE), None, "nothing was written");

        let by_time = Schedule { compact_every: Some(MINUTE), ..NEVER };
        assert_eq!(due(by_time, stats(101, 1, 0, 100), Duration::from_secs(59)), None);
        assert_eq!(due(by_time, stats(101, 1, 0, 100), MINUTE), Some(Work::Compact));

        let by_both = Schedule { compact_every: Some(MINUTE), compact_at_wal_bytes: 1000, ..NEVER };
        assert_eq!(due(by_both, stats(101, 1, 1000, 100), Duration::from_secs(59)), None);
        assert_eq!(due(by_both, stats(101, 1, 999, 100), MINUTE), None);
        assert_eq!(due(by_both, stats(101, 1, 1000, 100), MINUTE), Some(Work::Compact));
        assert!(NEVER.is_empty() && !by_both.is_empty());
    }

    #[test]
    fn done_work_is_not_due_again_until_something_is_written() {
        let start = Instant::now();
        let schedule = Schedule { snapshot_at_segments: 1, build_after_appends: 1, ..NEVER };
        let mut done = Done::at_start(&stats(0, 1, 0, 0), start);
        assert_eq!(schedule.due(&stats(5, 1, 0, 5), &done, start), Some(Work::Snapshot));
        done.note(Work::Snapshot, start, 5);
        assert_eq!(schedule.due(&stats(5, 1, 0, 5), &done, start), None);
        assert_eq!(schedule.due(&stats(6, 1, 0, 5), &done, start), Some(Work::Snapshot));
    }
}
