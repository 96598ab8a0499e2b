//! What a kernel answers, and the narrowing that every kernel shares.

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64;
pub(crate) mod scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use core::hint::select_unpredictable;

/// The longest window, in keys, that is counted whole: eight cache lines. Longer ones are narrowed first.
pub const LONG: usize = 64;

mod sealed {
    /// Keeps [`Kernel`](super::Kernel) to the types of this crate: each is a proof that its instructions exist.
    pub trait Sealed: Copy {}
}
pub(crate) use sealed::Sealed;

/// A search kernel, compiled for one [`Level`](crate::Level). Sealed; handed out by
/// [`Searcher::run`](crate::Searcher::run), inside which it inlines.
pub trait Kernel: Sealed {
    /// How many keys of `window` are smaller than `key`, which in sorted keys is the lower bound of `key`.
    ///
    /// Unsorted input gives an unspecified number of at most `window.len()`, never anything worse. O(log n) in
    /// the window's length, with a constant number of comparisons up to [`LONG`] keys.
    fn lower_bound(self, window: &[u64], key: u64) -> usize;

    /// As [`lower_bound`](Self::lower_bound) for exactly `N` keys: the loop is unrolled, which a hot path wants.
    fn lower_bound_exact<const N: usize>(self, window: &[u64; N], key: u64) -> usize;

    /// The lower bound of `key` in one cache line of keys, and whether `key` is there: one load for both answers.
    fn find_in_line(self, line: &[u64; 8], key: u64) -> (usize, bool);
}

/// Work that contains probes and is to be compiled for each level as a whole.
///
/// Mark `run` `#[inline(always)]`: only what is inlined into [`Searcher::run`](crate::Searcher::run) is compiled
/// with the level's instructions.
pub trait Operation {
    /// What the work answers.
    type Output;

    /// Does the work with the kernel of one level.
    fn run<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// An [`Operation`] whose three arguments travel in registers, for one so short that a trip through memory shows.
///
/// An operation of more than two words is handed over in memory. Here `self` may have two more, and each argument two
/// of its own: a slice is two words.
pub trait Call<A, B, C> {
    /// What the work answers; at most two words, or that goes through memory.
    type Output;

    /// Does the work with the kernel of one level. Mark it `#[inline(always)]`, as [`Operation::run`].
    fn call<K: Kernel>(self, kernel: K, a: A, b: B, c: C) -> Self::Output;
}

/// Narrows a window to its last `LONG` keys or fewer that can hold the lower bound: how many keys to skip,
/// and what is left. Branch-free but for the loop, whose length depends on the window's length alone.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(crate) fn narrow(window: &[u64], key: u64) -> (usize, &[u64]) {
    let mut skipped = 0;
    let mut rest = window;
    while rest.len() > LONG {
        let half = rest.len() / 2;
        let (low, high) = rest.split_at(half);
        // `low` is not empty: it holds half of more than `LONG` keys.
        let go_high = low.last().is_some_and(|&last| last < key);
        skipped += select_unpredictable(go_high, half, 0);
        rest = select_unpredictable(go_high, high, low);
    }
    (skipped, rest)
}
