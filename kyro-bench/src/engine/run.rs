//! The plan of the benchmark, and how it runs.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::asked::Records;
use crate::engine::cell::{Cell, WrongSum};
use crate::engine::results::{Results, Size};
use crate::engine::{busy, compressed, floor, loads};
use crate::kv::{Contender, Failure, NotKept};
use crate::machine;
use crate::pages::Pages;
use crate::progress::Progress;
use crate::report::Report;

/// Values of text are read from this length on, and of so many records at most.
const LEAST_TEXT: usize = 64;
const MOST_TEXTS: u64 = 1_000_000;

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A directory on the file system to be measured; everything is made below it and removed.
    pub dir: PathBuf,
    /// What of it.
    pub parts: Vec<Part>,
    /// Sizes in which stores are read.
    pub sizes: Vec<Size>,
    /// Sizes in which stores are loaded in random order.
    pub random_sizes: Vec<Size>,
    /// Who takes part beside kyro-engine.
    pub rivals: Vec<Contender>,
    /// Records above which sled takes no part: it loads a tenth as fast as the others.
    pub most_of_sled: u64,
    /// The engine with a full delta and with several runs in every size, not only in small ones.
    pub all_states: bool,
    /// Gets of a timed run.
    pub gets: usize,
    /// Timed runs of each row.
    pub repeats: usize,
    /// Loads in random order of each store.
    pub loads: usize,
    /// How long is read beside writes and compactions.
    pub busy: Duration,
    /// Seed of keys and values.
    pub seed: u64,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Sorted loads, gets and scans, disk space, reopening.
    Reads,
    /// Loads in random order.
    Loads,
    /// Reads beside writes and compactions.
    Busy,
    /// Reads of compressed values, and of the same values uncompressed; of kyro-engine alone.
    Compressed,
}

/// Why the benchmark stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineBenchError {
    /// kyro-engine failed.
    #[error("kyro-engine failed ({doing})")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: Failure,
    },
    /// kyro-engine does not hold what it was given.
    #[error("kyro-engine does not hold what it was given")]
    NotKept(#[from] NotKept),
    /// A timed run read something else than is there.
    #[error("a timed run is worth nothing")]
    WrongSum(#[from] WrongSum),
    /// The directory cannot be used.
    #[error("the benchmark's files cannot be used")]
    Io(#[from] io::Error),
}

/// Runs the plan and reports.
///
/// # Errors
/// [`EngineBenchError`]: everything that kyro-engine does wrong, and a directory that cannot be used. A rival that fails,
/// or answers wrong, is listed in the report instead.
pub fn run(plan: &Plan) -> Result<Report<Results>, EngineBenchError> {
    let place = tempfile::Builder::new().prefix("kyro-bench-engine-").tempdir_in(&plan.dir)?;
    let mut report = Report::start("Engine", Pages::Small);
    report.durability = Some(
        "never while loading (synced at the end of a load); always in reads beside writes; reads are of warm files".to_owned(),
    );
    let has = |part| plan.parts.contains(&part);
    let stores = 1 + plan.rivals.len();
    let mut steps = 0;
    if has(Part::Reads) {
        steps += plan.sizes.len() * (plan.repeats + 1);
    }
    if has(Part::Loads) {
        steps += plan.random_sizes.len() * plan.loads * stores;
    }
    if has(Part::Busy) {
        steps += 1;
    }
    let texts = plan.sizes.iter().filter(|size| size.value_bytes >= LEAST_TEXT && size.records <= MOST_TEXTS);
    let texts: Vec<_> = if has(Part::Compressed) { texts.collect() } else { Vec::new() };
    steps += texts.len();
    let mut progress = Progress::new(steps as u64);
    let mut results = Results {
        file_system: machine::file_system(place.path()),
        repeats: plan.repeats,
        gets: plan.gets,
        clock_ns: floor::clock().as_nanos() as f64,
        ..Results::default()
    };
    for contender in std::iter::once(Contender::Kyro).chain(plan.rivals.iter().copied()) {
        results.terms.push((contender.name().to_owned(), contender.shape()));
    }
    if has(Part::Reads) {
        for &size in &plan.sizes {
            let mut cell = Cell::load(plan, Records::new(size, plan.seed), place.path(), &mut progress)?;
            progress.step();
            for repeat in 0..plan.repeats {
                cell.repeat(repeat, &mut progress)?;
                progress.step();
            }
            report.note_memory();
            cell.finish(&mut results, &mut progress)?;
        }
    }
    if has(Part::Loads) {
        for &size in &plan.random_sizes {
            loads::measure(plan, size, place.path(), &mut results, &mut progress)?;
        }
    }
    if has(Part::Busy)
        && let Some(&size) = plan.sizes.first()
    {
        progress.say(&format!("{size}: reads beside writes and compactions"));
        results.busy.push(busy::measure(plan, size, place.path())?);
        progress.step();
    }
    for &size in texts {
        progress.say(&format!("{size}: compressed values of text"));
        results.compressed.push(compressed::measure(plan, size, place.path())?);
        progress.step();
    }
    progress.finish();
    results.note_ratios();
    Ok(report.with(results))
}
