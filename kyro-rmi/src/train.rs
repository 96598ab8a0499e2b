//! From keys to an index: choose the root, train each of its cells, lay the records out, verify every key.

mod cell;
mod choice;
mod cost;
mod fences;
mod lines;
mod tree;

use crate::aligned::AlignedBytes;
use crate::column::Column;
use crate::entry::MOST_KEYS;
use crate::error::BuildError;
use crate::format;
use crate::line::Block;
use crate::model::{Model, Window};
use crate::options::BuildOptions;
use crate::rmi::Rmi;
use crate::root::{Root, Spread};
use crate::stats::{RootKind, Stats};
use crate::tree::{Tree, WINDOW};
use crate::verify::{self, Measured};
use alloc::vec::Vec;
use kyro_simd::Searcher;

/// Builds and verifies, and says how long it took.
pub(crate) fn build(keys: &[u64], options: &BuildOptions) -> Result<(Rmi, u64), BuildError> {
    let (built, nanos) = timed(|| train_and_verify(keys, options));
    Ok((built?, nanos))
}

fn train_and_verify(keys: &[u64], options: &BuildOptions) -> Result<Rmi, BuildError> {
    check(keys)?;
    let window = match options.window {
        None => 64,
        Some(window) if window.is_multiple_of(8) && (16..=64).contains(&window) => window,
        Some(window) => return Err(BuildError::Window { window }),
    };
    let window = Window { keys: window, total: keys.len() as u64 };
    let chosen = choice::choose(keys, window, options);
    let Records { model, words, blocks, counts } = match chosen {
        choice::Chosen::Grid(root) => grid(keys, root, window),
        choice::Chosen::Tree => tree_over(keys),
    };
    let (root, window) = (model.root, model.window);
    let column = Column { keys: window.total, ..Column::default() };
    let mut stats = Stats {
        keys: window.total,
        root: match root.spread {
            _ if model.is_tree() => RootKind::Separators,
            Spread::Linear { .. } => RootKind::Linear,
            Spread::Logarithmic { .. } => RootKind::Logarithmic,
        },
        root_cells: if model.is_tree() { model.tree.leaves } else { root.cells },
        outliers: counts.outliers,
        leaves: counts.leaves,
        fallback_keys: counts.fallback_keys,
        further_keys: counts.further_keys,
        epsilon_p50: 0,
        epsilon_p99: 0,
        epsilon_max: 0,
        max_window: window.keys as u32,
        max_steps: 0,
        bytes: format::encoded_len(words.len() as u64, blocks.len() as u64),
        build_nanos: 0,
    };
    let mut bytes = format::encode(&column, &model, &stats, &words, &blocks);
    let (word_count, block_count) = (words.len() as u64, blocks.len() as u64);
    drop((words, blocks));
    // As it will be read: what is verified is what answers.
    let unmeasured = Rmi::open_unbound(AlignedBytes::copy_of(&bytes)).map_err(|_| unreachable_header())?;
    let (read, body) = (unmeasured.model(), unmeasured.body());
    let Measured { epsilon_p50, epsilon_p99, epsilon_max, max_steps } =
        verify::verify(read, body, keys, Searcher::new(), options.threads())?;
    stats = Stats { epsilon_p50, epsilon_p99, epsilon_max, max_steps, ..stats };
    let header = format::header(&column, &model, &stats, word_count, block_count);
    bytes.splice(..format::HEADER, header);
    let opened = Rmi::open_unbound(AlignedBytes::copy_of(&bytes)).ok();
    let opened = opened.filter(|opened| opened.answers_as(&unmeasured));
    opened.ok_or_else(unreachable_header)
}

/// What a training leaves.
struct Records {
    model: Model,
    words: Vec<u64>,
    blocks: Vec<Block>,
    counts: Counts,
}

/// Records under a grid.
fn grid(keys: &[u64], root: Root, window: Window) -> Records {
    let mut trainer = Trainer::new(keys, root, window);
    trainer.train();
    let Trainer { mut words, blocks, counts, window, .. } = trainer;
    words.resize(words.len().next_multiple_of(8), 0);
    let model = Model { root, tree: Tree::NONE, window, blocks_at: words.len() as u64 * 8 };
    Records { model, words, blocks, counts }
}

/// A tree of separators.
fn tree_over(keys: &[u64]) -> Records {
    let tree::Trained { tree, blocks, segments } = tree::train(keys);
    let window = Window { keys: WINDOW, total: keys.len() as u64 };
    let root = Root { low: 0, range: 0, cells: 0, spread: Spread::Linear { multiplier: 0 } };
    let counts = Counts { leaves: segments, fallback_keys: 0, ..Counts::default() };
    Records { model: Model { root, tree, window, blocks_at: 0 }, words: Vec::new(), blocks, counts }
}

/// The header that was just written opens; were it not to, the build answers with an error all the same.
fn unreachable_header() -> BuildError {
    BuildError::Verify(crate::VerifyError::Gap { covered: 0, start: 0 })
}

/// Refuses keys that are not strictly increasing, and more than an index holds.
fn check(keys: &[u64]) -> Result<(), BuildError> {
    if keys.len() as u64 > MOST_KEYS {
        return Err(BuildError::TooManyKeys { keys: keys.len() as u64, most: MOST_KEYS });
    }
    for (index, pair) in keys.windows(2).enumerate() {
        if let &[previous, key] = pair
            && previous >= key
        {
            return Err(BuildError::NotIncreasing { position: index + 1, previous, key });
        }
    }
    Ok(())
}

/// What the training counts for the statistics.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    outliers: u64,
    leaves: u64,
    fallback_keys: u64,
    further_keys: u64,
}

/// The records as they grow.
struct Trainer<'k> {
    keys: &'k [u64],
    root: Root,
    window: Window,
    words: Vec<u64>,
    blocks: Vec<Block>,
    /// Which rung of the ladder of densities fitted last, and how many keys ago that was found out.
    rung: usize,
    since_tuned: usize,
    since_epsilon: usize,
    /// The fractions of the keys of the line at hand.
    fractions: Vec<u64>,
    counts: Counts,
    searcher: Searcher,
    prices: cost::Prices,
    nearby: cost::Nearby,
}

impl<'k> Trainer<'k> {
    fn new(keys: &'k [u64], root: Root, window: Window) -> Self {
        Self {
            keys,
            root,
            window,
            words: Vec::new(),
            blocks: Vec::new(),
            rung: lines::FIRST_RUNG,
            since_tuned: usize::MAX / 2,
            since_epsilon: 0,
            fractions: Vec::new(),
            counts: Counts::default(),
            searcher: Searcher::new(),
            prices: cost::Prices::new(keys.len()),
            nearby: cost::Nearby { segment_keys: 64, lines_per_key: 1000, epsilon: None },
        }
    }

    /// Trains every cell of the root, in the order of the keys.
    fn train(&mut self) {
        let cells = self.root.cells as usize;
        self.words.resize(cells + 2, 0);
        let first = self.keys.partition_point(|&key| key < self.root.low);
        self.counts.outliers = first as u64;
        let below = self.outliers(0, first);
        self.set_word(cells, below);
        let mut start = first;
        for cell in 0..cells {
            let end = self.gallop(start, |root, key| root.cell(key).0 <= cell as u64);
            let entry = self.train_cell(start, end, 1, 0);
            self.set_word(cell, entry);
            start = end;
        }
        self.counts.outliers += (self.keys.len() - start) as u64;
        let above = self.outliers(start, self.keys.len());
        self.set_word(cells + 1, above);
    }

    fn set_word(&mut self, word: usize, entry: crate::entry::Entry) {
        if let Some(slot) = self.words.get_mut(word) {
            *slot = entry.0;
        }
    }

    /// The first position from `start` on whose key is not `inside`, where all keys inside come first. O(log of
    /// the distance).
    fn gallop(&self, start: usize, inside: impl Fn(&Root, u64) -> bool) -> usize {
        let rest = self.keys.get(start..).unwrap_or_default();
        let mut reach = 1;
        while rest.get(reach).is_some_and(|&key| inside(&self.root, key)) {
            reach *= 2;
        }
        let near = rest.get(..reach.min(rest.len())).unwrap_or_default();
        start + near.partition_point(|&key| inside(&self.root, key))
    }

    /// The fraction of a cell, `chain` multiplications further down, that lies below `key`. Each stage keeps the
    /// low half of a product, so one multiplication by the product of all the stages' factors does for all.
    #[inline(always)]
    fn fraction(&self, key: u64, chain: u64) -> u64 {
        self.root.cell(key).1.wrapping_mul(chain)
    }
}

/// Does some work and measures it, in nanoseconds; 0 without `std`.
fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    #[cfg(feature = "std")]
    {
        let start = std::time::Instant::now();
        let done = work();
        (done, u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
    #[cfg(not(feature = "std"))]
    (work(), 0)
}
