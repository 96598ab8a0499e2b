//! Which blocks have been verified: each one at its first touch, and whole parts of the file once and for all.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Corrupt;
use crate::format::{BLOCK_BYTES, Layout};
use crate::locator::LINE_BYTES;

/// Every block has been verified.
const COMPLETE: u8 = 1;
/// Every block of the key column has.
const KEYS: u8 = 2;
/// Every block that a value is read from has, and values can be read where they lie in the file.
const VALUES_IN_PLACE: u8 = 4;

/// One bit per block, and the damage found so far.
///
/// The bytes below never change, so a lost race verifies a block twice and harms nothing; the orderings only make a set
/// bit mean that some thread has seen the block whole.
#[derive(Debug)]
pub(crate) struct FirstTouch {
    /// Flags of the parts in which there is nothing left to verify.
    state: AtomicU8,
    /// Who reads values never reads the offsets: each part is waited for by itself.
    parts: [Part; 3],
    verified: Box<[AtomicU64]>,
    /// Checksum found in each damaged block: a block once seen damaged stays damaged, even if a later read differs.
    damaged: Mutex<BTreeMap<u64, u32>>,
}

/// Blocks that are asked about together.
#[derive(Debug)]
struct Part {
    flag: u8,
    blocks: [Range<u64>; 2],
    unverified: AtomicU64,
}

impl Part {
    fn new(flag: u8, first: Range<u64>, second: Range<u64>) -> Self {
        let length = |range: Range<u64>| range.end.saturating_sub(range.start);
        let common = first.start.max(second.start)..first.end.min(second.end);
        let unverified = length(first.clone()) + length(second.clone()) - length(common);
        Self { flag, blocks: [first, second], unverified: AtomicU64::new(unverified) }
    }

    /// True for the last of its blocks.
    fn is_done_by(&self, block: u64) -> bool {
        self.blocks.iter().any(|blocks| blocks.contains(&block))
            && self.unverified.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// The blocks that cover a range of the file.
fn blocks_of(bytes: Range<u64>) -> Range<u64> {
    if bytes.is_empty() {
        return 0..0;
    }
    bytes.start / BLOCK_BYTES as u64..bytes.end.div_ceil(BLOCK_BYTES as u64)
}

impl FirstTouch {
    /// Nothing verified yet. Costs one bit per block. `value_bytes` are those of values that are not compressed.
    pub(crate) fn new(layout: &Layout, entries: u64, value_bytes: u64) -> Self {
        let locators = layout.locators_at..layout.locators_at + LINE_BYTES as u64 * layout.locator_lines;
        let in_place = if layout.is_packed() { 0 } else { VALUES_IN_PLACE };
        let parts = [
            Part::new(COMPLETE, 0..layout.blocks, 0..0),
            Part::new(KEYS, blocks_of(layout.keys_at..layout.keys_at + 8 * entries), 0..0),
            Part::new(
                in_place,
                blocks_of(layout.values_at..layout.values_at.saturating_add(value_bytes)),
                blocks_of(locators),
            ),
        ];
        let empty = parts.iter().filter(|part| part.unverified.load(Ordering::Relaxed) == 0);
        Self {
            state: AtomicU8::new(empty.fold(0, |state, part| state | part.flag)),
            verified: (0..layout.blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            parts,
            damaged: Mutex::new(BTreeMap::new()),
        }
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.state.load(Ordering::Acquire) & flag != 0
    }

    /// True once every block has been verified: then nothing needs to ask again.
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.has(COMPLETE)
    }

    /// True once every block of the key column has been verified.
    #[inline]
    pub(crate) fn has_keys(&self) -> bool {
        self.has(KEYS)
    }

    /// True once every block that a value is read from has been verified, where values can be read in place: one question
    /// for both.
    #[inline]
    pub(crate) fn has_values_in_place(&self) -> bool {
        self.has(VALUES_IN_PLACE)
    }

    #[inline]
    pub(crate) fn is_verified(&self, block: u64) -> bool {
        self.verified[(block / 64) as usize].load(Ordering::Acquire) & (1 << (block % 64)) != 0
    }

    pub(crate) fn verified_blocks(&self, blocks: u64) -> u64 {
        let [all, ..] = &self.parts;
        blocks - all.unverified.load(Ordering::Acquire)
    }

    /// Records what reading `block` found.
    #[cold]
    pub(crate) fn record(&self, block: u64, expected: u32, found: u32) -> Result<(), Corrupt> {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if expected != found {
            damaged.entry(block).or_insert(found);
        }
        if let Some(&found) = damaged.get(&block) {
            return Err(Corrupt::Block { position: block * BLOCK_BYTES as u64, block, expected, found });
        }
        drop(damaged);
        let bit = 1 << (block % 64);
        let before = self.verified[(block / 64) as usize].fetch_or(bit, Ordering::AcqRel);
        if before & bit == 0 {
            for part in self.parts.iter().filter(|part| part.is_done_by(block)) {
                self.state.fetch_or(part.flag, Ordering::AcqRel);
            }
        }
        Ok(())
    }
}
