//! Key sets: seeded, sorted, distinct, in the shapes that real keys and published benchmarks have.
//!
//! A generator gives exactly as many keys as it is asked for, and the same keys for the same seed. What a set is like
//! is said at its generator; [`sosd`] reads the published files for those who have them.

#![expect(clippy::cast_sign_loss, reason = "keys are made from numbers that are not negative")]

mod adversarial;
mod ids;
mod places;
mod shapes;
mod times;

pub mod sosd;

use crate::random::Random;

/// One of the generated key sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataSet {
    /// Consecutive numbers.
    Dense,
    /// Any 64-bit number, each as likely.
    Uniform,
    /// The normal distribution, seven deviations wide in 64 bits.
    Normal,
    /// The lognormal distribution with sigma 2: nine tenths of the keys in a thousandth of the range.
    Lognormal,
    /// Cells of points on a map along a Hilbert curve: clustered at every scale, the hardest of the published kind.
    OsmLike,
    /// User ids in blocks of different density, and a handful of enormous ones.
    FacebookLike,
    /// Edit timestamps: a daily rhythm with bursts.
    WikipediaLike,
    /// Sales ranks: a heavy tail over the whole of 64 bits.
    BooksLike,
    /// Time-ordered ids: milliseconds, worker, sequence.
    Snowflake,
    /// Everything that breaks models, mixed.
    Adversarial,
}

impl DataSet {
    /// All of them, from the smoothest to the hardest.
    pub const ALL: [Self; 10] = [
        Self::Dense,
        Self::Uniform,
        Self::Normal,
        Self::WikipediaLike,
        Self::Snowflake,
        Self::Lognormal,
        Self::BooksLike,
        Self::FacebookLike,
        Self::OsmLike,
        Self::Adversarial,
    ];

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Lognormal => "lognormal",
            Self::OsmLike => "osm-like",
            Self::FacebookLike => "fb-like",
            Self::WikipediaLike => "wiki-like",
            Self::BooksLike => "books-like",
            Self::Snowflake => "snowflake",
            Self::Adversarial => "adversarial",
        }
    }

    /// The set with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// What the keys are like, in a line.
    pub fn description(self) -> &'static str {
        match self {
            Self::Dense => "consecutive numbers from 2^40",
            Self::Uniform => "any 64-bit number, each as likely",
            Self::Normal => "mean 2^63, deviation 2^60",
            Self::Lognormal => "2^46 × e^(2 × normal)",
            Self::OsmLike => {
                "Hilbert cells of points in 4096 clusters, along lines between them, and 2 % anywhere"
            }
            Self::FacebookLike => {
                "ids in 256 blocks of different density below 2^37, and 21 between 2^59 and 2^64"
            }
            Self::WikipediaLike => "microseconds with a daily rhythm and bursts",
            Self::BooksLike => "Pareto with exponent 0.6 from 2^36 to 2^64",
            Self::Snowflake => "milliseconds << 22 | worker << 12 | sequence",
            Self::Adversarial => "runs of 4096: exponential gaps, dense, equal modulo 2^33, steps, random",
        }
    }

    /// Smooth sets, which a model of a few lines fits: stricter targets hold for them.
    pub fn is_smooth(self) -> bool {
        matches!(self, Self::Dense | Self::Uniform | Self::Normal | Self::WikipediaLike | Self::Snowflake)
    }

    /// `count` keys, strictly increasing; the same for the same `seed`. Costs about a sort.
    pub fn generate(self, count: usize, seed: u64) -> Vec<u64> {
        let random = &mut Random::new(seed, self.name());
        let keys = match self {
            Self::Dense => shapes::dense(count),
            Self::Uniform => shapes::uniform(count, random),
            Self::Normal => shapes::normal(count, random),
            Self::Lognormal => shapes::lognormal(count, random),
            Self::BooksLike => shapes::books_like(count, random),
            Self::OsmLike => places::osm_like(count, random),
            Self::FacebookLike => ids::facebook_like(count, random),
            Self::Snowflake => ids::snowflake(count, random),
            Self::WikipediaLike => times::wikipedia_like(count, random),
            Self::Adversarial => adversarial::adversarial(count, random),
        };
        debug_assert!(keys.len() == count && keys.is_sorted_by(|low, high| low < high));
        keys
    }
}

/// Exactly `count` distinct keys from `draw`, sorted. Draws a few more than that and drops the surplus evenly, so that
/// the shape stays.
fn distinct(count: usize, mut draw: impl FnMut() -> u64) -> Vec<u64> {
    let mut keys: Vec<u64> = Vec::with_capacity(count + count / 64 + 16);
    while keys.len() < count {
        let missing = count - keys.len();
        keys.extend((0..missing + missing / 64 + 16).map(|_| draw()));
        keys.sort_unstable();
        keys.dedup();
    }
    let found = keys.len() as u128;
    for index in 0..count {
        keys[index] = keys[(index as u128 * found / count as u128) as usize];
    }
    keys.truncate(count);
    keys
}
