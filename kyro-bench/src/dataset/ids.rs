//! Identifiers that systems hand out.

use super::distinct;
use crate::random::Random;

const BLOCKS: u64 = 256;
const BLOCK_BITS: u32 = 29;
/// As many as the Facebook set of SOSD has.
const OUTLIERS: usize = 21;

/// Ids below 2^37, in 256 equal blocks whose densities differ by a factor of 50, and 21 outliers between 2^59 and 2^64,
/// evenly spread over the orders of magnitude: the shape of SOSD's Facebook set, where a model that starts from the
/// largest key sees all others as one.
pub(super) fn facebook_like(count: usize, random: &mut Random) -> Vec<u64> {
    let outliers = OUTLIERS.min(count / 50);
    let mut sum = 0.0;
    let densities: Vec<f64> = (0..BLOCKS)
        .map(|_| {
            sum += 50_f64.powf(random.unit());
            sum
        })
        .collect();
    let mut keys = distinct(count - outliers, || {
        let at = random.unit() * sum;
        let block = densities.partition_point(|&upto| upto <= at) as u64;
        (block << BLOCK_BITS) + random.below(1 << BLOCK_BITS)
    });
    keys.extend(distinct(outliers, || {
        let key = 2_f64.powf(59.0 + 4.999 * random.unit());
        key as u64 | random.below(1 << 10)
    }));
    keys
}

/// Snowflake ids: 41 bits of milliseconds, 10 of worker, 12 of sequence. About two ids a millisecond from 32 workers,
/// more by day than by night; a worker's sequence starts again every millisecond.
pub(super) fn snowflake(count: usize, random: &mut Random) -> Vec<u64> {
    const DAY_MS: f64 = 86_400_000.0;
    let mut keys = Vec::with_capacity(count);
    let mut millisecond = 1_u64 << 38;
    let mut group = Vec::new();
    while keys.len() < count {
        let rhythm = 1.0 + 0.8 * (std::f64::consts::TAU * millisecond as f64 / DAY_MS).sin();
        let arrivals = random.exponential(2.0 * rhythm).round() as usize;
        let mut sequences = [0_u64; 32];
        group.clear();
        for _ in 0..arrivals.min(4096) {
            let worker = random.below(32);
            let sequence = &mut sequences[worker as usize];
            group.push(millisecond << 22 | (worker * 31) << 12 | *sequence);
            *sequence += 1;
        }
        group.sort_unstable();
        keys.extend(group.iter().take(count - keys.len()));
        millisecond += 1;
    }
    keys
}
