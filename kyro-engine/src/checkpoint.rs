//! Checkpoints: a consistent, verified copy of the database in a new directory, while it is read and written.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use kyro_wal::{Identity, Reader, Recovery, Wal};

use crate::engine::Engine;
use crate::error::{MaintenanceError, OpenError};
use crate::manifest::{FILE_NAME, Manifest, ManifestFile, RunEntry};
use crate::open::{create_dir, empty_log_options, log_error, wal_options};
use crate::pace;
use crate::run_files::{index_path, load_index, load_run, run_path};
use crate::shared::{RUNS_DIR, Shared, WAL_DIR};

/// What a checkpoint holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Operations below this offset are in it.
    pub next_offset: u64,
    /// Its runs.
    pub runs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are second names of the originals, and take no space of their own until the originals go.
    pub linked: u64,
    /// Files that are second names of files in [`CheckpointOptions::base`].
    pub reused: u64,
    /// Files that had to be copied.
    pub copied: u64,
    /// Bytes of those.
    pub copied_bytes: u64,
}

/// How a checkpoint is made; see [`Engine::checkpoint_with`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointOptions {
    /// An earlier checkpoint on the file system of the new one: runs that are in it already get second names instead of
    /// being copied again. Read whole and verified before they are taken. Default: none.
    pub base: Option<PathBuf>,
    /// Whether files of the database itself are copied even where a second name would do, so that damage to one is not
    /// damage to the other. Default false.
    pub copy: bool,
}

/// Why there is no checkpoint. Nothing of it is left under its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The directory is there already.
    #[error("{} is there already; name a directory that does not exist", .dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The flush that a checkpoint begins with failed.
    #[error(transparent)]
    Flush(#[from] MaintenanceError),
    /// A file of the copy could not be made, or did not hold what it should.
    #[error("the checkpoint could not be made")]
    Copy(#[source] OpenError),
}

/// Frames are written to the copy of the log when this many bytes are gathered.
const GROUP_BYTES: usize = 1 << 20;

impl Engine {
    /// Makes a copy of the database in `to`, a directory that does not exist: everything acknowledged before the call,
    /// nothing in part. It is opened like any other.
    ///
    /// Flushes first. Runs get second names (hard links), or are copied where `to` is on another file system; the log
    /// is fresh, with the events that have no key. Everything is made in `to` with `.partial` appended, verified, and
    /// then named in one step. Writers go on; a compaction goes on, but keeps what it has merged until this is done.
    ///
    /// Of versions, the content alone is copied, with its number and label; those that are kept beside it are not, and the
    /// copy's [`Engine::versions`] does not name them: there is nothing to roll back to.
    ///
    /// The copy is the same database, by its UUID: of the two, let one go on being written.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn checkpoint(&self, to: impl AsRef<Path>) -> Result<CheckpointReport, CheckpointError> {
        self.checkpoint_with(to, &CheckpointOptions::default())
    }

    /// As [`Engine::checkpoint`], incremental above an earlier one: a run never changes once it is there, so only runs that
    /// are new since then are copied.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use kyro_engine::{CheckpointOptions, Engine, Options};
    /// # let place = tempfile::tempdir()?;
    /// # let at = |name: &str| place.path().join(name);
    /// let engine = Engine::open(at("data"), Options::default())?;
    /// engine.put(1, "one")?;
    /// let mut options = CheckpointOptions::default();
    /// options.copy = true;
    /// assert_eq!(engine.checkpoint_with(at("monday"), &options)?.reused, 0);
    /// engine.put(2, "two")?;
    /// options.base = Some(at("monday"));
    /// let tuesday = engine.checkpoint_with(at("tuesday"), &options)?;
    /// assert_eq!((tuesday.runs, tuesday.reused), (2, 2)); // the first run and its index are not copied again
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Engine::checkpoint`]. A base that is missing or damaged is no error: what it lacks is copied.
    pub fn checkpoint_with(
        &self,
        to: impl AsRef<Path>,
        options: &CheckpointOptions,
    ) -> Result<CheckpointReport, CheckpointError> {
        let to = to.as_ref();
        let shared = self.shared();
        if shared.storage.list(to).is_ok() || shared.storage.len(to).is_ok() {
            return Err(CheckpointError::Exists { dir: to.to_owned() });
        }
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let base = options.base.as_ref().map(|base| base.join(RUNS_DIR));
        let copy = Copy { shared, dir: PathBuf::from(partial), base, copies: options.copy };
        let made = copy.make(to);
        if made.is_err() {
            copy.remove();
        }
        made
    }

    /// As [`Engine::checkpoint_with`], until `cancel` becomes true: it ends before the next run, and nothing of it stays.
    ///
    /// # Errors
    /// [`MaintenanceError::Cancelled`] in [`CheckpointError::Flush`]; otherwise as [`Engine::checkpoint_with`].
    pub fn checkpoint_unless(
        &self,
        to: impl AsRef<Path>,
        options: &CheckpointOptions,
        cancel: &Arc<AtomicBool>,
    ) -> Result<CheckpointReport, CheckpointError> {
        pace::cancellable(cancel, || self.checkpoint_with(to, options))
    }
}

/// A checkpoint that is being made.
struct Copy<'a> {
    shared: &'a Shared,
    dir: PathBuf,
    /// Where the runs of an earlier one are.
    base: Option<PathBuf>,
    copies: bool,
}

impl Copy<'_> {
    fn make(&self, to: &Path) -> Result<CheckpointReport, CheckpointError> {
        let storage = &*self.shared.storage;
        // One that a crash interrupted.
        self.remove();
        let (runs_dir, wal_dir) = (self.dir.join(RUNS_DIR), self.dir.join(WAL_DIR));
        for dir in [&self.dir, &runs_dir, &wal_dir] {
            create_dir(storage, dir).map_err(CheckpointError::Copy)?;
        }
        let flushing = self.shared.take_flush_turn()?;
        flushing.flush()?;
        // A flush would purge the log that is copied, a merge would remove the runs that are linked.
        let _names = self.shared.run_names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut manifest = self.shared.manifest.current();
        manifest.versions.kept.clear();
        self.copy_log(&wal_dir, &mut manifest).map_err(CheckpointError::Copy)?;
        drop(flushing);
        let mut report =
            CheckpointReport { next_offset: manifest.wal.replay_from, ..CheckpointReport::default() };
        for entry in &manifest.runs {
            if let Some(stopped) = pace::stopped(self.shared) {
                return Err(stopped.into());
            }
            self.link_run(&runs_dir, entry, &mut report).map_err(CheckpointError::Copy)?;
        }
        self.publish(to, manifest).map_err(CheckpointError::Copy)?;
        Ok(report)
    }

    /// Makes the copy's log: empty, or with the frames from the oldest event without a key on, at their offsets.
    fn copy_log(&self, wal_dir: &Path, manifest: &mut Manifest) -> Result<(), OpenError> {
        let shared = self.shared;
        let end = manifest.wal.replay_from;
        let identity = Identity { uuid: shared.uuid, epoch: manifest.epoch };
        let create = |options, first_offset| {
            Wal::create_at(Arc::clone(&shared.storage), wal_dir, identity, options, first_offset)
                .map_err(log_error)
        };
        let mut copy: Option<Wal> = None;
        if let Some(event) = manifest.wal.oldest_event.filter(|event| *event < end) {
            let storage = Arc::clone(&shared.storage);
            let mut log = Reader::open(storage, &shared.wal_dir(), shared.uuid, event).map_err(log_error)?;
            while let Some(frame) = log.next_frame(end).map_err(log_error)? {
                let wal = match &mut copy {
                    Some(wal) => wal,
                    none => none.insert(create(wal_options(&shared.options), frame.first_offset)?),
                };
                if frame.first_offset != wal.next_offset() {
                    wal.skip_to(frame.first_offset).map_err(log_error)?;
                }
                wal.append(frame.count, frame.payload).map_err(log_error)?;
                if wal.group_bytes() >= GROUP_BYTES {
                    wal.write_group().map_err(log_error)?;
                }
            }
        }
        let mut wal = match copy {
            Some(wal) => wal,
            None => create(empty_log_options(&shared.options), end)?,
        };
        wal.skip_to(end).map_err(log_error)?;
        manifest.wal.first_segment = Some(wal.stats().first_segment);
        manifest.clean = Some(wal.close().map_err(log_error)?.into());
        Ok(())
    }

    fn link_run(
        &self,
        runs_dir: &Path,
        entry: &RunEntry,
        report: &mut CheckpointReport,
    ) -> Result<(), OpenError> {
        let storage = &*self.shared.storage;
        let from = self.shared.runs_dir();
        let path = run_path(runs_dir, entry.number);
        let index = index_path(runs_dir, entry.number);
        report.runs += 1;
        report.bytes += entry.bytes;
        if self.reuse(entry, &path, &index) {
            report.reused += 2;
            return Ok(());
        }
        let copied = self.link(&run_path(&from, entry.number), &path, report)?;
        let (_, run) = load_run(storage, &path)?;
        let corrupt = |reason| OpenError::Corrupt { file: path.clone(), offset: 0, reason };
        if !entry.is(&run) {
            return Err(corrupt("it is not the run that the manifest names".to_owned()));
        }
        if copied {
            run.verify(&mut |_, _| ()).map_err(|damage| corrupt(damage.to_string()))?;
        }
        self.link(&index_path(&from, entry.number), &index, report)?;
        load_index(storage, &index, &run).map_err(corrupt)?;
        Ok(())
    }

    /// Gives the base's files of a run second names, if it has that very run, whole, with an index that fits it.
    fn reuse(&self, entry: &RunEntry, path: &Path, index: &Path) -> bool {
        let Some(base) = &self.base else { return false };
        let storage = &*self.shared.storage;
        let reused = || {
            storage.link(&run_path(base, entry.number), path).ok()?;
            storage.link(&index_path(base, entry.number), index).ok()?;
            let (_, run) = load_run(storage, path).ok().filter(|(_, run)| entry.is(run))?;
            run.verify(&mut |_, _| ()).ok()?;
            load_index(storage, index, &run).ok()
        };
        let reused = reused().is_some();
        if !reused {
            // Best effort: a name that stays makes the copy fail, and then the whole checkpoint goes.
            storage.remove(path).ok();
            storage.remove(index).ok();
        }
        reused
    }

    /// Gives a file a second name, or copies it where that cannot be; says whether it was copied.
    fn link(&self, from: &Path, to: &Path, report: &mut CheckpointReport) -> Result<bool, OpenError> {
        let storage = &*self.shared.storage;
        if !self.copies && storage.link(from, to).is_ok() {
            report.linked += 1;
            return Ok(false);
        }
        let copied = storage.copy(from, to).and_then(|()| storage.len(to));
        report.copied_bytes +=
            copied.map_err(|source| OpenError::Io { doing: "copy", path: from.to_owned(), source })?;
        report.copied += 1;
        Ok(true)
    }

    /// Writes the manifest, makes every name durable, looks at the log once more, and names the directory.
    fn publish(&self, to: &Path, manifest: Manifest) -> Result<(), OpenError> {
        let storage = &self.shared.storage;
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { doing, path, source }
        };
        for dir in [RUNS_DIR, WAL_DIR] {
            let dir = self.dir.join(dir);
            storage.sync_dir(&dir).map_err(io("sync", &dir))?;
        }
        let expected = kyro_wal::Expected {
            uuid: manifest.uuid.0,
            first_segment: manifest.wal.first_segment.unwrap_or_default(),
            replay_from: manifest.wal.replay_from,
            clean: manifest.clean.map(Into::into),
        };
        let wal_dir = self.dir.join(WAL_DIR);
        let options = wal_options(&self.shared.options);
        let mut log = Recovery::open(Arc::clone(storage), &wal_dir, expected, options).map_err(log_error)?;
        while log.next_frame().map_err(log_error)?.is_some() {}
        ManifestFile::create(Arc::clone(storage), &self.dir, manifest)
            .map_err(|(path, source)| OpenError::Io { doing: "write", path, source })?;
        storage.rename(&self.dir, to).map_err(io("rename", &self.dir))?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        storage.sync_dir(parent).map_err(io("sync", parent))
    }

    /// Removes what there is of the copy. Best effort: the next checkpoint of that name does it again.
    fn remove(&self) {
        let storage = &*self.shared.storage;
        // The manifest first: without it the rest is no database.
        storage.remove(&self.dir.join(FILE_NAME)).ok();
        for dir in [self.dir.join(RUNS_DIR), self.dir.join(WAL_DIR), self.dir.clone()] {
            for name in storage.list(&dir).unwrap_or_default() {
                storage.remove(&dir.join(name)).ok();
            }
            storage.remove_dir(&dir).ok();
        }
    }
}
