//! Which root, from a sample of the keys.
//!
//! A grid is as good as its cells are evenly filled. What a grid leaves to the later stages is measured in bits:
//! the mean, over the keys, of the logarithm of how many times fuller than even a key's cell is. Compared are
//! linear grids with more or fewer outliers trimmed off either end, and logarithmic ones.

use crate::root::{Root, multiply};
use alloc::vec::Vec;

/// How many keys a root is judged by at most.
const SAMPLE: usize = 1 << 15;
/// The same for the first look at what to trim.
const COARSE_SAMPLE: usize = 1 << 11;
/// How fine a grid the first look uses.
const COARSE_CELLS: u64 = 1 << 10;
/// What a trimmed key costs, in bits: it is searched among separators.
const TRIMMED: f64 = 16.0;
/// What the longer arithmetic of a logarithmic root costs, in bits.
const LOGARITHM: f64 = 0.35;
/// A finer root must save this much, in bits: it occupies more cache.
const FINER: f64 = 0.06;
/// The most cells of a root.
const MOST_CELLS: u64 = 1 << 16;
/// The fewest keys to a cell of a root, on average.
const KEYS_PER_CELL: u64 = 512;

/// The root for these keys.
pub(super) fn choose(keys: &[u64]) -> Root {
    let (Some(&low), Some(&high)) = (keys.first(), keys.last()) else { return Root::linear(0, 0, 1) };
    if keys.len() < 64 {
        return Root::linear(low, high, 1);
    }
    let (below, above) = trim(keys);
    let kept = keys.get(below..keys.len() - above).unwrap_or(keys);
    let low = kept.first().copied().unwrap_or(low);
    let high = kept.last().copied().unwrap_or(high);
    let most = (keys.len() as u64 / KEYS_PER_CELL).next_power_of_two().clamp(1, MOST_CELLS);
    let sample = sample(kept, SAMPLE);
    let linear = finest(&sample, most, |cells| Some(Root::linear(low, high, cells)));
    let logarithmic = finest(&sample, most, |cells| {
        let octaves = u64::from(64 - (high - low).leading_zeros());
        Root::logarithmic(low, high, (cells / octaves.max(1)).checked_ilog2()?)
    });
    match (linear, logarithmic) {
        (Some((linear, bits)), Some((logarithmic, other)))
            if other + LOGARITHM < bits && linear.cells > 1 =>
        {
            logarithmic
        }
        (Some((linear, _)), _) => linear,
        _ => Root::linear(low, high, 1),
    }
}

/// The coarsest root of a kind after which finer ones save little, and the bits it leaves to later stages, its
/// own size included.
fn finest(sample: &[u64], most: u64, root: impl Fn(u64) -> Option<Root>) -> Option<(Root, f64)> {
    let mut best: Option<(Root, f64)> = None;
    let mut cells = 1;
    while cells <= most {
        if let Some(root) = root(cells) {
            let bits = bits_left(sample, &root) + FINER * (cells as f64).log2_of();
            if best.is_none_or(|(_, least)| bits < least) {
                best = Some((root, bits));
            }
        }
        cells *= 2;
    }
    best
}

/// The unevenness inside the cells of `root`: how many bits a grid sixteen times finer would save beyond four.
fn bits_left(sample: &[u64], root: &Root) -> f64 {
    let fine = |key| {
        let (cell, fraction) = root.cell(key);
        cell * 16 + multiply(fraction, 16).0
    };
    let inner = mean_log(sample.iter().map(|&key| fine(key)));
    let outer = mean_log(sample.iter().map(|&key| root.cell(key).0));
    (inner + 4.0 - outer).max(0.0)
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
