//! The choice of a kernel, made once.

use crate::kernel::scalar::Scalar;
use crate::kernel::{Call, Kernel, Operation};
use crate::level::Level;

#[cfg(target_arch = "aarch64")]
use crate::kernel::aarch64::Neon;
#[cfg(target_arch = "x86_64")]
use crate::kernel::x86_64::{Avx2, Avx512};

/// A kernel chosen for this processor. Make one and keep it: making it asks the processor, using it does not.
#[derive(Clone, Copy, Debug)]
pub struct Searcher {
    chosen: Chosen,
}

/// The chosen kernel, with the proof that it may run.
#[derive(Clone, Copy, Debug)]
enum Chosen {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Searcher {
    /// The fastest kernel that this processor runs.
    ///
    /// Costs a few loads (a few hundred nanoseconds the first time in a process); not for a hot path.
    pub fn new() -> Self {
        let fastest = Level::ALL.into_iter().rev().find_map(Self::with_level);
        fastest.unwrap_or(Self { chosen: Chosen::Scalar(Scalar) })
    }

    /// The kernel of one level, or `None` where this processor (or this build) lacks it.
    pub fn with_level(level: Level) -> Option<Self> {
        let chosen = match level {
            Level::Scalar => Some(Chosen::Scalar(Scalar)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Avx2::detect().map(Chosen::Avx2),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Avx512::detect().map(Chosen::Avx512),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => Neon::detect().map(Chosen::Neon),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => None,
            #[cfg(not(target_arch = "aarch64"))]
            Level::Neon => None,
        };
        chosen.map(|chosen| Self { chosen })
    }

    /// Every kernel that this processor runs, from the slowest to the fastest.
    pub fn available() -> impl Iterator<Item = Self> {
        Level::ALL.into_iter().filter_map(Self::with_level)
    }

    /// The level of the kernel.
    pub fn level(self) -> Level {
        match self.chosen {
            Chosen::Scalar(_) => Level::Scalar,
            #[cfg(target_arch = "x86_64")]
            Chosen::Avx2(_) => Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Chosen::Avx512(_) => Level::Avx512,
            #[cfg(target_arch = "aarch64")]
            Chosen::Neon(_) => Level::Neon,
        }
    }

    /// How many keys of `window` are smaller than `key`, which in sorted keys is the lower bound of `key`.
    ///
    /// Any length and any alignment. Unsorted input gives an unspecified number of at most `window.len()`, never
    /// anything worse. O(log n), with a constant number of comparisons up to [`LONG`](crate::LONG) keys.
    #[inline]
    pub fn lower_bound(self, window: &[u64], key: u64) -> usize {
        self.call(LowerBound, window, key, ())
    }

    /// Where `key` is in `window`, if it is there; where it occurs several times, its first place.
    ///
    /// Unsorted input gives `None` or a place that holds `key`, unspecified which. The cost is that of
    /// [`lower_bound`](Self::lower_bound), whether the key is there or not.
    #[inline]
    pub fn find(self, window: &[u64], key: u64) -> Option<usize> {
        let position = self.lower_bound(window, key);
        (window.get(position) == Some(&key)).then_some(position)
    }

    /// Does a whole piece of work with this kernel, compiled for its level: see [`Operation`].
    #[inline]
    pub fn run<O: Operation>(self, operation: O) -> O::Output {
        match self.chosen {
            Chosen::Scalar(kernel) => run_scalar(kernel, operation),
            #[cfg(target_arch = "x86_64")]
            Chosen::Avx2(kernel) => kernel.run(operation),
            #[cfg(target_arch = "x86_64")]
            Chosen::Avx512(kernel) => kernel.run(operation),
            #[cfg(target_arch = "aarch64")]
            Chosen::Neon(kernel) => kernel.run(operation),
        }
    }

    /// Does a short piece of work with this kernel, compiled for its level: see [`Call`].
    #[inline]
    pub fn call<A, B, C, O: Call<A, B, C>>(self, operation: O, a: A, b: B, c: C) -> O::Output {
        match self.chosen {
            #[cfg(target_arch = "x86_64")]
            Chosen::Avx512(kernel) => kernel.call(operation, a, b, c),
            #[cfg(target_arch = "x86_64")]
            Chosen::Avx2(kernel) => kernel.call(operation, a, b, c),
            #[cfg(target_arch = "aarch64")]
            Chosen::Neon(kernel) => kernel.call(operation, a, b, c),
            Chosen::Scalar(kernel) => call_scalar(kernel, operation, a, b, c),
        }
    }
}

impl Default for Searcher {
    /// The same as [`Searcher::new`].
    fn default() -> Self {
        Self::new()
    }
}

/// One probe: its window and its key in registers, for it is no longer than the trip of three words through memory.
struct LowerBound;

impl Call<&[u64], u64, ()> for LowerBound {
    type Output = usize;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K, window: &[u64], key: u64, (): ()) -> usize {
        kernel.lower_bound(window, key)
    }
}

/// Runs an operation with the portable kernel, out of the way of the levels that are met more often.
#[inline(never)]
fn run_scalar<O: Operation>(kernel: Scalar, operation: O) -> O::Output {
    operation.run(kernel)
}

/// The same for a [`Call`].
#[inline(never)]
fn call_scalar<A, B, C, O: Call<A, B, C>>(kernel: Scalar, operation: O, a: A, b: B, c: C) -> O::Output {
    operation.call(kernel, a, b, c)
}
