//! The NEON kernel. Every aarch64 processor that runs Rust's standard targets has NEON.
#![expect(unsafe_code, reason = "vendor intrinsics")]

use super::{Call, Kernel, Operation, Sealed, narrow};
use core::arch::aarch64::{vaddvq_u64, vceqq_u64, vcltq_u64, vdupq_n_u64, vld1q_u64, vsubq_u64};

/// Proof that NEON instructions may run here. Only [`Neon::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// The proof, if the processor gives it.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        let found = std::arch::is_aarch64_feature_detected!("neon");
        #[cfg(not(feature = "std"))]
        let found = cfg!(target_feature = "neon");
        found.then_some(Self(()))
    }

    /// Runs an operation compiled for this level.
    #[inline]
    pub(crate) fn run<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: a `Neon` exists only where the processor reported NEON.
        unsafe { run_neon(self, operation) }
    }

    /// Runs a call compiled for this level.
    #[inline]
    pub(crate) fn call<A, B, C, O: Call<A, B, C>>(self, operation: O, a: A, b: B, c: C) -> O::Output {
        // SAFETY: a `Neon` exists only where the processor reported NEON.
        unsafe { call_neon(self, operation, a, b, c) }
    }
}

#[target_feature(enable = "neon")]
fn run_neon<O: Operation>(kernel: Neon, operation: O) -> O::Output {
    operation.run(kernel)
}

#[target_feature(enable = "neon")]
fn call_neon<A, B, C, O: Call<A, B, C>>(kernel: Neon, operation: O, a: A, b: B, c: C) -> O::Output {
    operation.call(kernel, a, b, c)
}

impl Sealed for Neon {}

impl Kernel for Neon {
    #[inline(always)]
    fn lower_bound(self, window: &[u64], key: u64) -> usize {
        let (skipped, rest) = narrow(window, key);
        // SAFETY: a `Neon` exists only where the processor reported NEON.
        skipped + unsafe { count_smaller_neon(rest, key) }
    }

    #[inline(always)]
    fn lower_bound_exact<const N: usize>(self, window: &[u64; N], key: u64) -> usize {
        self.lower_bound(window, key)
    }

    #[inline(always)]
    fn find_in_line(self, line: &[u64; 8], key: u64) -> (usize, bool) {
        // SAFETY: a `Neon` exists only where the processor reported NEON.
        unsafe { find_in_line_neon(line, key) }
    }
}

/// How many keys of `window` are smaller than `key`, two at a time.
#[inline]
#[target_feature(enable = "neon")]
fn count_smaller_neon(window: &[u64], key: u64) -> usize {
    let needle = vdupq_n_u64(key);
    let (blocks, rest) = window.as_chunks::<2>();
    let mut smaller = vdupq_n_u64(0);
    for block in blocks {
        // SAFETY: `block` is 16 readable bytes, and the load needs no alignment beyond that of `u64`.
        let lanes = unsafe { vld1q_u64(block.as_ptr()) };
        // A lane that is smaller compares to all ones, which is −1.
        smaller = vsubq_u64(smaller, vcltq_u64(lanes, needle));
    }
    let mut count = vaddvq_u64(smaller) as usize;
    for &lone in rest {
        count += usize::from(lone < key);
    }
    count
}

/// How many keys of `line` are smaller than `key`, and whether one is equal.
#[inline]
#[target_feature(enable = "neon")]
fn find_in_line_neon(line: &[u64; 8], key: u64) -> (usize, bool) {
    let needle = vdupq_n_u64(key);
    let (mut smaller, mut equal) = (vdupq_n_u64(0), vdupq_n_u64(0));
    for block in line.as_chunks::<2>().0 {
        // SAFETY: `block` is 16 readable bytes, and the load needs no alignment beyond that of `u64`.
        let lanes = unsafe { vld1q_u64(block.as_ptr()) };
        smaller = vsubq_u64(smaller, vcltq_u64(lanes, needle));
        equal = vsubq_u64(equal, vceqq_u64(lanes, needle));
    }
    (vaddvq_u64(smaller) as usize, vaddvq_u64(equal) != 0)
}
