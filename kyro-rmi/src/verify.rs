//! Every key through the finished records, before anyone sees them.

use crate::entry::{Entry, Kind};
use crate::error::VerifyError;
use crate::fence::{self, SEGMENTS};
use crate::line::{self, PARTS};
use crate::model::{MOST_STEPS, Model, entry};

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

/// Verifies the records' order, every key, its neighbours, and the ends of the key range.
pub(crate) fn verify(model: &Model, body: &[u8], keys: &[u64]) -> Result<Measured, VerifyError> {
    if keys.len() as u64 != model.window.total {
        return Err(VerifyError::Keys { expected: model.window.total, found: keys.len() as u64 });
    }
    let mut walk = Walk { model, body, covered: 0, visited: 0, max_steps: 0 };
    walk.all()?;
    let max_steps = walk.max_steps;
    if (keys.len() as u64) < model.window.keys as u64 {
        return Ok(Measured { max_steps, ..Measured::default() });
    }
    let mut histogram = [0; 65];
    check_keys(model, body, keys, &mut histogram)?;
    check_one(model, body, 0, 0)?;
    let top = keys.len() - usize::from(keys.last() == Some(&u64::MAX));
    check_one(model, body, u64::MAX, top)?;
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

/// Checks each key, which must lie in its window, and the keys one smaller and one larger.
fn check_keys(
    model: &Model,
    body: &[u8],
    keys: &[u64],
    histogram: &mut Histogram,
) -> Result<(), VerifyError> {
    let length = model.window.keys as u64;
    let mut before = None;
    for (position, &key) in keys.iter().enumerate() {
        let place = model.place(body, key);
        let start = model.window.start(place);
        if (position as u64).wrapping_sub(start) >= length {
            return Err(outside(model, key, position, start));
        }
        if let Some(count) = histogram
            .get_mut((position as u64).abs_diff(place.first + place.within.min(place.count)).min(64) as usize)
        {
            *count += 1;
        }
        if let Some(smaller) = key.checked_sub(1)
            && before != Some(smaller)
        {
            check_one(model, body, smaller, position)?;
        }
        if let Some(larger) = key.checked_add(1)
            && keys.get(position + 1) != Some(&larger)
        {
            check_one(model, body, larger, position + 1)?;
        }
        before = Some(key);
    }
    Ok(())
}

/// Checks that `position`, the lower bound of `key`, is within its window or at its end.
#[inline(always)]
fn check_one(model: &Model, body: &[u8], key: u64, position: usize) -> Result<(), VerifyError> {
    let start = model.window_start(body, key);
    if (position as u64).wrapping_sub(start) > model.window.keys as u64 {
        return Err(outside(model, key, position, start));
    }
    Ok(())
}

#[cold]
fn outside(model: &Model, key: u64, position: usize, start: u64) -> VerifyError {
    let end = start.saturating_add(model.window.keys as u64).min(model.window.total);
    VerifyError::OutsideWindow { key, position, start: start as usize, end: end as usize }
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
        let cells = self.model.root.cells;
        for word in core::iter::once(cells).chain(0..cells).chain(core::iter::once(cells + 1)) {
            self.record(word, 1)?;
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
