//! The short way of a single lookup: one record and one line, or a tree, and then one or two cache lines of keys.
//!
//! Lookups that do not wait for one another overlap, as many as the processor has room for. What fills that room is
//! loads: each holds its place until all before it are done, and one of each lookup waits for memory. So the
//! arguments come in registers, nothing is saved on the stack, and what is found is compared where it was counted.
//! A lookup that leaves the short way starts again on the long one.

use crate::entry::{KIND_SHIFT, MOST_IN_LEAF, MOST_KEYS, MOST_PARTS, PART_SHIFT, POSITION_BITS};
use crate::format::HEADER;
use crate::line::{self, Block, PARTS};
use crate::model::{CORE, Model};
use crate::root::{Spread, multiply};
use core::hint::select_unpredictable;
use kyro_simd::{Call, Kernel, prefetch};

/// In place of a position: the lookup has to take the long way.
pub(crate) const ELSEWHERE: usize = usize::MAX;

/// What the short way needs of a model, by what is read first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct {
    low: u64,
    range: u64,
    multiplier: u64,
    /// The block of the whole index, header included, that is its first line.
    first_block: u64,
}

impl Direct {
    /// The short way through a model. Where that has no linear grid, there is one for the largest key alone.
    pub(crate) fn new(model: &Model) -> Self {
        let first_block = (HEADER as u64 + model.blocks_at) / size_of::<Block>() as u64;
        match model.root.spread {
            Spread::Linear { multiplier } if !model.is_tree() => {
                Self { low: model.root.low, range: model.root.range, multiplier, first_block }
            }
            // Where a way leads does not matter: a wrong place is found out.
            _ => Self { low: u64::MAX, range: 0, multiplier: 0, first_block },
        }
    }

    /// Where `key` should be, if its cell and its line say so without a further record.
    #[inline(always)]
    fn predict(&self, bytes: &[u8], key: u64) -> Option<u64> {
        let distance = key.wrapping_sub(self.low);
        if distance > self.range {
            return None;
        }
        let (word, fraction) = multiply(distance, self.multiplier);
        let entry = u64::from_le_bytes(*bytes.as_chunks().0.get(HEADER / 8 + word as usize)?);
        let (first, count, fraction) = match entry >> KIND_SHIFT {
            1 => {
                let (line, rest) = multiply(fraction, entry >> PART_SHIFT & MOST_PARTS);
                let (part, rest) = multiply(rest, PARTS as u64);
                let block = self.first_block + (entry & u64::from(u32::MAX)) + line;
                let part = line::part(bytes.as_chunks().0.get(block as usize)?, part as usize);
                if part.record.is_some() {
                    return None;
                }
                (part.first, part.count, rest)
            }
            0 => (entry & MOST_KEYS, entry >> POSITION_BITS & MOST_IN_LEAF, fraction),
            _ => return None,
        };
        Some(first + multiply(fraction, count).0)
    }
}

/// The short way under a tree of separators.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThroughTree<'a>(pub(crate) &'a Model);

impl ThroughTree<'_> {
    /// Where `key` should be.
    #[inline(always)]
    fn predict<K: Kernel>(self, kernel: K, bytes: &[u8], key: u64) -> u64 {
        let place = self.0.tree.place(kernel, bytes.get(HEADER..).unwrap_or_default(), key);
        place.first + place.within.min(place.count.saturating_sub(1))
    }
}

/// A short way taken. It tells the position that it searches first, before any key is read.
pub(crate) struct Taken<W, P> {
    pub(crate) way: W,
    pub(crate) predicted: P,
}

impl<P: Fn(usize)> Call<&[u8], &[u64], u64> for Taken<&Direct, P> {
    /// The lower bound, or [`ELSEWHERE`], and whether the key is there.
    type Output = (usize, bool);

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K, bytes: &[u8], keys: &[u64], key: u64) -> (usize, bool) {
        let Some(at) = self.way.predict(bytes, key) else { return (ELSEWHERE, false) };
        (self.predicted)(at as usize);
        search(kernel, keys, at as usize, key).unwrap_or((ELSEWHERE, false))
    }
}

impl<P: Fn(usize)> Call<&[u8], &[u64], u64> for Taken<ThroughTree<'_>, P> {
    /// As through [`Direct`].
    type Output = (usize, bool);

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K, bytes: &[u8], keys: &[u64], key: u64) -> (usize, bool) {
        let at = self.way.predict(kernel, bytes, key) as usize;
        (self.predicted)(at);
        search(kernel, keys, at, key).unwrap_or((ELSEWHERE, false))
    }
}

/// Searches the cache line of position `at`, and then the one beside it that is on the side of `key`.
#[inline(always)]
fn search<K: Kernel>(kernel: K, keys: &[u64], at: usize, key: u64) -> Option<(usize, bool)> {
    let (lines, _) = keys.as_chunks::<CORE>();
    let line = at / CORE;
    let core = lines.get(line)?;
    prefetch(lines, line.wrapping_sub(1));
    prefetch(lines, line + 1);
    let (counted, found) = kernel.find_in_line(core, key);
    // A key that is found is where it must be; a lower bound with keys on both sides is certain.
    if found | (counted.wrapping_sub(1) < CORE - 1) {
        return Some((line * CORE + counted, found));
    }
    let above = counted != 0;
    let beside = select_unpredictable(above, line + 1, line.wrapping_sub(1));
    let (counted, found) = kernel.find_in_line(lines.get(beside)?, key);
    // On the side of the core, what lies beyond the edge is known.
    if found | (counted != select_unpredictable(above, CORE, 0)) {
        return Some((beside * CORE + counted, found));
    }
    None
}
