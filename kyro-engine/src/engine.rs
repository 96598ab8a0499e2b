//! The handle: what an application calls.

mod reads;
mod writes;

pub use writes::WriteOptions;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::bounded;
use kyro_wal::storage::{RealStorage, Storage};

use crate::compaction::CompactReport;
use crate::error::{CloseError, MaintenanceError, OpenError, ReadError, WriteError};
use crate::maintenance::{self, FlushReport, IndexReport, WarmReport};
use crate::open::{Opened, open};
use crate::options::Options;
use crate::pace;
use crate::queue::Request;
use crate::replay::Replay;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::threads::Threads;
use crate::visible::VisibleAfter;

/// An open database. Clones are handles to the same one; dropping the last handle closes it.
///
/// Reads and writes may come from any number of threads.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the database in `dir`, or makes one in an empty or missing directory.
    ///
    /// Costs time by the log's tail, not by the data set. Progress goes to [`Options::on_progress`].
    ///
    /// # Errors
    /// See [`OpenError`]: another process holds the directory, a file is newer than this build, something is damaged
    /// or missing, or the file system refused. A refused open changes nothing but the pid in `LOCK`.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealStorage), dir, options)
    }

    /// As [`Engine::open`], on any storage: tests give a simulated disk.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_on(
        storage: Arc<dyn Storage>,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let Opened { shared, requests, start, lock } = open(storage, dir.as_ref(), options)?;
        let threads = Threads::start(&shared, requests, start, lock).map_err(|source| OpenError::Io {
            doing: "start the threads for",
            path: dir.as_ref().to_owned(),
            source,
        })?;
        // What an earlier session left to do.
        shared.flusher.ring();
        shared.compactor.ring();
        Ok(Self { shared, threads: Arc::new(threads) })
    }

    /// One past the newest visible operation.
    pub fn next_offset(&self) -> u64 {
        self.shared.visible.next()
    }

    /// The oldest offset that [`Engine::replay`] can start at.
    pub fn oldest_offset(&self) -> u64 {
        self.shared.commits.wal_oldest_offset.load(Ordering::Relaxed)
    }

    /// Past operations from `start` on, below `end`, as far as they are visible.
    ///
    /// # Errors
    /// [`ReadError::HistoryGone`] when the log no longer goes back to `start`.
    pub fn replay(&self, start: u64, end: Option<u64>) -> Result<Replay, ReadError> {
        self.shared.history_was_read.store(true, Ordering::Relaxed);
        Replay::new(Arc::clone(&self.shared), start, end)
    }

    /// Resolves when [`Engine::next_offset`] is greater than `offset`, or when the engine is closed. Needs no runtime.
    pub fn visible_after(&self, offset: u64) -> VisibleAfter {
        VisibleAfter::new(Arc::clone(&self.shared.visible), offset)
    }

    /// Makes everything acknowledged so far durable, whatever the mode.
    ///
    /// # Errors
    /// [`WriteError::Poisoned`] when the sync fails or an earlier one did, [`WriteError::Closed`].
    pub fn sync(&self) -> Result<(), WriteError> {
        let (reply, answer) = bounded(1);
        if !self.shared.queue.ask(Request::Sync(reply)) {
            return Err(WriteError::Closed);
        }
        answer.recv().unwrap_or(Err(WriteError::Closed))
    }

    /// Writes what is in memory into a new run with its verified index, and lets the log go that it covers. Writers
    /// go on. Waits for another flush, not for a compaction. Where there are then more than [`Options::max_runs`] runs,
    /// some are merged: by a thread of the engine, or without [`Options::auto_flush`] before this returns.
    ///
    /// # Errors
    /// See [`MaintenanceError`]; the state before stays in force.
    pub fn flush(&self) -> Result<FlushReport, MaintenanceError> {
        let flushed = self.shared.take_flush_turn()?.flush();
        let report = flushed.inspect_err(|error| self.shared.note_failure(error))?;
        let options = &self.shared.options;
        if !options.auto_flush && self.shared.views.load().runs.len() > options.max_runs {
            self.shared.take_merge_turn()?.merge_tiers()?;
        }
        Ok(report)
    }

    /// As [`Engine::flush`], until `cancel` becomes true: nothing of it stays, and the next flush does it again.
    ///
    /// # Errors
    /// [`MaintenanceError::Cancelled`]; otherwise as [`Engine::flush`].
    pub fn flush_unless(&self, cancel: &Arc<AtomicBool>) -> Result<FlushReport, MaintenanceError> {
        pace::cancellable(cancel, || self.flush())
    }

    /// Flushes, then merges all runs into one without anything overwritten or deleted. Waits for another compaction.
    /// Flushes and writers go on; what they write meanwhile is in runs of its own.
    ///
    /// # Errors
    /// See [`MaintenanceError`]; the state before stays in force.
    pub fn compact(&self) -> Result<CompactReport, MaintenanceError> {
        self.shared.compact().inspect_err(|error| self.shared.note_failure(error))
    }

    /// As [`Engine::compact`], until `cancel` becomes true: the flush or the merge ends at its next block of output, what
    /// it wrote goes, and what was flushed before stays flushed.
    ///
    /// # Errors
    /// [`MaintenanceError::Cancelled`]; otherwise as [`Engine::compact`].
    pub fn compact_unless(&self, cancel: &Arc<AtomicBool>) -> Result<CompactReport, MaintenanceError> {
        pace::cancellable(cancel, || self.compact())
    }

    /// Brings every live key under a verified index: flushes, and counts what the runs' indexes answer for.
    ///
    /// # Errors
    /// [`MaintenanceError::Busy`] while another index build runs; otherwise see [`MaintenanceError`].
    pub fn build_index(&self) -> Result<IndexReport, MaintenanceError> {
        self.shared.build_index()
    }

    /// As [`Engine::build_index`], until `cancel` becomes true: the flush ends as in [`Engine::flush_unless`], the count
    /// within 65,536 keys; what was flushed before stays flushed. The training of one run's index is not broken off.
    ///
    /// # Errors
    /// [`MaintenanceError::Cancelled`]; otherwise as [`Engine::build_index`].
    pub fn build_index_unless(&self, cancel: &Arc<AtomicBool>) -> Result<IndexReport, MaintenanceError> {
        pace::cancellable(cancel, || self.build_index())
    }

    /// Makes runs and indexes resident in memory, and verifies what has not been read before: reads of what is damaged
    /// tell of it, this does not.
    ///
    /// # Errors
    /// [`MaintenanceError::Closed`].
    pub fn warm_up(&self) -> Result<WarmReport, MaintenanceError> {
        self.refuse_closed()?;
        maintenance::warm_up(&self.shared)
    }

    /// As [`Engine::warm_up`], until `cancel` becomes true: it ends within 16 MiB, and what has been read stays.
    ///
    /// # Errors
    /// [`MaintenanceError::Cancelled`]; otherwise as [`Engine::warm_up`].
    pub fn warm_up_unless(&self, cancel: &Arc<AtomicBool>) -> Result<WarmReport, MaintenanceError> {
        pace::cancellable(cancel, || self.warm_up())
    }

    /// Reads and checks every byte of every run.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] for the first damage.
    pub fn verify(&self) -> Result<(), ReadError> {
        maintenance::verify(&self.shared)
    }

    /// Numbers of this moment.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.shared)
    }

    /// Commits what waits, syncs, and leaves the mark by which the next open knows that the log is whole. Calls on
    /// other handles get `Closed` from then on; reads go on. A second close is `Ok`.
    ///
    /// # Errors
    /// See [`CloseError`]. Everything acknowledged is as durable as the mode promised all the same.
    pub fn close(&self) -> Result<(), CloseError> {
        self.threads.stop(&self.shared)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn refuse_closed(&self) -> Result<(), MaintenanceError> {
        if self.shared.health.is_closed() { Err(MaintenanceError::Closed) } else { Ok(()) }
    }
}
