//! Counting and choosing by rank.
//!
//! Positions in a run are ranks as long as every entry of it is live and nothing else has a say; then two lookups
//! count, and a position is an entry. Otherwise the keys are merged and counted, without their values; and stretches of a
//! run without tombstones in which nothing else has a say are counted by their ends.

use std::ops::RangeBounds;

use crate::error::ReadError;
use crate::indexed_run::IndexedRun;
use crate::merged::Merged;
use crate::reading::Reading;
use crate::scan::{Entry, Scan, ends};

/// Keys counted between two looks at whether they are still wanted.
const COUNTED_AT_ONCE: u64 = 1 << 16;

impl<'a> Reading<'a> {
    /// How many keys in `range` have a value.
    pub(crate) fn count(self, range: &impl RangeBounds<u64>) -> Result<u64, ReadError> {
        let Some((from, to)) = ends(range) else { return Ok(0) };
        if let Some(run) = self.only_run() {
            let before = |key| run.lower_bound(key, self.counters).map(|position| position as u64);
            let high = to.checked_add(1).map_or(Ok(run.len()), before)?;
            return Ok(high - before(from)?);
        }
        let scan = Scan::range(from..=to).keys_only();
        Merged::open(self.sources, self.visible, scan, self.counters)?.skip(u64::MAX, self.counters)
    }

    /// How many keys have a value. Now and then `go_on` is told how many were counted so far; where it says no, that is
    /// all.
    pub(crate) fn count_while(self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<u64, ReadError> {
        if let Some(run) = self.only_run() {
            return Ok(run.len());
        }
        let mut merged = Merged::open(self.sources, self.visible, Scan::all().keys_only(), self.counters)?;
        let mut counted = 0;
        loop {
            let more = merged.skip(COUNTED_AT_ONCE, self.counters)?;
            counted += more;
            if more < COUNTED_AT_ONCE || !go_on(counted) {
                return Ok(counted);
            }
        }
    }

    /// The entry with `rank` live keys before it.
    pub(crate) fn select(self, rank: u64) -> Result<Option<Entry>, ReadError> {
        if let Some(run) = self.only_run() {
            if rank >= run.len() {
                return Ok(None);
            }
            let position = rank as usize;
            let key = run.key(position, self.counters)?;
            let entry = run.entry(position, self.counters)?;
            return Ok(entry.map(|(offset, value)| Entry { key, offset, value }));
        }
        let mut merged = Merged::open(self.sources, self.visible, Scan::all().keys_only(), self.counters)?;
        if merged.skip(rank, self.counters)? < rank {
            return Ok(None);
        }
        let Some(at) = merged.next(self.counters)? else { return Ok(None) };
        let key = merged.borrow(at).key;
        Ok(self.get_entry(key)?.map(|(offset, value)| Entry { key, offset, value }))
    }

    /// The run that holds every live key and nothing else, if there is one.
    fn only_run(self) -> Option<&'a IndexedRun> {
        if self.sources.has_ranges() || !self.sources.deltas().all(|delta| delta.is_empty()) {
            return None;
        }
        match &*self.sources.runs {
            [run] if run.tombstones() == 0 => Some(run),
            _ => None,
        }
    }
}
