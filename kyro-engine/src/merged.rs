//! The merge under a scan: the delta's sorted segments and the runs, each with a cursor, newest source first.
//!
//! The cursor with the smallest key leads for as long as its keys stay below all others', so that a long run beside few
//! recent writes costs little more than the run alone. Of equal keys the newest source's version counts, and the
//! others' are stepped over. The memory it takes does not grow with the range.
//!
//! Backwards is forwards over complemented keys.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::counters::Counters;
use crate::cursor::{Cursor, Head, Source};
use crate::error::ReadError;
use crate::range_tombstones::RangeTombstones;
use crate::scan::{Entry, EntryRef, Scan};
use crate::sources::Sources;

/// See the module.
#[derive(Debug)]
pub(crate) struct Merged {
    cursors: Vec<Cursor>,
    leader: usize,
    /// The leader leads while its keys, in scan order, are below this; `None` is beyond all keys.
    until: Option<u64>,
    /// Keys are in scan order when combined with this.
    mask: u64,
    keys_only: bool,
    /// Deleted ranges, when there are any.
    deleted: Option<Arc<RangeTombstones>>,
}

/// A live version: which cursor has it, and where.
#[derive(Debug, Clone)]
pub(crate) struct At {
    cursor: usize,
    head: Head,
    offset: u64,
    value: Range<usize>,
}

impl Merged {
    /// Cursors over every source that holds something in the range. Costs a search in each.
    pub(crate) fn open(
        sources: &Sources,
        visible: u64,
        scan: Scan,
        counters: &Counters,
    ) -> Result<Self, ReadError> {
        let mut cursors = Vec::new();
        if let Some((from, to)) = scan.keys {
            let mut add = |source| {
                let cursor = Cursor::new(source, from, to, scan.reverse, counters)?;
                cursors.extend(cursor.head().is_some().then_some(cursor));
                Ok(())
            };
            for delta in sources.deltas().filter(|delta| !delta.is_empty()) {
                let sorted = delta.sorted(visible);
                let bound = sorted.bound;
                sorted.newest_first().try_for_each(|segment| {
                    let (delta, segment) = (Arc::clone(delta), Arc::clone(segment));
                    add(Source::Segment { delta, segment, bound })
                })?;
            }
            let reached = sources.runs.iter().filter(|run| run.may_hold(from, to));
            reached.cloned().try_for_each(|run| add(Source::Run(run)))?;
        }
        let mask = if scan.reverse { u64::MAX } else { 0 };
        // Below every key: the first leader is yet to be found.
        let deleted = sources.covers(visible);
        Ok(Self { cursors, leader: 0, until: Some(0), mask, keys_only: scan.keys_only, deleted })
    }

    /// The next live version.
    #[inline]
    pub(crate) fn next(&mut self, counters: &Counters) -> Result<Option<At>, ReadError> {
        while let Some(head) = self.lead(counters)? {
            let cursor = &mut self.cursors[self.leader];
            let read = cursor.read(head, self.keys_only, counters)?;
            cursor.advance(counters)?;
            if let Some(value) = read.value
                && !covers(self.deleted.as_deref(), head.key, read.offset)
            {
                return Ok(Some(At { cursor: self.leader, head, offset: read.offset, value }));
            }
        }
        Ok(None)
    }

    /// Visits live versions until `visit` breaks or there are no more.
    pub(crate) fn visit(
        &mut self,
        counters: &Counters,
        mut visit: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let deleted = self.deleted.clone();
        let deleted = deleted.as_deref();
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() {
            let Some(head) = self.lead(counters)? else { break };
            let cursor = &mut self.cursors[self.leader];
            if cursor.is_run() {
                cursor.walk(self.until, self.keys_only, counters, |entry| {
                    if !covers(deleted, entry.key, entry.offset) {
                        flow = visit(entry);
                    }
                    flow
                })?;
                continue;
            }
            let read = cursor.read(head, self.keys_only, counters)?;
            if let Some(value) = read.value
                && !covers(deleted, head.key, read.offset)
            {
                let value = cursor.value(head, value);
                flow = visit(EntryRef { key: head.key, offset: read.offset, value });
            }
            cursor.advance(counters)?;
        }
        Ok(())
    }

    /// Goes past at most `most` live versions, forwards, and gives how many there were. A stretch of a run that no other
    /// source and no deleted range has a say in is not read: positions in it are ranks.
    pub(crate) fn skip(&mut self, most: u64, counters: &Counters) -> Result<u64, ReadError> {
        debug_assert_eq!(self.mask, 0, "backwards");
        let mut left = most;
        while left > 0 {
            let Some(head) = self.lead(counters)? else { break };
            let cursor = &mut self.cursors[self.leader];
            let covered_from = self.deleted.as_deref().and_then(|deleted| deleted.next_from(head.key));
            if cursor.has_only_live() && covered_from.is_none_or(|from| head.key < from) {
                let until = match (self.until, covered_from) {
                    (Some(until), Some(from)) => Some(until.min(from)),
                    (until, from) => until.or(from),
                };
                left -= cursor.skip(until, left, counters)?;
                continue;
            }
            let read = cursor.read(head, true, counters)?;
            cursor.advance(counters)?;
            left -=
                u64::from(read.value.is_some() && !covers(self.deleted.as_deref(), head.key, read.offset));
        }
        Ok(most - left)
    }

    /// What [`Merged::next`] found, borrowed.
    #[inline]
    pub(crate) fn borrow(&self, at: At) -> EntryRef<'_> {
        let value = self.cursors[at.cursor].value(at.head, at.value);
        EntryRef { key: at.head.key, offset: at.offset, value }
    }

    /// What [`Merged::next`] found, sharing its memory.
    #[inline]
    pub(crate) fn share(&self, at: At) -> Entry {
        let value = self.cursors[at.cursor].share(at.head, at.value);
        Entry { key: at.head.key, offset: at.offset, value }
    }

    /// The leader's head.
    #[inline]
    fn lead(&mut self, counters: &Counters) -> Result<Option<Head>, ReadError> {
        let head = self.cursors.get(self.leader).and_then(Cursor::head);
        match head.filter(|head| self.until.is_none_or(|until| head.key ^ self.mask < until)) {
            Some(head) => Ok(Some(head)),
            None => self.elect(counters),
        }
    }

    /// Finds the leader: of the cursors with the first key in scan order the newest. The others with that key step over
    /// it.
    fn elect(&mut self, counters: &Counters) -> Result<Option<Head>, ReadError> {
        let mut first: Option<(usize, Head)> = None;
        for (index, cursor) in self.cursors.iter().enumerate() {
            if let Some(head) = cursor.head()
                && first.is_none_or(|(_, first)| head.key ^ self.mask < first.key ^ self.mask)
            {
                first = Some((index, head));
            }
        }
        let Some((leader, head)) = first else { return Ok(None) };
        self.leader = leader;
        self.until = None;
        for (index, cursor) in self.cursors.iter_mut().enumerate().filter(|(index, _)| *index != leader) {
            debug_assert!(index > leader || cursor.head().is_none_or(|other| other.key != head.key));
            if cursor.head().is_some_and(|other| other.key == head.key) {
                cursor.advance(counters)?;
            }
            if let Some(other) = cursor.head() {
                let key = other.key ^ self.mask;
                self.until = Some(self.until.map_or(key, |until| until.min(key)));
            }
        }
        Ok(Some(head))
    }
}

#[inline]
fn covers(deleted: Option<&RangeTombstones>, key: u64, offset: u64) -> bool {
    deleted.is_some_and(|deleted| deleted.cover(key, offset))
}
