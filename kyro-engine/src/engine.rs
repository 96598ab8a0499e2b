//! The handle: what an application calls.

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Sender, bounded};
use kyro_wal::SpareJob;
use kyro_wal::storage::{LockGuard, RealStorage, Storage};

use crate::batch::{Batch, MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS};
use crate::commit::{self, Commit};
use crate::committer::{Committer, Start};
use crate::counters::{Counters, Event as Counted};
use crate::delta::Version;
use crate::error::{CloseError, MaintenanceError, OpenError, ReadError, WriteError};
use crate::indexed_run::IndexedRun;
use crate::maintenance::{self, CompactReport, FlushReport, IndexReport, Turn, Wake, WarmReport};
use crate::open::{Opened, open};
use crate::options::Options;
use crate::queue::{Request, Requests, Write};
use crate::replay::Replay;
use crate::shared::Shared;
use crate::stats::{Stats, WalStats};
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
        threads.wake();
        Ok(Self { shared, threads: Arc::new(threads) })
    }

    /// Hands a batch to the committer and returns at once.
    ///
    /// # Errors
    /// [`WriteError::Busy`] where no more batches may wait (see [`Engine::write_waiting`]), and whatever else can be
    /// said without the log: too large, empty, poisoned, closed. Everything else comes from the [`Commit`].
    pub fn write(&self, batch: Batch) -> Result<Commit, WriteError> {
        let (write, commit) = self.admit(batch)?;
        let queued = if self.shared.is_over_budget() {
            Err(WriteError::Busy { reason: "recent writes fill the memory budget and wait for a flush" })
        } else {
            self.shared.queue.try_write(write)
        };
        if matches!(queued, Err(WriteError::Busy { .. })) {
            self.shared.commits.refused_busy.fetch_add(1, Ordering::Relaxed);
        }
        queued.map(|()| commit)
    }

    /// As [`Engine::write`], but waits where no more batches may wait: for the committer, and for a flush when
    /// recent writes fill four times their memory budget.
    ///
    /// # Errors
    /// As [`Engine::write`]; [`WriteError::Busy`] only where waiting is in vain because no flush will come or
    /// flushes fail.
    pub fn write_waiting(&self, batch: Batch) -> Result<Commit, WriteError> {
        let (write, commit) = self.admit(batch)?;
        while self.shared.is_over_budget() {
            self.refuse_unless_writable()?;
            if !self.shared.options.auto_flush || self.shared.health.maintenance_error().is_some() {
                self.shared.commits.refused_busy.fetch_add(1, Ordering::Relaxed);
                let reason = "recent writes fill the memory budget and cannot be flushed";
                return Err(WriteError::Busy { reason });
            }
            self.threads.wake();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.shared.queue.write(write).map(|()| commit)
    }

    /// Sets `key` to `value` and waits until it is durable as the mode promises. Gives the operation's offset.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put(&self, key: u64, value: impl AsRef<[u8]>) -> Result<u64, WriteError> {
        let value = value.as_ref();
        let mut batch = Batch::with_capacity(value.len() + 16);
        batch.put(key, value);
        self.commit(batch)
    }

    /// Removes `key` and waits. Deleting an absent key takes an offset too.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn delete(&self, key: u64) -> Result<u64, WriteError> {
        let mut batch = Batch::with_capacity(16);
        batch.delete(key);
        self.commit(batch)
    }

    /// Adds an event without a key and waits. It stays in the log, and everything after it does, until the database
    /// is removed.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn append(&self, payload: impl AsRef<[u8]>) -> Result<u64, WriteError> {
        let mut batch = Batch::new();
        batch.append(payload);
        self.commit(batch)
    }

    /// The value of `key`: a slice of the mapped run or of recent writes, not a copy.
    ///
    /// One probe of the recent writes; then, in each run, one predicted window. Bytes on disk are checked against
    /// their checksums when first touched.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when the bytes that the answer depends on are damaged.
    pub fn get(&self, key: u64) -> Result<Option<Bytes>, ReadError> {
        self.read(key, |version| version.value, IndexedRun::value)
    }

    /// The offset of the put that gave `key` its value; `None` when it has none.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn offset(&self, key: u64) -> Result<Option<u64>, ReadError> {
        self.read(key, |version| version.value.map(|_| version.offset), IndexedRun::offset)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn contains(&self, key: u64) -> Result<bool, ReadError> {
        Ok(self.offset(key)?.is_some())
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
    /// go on. Waits for other maintenance. Merges the runs when there are more than [`Options::max_runs`].
    ///
    /// # Errors
    /// See [`MaintenanceError`]; the state before stays in force.
    pub fn flush(&self) -> Result<FlushReport, MaintenanceError> {
        let turn = self.maintain()?;
        let report = turn.flush()?;
        if self.shared.views.load().runs.len() > self.shared.options.max_runs {
            turn.merge_runs()?;
        }
        Ok(report)
    }

    /// Flushes, then merges all runs into one without anything overwritten or deleted. Waits for other maintenance.
    ///
    /// # Errors
    /// See [`MaintenanceError`]; the state before stays in force.
    pub fn compact(&self) -> Result<CompactReport, MaintenanceError> {
        self.maintain()?.compact()
    }

    /// Brings every live key under a verified index: flushes, and counts what the runs' indexes answer for.
    ///
    /// # Errors
    /// [`MaintenanceError::Busy`] while other maintenance runs; otherwise see [`MaintenanceError`].
    pub fn build_index(&self) -> Result<IndexReport, MaintenanceError> {
        self.refuse_closed()?;
        self.shared.try_turn()?.build_index()
    }

    /// Makes runs and indexes resident in memory.
    ///
    /// # Errors
    /// [`MaintenanceError::Closed`].
    pub fn warm_up(&self) -> Result<WarmReport, MaintenanceError> {
        self.refuse_closed()?;
        Ok(maintenance::warm_up(&self.shared))
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
        stats(&self.shared)
    }

    /// Commits what waits, syncs, and leaves the mark by which the next open knows that the log is whole. Calls on
    /// other handles get `Closed` from then on; reads go on. A second close is `Ok`.
    ///
    /// # Errors
    /// See [`CloseError`]. Everything acknowledged is as durable as the mode promised all the same.
    pub fn close(&self) -> Result<(), CloseError> {
        self.threads.stop(&self.shared)
    }

    fn commit(&self, batch: Batch) -> Result<u64, WriteError> {
        self.write_waiting(batch)?.wait().map(|committed| committed.first_offset)
    }

    /// Checks a batch against the limits, and gives it its commit.
    fn admit(&self, batch: Batch) -> Result<(Write, Commit), WriteError> {
        self.refuse_unless_writable()?;
        let too_large = |what, bytes: usize, limit: usize| {
            let (bytes, limit) = (bytes as u64, limit as u64);
            if bytes > limit { Err(WriteError::TooLarge { what, bytes, limit }) } else { Ok(()) }
        };
        too_large("value", batch.largest_value(), self.shared.options.max_value_bytes as usize)?;
        too_large("batch", batch.bytes(), MAX_BATCH_BYTES)?;
        if batch.len() > MAX_BATCH_OPERATIONS {
            let (operations, limit) = (batch.len(), MAX_BATCH_OPERATIONS);
            return Err(WriteError::TooManyOperations { operations, limit });
        }
        if batch.is_empty() {
            return Err(WriteError::EmptyBatch);
        }
        let (promise, commit) = commit::pair();
        let operations = batch.len() as u32;
        Ok((Write { payload: batch.into_payload(), operations, promise }, commit))
    }

    fn refuse_unless_writable(&self) -> Result<(), WriteError> {
        if self.shared.health.is_closed() {
            return Err(WriteError::Closed);
        }
        match self.shared.health.poisoned() {
            Some(reason) => Err(WriteError::Poisoned { reason }),
            None => Ok(()),
        }
    }

    fn refuse_closed(&self) -> Result<(), MaintenanceError> {
        if self.shared.health.is_closed() { Err(MaintenanceError::Closed) } else { Ok(()) }
    }

    fn maintain(&self) -> Result<Turn<'_>, MaintenanceError> {
        self.refuse_closed()?;
        Ok(self.shared.take_turn())
    }

    /// Finds the newest version of `key`, delta first, then the runs from new to old, and takes from it what is asked
    /// for: `None` where there is no version or it is a tombstone.
    fn read<T>(
        &self,
        key: u64,
        from_delta: impl Fn(Version) -> Option<T>,
        from_run: impl Fn(&IndexedRun, usize, &Counters) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let view = self.shared.views.load();
        // After the view: what becomes visible from here on may be in a newer one.
        let visible = self.shared.visible.next();
        let counters = &self.shared.counters;
        if let Some(version) = view.deltas().find_map(|delta| delta.get(key, visible)) {
            counters.count(Counted::DeltaRead);
            return Ok(from_delta(version));
        }
        if view.runs.is_empty() {
            return Ok(None);
        }
        counters.count(Counted::IndexRead);
        for run in &view.runs {
            if let Some(position) = run.find(key, counters)? {
                counters.count(Counted::IndexHit);
                return from_run(run, position, counters);
            }
        }
        counters.count(Counted::IndexMiss);
        Ok(None)
    }
}

fn stats(shared: &Shared) -> Stats {
    let view = shared.views.pin();
    let commits = &shared.commits;
    let maintenance = &shared.maintenance;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let total = |event| shared.counters.total(event);
    let delta_entries = view.deltas().map(|delta| delta.len() as u64).sum();
    Stats {
        next_offset: shared.visible.next(),
        oldest_offset: load(&commits.wal_oldest_offset),
        keys_at_most: delta_entries + view.runs.iter().map(|run| run.len() - run.tombstones()).sum::<u64>(),
        delta_entries,
        delta_bytes: view.memory_bytes(),
        runs: view.runs.iter().map(|run| run.stats()).collect(),
        wal: WalStats {
            segments: load(&commits.wal_segments),
            bytes: load(&commits.wal_bytes),
            first_segment: load(&commits.wal_first_segment),
        },
        operations: load(&commits.operations),
        groups: load(&commits.groups),
        group_batches: load(&commits.group_batches),
        syncs: load(&commits.syncs),
        sync_time: Duration::from_nanos(load(&commits.sync_nanos)),
        delta_reads: total(Counted::DeltaRead),
        index_reads: total(Counted::IndexRead),
        index_hits: total(Counted::IndexHit),
        index_misses: total(Counted::IndexMiss),
        mispredicts: total(Counted::Mispredict),
        corrupt_reads: total(Counted::CorruptRead),
        flushes: load(&maintenance.flushes),
        compactions: load(&maintenance.compactions),
        index_builds: load(&maintenance.index_builds),
        last_index_build: Duration::from_nanos(load(&maintenance.last_index_nanos)),
        refused_busy: load(&commits.refused_busy),
        poisoned: shared.health.poisoned().map(|reason| reason.to_string()),
        maintenance_error: shared.health.maintenance_error(),
        uptime: shared.opened.elapsed(),
        recovery: shared.recovery.clone(),
    }
}

/// How long preallocation rests after a failure.
const SPARE_PAUSE: Duration = Duration::from_millis(250);

/// The engine's threads and its lock, ended together by the last handle.
struct Threads {
    shared: Arc<Shared>,
    wakes: Sender<Wake>,
    running: Mutex<Option<Running>>,
}

struct Running {
    committer: JoinHandle<()>,
    maintenance: JoinHandle<()>,
    preallocator: JoinHandle<()>,
    /// Given up last.
    lock: Box<dyn LockGuard>,
}

impl Threads {
    fn start(
        shared: &Arc<Shared>,
        requests: Requests,
        start: Start,
        lock: Box<dyn LockGuard>,
    ) -> std::io::Result<Self> {
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(format!("kyro-{name}")).spawn(body)
        };
        let (wakes, woken) = bounded(1);
        let (spare_jobs, jobs) = bounded::<SpareJob>(1);
        let committer = Committer::new(Arc::clone(shared), requests, start, wakes.clone(), spare_jobs);
        let health = Arc::clone(shared);
        let committer = spawn(
            "committer",
            Box::new(move || {
                let run = std::panic::AssertUnwindSafe(|| committer.run());
                if std::panic::catch_unwind(run).is_err() {
                    // Whoever waits is told that the outcome is unknown, by the promises that were dropped.
                    health.health.poison("the committer panicked: this is a bug, please report it");
                    health.visible.close();
                }
            }),
        )?;
        let tended = Arc::clone(shared);
        let maintenance = spawn("maintenance", Box::new(move || maintenance::run(&tended, &woken)))?;
        let owner = Arc::clone(shared);
        let preallocator = spawn(
            "preallocator",
            Box::new(move || {
                for job in jobs {
                    match job.run() {
                        Ok(spare) => drop(owner.queue.ask(Request::Spare(spare))),
                        // Rotation preallocates by itself and meets the same error there. A full disk is not to be
                        // filled to the brim after every group.
                        Err(_) => std::thread::sleep(SPARE_PAUSE),
                    }
                }
            }),
        )?;
        let running = Mutex::new(Some(Running { committer, maintenance, preallocator, lock }));
        Ok(Self { shared: Arc::clone(shared), wakes, running })
    }

    /// Tells the maintenance to look whether a flush is due.
    fn wake(&self) {
        self.wakes.try_send(Wake::Due).ok();
    }

    fn stop(&self, shared: &Shared) -> Result<(), CloseError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.take().map_or(Ok(()), |running| running.stop(shared, &self.wakes))
    }
}

impl Running {
    fn stop(self, shared: &Shared, wakes: &Sender<Wake>) -> Result<(), CloseError> {
        shared.health.close();
        // First whoever needs the committer, then the committer.
        wakes.send(Wake::Stop).ok();
        self.maintenance.join().ok();
        let turn = shared.take_turn();
        let (reply, answer) = bounded(1);
        let asked = shared.queue.ask(Request::Close(reply));
        let closed = if asked { answer.recv().ok() } else { None };
        drop(turn);
        self.committer.join().ok();
        self.preallocator.join().ok();
        drop(self.lock);
        closed.unwrap_or_else(|| {
            let reason = shared.health.poisoned().unwrap_or_else(|| "the committer stopped".into());
            Err(CloseError::Log { reason })
        })
    }

    fn is_current_thread(&self) -> bool {
        let current = std::thread::current().id();
        [&self.committer, &self.maintenance, &self.preallocator]
            .iter()
            .any(|own| own.thread().id() == current)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        let (shared, wakes) = (Arc::clone(&self.shared), self.wakes.clone());
        // Nobody is left to be told how it went; the next open finds the log with its mark or recovers it.
        if running.is_current_thread() {
            // A waker or a progress callback held the last handle: this thread cannot wait for its own end.
            std::thread::spawn(move || running.stop(&shared, &wakes).ok());
        } else {
            running.stop(&shared, &wakes).ok();
        }
    }
}
