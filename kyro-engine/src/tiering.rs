//! Which runs to merge: neighbours in age of similar size, so that a byte is written again only when it comes into
//! the company of as many bytes as it already keeps.

use std::ops::Range;

/// A run joins the newer ones beside it when it is at most this many quarters of their size together.
const SIMILAR_QUARTERS: u64 = 5;

/// What to merge of runs of these sizes, newest first; `None` while there are at most `max_runs`.
///
/// The newest neighbours where each older one is no larger than a quarter more than the newer ones together. Where
/// each is much larger than the ones before it, the cheapest neighbours that bring the count down to the bound.
pub(crate) fn choose(sizes: &[u64], max_runs: usize) -> Option<Range<usize>> {
    let max_runs = max_runs.max(1);
    if sizes.len() <= max_runs {
        return None;
    }
    let similar = (0..sizes.len()).map(|start| start..similar_end(sizes, start));
    let needed = sizes.len() - max_runs + 1;
    let bytes = |range: &Range<usize>| sizes.get(range.clone()).map_or(0, |part| part.iter().sum::<u64>());
    similar
        .into_iter()
        .find(|range| range.len() >= 2)
        .or_else(|| (0..max_runs).map(|start| start..start + needed).min_by_key(bytes))
}

/// Where the runs end that are similar to those between `start` and them.
fn similar_end(sizes: &[u64], start: usize) -> usize {
    let mut sum = 0_u64;
    for (index, &size) in sizes.iter().enumerate().skip(start) {
        if index > start && size > sum.saturating_mul(SIMILAR_QUARTERS) / 4 {
            return index;
        }
        sum = sum.saturating_add(size);
    }
    sizes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_merged_up_to_the_bound() {
        assert_eq!(choose(&[], 4), None);
        assert_eq!(choose(&[1, 1, 1, 1], 4), None);
        assert_eq!(choose(&[7], 0), None);
    }

    #[test]
    fn neighbours_of_similar_size_are_merged_and_large_old_ones_left() {
        assert_eq!(choose(&[1, 1, 1, 1, 1], 4), Some(0..5));
        assert_eq!(choose(&[1, 1, 1, 1, 100], 4), Some(0..4));
        assert_eq!(choose(&[1, 50, 50, 400, 4000], 4), Some(1..3));
        assert_eq!(
            choose(&[1, 10, 100, 1000, 10_000], 4),
            Some(0..2),
            "the cheapest, where none are similar"
        );
        assert_eq!(choose(&[100, 1, 10, 1000, 10_000], 4), Some(0..3), "smaller older ones go along");
    }

    /// Flushes of one size, each followed by what the policy asks for: bytes written for each byte flushed, and runs
    /// that a read meets on average.
    fn simulate(flushes: u64, max_runs: usize) -> (f64, f64) {
        let (mut sizes, mut written, mut met) = (Vec::new(), 0, 0);
        for _ in 0..flushes {
            sizes.insert(0, 1000_u64);
            written += 1000;
            while let Some(chosen) = choose(&sizes, max_runs) {
                let merged: u64 = sizes[chosen.clone()].iter().sum();
                written += merged;
                sizes.splice(chosen, [merged]);
            }
            assert!(sizes.len() <= max_runs && sizes.iter().sum::<u64>() % 1000 == 0);
            met += sizes.len();
        }
        (written as f64 / (flushes * 1000) as f64, met as f64 / flushes as f64)
    }

    #[test]
    fn write_amplification_grows_as_the_logarithm() {
        for flushes in [16, 100, 1000, 10_000_u64] {
            let (written, met) = simulate(flushes, 8);
            assert!(written <= 1.0 + (flushes as f64).log2(), "{written} times for {flushes} flushes");
            assert!(met <= 8.0);
        }
        // Fewer runs are paid for with more writing.
        assert!(simulate(1000, 4).0 > 2.0 * simulate(1000, 8).0);
    }
}
