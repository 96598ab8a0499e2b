//! One read: where a key's newest version is, as seen from one offset.

use bytes::Bytes;

use crate::counters::{Counters, Event};
use crate::delta::Version;
use crate::error::ReadError;
use crate::indexed_run::IndexedRun;
use crate::sources::Sources;

/// What a read looks into, and below which offset. The sources must have been loaded before the offset, or the offset
/// be one that was visible with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) visible: u64,
    pub(crate) counters: &'a Counters,
}

/// Where the newest version of a key was found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<'a> {
    Delta(&'a Version),
    Run(&'a IndexedRun, usize),
}

impl<'a> Reading<'a> {
    /// The newest version of `key`, unless a range delete covers it.
    #[inline]
    pub(crate) fn find(self, key: u64) -> Result<Option<Found<'a>>, ReadError> {
        let found = self.find_version(key)?;
        if self.sources.has_ranges() { self.uncovered(key, found) } else { Ok(found) }
    }

    /// What was found for `key`, unless a newer range delete covers it.
    #[cold]
    pub(crate) fn uncovered(
        self,
        key: u64,
        found: Option<Found<'a>>,
    ) -> Result<Option<Found<'a>>, ReadError> {
        let (Some(found), Some(deleted)) = (found, self.sources.newest_range_over(key, self.visible)) else {
            return Ok(found);
        };
        let offset = match found {
            Found::Delta(version) => version.offset,
            Found::Run(run, position) => run.read(position, true, self.counters)?.offset,
        };
        Ok((offset > deleted).then_some(found))
    }

    /// The newest version of `key`: in the deltas, then in the runs from new to old.
    #[inline]
    pub(crate) fn find_version(self, key: u64) -> Result<Option<Found<'a>>, ReadError> {
        if let Some(version) = self.sources.deltas().find_map(|delta| delta.get(key, self.visible)) {
            self.counters.count(Event::DeltaRead);
            return Ok(Some(Found::Delta(version)));
        }
        for run in &self.sources.runs {
            if let Some(position) = run.find(key, self.counters)? {
                self.counters.count(Event::IndexHit);
                return Ok(Some(Found::Run(run, position)));
            }
        }
        if !self.sources.runs.is_empty() {
            self.counters.count(Event::IndexMiss);
        }
        Ok(None)
    }

    /// The value of `key`, sharing the memory it is in.
    #[inline]
    pub(crate) fn get(self, key: u64) -> Result<Option<Bytes>, ReadError> {
        match self.find(key)? {
            None => Ok(None),
            Some(Found::Delta(version)) => Ok(version.value.clone()),
            Some(Found::Run(run, position)) => run.value(position, self.counters),
        }
    }

    /// What `read` makes of the value of `key`.
    #[inline]
    pub(crate) fn get_with<R>(self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, ReadError> {
        match self.find(key)? {
            None => Ok(None),
            Some(Found::Delta(version)) => Ok(version.value.as_deref().map(read)),
            Some(Found::Run(run, position)) => run.value_with(position, self.counters, read),
        }
    }

    /// The offset of the put that gave `key` its value, and the value.
    pub(crate) fn get_entry(self, key: u64) -> Result<Option<(u64, Bytes)>, ReadError> {
        match self.find(key)? {
            None => Ok(None),
            Some(Found::Delta(version)) => Ok(version.value.clone().map(|value| (version.offset, value))),
            Some(Found::Run(run, position)) => run.entry(position, self.counters),
        }
    }

    /// The offset of the put that gave `key` its value.
    pub(crate) fn offset(self, key: u64) -> Result<Option<u64>, ReadError> {
        match self.find(key)? {
            None => Ok(None),
            Some(Found::Delta(version)) => Ok(version.value.as_ref().map(|_| version.offset)),
            Some(Found::Run(run, position)) => run.offset(position, self.counters),
        }
    }

    /// Whether `key` has a value.
    pub(crate) fn contains(self, key: u64) -> Result<bool, ReadError> {
        match self.find(key)? {
            None => Ok(false),
            Some(Found::Delta(version)) => Ok(version.value.is_some()),
            Some(Found::Run(run, position)) => run.is_live(position, self.counters),
        }
    }
}
