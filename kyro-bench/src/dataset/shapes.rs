//! Sets that are one distribution.

use super::distinct;
use crate::random::Random;

/// 2^40, 2^40 + 1, and so on: what a counter gives.
pub(super) fn dense(count: usize) -> Vec<u64> {
    (0..count as u64).map(|index| (1 << 40) + index).collect()
}

/// Any 64-bit number, each as likely: what a hash gives.
pub(super) fn uniform(count: usize, random: &mut Random) -> Vec<u64> {
    distinct(count, || random.next())
}

/// Mean 2^63 and deviation 2^60. The low bits, which a double does not have, are random too.
pub(super) fn normal(count: usize, random: &mut Random) -> Vec<u64> {
    distinct(count, || {
        let key = ((1_u64 << 63) as f64 + random.normal() * (1_u64 << 60) as f64) as u64;
        (key & !0xFFF) | (random.next() & 0xFFF)
    })
}

/// 2^46 × e^(2 × normal), as the lognormal set of SOSD (sigma 2).
pub(super) fn lognormal(count: usize, random: &mut Random) -> Vec<u64> {
    distinct(count, || ((1_u64 << 46) as f64 * (2.0 * random.normal()).exp()) as u64)
}

/// Pareto with exponent 0.6 from 2^36; what would fall beyond 64 bits is drawn again.
pub(super) fn books_like(count: usize, random: &mut Random) -> Vec<u64> {
    distinct(count, || {
        loop {
            let key = (1_u64 << 36) as f64 * (1.0 - random.unit()).powf(-1.0 / 0.6);
            if key < (u64::MAX as f64) * 0.999 {
                return key as u64;
            }
        }
    })
}
