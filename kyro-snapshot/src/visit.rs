//! Walking a stretch of a run as fast as its columns can be read: blocks are verified for many entries at once, and
//! the loop over them asks nothing.

use std::ops::{ControlFlow, Range};

use crate::error::Corrupt;
use crate::format::{MAX_OFFSET, TOMBSTONE};
use crate::iter::{Record, RecordRef};
use crate::run::{Run, Stamp};

/// Entries that are verified together: few at first, for whoever wants few.
const FIRST: usize = 32;
const MOST: usize = 1024;

impl<B: AsRef<[u8]>> Run<B> {
    /// Visits the entries with an index in `range` (cut to the entries there are) in key order, or against it with
    /// `reverse`, until `visit` breaks, or a key comes for which `goes_on` is false: that entry is not visited, nor is
    /// any after it. `goes_on` must be true for the keys up to some one and false from there on.
    ///
    /// Up to 1,024 entries ahead are verified that may then not be visited.
    ///
    /// # Errors
    /// [`Corrupt`] for the first entry that damage makes unreadable; those before it have been visited.
    #[inline]
    pub fn visit(
        &self,
        range: Range<usize>,
        reverse: bool,
        goes_on: impl Fn(u64) -> bool,
        visit: &mut impl FnMut(RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Corrupt> {
        self.walk::<true>(range, reverse, goes_on, visit)
    }

    /// As [`visit`](Self::visit), without reading values: each is empty, or `None` for a tombstone. Damage to values and
    /// their locators is not met.
    ///
    /// # Errors
    /// As [`visit`](Self::visit).
    #[inline]
    pub fn visit_keys(
        &self,
        range: Range<usize>,
        reverse: bool,
        goes_on: impl Fn(u64) -> bool,
        visit: &mut impl FnMut(RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Corrupt> {
        self.walk::<false>(range, reverse, goes_on, visit)
    }

    #[inline]
    fn walk<const VALUES: bool>(
        &self,
        range: Range<usize>,
        reverse: bool,
        goes_on: impl Fn(u64) -> bool,
        visit: &mut impl FnMut(RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Corrupt> {
        let end = range.end.min(self.len());
        let mut rest = range.start.min(end)..end;
        if VALUES && self.is_compressed() {
            return self.visit_one_by_one::<VALUES>(rest, reverse, &goes_on, visit).map(drop);
        }
        let mut size = FIRST;
        while !rest.is_empty() {
            let chunk = if reverse {
                let from = rest.end.saturating_sub(size).max(rest.start);
                from..std::mem::replace(&mut rest.end, from)
            } else {
                let to = rest.end.min(rest.start + size);
                std::mem::replace(&mut rest.start, to)..to
            };
            size = (2 * size).min(MOST);
            if self.touch_entries::<VALUES>(&chunk).is_err() {
                // The damage may be in one entry: those before it count.
                if self.visit_one_by_one::<VALUES>(chunk, reverse, &goes_on, visit)?.is_break() {
                    break;
                }
                continue;
            }
            let ahead = &self.keys()[chunk.clone()];
            let wanted = if reverse {
                let from = chunk.end - going_on(ahead.iter().rev(), ahead.first(), &goes_on);
                from..chunk.end
            } else {
                chunk.start..chunk.start + going_on(ahead.iter(), ahead.last(), &goes_on)
            };
            let all = wanted == chunk;
            if self.visit_verified::<VALUES>(wanted, reverse, visit)?.is_break() || !all {
                break;
            }
        }
        Ok(())
    }

    /// Verifies all that a walk over these entries reads but the values that have locators.
    #[inline]
    fn touch_entries<const VALUES: bool>(&self, entries: &Range<usize>) -> Result<(), Corrupt> {
        if self.is_verified() {
            return Ok(());
        }
        self.touch_keys(entries.clone())?;
        self.touch(self.offsets_at + 8 * entries.start..self.offsets_at + 8 * entries.end)?;
        match self.fixed_width.filter(|_| VALUES) {
            Some(width) => {
                let width = width as usize;
                self.touch(self.values_at + width * entries.start..self.values_at + width * entries.end)
            }
            None => Ok(()),
        }
    }

    #[inline]
    fn visit_verified<const VALUES: bool>(
        &self,
        entries: Range<usize>,
        reverse: bool,
        visit: &mut impl FnMut(RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Corrupt> {
        let mut columns =
            self.keys()[entries.clone()].iter().zip(&self.raw_offsets()[entries.clone()]).map(columns);
        if !VALUES {
            let mut each = |(key, word): (u64, u64)| {
                let value = (word & TOMBSTONE == 0).then_some(&[][..]);
                visit(RecordRef { key, offset: word & MAX_OFFSET, value })
            };
            return Ok(if reverse {
                columns.rev().try_for_each(each)
            } else {
                columns.try_for_each(&mut each)
            });
        }
        let Some(width) = self.fixed_width.map(|width| width as usize).filter(|&width| width > 0) else {
            let located = columns.zip(entries).map(|((key, word), index)| {
                let value = match self.ready_value(index) {
                    None if word & TOMBSTONE == 0 => self.value(index)?.map(|range| self.slice(range)),
                    ready => ready,
                };
                Ok(RecordRef { key, offset: word & MAX_OFFSET, value })
            });
            let mut each = |record: Result<RecordRef<'_>, Corrupt>| match record.map(&mut *visit) {
                Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                Ok(ControlFlow::Break(())) => ControlFlow::Break(Ok(())),
                Err(damage) => ControlFlow::Break(Err(damage)),
            };
            let mut located = located;
            let flow =
                if reverse { located.rev().try_for_each(each) } else { located.try_for_each(&mut each) };
            return match flow {
                ControlFlow::Continue(()) => Ok(ControlFlow::Continue(())),
                ControlFlow::Break(ended) => ended.map(ControlFlow::Break),
            };
        };
        let values = self.slice(self.values_at + width * entries.start..self.values_at + width * entries.end);
        let mut fixed = columns.zip(values.chunks_exact(width));
        let mut each = |((key, word), value): ((u64, u64), &[u8])| {
            visit(RecordRef { key, offset: word & MAX_OFFSET, value: Some(value) })
        };
        Ok(if reverse { fixed.rev().try_for_each(each) } else { fixed.try_for_each(&mut each) })
    }

    #[cold]
    fn visit_one_by_one<const VALUES: bool>(
        &self,
        entries: Range<usize>,
        reverse: bool,
        goes_on: &impl Fn(u64) -> bool,
        visit: &mut impl FnMut(RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Corrupt> {
        if !VALUES {
            let mut entries = entries;
            while let Some(index) = if reverse { entries.next_back() } else { entries.next() } {
                let key = self.key(index)?;
                if !goes_on(key) {
                    return Ok(ControlFlow::Break(()));
                }
                let Stamp { offset, is_tombstone } = self.stamp(index)?;
                let value = (!is_tombstone).then_some(&[][..]);
                if visit(RecordRef { key, offset, value }).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        let mut records = self.range(entries);
        while let Some(record) = if reverse { records.next_back() } else { records.next() } {
            let Record { key, offset, value } = record?;
            let record = RecordRef { key, offset, value: value.as_deref() };
            if !goes_on(key) || visit(record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[inline]
fn columns((&key, &word): (&u64, &u64)) -> (u64, u64) {
    (key, word)
}

/// How many of the keys ahead go on, when the last of them is `last`.
#[inline]
fn going_on<'a>(
    ahead: impl ExactSizeIterator<Item = &'a u64>,
    last: Option<&u64>,
    goes_on: &impl Fn(u64) -> bool,
) -> usize {
    if last.is_none_or(|&last| goes_on(last)) {
        return ahead.len();
    }
    ahead.take_while(|&&key| goes_on(key)).count()
}
