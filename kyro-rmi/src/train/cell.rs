//! One cell: the cheapest record that keeps every key of it within a window.

use super::lines::Cut;
use super::{Trainer, choice, cost};
use crate::entry::{Entry, Kind, MOST_IN_LEAF};
use crate::fence::FANOUT;
use crate::root::multiply;
use alloc::vec::Vec;

/// How many records may follow one another before separators take over: with fences below, the worst case.
const DEEPEST: usize = 5;
/// A cell is cut by a grid, not by lines alone, if its density is further from even than this, in bits.
const EVEN: f64 = 0.25;
/// Cells of a grid inside a cell at most.
const MOST_GRID: u64 = 1 << 16;

impl Trainer<'_> {
    /// A record for the keys `start..end`, which are all those of a cell. `chain` is the product of the factors
    /// on the way to it.
    pub(super) fn train_cell(&mut self, start: usize, end: usize, chain: u64, depth: usize) -> Entry {
        let count = end - start;
        if count as u64 <= self.window.span() || self.is_leaf(start, end, chain) {
            return self.leaf(start, end);
        }
        if depth >= DEEPEST {
            return self.fence(start, end);
        }
        if count <= self.window.keys * FANOUT {
            return self.few(start, end, chain, depth);
        }
        let (lines, lines_cost) = self.tune(start, end, chain);
        let grid = self.grid_size(start, end, chain);
        let grid_cost = grid.map_or(u64::MAX, |grid| self.grid_cost(start, end, chain, grid));
        let fence_cost = cost::fence(count as u64, self.window.keys as u64);
        if fence_cost < lines_cost.min(grid_cost) {
            return self.fence(start, end);
        }
        if lines_cost <= grid_cost
            && let Some(entry) = self.lines(Cut { start, end, chain, count: lines }, depth)
        {
            return entry;
        }
        match grid {
            Some(parts) => self.grid(start, end, chain, parts, depth),
            None => self.fence(start, end),
        }
    }

    /// A record for one straight line.
    pub(super) fn leaf(&mut self, start: usize, end: usize) -> Entry {
        self.counts.leaves += 1;
        Entry::new(Kind::Leaf { first: start as u64, count: (end - start) as u64 })
    }

    /// Whether one straight line fits the keys `start..end`.
    fn is_leaf(&mut self, start: usize, end: usize, chain: u64) -> bool {
        let count = (end - start) as u64;
        if count > MOST_IN_LEAF {
            return false;
        }
        let window = self.window;
        let fits = |position: usize| {
            let at = window.start(start as u64, count, self.fraction_at(position, chain));
            (position as u64).wrapping_sub(at) < window.keys as u64
        };
        // A few keys refuse most cells that will not do; only then are all of them tried.
        let step = (count as usize / 16).max(1);
        (start..end).step_by(step).all(fits) && (start..end).all(fits)
    }

    /// A record for so few keys that one fence node always does: two or four leaves where they fit, else that.
    fn few(&mut self, start: usize, end: usize, chain: u64, depth: usize) -> Entry {
        for parts in [2, 4] {
            let inner = chain.wrapping_mul(parts);
            let ends = self.part_ends(start, end, chain, parts);
            let mut from = start;
            let fit = ends.iter().all(|&to| {
                let fits = (to - from) as u64 <= self.window.span() || self.is_leaf(from, to, inner);
                from = to;
                fits
            });
            if fit {
                return self.grid(start, end, chain, parts, depth);
            }
        }
        self.fence(start, end)
    }

    /// How many cells a grid over the keys would have, if they are uneven enough for one.
    fn grid_size(&self, start: usize, end: usize, chain: u64) -> Option<u64> {
        let count = end - start;
        let sampled = count.min(2048);
        let sample = (0..sampled).map(|index| start + index * count / sampled);
        let bits = choice::unevenness(sample.map(|at| self.fraction_at(at, chain)), 64);
        let cells = (count as u64 / self.keys_per_line()).max(4).next_power_of_two();
        (bits > EVEN).then_some(cells.min(MOST_GRID))
    }

    /// What a grid of `parts` cells costs, with children of the kind that fits elsewhere.
    fn grid_cost(&self, start: usize, end: usize, chain: u64, parts: u64) -> u64 {
        let (window, keys_per_line) = (self.window.keys as u64, self.keys_per_line());
        let mut from = start;
        let mut sum = parts * cost::WORD + (end - start) as u64 * cost::RECORD / 2;
        for to in self.part_ends(start, end, chain, parts) {
            sum += cost::cell((to - from) as u64, window, keys_per_line);
            from = to;
        }
        sum
    }

    /// Writes a grid of `parts` cells and trains each.
    fn grid(&mut self, start: usize, end: usize, chain: u64, parts: u64, depth: usize) -> Entry {
        if depth == 0 {
            self.counts.further_keys += (end - start) as u64;
        }
        let ends = self.part_ends(start, end, chain, parts);
        let first = self.words.len();
        self.words.resize(first + parts as usize, 0);
        let mut from = start;
        for (part, to) in ends.into_iter().enumerate() {
            let entry = self.train_cell(from, to, chain.wrapping_mul(parts), depth + 1);
            self.set_word(first + part, entry);
            from = to;
        }
        Entry::new(Kind::Grid { first: first as u64, count: parts })
    }

    /// Where each of `parts` equal parts of a cell ends.
    fn part_ends(&self, start: usize, end: usize, chain: u64, parts: u64) -> Vec<usize> {
        let keys = self.keys.get(..end).unwrap_or_default();
        let mut at = start;
        let mut ends = Vec::with_capacity(parts as usize);
        for part in 0..parts {
            let inside = |&key: &u64| multiply(self.fraction(key, chain), parts).0 <= part;
            let rest = keys.get(at..).unwrap_or_default();
            let mut reach = 1;
            while rest.get(reach).is_some_and(inside) {
                reach *= 2;
            }
            at += rest.get(..reach.min(rest.len())).unwrap_or_default().partition_point(inside);
            ends.push(at);
        }
        ends
    }
}
