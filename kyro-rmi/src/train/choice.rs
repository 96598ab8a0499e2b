//! Which root, from a sample of the keys.
//!
//! Outliers are trimmed off both ends first, as many as make a grid over the rest evenly enough filled: evenness
//! is measured in bits, the mean over the keys of the logarithm of how many times fuller than even a key's cell
//! is. Then linear and logarithmic grids of several sizes are compared by what it would cost to train a sample of
//! their cells, with the very planning that the training does.

use super::Trainer;
use crate::model::Window;
use crate::options::BuildOptions;
use crate::root::{Root, multiply};
use crate::stats::RootKind;
use alloc::vec::Vec;

/// How many cells a root is judged by.
const CELLS_TRIED: usize = 8;
/// How many keys the first look, at what to trim, is taken at.
const COARSE_SAMPLE: usize = 1 << 11;
/// How fine a grid the first look uses.
const COARSE_CELLS: u64 = 1 << 10;
/// What a trimmed key costs, in bits: it is searched among separators.
const TRIMMED: f64 = 60.0;
/// A logarithmic root must cost this much less than a linear one, in nanoseconds a key.
const LOGARITHM: u64 = 3;
/// A linear root that costs no more than this, in nanoseconds a key, is not worth a search for a better one.
const GOOD_ENOUGH: u64 = 24;
/// The numbers of cells to choose from.
const CELLS: [u64; 7] = [1, 1 << 5, 1 << 8, 1 << 11, 1 << 13, 1 << 15, 1 << 17];
/// A grid that costs more than this, in nanoseconds a key, is worse than a tree of separators.
const TREE: u64 = 60;
/// Fewer keys than these need no tree.
const FEWEST_FOR_A_TREE: usize = 4096;
/// The fewest keys to a cell of a root, on average.
const KEYS_PER_CELL: u64 = 32;

/// What was chosen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chosen {
    Grid(Root),
    Tree,
}

/// The root for these keys.
pub(super) fn choose(keys: &[u64], window: Window, options: &BuildOptions) -> Chosen {
    match options.root {
        Some(RootKind::Separators) if !keys.is_empty() => return Chosen::Tree,
        None if options.window.is_none() && keys.len() >= FEWEST_FOR_A_TREE => (),
        kind => return Chosen::Grid(grid(keys, window, kind).0),
    }
    let (root, cost) = grid(keys, window, None);
    if cost > TREE {
        return Chosen::Tree;
    }
    Chosen::Grid(root)
}

/// The best grid for these keys, and what it costs.
fn grid(keys: &[u64], window: Window, kind: Option<RootKind>) -> (Root, u64) {
    let (Some(&low), Some(&high)) = (keys.first(), keys.last()) else { return (Root::linear(0, 0, 1), 0) };
    if keys.len() < 64 {
        return (Root::linear(low, high, 1), 0);
    }
    let (below, above) = trim(keys);
    let kept = keys.get(below..keys.len() - above).unwrap_or(keys);
    let low = kept.first().copied().unwrap_or(low);
    let high = kept.last().copied().unwrap_or(high);
    let most = (keys.len() as u64 / KEYS_PER_CELL).max(1);
    let cells = || CELLS.into_iter().filter(|&cells| cells <= most);
    let (mut best, mut least) = (Root::linear(low, high, 1), u64::MAX);
    for root in cells().map(|cells| Root::linear(low, high, cells)) {
        let cost = cost_of(keys, (below, keys.len() - above), root, window);
        if cost < least {
            (best, least) = (root, cost);
        }
        if cost == 0 {
            return (best, 0);
        }
    }
    if least > GOOD_ENOUGH && kind != Some(RootKind::Linear) || kind == Some(RootKind::Logarithmic) {
        if kind.is_some() {
            least = u64::MAX;
        }
        let octaves = u64::from(64 - (high - low).leading_zeros()).max(1);
        let bits = cells().filter_map(|cells| (cells / octaves).checked_ilog2());
        for root in bits.filter_map(|bits| Root::logarithmic(low, high, bits)) {
            let cost = cost_of(keys, (below, keys.len() - above), root, window) + LOGARITHM;
            if cost < least {
                (best, least) = (root, cost);
            }
        }
    }
    (best, least)
}

/// What a root costs, in nanoseconds a key: the mean over cells of evenly spaced keys, each planned as the
/// training would, and the size of the root's own records.
fn cost_of(keys: &[u64], kept: (usize, usize), root: Root, window: Window) -> u64 {
    let mut trainer = Trainer::new(keys, root, window);
    let (mut cost, mut tried) = (0, 0);
    for index in 0..CELLS_TRIED {
        let position = kept.0 + (kept.1 - kept.0) * (2 * index + 1) / (2 * CELLS_TRIED);
        let cell = keys.get(position).map_or(0, |&key| root.cell(key).0);
        let kept_keys = keys.get(kept.0..kept.1).unwrap_or_default();
        let start = kept.0 + kept_keys.partition_point(|&key| root.cell(key).0 < cell);
        let end = trainer.gallop(position.max(start), |root, key| root.cell(key).0 <= cell).min(kept.1);
        trainer.since_tuned = usize::MAX / 2;
        let (_, cell_cost) = trainer.plan(start, end, 1);
        cost += cell_cost / (end - start).max(1) as u64;
        tried += 1;
        if root.cells == 1 {
            break;
        }
    }
    let own = if root.cells == 1 { 0 } else { 1 + root.cells * trainer.prices.word() / keys.len() as u64 };
    cost / tried + own
}

/// How many keys to trim off each end.
fn trim(keys: &[u64]) -> (usize, usize) {
    let most = keys.len() / 16;
    let mut amounts = Vec::from([0]);
    let mut amount = 1;
    while amount <= most {
        amounts.push(amount);
        amount *= 8;
    }
    let mut best = (0, 0);
    let mut least = f64::MAX;
    for &below in &amounts {
        for &above in &amounts {
            let kept = keys.get(below..keys.len() - above).unwrap_or(keys);
            let (Some(&low), Some(&high)) = (kept.first(), kept.last()) else { continue };
            let root = Root::linear(low, high, COARSE_CELLS);
            let bits = mean_log(sample(kept, COARSE_SAMPLE).iter().map(|&key| root.cell(key).0))
                - (COARSE_SAMPLE.min(kept.len()) as f64 / root.cells as f64).log2_of();
            let trimmed = (below + above) as f64;
            // A fence for a handful of keys costs nothing; even so, trim only for a gain.
            let cost = bits + TRIMMED * trimmed / keys.len() as f64 + if trimmed > 0.0 { 0.02 } else { 0.0 };
            if cost < least {
                (best, least) = ((below, above), cost);
            }
        }
    }
    best
}

/// How many bits fuller than even the cells of `fractions` on a grid of `cells` are, as the keys see it.
pub(super) fn unevenness(fractions: impl Iterator<Item = u64>, cells: u64) -> f64 {
    let mut count = 0;
    let bits = mean_log(fractions.map(|fraction| {
        count += 1;
        multiply(fraction, cells).0
    }));
    bits - (f64::from(count) / cells as f64).log2_of()
}

/// At most `most` of the keys, evenly spaced.
fn sample(keys: &[u64], most: usize) -> Vec<u64> {
    let taken = keys.len().min(most);
    (0..taken)
        .filter_map(|index| keys.get((index as u128 * keys.len() as u128 / taken as u128) as usize))
        .copied()
        .collect()
}

/// The mean, over the items, of the logarithm of how many items share an item's cell. Equal cells follow one
/// another.
fn mean_log(cells: impl Iterator<Item = u64>) -> f64 {
    let (mut total, mut sum, mut run, mut last) = (0.0, 0.0, 0.0, None);
    for cell in cells {
        if last != Some(cell) {
            sum += run * f64::log2_of(run);
            run = 0.0;
            last = Some(cell);
        }
        run += 1.0;
        total += 1.0;
    }
    sum += run * f64::log2_of(run);
    if total > 0.0 { sum / total } else { 0.0 }
}

/// The binary logarithm without `std`, to a few thousandths: for estimates, never for positions.
trait Log2 {
    fn log2_of(self) -> f64;
}

impl Log2 for f64 {
    fn log2_of(self) -> f64 {
        if self <= 0.0 {
            return 0.0;
        }
        let bits = self.to_bits();
        let exponent = (bits >> 52 & 0x7FF).cast_signed() - 1023;
        let mantissa = Self::from_bits(bits & ((1 << 52) - 1) | 1023 << 52) - 1.0;
        // log2(1 + m) ≈ m + m (1 − m) (0.3444 − 0.0839 m), within 0.001 on 0 ≤ m < 1.
        exponent as f64 + mantissa + mantissa * (1.0 - mantissa) * (0.4145 - 0.1440 * mantissa)
    }
}
