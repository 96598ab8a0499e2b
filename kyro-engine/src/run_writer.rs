//! Writing one run file, entry by entry: to a temporary name, at its task's pace, within bounded memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kyro_snapshot::{MakeScratch, RunInfo, Scratch, Writer};
use kyro_wal::storage::{Storage, StorageFile};

use crate::error::MaintenanceError;
use crate::pace::Pace;
use crate::run_files::{Task, VersionRef};
use crate::shared::{ProgressMeter, Shared};

/// Bytes written before they are synced, so that the last sync, and others of the device meanwhile, do not wait long.
const SYNC_BYTES: u64 = 16 << 20;

/// A run file that grows. Whoever drops it before [`RunWriter::finish`] removes its file.
pub(crate) struct RunWriter {
    path: PathBuf,
    writer: Writer<Sequential>,
    meter: ProgressMeter,
}

impl RunWriter {
    /// Begins a run in a new file at `path`. Its columns' temporary files are beside it.
    pub(crate) fn create(shared: &Shared, task: Task, path: PathBuf) -> Result<Self, MaintenanceError> {
        let io = |source| MaintenanceError::Io { doing: "write", path: path.clone(), source };
        let uuid = shared.storage.random().map_err(io)?;
        let file = shared.storage.create(&path).map_err(io)?;
        let info = RunInfo { uuid, database: shared.uuid, epoch: shared.manifest.current().epoch };
        let out = Sequential { file, at: 0, synced: 0, pace: Pace::new(shared, task) };
        let writer = Writer::with_compression(out, info, shared.options.compression);
        let writer = writer.map_err(|error| refused(&path, error))?;
        let writer = writer
            .spill_beyond(shared.options.column_share(), scratch_files(Arc::clone(&shared.storage), &path));
        Ok(Self { path, writer, meter: ProgressMeter::new(&shared.options, task.name(), "entries") })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn entries(&self) -> u64 {
        self.writer.entries()
    }

    /// Adds the next entry; keys must increase.
    #[inline]
    pub(crate) fn push(&mut self, key: u64, version: &VersionRef<'_>) -> Result<(), MaintenanceError> {
        let pushed = self.writer.push(key, version.offset, version.value.as_deref());
        pushed.map_err(|error| refused(&self.path, error))?;
        if self.writer.entries().is_multiple_of(4096) {
            self.meter.at(self.writer.entries(), None);
        }
        Ok(())
    }

    /// Ends the run; with `durable` it is synced.
    pub(crate) fn finish(mut self, durable: bool) -> Result<PathBuf, MaintenanceError> {
        let path = self.path;
        let (out, summary) = self.writer.finish().map_err(|error| refused(&path, error))?;
        if durable {
            out.file.sync_all().map_err(|source| MaintenanceError::Io {
                doing: "sync",
                path: path.clone(),
                source,
            })?;
        }
        self.meter.done(summary.entries);
        Ok(path)
    }
}

fn refused(path: &Path, error: kyro_snapshot::WriteError) -> MaintenanceError {
    match error {
        kyro_snapshot::WriteError::Io { source, .. } => Pace::stopped_by(&source)
            .unwrap_or_else(|| MaintenanceError::Io { doing: "write", path: path.to_owned(), source }),
        other => MaintenanceError::Unverified { file: path.to_owned(), reason: other.to_string() },
    }
}

/// A file written from front to back, at the pace of its task.
struct Sequential {
    file: Box<dyn StorageFile>,
    at: u64,
    synced: u64,
    pace: Pace,
}

impl io::Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pace.before(bytes.len() as u64)?;
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced >= SYNC_BYTES && self.pace.is_gentle() {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A column's temporary file. It is removed when it is dropped, or when the directory is next opened.
#[derive(Debug)]
struct ScratchFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    file: Box<dyn StorageFile>,
    at: u64,
}

/// Tells the scratch files of a process apart.
static SCRATCH_FILES: AtomicU64 = AtomicU64::new(0);

fn scratch_files(storage: Arc<dyn Storage>, beside: &Path) -> MakeScratch {
    let beside = beside.to_owned();
    Box::new(move || {
        let number = SCRATCH_FILES.fetch_add(1, Ordering::Relaxed);
        let path = beside.with_extension(format!("column{number}.tmp"));
        let file = storage.create(&path)?;
        Ok(Box::new(ScratchFile { storage: Arc::clone(&storage), path, file, at: 0 }))
    })
}

impl Scratch for ScratchFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if self.file.read_at(buffer, at)? == buffer.len() {
            return Ok(());
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        self.storage.remove(&self.path).ok();
    }
}
