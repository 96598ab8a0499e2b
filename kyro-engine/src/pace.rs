//! How fast a merge may write, and how it and other long work end when the engine closes or whoever asked for it changes
//! their mind.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::MaintenanceError;
use crate::run_files::Task;
use crate::shared::Shared;

/// Longest sleep before looking again whether the engine closes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Bytes that may go out at once after a pause, as time at full pace: keeps the average without long bursts.
const MAX_CREDIT: Duration = Duration::from_millis(100);

thread_local! {
    /// What ends the long work that this thread runs, where somebody can.
    static CANCEL: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Runs `work`, whose flushes, merges and long reads on this thread end when `cancel` becomes true.
pub(crate) fn cancellable<R>(cancel: &Arc<AtomicBool>, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<AtomicBool>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CANCEL.set(self.0.take());
        }
    }
    let _restored = Restore(CANCEL.replace(Some(Arc::clone(cancel))));
    work()
}

/// Whether the work that this thread runs is no longer wanted.
pub(crate) fn is_cancelled() -> bool {
    CANCEL.with_borrow(|cancel| cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Acquire)))
}

/// Why work that only reads is to end early, where it is: the engine closes, or whoever asked for it changed their mind.
pub(crate) fn stopped(shared: &Shared) -> Option<MaintenanceError> {
    if shared.health.is_closed() {
        return Some(MaintenanceError::Closed);
    }
    is_cancelled().then_some(MaintenanceError::Cancelled)
}

/// The pace of one file. A flush has none: it makes room in memory; but whoever asked for one may take it back.
pub(crate) struct Pace {
    /// Whether the engine closes, for a task that can wait for another time.
    closes: Option<Arc<AtomicBool>>,
    /// Whether whoever asked for the task can take it back.
    cancellable: bool,
    gentle: bool,
    bytes_per_second: Option<u64>,
    /// When the bytes so far may have gone out.
    due: Instant,
}

impl Pace {
    pub(crate) fn new(shared: &Shared, task: Task) -> Self {
        let merges = task == Task::Compact;
        let budget = shared.options.compaction_io_bytes_per_sec.filter(|_| merges);
        Self {
            closes: merges.then(|| shared.health.closes()),
            cancellable: task != Task::Bulk,
            gentle: task != Task::Bulk,
            bytes_per_second: budget.map(|bytes| bytes.max(1)),
            due: Instant::now(),
        }
    }

    /// Whether others use the device meanwhile.
    pub(crate) fn is_gentle(&self) -> bool {
        self.gentle
    }

    /// To be called before writing: waits until this many bytes may go out.
    ///
    /// # Errors
    /// One that [`Pace::stopped_by`] knows, when the engine closes or the task was cancelled, and it can wait for another
    /// time.
    pub(crate) fn before(&mut self, bytes: u64) -> io::Result<()> {
        self.go_on()?;
        let Some(rate) = self.bytes_per_second else { return Ok(()) };
        let now = Instant::now();
        let from = now.checked_sub(MAX_CREDIT).map_or(now, |earliest| self.due.max(earliest));
        self.due = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
        while let Some(wait) = self.due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())
        {
            thread::sleep(wait.min(LOOK_EVERY));
            self.go_on()?;
        }
        Ok(())
    }

    fn go_on(&self) -> io::Result<()> {
        if self.closes.as_ref().is_some_and(|closes| closes.load(Ordering::Acquire)) {
            return Err(io::Error::other(Stop::Closes));
        }
        if self.cancellable && is_cancelled() {
            return Err(io::Error::other(Stop::Cancelled));
        }
        Ok(())
    }

    /// What a task ends with whose error is no failure.
    pub(crate) fn stopped_by(error: &io::Error) -> Option<MaintenanceError> {
        Some(match error.get_ref()?.downcast_ref()? {
            Stop::Closes => MaintenanceError::Closed,
            Stop::Cancelled => MaintenanceError::Cancelled,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the engine closes")]
    Closes,
    #[error("it was cancelled")]
    Cancelled,
}
