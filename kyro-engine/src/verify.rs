//! Verifying a database that is not open: everything is read and checked, nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kyro_wal::storage::{LockGuard, RealStorage, Storage};
use kyro_wal::{Expected, Recovery};

use crate::batch::Operations;
use crate::error::OpenError;
use crate::manifest::{Manifest, ManifestFile};
use crate::open::{LOCK, lock, log_error, no_manifest, segment_path, wal_options};
use crate::options::{OnProgress, Options};
use crate::run_files::{index_path, load_index, load_run, run_path};
use crate::shared::{ProgressMeter, RUNS_DIR, WAL_DIR};

/// What [`verify`] read, and what it found wrong.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Entries of runs that were read.
    pub entries: u64,
    /// Operations in the log that were read.
    pub operations: u64,
    /// Bytes of runs and log that were read.
    pub bytes: u64,
    /// Everything that is wrong, in the order of reading. A damaged file ends the reading of that file only.
    pub damage: Vec<Damage>,
    /// Files that no manifest names: left by an interrupted flush or compaction, removed by the next open.
    pub unnamed: Vec<PathBuf>,
}

/// One thing that is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub struct Damage {
    /// What refuses, with file, byte and reason.
    pub error: OpenError,
    /// Whether it is an index: a cache, which the next open trains again. Everything else loses data.
    pub rebuildable: bool,
}

impl Damage {
    /// Damage that loses data.
    pub fn new(error: OpenError) -> Self {
        Self { error, rebuildable: false }
    }
}

/// Reads every byte of the database in `dir` and checks it: manifest, runs, indexes (every key looked up), log.
/// A torn end of the log is not damage: the next open cuts it. No file is made: a backup that nobody has opened gets no
/// `LOCK`.
///
/// # Errors
/// What keeps it from looking at all: the directory is locked by another process, or has no readable manifest.
/// Everything else is in the report.
pub fn verify(dir: impl AsRef<Path>, on_progress: Option<OnProgress>) -> Result<VerifyReport, OpenError> {
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    verify_on(&storage, dir.as_ref(), on_progress)
}

/// As [`verify`], on any storage.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    on_progress: Option<OnProgress>,
) -> Result<VerifyReport, OpenError> {
    let options = Options { on_progress, ..Options::default() };
    let no_manifest = || no_manifest(&**storage, dir);
    // Looked at before the lock is taken: it says why a directory of something else is refused.
    ManifestFile::read(&**storage, dir)?.ok_or_else(no_manifest)?;
    let _lock = hold(&**storage, dir)?;
    let manifest = ManifestFile::read(&**storage, dir)?.ok_or_else(no_manifest)?;
    let mut report = VerifyReport::default();
    verify_runs(&**storage, dir, &manifest, &options, &mut report);
    if let Err(error) = verify_log(storage, &dir.join(WAL_DIR), &manifest, &options, &mut report) {
        report.damage.push(Damage { error, rebuildable: false });
    }
    Ok(report)
}

/// The lock of a directory that an engine has had open. One without a lock file, such as a backup, is nobody's, and gets none.
fn hold(storage: &dyn Storage, dir: &Path) -> Result<Option<Box<dyn LockGuard>>, OpenError> {
    let names =
        storage.list(dir).map_err(|source| OpenError::Io { doing: "list", path: dir.to_owned(), source })?;
    names.iter().any(|name| name == LOCK).then(|| lock(storage, dir)).transpose()
}

fn verify_runs(
    storage: &dyn Storage,
    dir: &Path,
    manifest: &Manifest,
    options: &Options,
    report: &mut VerifyReport,
) {
    let runs_dir = dir.join(RUNS_DIR);
    let mut named = Vec::new();
    for entry in manifest.all_runs() {
        let path = run_path(&runs_dir, entry.number);
        let index = index_path(&runs_dir, entry.number);
        let corrupt =
            |file: &Path, offset, reason| OpenError::Corrupt { file: file.to_owned(), offset, reason };
        let read = load_run(storage, &path).and_then(|(_, run)| {
            if !entry.is(&run) {
                return Err(corrupt(&path, 0, "it is not the run that the manifest names".to_owned()));
            }
            let mut meter = ProgressMeter::new(options, "verify", "bytes");
            run.verify(&mut |done, total| meter.at(done, Some(total)))
                .map_err(|damage| corrupt(&path, damage.position(), damage.to_string()))?;
            Ok(run)
        });
        match read {
            Err(error) => report.damage.push(Damage { error, rebuildable: false }),
            Ok(run) => {
                report.entries += run.len() as u64;
                report.bytes += run.file_bytes();
                let checked = load_index(storage, &index, &run)
                    .and_then(|found| found.verify(run.keys()).map_err(|error| error.to_string()));
                if let Err(reason) = checked {
                    report.damage.push(Damage { error: corrupt(&index, 0, reason), rebuildable: true });
                }
            }
        }
        named.extend([path, index]);
    }
    let files = storage.list(&runs_dir).unwrap_or_default();
    report.unnamed =
        files.iter().map(|name| runs_dir.join(name)).filter(|path| !named.contains(path)).collect();
}

fn verify_log(
    storage: &Arc<dyn Storage>,
    wal_dir: &Path,
    manifest: &Manifest,
    options: &Options,
    report: &mut VerifyReport,
) -> Result<(), OpenError> {
    let Some(first_segment) = manifest.wal.first_segment else { return Ok(()) };
    let expected = Expected {
        uuid: manifest.uuid.0,
        first_segment,
        replay_from: manifest.wal.replay_from,
        clean: manifest.clean.map(Into::into),
    };
    let open = |expected| Recovery::open(Arc::clone(storage), wal_dir, expected, wal_options(options));
    let extent = open(expected).map_err(log_error)?.extent();
    // Once more from the oldest offset on: a replay would skip what the runs hold.
    let mut log = open(Expected { replay_from: extent.oldest_offset, ..expected }).map_err(log_error)?;
    let mut meter = ProgressMeter::new(options, "verify", "bytes");
    while let Some(frame) = log.next_frame().map_err(log_error)? {
        if frame.count == 0 {
            continue;
        }
        let (file, offset) = (segment_path(wal_dir, frame.segment), frame.at);
        let corrupt = |reason| OpenError::Corrupt { file, offset, reason };
        let count = u64::from(frame.count);
        let operations = Operations::new(Bytes::copy_from_slice(frame.payload));
        let found =
            operations.and_then(|mut all| all.try_fold(0, |count, operation| operation.map(|_| count + 1)));
        match found {
            Ok(found) if found == count => report.operations += count,
            Ok(found) => return Err(corrupt(format!("a frame of {count} operations holds {found}"))),
            Err(error) => return Err(corrupt(error.to_string())),
        }
        let (done, total) = log.progress();
        meter.at(done, Some(total));
    }
    report.bytes += log.progress().0;
    Ok(())
}
