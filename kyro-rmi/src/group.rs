//! A group of keys followed through the records in lock step, so that their cache misses overlap.
//!
//! In each round every key takes the one record that it asked for in the round before, and asks for its next. The
//! keys that wait for the same kind of record are taken together, and which kind is next is arithmetic, not a
//! branch: in a single lookup that branch is mispredicted at nearly every record of an uneven column.

use crate::entry::Entry;
use crate::fence;
use crate::leaf;
use crate::line::{self, PARTS};
use crate::model::{MOST_STEPS, Model, Place, Window, entry, interval};
use crate::root::multiply;
use crate::tree::{self, Tree};
use core::hint::select_unpredictable;
use kyro_simd::{Kernel, prefetch};

/// How many keys are under way at once: enough for every line-fill buffer of a core.
pub(crate) const GROUP: usize = 32;

/// The keys that are searched first under a tree: two cache lines around the prediction, half of the window.
pub(crate) const TREE_CORE: usize = tree::WINDOW / 2;

/// Up to how many root cells are near enough that asking for their records is not worth a pass: 128 KiB.
const NEAR_CELLS: u64 = 1 << 14;

/// Some keys of a group, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Set(u32);

impl Set {
    /// Adds key `index` if `is`.
    #[inline(always)]
    pub(crate) fn add_if(&mut self, index: usize, is: bool) {
        self.0 |= u32::from(is) << (index % GROUP);
    }

    /// Whether it has key `index`.
    #[inline(always)]
    pub(crate) fn has(self, index: usize) -> bool {
        self.0 >> (index % GROUP) & 1 != 0
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl IntoIterator for Set {
    type Item = usize;
    type IntoIter = Members;

    #[inline(always)]
    fn into_iter(self) -> Members {
        Members(self.0)
    }
}

/// The keys of a set, in order.
pub(crate) struct Members(u32);

impl Iterator for Members {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let index = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (index < GROUP).then_some(index)
    }
}

/// Where a group of lookups goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'a> {
    pub(crate) model: &'a Model,
    pub(crate) body: &'a [u8],
    /// The keys the index was built over.
    pub(crate) column: &'a [u64],
    /// The keys that are looked up, at most [`GROUP`].
    pub(crate) wanted: &'a [u64],
}

impl Route<'_> {
    /// Key `index`.
    #[inline(always)]
    pub(crate) fn key(&self, index: usize) -> u64 {
        self.wanted.get(index).copied().unwrap_or_default()
    }

    /// Asks for the cache line of a word.
    #[inline(always)]
    fn prefetch_word(&self, word: u64) {
        prefetch(self.body, (word as usize).wrapping_mul(8));
    }
}

/// The kinds of the records that some keys took, as bits: see [`Followed`](crate::entry::Followed).
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    low: Set,
    high: Set,
    leaf: Set,
}

/// Which keys wait for which kind of record.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    words: Set,
    lines: Set,
    nodes: Set,
    leaves: Set,
}

impl Waiting {
    /// Adds the keys that took a word, but those that have arrived.
    #[inline(always)]
    fn add(&mut self, Kinds { low, high, leaf }: Kinds) {
        self.lines.0 |= low.0 & !high.0;
        self.words.0 |= high.0 & !low.0;
        self.leaves.0 |= low.0 & high.0 & leaf.0;
        self.nodes.0 |= low.0 & high.0 & !leaf.0;
    }

    fn all(self) -> Set {
        Set(self.words.0 | self.lines.0 | self.nodes.0 | self.leaves.0)
    }
}

/// A group on its way. What belongs to one key has its index everywhere.
#[derive(Debug)]
pub(crate) struct Group {
    /// The place of each key that has arrived.
    pub(crate) places: [Place; GROUP],
    /// Where the core of that place starts.
    pub(crate) starts: [usize; GROUP],
    /// The core that was asked for last.
    last: usize,
    /// The word or the block that each key waits for.
    next: [u64; GROUP],
    /// The fraction of its cell, or of its line, below each key.
    fractions: [u64; GROUP],
}

impl Group {
    pub(crate) const EMPTY: Self = Self {
        places: [Place::NOWHERE; GROUP],
        starts: [0; GROUP],
        last: 0,
        next: [0; GROUP],
        fractions: [0; GROUP],
    };

    /// Places every key with [`Model::place`], one after the other, and asks for its core: cheaper than rounds
    /// where all the keys take the same few records.
    #[inline(always)]
    pub(crate) fn place_in_turn<K: Kernel>(&mut self, kernel: K, route: Route<'_>) {
        for (index, &key) in route.wanted.iter().enumerate() {
            let place = route.model.place(kernel, route.body, key);
            self.arrive(route, index, place, true);
        }
    }

    /// Places every key under a tree, level by level, and asks for its window.
    #[inline(always)]
    pub(crate) fn place_down<K: Kernel>(&mut self, kernel: K, route: Route<'_>) {
        let Route { model, body, column, wanted } = route;
        let tree = &model.tree;
        let depth = tree.depth();
        let ask = |level: usize, node: u64| {
            if level < depth {
                tree.prefetch_inner(body, level, node);
            } else {
                tree.prefetch_leaf(body, node);
            }
        };
        for (next, &key) in self.next.iter_mut().zip(wanted) {
            *next = Tree::top(kernel, body, key);
            ask(0, *next);
        }
        for level in 0..depth {
            for (next, &key) in self.next.iter_mut().zip(wanted) {
                *next = tree.inner(kernel, body, level, *next, key);
                ask(level + 1, *next);
            }
        }
        let core = Window { keys: TREE_CORE, total: model.window.total };
        for (index, &key) in wanted.iter().enumerate() {
            let leaf = tree.leaf(body, self.next[index % GROUP]);
            let place = leaf.map_or(Place::NOWHERE, |leaf| leaf::place(kernel, leaf, key));
            let start = core.start(place) as usize;
            self.places[index % GROUP] = place;
            self.starts[index % GROUP] = start;
            prefetch(column, start);
            prefetch(column, start + TREE_CORE / 2);
        }
    }

    /// Places every key as [`Model::place`] does, in rounds, and asks for its core as soon as it is known.
    #[inline(always)]
    pub(crate) fn place_in_rounds<K: Kernel>(&mut self, kernel: K, route: Route<'_>) {
        let root = &route.model.root;
        if root.cells > NEAR_CELLS {
            for &key in route.wanted {
                route.prefetch_word(root.cell(key).0);
            }
        }
        let mut kinds = Kinds::default();
        for (index, &key) in route.wanted.iter().enumerate() {
            let (cell, fraction) = root.cell(key);
            self.take_word(route, index, cell, fraction, &mut kinds);
        }
        let mut waiting = Waiting::default();
        waiting.add(kinds);
        for _ in 0..MOST_STEPS {
            if waiting.all().is_empty() {
                return;
            }
            waiting = self.round(kernel, route, waiting);
        }
        // Only damaged records lead further than that.
        for index in waiting.all() {
            let place = straggler(kernel, route.model, route.body, route.key(index));
            self.arrive(route, index, place, true);
        }
    }

    /// Lets every key that waits take its record. Which wait for what after that.
    #[inline(always)]
    fn round<K: Kernel>(&mut self, kernel: K, route: Route<'_>, waiting: Waiting) -> Waiting {
        let Route { model, body, .. } = route;
        let mut then = Waiting::default();
        let mut kinds = Kinds::default();
        for index in waiting.words {
            let (word, fraction) = (self.next[index % GROUP], self.fractions[index % GROUP]);
            self.take_word(route, index, word, fraction, &mut kinds);
        }
        then.add(kinds);
        for index in waiting.lines {
            let Some(block) = model.block(body, self.next[index % GROUP]) else {
                self.arrive(route, index, Place::NOWHERE, true);
                continue;
            };
            let (part, rest) = multiply(self.fractions[index % GROUP], PARTS as u64);
            let part = line::part(block, part as usize);
            let (further, record) = (part.record.is_some(), part.record.unwrap_or(0));
            self.arrive(route, index, interval(part.first, part.count, rest), !further);
            self.next[index % GROUP] = record;
            self.fractions[index % GROUP] = rest;
            then.words.add_if(index, further);
            route.prefetch_word(record);
        }
        for index in waiting.leaves {
            let place = model.place_in_leaf(kernel, body, self.next[index % GROUP], route.key(index));
            self.arrive(route, index, place.unwrap_or(Place::NOWHERE), true);
        }
        for index in waiting.nodes {
            let Some(block) = model.block(body, self.next[index % GROUP]) else {
                self.arrive(route, index, Place::NOWHERE, true);
                continue;
            };
            let (child, leaf) = fence::child(kernel, block, route.key(index));
            self.next[index % GROUP] = child;
            then.leaves.add_if(index, leaf);
            then.nodes.add_if(index, !leaf);
            prefetch(body, model.block_at(child));
        }
        // The second block of a leaf.
        for index in then.leaves {
            prefetch(body, model.block_at(self.next[index % GROUP].wrapping_add(1)));
        }
        then
    }

    /// Lets key `index` take the record in `word`, and asks for the next one.
    #[inline(always)]
    fn take_word(&mut self, route: Route<'_>, index: usize, word: u64, fraction: u64, kinds: &mut Kinds) {
        let Route { model, body, .. } = route;
        let taken = entry(body, word).unwrap_or(Entry::NOWHERE).follow(fraction);
        let (low, high) = taken.kind;
        self.arrive(route, index, taken.place, !low && !high);
        self.next[index % GROUP] = taken.record;
        self.fractions[index % GROUP] = taken.rest;
        kinds.low.add_if(index, low);
        kinds.high.add_if(index, high);
        kinds.leaf.add_if(index, taken.leaf);
        let word_at = (taken.record as usize).wrapping_mul(8);
        prefetch(body, select_unpredictable(high && !low, word_at, model.block_at(taken.record)));
    }

    /// Notes the place of key `index`, and asks for its core if the key `has` arrived. Cores are asked for one by
    /// one between other work: a burst of requests at the end of a round takes twice as long.
    #[inline(always)]
    fn arrive(&mut self, route: Route<'_>, index: usize, place: Place, has: bool) {
        let start = route.model.window.core().start(place) as usize;
        self.places[index % GROUP] = place;
        self.starts[index % GROUP] = start;
        // Asking again for the core before costs nothing; a branch would be mispredicted.
        self.last = select_unpredictable(has, start, self.last);
        prefetch(route.column, self.last);
    }
}

/// Places one key that took longer than keys do.
#[cold]
#[inline(never)]
fn straggler<K: Kernel>(kernel: K, model: &Model, body: &[u8], key: u64) -> Place {
    model.place(kernel, body, key)
}
