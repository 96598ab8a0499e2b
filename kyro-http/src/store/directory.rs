//! A directory: read without a lock, also while a server writes it; opened whole only for what changes it.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use kyro_engine::{
    CheckpointOptions, Compression, Condition, Engine, Options, ReadOnly, Scan, VersionId, WriteError,
};
use serde_json::{Value, json};

use super::{Asked, BackupPlace, Found, Seen, Store, StoreError, Visit, is_blank};
use crate::engine_progress::EngineProgress;
use crate::stats_document::engine_document;
use crate::versions::{document, list};

/// A data directory.
pub(crate) struct Directory {
    dir: PathBuf,
    progress: EngineProgress,
    /// Of what is written once the engine is open.
    compression: Compression,
    reader: Option<ReadOnly>,
    writer: Option<Engine>,
}

impl Directory {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            progress: EngineProgress::new(),
            compression: Compression::None,
            reader: None,
            writer: None,
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.compression = self.compression;
        options.on_progress = Some(self.progress.callback());
        options
    }

    fn reader(&mut self) -> Result<&ReadOnly, StoreError> {
        if self.reader.is_none() {
            self.refuse_blank()?;
            self.reader = Some(Engine::open_read_only(&self.dir, self.options())?);
        }
        self.reader.as_ref().ok_or_else(|| StoreError::NoDatabase { dir: self.dir.clone() })
    }

    /// The engine, for what changes the database. `make` allows a new one.
    fn writer(&mut self, make: bool) -> Result<&Engine, StoreError> {
        if self.writer.is_none() {
            if !make {
                self.refuse_blank()?;
            }
            self.writer = Some(Engine::open(&self.dir, self.options())?);
        }
        self.writer.as_ref().ok_or_else(|| StoreError::NoDatabase { dir: self.dir.clone() })
    }

    fn refuse_blank(&self) -> Result<(), StoreError> {
        if is_blank(&self.dir) { Err(StoreError::NoDatabase { dir: self.dir.clone() }) } else { Ok(()) }
    }
}

impl Store for Directory {
    fn get(&mut self, key: u64) -> Result<Option<Found>, StoreError> {
        let found = self.reader()?.view().get_entry(key)?;
        Ok(found.map(|(offset, value)| Found { offset, value: value.to_vec() }))
    }

    fn put(&mut self, key: u64, value: Vec<u8>) -> Result<u64, StoreError> {
        Ok(self.writer(true)?.put(key, value)?)
    }

    fn delete(&mut self, key: u64) -> Result<Option<u64>, StoreError> {
        match self.writer(false)?.delete_if(key, Condition::Present) {
            Ok(offset) => Ok(Some(offset)),
            Err(WriteError::PreconditionFailed { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn delete_range(&mut self, keys: RangeInclusive<u64>) -> Result<u64, StoreError> {
        Ok(self.writer(false)?.delete_range(keys)?)
    }

    fn count(&mut self, keys: RangeInclusive<u64>) -> Result<u64, StoreError> {
        Ok(self.reader()?.view().count(keys)?)
    }

    fn scan(&mut self, asked: &Asked, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut scan = Scan::range(asked.keys.clone()).limit(asked.limit.unwrap_or(u64::MAX));
        if asked.reverse {
            scan = scan.reverse();
        }
        if asked.keys_only {
            scan = scan.keys_only();
        }
        let mut entries = self.reader()?.view().scan(scan);
        while let Some(entry) = entries.next_ref() {
            let entry = entry?;
            let seen = Seen { key: entry.key, offset: entry.offset, value: entry.value };
            visit(seen).map_err(StoreError::Output)?;
        }
        Ok(())
    }

    fn compact(&mut self, compression: Compression) -> Result<Value, StoreError> {
        self.compression = compression;
        let report = self.writer(false)?.compact()?;
        Ok(json!({
            "before_bytes": report.before_bytes,
            "after_bytes": report.after_bytes,
            "segments_removed": report.segments_removed,
            "segments_active": report.segments_active,
            "keys_retained": report.keys_retained,
        }))
    }

    fn stats(&mut self) -> Result<Value, StoreError> {
        Ok(engine_document(&self.reader()?.stats()))
    }

    fn backup(&mut self, place: &BackupPlace) -> Result<Value, StoreError> {
        let root = place.root.clone().ok_or_else(|| {
            StoreError::Usage("--to must name the directory that holds the backups".to_owned())
        })?;
        let mut options = CheckpointOptions::default();
        options.copy = place.copy;
        options.base = crate::backup::newest(&root, &place.name);
        let engine = self.writer(false)?;
        std::fs::create_dir_all(&root).map_err(|source| StoreError::File {
            doing: "make",
            path: root.clone(),
            source,
        })?;
        let to = root.join(&place.name);
        let report = engine.checkpoint_with(&to, &options)?;
        Ok(crate::backup::document(&place.name, options.base.as_deref(), &report))
    }

    fn versions(&mut self) -> Result<Value, StoreError> {
        Ok(list(&self.reader()?.versions()))
    }

    fn push(&mut self, data_set: &str, label: Option<&str>) -> Result<Value, StoreError> {
        let dir = Path::new(data_set);
        let name = || dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let label = label.map_or_else(name, str::to_owned);
        Ok(document(&self.writer(true)?.push(dir, &label)?))
    }

    fn rollback(&mut self, version: u64) -> Result<Value, StoreError> {
        Ok(document(&self.writer(false)?.rollback(VersionId(version))?))
    }

    fn prune(&mut self, version: u64) -> Result<Value, StoreError> {
        let bytes = self.writer(false)?.prune_version(VersionId(version))?;
        Ok(json!({ "pruned": version, "bytes": bytes }))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        match &self.writer {
            Some(engine) => Ok(engine.close()?),
            None => Ok(()),
        }
    }
}
