//! The suite that every kernel of this processor must pass, against an oracle that counts one by one.

use crate::{Call, Kernel, LONG, Level, Operation, Searcher};
use std::vec::Vec;

/// Counts one by one, without any idea of order.
fn oracle(window: &[u64], key: u64) -> usize {
    window.iter().filter(|&&other| other < key).count()
}

/// Calls `check` with every kernel of this processor.
fn every_kernel(mut check: impl FnMut(Searcher)) {
    let mut kernels = 0;
    for searcher in Searcher::available() {
        check(searcher);
        kernels += 1;
    }
    assert!(kernels >= 1, "the scalar kernel is always there");
}

/// Asks both questions and compares both answers.
fn check(searcher: Searcher, window: &[u64], key: u64) {
    let expected = oracle(window, key);
    let what = (searcher.level(), window.len(), key);
    assert_eq!(searcher.lower_bound(window, key), expected, "lower bound of {what:?}");
    let found = (window.get(expected) == Some(&key)).then_some(expected);
    assert_eq!(searcher.find(window, key), found, "find of {what:?}");
}

/// Sorted windows of one length, each with another weakness: around the sign bit, at both ends of the
/// range, dense, sparse, all equal.
fn windows(length: usize) -> Vec<Vec<u64>> {
    let half = length as u64 / 2;
    let middle = 1u64 << 63;
    let count = 0..length as u64;
    Vec::from([
        count.clone().map(|i| middle - half + i).collect(),
        count.clone().map(|i| u64::MAX - (length as u64 - 1 - i)).collect(),
        count.clone().collect(),
        count.clone().map(|i| i * 3 + 1).collect(),
        count.clone().map(|i| i << 57).collect::<Vec<u64>>().into_iter().take(128).collect(),
        count.clone().map(|i| (u64::MAX / (length as u64)) * i + 7).collect(),
        count.clone().map(|_| middle).collect(),
        count.clone().map(|_| 0).collect(),
        count.map(|_| u64::MAX).collect(),
    ])
}

#[test]
fn every_length_and_every_place_against_the_oracle() {
    every_kernel(|searcher| {
        for length in 0..=130 {
            for mut window in windows(length) {
                window.sort_unstable();
                let mut keys =
                    Vec::from([0, 1, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX]);
                for &key in &window {
                    keys.extend([key.wrapping_sub(1), key, key.wrapping_add(1)]);
                }
                for key in keys {
                    check(searcher, &window, key);
                }
            }
        }
    });
}

#[test]
fn every_alignment_of_every_length() {
    let keys: Vec<u64> = (0..160).map(|i| (1 << 63) - 80 + i).collect();
    every_kernel(|searcher| {
        for start in 0..8 {
            for length in 0..=130 {
                let window = &keys[start..start + length];
                for key in keys.iter().copied().step_by(7).chain([0, u64::MAX]) {
                    check(searcher, window, key);
                }
            }
        }
    });
}

#[test]
fn long_windows_are_narrowed_to_the_same_answer() {
    let keys: Vec<u64> = (0..5000u64).map(|i| i * i * 37).collect();
    every_kernel(|searcher| {
        for length in [LONG - 1, LONG, LONG + 1, 2 * LONG, 2 * LONG + 1, 1000, 4999, 5000] {
            let window = &keys[..length];
            for &key in keys.iter().step_by(3) {
                for key in [key.wrapping_sub(1), key, key + 1] {
                    check(searcher, window, key);
                }
            }
            check(searcher, window, u64::MAX);
        }
    });
}

#[test]
fn nothing_beyond_the_window_is_counted() {
    // Smaller keys lie on both sides of each window: a kernel that looked out of it would count them.
    every_kernel(|searcher| {
        for length in 0..=130_usize {
            let mut around = Vec::from([0u64; 16]);
            around.extend((0..length).map(|_| 1000));
            around.extend([0u64; 16]);
            assert_eq!(searcher.lower_bound(&around[16..16 + length], 500), 0, "{:?}", searcher.level());
        }
    });
}

#[test]
fn unsorted_windows_stay_within_bounds() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    every_kernel(|searcher| {
        for length in 0..=200 {
            let window: Vec<u64> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state
                })
                .collect();
            for &key in window.iter().chain(&[0, u64::MAX]) {
                assert!(searcher.lower_bound(&window, key) <= window.len());
                if let Some(at) = searcher.find(&window, key) {
                    assert_eq!(window[at], key);
                }
            }
        }
    });
}

/// Probes of a fixed length, as a hot path makes them.
struct Exact<'a, const N: usize>(&'a [u64; N], u64);

impl<const N: usize> Operation for Exact<'_, N> {
    type Output = usize;
    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> usize {
        kernel.lower_bound_exact(self.0, self.1)
    }
}

#[test]
fn fixed_lengths_count_the_same() {
    fn lines<const N: usize>(searcher: Searcher) {
        for window in windows(N) {
            let Some(window) = window.first_chunk::<N>() else { continue };
            for &key in window {
                for key in [key.wrapping_sub(1), key, key.wrapping_add(1)] {
                    let counted = searcher.run(Exact(window, key));
                    assert_eq!(counted, oracle(window, key), "{:?} {N} {key}", searcher.level());
                }
            }
        }
    }
    every_kernel(|searcher| {
        lines::<8>(searcher);
        lines::<16>(searcher);
        lines::<24>(searcher);
        lines::<32>(searcher);
        lines::<40>(searcher);
        lines::<48>(searcher);
        lines::<56>(searcher);
        lines::<64>(searcher);
        lines::<65>(searcher);
        lines::<1>(searcher);
    });
}

/// A search of one cache line, with its arguments in registers.
struct Line;

impl Call<&[u64; 8], u64, ()> for Line {
    type Output = (usize, bool);
    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K, line: &[u64; 8], key: u64, (): ()) -> (usize, bool) {
        kernel.find_in_line(line, key)
    }
}

#[test]
fn one_line_answers_both_questions() {
    every_kernel(|searcher| {
        for mut window in windows(8) {
            window.sort_unstable();
            let Some(line) = window.first_chunk::<8>() else { continue };
            let near = line.iter().flat_map(|&key| [key.wrapping_sub(1), key, key.wrapping_add(1)]);
            for key in near.chain([0, (1 << 63) - 1, 1 << 63, u64::MAX]) {
                let expected = (oracle(line, key), line.contains(&key));
                assert_eq!(searcher.call(Line, line, key, ()), expected, "{:?} {key}", searcher.level());
            }
        }
    });
}

#[test]
fn levels_are_what_was_asked_for() {
    for level in Level::ALL {
        if let Some(searcher) = Searcher::with_level(level) {
            assert_eq!(searcher.level(), level);
        }
    }
    assert_eq!(Searcher::with_level(Level::Scalar).map(Searcher::level), Some(Level::Scalar));
    let fastest = Searcher::available().last().map(Searcher::level);
    assert_eq!(fastest, Some(Searcher::new().level()));
    assert_eq!(Searcher::default().level(), Searcher::new().level());
}

#[test]
fn prefetch_ignores_what_is_out_of_range() {
    let keys = [1u64, 2, 3];
    for index in [0, 2, 3, 1 << 40, usize::MAX] {
        crate::prefetch(&keys, index);
    }
    crate::prefetch::<u64>(&[], 0);
}
