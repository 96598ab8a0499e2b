//! The portable kernel: a branch-free binary search. The others are measured against it.

use super::{Kernel, Sealed};
use core::hint::select_unpredictable;

/// The portable kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

impl Sealed for Scalar {}

impl Kernel for Scalar {
    #[inline(always)]
    fn lower_bound(self, window: &[u64], key: u64) -> usize {
        let mut smaller = 0;
        let mut rest = window;
        while let [_, _, ..] = rest {
            let half = rest.len() / 2;
            let (low, high) = rest.split_at(half);
            let go_high = low.last().is_some_and(|&last| last < key);
            smaller += select_unpredictable(go_high, half, 0);
            rest = select_unpredictable(go_high, high, low);
        }
        smaller + usize::from(rest.first().is_some_and(|&only| only < key))
    }

    #[inline(always)]
    fn lower_bound_exact<const N: usize>(self, window: &[u64; N], key: u64) -> usize {
        self.lower_bound(window, key)
    }
    #[inline(always)]
    fn find_in_line(self, line: &[u64; 8], key: u64) -> (usize, bool) {
        let smaller = self.lower_bound(line, key);
        (smaller, line.get(smaller) == Some(&key))
    }
}
