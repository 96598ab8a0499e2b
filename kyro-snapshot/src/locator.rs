//! Value locators: where each entry's value ends, 14 entries to a 64-byte line.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | base: where the first value of the line starts, counted from the start of the values |
//! | 8 | 4 × 14 | ends: where each value ends, counted from the base |
//!
//! A value starts where the one before it ends, so one line answers both. A tombstone ends where it starts. The slots
//! after the last entry repeat its end. A line is one cache line and never crosses a checksummed block.

use std::ops::Range;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const ENTRIES_PER_LINE: usize = 14;
pub(crate) const LINE_BYTES: usize = size_of::<Line>();

/// One line.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub(crate) struct Line {
    base: U64,
    ends: [U32; ENTRIES_PER_LINE],
}

impl Line {
    /// A line for values that start at `base`; all of them empty so far.
    pub(crate) fn new(base: u64) -> Self {
        Self { base: base.into(), ends: [U32::ZERO; ENTRIES_PER_LINE] }
    }

    /// Sets the end of the value in `slot` and of all slots after it to `length` bytes after the one before it.
    pub(crate) fn extend(&mut self, slot: usize, length: u32) {
        let start = if slot == 0 { 0 } else { self.ends[slot - 1].get() };
        self.ends[slot..].fill((start + length).into());
    }

    /// Where the value in `slot` is, counted from the start of the values; `None` when the line is not in order or
    /// leaves `value_bytes`.
    #[inline]
    pub(crate) fn value(&self, slot: usize, value_bytes: u64) -> Option<Range<u64>> {
        let start = if slot == 0 { 0 } else { self.ends[slot - 1].get() };
        let end = self.ends[slot].get();
        let base = self.base.get();
        let in_order = start <= end && base <= value_bytes && u64::from(end) <= value_bytes - base;
        in_order.then(|| base + u64::from(start)..base + u64::from(end))
    }
}
