//! A run and the learned index over its key column, as one thing: find a key.

use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kyro_rmi::{Column, Probe, Rmi};
use kyro_simd::prefetch;
use kyro_snapshot::{Corrupt, Presence, RecordRef, Run, Value, ValueBlocks};

use crate::counters::{Counters, Event};
use crate::cursor::Read;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::options::Options;
use crate::run_files::VersionRef;
use crate::scan::EntryRef;
use crate::stats::RunStats;
use crate::value_cache::ValueCache;

/// Keys that a filter takes in between two looks at whether it is still wanted.
const KEYS_AT_ONCE: usize = 1 << 16;

const CACHE_LINE_BYTES: usize = 64;

/// What a lookup found, in one register: a position, which is below both of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer(usize);

impl Answer {
    const ABSENT: Self = Self(usize::MAX);
    const MISPREDICTED: Self = Self(usize::MAX - 1);

    #[inline]
    fn of(probe: Probe) -> Self {
        match probe {
            Probe { mispredicted: true, .. } => Self::MISPREDICTED,
            Probe { found: false, .. } => Self::ABSENT,
            Probe { position, .. } => Self(position),
        }
    }
}

/// See [`IndexedRun::foresee`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreseen {
    /// The run has no version of the key.
    Absent,
    /// It has one, and all of it is in memory.
    Present,
    /// To tell takes reading what may not be in memory.
    Unread,
}

/// An open run with its index.
#[derive(Debug)]
pub(crate) struct IndexedRun {
    number: u64,
    path: PathBuf,
    /// The whole file, shared with every value handed out.
    file: Bytes,
    run: Run<Bytes>,
    index: Rmi<Bytes>,
    /// Made when it pays; see [`crate::filters`].
    filter: OnceLock<Filter>,
    /// The offset of every entry, where one operation brought them all; otherwise each has its own, in the file.
    offset: Option<u64>,
    /// Keeps unpacked values, where they are compressed; the number tells this run's from others'.
    value_cache: Arc<ValueCache>,
    cache_number: u64,
    /// Bytes from a value to the nearest one that begins in another cache line, where values have one width.
    value_stride: Option<usize>,
}

impl IndexedRun {
    /// `file` and `run` share their bytes.
    pub(crate) fn new(
        number: u64,
        path: PathBuf,
        file: Bytes,
        run: Run<Bytes>,
        index: Rmi<Bytes>,
        options: &Options,
    ) -> Self {
        let value_cache = Arc::clone(&options.value_cache);
        let (filter, cache_number) = (OnceLock::new(), ValueCache::new_run());
        let width = run.fixed_width().filter(|&width| width > 0 && !run.is_compressed());
        let value_stride = width.map(|width| (width as usize).max(CACHE_LINE_BYTES));
        Self { number, path, file, run, index, filter, offset: None, value_cache, cache_number, value_stride }
    }

    /// The same, with this offset for every entry, where there is one.
    pub(crate) fn at_offset(self, offset: Option<u64>) -> Self {
        Self { offset, ..self }
    }

    /// The offset of every entry, where one operation brought them all.
    pub(crate) fn common_offset(&self) -> Option<u64> {
        self.offset
    }

    #[inline]
    fn offset_of(&self, stored: u64) -> u64 {
        self.offset.unwrap_or(stored)
    }

    /// Where `key` is, if the run has a version of it: one prediction, one window. What the value needs beside the key is
    /// on its way meanwhile.
    #[inline]
    pub(crate) fn find(&self, key: u64, counters: &Counters) -> Result<Option<usize>, ReadError> {
        if !self.may_contain(key) {
            counters.count(Event::Filtered);
            return Ok(None);
        }
        let mut answer =
            self.index.probe_with(self.run.keys(), key, |at| self.prefetch_value(at), Answer::of);
        if !self.run.has_verified_keys() {
            answer = self.verify_answer(key, answer, counters)?;
        }
        match answer {
            Answer::MISPREDICTED => {
                self.search(key, counters).map(|probe| probe.found.then_some(probe.position))
            }
            Answer::ABSENT => {
                counters.count_vain_searches(1);
                Ok(None)
            }
            Answer(position) => Ok(Some(position)),
        }
    }

    /// Verifies what an answer depends on, which was read before any checksum covered it. A key that was found is there if
    /// its own block is whole; that one is not there takes the whole window to say.
    #[inline(never)]
    fn verify_answer(&self, key: u64, answer: Answer, counters: &Counters) -> Result<Answer, ReadError> {
        if matches!(answer, Answer::ABSENT | Answer::MISPREDICTED) {
            self.touch_window(key, counters)?;
            return Ok(answer);
        }
        let Answer(position) = answer;
        let found = self.run.key(position).map_err(|damage| self.corrupt(counters, &damage))?;
        // A device that gave other bytes a moment ago is not believed at all.
        Ok(if found == key { answer } else { Answer::MISPREDICTED })
    }

    fn probe(&self, key: u64, counters: &Counters) -> Result<Probe, ReadError> {
        if !self.run.has_verified_keys() {
            self.touch_window(key, counters)?;
        }
        let probe = self.index.probe(self.run.keys(), key);
        if probe.mispredicted { self.search(key, counters) } else { Ok(probe) }
    }

    /// Entries of the window that the index predicts for `key`.
    pub(crate) fn window_len(&self, key: u64) -> usize {
        self.index.window(key).len()
    }

    /// Entries whose keys a probe for `key` reads: the window, and its neighbours, which tell whether it was right.
    fn keys_probed(&self, key: u64) -> Range<usize> {
        let window = self.index.window(key);
        window.start.saturating_sub(1)..window.end.saturating_add(1)
    }

    /// Reads and verifies every key that a probe for `key` looks at.
    #[cold]
    pub(crate) fn touch_window(&self, key: u64, counters: &Counters) -> Result<(), ReadError> {
        self.run.touch_keys(self.keys_probed(key)).map_err(|damage| self.corrupt(counters, &damage))
    }

    /// Asks for the cache lines that lead to the value of a key that is thought to be near this position: of values that
    /// lie side by side also those before and after it, because the prediction is off by a few positions more often than
    /// not, and what was not asked for here is waited for alone.
    #[inline]
    fn prefetch_value(&self, position: usize) {
        let (file, at) = (self.run.as_bytes(), self.run.value_hint(position));
        prefetch(file, at);
        if let Some(stride) = self.value_stride {
            for by in [stride, stride * 2] {
                prefetch(file, at.wrapping_add(by));
                prefetch(file, at.wrapping_sub(by));
            }
        }
    }

    /// The index is damaged in memory or on disk: slow, counted, and still right.
    #[cold]
    fn search(&self, key: u64, counters: &Counters) -> Result<Probe, ReadError> {
        counters.count(Event::Mispredict);
        let position = self.run.lower_bound(key).map_err(|damage| self.corrupt(counters, &damage))?;
        let found = self.run.keys().get(position) == Some(&key);
        Ok(Probe { position, found, mispredicted: true })
    }

    /// Whether the run has a filter, which [`IndexedRun::find`] then asks first.
    pub(crate) fn has_filter(&self) -> bool {
        self.filter.get().is_some()
    }

    /// Asks for the cache line that the filter says of `key` from.
    #[inline]
    pub(crate) fn prefetch_filter(&self, key: u64) {
        if let Some(filter) = self.filter.get() {
            filter.prefetch(key);
        }
    }

    /// Whether the filter, where there is one, lets `key` through.
    #[inline]
    pub(crate) fn may_contain(&self, key: u64) -> bool {
        self.filter.get().is_none_or(|filter| filter.may_contain(key))
    }

    /// Where each of `keys` is, into the same place of `positions`. The filter is not asked first.
    pub(crate) fn find_batch(
        &self,
        keys: &[u64],
        positions: &mut [Option<usize>],
        counters: &Counters,
    ) -> Result<(), ReadError> {
        let mispredicted = self.index.find_batch(self.run.keys(), keys, positions);
        if !self.run.has_verified_keys() {
            for (&key, position) in keys.iter().zip(&mut *positions) {
                // Where a window was wrong, nobody says whose: then each is looked for by itself, and counted there.
                let answer = position.map_or(Answer::ABSENT, Answer);
                if mispredicted > 0 || self.verify_answer(key, answer, counters)? != answer {
                    *position = self.find(key, counters)?;
                }
            }
            if mispredicted > 0 {
                return Ok(());
            }
        }
        if mispredicted > 0 {
            counters.add(Event::Mispredict, mispredicted as u64);
        }
        let vain = positions.iter().filter(|position| position.is_none()).count();
        counters.count_vain_searches(vain as u64);
        Ok(())
    }

    /// How many keys are smaller than `key`.
    pub(crate) fn lower_bound(&self, key: u64, counters: &Counters) -> Result<usize, ReadError> {
        self.probe(key, counters).map(|probe| probe.position)
    }

    /// Asks for the cache line that tells where the value at `position` is.
    pub(crate) fn prefetch_locator(&self, position: usize) {
        if let Some(word) = self.run.locator_word(position) {
            prefetch(self.run.raw_locators(), word);
        }
    }

    /// The value at a position that [`IndexedRun::find`] gave, as a slice of the mapped file; `None` for a tombstone.
    /// Every byte the answer depends on has had its block's checksum verified.
    #[inline]
    pub(crate) fn value(&self, position: usize, counters: &Counters) -> Result<Option<Bytes>, ReadError> {
        let value = match self.run.ready_value(position) {
            None if self.run.is_compressed() => return self.unpacked(position, counters),
            None => self.value_in_file(position, counters)?,
            ready => ready,
        };
        Ok(value.map(|value| self.file.slice_ref(value)))
    }

    #[cold]
    fn unpacked(&self, position: usize, counters: &Counters) -> Result<Option<Bytes>, ReadError> {
        let place = self.run.value(position).map_err(|damage| self.corrupt(counters, &damage))?;
        place.map(|place| self.at_place(place, &mut self.cached(), counters)).transpose()
    }

    /// The unpacked blocks of this run that the engine keeps.
    fn cached(&self) -> impl ValueBlocks {
        self.value_cache.of(self.cache_number)
    }

    /// The value at a place that the run named, sharing the memory it is in. `blocks` has what was unpacked before.
    pub(crate) fn at_place(
        &self,
        place: Range<usize>,
        blocks: &mut dyn ValueBlocks,
        counters: &Counters,
    ) -> Result<Bytes, ReadError> {
        match self.run.read(place, blocks).map_err(|damage| self.corrupt(counters, &damage))? {
            Value::InFile(value) => Ok(self.file.slice_ref(value)),
            Value::Unpacked(value) => Ok(Bytes::from_owner(value)),
        }
    }

    /// Whether values are compressed: then they are not in the file as they are.
    #[inline]
    pub(crate) fn is_compressed(&self) -> bool {
        self.run.is_compressed()
    }

    /// What `read` makes of the value at a position, as by [`IndexedRun::value`], borrowed.
    #[inline]
    pub(crate) fn value_with<R>(
        &self,
        position: usize,
        counters: &Counters,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, ReadError> {
        let value = match self.run.ready_value(position) {
            None if self.run.is_compressed() => {
                return Ok(self.unpacked(position, counters)?.map(|value| read(&value)));
            }
            None => self.value_in_file(position, counters)?,
            ready => ready,
        };
        Ok(value.map(read))
    }

    #[inline]
    fn value_in_file(&self, position: usize, counters: &Counters) -> Result<Option<&[u8]>, ReadError> {
        self.run.value_in_file(position).map_err(|damage| self.corrupt(counters, &damage))
    }

    /// As [`IndexedRun::value`], borrowed, where values are not compressed.
    #[inline]
    pub(crate) fn value_slice(
        &self,
        position: usize,
        counters: &Counters,
    ) -> Result<Option<&[u8]>, ReadError> {
        match self.run.ready_value(position) {
            None => self.value_in_file(position, counters),
            ready => Ok(ready),
        }
    }

    /// The offset and the value at a position that [`IndexedRun::find`] gave; `None` for a tombstone.
    pub(crate) fn entry(
        &self,
        position: usize,
        counters: &Counters,
    ) -> Result<Option<(u64, Bytes)>, ReadError> {
        let entry = self.run.entry(position).map_err(|damage| self.corrupt(counters, &damage))?;
        let value =
            entry.value.map(|place| self.at_place(place, &mut self.cached(), counters)).transpose()?;
        Ok(value.map(|value| (self.offset_of(entry.offset), value)))
    }

    /// The offset at a position that [`IndexedRun::find`] gave; `None` for a tombstone.
    pub(crate) fn offset(&self, position: usize, counters: &Counters) -> Result<Option<u64>, ReadError> {
        let entry = self.run.entry(position).map_err(|damage| self.corrupt(counters, &damage))?;
        Ok(entry.value.map(|_| self.offset_of(entry.offset)))
    }

    /// Whether the position that [`IndexedRun::find`] gave holds a value and no tombstone.
    pub(crate) fn is_live(&self, position: usize, counters: &Counters) -> Result<bool, ReadError> {
        let value = self.run.value(position).map_err(|damage| self.corrupt(counters, &damage))?;
        Ok(value.is_some())
    }

    /// Where the model expects `key`: the middle of its window.
    pub(crate) fn predicted(&self, key: u64) -> usize {
        self.index.window(key).start + self.index.stats().max_window as usize / 2
    }

    /// The key at a position.
    #[inline]
    pub(crate) fn key(&self, position: usize, counters: &Counters) -> Result<u64, ReadError> {
        self.run.key(position).map_err(|damage| self.corrupt(counters, &damage))
    }

    /// The version at a position, its value or nothing of it.
    #[inline]
    pub(crate) fn read(
        &self,
        position: usize,
        keys_only: bool,
        counters: &Counters,
    ) -> Result<Read, ReadError> {
        let read = if keys_only {
            let stamp = self.run.stamp(position);
            stamp.map(|stamp| Read {
                offset: self.offset_of(stamp.offset),
                value: (!stamp.is_tombstone).then_some(0..0),
            })
        } else {
            self.run
                .entry(position)
                .map(|entry| Read { offset: self.offset_of(entry.offset), value: entry.value })
        };
        read.map_err(|damage| self.corrupt(counters, &damage))
    }

    /// Visits the versions at `positions`, in this direction, each with whether it is a tombstone, until `visit` breaks
    /// or a key does not go on.
    #[inline]
    pub(crate) fn walk(
        &self,
        positions: Range<usize>,
        reverse: bool,
        keys_only: bool,
        goes_on: impl Fn(u64) -> bool,
        counters: &Counters,
        visit: &mut impl FnMut(EntryRef<'_>, bool) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut each = |RecordRef { key, offset, value }: RecordRef<'_>| {
            let offset = self.offset_of(offset);
            visit(EntryRef { key, offset, value: value.unwrap_or_default() }, value.is_none())
        };
        let walked = if keys_only {
            self.run.visit_keys(positions, reverse, goes_on, &mut each)
        } else {
            self.run.visit(positions, reverse, goes_on, &mut each)
        };
        walked.map_err(|damage| self.corrupt(counters, &damage))
    }

    /// Whether the run may have a version of a key in `from..=to`.
    #[inline]
    pub(crate) fn may_hold(&self, from: u64, to: u64) -> bool {
        self.run.key_range().is_some_and(|keys| *keys.start() <= to && from <= *keys.end())
    }

    /// Makes the filter, reading all keys. Where they are damaged there is none, and reads tell of the damage.
    pub(crate) fn make_filter(&self, go_on: impl Fn() -> bool) {
        let keys = self.run.keys();
        let mut filter = Filter::for_keys(keys.len() as u64);
        for (chunk, some) in keys.chunks(KEYS_AT_ONCE).enumerate() {
            let start = chunk * KEYS_AT_ONCE;
            if !go_on() || self.run.touch_keys(start..start + some.len()).is_err() {
                return;
            }
            for &key in some {
                filter.insert(key);
            }
        }
        // Where two were made at once, they are the same.
        drop(self.filter.set(filter));
    }

    /// Memory that the filter takes, in bytes; 0 without one.
    pub(crate) fn filter_bytes(&self) -> u64 {
        self.filter.get().map_or(0, Filter::bytes)
    }

    /// Every version, in key order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<(u64, VersionRef<'_>), ReadError>> {
        self.run.iter().map(|record| match record {
            Ok(record) => {
                let offset = self.offset_of(record.offset);
                Ok((record.key, VersionRef { offset, value: record.value }))
            }
            Err(damage) => Err(self.damage(&damage)),
        })
    }

    /// Reads and checks the whole file.
    pub(crate) fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), ReadError> {
        self.run.verify(progress).map_err(|damage| self.damage(&damage))
    }

    /// Makes keys, entries and values resident; gives the bytes touched.
    pub(crate) fn warm_up(&self, progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>) -> u64 {
        self.run.warm_up(progress)
    }

    /// Whether every block of the run has been read since it was opened.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        self.run.is_verified()
    }

    /// What can be said about `key` without reading what is not in memory.
    pub(crate) fn foresee(&self, key: u64, presence: Presence) -> Foreseen {
        if !self.may_contain(key) {
            return Foreseen::Absent;
        }
        if !self.run.has_keys(self.keys_probed(key), presence) {
            return Foreseen::Unread;
        }
        let probe = self.index.probe(self.run.keys(), key);
        match probe {
            // Nobody can tell what a search through the whole column will read.
            Probe { mispredicted: true, .. } => Foreseen::Unread,
            Probe { found: false, .. } => Foreseen::Absent,
            Probe { position, .. } if self.run.has_entry(position, presence) => Foreseen::Present,
            Probe { .. } => Foreseen::Unread,
        }
    }

    /// The whole file, shared with every value handed out.
    pub(crate) fn file(&self) -> &Bytes {
        &self.file
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
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
            value_bytes: self.run.value_bytes(),
            stored_value_bytes: self.run.stored_value_bytes(),
            index_bytes: index.bytes,
            index_leaves: index.leaves,
            epsilon_max: u64::from(index.epsilon_max),
            epsilon_p50: u64::from(index.epsilon_p50),
            epsilon_p99: u64::from(index.epsilon_p99),
            max_window: u64::from(index.max_window),
            bits_per_key: index.bits_per_key(),
            fallback_share: index.fallback_share(),
            filter_bytes: self.filter_bytes(),
        }
    }

    fn corrupt(&self, counters: &Counters, damage: &Corrupt) -> ReadError {
        counters.count(Event::CorruptRead);
        self.damage(damage)
    }

    fn damage(&self, damage: &Corrupt) -> ReadError {
        ReadError::Corrupt { file: self.path.clone(), offset: damage.position(), reason: damage.to_string() }
    }
}

/// What binds an index file to the key column of its run.
pub(crate) fn column_of(run: &Run<Bytes>) -> Column {
    Column { uuid: run.uuid(), checksum: run.key_checksum(), keys: run.len() as u64 }
}
