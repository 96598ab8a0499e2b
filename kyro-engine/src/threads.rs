//! The engine's own threads (committer, flusher, compactor, preallocator) and its lock: started and ended together.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;
use kyro_wal::SpareJob;
use kyro_wal::storage::LockGuard;

use crate::background;
use crate::committer::{self, Committer, Seat, Start};
use crate::error::CloseError;
use crate::open::close_slack;
use crate::queue::{Request, Requests, Write};
use crate::shared::Shared;

/// How long preallocation rests after a failure.
const SPARE_PAUSE: Duration = Duration::from_millis(250);

/// The engine's threads and its lock, ended together by the last handle.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    seat: Arc<Seat<Committer>>,
    running: Mutex<Option<Running>>,
}

struct Running {
    committer: JoinHandle<()>,
    flusher: JoinHandle<()>,
    compactor: JoinHandle<()>,
    preallocator: JoinHandle<()>,
    /// Given up last.
    lock: Box<dyn LockGuard>,
}

impl Threads {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        requests: Requests,
        start: Start,
        lock: Box<dyn LockGuard>,
    ) -> std::io::Result<Self> {
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(format!("kyro-{name}")).spawn(body)
        };
        let (spare_jobs, jobs) = bounded::<SpareJob>(1);
        let seat = Arc::new(Seat::new(Committer::new(Arc::clone(shared), requests, start, spare_jobs)));
        let (seat_of_thread, for_commits) = (Arc::clone(&seat), Arc::clone(shared));
        let committer = spawn("committer", Box::new(move || committer::run(&seat_of_thread, &for_commits)))?;
        let for_flushes = Arc::clone(shared);
        let flusher = spawn("flusher", Box::new(move || background::flusher(&for_flushes)))?;
        let for_merges = Arc::clone(shared);
        let compactor = spawn("compactor", Box::new(move || background::compactor(&for_merges)))?;
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
        let running = Mutex::new(Some(Running { committer, flusher, compactor, preallocator, lock }));
        Ok(Self { shared: Arc::clone(shared), seat, running })
    }

    /// See [`committer::commit_here`].
    pub(crate) fn commit_here(&self, write: Write) -> Option<Write> {
        committer::commit_here(&self.seat, &self.shared, write)
    }

    pub(crate) fn stop(&self, shared: &Shared) -> Result<(), CloseError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.take().map_or(Ok(()), |running| running.stop(shared))
    }
}

impl Running {
    fn stop(self, shared: &Shared) -> Result<(), CloseError> {
        shared.health.close();
        shared.room.changed();
        // First whoever needs the committer, then the committer.
        shared.compactor.stop();
        shared.flusher.stop();
        self.compactor.join().ok();
        self.flusher.join().ok();
        let merging = shared.last_merge_turn();
        let flushing = shared.last_flush_turn();
        if shared.log_is_long() {
            // Where this fails the log stays as long as it is, and the next session tries again.
            flushing.flush().ok();
        }
        let (reply, answer) = bounded(1);
        let asked = shared.queue.ask(Request::Close(reply));
        let closed = if asked { answer.recv().ok() } else { None };
        drop((flushing, merging));
        self.committer.join().ok();
        self.preallocator.join().ok();
        if matches!(closed, Some(Ok(()))) {
            // One that was prepared too late to be used. Best effort: it is space, and no part of the log.
            let slack = close_slack(&shared.options);
            kyro_wal::remove_spare(&*shared.storage, &shared.wal_dir(), slack).ok();
        }
        drop(self.lock);
        closed.unwrap_or_else(|| {
            let reason = shared.health.poisoned().unwrap_or_else(|| "the committer stopped".into());
            Err(CloseError::Log { reason })
        })
    }

    fn is_current_thread(&self) -> bool {
        let current = std::thread::current().id();
        [&self.committer, &self.flusher, &self.compactor, &self.preallocator]
            .iter()
            .any(|own| own.thread().id() == current)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        let shared = Arc::clone(&self.shared);
        // Nobody is left to be told how it went; the next open finds the log with its mark or recovers it.
        if running.is_current_thread() {
            // A waker or a progress callback held the last handle: this thread cannot wait for its own end.
            std::thread::spawn(move || running.stop(&shared).ok());
        } else {
            running.stop(&shared).ok();
        }
    }
}
