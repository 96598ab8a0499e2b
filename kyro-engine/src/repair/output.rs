//! The new directory: its log, its run with its index, and, last, its manifest.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kyro_snapshot::{Compression, Run, RunInfo, WriteError, Writer};
use kyro_wal::storage::{Storage, StorageFile, write_atomically};
use kyro_wal::{CleanMark, Identity, Wal};

use super::error::RepairError;
use super::merge::Candidate;
use super::runs::Content;
use crate::manifest::{Manifest, ManifestFile, RunEntry, Uuid, WalState};
use crate::open::{create_dir, wal_options};
use crate::options::Options;
use crate::run_files::{index_path, load_run, map, run_path, train};
use crate::shared::{RUNS_DIR, WAL_DIR};
use crate::versions::Versions;

/// Bytes of frames written at once.
const GROUP_BYTES: usize = 1 << 20;

/// A directory that is being made.
pub(super) struct Output {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    wal_dir: PathBuf,
    runs_dir: PathBuf,
    uuid: [u8; 16],
    epoch: u64,
    options: kyro_wal::Options,
    compression: Compression,
    wal: Option<Wal>,
}

type RunWriter = Writer<io::BufWriter<Sequential>>;

impl Output {
    pub(super) fn create(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        epoch: u64,
        settings: &Options,
    ) -> Result<Self, RepairError> {
        create_dir(&**storage, dir).map_err(|error| match error {
            crate::OpenError::Io { doing, path, source } => RepairError::Io { doing, path, source },
            other => RepairError::Unverified(Box::new(other)),
        })?;
        let (wal_dir, runs_dir) = (dir.join(WAL_DIR), dir.join(RUNS_DIR));
        for path in [&wal_dir, &runs_dir] {
            storage.create_dir(path).map_err(RepairError::io("create", path))?;
        }
        storage.sync_dir(dir).map_err(RepairError::io("sync", dir))?;
        let uuid = storage.random().map_err(RepairError::io("name", dir))?;
        Ok(Self {
            storage: Arc::clone(storage),
            dir: dir.to_owned(),
            wal_dir,
            runs_dir,
            uuid,
            epoch,
            options: wal_options(settings),
            compression: settings.compression,
            wal: None,
        })
    }

    /// The new log, going on at `offset`.
    fn log(&mut self, offset: u64) -> Result<&mut Wal, RepairError> {
        let wal = if let Some(mut wal) = self.wal.take() {
            if wal.next_offset() < offset {
                wal.skip_to(offset).map_err(log_error)?;
            }
            wal
        } else {
            let identity = Identity { uuid: self.uuid, epoch: self.epoch };
            Wal::create_at(Arc::clone(&self.storage), &self.wal_dir, identity, self.options.clone(), offset)
                .map_err(log_error)?
        };
        Ok(self.wal.insert(wal))
    }

    /// Adds a frame to the log, at its old offset.
    pub(super) fn copy_frame(&mut self, offset: u64, count: u32, payload: &[u8]) -> Result<(), RepairError> {
        let wal = self.log(offset)?;
        wal.append(count, payload).map_err(log_error)?;
        if wal.group_bytes() >= GROUP_BYTES {
            wal.write_group().map_err(log_error)?;
        }
        Ok(())
    }

    /// Brings the log to its end; it goes on at `next_offset`.
    fn close_log(&mut self, next_offset: u64) -> Result<CleanMark, RepairError> {
        if self.wal.is_none() {
            // Nothing was kept of the old log: this one gets no frame.
            self.options.segment_bytes = 0;
        }
        self.log(next_offset)?;
        // Always there: `log` has just put it there.
        self.wal.take().map_or_else(
            || {
                Err(RepairError::Io {
                    doing: "close",
                    path: self.wal_dir.clone(),
                    source: io::Error::other("no log"),
                })
            },
            |wal| wal.close().map_err(log_error),
        )
    }

    /// A writer of a run in a file of this name.
    fn start_run(&self, path: &Path, compression: Compression) -> Result<RunWriter, RepairError> {
        let uuid = self.storage.random().map_err(RepairError::io("name", path))?;
        let file = self.storage.create(path).map_err(RepairError::io("create", path))?;
        let out = io::BufWriter::with_capacity(256 << 10, Sequential { file, at: 0 });
        let info = RunInfo { uuid, database: self.uuid, epoch: self.epoch };
        Writer::with_compression(out, info, compression).map_err(|error| write_error(path, error))
    }

    /// Puts versions aside, in a file that [`finish`](Self::finish) removes, and gives them back in key order.
    pub(super) fn spill(
        &self,
        number: usize,
        versions: BTreeMap<u64, Version>,
    ) -> Result<Spill, RepairError> {
        let path = self.runs_dir.join(format!("{number}.spill"));
        let mut writer = self.start_run(&path, Compression::None)?;
        for (key, (offset, value)) in versions {
            writer.push(key, offset, value.as_deref()).map_err(|error| write_error(&path, error))?;
        }
        let (out, _) = writer.finish().map_err(|error| write_error(&path, error))?;
        out.into_inner().map_err(|error| RepairError::io("write", &path)(error.into_error()))?;
        let file = map(&*self.storage, &path).map_err(RepairError::io("open", &path))?;
        let run = Run::open(file.clone())
            .map_err(|error| RepairError::io("read", &path)(io::Error::other(error)))?;
        Ok(Spill { path, file, run })
    }

    /// Removes what was put aside, closes the log and writes the manifest. Afterwards the directory is a database.
    pub(super) fn finish(
        mut self,
        spills: Vec<Spill>,
        run: Option<RunEntry>,
        next_offset: u64,
        oldest_event: Option<u64>,
    ) -> Result<(), RepairError> {
        for spill in spills {
            self.storage.remove(&spill.path).map_err(RepairError::io("remove", &spill.path))?;
        }
        let mark = self.close_log(next_offset)?;
        let manifest = Manifest {
            uuid: Uuid(self.uuid),
            generation: 0,
            epoch: self.epoch,
            wal: WalState { first_segment: Some(1), replay_from: mark.next_offset, oldest_event },
            next_run: 2,
            runs: run.into_iter().collect(),
            // Applied: what they cover is not in the run.
            ranges: Vec::new(),
            versions: Versions::default(),
            clean: Some(mark.into()),
        };
        ManifestFile::create(Arc::clone(&self.storage), &self.dir, manifest)
            .map_err(|(path, source)| RepairError::Io { doing: "write", path, source })?;
        Ok(())
    }

    /// Writes the run and its index; `next` gives the entries in key order. None when there is no entry.
    pub(super) fn write_run(
        &self,
        next: &mut dyn FnMut() -> Option<(u64, u64, Bytes)>,
    ) -> Result<Option<RunEntry>, RepairError> {
        let Some(first) = next() else { return Ok(None) };
        let path = run_path(&self.runs_dir, 1);
        let temporary = self.runs_dir.join("1.run.tmp");
        let mut writer = self.start_run(&temporary, self.compression)?;
        let mut entry = Some(first);
        while let Some((key, offset, value)) = entry {
            writer.push(key, offset, Some(&value)).map_err(|error| write_error(&temporary, error))?;
            entry = next();
        }
        let (out, _) = writer.finish().map_err(|error| write_error(&temporary, error))?;
        let out =
            out.into_inner().map_err(|error| RepairError::io("write", &temporary)(error.into_error()))?;
        out.file.sync_all().map_err(RepairError::io("sync", &temporary))?;
        drop(out);
        self.storage.rename(&temporary, &path).map_err(RepairError::io("rename", &temporary))?;
        self.storage.sync_dir(&self.runs_dir).map_err(RepairError::io("sync", &self.runs_dir))?;
        let (_, run) =
            load_run(&*self.storage, &path).map_err(|error| RepairError::Unverified(Box::new(error)))?;
        let corrupt = |offset, reason| {
            RepairError::Unverified(Box::new(crate::OpenError::Corrupt {
                file: path.clone(),
                offset,
                reason,
            }))
        };
        run.verify(&mut |_, _| {}).map_err(|damage| corrupt(damage.position(), damage.to_string()))?;
        let index = train(&run).map_err(|reason| corrupt(0, reason))?;
        let index_path = index_path(&self.runs_dir, 1);
        write_atomically(&*self.storage, &index_path, &index)
            .map_err(RepairError::io("write", &index_path))?;
        let (entries, bytes) = (run.len() as u64, run.file_bytes());
        Ok(Some(RunEntry { number: 1, uuid: Uuid(run.uuid()), entries, bytes, offset: None }))
    }
}

/// A file written from front to back.
struct Sequential {
    file: Box<dyn StorageFile>,
    at: u64,
}

impl io::Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An operation on a key as kept aside: its offset, and its value unless it deleted.
pub(super) type Version = (u64, Option<Bytes>);

/// Versions put aside in a file.
pub(super) struct Spill {
    path: PathBuf,
    file: Bytes,
    run: Run<Bytes>,
}

impl Spill {
    /// The versions, in key order. One that does not read back counts as lost.
    pub(super) fn versions(&self) -> impl Iterator<Item = Candidate> + '_ {
        (0..self.run.len()).filter_map(|index| {
            let key = self.run.key(index).ok()?;
            let (offset, content) = match self.run.entry(index) {
                Ok(entry) => (
                    Some(entry.offset),
                    entry.value.map_or(Content::Deleted, |range| Content::Value(self.file.slice(range))),
                ),
                Err(_) => (None, Content::Lost),
            };
            Some(Candidate { key, offset, content, run: None })
        })
    }
}

fn log_error(error: kyro_wal::Error) -> RepairError {
    RepairError::Log(Box::new(error))
}

fn write_error(path: &Path, error: WriteError) -> RepairError {
    let source = match error {
        WriteError::Io { source, .. } => source,
        other => io::Error::other(other),
    };
    RepairError::io("write", path)(source)
}
