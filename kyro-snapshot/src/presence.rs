//! Whether what a read needs is in memory: for callers that must not wait for a disk.

use std::ops::Range;

use crate::format::BLOCK_BYTES;
use crate::locator::{ENTRIES_PER_LINE, LINE_BYTES};
use crate::residency::is_resident;
use crate::run::Run;

/// What counts as being in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// What was read since the run was opened. Costs a few loads. Where memory is short, the kernel may have given the
    /// pages up since.
    Read,
    /// Of that, what the kernel has in memory now. Costs system calls.
    Resident,
}

impl<B: AsRef<[u8]>> Run<B> {
    /// Whether the keys of the entries in `range` (cut to the entries there are) can be read without waiting for a disk.
    pub fn has_keys(&self, range: Range<usize>, presence: Presence) -> bool {
        let end = range.end.min(self.entries);
        let start = range.start.min(end);
        self.has(self.keys_at + 8 * start..self.keys_at + 8 * end, presence)
    }

    /// Whether offset and value of entry `index` can be read without waiting for a disk.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn has_entry(&self, index: usize, presence: Presence) -> bool {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        let offset = self.offsets_at + 8 * index;
        if !self.has(offset..offset + 8, presence) {
            return false;
        }
        let locator = self.locators_at + index / ENTRIES_PER_LINE * LINE_BYTES;
        if self.fixed_width.is_none() && !self.has(locator..locator + LINE_BYTES, presence) {
            return false;
        }
        // Damage is told of by whoever reads: here it is in memory.
        let Some(value) = self.locate(index).ok().flatten().filter(|value| !value.is_empty()) else {
            return true;
        };
        if !self.is_compressed() {
            return self.has(value, presence);
        }
        let table = self.table_for(&value);
        table.end <= self.layout.table_at as usize
            && self.has(table, presence)
            && self.stored_place(&value).is_ok_and(|stored| self.has(stored, presence))
    }

    fn has(&self, range: Range<usize>, presence: Presence) -> bool {
        if range.is_empty() {
            return true;
        }
        let mut blocks = range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES;
        let is_read =
            self.touched.is_complete() || blocks.all(|block| self.touched.is_verified(block as u64));
        is_read && (presence == Presence::Read || is_resident(&self.bytes.as_ref()[range]))
    }
}
