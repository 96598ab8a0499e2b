//! Which blocks have been verified: each one at its first touch, and all of them once and for all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Corrupt;
use crate::format::BLOCK_BYTES;

/// Every block has been verified.
const COMPLETE: u8 = 1;
/// And values can be read where they lie in the file.
const IN_PLACE: u8 = 2;

/// One bit per block, and the damage found so far.
///
/// The bytes below never change, so a lost race verifies a block twice and harms nothing; the orderings only make a set
/// bit mean that some thread has seen the block whole.
#[derive(Debug)]
pub(crate) struct FirstTouch {
    /// [`COMPLETE`] and [`IN_PLACE`], once there is nothing left to verify.
    state: AtomicU8,
    when_complete: u8,
    verified: Box<[AtomicU64]>,
    unverified_blocks: AtomicU64,
    /// Checksum found in each damaged block: a block once seen damaged stays damaged, even if a later read differs.
    damaged: Mutex<BTreeMap<u64, u32>>,
}

impl FirstTouch {
    /// Nothing verified yet. Costs one bit per block. `in_place`: whether values can be read where they lie.
    pub(crate) fn new(blocks: u64, in_place: bool) -> Self {
        let when_complete = if in_place { COMPLETE | IN_PLACE } else { COMPLETE };
        Self {
            state: AtomicU8::new(if blocks == 0 { when_complete } else { 0 }),
            when_complete,
            verified: (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            unverified_blocks: AtomicU64::new(blocks),
            damaged: Mutex::new(BTreeMap::new()),
        }
    }

    /// True once every block has been verified: then nothing needs to ask again.
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.state.load(Ordering::Acquire) & COMPLETE != 0
    }

    /// True once every block has been verified, where values can be read in place: one question for both.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.state.load(Ordering::Acquire) & IN_PLACE != 0
    }

    #[inline]
    pub(crate) fn is_verified(&self, block: u64) -> bool {
        self.verified[(block / 64) as usize].load(Ordering::Acquire) & (1 << (block % 64)) != 0
    }

    pub(crate) fn verified_blocks(&self, blocks: u64) -> u64 {
        blocks - self.unverified_blocks.load(Ordering::Acquire)
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
        if before & bit == 0 && self.unverified_blocks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.store(self.when_complete, Ordering::Release);
        }
        Ok(())
    }
}
