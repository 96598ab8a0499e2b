//! Separators over keys that no line fits.

use super::Trainer;
use crate::entry::{Entry, Kind};
use crate::fence::{FANOUT, encode};
use alloc::vec::Vec;

impl Trainer<'_> {
    /// A record for keys off the root's grid, which have no fraction.
    pub(super) fn outliers(&mut self, start: usize, end: usize) -> Entry {
        if (end - start) as u64 <= self.window.span() {
            return self.leaf(start, end);
        }
        self.fence(start, end)
    }

    /// A static tree of separators over the keys `start..end`, one window apart, bottom level first.
    pub(super) fn fence(&mut self, start: usize, end: usize) -> Entry {
        self.counts.fallback_keys += (end - start) as u64;
        let stride = self.window.keys;
        let aligned = start & !7;
        let first_keys: Vec<u64> = (aligned..end.max(aligned + 1))
            .step_by(stride)
            .map(|position| self.keys.get(position).copied().unwrap_or(u64::MAX))
            .collect();
        // Each node is named by the first key under it.
        let mut level: Vec<(u64, u64)> = Vec::new();
        for (index, strides) in first_keys.chunks(FANOUT).enumerate() {
            let position = aligned + index * FANOUT * stride;
            let node = encode(true, position as u64, strides.iter().copied().skip(1));
            level.push((strides.first().copied().unwrap_or(0), self.push_block(node)));
        }
        while level.len() > 1 {
            let mut above = Vec::new();
            for children in level.chunks(FANOUT) {
                let Some(&(key, first)) = children.first() else { continue };
                let node = encode(false, first, children.iter().skip(1).map(|&(key, _)| key));
                above.push((key, self.push_block(node)));
            }
            level = above;
        }
        Entry::new(Kind::Fence { root: level.first().map_or(0, |&(_, block)| block) })
    }

    fn push_block(&mut self, block: crate::line::Block) -> u64 {
        self.blocks.push(block);
        self.blocks.len() as u64 - 1
    }
}
