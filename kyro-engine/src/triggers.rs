//! What makes a flush or a full compaction start by itself: size, number, time. None of it removes what no run covers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::range_tombstones;
use crate::shared::Shared;

/// Segments that may come without a flush: each opening makes one, and reading them all back takes time.
const MAX_NEW_SEGMENTS: u64 = 32;

/// How often the size of the log is looked at for a compaction.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The shortest wait, so that a limit of no time at all is no busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

/// When the last full compaction was, and what was written until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compacted {
    at: Instant,
    next_offset: u64,
}

impl Compacted {
    /// What is in the log counts as written since.
    pub(crate) fn at_start(shared: &Shared) -> Self {
        Self { at: Instant::now(), next_offset: shared.manifest.current().wal.replay_from }
    }

    pub(crate) fn now(shared: &Shared) -> Self {
        Self { at: Instant::now(), next_offset: shared.visible.next() }
    }
}

impl Shared {
    /// Milliseconds since the opening.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the recent writes have grown past what the options keep in memory or in the log, or outside an index.
    pub(crate) fn flush_is_due(&self) -> bool {
        let options = &self.options;
        if !options.auto_flush {
            return false;
        }
        let sources = self.views.load();
        let delta = &sources.delta;
        let operations = delta.operations();
        let many = |limit: Option<u64>| limit.is_some_and(|limit| operations >= limit.max(1));
        let large_share = || {
            options.rmi_rebuild_ratio.is_some_and(|ratio| {
                let entries: u64 = sources.runs.iter().map(|run| run.len()).sum();
                ratio > 0.0 && operations > 0 && operations as f64 >= ratio * entries.max(1) as f64
            })
        };
        delta.bytes() >= options.delta_share()
            || many(options.flush_every_operations)
            || many(options.rmi_rebuild_appends)
            || self.log_is_long()
            || (delta.has_ranges() && delta.ranges().len() >= range_tombstones::MANY)
            || options.wal_max_bytes.is_some_and(|limit| delta.log_bytes() >= limit)
            || large_share()
    }

    /// Whether the log has more segments than a flush should leave. Also looked at by whoever closes the engine: a session
    /// may be shorter than it takes the flusher to wake, and each adds a segment.
    pub(crate) fn log_is_long(&self) -> bool {
        let (options, commits) = (&self.options, &self.commits);
        let segments = commits.wal_segments.load(Ordering::Relaxed);
        let new_segments = segments.saturating_sub(commits.wal_segments_kept.load(Ordering::Relaxed));
        let many = || {
            let many = options.wal_max_segments.is_some_and(|limit| segments >= limit.max(2));
            many && new_segments > 0 && self.views.load().delta.operations() > 0
        };
        options.auto_flush && (new_segments >= MAX_NEW_SEGMENTS || many())
    }

    /// Whether the last flush is long enough ago, and anything was written since.
    pub(crate) fn flush_time_has_come(&self) -> bool {
        self.options.auto_flush
            && self.time_to_flush().is_some_and(|left| left <= SHORTEST)
            && self.views.load().delta.operations() > 0
    }

    /// How long until the flusher should look, when it is not woken.
    pub(crate) fn time_to_flush(&self) -> Option<Duration> {
        let interval = self.options.auto_snapshot?;
        if self.views.load().delta.operations() == 0 {
            return Some(interval.max(SHORTEST));
        }
        let since = self.millis().saturating_sub(self.maintenance.flushed_at_millis.load(Ordering::Relaxed));
        Some(interval.saturating_sub(Duration::from_millis(since)).max(SHORTEST))
    }

    /// How long until the compactor should look, when it is not woken.
    pub(crate) fn time_to_look_at_the_log(&self) -> Option<Duration> {
        let options = &self.options;
        let by_size = options.compact_when_wal_bytes.map(|_| LOOK_EVERY);
        options.compact_interval.map(|interval| interval.clamp(SHORTEST, LOOK_EVERY)).or(by_size)
    }

    /// Whether a full compaction is due.
    pub(crate) fn compaction_is_due(&self, last: &Compacted) -> bool {
        let options = &self.options;
        if self.visible.next() <= last.next_offset {
            return false;
        }
        let wal_bytes = self.commits.wal_bytes.load(Ordering::Relaxed);
        let by_size = options.compact_when_wal_bytes.map(|limit| wal_bytes >= limit);
        match options.compact_interval {
            Some(interval) => last.at.elapsed() >= interval && by_size.unwrap_or(true),
            None => by_size.unwrap_or(false),
        }
    }
}
