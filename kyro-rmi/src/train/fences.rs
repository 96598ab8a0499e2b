//! Straight segments under a tree of separators, for keys that no grid fits.

use super::{Trainer, cost};
use crate::entry::{Entry, Kind};
use crate::fence::{FANOUT, SEGMENTS, Segment, encode_inner, encode_leaf};
use crate::model::{CORE, MARGIN, Place};
use alloc::vec::Vec;

/// How far from its segment a key may lie, in positions: the choices.
const EPSILONS: [f64; 3] = [4.0, 10.0, 24.0];
/// For how many keys tried a choice is kept.
const EPSILON_FOR: usize = 64 * 1024;
/// How many keys a choice is tried on.
const TRIED: usize = 2048;
/// The most keys in one segment.
const MOST_IN_SEGMENT: usize = 1 << 20;

impl Trainer<'_> {
    /// A record for keys off the root's grid, which have no fraction.
    pub(super) fn outliers(&mut self, start: usize, end: usize) -> Entry {
        if (end - start) as u64 <= self.window.span() {
            return self.leaf(start, end);
        }
        self.fence(start, end)
    }

    /// The cost of segments over the keys `start..end`, and the distance to allow, by a trial on some of them.
    pub(super) fn segments_cost(&mut self, start: usize, end: usize) -> (u64, f64) {
        let tried = end.min(start + TRIED);
        let mut best = (u64::MAX, EPSILONS[0]);
        // A distance found to be good is kept for a while.
        let fresh = self.nearby.epsilon.filter(|_| self.since_epsilon < EPSILON_FOR);
        self.since_epsilon = if fresh.is_some() { self.since_epsilon + tried - start } else { 0 };
        let choices = EPSILONS
            .into_iter()
            .filter(|&epsilon| fresh.is_none_or(|fresh| fresh.to_bits() == epsilon.to_bits()));
        for epsilon in choices {
            let (mut at, mut segments, mut missed) = (start, 0, 0);
            while at < tried {
                let (segment, next) = self.segment(at, tried, epsilon);
                missed += self.missed(segment, next).unwrap_or(0);
                segments += 1;
                at = next;
            }
            let scale = |tried_cost: u64| tried_cost * (end - start) as u64 / (tried - start).max(1) as u64;
            let cost = self.prices.segments(scale(segments).max(1), (end - start) as u64) + scale(missed);
            if cost < best.0 {
                best = (cost, epsilon);
                self.nearby.epsilon = Some(epsilon);
                self.nearby.segment_keys = ((tried - start) as u64 / segments).max(1);
            }
        }
        best
    }

    /// A tree of separators over segments of the keys `start..end`, bottom level first.
    pub(super) fn fence(&mut self, start: usize, end: usize) -> Entry {
        self.counts.fallback_keys += (end - start) as u64;
        let (_, epsilon) = self.segments_cost(start, end);
        // Each node is named by the first key under it.
        let mut level: Vec<(u64, u64)> = Vec::new();
        let mut at = start;
        let mut segments = Vec::with_capacity(SEGMENTS);
        loop {
            let (segment, next) = self.segment(at, end, epsilon);
            segments.push(segment);
            at = next;
            if segments.len() == SEGMENTS || at == end {
                self.counts.leaves += segments.len() as u64;
                let block = self.blocks.len() as u64;
                self.blocks.extend(encode_leaf(&segments, at as u64));
                level.push((segments.first().map_or(0, |segment| segment.key), block));
                segments.clear();
            }
            if at == end {
                break;
            }
        }
        let leaf = level.len() == 1;
        let mut leaves = true;
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len().div_ceil(FANOUT));
            for children in level.chunks(FANOUT) {
                let Some(&(key, first)) = children.first() else { continue };
                let keys: Vec<u64> = children.iter().map(|&(key, _)| key).collect();
                above.push((key, self.blocks.len() as u64));
                self.blocks.push(encode_inner(leaves, first, &keys));
            }
            (level, leaves) = (above, false);
        }
        Entry::new(Kind::Fence { root: level.first().map_or(0, |&(_, block)| block), leaf })
    }

    /// The longest straight segment of the keys from `start` on of which no key is further off than `epsilon`,
    /// and the position after it: every key of it lies in its window.
    fn segment(&self, start: usize, end: usize, epsilon: f64) -> (Segment, usize) {
        let keys = self.keys.get(start..end.min(start + MOST_IN_SEGMENT)).unwrap_or_default();
        let first = keys.first().copied().unwrap_or(0);
        // The slopes that keep every key so far close enough, narrowing with every key.
        let (mut least, mut most) = (0.0f64, f64::INFINITY);
        let mut count = keys.len();
        for (index, &key) in keys.iter().enumerate().skip(1) {
            let (across, up) = ((key - first) as f64, index as f64);
            let (low, high) = ((up - epsilon) / across, (up + epsilon) / across);
            if low > most || high < least {
                count = index;
                break;
            }
            (least, most) = (least.max(low), most.min(high));
        }
        let slope = if most.is_finite() { f64::midpoint(least, most) } else { 0.0 };
        let segment = Segment::new(first, start as u64, slope);
        // Few enough keys lie in their windows whatever the slope, so this ends.
        while self.missed(segment, start + count).is_none() {
            count /= 2;
        }
        (segment, start + count.max(1))
    }

    /// What the keys of a segment up to `end` cost that lie outside the core of their window; `None` if one lies
    /// outside its window.
    fn missed(&self, segment: Segment, end: usize) -> Option<u64> {
        let start = segment.first as usize;
        let count = (end - start) as u64;
        let places = self.keys.get(start..end).unwrap_or_default().iter();
        self.missed_of(
            start,
            places.map(|&key| Place { first: segment.first, count, within: segment.within(key) }),
        )
    }

    /// What the keys from position `first` on, which are predicted to be in these places, cost that lie outside
    /// the core of their window; `None` if one lies outside its window. The very arithmetic of the lookup.
    #[inline(always)]
    pub(super) fn missed_of(&self, first: usize, places: impl Iterator<Item = Place>) -> Option<u64> {
        let (window, core) = (self.window, self.window.core());
        let (mut outside, mut off_core, mut off_margin) = (0, 0, 0);
        for (position, place) in (first as u64..).zip(places) {
            let start = core.start(place);
            outside += u64::from(position.wrapping_sub(window.start(place)) >= window.keys as u64);
            off_core += u64::from(position.wrapping_sub(start) >= CORE as u64);
            off_margin +=
                u64::from((position + MARGIN as u64).wrapping_sub(start) >= (CORE + 2 * MARGIN) as u64);
        }
        (outside == 0).then_some(off_core * cost::OFF_CORE + off_margin * cost::OFF_MARGIN)
    }
}
