//! Building a database from many records at once: straight to one run with its verified index, no log, no delta.

mod sort;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kyro_snapshot::Value;
use kyro_wal::storage::{LockGuard, RealStorage, Storage};
use kyro_wal::{Identity, Wal};

use crate::error::{MaintenanceError, OpenError, ReadError};
use crate::maintenance::{entry, remove_orphans};
use crate::manifest::{FILE_NAME, ManifestFile};
use crate::open::{FIRST_EPOCH, begin, create_dir, empty_log_options, lock, log_error, refuse_foreign};
use crate::options::Options;
use crate::run_files::{Task, VersionRef, publish_file, temporary_path};
use crate::run_writer::RunWriter;
use crate::shared::Shared;
use crate::sources::Sources;

use sort::Sorter;

/// What becomes of a key that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Duplicates {
    /// The record that came last is kept, as if each had been put in turn.
    #[default]
    LastWins,
    /// The build ends with [`BulkError::Duplicate`].
    Refuse,
}

/// How a [`BulkBuild`] works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BulkOptions {
    /// Memory for records that come out of order, in bytes; beyond it they are sorted into temporary files. Records
    /// in order need none of it. Default 256 MiB; at most half of [`Options::memory_budget`], where there is one.
    pub memory_bytes: u64,
    /// What becomes of a key that comes twice. Default: the last one wins.
    pub duplicates: Duplicates,
    /// Limits, segment size and progress as for [`Engine::open`](crate::Engine::open).
    pub engine: Options,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, duplicates: Duplicates::LastWins, engine: Options::default() }
    }
}

/// What a [`BulkBuild`] made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkReport {
    /// Records that came.
    pub records: u64,
    /// Keys that are there.
    pub keys: u64,
    /// The run file's size in bytes.
    pub bytes: u64,
    /// Temporary sorted files that were needed.
    pub spills: u64,
    /// The offset that the first write will get.
    pub next_offset: u64,
}

/// Why a [`BulkBuild`] made no database. The directory opens as an empty one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The directory holds a database already.
    #[error("{} holds a database already; name an empty or new directory", .dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A key came twice, and [`Duplicates::Refuse`] was asked for.
    #[error("key {key} came twice")]
    Duplicate {
        /// The key.
        key: u64,
    },
    /// A value is over the limit. The build may go on without it.
    #[error("the value of key {key} is {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The key.
        key: u64,
        /// The value's size in bytes.
        bytes: u64,
        /// [`Options::max_value_bytes`].
        limit: u64,
    },
    /// The run or its index could not be written.
    #[error(transparent)]
    Write(#[from] MaintenanceError),
    /// An earlier error ended the build.
    #[error("an earlier error ended the build; start again")]
    Ended,
}

impl From<ReadError> for BulkError {
    fn from(error: ReadError) -> Self {
        Self::Write(error.into())
    }
}

/// Builds a database in a fresh directory from records in any order.
///
/// Each record is as if put in turn: it gets the next offset, from 0 on. Records in increasing key order go straight
/// into the run; from the first one that is not, they are sorted, within [`BulkOptions::memory_bytes`] and beyond that
/// in temporary files. Nothing is part of the database before [`BulkBuild::finish`] returns: dropped before, or
/// interrupted by a crash, it leaves an empty one.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use kyro_engine::{BulkBuild, BulkOptions, Engine, Options};
/// let dir = tempfile::tempdir()?;
/// let mut build = BulkBuild::create(dir.path(), BulkOptions::default())?;
/// for key in 0..1000_u64 {
///     build.push(key, &key.to_le_bytes())?;
/// }
/// assert_eq!(build.finish()?.keys, 1000);
/// let engine = Engine::open(dir.path(), Options::default())?;
/// assert_eq!(engine.get(7)?.as_deref(), Some(&7_u64.to_le_bytes()[..]));
/// # engine.close()?;
/// # Ok(()) }
/// ```
pub struct BulkBuild {
    shared: Arc<Shared>,
    duplicates: Duplicates,
    max_value_bytes: usize,
    memory_bytes: u64,
    /// The run's number.
    number: u64,
    records: u64,
    /// The newest record, while its key may come again.
    last: Option<(u64, u64)>,
    last_value: Vec<u8>,
    stage: Stage,
    /// Held to the end.
    _lock: Box<dyn LockGuard>,
}

impl std::fmt::Debug for BulkBuild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkBuild").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

/// Where records go.
enum Stage {
    /// In order so far: into the run.
    Streaming(Box<RunWriter>),
    /// Out of order: to be sorted.
    Sorting(Sorter),
    Ended,
}

impl BulkBuild {
    /// Begins in an empty or missing directory.
    ///
    /// # Errors
    /// [`BulkError::NotEmpty`], [`BulkError::Open`] as for [`Engine::open`](crate::Engine::open).
    pub fn create(dir: impl AsRef<Path>, options: BulkOptions) -> Result<Self, BulkError> {
        Self::create_on(Arc::new(RealStorage), dir, options)
    }

    /// As [`BulkBuild::create`], on any storage.
    ///
    /// # Errors
    /// As [`BulkBuild::create`].
    pub fn create_on(
        storage: Arc<dyn Storage>,
        dir: impl AsRef<Path>,
        options: BulkOptions,
    ) -> Result<Self, BulkError> {
        let dir = dir.as_ref();
        create_dir(&*storage, dir)?;
        refuse_foreign(&*storage, dir)?;
        let lock = lock(&*storage, dir)?;
        let manifest = match ManifestFile::read(&*storage, dir)? {
            // What an earlier build left that did not finish, or an engine that was never written to.
            Some(found) if found.wal.first_segment.is_none() => found,
            Some(_) => return Err(BulkError::NotEmpty { dir: dir.to_owned() }),
            None => begin(&storage, dir)?,
        };
        let manifest = ManifestFile::hold(Arc::clone(&storage), dir, manifest);
        let memory_bytes = options.memory_bytes.min(options.engine.sort_share());
        let shared =
            Shared::new(storage, dir, options.engine.with_value_cache(), manifest, Sources::default(), 0);
        remove_orphans(&shared);
        let number = shared.next_run.fetch_add(1, Ordering::Relaxed);
        let run = RunWriter::create(&shared, Task::Bulk, temporary_path(&shared, number))?;
        Ok(Self {
            duplicates: options.duplicates,
            max_value_bytes: shared.options.max_value_bytes as usize,
            memory_bytes,
            shared: Arc::new(shared),
            number,
            records: 0,
            last: None,
            last_value: Vec::new(),
            stage: Stage::Streaming(Box::new(run)),
            _lock: lock,
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`BulkError::TooLarge`] and [`BulkError::Duplicate`] leave the build as it was; after any other it is
    /// [`BulkError::Ended`].
    pub fn push(&mut self, key: u64, value: &[u8]) -> Result<(), BulkError> {
        if value.len() > self.max_value_bytes {
            let (bytes, limit) = (value.len() as u64, self.max_value_bytes as u64);
            return Err(BulkError::TooLarge { key, bytes, limit });
        }
        let offset = self.records;
        match self.last {
            Some((last, _)) if key == last && self.duplicates == Duplicates::Refuse => {
                return Err(BulkError::Duplicate { key });
            }
            Some((last, written)) if key != last => {
                if key < last {
                    self.sort_from_here()?;
                }
                let pushed = self.stage.push(last, written, &self.last_value);
                pushed.map_err(|error| self.ended(error))?;
            }
            _ => {}
        }
        self.records += 1;
        self.last = Some((key, offset));
        self.last_value.clear();
        self.last_value.extend_from_slice(value);
        Ok(())
    }

    /// Ends the input, writes and verifies run and index, and makes them the database.
    ///
    /// # Errors
    /// See [`BulkError`]; there is then an empty database.
    pub fn finish(mut self) -> Result<BulkReport, BulkError> {
        if let Some((last, written)) = self.last.take() {
            self.stage.push(last, written, &self.last_value)?;
        }
        let (filled, spills) = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Ended => return Err(BulkError::Ended),
            Stage::Streaming(run) => (run.finish(true)?, 0),
            Stage::Sorting(sorter) => {
                let path = temporary_path(&self.shared, self.number);
                let mut run = RunWriter::create(&self.shared, Task::Bulk, path)?;
                let spills = sorter.spills();
                sorter.merge(|key, version| run.push(key, version))?;
                (run.finish(true)?, spills)
            }
        };
        let mut report =
            BulkReport { records: self.records, spills, next_offset: self.records, ..BulkReport::default() };
        let mut named = None;
        if self.records > 0 {
            let run = publish_file(&self.shared, Task::Bulk, self.number, Ok(filled))?;
            (report.keys, report.bytes) = (run.len(), run.file_bytes());
            named = Some(entry(&run));
        } else {
            self.shared.storage.remove(&filled).ok();
        }
        let shared = &self.shared;
        begin_log_at(shared, self.records, |manifest| {
            manifest.runs = named.into_iter().collect();
            manifest.next_run = shared.next_run.load(Ordering::Relaxed);
        })?;
        Ok(report)
    }

    /// From now on records are sorted. Those in the run so far are the first sorted part.
    fn sort_from_here(&mut self) -> Result<(), BulkError> {
        if !matches!(self.stage, Stage::Streaming(_)) {
            return Ok(());
        }
        let Stage::Streaming(run) = std::mem::replace(&mut self.stage, Stage::Ended) else { return Ok(()) };
        let mut sorter = Sorter::new(Arc::clone(&self.shared), self.memory_bytes, self.duplicates);
        if run.entries() == 0 {
            self.shared.storage.remove(run.path()).ok();
        } else {
            sorter.adopt(*run)?;
        }
        self.stage = Stage::Sorting(sorter);
        Ok(())
    }

    fn ended(&mut self, error: BulkError) -> BulkError {
        self.stage = Stage::Ended;
        error
    }
}

impl Stage {
    #[inline]
    fn push(&mut self, key: u64, offset: u64, value: &[u8]) -> Result<(), BulkError> {
        match self {
            Self::Streaming(run) => {
                Ok(run.push(key, &VersionRef { offset, value: Some(Value::InFile(value)) })?)
            }
            Self::Sorting(sorter) => sorter.push(key, offset, value),
            Self::Ended => Err(BulkError::Ended),
        }
    }
}

/// Makes an empty log that starts at `next_offset`, closes it cleanly, and publishes it with what `name` adds: the
/// one step by which the files so far become a database.
pub(crate) fn begin_log_at(
    shared: &Shared,
    next_offset: u64,
    name: impl FnOnce(&mut crate::manifest::Manifest),
) -> Result<(), OpenError> {
    let wal_dir = shared.wal_dir();
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    };
    for left in shared.storage.list(&wal_dir).map_err(io("list", &wal_dir))? {
        let path = wal_dir.join(left);
        shared.storage.remove(&path).map_err(io("remove", &path))?;
    }
    let identity = Identity { uuid: shared.uuid, epoch: FIRST_EPOCH };
    let storage = Arc::clone(&shared.storage);
    let wal = Wal::create_at(storage, &wal_dir, identity, empty_log_options(&shared.options), next_offset)
        .map_err(log_error)?;
    let first_segment = wal.stats().first_segment;
    let mark = wal.close().map_err(log_error)?;
    let path = shared.dir.join(FILE_NAME);
    let named = shared.manifest.update(|manifest| {
        manifest.epoch = manifest.epoch.max(FIRST_EPOCH);
        manifest.wal.first_segment = Some(first_segment);
        manifest.wal.replay_from = next_offset;
        manifest.clean = Some(mark.into());
        name(manifest);
    });
    named.map_err(|source| OpenError::Io { doing: "write", path, source })
}
