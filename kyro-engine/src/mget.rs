//! Many keys at once: their cache misses overlap.
//!
//! A chunk of keys goes through the same stations as a single one, each station for all keys before the next: the
//! deltas' filters and slots are prefetched and probed, each run's filter, where it has one, and its index are asked for those still wanted, locators and then values
//! are prefetched, and at last the values are handed over. Everything lives on the stack.

use bytes::Bytes;
use kyro_simd::prefetch;

use crate::counters::Event;
use crate::error::ReadError;
use crate::indexed_run::IndexedRun;
use crate::reading::{Found, Reading};

/// Keys that travel together: enough to overlap their misses, few enough to stay in the first cache.
const CHUNK: usize = 128;

/// A value where it lies, and whose memory that is; or a compressed one, which is unpacked when its turn comes, so that
/// those of a chunk are not in memory all at once.
#[derive(Debug, Clone, Copy)]
enum Located<'a> {
    InPlace { value: &'a [u8], owner: &'a Bytes },
    Packed(&'a IndexedRun, usize),
}

impl<'a> Reading<'a> {
    /// Calls `visit` with each index of `keys`, in order, and the value of the key there.
    pub(crate) fn mget_with(
        self,
        keys: &[u64],
        mut visit: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<(), ReadError> {
        self.mget_located(keys, |index, located| visit(index, located.map(|(value, _)| value)))
    }

    /// The value of each of `keys`, sharing the memory it is in.
    pub(crate) fn mget(self, keys: &[u64]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let mut values = Vec::with_capacity(keys.len());
        self.mget_located(keys, |_, located| {
            values.push(located.map(|(value, owner)| owner.slice_ref(value)));
        })?;
        Ok(values)
    }

    fn mget_located(
        self,
        keys: &[u64],
        mut visit: impl FnMut(usize, Option<(&[u8], &Bytes)>),
    ) -> Result<(), ReadError> {
        for (chunk, wanted) in keys.chunks(CHUNK).enumerate() {
            let mut found = [None; CHUNK];
            self.find_chunk(wanted, &mut found)?;
            if self.sources.has_ranges() {
                for (&key, found) in wanted.iter().zip(&mut found) {
                    *found = self.uncovered(key, *found)?;
                }
            }
            let located = self.locate_chunk(&found)?;
            for (index, located) in located.into_iter().take(wanted.len()).enumerate() {
                let index = chunk * CHUNK + index;
                match located {
                    None => visit(index, None),
                    Some(Located::InPlace { value, owner }) => visit(index, Some((value, owner))),
                    Some(Located::Packed(run, position)) => {
                        let value = run.value(position, self.counters)?;
                        visit(index, value.as_ref().map(|value| (&**value, value)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Where the newest version of each of `wanted` is.
    fn find_chunk(self, wanted: &[u64], found: &mut [Option<Found<'a>>; CHUNK]) -> Result<(), ReadError> {
        let mut left = Left::all(wanted);
        for delta in self.sources.deltas().filter(|delta| !delta.is_empty()) {
            left.keys().iter().for_each(|&key| delta.prefetch(key));
            left.keys().iter().for_each(|&key| delta.prefetch_slot(key));
            let before = left.count;
            left.retain(|key, index| {
                found[index] = delta.get(key, self.visible).map(Found::Delta);
                found[index].is_none()
            });
            self.counters.add(Event::DeltaRead, (before - left.count) as u64);
        }
        let asked = left.count;
        let mut positions = [None; CHUNK];
        for run in &self.sources.runs {
            if left.count == 0 {
                break;
            }
            let mut searched = left;
            if run.has_filter() {
                left.keys().iter().for_each(|&key| run.prefetch_filter(key));
                searched.retain(|key, _| run.may_contain(key));
                self.counters.add(Event::Filtered, (left.count - searched.count) as u64);
            }
            let positions = &mut positions[..searched.count];
            run.find_batch(searched.keys(), positions, self.counters)?;
            for (index, position) in searched.indices.iter().zip(&*positions) {
                found[usize::from(*index)] = position.map(|position| Found::Run(run, position));
            }
            left.retain(|_, index| found[index].is_none());
        }
        if !self.sources.runs.is_empty() {
            self.counters.add(Event::IndexHit, (asked - left.count) as u64);
            self.counters.add(Event::IndexMiss, left.count as u64);
        }
        Ok(())
    }

    /// The values, on their way into the cache.
    fn locate_chunk(
        self,
        found: &[Option<Found<'a>>; CHUNK],
    ) -> Result<[Option<Located<'a>>; CHUNK], ReadError> {
        for found in found.iter().flatten() {
            if let Found::Run(run, position) = found {
                run.prefetch_locator(*position);
            }
        }
        let mut located = [None; CHUNK];
        for (found, located) in found.iter().zip(&mut located) {
            *located = match found {
                None => None,
                Some(Found::Delta(version)) => {
                    version.value.as_ref().map(|owner| Located::InPlace { value: owner, owner })
                }
                Some(Found::Run(run, position)) if run.is_compressed() => {
                    Some(Located::Packed(run, *position))
                }
                Some(Found::Run(run, position)) => run
                    .value_slice(*position, self.counters)?
                    .map(|value| Located::InPlace { value, owner: run.file() }),
            };
            if let Some(Located::InPlace { value, .. }) = located {
                prefetch(value, 0);
            }
        }
        Ok(located)
    }
}

/// The keys of a chunk that are still to be found, packed, with their places in the chunk.
#[derive(Clone, Copy)]
struct Left {
    keys: [u64; CHUNK],
    indices: [u8; CHUNK],
    count: usize,
}

const _: () = assert!(CHUNK <= 256, "places fit a byte");

impl Left {
    fn all(wanted: &[u64]) -> Self {
        let mut left = Self { keys: [0; CHUNK], indices: [0; CHUNK], count: wanted.len() };
        left.keys[..wanted.len()].copy_from_slice(wanted);
        left.indices.iter_mut().zip(0..=u8::MAX).for_each(|(index, place)| *index = place);
        left
    }

    fn keys(&self) -> &[u64] {
        &self.keys[..self.count]
    }

    /// Keeps the keys for which `keep` is true, in their order.
    fn retain(&mut self, mut keep: impl FnMut(u64, usize) -> bool) {
        let mut kept = 0;
        for at in 0..self.count {
            let (key, index) = (self.keys[at], self.indices[at]);
            self.keys[kept] = key;
            self.indices[kept] = index;
            kept += usize::from(keep(key, usize::from(index)));
        }
        self.count = kept;
    }
}
