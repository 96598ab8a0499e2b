//! Many lookups at once: their cache misses overlap.

use crate::model::{Model, Place};
use crate::rmi::{Probe, Rmi, prefetch_margins, probe_core, probe_outside};
use core::iter::zip;
use kyro_simd::{Kernel, Operation, prefetch};

/// How many lookups are under way at once: enough for every line-fill buffer of a core.
const GROUP: usize = 32;

impl<B: AsRef<[u8]>> Rmi<B> {
    /// The lower bound of each of `wanted` in `keys`, into the same place of `positions`.
    ///
    /// Any number of keys in any order; as exact as [`lower_bound`](Self::lower_bound) and several times faster
    /// than calling it in a row once keys do not fit the cache. Where the slices differ in length, as many as
    /// the shorter one has are answered. Returns how many windows were wrong: see [`Probe::mispredicted`].
    pub fn lower_bound_batch(&self, keys: &[u64], wanted: &[u64], positions: &mut [usize]) -> usize {
        self.batch(keys, wanted, positions, |probe| probe.position)
    }

    /// Where each of `wanted` is in `keys`, if it is there, into the same place of `positions`.
    ///
    /// In all else as [`lower_bound_batch`](Self::lower_bound_batch).
    pub fn find_batch(&self, keys: &[u64], wanted: &[u64], positions: &mut [Option<usize>]) -> usize {
        self.batch(keys, wanted, positions, |probe| probe.found.then_some(probe.position))
    }

    /// The whole answer to each of `wanted` in `keys`, into the same place of `probes`.
    ///
    /// In all else as [`lower_bound_batch`](Self::lower_bound_batch).
    pub fn probe_batch(&self, keys: &[u64], wanted: &[u64], probes: &mut [Probe]) -> usize {
        self.batch(keys, wanted, probes, |probe| probe)
    }

    fn batch<T>(
        &self,
        keys: &[u64],
        wanted: &[u64],
        answers: &mut [T],
        answer: impl Fn(Probe) -> T,
    ) -> usize {
        self.searcher.run(Batch { model: &self.model, body: self.body(), keys, wanted, answers, answer })
    }
}

/// A batch as an operation, compiled as a whole for each level.
struct Batch<'a, T, F> {
    model: &'a Model,
    body: &'a [u8],
    keys: &'a [u64],
    wanted: &'a [u64],
    answers: &'a mut [T],
    answer: F,
}

impl<T, F: Fn(Probe) -> T> Operation for Batch<'_, T, F> {
    type Output = usize;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> usize {
        let Model { window, .. } = *self.model;
        let mut mispredicted = 0;
        for (wanted, answers) in zip(self.wanted.chunks(GROUP), self.answers.chunks_mut(GROUP)) {
            let mut places = [Place { first: 0, count: 0, within: 0 }; GROUP];
            let mut starts = [0; GROUP];
            for ((&key, place), start) in zip(zip(wanted, &mut places), &mut starts) {
                *place = self.model.place(kernel, self.body, key);
                *start = window.core().start(*place) as usize;
                prefetch(self.keys, *start);
            }
            // Those that are not in their core ask for the lines around it, and wait.
            let mut outside = 0u32;
            for (index, ((&key, &start), answer)) in zip(zip(wanted, &starts), &mut *answers).enumerate() {
                if let Some(probe) = probe_core(kernel, self.keys, start, key) {
                    *answer = (self.answer)(probe);
                } else {
                    prefetch_margins(self.keys, start);
                    outside |= 1 << index;
                }
            }
            while outside != 0 {
                let index = outside.trailing_zeros() as usize;
                outside &= outside - 1;
                let (Some(&key), Some(&place), Some(&start), Some(answer)) =
                    (wanted.get(index), places.get(index), starts.get(index), answers.get_mut(index))
                else {
                    continue;
                };
                let probe = probe_outside(kernel, window, self.keys, start, place, key);
                mispredicted += usize::from(probe.mispredicted);
                *answer = (self.answer)(probe);
            }
        }
        mispredicted
    }
}
