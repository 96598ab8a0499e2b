//! Lines of equal parts: how densely, and what to do with the parts that do not fit.

use super::{Trainer, cost};
use crate::entry::{Entry, Kind, MOST_PARTS};
use crate::line::{self, MOST_IN_LINE, PARTS};
use crate::model::interval;
use crate::root::{Spread, multiply};
use kyro_simd::{Kernel, Operation};

/// Densities to choose from, in keys to a part.
const LADDER: [u64; 20] =
    [4, 6, 8, 11, 16, 22, 32, 45, 56, 64, 90, 128, 181, 256, 362, 512, 724, 1024, 1448, 2000];
/// Where the search for a density starts.
pub(super) const FIRST_RUNG: usize = 7;
/// How many keys a density is tried on.
const TRIED: usize = 8 * 1024;
/// In how many places of a large cell.
const SAMPLES: usize = 6;
/// A density is taken over from neighbouring cells for this many keys.
const TUNED_FOR: usize = 320 * 1024;

/// One line before it is written.
struct Fitted {
    /// Where each part ends, counted from the line's first key.
    ends: [u16; PARTS],
    /// Which parts do not fit the window.
    misfits: u64,
    /// What the keys of the others cost that lie outside the core of their window.
    missed: u64,
    /// The position after the line's last key.
    end: usize,
}

/// The keys of one cell cut into `count` lines.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) chain: u64,
    pub(super) count: u64,
}

impl Trainer<'_> {
    /// How many lines the density that fits best asks for, and what that costs.
    pub(super) fn tune(&mut self, start: usize, end: usize, chain: u64) -> (u64, u64) {
        let keys = (end - start) as u64;
        let count_at = |rung: usize| {
            let density = LADDER.get(rung).copied().unwrap_or(1);
            keys.div_ceil(density * PARTS as u64).clamp(1, MOST_PARTS)
        };
        let cost_at = |trainer: &mut Self, rung| {
            let (cost, tried) = trainer.try_lines(Cut { start, end, chain, count: count_at(rung) });
            cost.saturating_mul(keys) / (tried as u64).max(1)
        };
        if self.since_tuned < TUNED_FOR && end - start < TUNED_FOR {
            let cost = cost_at(self, self.rung);
            self.since_tuned += end - start;
            return (count_at(self.rung), cost);
        }
        self.since_tuned = 0;
        let mut best = (cost_at(self, self.rung), self.rung);
        for step in [usize::MAX, 1] {
            let mut rung = self.rung.wrapping_add(step);
            while rung < LADDER.len() {
                let cost = cost_at(self, rung);
                if cost >= best.0 {
                    break;
                }
                best = (cost, rung);
                rung = rung.wrapping_add(step);
            }
            if best.1 != self.rung {
                break;
            }
        }
        self.rung = best.1;
        self.nearby.lines_per_key = best.0 / keys.max(1) + cost::LINE;
        (count_at(self.rung), best.0)
    }

    /// How many lines `keys` keys take at the density that fitted last, unless it is time to look for another.
    pub(super) fn lines_due(&mut self, keys: u64) -> Option<u64> {
        if self.since_tuned >= TUNED_FOR || keys as usize >= TUNED_FOR {
            return None;
        }
        self.since_tuned += keys as usize;
        Some(keys.div_ceil(self.keys_per_line()).clamp(1, MOST_PARTS))
    }

    /// The keys to a line at the density that fitted last.
    pub(super) fn keys_per_line(&self) -> u64 {
        LADDER.get(self.rung).copied().unwrap_or(1) * PARTS as u64
    }

    /// What `cut` costs on a sample of its keys, and how many keys that is.
    fn try_lines(&mut self, cut: Cut) -> (u64, usize) {
        let samples = if cut.end - cut.start > 2 * TRIED { SAMPLES } else { 1 };
        let (mut cost, mut tried) = (0, 0);
        for sample in 0..samples {
            let mut at = cut.start + (cut.end - cut.start) / samples * sample;
            let stop = if samples == 1 { cut.end } else { at + TRIED / samples };
            let mut before = None;
            while at < stop {
                let (line, _) = multiply(self.fraction_at(at, cut.chain), cut.count);
                let Some(fitted) = self.fit(cut, line, at) else {
                    return (u64::MAX / 2, cut.end - cut.start);
                };
                // Empty lines cost as much as full ones.
                cost += self.prices.block() * before.map_or(1, |before: u64| line - before);
                before = Some(line);
                let mut part_start = 0;
                for (part, &end) in fitted.ends.iter().enumerate() {
                    if fitted.misfits >> part & 1 == 1 {
                        let keys = u64::from(end - part_start);
                        cost +=
                            self.prices.word() + cost::RECORD * keys + self.prices.cell(keys, self.nearby);
                    }
                    part_start = end;
                }
                cost += fitted.missed;
                tried += fitted.end - at;
                at = fitted.end;
            }
        }
        (cost, tried)
    }

    /// Writes the lines of `cut`, and records for the parts that do not fit. `None` where a line would have more
    /// keys than it can count, or all together would cost more than `most`; what was written is taken back.
    pub(super) fn lines(&mut self, cut: Cut, depth: usize, most: u64) -> Option<Entry> {
        let first = self.blocks.len();
        let blocks_needed = cut.count as usize;
        self.blocks.resize(first + blocks_needed, [0; 64]);
        let kept = (self.words.len(), self.counts);
        let mut cost = 0;
        let mut at = cut.start;
        let inner = cut.chain.wrapping_mul(cut.count).wrapping_mul(PARTS as u64);
        for line in 0..cut.count {
            let fitted = self.fit(cut, line, at).filter(|fitted| {
                cost += self.prices.block() + fitted.missed;
                cost += u64::from(fitted.misfits.count_ones()) * 4 * self.prices.block();
                cost <= most
            });
            let Some(fitted) = fitted else {
                self.blocks.truncate(first);
                self.words.truncate(kept.0);
                self.counts = kept.1;
                return None;
            };
            self.counts.leaves += PARTS as u64 - u64::from(fitted.misfits.count_ones());
            let records = self.words.len();
            self.words.resize(records + fitted.misfits.count_ones() as usize, 0);
            let (mut part_start, mut next) = (0, records);
            for (part, &end) in fitted.ends.iter().enumerate() {
                if fitted.misfits >> part & 1 == 1 {
                    let keys = at + usize::from(part_start)..at + usize::from(end);
                    if depth == 0 {
                        self.counts.further_keys += keys.len() as u64;
                    }
                    let entry = self.train_cell(keys.start, keys.end, inner, depth + 1);
                    self.set_word(next, entry);
                    next += 1;
                }
                part_start = end;
            }
            let block = line::encode(at as u64, &fitted.ends, fitted.misfits, records as u32);
            if let Some(slot) = self.blocks.get_mut(first + line as usize) {
                *slot = block;
            }
            at = fitted.end;
        }
        Some(Entry::new(Kind::Lines { first: first as u64, count: cut.count }))
    }

    /// Counts the keys of line `line` of `cut`, which start at `start`, and finds the parts that do not fit.
    /// `None` where there are more keys than a line can count.
    fn fit(&mut self, cut: Cut, line: u64, start: usize) -> Option<Fitted> {
        self.searcher.run(Fit { trainer: self, cut, line, start })
    }

    /// The fraction of the key at `position`.
    pub(super) fn fraction_at(&self, position: usize, chain: u64) -> u64 {
        self.keys.get(position).map_or(0, |&key| self.fraction(key, chain))
    }
}

/// The fitting of one line as an operation, compiled as a whole for each level.
struct Fit<'a, 'k> {
    trainer: &'a mut Trainer<'k>,
    cut: Cut,
    line: u64,
    start: usize,
}

impl Operation for Fit<'_, '_> {
    type Output = Option<Fitted>;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> Option<Fitted> {
        let Self { trainer, cut, line, start } = self;
        let mut ends = [0u16; PARTS];
        let mut fractions = core::mem::take(&mut trainer.fractions);
        fractions.resize(MOST_IN_LINE + 1, 0);
        let keys = trainer.keys.get(start..cut.end).unwrap_or_default();
        // A multiplication by the number of lines, and one of the rest by that of parts, come to one by both.
        let (parts, skipped) = (cut.count * PARTS as u64, line * PARTS as u64);
        let (mut count, mut open) = (0, 0);
        let mut place = |fraction_of_cell: u64, slot: &mut u64| {
            let (part, fraction) = multiply(fraction_of_cell, parts);
            let part = part.wrapping_sub(skipped) as usize;
            // Parts change once in many keys.
            while open < part.min(PARTS) {
                if let Some(end) = ends.get_mut(open) {
                    *end = count as u16;
                }
                open += 1;
            }
            *slot = fraction;
            count += usize::from(part < PARTS);
            part < PARTS
        };
        let mut slots = fractions.iter_mut().zip(keys);
        match trainer.root.spread {
            Spread::Linear { multiplier } => {
                // The same, for the root's multiplication.
                let factor = multiplier.wrapping_mul(cut.chain);
                let low = trainer.root.low;
                let _ = slots.all(|(slot, &key)| place(key.wrapping_sub(low).wrapping_mul(factor), slot));
            }
            Spread::Logarithmic { .. } => {
                let _ = slots.all(|(slot, &key)| place(trainer.fraction(key, cut.chain), slot));
            }
        }
        if count > MOST_IN_LINE {
            trainer.fractions = fractions;
            return None;
        }
        for end in ends.get_mut(open..).unwrap_or_default() {
            *end = count as u16;
        }
        let (mut misfits, mut missed, mut total) = (0, 0, 0u16);
        for (part, end) in ends.iter_mut().enumerate() {
            let after = *end;
            let count = u64::from(after - total);
            let own = fractions.get(usize::from(total)..usize::from(after)).unwrap_or_default();
            let first = start + usize::from(total);
            let places = own.iter().map(|&fraction| interval(first as u64, count, fraction));
            match trainer.missed_of(first, places) {
                Some(few) if few <= cost::RECORD * count + 2 * trainer.prices.block() => missed += few,
                _ => misfits |= 1 << part,
            }
            total = after;
        }
        trainer.fractions = fractions;
        Some(Fitted { ends, misfits, missed, end: start + count })
    }
}
