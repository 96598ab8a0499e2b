//! A run and the learned index over its key column, as one thing: find a key.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use kyro_rmi::{Column, Rmi};
use kyro_snapshot::Run;

use crate::counters::{Counters, Event};
use crate::delta::Version;
use crate::error::ReadError;
use crate::stats::RunStats;

/// An open run with its index.
#[derive(Debug)]
pub(crate) struct IndexedRun {
    number: u64,
    path: PathBuf,
    /// The whole file, shared with every value handed out.
    file: Bytes,
    run: Run<Bytes>,
    index: Rmi<Bytes>,
}

impl IndexedRun {
    /// `file` and `run` share their bytes.
    pub(crate) fn new(number: u64, path: PathBuf, file: Bytes, run: Run<Bytes>, index: Rmi<Bytes>) -> Self {
        Self { number, path, file, run, index }
    }

    /// Where `key` is, if the run has a version of it: one prediction, one window.
    pub(crate) fn find(&self, key: u64, counters: &Counters) -> Result<Option<usize>, ReadError> {
        if !self.run.is_verified() {
            // The neighbours of the window tell whether the window was right, so they count as read.
            let window = self.index.window(key);
            self.run
                .touch_keys(window.start.saturating_sub(1)..window.end.saturating_add(1))
                .map_err(|damage| self.corrupt(counters, &damage))?;
        }
        let probe = self.index.probe(self.run.keys(), key);
        if probe.mispredicted {
            // The index is damaged in memory or on disk: slow, counted, and still right.
            counters.count(Event::Mispredict);
            return self.run.find(key).map_err(|damage| self.corrupt(counters, &damage));
        }
        Ok(probe.found.then_some(probe.position))
    }

    /// The value at a position that [`IndexedRun::find`] gave, as a slice of the mapped file; `None` for a tombstone.
    /// Every byte the answer depends on has had its block's checksum verified.
    #[inline]
    pub(crate) fn value(&self, position: usize, counters: &Counters) -> Result<Option<Bytes>, ReadError> {
        let value = self.run.value(position).map_err(|damage| self.corrupt(counters, &damage))?;
        Ok(value.map(|range| self.file.slice(range)))
    }

    /// As [`IndexedRun::value`], borrowed.
    #[inline]
    pub(crate) fn value_slice(
        &self,
        position: usize,
        counters: &Counters,
    ) -> Result<Option<&[u8]>, ReadError> {
        let value = self.run.value(position).map_err(|damage| self.corrupt(counters, &damage))?;
        Ok(value.map(|range| self.run.slice(range)))
    }

    /// The offset and the value at a position that [`IndexedRun::find`] gave; `None` for a tombstone.
    pub(crate) fn entry(
        &self,
        position: usize,
        counters: &Counters,
    ) -> Result<Option<(u64, Bytes)>, ReadError> {
        let entry = self.run.entry(position).map_err(|damage| self.corrupt(counters, &damage))?;
        Ok(entry.value.map(|range| (entry.offset, self.file.slice(range))))
    }

    /// The offset at a position that [`IndexedRun::find`] gave; `None` for a tombstone.
    pub(crate) fn offset(&self, position: usize, counters: &Counters) -> Result<Option<u64>, ReadError> {
        let entry = self.run.entry(position).map_err(|damage| self.corrupt(counters, &damage))?;
        Ok(entry.value.map(|_| entry.offset))
    }

    /// Whether the position that [`IndexedRun::find`] gave holds a value and no tombstone.
    pub(crate) fn is_live(&self, position: usize, counters: &Counters) -> Result<bool, ReadError> {
        let value = self.run.value(position).map_err(|damage| self.corrupt(counters, &damage))?;
        Ok(value.is_some())
    }

    /// Every version, in key order.
    pub(crate) fn versions(&self) -> impl Iterator<Item = Result<(u64, Version), ReadError>> + '_ {
        (0..self.run.len()).map(|position| {
            let key = self.run.key(position).map_err(|damage| self.damage(&damage))?;
            let entry = self.run.entry(position).map_err(|damage| self.damage(&damage))?;
            let value = entry.value.map(|range| self.file.slice(range));
            Ok((key, Version { offset: entry.offset, value }))
        })
    }

    /// Reads and checks the whole file.
    pub(crate) fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), ReadError> {
        self.run.verify(progress).map_err(|damage| self.damage(&damage))
    }

    /// Makes keys, entries and values resident; gives the bytes touched.
    pub(crate) fn warm_up(&self, progress: &mut dyn FnMut(u64, u64)) -> u64 {
        self.run.warm_up(progress)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.run.len() as u64
    }

    pub(crate) fn tombstones(&self) -> u64 {
        self.run.tombstones()
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.run.file_bytes()
    }

    pub(crate) fn uuid(&self) -> [u8; 16] {
        self.run.uuid()
    }

    pub(crate) fn stats(&self) -> RunStats {
        let index = self.index.stats();
        RunStats {
            number: self.number,
            entries: self.len(),
            tombstones: self.tombstones(),
            bytes: self.file_bytes(),
            index_bytes: index.bytes,
            index_leaves: index.leaves,
            epsilon_max: u64::from(index.epsilon_max),
            epsilon_p50: u64::from(index.epsilon_p50),
            epsilon_p99: u64::from(index.epsilon_p99),
            max_window: u64::from(index.max_window),
            bits_per_key: index.bits_per_key(),
        }
    }

    fn corrupt(&self, counters: &Counters, damage: &kyro_snapshot::Corrupt) -> ReadError {
        counters.count(Event::CorruptRead);
        self.damage(damage)
    }

    fn damage(&self, damage: &kyro_snapshot::Corrupt) -> ReadError {
        ReadError::Corrupt { file: self.path.clone(), offset: damage.position(), reason: damage.to_string() }
    }
}

/// What binds an index file to the key column of its run.
pub(crate) fn column_of(run: &Run<Bytes>) -> Column {
    Column { uuid: run.uuid(), checksum: run.key_checksum(), keys: run.len() as u64 }
}
