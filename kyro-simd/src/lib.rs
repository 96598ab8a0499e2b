//! Search kernels for short windows of sorted `u64`: how many keys of the window are smaller than a key.
//!
//! An index that predicts a position leaves a window of a few cache lines to search. There a branch-free
//! count of the smaller keys beats every kind of binary search, because no comparison waits for another and
//! no branch is mispredicted; the count *is* the lower bound, for keys that are there and for keys that are
//! not, at the same cost.
//!
//! | level | keys per comparison | needs |
//! |---|---|---|
//! | [`Level::Scalar`] | branch-free binary search | nothing |
//! | [`Level::Neon`] | 2 | aarch64 |
//! | [`Level::Avx2`] | 4 | x86-64 with AVX2, BMI1, BMI2, LZCNT and POPCNT |
//! | [`Level::Avx512`] | 8 | the same and AVX-512 F, BW, DQ and VL |
//!
//! [`Searcher::new`] asks the processor once; a probe never does. A window longer than [`LONG`] keys is first
//! narrowed by a branch-free binary search, so every length is answered in O(log n).
//!
//! # Loops around a probe
//!
//! A function compiled for AVX-512 cannot be inlined into one that is not, so [`Searcher::lower_bound`] costs a
//! call. A caller with more work around the probe (a prediction, a batch) hands the whole of it over as an
//! [`Operation`]: [`Searcher::run`] compiles it once for each level and enters it with one predictable branch,
//! and inside, the [`Kernel`] it is given inlines.
//!
//! ```
//! use kyro_simd::Searcher;
//!
//! let searcher = Searcher::new(); // detects once; keep it
//! let window = [3, 5, 8, 13, 21];
//! assert_eq!(searcher.lower_bound(&window, 8), 2);
//! assert_eq!(searcher.lower_bound(&window, 9), 3);
//! assert_eq!(searcher.find(&window, 9), None);
//! ```
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a kernel must be inlined into code of its level, or it costs a call a probe"
)]

#[cfg(any(feature = "std", test))]
extern crate std;

mod kernel;
mod level;
mod prefetch;
mod searcher;

#[cfg(test)]
mod conformance;

pub use kernel::{Call, Kernel, LONG, Operation};
pub use level::Level;
pub use prefetch::prefetch;
pub use searcher::Searcher;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
