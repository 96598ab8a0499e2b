//! What the handles, the committer and the maintenance share.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kyro_wal::storage::{Storage, is_storage_full};

use crate::background::{Bell, Room};
use crate::ballast::Ballast;
use crate::counters::Counters;
use crate::error::MaintenanceError;
use crate::filters::Filters;
use crate::histogram::{GROUP_SIZES, Recorder, SYNC_NANOS, WORK_NANOS};
use crate::manifest::ManifestFile;
use crate::options::{OnProgress, Options, Progress};
use crate::queue::Queue;
use crate::sources::{Sources, Views};
use crate::stats::RecoveryStats;
use crate::visible::Visible;

/// The state of one open engine.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) uuid: [u8; 16],
    pub(crate) options: Options,
    pub(crate) manifest: ManifestFile,
    pub(crate) views: Views,
    pub(crate) visible: Arc<Visible>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Counters,
    pub(crate) filters: Filters,
    pub(crate) health: Health,
    pub(crate) ballast: Ballast,
    pub(crate) commits: CommitStats,
    pub(crate) maintenance: MaintenanceStats,
    /// Held by the one flush that runs.
    pub(crate) flush_turn: Mutex<()>,
    /// Held by the one merge of runs that runs. Where both are taken, this one first.
    pub(crate) merge_turn: Mutex<()>,
    /// Held by the one index build that runs.
    pub(crate) index_turn: Mutex<()>,
    /// Held by whoever removes runs that a merge has replaced, and by whoever needs the runs that the manifest names to
    /// keep their names.
    pub(crate) run_names: Mutex<()>,
    /// Where writers wait for a flush.
    pub(crate) room: Room,
    /// Wakes the thread that flushes.
    pub(crate) flusher: Bell,
    /// Wakes the thread that merges.
    pub(crate) compactor: Arc<Bell>,
    /// Number of the next run file; never handed out twice, also when a flush fails.
    pub(crate) next_run: AtomicU64,
    pub(crate) recovery: RecoveryStats,
    /// Whether anyone asked for past operations since the opening.
    pub(crate) history_was_read: AtomicBool,
    pub(crate) opened: Instant,
}

impl Shared {
    /// Looks whether a failure of the maintenance is a full disk, and then gives the ballast up.
    pub(crate) fn note_failure(&self, error: &MaintenanceError) {
        if matches!(error, MaintenanceError::Io { source, .. } if is_storage_full(source)) {
            self.ballast.release(&*self.storage);
        }
    }

    /// The state of an engine whose threads do not run (yet): nothing written, nothing counted.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        dir: &Path,
        options: Options,
        manifest: ManifestFile,
        sources: Sources,
        next_offset: u64,
    ) -> Self {
        let named = manifest.current();
        let compactor: Arc<Bell> = Arc::default();
        Self {
            dir: dir.to_owned(),
            uuid: named.uuid.0,
            manifest,
            views: Views::new(sources),
            visible: Arc::new(Visible::new(next_offset)),
            queue: Arc::new(Queue::new(options.max_queue).bounded_by(options.queue_share())),
            counters: Counters::new(Arc::clone(&compactor)),
            filters: Filters::default(),
            health: Health::default(),
            ballast: Ballast::new(dir, options.ballast_bytes, options.wal_segment_bytes),
            commits: CommitStats::default(),
            maintenance: MaintenanceStats::default(),
            flush_turn: Mutex::default(),
            merge_turn: Mutex::default(),
            index_turn: Mutex::default(),
            run_names: Mutex::default(),
            room: Room::default(),
            flusher: Bell::default(),
            compactor,
            next_run: AtomicU64::new(named.next_run),
            recovery: RecoveryStats::default(),
            history_was_read: AtomicBool::new(false),
            opened: Instant::now(),
            storage,
            options,
        }
    }

    /// The directory of the log's segments.
    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.dir.join(WAL_DIR)
    }

    /// The directory of the runs and their indexes.
    pub(crate) fn runs_dir(&self) -> PathBuf {
        self.dir.join(RUNS_DIR)
    }

    /// Whether writers have to wait for a flush: four times what the options keep in memory is waiting.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.views.load().memory_bytes() >= self.options.delta_share().max(1).saturating_mul(4)
    }
}

/// Name of the log's directory.
pub(crate) const WAL_DIR: &str = "wal";
/// Name of the runs' directory.
pub(crate) const RUNS_DIR: &str = "runs";

/// Whether the engine works.
#[derive(Debug, Default)]
pub(crate) struct Health {
    poisoned: OnceLock<Arc<str>>,
    closed: Arc<AtomicBool>,
    /// By [`Chore`].
    failures: Mutex<[Option<String>; 2]>,
}

impl Health {
    /// Ends writing for good. The first reason stays.
    pub(crate) fn poison(&self, reason: impl Into<Arc<str>>) -> Arc<str> {
        Arc::clone(self.poisoned.get_or_init(|| reason.into()))
    }

    pub(crate) fn poisoned(&self) -> Option<Arc<str>> {
        self.poisoned.get().cloned()
    }

    /// Marks the engine closed; `false` when it was already.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// The flag that is set when the engine closes.
    pub(crate) fn closes(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.closed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How the last try of a background chore failed, if it did.
    pub(crate) fn set_failure(&self, chore: Chore, failure: Option<String>) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)[chore as usize] = failure;
    }

    pub(crate) fn failure(&self, chore: Chore) -> Option<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)[chore as usize].clone()
    }
}

/// What a thread of the maintenance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Writes recent writes into runs.
    Flush,
    /// Merges runs.
    Compact,
}

/// Numbers of the commit path. Only who has the committer's seat writes them, but for `refused_busy`.
#[derive(Debug)]
pub(crate) struct CommitStats {
    pub(crate) operations: AtomicU64,
    /// Groups of one that their writers committed themselves.
    pub(crate) by_writers: AtomicU64,
    /// Batches of each group, and what each sync took in nanoseconds.
    pub(crate) group_sizes: Recorder,
    pub(crate) sync_times: Recorder,
    pub(crate) refused_busy: AtomicU64,
    pub(crate) wal_segments: AtomicU64,
    /// Segments that the last purge had to leave.
    pub(crate) wal_segments_kept: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) wal_first_segment: AtomicU64,
    pub(crate) wal_oldest_offset: AtomicU64,
}

impl Default for CommitStats {
    fn default() -> Self {
        Self {
            operations: AtomicU64::default(),
            by_writers: AtomicU64::default(),
            group_sizes: Recorder::new(GROUP_SIZES),
            sync_times: Recorder::new(SYNC_NANOS),
            refused_busy: AtomicU64::default(),
            wal_segments: AtomicU64::default(),
            wal_segments_kept: AtomicU64::default(),
            wal_bytes: AtomicU64::default(),
            wal_first_segment: AtomicU64::default(),
            wal_oldest_offset: AtomicU64::default(),
        }
    }
}

impl CommitStats {
    /// What there is of the log.
    pub(crate) fn set_log(&self, segments: u64, bytes: u64, first_segment: u64, oldest_offset: u64) {
        self.wal_segments.store(segments, Ordering::Relaxed);
        self.wal_bytes.store(bytes, Ordering::Relaxed);
        self.wal_first_segment.store(first_segment, Ordering::Relaxed);
        self.wal_oldest_offset.store(oldest_offset, Ordering::Relaxed);
    }
}

/// Numbers of the maintenance.
#[derive(Debug)]
pub(crate) struct MaintenanceStats {
    /// Of flushes that wrote a run, and of compactions of everything.
    pub(crate) flush_times: Recorder,
    pub(crate) compact_times: Recorder,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_read_bytes: AtomicU64,
    pub(crate) compaction_bytes: AtomicU64,
    pub(crate) index_builds: AtomicU64,
    pub(crate) last_index_nanos: AtomicU64,
    /// When the last flush ended, in milliseconds since the opening.
    pub(crate) flushed_at_millis: AtomicU64,
}

impl Default for MaintenanceStats {
    fn default() -> Self {
        let [flushes, flush_bytes, compactions, compaction_read_bytes, compaction_bytes] = Default::default();
        let [index_builds, last_index_nanos, flushed_at_millis] = Default::default();
        Self {
            flush_times: Recorder::new(WORK_NANOS),
            compact_times: Recorder::new(WORK_NANOS),
            flushes,
            flush_bytes,
            compactions,
            compaction_read_bytes,
            compaction_bytes,
            index_builds,
            last_index_nanos,
            flushed_at_millis,
        }
    }
}

/// Reports progress of one task a few times a second.
pub(crate) struct ProgressMeter {
    on_progress: Option<OnProgress>,
    progress: Progress,
    last: Option<Instant>,
}

impl ProgressMeter {
    pub(crate) fn new(options: &Options, task: &'static str, unit: &'static str) -> Self {
        let progress = Progress { task, done: 0, total: None, unit };
        Self { on_progress: options.on_progress.clone(), progress, last: None }
    }

    /// Reports, unless the last report was a moment ago. Costs a clock read every call: call it per thousand units.
    pub(crate) fn at(&mut self, done: u64, total: Option<u64>) {
        let Some(on_progress) = &self.on_progress else { return };
        if self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(100)) {
            self.last = Some(Instant::now());
            self.report(on_progress, done, total);
        }
    }

    /// Reports the end.
    pub(crate) fn done(&mut self, done: u64) {
        if let Some(on_progress) = &self.on_progress {
            self.report(on_progress, done, Some(done));
        }
    }

    /// A callback that panics has reported as well as it can; the work goes on.
    fn report(&self, on_progress: &OnProgress, done: u64, total: Option<u64>) {
        let progress = Progress { done, total, ..self.progress };
        std::panic::catch_unwind(AssertUnwindSafe(|| on_progress(&progress))).ok();
    }
}
