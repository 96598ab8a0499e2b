//! Opening: lock, manifest, runs, log; in this order, and nothing is written before all of it was read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use kyro_wal::storage::{LockError, LockGuard, Storage, write_atomically};
use kyro_wal::{CleanMark, Expected, Identity, Recovery, Tail, Wal};

use crate::ballast;
use crate::batch::Switch;
use crate::committer::{Log, Start};
use crate::delta::Delta;
use crate::error::OpenError;
use crate::maintenance::remove_orphans;
use crate::manifest::{FILE_NAME, Manifest, ManifestFile, Uuid, WalState};
use crate::options::Options;
use crate::queue::Requests;
use crate::range_tombstones::{RangeEntry, RangeTombstones};
use crate::run_files::index_path;
use crate::shared::{CommitStats, ProgressMeter, RUNS_DIR, Shared, WAL_DIR};
use crate::sources::Sources;
use crate::stats::RecoveryStats;
use crate::versions::{OpenedRuns, Versions};

/// The file that is locked by whoever has the directory open.
pub(crate) const LOCK: &str = "LOCK";

/// The epoch of a database's first session.
pub(crate) const FIRST_EPOCH: u64 = 1;

/// Everything an engine needs to start its threads.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Requests,
    pub(crate) start: Start,
    pub(crate) lock: Box<dyn LockGuard>,
}

/// Opens a data directory, or makes one.
pub(crate) fn open(storage: Arc<dyn Storage>, dir: &Path, options: Options) -> Result<Opened, OpenError> {
    let options = options.with_value_cache();
    let started = Instant::now();
    create_dir(&*storage, dir)?;
    refuse_foreign(&*storage, dir)?;
    let lock = lock(&*storage, dir)?;
    let manifest = match ManifestFile::read(&*storage, dir)? {
        Some(manifest) => manifest,
        None => begin(&storage, dir)?,
    };
    let runs_dir = dir.join(RUNS_DIR);
    let delta = Delta::default();
    let mut recovered = Recovered {
        runs: OpenedRuns::open(&*storage, dir, &manifest, &options)?,
        recovery: RecoveryStats::default(),
        oldest_event: manifest.wal.oldest_event,
        next_offset: 0,
        epoch: manifest.epoch + 1,
        begun: false,
    };
    let manifest_file = ManifestFile::hold(Arc::clone(&storage), dir, manifest.clone());
    let log = open_log(&storage, dir, &manifest_file, &options, &delta, &mut recovered)?;
    // The operation that would have made them the content is not in the log.
    manifest_file.amend(Manifest::drop_staged);
    recovered.recovery.time = started.elapsed();
    let OpenedRuns { runs, rebuilt } = recovered.runs;
    recovered.recovery.indexes_rebuilt = rebuilt.len() as u64;
    let Manifest { ranges, versions, .. } = manifest_file.current();
    let ranges = Arc::new(RangeTombstones::new(ranges.iter().map(RangeEntry::tombstone)));
    let since = versions.since();
    let commits = CommitStats::default();
    match &log {
        Log::Clean(recovery) => {
            let log = recovery.extent();
            commits.set_log(log.segments, log.bytes, log.first_segment, log.oldest_offset);
        }
        Log::Live(wal) => {
            let log = wal.stats();
            commits.set_log(log.segments, log.bytes, log.first_segment, log.oldest_offset);
        }
        Log::Gone => {}
    }

    let sources = Sources { delta: Arc::new(delta), frozen: None, runs, ranges, since };
    let mut shared = Shared::new(storage, dir, options, manifest_file, sources, recovered.next_offset);
    let requests = Requests::new(Arc::clone(&shared.queue));
    let start =
        Start { log, oldest_event: recovered.oldest_event, epoch: recovered.epoch, begun: recovered.begun };
    shared.maintenance.index_builds.store(rebuilt.len() as u64, Ordering::Relaxed);
    shared.commits = commits;
    shared.recovery = recovered.recovery;
    let shared = Arc::new(shared);
    remove_orphans(&shared);
    for (number, bytes) in rebuilt {
        // A cache: where it cannot be written the next open trains again.
        write_atomically(&*shared.storage, &index_path(&runs_dir, number), &bytes).ok();
    }
    Ok(Opened { shared, requests, start, lock })
}

struct Recovered {
    /// Those of the content, as far as the log has been read.
    runs: OpenedRuns,
    recovery: RecoveryStats,
    oldest_event: Option<u64>,
    next_offset: u64,
    /// As in [`Start`].
    epoch: u64,
    begun: bool,
}

/// Makes the directory and whatever parents it lacks, each durable in its own parent. One that is there is left alone.
pub(crate) fn create_dir(storage: &dyn Storage, dir: &Path) -> Result<(), OpenError> {
    let error = |doing| move |source| OpenError::Io { doing, path: dir.to_owned(), source };
    match storage.list(dir) {
        Ok(_) => return Ok(()),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(other) => return Err(error("read")(other)),
    }
    if let Some(parent) = parent(dir) {
        create_dir(storage, parent)?;
    }
    storage.create_dir(dir).map_err(error("create"))?;
    parent(dir).map_or(Ok(()), |parent| storage.sync_dir(parent).map_err(error("sync the parent of")))
}

/// The directory that a path is named in: `.` for a bare name, none for a root.
fn parent(path: &Path) -> Option<&Path> {
    path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

pub(crate) fn lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn LockGuard>, OpenError> {
    let path = dir.join(LOCK);
    storage.lock(&path).map_err(|error| match error {
        LockError::Held { pid } => OpenError::Locked { dir: dir.to_owned(), pid },
        LockError::Io(source) => OpenError::Io { doing: "lock", path, source },
        other => OpenError::Io { doing: "lock", path, source: io::Error::other(other) },
    })
}

/// Why a directory without a manifest is no database.
pub(crate) fn no_manifest(storage: &dyn Storage, dir: &Path) -> OpenError {
    let missing = storage.list(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let reason = if missing { "it does not exist" } else { "it has no MANIFEST" };
    OpenError::NotADatabase { dir: dir.to_owned(), reason: reason.to_owned() }
}

/// Refuses, without leaving anything there, a directory that holds files and no database.
pub(crate) fn refuse_foreign(storage: &dyn Storage, dir: &Path) -> Result<(), OpenError> {
    let names =
        storage.list(dir).map_err(|source| OpenError::Io { doing: "list", path: dir.to_owned(), source })?;
    let ours = |name: &str| {
        [LOCK, WAL_DIR, RUNS_DIR, ballast::FILE_NAME].contains(&name) || name.starts_with(FILE_NAME)
    };
    match names.iter().find(|name| !ours(name)) {
        Some(foreign) if !names.iter().any(|name| name == FILE_NAME) => Err(OpenError::NotADatabase {
            dir: dir.to_owned(),
            reason: format!("it has no {FILE_NAME} and holds {foreign}"),
        }),
        _ => Ok(()),
    }
}

/// Starts a new database in a directory that has none: its subdirectories, then its manifest. The log follows.
pub(crate) fn begin(storage: &Arc<dyn Storage>, dir: &Path) -> Result<Manifest, OpenError> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    };
    for subdirectory in [WAL_DIR, RUNS_DIR] {
        let path = dir.join(subdirectory);
        storage.create_dir(&path).map_err(io("create", &path))?;
        // A database's files are only ever made after its manifest: with files here, the manifest was lost.
        if !storage.list(&path).map_err(io("list", &path))?.is_empty() {
            return Err(OpenError::Corrupt {
                file: dir.join(FILE_NAME),
                offset: 0,
                reason: format!("it is missing, though {} holds files", path.display()),
            });
        }
    }
    storage.sync_dir(dir).map_err(io("sync", dir))?;
    let manifest = Manifest {
        uuid: Uuid(storage.random().map_err(io("name", dir))?),
        generation: 0,
        epoch: 0,
        wal: WalState { first_segment: None, replay_from: 0, oldest_event: None },
        next_run: 1,
        runs: Vec::new(),
        ranges: Vec::new(),
        versions: Versions::default(),
        clean: None,
    };
    ManifestFile::create(Arc::clone(storage), dir, manifest.clone())
        .map_err(|(path, source)| OpenError::Io { doing: "write", path, source })?;
    Ok(manifest)
}

/// Replays the log into the delta. After a clean close it stays untouched until the first write; otherwise its tail
/// is settled and writing begins in a new segment.
fn open_log(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    manifest_file: &ManifestFile,
    options: &Options,
    delta: &Delta,
    recovered: &mut Recovered,
) -> Result<Log, OpenError> {
    let manifest = manifest_file.current();
    let wal_options = wal_options(options);
    let wal_dir = &dir.join(WAL_DIR);
    let Some(first_segment) = manifest.wal.first_segment else {
        let wal = create_log(storage, wal_dir, &manifest, wal_options)?;
        let first_segment = wal.stats().first_segment;
        // Before the log's first frame: from now on its absence is damage, not a beginning.
        let named = manifest_file.update(|manifest| {
            manifest.epoch = FIRST_EPOCH;
            manifest.wal.first_segment = Some(first_segment);
        });
        let path = manifest_file.path().to_owned();
        named.map_err(|source| OpenError::Io { doing: "write", path, source })?;
        (recovered.epoch, recovered.begun) = (FIRST_EPOCH, true);
        return Ok(Log::Live(Box::new(wal)));
    };
    let clean: Option<CleanMark> = manifest.clean.map(Into::into);
    let expected =
        Expected { uuid: manifest.uuid.0, first_segment, replay_from: manifest.wal.replay_from, clean };
    let mut recovery =
        Recovery::open(Arc::clone(storage), wal_dir, expected, wal_options).map_err(log_error)?;
    replay(&mut recovery, &**storage, dir, manifest_file, options, delta, recovered)?;
    if let Some(mark) = clean {
        recovered.next_offset = mark.next_offset;
        return Ok(Log::Clean(Box::new(recovery)));
    }
    // Settling the tail needs no space and makes no segment: the epoch becomes durable with the first write.
    let (wal, tail) = recovery.finish(recovered.epoch).map_err(log_error)?;
    recovered.recovery.tail = tail_text(&tail);
    recovered.next_offset = wal.next_offset();
    Ok(Log::Live(Box::new(wal)))
}

pub(crate) fn wal_options(options: &Options) -> kyro_wal::Options {
    let mut wal = kyro_wal::Options::default();
    wal.segment_bytes = options.wal_segment_bytes;
    wal.close_slack_bytes = close_slack(options);
    wal.max_payload_bytes = crate::batch::MAX_BATCH_BYTES as u32;
    wal
}

/// How much a clean close leaves in the log that nobody needs: preallocated space, or frames that runs hold too.
pub(crate) fn close_slack(options: &Options) -> u64 {
    let slack = kyro_wal::Options::default().close_slack_bytes;
    slack.min(options.wal_segment_bytes / 16)
}

/// For a log that gets no frame: the next session begins a segment of its own, and this one is as small as one may be.
pub(crate) fn empty_log_options(options: &Options) -> kyro_wal::Options {
    let mut wal = wal_options(options);
    wal.segment_bytes = 0;
    wal
}

/// Makes the log of a new database. Files that are there are what an interrupted beginning left: they hold nothing.
fn create_log(
    storage: &Arc<dyn Storage>,
    wal_dir: &Path,
    manifest: &Manifest,
    options: kyro_wal::Options,
) -> Result<Wal, OpenError> {
    let io = |doing, path: PathBuf| move |source| OpenError::Io { doing, path, source };
    for name in storage.list(wal_dir).map_err(io("list", wal_dir.to_owned()))? {
        let path = wal_dir.join(name);
        storage.remove(&path).map_err(io("remove", path.clone()))?;
    }
    let identity = Identity { uuid: manifest.uuid.0, epoch: FIRST_EPOCH };
    Wal::create(Arc::clone(storage), wal_dir, identity, options).map_err(log_error)
}

fn replay(
    recovery: &mut Recovery,
    storage: &dyn Storage,
    dir: &Path,
    manifest_file: &ManifestFile,
    options: &Options,
    delta: &Delta,
    recovered: &mut Recovered,
) -> Result<(), OpenError> {
    let mut meter = ProgressMeter::new(options, "recover", "bytes");
    let wal_dir = &dir.join(WAL_DIR);
    let replay_from = manifest_file.current().wal.replay_from;
    while let Some(frame) = recovery.next_frame().map_err(log_error)? {
        if frame.count == 0 || frame.first_offset < replay_from {
            continue;
        }
        let (file, offset) = (segment_path(wal_dir, frame.segment), frame.at);
        let payload = Bytes::copy_from_slice(frame.payload);
        let count = u64::from(frame.count);
        if let Some(switch) = Switch::from_payload(&payload) {
            let mut manifest = manifest_file.current();
            let switched = manifest.recover(&switch, frame.first_offset, delta.operations());
            switched.map_err(|reason| OpenError::Corrupt { file, offset, reason })?;
            recovered.runs = OpenedRuns::open(storage, dir, &manifest, options)?;
            manifest_file.amend(|current| *current = manifest);
            recovered.recovery.operations += count;
            continue;
        }
        let applied = delta.apply(frame.first_offset, payload).map_err(|error| OpenError::Corrupt {
            file: file.clone(),
            offset,
            reason: error.to_string(),
        })?;
        if applied.operations != count {
            let reason = format!("a frame of {count} operations holds {}", applied.operations);
            return Err(OpenError::Corrupt { file, offset, reason });
        }
        recovered.oldest_event = recovered.oldest_event.or(applied.first_event);
        recovered.recovery.operations += count;
        let (done, total) = recovery.progress();
        meter.at(done, Some(total));
    }
    Ok(())
}

/// A segment's file, for messages.
pub(crate) fn segment_path(wal_dir: &Path, segment: u64) -> PathBuf {
    wal_dir.join(format!("{segment:016x}.wal"))
}

pub(crate) fn log_error(error: kyro_wal::Error) -> OpenError {
    match error {
        kyro_wal::Error::NewerFormat { file, found, supported } => {
            OpenError::NewerFormat { file, found, supported }
        }
        kyro_wal::Error::Corrupt(damage) => {
            OpenError::Corrupt { file: damage.file.clone(), offset: damage.at, reason: damage.reason() }
        }
        kyro_wal::Error::Io { action, path, source } => OpenError::Io { doing: action, path, source },
        other => OpenError::Log(Box::new(other)),
    }
}

fn tail_text(tail: &Tail) -> Option<String> {
    match tail {
        Tail::Torn { segment, kept, dropped, .. } => Some(format!(
            "segment {segment}: an unfinished write was cut at byte {kept}, {dropped} bytes dropped"
        )),
        _ => None,
    }
}
