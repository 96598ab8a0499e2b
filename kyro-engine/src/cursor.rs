//! A cursor over one ordered source of a scan: a run, or a segment of a delta; in either direction.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use kyro_simd::prefetch;
use kyro_snapshot::LastBlock;

use crate::counters::Counters;
use crate::delta::{Delta, Place, Segment, SortedValue};
use crate::error::ReadError;
use crate::indexed_run::IndexedRun;
use crate::scan::EntryRef;

/// What a cursor walks.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Run(Arc<IndexedRun>),
    /// Versions of a delta with a number below the bound.
    Segment {
        delta: Arc<Delta>,
        segment: Arc<Segment>,
        bound: u64,
    },
}

/// Where a cursor is: a key, and where the source has its version of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) key: u64,
    at: u64,
}

/// A version as a cursor reads it.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) offset: u64,
    /// Where the value is in the memory that holds it; `None` for a tombstone, empty where only the key was asked for.
    pub(crate) value: Option<Range<usize>>,
}

/// See the module. Gives each key once, in order.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    source: Source,
    /// Positions in the source that are still ahead.
    low: usize,
    high: usize,
    reverse: bool,
    head: Option<Head>,
    unpacked: Unpacked,
}

/// Where the source has compressed values: the last one read, and the block it was in.
#[derive(Debug, Clone, Default)]
struct Unpacked {
    value: Option<Bytes>,
    last: LastBlock,
}

impl Cursor {
    /// A cursor over the keys `from..=to` of `source`, at the first of them.
    pub(crate) fn new(
        source: Source,
        from: u64,
        to: u64,
        reverse: bool,
        counters: &Counters,
    ) -> Result<Self, ReadError> {
        let after = to.checked_add(1);
        let (low, high) = match &source {
            Source::Run(run) => {
                let high = after.map_or(Ok(run.len() as usize), |after| run.lower_bound(after, counters))?;
                (if from == 0 { 0 } else { run.lower_bound(from, counters)? }, high)
            }
            Source::Segment { segment, .. } => {
                let places = segment.places();
                let before = |bound: u64| places.partition_point(|place| place.key < bound);
                (before(from), after.map_or(places.len(), before))
            }
        };
        let mut cursor = Self { source, low, high, reverse, head: None, unpacked: Unpacked::default() };
        cursor.advance(counters)?;
        Ok(cursor)
    }

    /// The version at hand; `None` past the last.
    #[inline]
    pub(crate) fn head(&self) -> Option<Head> {
        self.head
    }

    /// Goes to the next key.
    #[inline]
    pub(crate) fn advance(&mut self, counters: &Counters) -> Result<(), ReadError> {
        self.head = match &self.source {
            _ if self.low >= self.high => None,
            Source::Run(run) => {
                let position = if self.reverse { self.high - 1 } else { self.low };
                (self.low, self.high) =
                    if self.reverse { (self.low, position) } else { (position + 1, self.high) };
                let key = run.key(position, counters)?;
                Some(Head { key, at: position as u64 })
            }
            Source::Segment { delta, segment, bound } => {
                let ahead = &segment.places()[self.low..self.high];
                if segment.has_elsewhere() {
                    prefetch_ahead(delta, ahead, self.reverse);
                }
                let (taken, at) =
                    if self.reverse { last_key(ahead, *bound) } else { first_key(ahead, *bound) };
                let head = at.map(|at| Head { key: ahead[at].key, at: (self.low + at) as u64 });
                (self.low, self.high) =
                    if self.reverse { (self.low, self.high - taken) } else { (self.low + taken, self.high) };
                head
            }
        };
        Ok(())
    }

    /// Reads the version that a head of this cursor told of. Its value can be had until the next is read.
    #[inline]
    pub(crate) fn read(
        &mut self,
        head: Head,
        keys_only: bool,
        counters: &Counters,
    ) -> Result<Read, ReadError> {
        match &self.source {
            Source::Run(run) if run.is_compressed() && !keys_only => {
                let Read { offset, value } = run.read(head.at as usize, keys_only, counters)?;
                let last = &mut self.unpacked.last;
                let value = value.map(|place| run.at_place(place, last, counters)).transpose()?;
                let len = value.as_ref().map(Bytes::len);
                self.unpacked.value = value;
                Ok(Read { offset, value: len.map(|len| 0..len) })
            }
            Source::Run(run) => run.read(head.at as usize, keys_only, counters),
            Source::Segment { segment, .. } => {
                let at = head.at as usize;
                let length = match segment.value(at) {
                    SortedValue::Tombstone => None,
                    _ if keys_only => Some(0),
                    SortedValue::Here(value) => Some(value.len()),
                    SortedValue::Elsewhere => Some(self.owner(head).map_or(0, Bytes::len)),
                };
                Ok(Read { offset: segment.offset(at), value: length.map(|length| 0..length) })
            }
        }
    }

    /// The value that was read at a head of this cursor.
    #[inline]
    pub(crate) fn value(&self, head: Head, value: Range<usize>) -> &[u8] {
        if let Source::Segment { segment, .. } = &self.source
            && let SortedValue::Here(here) = segment.value(head.at as usize)
        {
            return &here[value];
        }
        self.owner(head).map_or(&[], |owner| &owner[value])
    }

    /// As [`Cursor::value`], sharing the memory; or copied, where it lies in a segment, which nobody is to keep for it.
    #[inline]
    pub(crate) fn share(&self, head: Head, value: Range<usize>) -> Bytes {
        if let Source::Segment { segment, .. } = &self.source
            && let SortedValue::Here(here) = segment.value(head.at as usize)
        {
            return Bytes::copy_from_slice(&here[value]);
        }
        self.owner(head).map_or_else(Bytes::new, |owner| owner.slice(value))
    }

    fn owner(&self, head: Head) -> Option<&Bytes> {
        match &self.source {
            Source::Run(run) => self.unpacked.value.as_ref().or(Some(run.file())),
            Source::Segment { delta, segment, .. } => {
                // Segments hold numbers of versions that are there.
                let place = segment.places().get(head.at as usize)?;
                delta.version(place.number).and_then(|version| version.value.as_ref())
            }
        }
    }

    /// Whether [`Cursor::walk`] can be used.
    pub(crate) fn is_run(&self) -> bool {
        matches!(self.source, Source::Run(_))
    }

    /// Whether every version ahead is one that has a value, so that [`Cursor::skip`] can be used; forwards.
    pub(crate) fn has_only_live(&self) -> bool {
        matches!(&self.source, Source::Run(run) if run.tombstones() == 0)
    }

    /// Goes past the keys before `until`, the head's among them, but at most `most`; gives how many. Costs by the
    /// logarithm of that.
    pub(crate) fn skip(
        &mut self,
        until: Option<u64>,
        most: u64,
        counters: &Counters,
    ) -> Result<u64, ReadError> {
        let (Source::Run(run), Some(head)) = (&self.source, self.head) else { return Ok(0) };
        let start = head.at as usize;
        let mut end = self.high.min(start.saturating_add(usize::try_from(most).unwrap_or(usize::MAX)));
        if let Some(until) = until {
            // Doubling steps, then halving ones: stretches between recent writes may be short.
            let (mut before, mut step) = (start, 1);
            while before + step < end && run.key(before + step, counters)? < until {
                before += step;
                step *= 2;
            }
            end = end.min(before + step);
            while before + 1 < end {
                let middle = before + (end - before) / 2;
                if run.key(middle, counters)? < until {
                    before = middle;
                } else {
                    end = middle;
                }
            }
            end = before + 1;
        }
        self.low = end;
        self.advance(counters)?;
        Ok((end - start) as u64)
    }

    /// Visits versions from the head on, in a loop over the run's columns, until `visit` breaks, a key is reached that
    /// is not before `until` in scan order, or there are no more. The version that ended the walk by its key is the
    /// head afterwards; one that `visit` broke at has been left behind.
    pub(crate) fn walk(
        &mut self,
        until: Option<u64>,
        keys_only: bool,
        counters: &Counters,
        mut visit: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let (Source::Run(run), Some(head)) = (&self.source, self.head) else { return Ok(()) };
        let mask = if self.reverse { u64::MAX } else { 0 };
        let goes_on = |key: u64| until.is_none_or(|until| key ^ mask < until);
        let mut left = 0;
        let mut step = |entry: EntryRef<'_>, is_tombstone: bool| {
            left += 1;
            if is_tombstone { ControlFlow::Continue(()) } else { visit(entry) }
        };
        let at = head.at as usize;
        if self.reverse {
            run.walk(self.low..at + 1, true, keys_only, goes_on, counters, &mut step)?;
            self.high = at + 1 - left;
        } else {
            run.walk(at..self.high, false, keys_only, goes_on, counters, &mut step)?;
            self.low = at + left;
        }
        self.advance(counters)
    }
}

/// Places ahead whose version, and whose value, is asked for where values are long: versions are in the order of their
/// writing, so each is a cache miss, and its value another.
const VERSION_AHEAD: usize = 16;
const VALUE_AHEAD: usize = 8;

#[inline]
fn prefetch_ahead(delta: &Delta, ahead: &[Place], reverse: bool) {
    let place = |distance: usize| {
        let at = if reverse { ahead.len().checked_sub(distance + 1)? } else { distance };
        ahead.get(at)
    };
    if let Some(place) = place(VERSION_AHEAD) {
        delta.prefetch_version(place.number);
    }
    if let Some(place) = place(VALUE_AHEAD)
        && let Some(value) = delta.version(place.number).and_then(|version| version.value.as_ref())
    {
        prefetch(value, 0);
    }
}

/// The first key in `ahead` with a version below `bound`: how many places to leave behind, and where the newest such
/// version is.
#[inline]
fn first_key(ahead: &[Place], bound: u64) -> (usize, Option<usize>) {
    let Some(at) = ahead.iter().position(|place| place.number < bound) else { return (ahead.len(), None) };
    let key = ahead[at].key;
    let older = &ahead[at + 1..];
    // Most keys have one version. One that has very many is left behind by bisection.
    let same = match older.iter().take(8).position(|place| place.key != key) {
        Some(next) => next,
        None => older.partition_point(|place| place.key == key),
    };
    (at + 1 + same, Some(at))
}

/// As [`first_key`], from the end.
#[inline]
fn last_key(ahead: &[Place], bound: u64) -> (usize, Option<usize>) {
    let mut left = ahead;
    while let Some(last) = left.last() {
        let key = last.key;
        let start = match left.iter().rev().take(8).position(|place| place.key != key) {
            Some(others) => left.len() - others,
            None => left.partition_point(|place| place.key < key),
        };
        let (before, versions) = left.split_at(start);
        left = before;
        // Newest first, and the newest may be beyond the bound.
        let visible = versions.partition_point(|place| place.number >= bound);
        if visible < versions.len() {
            return (ahead.len() - left.len(), Some(left.len() + visible));
        }
    }
    (ahead.len(), None)
}
