//! How fast a merge may write, and how it ends when the engine closes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::run_files::Task;
use crate::shared::Shared;

/// Longest sleep before looking again whether the engine closes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Bytes that may go out at once after a pause, as time at full pace: keeps the average without long bursts.
const MAX_CREDIT: Duration = Duration::from_millis(100);

/// The pace of one file. A flush has none: it makes room in memory.
pub(crate) struct Pace {
    /// Whether the engine closes, for a task that can wait for another time.
    closes: Option<Arc<AtomicBool>>,
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
    /// One that [`Pace::is_stop`] knows, when the engine closes and the task can wait for another time.
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
            return Err(io::Error::other(Stop));
        }
        Ok(())
    }

    /// Whether an error is the one by which a task ends because the engine closes.
    pub(crate) fn is_stop(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.downcast_ref::<Stop>().is_some())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the engine closes")]
struct Stop;
