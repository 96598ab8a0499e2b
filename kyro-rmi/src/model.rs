//! The lookup: key → root → records → window. The only arithmetic on keys, shared by build and lookup.

use crate::entry::{Entry, Kind};
use crate::fence;
use crate::line::{self, Block, PARTS};
use crate::root::{Root, multiply};

/// The most records one lookup follows before it gives up: more than any built index needs, so that damaged
/// records cannot lead a lookup in circles.
pub(crate) const MOST_STEPS: usize = 32;

/// How a leaf turns a position into a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The keys in a window: a multiple of 8, or all the keys where there are fewer.
    pub(crate) keys: usize,
    /// The last position at which a window starts: the number of keys less the window.
    pub(crate) last: u64,
}

impl Window {
    /// The window for `total` keys. `keys` is a multiple of 8 from 16 to 64.
    pub(crate) fn new(keys: usize, total: u64) -> Self {
        Self { keys, last: total.saturating_sub(keys as u64) }
    }

    /// How many positions a window surely covers from wherever it is asked to start: it starts up to 7
    /// earlier, at a multiple of 8, so that it spans as few cache lines as can be.
    #[inline(always)]
    pub(crate) fn span(self) -> u64 {
        self.keys as u64 - 7
    }

    /// The window for a key that lies `fraction` of the way through an interval with `count` keys from position
    /// `first`. Monotone in `fraction`; never leaves the interval by more than it must.
    #[inline(always)]
    pub(crate) fn start(self, first: u64, count: u64, fraction: u64) -> u64 {
        let (within, _) = multiply(fraction, count);
        let half = self.keys as u64 / 2 - 4;
        let start = within.saturating_sub(half).min(count.saturating_sub(self.span()));
        self.align(first + start)
    }

    /// The window that covers positions from `position` on.
    #[inline(always)]
    pub(crate) fn align(self, position: u64) -> u64 {
        (position & !7).min(self.last)
    }
}

/// Everything a lookup needs, by value, beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) root: Root,
    pub(crate) window: Window,
    /// How many keys there are.
    pub(crate) keys: u64,
    /// The byte of the body at which the blocks start, after the words.
    pub(crate) blocks_at: u64,
}

/// Where a lookup ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In an interval of `count` keys from `first` on, `fraction` of the way through.
    Interval { first: u64, count: u64, fraction: u64 },
    /// In this stride of one window each, counted from this position.
    Stride { first: u64, stride: u64 },
    /// Nowhere: the records are damaged.
    Lost,
}

impl Model {
    /// The start of the window of `key`. O(1) but for fences, which are O(log n).
    #[inline(always)]
    pub(crate) fn window_start(&self, body: &[u8], key: u64) -> u64 {
        match self.place(body, key) {
            Place::Interval { first, count, fraction } => self.window.start(first, count, fraction),
            Place::Stride { first, stride } => self.window.align(first + stride * self.window.keys as u64),
            Place::Lost => 0,
        }
    }

    /// Follows the records to where `key` belongs.
    #[inline(always)]
    pub(crate) fn place(&self, body: &[u8], key: u64) -> Place {
        let (cell, fraction) = self.root.cell(key);
        self.follow(body, key, cell, fraction)
    }

    /// Follows the records from the one in word `word`.
    #[inline(always)]
    pub(crate) fn follow(&self, body: &[u8], key: u64, mut word: u64, mut fraction: u64) -> Place {
        for _ in 0..MOST_STEPS {
            let Some(entry) = entry(body, word) else { return Place::Lost };
            match entry.kind() {
                Kind::Lines { first, count } => {
                    let (line, rest) = multiply(fraction, count);
                    let (index, rest) = multiply(rest, PARTS as u64);
                    let Some(block) = self.block(body, first + line) else { return Place::Lost };
                    let part = line::part(block, index as usize);
                    fraction = rest;
                    match part.record {
                        None => return Place::Interval { first: part.first, count: part.count, fraction },
                        Some(record) => word = record,
                    }
                }
                Kind::Leaf { first, count } => return Place::Interval { first, count, fraction },
                Kind::Grid { first, count } => {
                    let (part, rest) = multiply(fraction, count);
                    fraction = rest;
                    word = first + part;
                }
                Kind::Fence { root } => return self.search(body, key, root),
            }
        }
        Place::Lost
    }

    /// Searches among separators.
    #[inline]
    pub(crate) fn search(&self, body: &[u8], key: u64, mut node: u64) -> Place {
        for _ in 0..MOST_STEPS {
            let Some(block) = self.block(body, node) else { return Place::Lost };
            match fence::step(block, key) {
                fence::Step::Node(child) => node = child,
                fence::Step::Stride { first, stride } => return Place::Stride { first, stride },
            }
        }
        Place::Lost
    }

    /// Block `block`.
    #[inline(always)]
    pub(crate) fn block<'a>(&self, body: &'a [u8], block: u64) -> Option<&'a Block> {
        let at = (self.blocks_at as usize).wrapping_add((block as usize).wrapping_mul(64));
        body.get(at..)?.first_chunk()
    }
}

/// The record in word `word`.
#[inline(always)]
pub(crate) fn entry(body: &[u8], word: u64) -> Option<Entry> {
    let bytes = body.get((word as usize).wrapping_mul(8)..)?.first_chunk()?;
    Some(Entry(u64::from_le_bytes(*bytes)))
}
