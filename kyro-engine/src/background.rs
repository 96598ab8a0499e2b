//! The threads of the maintenance: one flushes, one merges. Each waits to be woken, does what is due, and after a
//! failure, which leaves everything as it was, tries again after a pause that doubles.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{MaintenanceError, describe};
use crate::range_tombstones;
use crate::shared::{Chore, Shared};
use crate::triggers::Compacted;

/// Longest pause between two tries of something that fails.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// After which a writer looks again whether the engine still works.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Wakes one thread. Rings that come while it works are one.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    due: bool,
    stop: bool,
}

/// Where writers wait for a flush to make room in memory.
#[derive(Debug, Default)]
pub(crate) struct Room {
    lock: Mutex<()>,
    changed: Condvar,
}

impl Room {
    /// Waits until something has changed that may have made room, or after a while.
    pub(crate) fn wait_while(&self, is_full: impl Fn() -> bool) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if is_full() {
            drop(self.changed.wait_timeout(guard, LONGEST_WAIT));
        }
    }

    /// Something has changed. The lock orders this against a writer that has looked and does not sleep yet.
    pub(crate) fn changed(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// What a thread of the maintenance is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// Something may be due.
    Due,
    /// The engine closes.
    Stop,
}

impl Bell {
    /// Something may be due.
    pub(crate) fn ring(&self) {
        self.lock().due = true;
        self.changed.notify_one();
    }

    /// Ends the thread when it has done what it is doing.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_one();
    }

    /// Waits until it is rung, or this long.
    fn wait(&self, longest: Option<Duration>) -> Wake {
        let state = self.lock();
        let idle = |state: &mut Rung| !state.due && !state.stop;
        let mut state = match longest {
            None => self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(longest) => {
                let waited = self.changed.wait_timeout_while(state, longest, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.due = false;
        if state.stop { Wake::Stop } else { Wake::Due }
    }

    /// Waits the whole pause, whoever rings, unless it is to stop.
    fn pause(&self, pause: Duration) -> Wake {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, pause, |state| !state.stop);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.due = false;
        if state.stop { Wake::Stop } else { Wake::Due }
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that flushes.
pub(crate) fn flusher(shared: &Shared) {
    run(shared, &shared.flusher, Chore::Flush, Shared::time_to_flush, flush_what_is_due);
}

/// The thread that merges.
pub(crate) fn compactor(shared: &Shared) {
    let mut last = Compacted::at_start(shared);
    let pause = |shared: &Shared| shared.time_to_look_at_the_log();
    run(shared, &shared.compactor, Chore::Compact, pause, |shared| {
        shared.make_filters();
        merge_what_is_due(shared, &mut last)
    });
}

fn run(
    shared: &Shared,
    bell: &Bell,
    chore: Chore,
    pause: impl Fn(&Shared) -> Option<Duration>,
    mut work: impl FnMut(&Shared) -> Result<(), MaintenanceError>,
) {
    let mut backoff: Option<Duration> = None;
    loop {
        let woken = match backoff {
            None => bell.wait(pause(shared)),
            Some(pause) => bell.pause(pause),
        };
        shared.views.release();
        if woken == Wake::Stop {
            return;
        }
        // A panic is a bug. It must not leave writers waiting for a thread that is gone.
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(shared)));
        match done.unwrap_or(Err(MaintenanceError::Panicked)) {
            Ok(()) => {
                shared.health.set_failure(chore, None);
                backoff = None;
            }
            Err(MaintenanceError::Closed | MaintenanceError::Poisoned { .. }) => return,
            Err(error) => {
                shared.note_failure(&error);
                shared.health.set_failure(chore, Some(describe(&error)));
                shared.room.changed();
                let pause = backoff.map_or(Duration::from_millis(50), |pause| pause * 2);
                backoff = Some(pause.min(MAX_BACKOFF));
            }
        }
    }
}

fn flush_what_is_due(shared: &Shared) -> Result<(), MaintenanceError> {
    let turn = shared.take_flush_turn()?;
    if shared.flush_is_due()
        || shared.flush_time_has_come()
        || shared.views.load().frozen.is_some()
        || log_is_idle(shared)
    {
        turn.flush()?;
    }
    Ok(())
}

fn merge_what_is_due(shared: &Shared, last: &mut Compacted) -> Result<(), MaintenanceError> {
    if !shared.options.auto_flush {
        return Ok(());
    }
    if shared.compaction_is_due(last) {
        let done = Compacted::now(shared);
        shared.compact()?;
        *last = done;
    }
    let turn = shared.take_merge_turn()?;
    if shared.views.load().ranges.len() >= range_tombstones::MANY {
        turn.merge_all()?;
    }
    turn.merge_tiers()
}

/// Whether the log keeps segments for nothing, as after stops in the middle of a session that wrote little.
fn log_is_idle(shared: &Shared) -> bool {
    // Asked first: what is visible is in the delta. A write that comes meanwhile would look like one that is in none.
    let next_offset = shared.visible.next();
    shared.options.auto_flush
        && shared.views.load().delta.operations() == 0
        && shared.commits.wal_segments.load(Ordering::Relaxed) > 1
        && next_offset > shared.manifest.current().wal.replay_from
}
