//! The keys in parts, a thread each: every part is read once and nothing is written but its own counts.

use super::{EveryKey, Histogram};
use crate::error::VerifyError;
use kyro_simd::Searcher;

/// The fewest keys that are worth a thread: about ten milliseconds.
#[cfg(feature = "std")]
const FEWEST: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// Checks every key on one thread.
#[cfg(not(feature = "std"))]
pub(super) fn every_key(
    all: EveryKey<'_>,
    searcher: Searcher,
    _threads: usize,
) -> Result<Histogram, VerifyError> {
    searcher.run(all)
}

/// Checks every key on up to `threads` threads. The error is that of the first key that has one, as on one thread.
#[cfg(feature = "std")]
pub(super) fn every_key(
    all: EveryKey<'_>,
    searcher: Searcher,
    threads: usize,
) -> Result<Histogram, VerifyError> {
    let part = all.keys.len().div_ceil(threads.max(1)).max(FEWEST);
    if part >= all.keys.len() {
        return searcher.run(all);
    }
    std::thread::scope(|scope| {
        let parts = (0..all.keys.len()).step_by(part);
        let parts = parts.map(|from| EveryKey { from, to: (from + part).min(all.keys.len()), ..all });
        let mut started = alloc::vec::Vec::new();
        for part in parts {
            let thread = std::thread::Builder::new().name("kyro-rmi verify".into());
            started.push((part, thread.spawn_scoped(scope, move || searcher.run(part))));
        }
        let mut sum: Histogram = [0; 65];
        for (part, thread) in started {
            let counts = match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                // The system has no thread to give.
                Err(_) => searcher.run(part)?,
            };
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Ok(sum)
    })
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::{BuildOptions, Rmi};
    use alloc::vec::Vec;
    use core::num::NonZeroUsize;

    /// Uneven at every scale, so that intervals end anywhere in the parts.
    fn keys() -> Vec<u64> {
        let mut state = 1_u64;
        let mut keys: Vec<u64> = (0..20_011)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> (state % 40)
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    #[test]
    fn an_index_is_the_same_whatever_the_number_of_threads() {
        let keys = keys();
        let built = |threads| {
            let options = BuildOptions { threads: NonZeroUsize::new(threads), ..BuildOptions::default() };
            let index = Rmi::build(&keys, &options).unwrap();
            (index.body().to_vec(), crate::Stats { build_nanos: 0, ..index.stats() })
        };
        let one = built(1);
        for threads in [2, 3, 5, 8, 64] {
            assert_eq!(built(threads), one, "{threads} threads");
        }
    }

    #[test]
    fn the_first_wrong_key_is_named_whatever_the_number_of_threads() {
        let keys = keys();
        let index = Rmi::build(&keys, &BuildOptions::default()).unwrap();
        let mut others = keys.clone();
        // Two runs of keys are elsewhere: in the middle of a part, and over a border between parts.
        for range in [7_000..7_300, 12_200..12_500] {
            let (low, high) = (others[range.start - 1], others[range.end]);
            for (at, key) in (low + 1..).zip(&mut others[range]) {
                *key = at.min(high - 1);
            }
        }
        let all =
            EveryKey { model: &index.model, body: index.body(), keys: &others, from: 0, to: others.len() };
        let one = every_key(all, index.searcher, 1).unwrap_err();
        for threads in [2, 3, 7, 16] {
            assert_eq!(every_key(all, index.searcher, threads).unwrap_err(), one, "{threads} threads");
        }
        assert!(every_key(EveryKey { keys: &keys, ..all }, index.searcher, 4).is_ok());
    }
}
