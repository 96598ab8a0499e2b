//! Every key through the finished records, before anyone sees them.

mod parts;

use crate::entry::{Entry, Kind};
use crate::error::VerifyError;
use crate::fence::{self, SEGMENTS};
use crate::leaf;
use crate::line::{self, PARTS};
use crate::model::{MOST_STEPS, Model, entry};
use kyro_simd::{Kernel, Operation, Searcher};

/// What a verification measures on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) epsilon_p50: u32,
    pub(crate) epsilon_p99: u32,
    pub(crate) epsilon_max: u32,
    pub(crate) max_steps: u32,
}

/// How many keys were how far from the middle of their window.
type Histogram = [u64; 65];

/// Verifies the records' order, every key, the neighbours of each interval's first and last key, and the ends of the
/// key range.
///
/// That proves the windows of all absent keys too. Records that cover the positions in order place keys monotonely:
/// grids and sorted separators send a larger key to the same interval or a later one, and within an interval a
/// prediction grows with the key. So the window of a key between two neighbours starts between theirs, not after the
/// larger one's position, and ends after the smaller one's.
///
/// On up to `threads` threads, where there are keys enough for them.
pub(crate) fn verify(
    model: &Model,
    body: &[u8],
    keys: &[u64],
    searcher: Searcher,
    threads: usize,
) -> Result<Measured, VerifyError> {
    if keys.len() as u64 != model.window.total {
        return Err(VerifyError::Keys { expected: model.window.total, found: keys.len() as u64 });
    }
    let mut walk = Walk { model, body, covered: 0, visited: 0, max_steps: 0 };
    walk.all()?;
    let max_steps = walk.max_steps;
    if (keys.len() as u64) < model.window.keys as u64 {
        return Ok(Measured { max_steps, ..Measured::default() });
    }
    let histogram =
        parts::every_key(EveryKey { model, body, keys, from: 0, to: keys.len() }, searcher, threads)?;
    searcher.run(Ends { model, body, keys })?;
    let quantile = |share: u64| {
        let wanted = (keys.len() as u64).div_ceil(100) * share;
        let mut seen = 0;
        let reached = histogram.iter().position(|&count| {
            seen += count;
            seen >= wanted.min(keys.len() as u64)
        });
        reached.unwrap_or(0) as u32
    };
    Ok(Measured {
        epsilon_p50: quantile(50),
        epsilon_p99: quantile(99),
        epsilon_max: quantile(100),
        max_steps,
    })
}

/// A check of every key from position `from` up to `to` as an operation, compiled as a whole for each level.
#[derive(Clone, Copy)]
struct EveryKey<'a> {
    model: &'a Model,
    body: &'a [u8],
    keys: &'a [u64],
    from: usize,
    to: usize,
}

impl Operation for EveryKey<'_> {
    type Output = Result<Histogram, VerifyError>;

    /// Checks each key, which must lie in its window, and the keys around it where another interval starts.
    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> Result<Histogram, VerifyError> {
        let Self { model, body, keys, from, to } = self;
        let length = model.window.keys as u64;
        let mut histogram = [0; 65];
        // What the part before ended with, so that its last interval is told from the first one here.
        let mut before = from.checked_sub(1).and_then(|before| keys.get(before).copied());
        let mut interval = before.map_or(u64::MAX, |before| model.place(kernel, body, before).first);
        for (position, &key) in (from as u64..).zip(keys.get(from..to).unwrap_or_default()) {
            let place = model.place(kernel, body, key);
            let start = model.window.start(place);
            if position.wrapping_sub(start) >= length {
                return Err(outside(model, key, position, start));
            }
            let off = position.abs_diff(place.first + place.within.min(place.count));
            if let Some(count) = histogram.get_mut(off.min(64) as usize) {
                *count += 1;
            }
            if place.first != interval {
                interval = place.first;
                if key > 0 && before != Some(key - 1) {
                    check_one(kernel, model, body, key - 1, position)?;
                }
                if let Some(before) = before.filter(|&before| before + 1 < key) {
                    check_one(kernel, model, body, before + 1, position)?;
                }
            }
            before = Some(key);
        }
        Ok(histogram)
    }
}

/// A check of the ends of the key range as an operation.
struct Ends<'a> {
    model: &'a Model,
    body: &'a [u8],
    keys: &'a [u64],
}

impl Operation for Ends<'_> {
    type Output = Result<(), VerifyError>;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> Result<(), VerifyError> {
        let Self { model, body, keys } = self;
        let (total, last) = (keys.len() as u64, keys.last().copied());
        let has_max = last == Some(u64::MAX);
        check_one(kernel, model, body, 0, 0)?;
        for key in [u64::MAX, last.unwrap_or(0).saturating_add(1)] {
            check_one(kernel, model, body, key, total - u64::from(has_max))?;
        }
        Ok(())
    }
}

/// Checks that `position`, the lower bound of `key`, is within the key's window or at its end.
#[inline(always)]
fn check_one<K: Kernel>(
    kernel: K,
    model: &Model,
    body: &[u8],
    key: u64,
    position: u64,
) -> Result<(), VerifyError> {
    let start = model.window_start(kernel, body, key);
    if position.wrapping_sub(start) > model.window.keys as u64 {
        return Err(outside(model, key, position, start));
    }
    Ok(())
}

#[cold]
#[inline(never)]
fn outside(model: &Model, key: u64, position: u64, start: u64) -> VerifyError {
    let end = start.saturating_add(model.window.keys as u64).min(model.window.total);
    VerifyError::OutsideWindow { key, position: position as usize, start: start as usize, end: end as usize }
}

/// A walk over all records in the order of the keys.
struct Walk<'a> {
    model: &'a Model,
    body: &'a [u8],
    /// Up to where the records so far cover the positions.
    covered: u64,
    visited: usize,
    max_steps: u32,
}

impl Walk<'_> {
    /// Walks the outliers below, the cells, and the outliers above.
    fn all(&mut self) -> Result<(), VerifyError> {
        if self.model.is_tree() {
            return self.tree();
        }
        let cells = self.model.root.cells;
        for word in core::iter::once(cells).chain(0..cells).chain(core::iter::once(cells + 1)) {
            self.record(word, 1)?;
        }
        self.interval(self.model.window.total, 0)
    }

    /// Walks the segments of a tree.
    fn tree(&mut self) -> Result<(), VerifyError> {
        let tree = &self.model.tree;
        self.max_steps = tree.steps();
        if !tree.is_sorted(self.body) {
            return Err(self.damaged());
        }
        for leaf in 0..tree.leaves {
            let Some(leaf) = tree.leaf(self.body, leaf) else { return Err(self.damaged()) };
            for segment in 0..leaf::SEGMENTS {
                let segment = leaf::segment(leaf, segment);
                self.interval(segment.first, segment.end.saturating_sub(segment.first))?;
            }
        }
        self.interval(self.model.window.total, 0)
    }

    fn damaged(&self) -> VerifyError {
        VerifyError::Gap { covered: self.covered, start: u64::MAX }
    }

    /// An interval must start where the one before it ended.
    fn interval(&mut self, first: u64, count: u64) -> Result<(), VerifyError> {
        if self.covered != first {
            return Err(VerifyError::Gap { covered: self.covered, start: first });
        }
        self.covered = first + count;
        Ok(())
    }

    /// Walks the record in word `word`. Every record is visited once, so more visits than bytes mean a circle.
    fn record(&mut self, word: u64, steps: u32) -> Result<(), VerifyError> {
        self.visited += 1;
        if self.visited > self.body.len() || steps as usize > MOST_STEPS {
            return Err(self.damaged());
        }
        self.max_steps = self.max_steps.max(steps);
        match entry(self.body, word).map(Entry::kind) {
            None => Err(self.damaged()),
            Some(Kind::Leaf { first, count }) => self.interval(first, count),
            Some(Kind::Grid { first, count }) => {
                (first..first + count).try_for_each(|part| self.record(part, steps + 1))
            }
            Some(Kind::Lines { first, count }) => {
                (first..first + count).try_for_each(|line| self.line(line, steps + 1))
            }
            Some(Kind::Fence { root, leaf }) => self.fence(root, leaf, steps + 1),
        }
    }

    fn line(&mut self, block: u64, steps: u32) -> Result<(), VerifyError> {
        self.max_steps = self.max_steps.max(steps);
        let Some(block) = self.model.block(self.body, block) else { return Err(self.damaged()) };
        for index in 0..PARTS {
            let part = line::part(block, index);
            match part.record {
                None => self.interval(part.first, part.count)?,
                Some(word) => self.record(word, steps + 1)?,
            }
        }
        Ok(())
    }

    fn fence(&mut self, node: u64, leaf: bool, steps: u32) -> Result<(), VerifyError> {
        self.visited += 1;
        if self.visited > self.body.len() || steps as usize > MOST_STEPS {
            return Err(self.damaged());
        }
        self.max_steps = self.max_steps.max(steps);
        let Some(block) = self.model.block(self.body, node) else { return Err(self.damaged()) };
        if leaf {
            let Some(records) = self.model.block(self.body, node + 1) else { return Err(self.damaged()) };
            return (0..=SEGMENTS).try_for_each(|index| {
                let (segment, end) = fence::segment_at(block, records, index);
                self.interval(segment.first, end.saturating_sub(segment.first))
            });
        }
        let (first, count, leaves) = fence::children(block);
        (0..count).try_for_each(|child| self.fence(first + (child << u32::from(leaves)), leaves, steps + 1))
    }
}
