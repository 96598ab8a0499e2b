//! Run files and their index files on disk: written, published by name, opened.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use kyro_rmi::{AlignedBytes, BuildOptions, Rmi};
use kyro_snapshot::{Mapping, Run, Value};
use kyro_wal::storage::{Contents, Storage, write_atomically};

use crate::delta::Version;
use crate::error::{MaintenanceError, OpenError, ReadError};
use crate::indexed_run::{IndexedRun, column_of};
use crate::manifest::RunEntry;
use crate::options::Options;
use crate::pace::is_cancelled;
use crate::run_writer::RunWriter;
use crate::shared::{ProgressMeter, Shared};

/// A version of one key, where its value already is.
#[derive(Debug, Clone)]
pub(crate) struct VersionRef<'a> {
    pub(crate) offset: u64,
    /// `None` for a tombstone.
    pub(crate) value: Option<Value<'a>>,
}

impl<'a> From<&'a Version> for VersionRef<'a> {
    fn from(version: &'a Version) -> Self {
        Self { offset: version.offset, value: version.value.as_deref().map(Value::InFile) }
    }
}

/// What a run is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Flush,
    Compact,
    Bulk,
}

impl Task {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Compact => "compact",
            Self::Bulk => "bulk build",
        }
    }
}

/// `runs/{number:016x}.run`
pub(crate) fn run_path(runs_dir: &Path, number: u64) -> PathBuf {
    runs_dir.join(format!("{number:016x}.run"))
}

/// `runs/{number:016x}.idx`
pub(crate) fn index_path(runs_dir: &Path, number: u64) -> PathBuf {
    runs_dir.join(format!("{number:016x}.idx"))
}

/// Writes a run from versions in key order, reads it back, checks all of it, and gives it an index. `None` when
/// there is nothing to write. On return the files are durable under their names; nobody knows of them yet.
pub(crate) fn write_run<'a>(
    shared: &Shared,
    task: Task,
    versions: impl Iterator<Item = Result<(u64, VersionRef<'a>), ReadError>>,
    keep_tombstones: bool,
) -> Result<Option<Arc<IndexedRun>>, MaintenanceError> {
    let mut versions = versions
        .filter(|version| keep_tombstones || !matches!(version, Ok((_, VersionRef { value: None, .. }))));
    let Some(first) = versions.next().transpose()? else { return Ok(None) };
    let number = shared.next_run.fetch_add(1, Ordering::Relaxed);
    let mut entries = std::iter::once(Ok(first)).chain(versions);
    let mut fill = || {
        let mut writer = RunWriter::create(shared, task, temporary_path(shared, number))?;
        entries.try_for_each(|entry| {
            let (key, version) = entry?;
            writer.push(key, &version)
        })?;
        writer.finish(true)
    };
    let filled = fill();
    publish_file(shared, task, number, filled).map(Some)
}

/// The name of a run's file until it is whole.
pub(crate) fn temporary_path(shared: &Shared, number: u64) -> PathBuf {
    shared.runs_dir().join(format!("{number:016x}.run.tmp"))
}

/// Gives a run that was filled at its temporary path its name, its index and its place in the statistics. Where
/// anything failed its files go.
pub(crate) fn publish_file(
    shared: &Shared,
    task: Task,
    number: u64,
    filled: Result<PathBuf, MaintenanceError>,
) -> Result<Arc<IndexedRun>, MaintenanceError> {
    let path = run_path(&shared.runs_dir(), number);
    let named = filled.and_then(|temporary| name_run(shared, task, number, &temporary, &path));
    if named.is_err() {
        // Nobody has heard of it. Best effort: what stays is removed when the directory is next opened.
        shared.storage.remove(&temporary_path(shared, number)).ok();
        remove_files(shared, number);
    }
    let run = named?;
    let stats = &shared.maintenance;
    let written = if task == Task::Compact { &stats.compaction_bytes } else { &stats.flush_bytes };
    written.fetch_add(run.file_bytes(), Ordering::Relaxed);
    Ok(Arc::new(run))
}

/// Gives a synced run its name, reads it back, checks all of it and gives it an index.
fn name_run(
    shared: &Shared,
    task: Task,
    number: u64,
    temporary: &Path,
    path: &Path,
) -> Result<IndexedRun, MaintenanceError> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| MaintenanceError::Io { doing, path, source }
    };
    let runs_dir = shared.runs_dir();
    shared.storage.rename(temporary, path).map_err(io("rename", temporary))?;
    shared.storage.sync_dir(&runs_dir).map_err(io("sync", &runs_dir))?;
    let (file, run) = load_run(&*shared.storage, path).map_err(|error| unverified(path, &error))?;
    let mut meter = ProgressMeter::new(&shared.options, "verify", "bytes");
    run.verify(&mut |done, total| meter.at(done, Some(total))).map_err(|damage| unverified(path, &damage))?;
    go_on(shared, task)?;
    let index = build_index(shared, &run, number)?;
    Ok(IndexedRun::new(number, path.to_owned(), file, run, index, &shared.options))
}

/// Ends a merge when the engine closes, and a merge or a flush when whoever asked for it no longer wants it. A flush of
/// the engine's own goes on: what it has done would have to be done again.
fn go_on(shared: &Shared, task: Task) -> Result<(), MaintenanceError> {
    let stops = task == Task::Compact && shared.health.is_closed();
    if stops {
        Err(MaintenanceError::Closed)
    } else if task != Task::Bulk && is_cancelled() {
        Err(MaintenanceError::Cancelled)
    } else {
        Ok(())
    }
}

/// Removes the files of a run that nothing names. One that cannot be removed now is removed at the next open.
pub(crate) fn remove_files(shared: &Shared, number: u64) {
    let dir = shared.runs_dir();
    for path in [run_path(&dir, number), index_path(&dir, number)] {
        shared.storage.remove(&path).ok();
    }
}

fn unverified(path: &Path, reason: &dyn std::fmt::Display) -> MaintenanceError {
    MaintenanceError::Unverified { file: path.to_owned(), reason: reason.to_string() }
}

/// Trains the index of a run, every key looked up through it, and writes it beside the run.
pub(crate) fn build_index(
    shared: &Shared,
    run: &Run<Bytes>,
    number: u64,
) -> Result<Rmi<Bytes>, MaintenanceError> {
    let start = Instant::now();
    let path = index_path(&shared.runs_dir(), number);
    // Every key has been looked up through it.
    let built = train_index(run).map_err(|reason| unverified(&path, &reason))?;
    let bytes = built.encode(&column_of(run)).map_err(|error| unverified(&path, &error))?;
    write_atomically(&*shared.storage, &path, &bytes).map_err(|source| MaintenanceError::Io {
        doing: "write",
        path: path.clone(),
        source,
    })?;
    // What readers get is what is on disk: it must answer as the one that was verified.
    let index = load_index(&*shared.storage, &path, run).map_err(|reason| unverified(&path, &reason))?;
    if !index.answers_as(&built) && !cfg!(mutant = "publish_index_unverified") {
        return Err(unverified(&path, &"it reads back as another index than was built"));
    }
    let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    shared.maintenance.last_index_nanos.store(nanos, Ordering::Relaxed);
    shared.maintenance.index_builds.fetch_add(1, Ordering::Relaxed);
    Ok(index)
}

/// The bytes of a new index. The key column must have been verified.
pub(crate) fn train(run: &Run<Bytes>) -> Result<Vec<u8>, String> {
    train_index(run)?.encode(&column_of(run)).map_err(|error| error.to_string())
}

fn train_index(run: &Run<Bytes>) -> Result<Rmi<AlignedBytes>, String> {
    let mut options = BuildOptions::default();
    // Beside readers and writers: one thread is what maintenance takes.
    options.threads = Some(NonZeroUsize::MIN);
    Rmi::build(run.keys(), &options).map_err(|error| error.to_string())
}

/// Opens a run that the manifest names, and its index. Where that is missing or damaged it is trained again, and its
/// bytes are given, to be written once everything else has been opened.
pub(crate) fn open_run(
    storage: &dyn Storage,
    runs_dir: &Path,
    entry: &RunEntry,
    options: &Options,
) -> Result<(IndexedRun, Option<Vec<u8>>), OpenError> {
    let path = run_path(runs_dir, entry.number);
    let (file, run) = load_run(storage, &path)?;
    let corrupt = |reason| OpenError::Corrupt { file: path.clone(), offset: 0, reason };
    if !entry.is(&run) {
        return Err(corrupt("it is not the run that the manifest names".to_owned()));
    }
    if let Ok(index) = load_index(storage, &index_path(runs_dir, entry.number), &run) {
        let run = IndexedRun::new(entry.number, path, file, run, index, options).at_offset(entry.offset);
        return Ok((run, None));
    }
    let mut meter = ProgressMeter::new(options, "index", "bytes");
    run.verify(&mut |done, total| meter.at(done, Some(total))).map_err(|damage| OpenError::Corrupt {
        file: path.clone(),
        offset: damage.position(),
        reason: damage.to_string(),
    })?;
    let bytes = train(&run).map_err(corrupt)?;
    let index = open_index(&run, Bytes::from_owner(Mapping::from_bytes(bytes.clone()))).map_err(corrupt)?;
    let run = IndexedRun::new(entry.number, path, file, run, index, options).at_offset(entry.offset);
    Ok((run, Some(bytes)))
}

/// A run and its whole file, which share their bytes.
pub(crate) fn load_run(storage: &dyn Storage, path: &Path) -> Result<(Bytes, Run<Bytes>), OpenError> {
    let bytes = map(storage, path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Corrupt {
            file: path.to_owned(),
            offset: 0,
            reason: "the manifest names it and it is missing".to_owned(),
        },
        _ => OpenError::Io { doing: "open", path: path.to_owned(), source },
    })?;
    let run = Run::open(bytes.clone()).map_err(|error| match error {
        kyro_snapshot::OpenError::NewerVersion { found, supported } => {
            OpenError::NewerFormat { file: path.to_owned(), found, supported }
        }
        other => OpenError::Corrupt { file: path.to_owned(), offset: 0, reason: other.to_string() },
    })?;
    Ok((bytes, run))
}

pub(crate) fn load_index(storage: &dyn Storage, path: &Path, run: &Run<Bytes>) -> Result<Rmi<Bytes>, String> {
    let bytes = map(storage, path).map_err(|error| error.to_string())?;
    open_index(run, bytes)
}

fn open_index(run: &Run<Bytes>, bytes: Bytes) -> Result<Rmi<Bytes>, String> {
    let index = Rmi::open(bytes, &column_of(run)).map_err(|error| error.to_string())?;
    // A thousandth of the data, read once: a damaged index is noticed here, not as slow reads later.
    index.verify_checksums().map_err(|error| error.to_string())?;
    Ok(index)
}

/// An immutable file's bytes: mapped where there is a real file.
pub(crate) fn map(storage: &dyn Storage, path: &Path) -> io::Result<Bytes> {
    let mapping = match storage.load(path)? {
        Contents::File(file) => Mapping::map(&file)?,
        Contents::Bytes(bytes) => Mapping::from_bytes(bytes),
    };
    Ok(Bytes::from_owner(mapping))
}
