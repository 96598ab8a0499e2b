//! The index: open it, ask it.

use crate::aligned::AlignedBytes;
use crate::column::Column;
use crate::direct::{Direct, ELSEWHERE, Taken, ThroughTree};
use crate::error::{BuildError, OpenError, VerifyError};
use crate::format::{self, HEADER};
use crate::model::{CORE, MARGIN, Model, Place, Window};
use crate::options::BuildOptions;
use crate::stats::Stats;
use crate::{train, verify};
use alloc::vec::Vec;
use core::ops::Range;
use kyro_simd::{Kernel, Operation, Searcher, prefetch};

/// An index over a column of sorted, distinct keys. See the [crate documentation](crate).
///
/// `B` holds the encoded bytes: [`AlignedBytes`] for an index just built, anything that is `AsRef<[u8]>` (a
/// memory map, say) for one that was [opened](Self::open). The bytes are used in place. Let them start at a
/// multiple of 64: then no record straddles two cache lines (nothing but speed depends on it).
///
/// Every lookup takes the keys the index was built over. Over other **sorted** keys the answers stay right and
/// only the speed is lost: a window that turns out wrong is detected and the whole slice searched.
#[derive(Clone, Debug)]
pub struct Rmi<B = AlignedBytes> {
    bytes: B,
    pub(crate) model: Model,
    direct: Direct,
    pub(crate) searcher: Searcher,
    column: Column,
    stats: Stats,
    body_end: usize,
}

/// The answer to a lookup, with what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The key's lower bound: how many keys are smaller.
    pub position: usize,
    /// Whether the key is there, at `position`.
    pub found: bool,
    /// Whether the predicted window was wrong and the whole column was searched instead. Never for the column
    /// the index was built over; a sign of damaged bytes or of another column, so rebuild the index.
    pub mispredicted: bool,
}

impl Rmi {
    /// Builds an index over `keys`, which must be strictly increasing, and verifies every key through it.
    ///
    /// O(n): a few passes over the keys; memory for the index itself and at most a few megabytes beside it.
    ///
    /// # Errors
    /// [`BuildError::NotIncreasing`] with the position, [`BuildError::TooManyKeys`], [`BuildError::Window`].
    pub fn build(keys: &[u64], options: &BuildOptions) -> Result<Self, BuildError> {
        let (mut index, build_nanos) = train::build(keys, options)?;
        index.stats.build_nanos = build_nanos;
        Ok(index)
    }
}

impl<B: AsRef<[u8]>> Rmi<B> {
    /// Opens encoded bytes in place, O(1), and checks that they belong to `column`.
    ///
    /// The header and its checksum are checked; the checksums of the records are not, because that would read
    /// them all: [`verify_checksums`](Self::verify_checksums) does. A damaged record gives a wrong window at
    /// worst, and lookups detect that.
    ///
    /// # Errors
    /// [`OpenError`]: not an index, a newer format, another column, or damaged at a stated byte.
    pub fn open(bytes: B, column: &Column) -> Result<Self, OpenError> {
        let index = Self::open_unbound(bytes)?;
        if index.column != *column {
            return Err(OpenError::OtherColumn { found: index.column, wanted: *column });
        }
        Ok(index)
    }

    /// Opens encoded bytes without asking which column they belong to: for looking at them.
    /// [`column`](Self::column) says it. O(1).
    ///
    /// # Errors
    /// As [`open`](Self::open), but for another column.
    pub fn open_unbound(bytes: B) -> Result<Self, OpenError> {
        let header = format::decode(bytes.as_ref())?;
        let format::Header { column, model, stats, body_end } = header;
        Ok(Self {
            bytes,
            model,
            direct: Direct::new(&model),
            searcher: Searcher::new(),
            column,
            stats,
            body_end,
        })
    }

    /// Checks every checksum in the encoded bytes. Reads all of them, which also warms them up.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] with the byte at which the first damaged 16 KiB start.
    pub fn verify_checksums(&self) -> Result<(), OpenError> {
        format::verify_checksums(self.bytes.as_ref(), self.body_end)
    }

    /// The encoded bytes, bound to `column`, whose number of keys must be that of the index.
    ///
    /// # Errors
    /// [`VerifyError::Keys`] if the column has another number of keys.
    pub fn encode(&self, column: &Column) -> Result<Vec<u8>, VerifyError> {
        if column.keys != self.model.window.total {
            return Err(VerifyError::Keys { expected: self.model.window.total, found: column.keys });
        }
        let words = self.model.blocks_at / 8;
        let blocks = (self.body().len() as u64 - self.model.blocks_at) / 64;
        let mut bytes = Vec::with_capacity(self.bytes.as_ref().len());
        bytes.extend_from_slice(&format::header(column, &self.model, &self.stats, words, blocks));
        bytes.extend_from_slice(self.bytes.as_ref().get(HEADER..).unwrap_or_default());
        Ok(bytes)
    }

    /// Reads one byte of every 4 KiB, so that a mapped index is in memory before the first lookup. Returns how
    /// many bytes the index has.
    pub fn warm_up(&self) -> u64 {
        let bytes = self.bytes.as_ref();
        let sum = bytes.iter().step_by(4096).fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        core::hint::black_box(sum);
        bytes.len() as u64
    }

    /// The column the index belongs to: as opened, or all zeros but the number of keys after a build.
    pub fn column(&self) -> Column {
        self.column
    }

    /// What the index is like. O(1).
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Uses another kernel than the fastest, for comparison.
    #[must_use]
    pub fn with_searcher(mut self, searcher: Searcher) -> Self {
        self.searcher = searcher;
        self
    }

    /// The window of `key`: its lower bound `p` satisfies `start <= p <= end`, whether it is in the column or
    /// not, and the window has at most [`Stats::max_window`] keys. Both ends are at most the number of keys.
    #[inline]
    pub fn window(&self, key: u64) -> Range<usize> {
        let start = self.searcher.run(WindowStart { model: &self.model, body: self.body(), key });
        let end = (start + self.model.window.keys as u64).min(self.model.window.total);
        start as usize..end as usize
    }

    /// The lower bound of `key` in `keys`: how many of them are smaller. Exact for every key.
    #[inline]
    pub fn lower_bound(&self, keys: &[u64], key: u64) -> usize {
        self.ask(keys, key, |probe| probe.position)
    }

    /// Where `key` is in `keys`, if it is there.
    #[inline]
    pub fn find(&self, keys: &[u64], key: u64) -> Option<usize> {
        self.ask(keys, key, |probe| probe.found.then_some(probe.position))
    }

    /// Looks `key` up and says what it took: the root's record, at most [`Stats::max_steps`] − 1 further ones,
    /// one window.
    #[inline]
    pub fn probe(&self, keys: &[u64], key: u64) -> Probe {
        self.ask(keys, key, |probe| probe)
    }

    /// As [`probe`](Self::probe), for the shortest way to what the position leads to: `predicted` is called with the
    /// position that is searched first, before any key is read, so that what lies beside the key can be asked for and
    /// arrive with it; `answer` makes of the probe what the caller wants of it, which is faster than the whole probe
    /// where it fits a register.
    ///
    /// The prediction is within a few positions of the answer for most keys; it is at most the number of keys. Where the
    /// short way to the answer turns out not to lead there, it is told again.
    #[inline]
    pub fn probe_with<T>(
        &self,
        keys: &[u64],
        key: u64,
        predicted: impl Fn(usize) + Copy,
        answer: impl Fn(Probe) -> T,
    ) -> T {
        if keys.len() as u64 == self.model.window.total {
            let bytes = self.bytes.as_ref();
            let (position, found) = if self.model.is_tree() {
                let way = Taken { way: ThroughTree(&self.model), predicted };
                self.searcher.call(way, bytes, keys, key)
            } else {
                let way = Taken { way: &self.direct, predicted };
                self.searcher.call(way, bytes, keys, key)
            };
            if position != ELSEWHERE {
                return answer(Probe { position, found, mispredicted: false });
            }
        }
        self.ask_thoroughly(keys, key, predicted, answer)
    }

    /// Looks `key` up and answers what the caller wants of it.
    #[inline(always)]
    fn ask<T>(&self, keys: &[u64], key: u64, answer: impl Fn(Probe) -> T) -> T {
        self.probe_with(keys, key, |_| (), answer)
    }

    /// The same by the long way: any record, the whole window, all the keys. The answer is made on the way, so that it
    /// fits registers: a whole [`Probe`] goes through memory.
    #[inline(never)]
    fn ask_thoroughly<T>(
        &self,
        keys: &[u64],
        key: u64,
        predicted: impl Fn(usize) + Copy,
        answer: impl Fn(Probe) -> T,
    ) -> T {
        let asked = Asked { model: &self.model, body: self.body(), keys, answer };
        self.searcher.run(Lookup { asked: &asked, predicted, key })
    }

    /// Verifies every key of `keys` through the index, both neighbours of each, the ends of the key range, and
    /// that the records cover every position once. Reads all the keys; O(n).
    ///
    /// # Errors
    /// [`VerifyError`] with the first key whose answer would need the fallback.
    pub fn verify(&self, keys: &[u64]) -> Result<(), VerifyError> {
        verify::verify(&self.model, self.body(), keys, self.searcher, 1).map(|_| ())
    }

    /// Whether `other` has the same model and the same records: then both give the same answer to everything, and what
    /// was verified of one holds for the other. Compares the bytes of the index; O(its size), whatever the keys.
    pub fn answers_as<C: AsRef<[u8]>>(&self, other: &Rmi<C>) -> bool {
        self.model == other.model && self.body() == other.body()
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Words and blocks.
    #[inline(always)]
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.as_ref().get(HEADER..self.body_end).unwrap_or_default()
    }
}

/// One prediction as an operation.
struct WindowStart<'a> {
    model: &'a Model,
    body: &'a [u8],
    key: u64,
}

impl Operation for WindowStart<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> u64 {
        self.model.window_start(kernel, self.body, self.key)
    }
}

/// What a lookup needs beside the key.
struct Asked<'a, F> {
    model: &'a Model,
    body: &'a [u8],
    keys: &'a [u64],
    answer: F,
}

/// One lookup as an operation, compiled as a whole for each level. Few words, so that the key stays in a register.
struct Lookup<'a, F, P> {
    asked: &'a Asked<'a, F>,
    predicted: P,
    key: u64,
}

impl<T, F: Fn(Probe) -> T, P: Fn(usize)> Operation for Lookup<'_, F, P> {
    type Output = T;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> T {
        let Asked { model, body, keys, answer } = self.asked;
        let place = model.place(kernel, body, self.key);
        let position = place.first.wrapping_add(place.within.min(place.count));
        (self.predicted)(position.min(model.window.total) as usize);
        answer(probe(kernel, model, keys, place, self.key))
    }
}

/// Searches the core of the window, then more and more around it, until the answer is certain.
#[inline(always)]
pub(crate) fn probe<K: Kernel>(kernel: K, model: &Model, keys: &[u64], place: Place, key: u64) -> Probe {
    let window = model.window;
    let start = window.core().start(place) as usize;
    // The lines on both sides are on their way while the core is searched.
    prefetch_margins(keys, start);
    match probe_core(kernel, keys, start, key) {
        Some(probe) => probe,
        None => probe_outside(kernel, window, keys, start, place, key),
    }
}

/// Asks for the lines on both sides of the core at `start`.
#[inline(always)]
fn prefetch_margins(keys: &[u64], start: usize) {
    prefetch(keys, start.wrapping_sub(MARGIN));
    prefetch(keys, start + CORE);
}

/// Searches the core of a window; `None` if the answer is not certain.
#[inline(always)]
fn probe_core<K: Kernel>(kernel: K, keys: &[u64], start: usize, key: u64) -> Option<Probe> {
    probe_exact::<CORE, K>(kernel, keys, start, key)
}

/// Searches `N` keys from `start` on; `None` if the answer is not certain.
#[inline(always)]
fn probe_exact<const N: usize, K: Kernel>(kernel: K, keys: &[u64], start: usize, key: u64) -> Option<Probe> {
    let counted = count::<N, K>(kernel, keys, start, key)?;
    let position = start + counted;
    // A key that is found is where it must be; a lower bound with keys on both sides is certain.
    let found = keys.get(position) == Some(&key);
    (found || (counted != 0 && counted != N)).then_some(Probe { position, found, mispredicted: false })
}

/// Searches around the core at `start`, which did not hold the answer: its margins, the window, everything.
#[inline(always)]
pub(crate) fn probe_outside<K: Kernel>(
    kernel: K,
    window: Window,
    keys: &[u64],
    start: usize,
    place: Place,
    key: u64,
) -> Probe {
    let margins = start.checked_sub(MARGIN);
    match margins.and_then(|start| probe_exact::<{ CORE + 2 * MARGIN }, K>(kernel, keys, start, key)) {
        Some(probe) => probe,
        None => probe_window(kernel, window, keys, place, key),
    }
}

/// Searches the whole window, and everything if the answer is not there.
#[inline(always)]
fn probe_window<K: Kernel>(kernel: K, window: Window, keys: &[u64], place: Place, key: u64) -> Probe {
    let start = window.start(place) as usize;
    let counted = match window.keys {
        16 => count::<16, K>(kernel, keys, start, key),
        24 => count::<24, K>(kernel, keys, start, key),
        32 => count::<32, K>(kernel, keys, start, key),
        40 => count::<40, K>(kernel, keys, start, key),
        48 => count::<48, K>(kernel, keys, start, key),
        56 => count::<56, K>(kernel, keys, start, key),
        _ => count::<64, K>(kernel, keys, start, key),
    };
    let Some(counted) = counted else { return whole(keys, key, window.keys) };
    let position = start + counted;
    let found = keys.get(position) == Some(&key);
    // At the window's edge a lower bound is certain only if the key before it is smaller (or the one at it not).
    if !found && (counted == 0 || counted == window.keys) {
        let before = position.checked_sub(1).and_then(|before| keys.get(before));
        if before.is_some_and(|&before| before >= key) || keys.get(position).is_some_and(|&at| at < key) {
            return whole(keys, key, window.keys);
        }
    }
    Probe { position, found, mispredicted: false }
}

#[inline(always)]
fn count<const N: usize, K: Kernel>(kernel: K, keys: &[u64], start: usize, key: u64) -> Option<usize> {
    let window = keys.get(start..)?.first_chunk::<N>()?;
    Some(kernel.lower_bound_exact(window, key))
}

/// Searches all the keys: where there are fewer than a window, and where a window was wrong.
#[inline(always)]
fn whole(keys: &[u64], key: u64, length: usize) -> Probe {
    let position = smaller(keys, key);
    Probe { position, found: keys.get(position) == Some(&key), mispredicted: keys.len() >= length }
}

/// How many of all the keys are smaller, by binary search.
#[cold]
#[inline(never)]
fn smaller(keys: &[u64], key: u64) -> usize {
    keys.partition_point(|&other| other < key)
}
