//! Deleted ranges: which keys a range delete covers, and which versions of them.
//!
//! A range tombstone covers every version of its keys with an offset below its own. Recent ones live in the delta
//! beside the versions; at flush, those that older runs still need go into the manifest and from there into the
//! sources of every read. They are never part of a run: a compaction that has rewritten every run a tombstone still
//! applies to, without what it covers, drops it.
//!
//! A list is immutable and is asked in two ways: a reader that sees all of it searches disjoint fragments, each with
//! the newest offset that covers it; one from before its newest tombstones goes through the tombstones themselves.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
use crate::sources::Sources;

/// Range tombstones in memory, or in the manifest, from which a flush or a merge of all runs is due.
pub(crate) const MANY: usize = 1024;

/// Range tombstones in all, from which no more are taken until a compaction has dropped some.
pub(crate) const TOO_MANY: usize = 4096;

/// Every key in `from..=to` was deleted at `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeTombstone {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) offset: u64,
}

impl RangeTombstone {
    fn covers(&self, key: u64) -> bool {
        self.from <= key && key <= self.to
    }
}

/// A list of range tombstones; see the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeTombstones {
    /// By offset.
    tombstones: Vec<RangeTombstone>,
    /// By key, disjoint; the offset is the newest of those that cover the keys.
    fragments: Vec<RangeTombstone>,
}

impl RangeTombstones {
    /// A list of `tombstones`, in any order.
    pub(crate) fn new(tombstones: impl IntoIterator<Item = RangeTombstone>) -> Self {
        let mut sorted: Vec<_> = tombstones.into_iter().collect();
        sorted.sort_unstable_by_key(|tombstone| tombstone.offset);
        let mut list = Self::default();
        for tombstone in sorted {
            list.push(tombstone);
        }
        list
    }

    /// Adds a tombstone that is newer than all others. One over no key is left out.
    pub(crate) fn push(&mut self, tombstone: RangeTombstone) {
        let RangeTombstone { from, to, .. } = tombstone;
        if from > to {
            return;
        }
        self.tombstones.push(tombstone);
        // The newest one wins wherever it reaches: what it overlaps shrinks to the ends that stick out.
        let first = self.fragments.partition_point(|fragment| fragment.to < from);
        let after = self.fragments.partition_point(|fragment| fragment.from <= to);
        let overlapped = &self.fragments[first..after];
        let left = overlapped.first().filter(|fragment| fragment.from < from);
        let left = left.map(|fragment| RangeTombstone { to: from - 1, ..*fragment });
        let right = overlapped.last().filter(|fragment| fragment.to > to);
        let right = right.map(|fragment| RangeTombstone { from: to + 1, ..*fragment });
        self.fragments.splice(first..after, left.into_iter().chain([tombstone]).chain(right));
    }

    /// The offset of the newest tombstone below `visible` that covers `key`.
    pub(crate) fn newest_over(&self, key: u64, visible: u64) -> Option<u64> {
        if self.tombstones.last()?.offset < visible {
            let at = self.fragments.partition_point(|fragment| fragment.to < key);
            return self.fragments.get(at).filter(|fragment| fragment.covers(key)).map(|found| found.offset);
        }
        let seen = self.tombstones.partition_point(|tombstone| tombstone.offset < visible);
        self.tombstones[..seen].iter().rev().find(|tombstone| tombstone.covers(key)).map(|found| found.offset)
    }

    /// Whether a version of `key` with this offset is covered by any of them.
    pub(crate) fn cover(&self, key: u64, offset: u64) -> bool {
        self.newest_over(key, u64::MAX).is_some_and(|newest| newest > offset)
    }

    /// The first key that a tombstone covers from where `key` is on: not beyond `key` if one covers that, `None` if none
    /// covers anything there.
    pub(crate) fn next_from(&self, key: u64) -> Option<u64> {
        let at = self.fragments.partition_point(|fragment| fragment.to < key);
        self.fragments.get(at).map(|fragment| fragment.from)
    }

    /// The tombstones, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RangeTombstone> {
        self.tombstones.iter()
    }

    fn contains(&self, tombstone: &RangeTombstone) -> bool {
        let found = self.tombstones.binary_search_by_key(&tombstone.offset, |one| one.offset);
        found.is_ok_and(|at| self.tombstones[at] == *tombstone)
    }

    pub(crate) fn len(&self) -> usize {
        self.tombstones.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tombstones.is_empty()
    }
}

/// A range tombstone as the manifest keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeEntry {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) offset: u64,
    /// Numbers of the runs that may hold what it covers. It goes when the last of them does.
    pub(crate) runs: Vec<u64>,
}

impl RangeEntry {
    pub(crate) fn tombstone(&self) -> RangeTombstone {
        RangeTombstone { from: self.from, to: self.to, offset: self.offset }
    }
}

impl Manifest {
    /// Takes over the tombstones of a delta that is flushed, before its own run is named: that run holds nothing they
    /// cover, all others may.
    pub(crate) fn keep_ranges(&mut self, flushed: &RangeTombstones) {
        let runs: Vec<u64> = self.runs.iter().map(|run| run.number).collect();
        if runs.is_empty() {
            return;
        }
        self.ranges.extend(flushed.iter().map(|&RangeTombstone { from, to, offset }| RangeEntry {
            from,
            to,
            offset,
            runs: runs.clone(),
        }));
    }

    /// Some runs were merged into one, or into nothing, without what the `applied` tombstones cover. Those lose the
    /// merged runs and go when none is left; one that came meanwhile applies to the new run instead. Gives what went.
    pub(crate) fn settle_ranges(
        &mut self,
        merged: impl Fn(u64) -> bool,
        new: Option<u64>,
        applied: &RangeTombstones,
    ) -> Vec<RangeTombstone> {
        let mut gone = Vec::new();
        self.ranges.retain_mut(|range| {
            let tombstone = range.tombstone();
            let before = range.runs.len();
            range.runs.retain(|run| !merged(*run));
            if range.runs.len() < before && !applied.contains(&tombstone) {
                range.runs.extend(new);
            }
            if range.runs.is_empty() {
                gone.push(tombstone);
            }
            !range.runs.is_empty()
        });
        gone
    }
}

impl Sources {
    /// As [`Manifest::keep_ranges`].
    pub(crate) fn keep_ranges(&mut self, flushed: &RangeTombstones) {
        if !flushed.is_empty() && !self.runs.is_empty() {
            let all = self.ranges.iter().chain(flushed.iter());
            self.ranges = Arc::new(RangeTombstones::new(all.copied()));
        }
    }

    /// Forgets tombstones that apply to no run any more.
    pub(crate) fn drop_ranges(&mut self, gone: &[RangeTombstone]) {
        if !gone.is_empty() {
            let left = self.ranges.iter().filter(|tombstone| !gone.contains(tombstone));
            self.ranges = Arc::new(RangeTombstones::new(left.copied()));
        }
    }

    /// Whether any range tombstone has a say in a read.
    #[inline]
    pub(crate) fn has_ranges(&self) -> bool {
        !self.ranges.is_empty() || self.deltas().any(|delta| delta.has_ranges())
    }

    /// How many range tombstones there are.
    pub(crate) fn range_tombstones(&self) -> usize {
        self.ranges.len() + self.deltas().map(|delta| delta.ranges().len()).sum::<usize>()
    }

    /// The offset of the newest range tombstone below `visible` that covers `key`.
    pub(crate) fn newest_range_over(&self, key: u64, visible: u64) -> Option<u64> {
        let recent = self.deltas().filter(|delta| delta.has_ranges());
        let newest = |ranges: &RangeTombstones| ranges.newest_over(key, visible);
        recent.map(|delta| delta.ranges()).find_map(|ranges| newest(&ranges)).or_else(|| newest(&self.ranges))
    }

    /// All range tombstones below `visible`, for a read of many keys; `None` when there are none. Where only runs need
    /// any, as is usual, their list is shared.
    pub(crate) fn covers(&self, visible: u64) -> Option<Arc<RangeTombstones>> {
        if !self.has_ranges() {
            return None;
        }
        let recent: Vec<_> =
            self.deltas().filter(|delta| delta.has_ranges()).map(|delta| delta.ranges()).collect();
        if recent.is_empty() {
            return Some(Arc::clone(&self.ranges));
        }
        let recent = recent.iter().flat_map(|ranges| ranges.iter());
        let seen = self.ranges.iter().chain(recent).filter(|tombstone| tombstone.offset < visible);
        Some(Arc::new(RangeTombstones::new(seen.copied())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::{RunEntry, Uuid, WalState};

    fn tombstones() -> impl Strategy<Value = Vec<RangeTombstone>> {
        let key = || prop_oneof![8 => 0..40_u64, 1 => u64::MAX - 2..=u64::MAX];
        proptest::collection::vec((key(), key()), 0..30).prop_map(|ends| {
            let tombstone = |((from, to), offset)| RangeTombstone { from, to, offset };
            ends.into_iter().zip((1..).map(|offset| offset * 3)).map(tombstone).collect()
        })
    }

    #[test]
    fn a_tombstone_stays_until_every_run_it_applies_to_is_rewritten() {
        let run = |number| RunEntry { number, uuid: Uuid([0; 16]), entries: 1, bytes: 1, offset: None };
        let wal = WalState { first_segment: Some(1), replay_from: 0, oldest_event: None };
        let mut manifest = Manifest {
            uuid: Uuid([1; 16]),
            generation: 1,
            epoch: 1,
            wal,
            next_run: 4,
            runs: vec![run(3), run(2), run(1)],
            ranges: Vec::new(),
            versions: Default::default(),
            clean: None,
        };
        let tombstone = |offset| RangeTombstone { from: 5, to: 9, offset };
        let first = RangeTombstones::new([tombstone(10)]);
        manifest.keep_ranges(&first);
        assert_eq!(manifest.ranges[0].runs, [3, 2, 1]);

        assert_eq!(manifest.settle_ranges(|run| run >= 2, Some(4), &first), []);
        assert_eq!(manifest.ranges[0].runs, [1], "the merged run holds nothing it covers");

        // One that came while a merge was under way, which did not apply it.
        manifest.runs.retain(|run| run.number == 1);
        manifest.keep_ranges(&RangeTombstones::new([tombstone(20)]));
        assert_eq!(manifest.settle_ranges(|run| run == 1, Some(6), &first), [tombstone(10)]);
        assert_eq!(manifest.ranges.len(), 1);
        assert_eq!(manifest.ranges[0].runs, [6], "it applies to the new run");
        assert_eq!(
            manifest.settle_ranges(|run| run == 6, None, &first),
            [tombstone(20)],
            "which is gone now"
        );
        assert!(manifest.ranges.is_empty());
    }

    proptest! {
        #[test]
        fn a_list_answers_for_every_key_and_reader(tombstones in tombstones()) {
            let list = RangeTombstones::new(tombstones.iter().rev().copied());
            prop_assert!(list.fragments.iter().all(|fragment| fragment.from <= fragment.to));
            prop_assert!(list.fragments.is_sorted_by(|a, b| a.to < b.from));
            let keys = (0..42).chain(u64::MAX - 3..=u64::MAX);
            for (key, visible) in keys.flat_map(|key| (0..100).chain([u64::MAX]).map(move |below| (key, below))) {
                let expected = tombstones.iter().filter(|one| one.covers(key) && one.offset < visible);
                let expected = expected.map(|one| one.offset).max();
                prop_assert_eq!(list.newest_over(key, visible), expected, "key {} below {}", key, visible);
            }
        }
    }
}
