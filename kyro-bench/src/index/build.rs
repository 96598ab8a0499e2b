//! Who takes part, and how each is built.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::index::lookups::Part;
use crate::index::pattern::{Pattern, Timed, time, time_floor};
use crate::rival::binary::{Branchless, PartitionPoint};
use crate::rival::eytzinger::Eytzinger;
use crate::rival::interpolation::Interpolation;
use crate::rival::static_tree::StaticTree;
use crate::rival::tree_map::TreeMap;
use crate::store::{Store, WrongAnswer, verify, wrong_answers};

/// Something that takes part, by the name it has on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[non_exhaustive]
pub enum Contender {
    /// kyro-rmi; always takes part.
    KyroRmi,
    /// hashbrown with its default hasher.
    #[cfg(feature = "rivals-index")]
    Hashbrown,
    /// A static B-tree with SIMD nodes.
    StaticTree,
    /// Eytzinger order with prefetch.
    Eytzinger,
    /// `BTreeMap`, bulk-built.
    BtreeMap,
    /// The standard library's binary search.
    PartitionPoint,
    /// Binary search without branches.
    Branchless,
    /// Interpolation search.
    Interpolation,
    /// pgm-extra.
    #[cfg(feature = "rivals-index")]
    PgmExtra,
    /// jdb_pgm.
    #[cfg(feature = "rivals-index")]
    JdbPgm,
    /// pgm_index.
    #[cfg(feature = "rivals-index")]
    PgmIndex,
    /// radix_spline.
    #[cfg(feature = "rivals-index")]
    RadixSpline,
}

/// A store of any kind, built and ready to be timed.
pub(super) trait Built {
    fn name(&self) -> String;
    fn index_bytes(&self) -> u64;
    fn knows_order(&self) -> bool;
    fn verify(&self, keys: &[u64], wanted: &[u64]) -> Result<(), WrongAnswer>;
    fn wrong_answers(&self, keys: &[u64], wanted: &[u64]) -> usize;
    fn time(&self, pattern: Pattern, lookups: Part<'_>) -> Timed;
}

impl<S: Store> Built for S {
    fn name(&self) -> String {
        Store::name(self)
    }

    fn index_bytes(&self) -> u64 {
        Store::index_bytes(self)
    }

    fn knows_order(&self) -> bool {
        self.lower_bound(0).is_some()
    }

    fn verify(&self, keys: &[u64], wanted: &[u64]) -> Result<(), WrongAnswer> {
        verify(self, keys, wanted)
    }

    fn wrong_answers(&self, keys: &[u64], wanted: &[u64]) -> usize {
        wrong_answers(self, keys, wanted)
    }

    fn time(&self, pattern: Pattern, lookups: Part<'_>) -> Timed {
        time(self, pattern, lookups)
    }
}

/// The floor: not a store, for it is told the answer.
#[derive(Debug)]
pub(super) struct Floor<'a>(pub(super) &'a [u64]);

impl Floor<'_> {
    pub(super) fn time(&self, pattern: Pattern, lookups: Part<'_>) -> Timed {
        time_floor(self.0, pattern, lookups)
    }
}

/// A rival with what it took to build.
pub(super) struct Rival<'a> {
    pub(super) built: Box<dyn Built + 'a>,
    pub(super) seconds: f64,
}

impl Rival<'_> {
    /// Asks for every key of `lookups`.
    ///
    /// # Errors
    /// The first wrong answer and how many there are, or the panic.
    pub(super) fn verify(&self, keys: &[u64], lookups: Part<'_>) -> Result<(), String> {
        for (wanted, kind) in [(lookups.hits, "keys that are there"), (lookups.misses, "absent keys")] {
            guarded(|| self.built.verify(keys, wanted))?.map_err(|wrong| {
                let count = guarded(|| self.built.wrong_answers(keys, wanted)).unwrap_or(wanted.len());
                format!("wrong for {count} of {} {kind}, as in: {wrong}", wanted.len())
            })?;
        }
        Ok(())
    }
}

impl Contender {
    /// Builds the rival over `keys`; of those with parameters, the one that is fastest at `sample`.
    pub(super) fn build<'a>(self, keys: &'a [u64], sample: Part<'_>) -> Result<Rival<'a>, String> {
        match self {
            Self::KyroRmi => Err("kyro-rmi is not its own rival".to_owned()),
            Self::StaticTree => one(|| Ok(StaticTree::build(keys))),
            Self::Eytzinger => one(|| Ok(Eytzinger::build(keys))),
            Self::BtreeMap => one(|| Ok(TreeMap::build(keys))),
            Self::PartitionPoint => one(|| Ok(PartitionPoint::new(keys))),
            Self::Branchless => one(|| Ok(Branchless::new(keys))),
            Self::Interpolation => one(|| Ok(Interpolation::new(keys))),
            #[cfg(feature = "rivals-index")]
            _ => self.build_library(keys, sample),
            #[cfg(not(feature = "rivals-index"))]
            #[expect(unreachable_patterns, reason = "the sample is for rivals with parameters")]
            _ => Err(format!("no rival, and no use for {} samples", sample.hits.len())),
        }
    }

    #[cfg(feature = "rivals-index")]
    fn build_library<'a>(self, keys: &'a [u64], sample: Part<'_>) -> Result<Rival<'a>, String> {
        use crate::rival::hash::Hash;
        use crate::rival::pgm::{EPSILONS, JdbPgm, PgmExtra, PgmIndex};
        use crate::rival::spline::{PARAMETERS, RadixSpline};

        match self {
            Self::Hashbrown => one(|| Ok(Hash::build(keys))),
            Self::PgmExtra => best(keys, sample, EPSILONS, |epsilon| PgmExtra::build(keys, epsilon)),
            Self::JdbPgm => best(keys, sample, EPSILONS, |epsilon| JdbPgm::build(keys, epsilon)),
            Self::PgmIndex => best(keys, sample, EPSILONS, |epsilon| Ok(PgmIndex::build(keys, epsilon))),
            Self::RadixSpline => {
                best(keys, sample, PARAMETERS, |(error, bits)| Ok(RadixSpline::build(keys, error, bits)))
            }
            _ => Err("not a library".to_owned()),
        }
    }
}

/// Builds once. A panic of a library is its failure, not ours.
fn one<'a, S: Store + 'a>(build: impl FnOnce() -> Result<S, String>) -> Result<Rival<'a>, String> {
    let started = Instant::now();
    let store = guarded(build)??;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Rival { built: Box::new(store), seconds })
}

/// Builds with every parameter and keeps the fastest of those that answer right.
#[cfg_attr(not(feature = "rivals-index"), expect(dead_code, reason = "only libraries have parameters"))]
fn best<'a, S: Store + 'a, P: Copy + std::fmt::Debug>(
    keys: &[u64],
    sample: Part<'_>,
    parameters: impl IntoIterator<Item = P>,
    build: impl Fn(P) -> Result<S, String>,
) -> Result<Rival<'a>, String> {
    let mut best: Option<(std::time::Duration, Rival<'a>)> = None;
    let mut failures: Vec<String> = Vec::new();
    for parameter in parameters {
        let tried = one(|| build(parameter)).and_then(|rival| {
            rival.verify(keys, sample)?;
            let elapsed = guarded(|| rival.built.time(Pattern::HitSerial, sample).elapsed)?;
            Ok((elapsed, rival))
        });
        match tried {
            Ok(tried) if best.as_ref().is_none_or(|best| tried.0 < best.0) => best = Some(tried),
            Ok(_) => {}
            Err(failure) => failures.push(failure),
        }
    }
    best.map(|(_, rival)| rival).ok_or_else(|| {
        let last = failures.pop().unwrap_or_default();
        format!("with every parameter tried; with the last: {last}")
    })
}

/// Runs what may panic.
pub(super) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|&message| message.to_owned()));
        format!("panicked: {}", message.unwrap_or_default())
    })
}
