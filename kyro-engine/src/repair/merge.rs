//! Every key once: the newest version that can be read, and whether a newer one cannot.

use std::iter::Peekable;
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::report::{LostKey, RepairReport};
use super::runs::{Content, RunFile};
use crate::range_tombstones::RangeTombstones;

/// A version of a key.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) key: u64,
    /// Its offset, if that can be read.
    pub(super) offset: Option<u64>,
    pub(super) content: Content,
    /// The run it is in; `None` for the log.
    pub(super) run: Option<usize>,
}

/// What decides between versions.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) runs: &'a [RunFile],
    /// Below this offset the runs have the outcome of every operation: the log only fills what they lost.
    pub(super) replay_from: u64,
    /// Keys for which a run may have lost its entry; ascending and apart.
    pub(super) lost_places: Vec<RangeInclusive<u64>>,
    /// Offsets, from and below, for which the log stands in for a run that may be missing.
    pub(super) of_missing_runs: Vec<(u64, u64)>,
    /// Deleted ranges, of the log and of the manifest.
    pub(super) ranges: &'a RangeTombstones,
}

/// Sources in key order, merged.
pub(super) struct Versions<'a> {
    sources: Vec<Peekable<Box<dyn Iterator<Item = Candidate> + 'a>>>,
    candidates: Vec<Candidate>,
}

impl<'a> Versions<'a> {
    pub(super) fn new(sources: impl IntoIterator<Item = Box<dyn Iterator<Item = Candidate> + 'a>>) -> Self {
        Self { sources: sources.into_iter().map(Iterator::peekable).collect(), candidates: Vec::new() }
    }

    /// The next key with all its versions.
    pub(super) fn next_key(&mut self) -> Option<(u64, &[Candidate])> {
        let keys = self.sources.iter_mut().filter_map(|source| source.peek().map(|candidate| candidate.key));
        let key = keys.min()?;
        self.candidates.clear();
        for source in &mut self.sources {
            self.candidates.extend(std::iter::from_fn(|| source.next_if(|candidate| candidate.key == key)));
        }
        Some((key, &self.candidates))
    }
}

/// The value of a key, and its offset where that could be read.
pub(super) type Outcome = Option<(Option<u64>, Bytes)>;

impl Rules<'_> {
    /// The value that a key gets. A newer one that cannot be read goes to the report.
    pub(super) fn resolve(&self, key: u64, candidates: &[Candidate], report: &mut RepairReport) -> Outcome {
        let uncertain = candidates
            .iter()
            .any(|one| one.run.is_some() && (one.offset.is_none() || matches!(one.content, Content::Lost)));
        let use_all = uncertain || self.is_lost_place(key);
        // What the log has of an old operation fills only the run that had its outcome.
        let fills = |one: &Candidate| {
            self.runs.iter().enumerate().any(|(index, run)| {
                let unread = |other: &Candidate| {
                    other.run == Some(index)
                        && (other.offset.is_none() || matches!(other.content, Content::Lost))
                };
                let order = self.order(one);
                run.offsets.contains(&order)
                    && (run.opened.is_none()
                        || run.gaps.iter().any(|gap| gap.may_hold(key, order))
                        || candidates.iter().any(unread))
            })
        };
        let stands_in = |one: &Candidate| {
            let order = self.order(one);
            order >= self.replay_from
                || self.of_missing_runs.iter().any(|&(first, next)| first <= order && order < next)
        };
        let counts = |one: &&Candidate| {
            !self.is_range_deleted(one) && (one.run.is_some() || stands_in(one) || (use_all && fills(one)))
        };
        let is_lost = |one: &&Candidate| matches!(one.content, Content::Lost);
        let counted = || candidates.iter().filter(counts);
        let mut best = counted().filter(|one| !is_lost(one)).max_by_key(|one| self.order(one));
        let lost = counted().filter(is_lost).max_by_key(|one| self.order(one));
        // The log may know the offset of a value that the run has without it.
        if let Some(found) = best.filter(|one| one.offset.is_none())
            && let Content::Value(value) = &found.content
        {
            let same = |one: &&Candidate| matches!(&one.content, Content::Value(other) if other == value);
            let range = found.run.and_then(|run| self.runs.get(run)).map(|run| run.offsets.clone());
            let inside =
                |one: &&Candidate| range.as_ref().is_some_and(|range| range.contains(&self.order(one)));
            let named = counted().filter(|one| one.run.is_none()).filter(inside).filter(same);
            best = named.max_by_key(|one| self.order(one)).or(best);
        }
        if let Some(lost) = lost
            && best.is_none_or(|best| self.order(best) < self.order(lost))
        {
            let instead = best.filter(|best| matches!(best.content, Content::Value(_)));
            report.lost_keys.push(LostKey {
                key,
                offset: lost.offset,
                file: lost
                    .run
                    .and_then(|run| self.runs.get(run))
                    .map(|run| run.path.clone())
                    .unwrap_or_default(),
                instead: instead.map(|best| self.order(best)),
            });
        }
        match &best?.content {
            Content::Value(value) => Some((best?.offset, value.clone())),
            Content::Deleted | Content::Lost => None,
        }
    }

    /// The offset, or the largest it can have.
    fn order(&self, candidate: &Candidate) -> u64 {
        candidate.offset.unwrap_or_else(|| {
            candidate.run.and_then(|run| self.runs.get(run)).map_or(0, |run| *run.offsets.end())
        })
    }

    /// Whether the version is gone with a range. Without its offset: whether every one that it can have is.
    fn is_range_deleted(&self, candidate: &Candidate) -> bool {
        let run = candidate.run.filter(|_| candidate.offset.is_none()).and_then(|run| self.runs.get(run));
        self.ranges.cover(candidate.key, self.order(candidate))
            || run.is_some_and(|run| run.ranges.newest_over(candidate.key, u64::MAX).is_some())
    }

    fn is_lost_place(&self, key: u64) -> bool {
        let index = self.lost_places.partition_point(|range| *range.end() < key);
        self.lost_places.get(index).is_some_and(|range| range.contains(&key))
    }
}

/// Ranges in order and apart.
pub(super) fn united(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut united: Vec<RangeInclusive<u64>> = Vec::new();
    for range in ranges {
        match united.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => united.push(range),
        }
    }
    united
}
