//! Reading a database that another process may be writing: no lock, no write, a state that is refreshed on demand.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use kyro_wal::storage::{RealStorage, Storage};
use kyro_wal::{Expected, Extent, Recovery};

use crate::batch::Switch;
use crate::delta::Delta;
use crate::engine::Engine;
use crate::error::{OpenError, ReadError};
use crate::indexed_run::IndexedRun;
use crate::manifest::{Manifest, ManifestFile};
use crate::open::{log_error, no_manifest, segment_path, wal_options};
use crate::options::Options;
use crate::range_tombstones::{RangeEntry, RangeTombstones};
use crate::run_files::open_run;
use crate::shared::{RUNS_DIR, Shared, WAL_DIR};
use crate::sources::Sources;
use crate::stats::Stats;
use crate::versions::{OpenedRuns, Version, list};
use crate::view::View;

/// How long one state of the manifest may be unreadable before that is told: the writer may be at work on the very
/// files that are being read.
const PATIENCE: Duration = Duration::from_millis(500);

/// And how often it is looked at, however long that takes: a thread that stood still has not looked for all that time.
const LOOKS: u32 = 32;

/// How long to look for a readable state while the writer makes new ones.
const LONGEST: Duration = Duration::from_secs(30);

/// A database opened for reading only, by any number of processes, while another one may write it. Made by
/// [`Engine::open_read_only`].
///
/// It sees the state of its opening or of the last [`refresh`](Self::refresh): the runs that the manifest named, and
/// the log up to its readable end, which may hold writes that are not acknowledged yet (they are whole, and no earlier
/// one is missing). It takes no lock and writes nothing. Runs that the writer has since merged away stay readable.
pub struct ReadOnly {
    /// One state each: sources and offset change together.
    state: ArcSwap<Shared>,
    refreshing: Mutex<()>,
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnly").field("dir", &self.state.load().dir).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the database in `dir` for reading only, also while another process writes it.
    ///
    /// # Errors
    /// As [`Engine::open`], but for the lock; [`OpenError::NotADatabase`] where there is no manifest.
    pub fn open_read_only(dir: impl AsRef<Path>, options: Options) -> Result<ReadOnly, OpenError> {
        Self::open_read_only_on(Arc::new(RealStorage), dir, options)
    }

    /// As [`Engine::open_read_only`], on any storage.
    ///
    /// # Errors
    /// As [`Engine::open_read_only`].
    pub fn open_read_only_on(
        storage: Arc<dyn Storage>,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<ReadOnly, OpenError> {
        let state = read_state(storage, dir.as_ref(), options.with_value_cache(), &[])?;
        Ok(ReadOnly { state: ArcSwap::from_pointee(state), refreshing: Mutex::default() })
    }
}

impl ReadOnly {
    /// Reads the state of this moment; gives one past its newest operation. Views and reads from then on see it, views
    /// from before keep theirs. Costs the reading of the manifest, of runs that are new, and of the log's tail; and, where
    /// enough keys were asked for in vain since the last one, of the keys of runs that now get a filter.
    ///
    /// # Errors
    /// As [`Engine::open_read_only`]; the state before stays.
    pub fn refresh(&self) -> Result<u64, OpenError> {
        let _one_at_a_time = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.state.load_full();
        // No thread of the engine's is there to do it.
        old.make_filters();
        let runs = old.views.pin().runs.clone();
        let state = read_state(Arc::clone(&old.storage), &old.dir, old.options.clone(), &runs)?;
        let next_offset = state.visible.next();
        self.state.store(Arc::new(state));
        Ok(next_offset)
    }

    /// A snapshot of the state: every kind of read is there.
    pub fn view(&self) -> View {
        View::new(self.state.load_full())
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when the bytes that the answer depends on are damaged.
    pub fn get(&self, key: u64) -> Result<Option<Bytes>, ReadError> {
        self.view().get(key)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`ReadOnly::get`].
    pub fn contains(&self, key: u64) -> Result<bool, ReadError> {
        self.view().contains(key)
    }

    /// One past the newest operation that is seen.
    pub fn next_offset(&self) -> u64 {
        self.state.load().visible.next()
    }

    /// The versions of the content, as [`Engine::versions`] gives them, in the state that is seen.
    pub fn versions(&self) -> Vec<Version> {
        list(&self.state.load().manifest.current())
    }

    /// Numbers of the state, counted since it was read; those of a writer are zero, but for what there is of the log.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.state.load())
    }
}

/// Reads a state. The writer goes on meanwhile: where a file went or changed under the reader, it begins anew with the
/// manifest of then.
fn read_state(
    storage: Arc<dyn Storage>,
    dir: &Path,
    options: Options,
    known: &[Arc<IndexedRun>],
) -> Result<Shared, OpenError> {
    let start = Instant::now();
    let mut unreadable: Option<(u64, Instant, u32)> = None;
    loop {
        let Some(manifest) = ManifestFile::read(&*storage, dir)? else {
            return Err(no_manifest(&*storage, dir));
        };
        let error = match read_named(&storage, dir, &options, known, &manifest) {
            Ok(Named { sources, next_offset, manifest, log }) => {
                let manifest = ManifestFile::hold(Arc::clone(&storage), dir, manifest);
                let shared = Shared::new(storage, dir, options, manifest, sources, next_offset);
                if let Some(log) = log {
                    shared.commits.set_log(log.segments, log.bytes, log.first_segment, log.oldest_offset);
                }
                return Ok(shared);
            }
            Err(error) => error,
        };
        let (since, looks) = match unreadable {
            Some((same, since, looks)) if same == manifest.generation => (since, looks + 1),
            _ => (Instant::now(), 1),
        };
        if (since.elapsed() >= PATIENCE && looks >= LOOKS) || start.elapsed() >= LONGEST {
            return Err(error);
        }
        unreadable = Some((manifest.generation, since, looks));
        thread::sleep(Duration::from_millis(2));
    }
}

/// What a manifest names.
struct Named {
    sources: Sources,
    /// One past the newest operation.
    next_offset: u64,
    /// The manifest as the log makes it.
    manifest: Manifest,
    /// How much of a log there is, once one has been made.
    log: Option<Extent>,
}

fn read_named(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    options: &Options,
    known: &[Arc<IndexedRun>],
    manifest: &Manifest,
) -> Result<Named, OpenError> {
    let mut manifest = manifest.clone();
    let mut runs = Vec::with_capacity(manifest.runs.len());
    for entry in &manifest.runs {
        let same = |run: &&Arc<IndexedRun>| {
            run.number() == entry.number && run.uuid() == entry.uuid.0 && run.common_offset() == entry.offset
        };
        runs.push(match known.iter().find(same) {
            Some(run) => Arc::clone(run),
            // A missing index is trained and kept in memory alone.
            None => Arc::new(open_run(&**storage, &dir.join(RUNS_DIR), entry, options)?.0),
        });
    }
    let delta = Delta::default();
    let (mut next_offset, mut extent) = (manifest.wal.replay_from, None);
    if let Some(first_segment) = manifest.wal.first_segment {
        let expected = Expected {
            uuid: manifest.uuid.0,
            first_segment,
            replay_from: manifest.wal.replay_from,
            clean: manifest.clean.map(Into::into),
        };
        let wal_dir = dir.join(WAL_DIR);
        let log = Recovery::open(Arc::clone(storage), &wal_dir, expected, wal_options(options));
        let log = log.map_err(log_error)?;
        extent = Some(log.extent());
        next_offset = replay(log, &wal_dir, &mut manifest, &delta, &mut |manifest| {
            runs = OpenedRuns::open(&**storage, dir, manifest, options)?.runs;
            Ok(())
        })?;
    }
    let next_offset = manifest.clean.map_or(next_offset, |mark| mark.next_offset);
    let ranges = Arc::new(RangeTombstones::new(manifest.ranges.iter().map(RangeEntry::tombstone)));
    let since = manifest.versions.since();
    // Of a push whose operation is not in the log nothing is seen.
    manifest.drop_staged();
    let sources = Sources { delta: Arc::new(delta), frozen: None, runs, ranges, since };
    Ok(Named { sources, next_offset, manifest, log: extent })
}

/// Applies the log from where the manifest says; gives one past its last operation. Where the content is switched, the
/// manifest says so and its runs are opened again. The log is only looked at: nothing of
/// what a recovery would mend is mended.
fn replay(
    mut log: Recovery,
    wal_dir: &Path,
    manifest: &mut Manifest,
    delta: &Delta,
    reopen: &mut dyn FnMut(&Manifest) -> Result<(), OpenError>,
) -> Result<u64, OpenError> {
    let replay_from = manifest.wal.replay_from;
    let mut next_offset = replay_from;
    while let Some(frame) = log.next_frame().map_err(log_error)? {
        if frame.count == 0 || frame.first_offset < replay_from {
            continue;
        }
        let (file, offset) = (segment_path(wal_dir, frame.segment), frame.at);
        next_offset = frame.first_offset + u64::from(frame.count);
        let payload = Bytes::copy_from_slice(frame.payload);
        if let Some(switch) = Switch::from_payload(&payload) {
            let switched = manifest.recover(&switch, frame.first_offset, delta.operations());
            switched.map_err(|reason| OpenError::Corrupt { file, offset, reason })?;
            reopen(manifest)?;
            continue;
        }
        let applied = delta.apply(frame.first_offset, payload);
        applied.map_err(|error| OpenError::Corrupt { file, offset, reason: error.to_string() })?;
    }
    Ok(next_offset)
}
