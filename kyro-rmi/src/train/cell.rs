//! One cell: the cheapest record that keeps every key of it within a window.

use super::lines::Cut;
use super::{Trainer, choice, cost};
use crate::entry::{Entry, Kind, MOST_IN_LEAF};
use crate::model::interval;
use crate::root::multiply;
use alloc::vec::Vec;

/// How many records may follow one another before separators take over: with those, the worst case.
const DEEPEST: usize = 5;
/// A cell is cut by a grid, not by lines alone, if its density is further from even than this, in bits.
const EVEN: f64 = 0.25;
/// Cells of a grid inside a cell at most.
const MOST_GRID: u64 = 1 << 16;

/// What to do with a cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    Leaf,
    Lines(u64),
    Grid(u64),
    Fence,
}

impl Trainer<'_> {
    /// A record for the keys `start..end`, which are all those of a cell. `chain` is the product of the factors
    /// on the way to it.
    pub(super) fn train_cell(&mut self, start: usize, end: usize, chain: u64, depth: usize) -> Entry {
        if let Some(entry) = self.lines_as_nearby(start, end, chain, depth) {
            return entry;
        }
        let plan = if depth >= DEEPEST && (end - start) as u64 > self.window.span() {
            Plan::Fence
        } else {
            self.plan(start, end, chain).0
        };
        match plan {
            Plan::Leaf => self.leaf(start, end),
            Plan::Lines(count) => match self.lines(Cut { start, end, chain, count }, depth, u64::MAX) {
                Some(entry) => entry,
                None => self.fence(start, end),
            },
            Plan::Grid(parts) => self.grid(start, end, chain, parts, depth),
            Plan::Fence => self.fence(start, end),
        }
    }

    /// Lines for a cell of the density that fitted the cells before it, if it fitted them well and fits this one.
    fn lines_as_nearby(&mut self, start: usize, end: usize, chain: u64, depth: usize) -> Option<Entry> {
        let count = (end - start) as u64;
        let trusted =
            depth == 0 && self.nearby.lines_per_key <= cost::RECORD && count > self.keys_per_line() / 2;
        let lines = self.lines_due(count)?;
        if !trusted || self.leaf_missed(start, end, chain).is_some() {
            return None;
        }
        let most = count * (self.nearby.lines_per_key + cost::LINE) * 3 / 2 + self.prices.block();
        self.lines(Cut { start, end, chain, count: lines }, depth, most)
    }

    /// The cheapest plan for a cell, and what it costs.
    pub(super) fn plan(&mut self, start: usize, end: usize, chain: u64) -> (Plan, u64) {
        let count = (end - start) as u64;
        let leaf_cost = self.leaf_missed(start, end, chain).unwrap_or(u64::MAX);
        let mut best = (Plan::Leaf, leaf_cost);
        // Nothing costs less than a few blocks: a leaf that fits, or nearly, is kept.
        if count <= self.window.span() || leaf_cost <= self.prices.block() {
            return best;
        }
        let mut consider = |plan, cost| {
            if cost < best.1 {
                best = (plan, cost);
            }
        };
        let (lines, lines_cost) = self.tune(start, end, chain);
        let lines_cost = lines_cost + cost::LINE * count;
        consider(Plan::Lines(lines), lines_cost);
        if lines_cost <= cost::RECORD * count {
            return best; // the others cost a record more a key, at least
        }
        consider(Plan::Fence, self.segments_cost(start, end).0);
        if let Some(parts) = self.grid_size(start, end, chain) {
            consider(Plan::Grid(parts), self.grid_cost(start, end, chain, parts));
        }
        best
    }

    /// A record for one straight line.
    pub(super) fn leaf(&mut self, start: usize, end: usize) -> Entry {
        self.counts.leaves += 1;
        Entry::new(Kind::Leaf { first: start as u64, count: (end - start) as u64 })
    }

    /// What the keys cost that one straight line through the cell leaves outside the core of their window; `None`
    /// if one is outside its window.
    fn leaf_missed(&self, start: usize, end: usize, chain: u64) -> Option<u64> {
        let count = (end - start) as u64;
        if count > MOST_IN_LEAF {
            return None;
        }
        let place = |position: usize| interval(start as u64, count, self.fraction_at(position, chain));
        // A few keys refuse most cells that will not do; only then are all of them tried.
        let step = (end - start) / 24;
        if step > 8
            && (start..end).step_by(step).any(|at| self.missed_of(at, [place(at)].into_iter()).is_none())
        {
            return None;
        }
        self.missed_of(start, (start..end).map(place))
    }

    /// How many cells a grid over the keys would have, if they are uneven enough for one.
    fn grid_size(&self, start: usize, end: usize, chain: u64) -> Option<u64> {
        let count = end - start;
        let sampled = count.min(1024);
        let sample = (0..sampled).map(|index| start + index * count / sampled);
        let bits = choice::unevenness(sample.map(|at| self.fraction_at(at, chain)), 64);
        let cells = (count as u64 / self.keys_per_line().min(512)).max(4).next_power_of_two();
        (bits > EVEN).then_some(cells.min(MOST_GRID))
    }

    /// What a grid of `parts` cells costs, with children of the kind that fits elsewhere.
    fn grid_cost(&self, start: usize, end: usize, chain: u64, parts: u64) -> u64 {
        let mut from = start;
        let mut sum = parts * self.prices.word() + (end - start) as u64 * cost::RECORD;
        for to in self.part_ends(start, end, chain, parts) {
            sum += self.prices.cell((to - from) as u64, self.nearby);
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
