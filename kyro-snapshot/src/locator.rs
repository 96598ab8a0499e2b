//! Value locators: where each entry's value ends, 14 entries to a 64-byte line.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | low 50 bits, base: where the first value of the line starts, counted from the start of the values; top 14 bits, from bit 50: which entries of the line are tombstones |
//! | 8 | 4 × 14 | ends: where each value ends, counted from the base |
//!
//! A value starts where the one before it ends, so one line answers both, and says what is deleted: reading a value
//! needs no other column. A tombstone ends where it starts. The slots after the last entry repeat its end. A line is one
//! cache line and never crosses a checksummed block.

use std::ops::Range;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const ENTRIES_PER_LINE: usize = 14;
pub(crate) const LINE_BYTES: usize = size_of::<Line>();
/// The base has 50 bits: the values of one run have at most 1 PiB.
pub(crate) const BASE_BITS: u32 = 50;
const BASE_MASK: u64 = (1 << BASE_BITS) - 1;

const _: () = assert!(BASE_BITS as usize + ENTRIES_PER_LINE == u64::BITS as usize);

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Line {
    base_and_tombstones: U64,
    ends: [U32; ENTRIES_PER_LINE],
}

impl Line {
    /// A line for values that start at `base`; all of them empty so far.
    pub(crate) fn new(base: u64) -> Self {
        debug_assert!(base <= BASE_MASK);
        Self { base_and_tombstones: base.into(), ends: [U32::ZERO; ENTRIES_PER_LINE] }
    }

    /// Sets the end of the value in `slot`, and of all slots after it, to `length` bytes after the one before it;
    /// without a length, `slot` is a tombstone.
    pub(crate) fn extend(&mut self, slot: usize, length: Option<u32>) {
        let start = if slot == 0 { 0 } else { self.ends[slot - 1].get() };
        self.ends[slot..].fill((start + length.unwrap_or(0)).into());
        if length.is_none() {
            let tombstone = 1 << (BASE_BITS + slot as u32);
            self.base_and_tombstones = (self.base_and_tombstones.get() | tombstone).into();
        }
    }

    #[inline]
    pub(crate) fn is_tombstone(&self, slot: usize) -> bool {
        self.base_and_tombstones.get() >> (BASE_BITS + slot as u32) & 1 != 0
    }

    /// Where the value in `slot` is, counted from the start of the values; `None` when the line is not in order or
    /// leaves `value_bytes`.
    #[inline]
    pub(crate) fn value(&self, slot: usize, value_bytes: u64) -> Option<Range<u64>> {
        let start = if slot == 0 { 0 } else { self.ends[slot - 1].get() };
        let end = self.ends[slot].get();
        let base = self.base_and_tombstones.get() & BASE_MASK;
        let in_order = start <= end && base <= value_bytes && u64::from(end) <= value_bytes - base;
        in_order.then(|| base + u64::from(start)..base + u64::from(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_back_what_it_was_given() {
        let base = BASE_MASK - (1 << 32);
        let lengths: [Option<u32>; 14] =
            std::array::from_fn(|slot| (slot % 3 != 1).then_some(slot as u32 * 19_000_000));
        let mut line = Line::new(base);
        for (slot, length) in lengths.into_iter().enumerate() {
            line.extend(slot, length);
        }
        let mut next = base;
        for (slot, length) in lengths.into_iter().enumerate() {
            let end = next + u64::from(length.unwrap_or(0));
            assert_eq!(line.is_tombstone(slot), length.is_none());
            assert_eq!(line.value(slot, end), Some(next..end));
            assert_eq!(line.value(slot, end.saturating_sub(1)), None, "beyond the values");
            next = end;
        }
    }

    #[test]
    fn a_line_out_of_order_has_no_values() {
        let mut line = Line::new(100);
        line.extend(0, Some(50));
        line.extend(1, Some(50));
        line.ends[0] = 101.into();
        assert_eq!(line.value(0, 1000), Some(100..201));
        assert_eq!(line.value(1, 1000), None);
        line.base_and_tombstones = 1001.into();
        assert_eq!(line.value(0, 1000), None);
    }
}
