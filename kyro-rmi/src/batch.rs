//! Many lookups at once: their cache misses overlap.
//!
//! A group is placed in lock step (see [`group`](crate::group)), or in turn where nearly all keys take the same
//! records. It is then sought in lock step: the core of every key, for those outside it the cache line beside it
//! on their side, then two more lines, and only for what is left the windows. Whether a key is outside is a bit,
//! not a branch. To ask for two lines at once costs more than to ask again.
//!
//! A batch accepts an answer only from keys within the key's window, and with a key on both sides or the key
//! itself: there a single lookup is certain too, so both report the same wrong windows.

use crate::group::{GROUP, Group, Route, Set, TREE_CORE};
use crate::model::{CORE, Model};
use crate::rmi::{Probe, Rmi, probe, probe_outside};
use core::hint::select_unpredictable;
use core::iter::zip;
use kyro_simd::{Kernel, Operation, prefetch};

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
        let stats = self.stats();
        let even = stats.further_keys <= stats.keys / 64;
        let (model, body) = (&self.model, self.body());
        self.searcher.run(Batch { model, body, keys, wanted, answers, answer, even })
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
    /// Whether nearly every lookup takes the same few records, so that following them mispredicts no branch.
    even: bool,
}

impl<T, F: Fn(Probe) -> T> Operation for Batch<'_, T, F> {
    type Output = usize;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> usize {
        let Self { model, body, keys, wanted, answers, answer, even } = self;
        let window = model.window;
        // Then every window lies within the keys, and the core of every place within its window.
        if (keys.len() as u64) < window.total.max(window.keys as u64) || window.keys < 2 * CORE {
            return one_by_one(kernel, model, body, keys, wanted, answers, &answer);
        }
        let mut group = Group::EMPTY;
        let mut mispredicted = 0;
        let is_tree = model.is_tree();
        for (wanted, answers) in zip(wanted.chunks(GROUP), answers.chunks_mut(GROUP)) {
            let wanted = wanted.get(..answers.len()).unwrap_or(wanted);
            let route = Route { model, body, column: keys, wanted };
            if is_tree {
                group.place_down(kernel, route);
            } else if even {
                group.place_in_turn(kernel, route);
            } else {
                group.place_in_rounds(kernel, route);
            }
            let mut sought =
                Sought { route, group: &mut group, answers, answer: &answer, above: Set::default() };
            if is_tree {
                let outside = sought.in_core::<TREE_CORE, K>(kernel);
                for index in sought.beside::<TREE_CORE, K>(kernel, TREE_CORE, outside) {
                    mispredicted += sought.in_window(kernel, index);
                }
                continue;
            }
            let outside = sought.in_core::<CORE, K>(kernel);
            if outside.is_empty() {
                continue;
            }
            let outside = sought.beside::<CORE, K>(kernel, CORE, outside);
            let outside = sought.beside::<{ 2 * CORE }, K>(kernel, CORE, outside);
            for index in outside {
                mispredicted += sought.around(kernel, index);
            }
        }
        mispredicted
    }
}

/// A group whose places are known, and which is now sought in the keys.
struct Sought<'a, 'g, T, F> {
    route: Route<'a>,
    group: &'g mut Group,
    answers: &'g mut [T],
    answer: &'g F,
    /// Which of those outside their core lie above it.
    above: Set,
}

impl<T, F: Fn(Probe) -> T> Sought<'_, '_, T, F> {
    /// Searches every core. Which keys are not certain to lie there.
    #[inline(always)]
    fn in_core<const N: usize, K: Kernel>(&mut self, kernel: K) -> Set {
        let mut outside = Set::default();
        for (index, (&key, answer)) in zip(self.route.wanted, &mut *self.answers).enumerate() {
            let start = self.group.starts[index % GROUP];
            let (counted, found) = search::<N, K>(kernel, self.route.column, start, key);
            *answer = (self.answer)(Probe { position: start + counted, found, mispredicted: false });
            let above = counted == N;
            self.above.add_if(index, above);
            outside.add_if(index, above || counted == 0 && !found);
        }
        outside
    }

    /// Asks for the `N` keys before or after the `searched` ones of each of `outside`, moved into its window, and
    /// then searches them. Which keys are not certain to lie there either.
    #[inline(always)]
    fn beside<const N: usize, K: Kernel>(&mut self, kernel: K, searched: usize, outside: Set) -> Set {
        let (column, window) = (self.route.column, self.route.model.window);
        for index in outside {
            let start = self.group.starts[index % GROUP];
            let first = window.start(self.group.places[index % GROUP]) as usize;
            let after = (start + searched).min(first + (window.keys - N));
            let before = start.saturating_sub(N).max(first);
            let start = select_unpredictable(self.above.has(index), after, before);
            prefetch(column, start);
            prefetch(column, start + N - 1);
            self.group.starts[index % GROUP] = start;
        }
        let mut still = Set::default();
        for index in outside {
            let start = self.group.starts[index % GROUP];
            let (counted, found) = search::<N, K>(kernel, column, start, self.route.key(index));
            // On the side of the keys searched before, what lies beyond the edge is known.
            still.add_if(index, !found && counted == select_unpredictable(self.above.has(index), N, 0));
            if let Some(answer) = self.answers.get_mut(index) {
                *answer = (self.answer)(Probe { position: start + counted, found, mispredicted: false });
            }
        }
        still
    }

    /// Looks again at a key at the edge of its window under a tree, as a single lookup does.
    #[inline(never)]
    fn in_window<K: Kernel>(&mut self, kernel: K, index: usize) -> usize {
        let Route { model, body, column, .. } = self.route;
        let key = self.route.key(index);
        let probe = probe(kernel, model, column, model.place(kernel, body, key), key);
        if let Some(answer) = self.answers.get_mut(index) {
            *answer = (self.answer)(probe);
        }
        usize::from(probe.mispredicted)
    }

    /// Searches the whole window, and everything if need be: whether the window was wrong.
    #[inline(always)]
    fn around<K: Kernel>(&mut self, kernel: K, index: usize) -> usize {
        let (column, window) = (self.route.column, self.route.model.window);
        let place = self.group.places[index % GROUP];
        let start = window.core().start(place) as usize;
        let probe = probe_outside(kernel, window, column, start, place, self.route.key(index));
        if let Some(answer) = self.answers.get_mut(index) {
            *answer = (self.answer)(probe);
        }
        usize::from(probe.mispredicted)
    }
}

/// How many of the `N` keys at `start` are smaller than `key`, and whether `key` is among them.
#[inline(always)]
fn search<const N: usize, K: Kernel>(kernel: K, keys: &[u64], start: usize, key: u64) -> (usize, bool) {
    let Some(keys) = keys.get(start..).and_then(|keys| keys.first_chunk::<N>()) else { return (0, false) };
    let counted = kernel.lower_bound_exact(keys, key);
    // Never the key after them: that one was not asked for.
    (counted, keys[counted.min(N - 1)] == key)
}

/// Over keys that the index was not built over, or fewer than two lines.
#[cold]
#[inline(never)]
fn one_by_one<T, K: Kernel>(
    kernel: K,
    model: &Model,
    body: &[u8],
    keys: &[u64],
    wanted: &[u64],
    answers: &mut [T],
    answer: &impl Fn(Probe) -> T,
) -> usize {
    let mut mispredicted = 0;
    for (&key, answer_to) in zip(wanted, answers) {
        let probe = probe(kernel, model, keys, model.place(kernel, body, key), key);
        mispredicted += usize::from(probe.mispredicted);
        *answer_to = answer(probe);
    }
    mispredicted
}
