//! The AVX2 and AVX-512 kernels.
#![expect(unsafe_code, reason = "vendor intrinsics")]
#![expect(clippy::cast_ptr_alignment, reason = "the loads are those that need no alignment")]

use super::{Call, Kernel, Operation, Sealed, narrow};
use core::arch::x86_64::{
    __m256i, _mm_add_epi64, _mm_cvtsi128_si64, _mm_unpackhi_epi64, _mm256_castsi256_pd,
    _mm256_castsi256_si128, _mm256_cmpeq_epi64, _mm256_cmpgt_epi64, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_movemask_pd, _mm256_or_si256, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_sub_epi64, _mm256_testz_si256, _mm256_xor_si256, _mm512_cmpeq_epu64_mask, _mm512_cmplt_epu64_mask,
    _mm512_loadu_si512, _mm512_mask_cmplt_epu64_mask, _mm512_maskz_loadu_epi64, _mm512_set1_epi64,
};

/// Proof that the AVX2 level's instructions may run here. Only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

/// Proof that the AVX-512 level's instructions may run here. Only [`Avx512::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

/// Whether the processor (or, without `std`, the compiler's target) has every one of these features.
macro_rules! has {
    ($($feature:tt),*) => {{
        #[cfg(feature = "std")]
        { true $(&& std::arch::is_x86_feature_detected!($feature))* }
        #[cfg(not(feature = "std"))]
        { true $(&& cfg!(target_feature = $feature))* }
    }};
}

impl Avx2 {
    /// The proof, if the processor gives it.
    pub(crate) fn detect() -> Option<Self> {
        has!("avx2", "bmi1", "bmi2", "lzcnt", "popcnt").then_some(Self(()))
    }

    /// Runs an operation compiled for this level.
    #[inline]
    pub(crate) fn run<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: an `Avx2` exists only where the processor reported every feature that `run_avx2` enables.
        unsafe { run_avx2(self, operation) }
    }

    /// Runs a call compiled for this level.
    #[inline]
    pub(crate) fn call<A, B, C, O: Call<A, B, C>>(self, operation: O, a: A, b: B, c: C) -> O::Output {
        // SAFETY: an `Avx2` exists only where the processor reported every feature that `call_avx2` enables.
        unsafe { call_avx2(self, operation, a, b, c) }
    }
}

impl Avx512 {
    /// The proof, if the processor gives it.
    pub(crate) fn detect() -> Option<Self> {
        has!("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "bmi1", "bmi2", "lzcnt", "popcnt")
            .then_some(Self(()))
    }

    /// Runs an operation compiled for this level.
    #[inline]
    pub(crate) fn run<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: an `Avx512` exists only where the processor reported every feature that `run_avx512` enables.
        unsafe { run_avx512(self, operation) }
    }

    /// Runs a call compiled for this level.
    #[inline]
    pub(crate) fn call<A, B, C, O: Call<A, B, C>>(self, operation: O, a: A, b: B, c: C) -> O::Output {
        // SAFETY: an `Avx512` exists only where the processor reported every feature that `call_avx512` enables.
        unsafe { call_avx512(self, operation, a, b, c) }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx2<O: Operation>(kernel: Avx2, operation: O) -> O::Output {
    operation.run(kernel)
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn call_avx2<A, B, C, O: Call<A, B, C>>(kernel: Avx2, operation: O, a: A, b: B, c: C) -> O::Output {
    operation.call(kernel, a, b, c)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx512<O: Operation>(kernel: Avx512, operation: O) -> O::Output {
    operation.run(kernel)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn call_avx512<A, B, C, O: Call<A, B, C>>(kernel: Avx512, operation: O, a: A, b: B, c: C) -> O::Output {
    operation.call(kernel, a, b, c)
}

impl Sealed for Avx2 {}

impl Kernel for Avx2 {
    #[inline(always)]
    fn lower_bound(self, window: &[u64], key: u64) -> usize {
        let (skipped, rest) = narrow(window, key);
        // SAFETY: an `Avx2` exists only where the processor reported every feature that this function enables.
        skipped + unsafe { count_smaller_avx2(rest, key) }
    }

    #[inline(always)]
    fn lower_bound_exact<const N: usize>(self, window: &[u64; N], key: u64) -> usize {
        self.lower_bound(window, key)
    }

    #[inline(always)]
    fn find_in_line(self, line: &[u64; 8], key: u64) -> (usize, bool) {
        // SAFETY: an `Avx2` exists only where the processor reported every feature that this function enables.
        unsafe { find_in_line_avx2(line, key) }
    }
}

impl Sealed for Avx512 {}

impl Kernel for Avx512 {
    #[inline(always)]
    fn lower_bound(self, window: &[u64], key: u64) -> usize {
        let (skipped, rest) = narrow(window, key);
        // SAFETY: an `Avx512` exists only where the processor reported every feature that this function enables.
        skipped + unsafe { count_smaller_avx512(rest, key) }
    }

    #[inline(always)]
    fn lower_bound_exact<const N: usize>(self, window: &[u64; N], key: u64) -> usize {
        self.lower_bound(window, key)
    }

    #[inline(always)]
    fn find_in_line(self, line: &[u64; 8], key: u64) -> (usize, bool) {
        // SAFETY: an `Avx512` exists only where the processor reported every feature that this function enables.
        unsafe { find_in_line_avx512(line, key) }
    }
}

/// How many keys of `window` are smaller than `key`, four at a time. AVX2 compares signed numbers only, so the
/// top bit of both sides is flipped.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn count_smaller_avx2(window: &[u64], key: u64) -> usize {
    let flip = _mm256_set1_epi64x(i64::MIN);
    let needle = _mm256_xor_si256(_mm256_set1_epi64x(key.cast_signed()), flip);
    let (blocks, rest) = window.as_chunks::<4>();
    let mut smaller = _mm256_setzero_si256();
    for block in blocks {
        // SAFETY: `block` is 32 readable bytes, and the load needs no alignment.
        let lanes = unsafe { _mm256_loadu_si256(block.as_ptr().cast::<__m256i>()) };
        // A lane that is smaller compares to all ones, which is −1.
        smaller = _mm256_sub_epi64(smaller, _mm256_cmpgt_epi64(needle, _mm256_xor_si256(lanes, flip)));
    }
    let halves = _mm_add_epi64(_mm256_castsi256_si128(smaller), _mm256_extracti128_si256::<1>(smaller));
    let sum = _mm_cvtsi128_si64(_mm_add_epi64(halves, _mm_unpackhi_epi64(halves, halves)));
    let mut count = sum.cast_unsigned() as usize;
    for &lone in rest {
        count += usize::from(lone < key);
    }
    count
}

/// How many keys of `line` are smaller than `key`, and whether one is equal.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn find_in_line_avx2(line: &[u64; 8], key: u64) -> (usize, bool) {
    let flip = _mm256_set1_epi64x(i64::MIN);
    let wanted = _mm256_set1_epi64x(key.cast_signed());
    let needle = _mm256_xor_si256(wanted, flip);
    let (mut count, mut equal) = (0, _mm256_setzero_si256());
    for block in line.as_chunks::<4>().0 {
        // SAFETY: `block` is 32 readable bytes, and the load needs no alignment.
        let lanes = unsafe { _mm256_loadu_si256(block.as_ptr().cast::<__m256i>()) };
        let smaller = _mm256_cmpgt_epi64(needle, _mm256_xor_si256(lanes, flip));
        count += _mm256_movemask_pd(_mm256_castsi256_pd(smaller)).count_ones() as usize;
        equal = _mm256_or_si256(equal, _mm256_cmpeq_epi64(lanes, wanted));
    }
    (count, _mm256_testz_si256(equal, equal) == 0)
}

/// How many keys of `line` are smaller than `key`, and whether one is equal.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn find_in_line_avx512(line: &[u64; 8], key: u64) -> (usize, bool) {
    let needle = _mm512_set1_epi64(key.cast_signed());
    // SAFETY: `line` is 64 readable bytes, and the load needs no alignment.
    let lanes = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };
    let smaller = _mm512_cmplt_epu64_mask(lanes, needle).count_ones() as usize;
    (smaller, _mm512_cmpeq_epu64_mask(lanes, needle) != 0)
}

/// How many keys of `window` are smaller than `key`, a cache line at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn count_smaller_avx512(window: &[u64], key: u64) -> usize {
    let needle = _mm512_set1_epi64(key.cast_signed());
    let (blocks, rest) = window.as_chunks::<8>();
    let mut count = 0;
    for block in blocks {
        // SAFETY: `block` is 64 readable bytes, and the load needs no alignment.
        let lanes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        count += _mm512_cmplt_epu64_mask(lanes, needle).count_ones() as usize;
    }
    if !rest.is_empty() {
        let present = (1u8 << rest.len()) - 1;
        // SAFETY: the mask selects only the `rest.len()` keys of `rest`; lanes outside it are not read.
        let lanes = unsafe { _mm512_maskz_loadu_epi64(present, rest.as_ptr().cast()) };
        count += _mm512_mask_cmplt_epu64_mask(present, lanes, needle).count_ones() as usize;
    }
    count
}
