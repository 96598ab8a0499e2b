//! The benchmark itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::kv::{Contender, Failure, NotKept};
use crate::machine;
use crate::pages::Pages;
use crate::progress::Progress;
use crate::report::{Excluded, Report};
use crate::spread::Spread;
use crate::wal::puts::Cells;
use crate::wal::raw::{self, Method, Processor, Transfer};
use crate::wal::restarts;
use crate::wal::results::{DiskRow, Results};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where: a directory on the file system to be measured. Everything is made in a new directory in it, and removed.
    pub dir: PathBuf,
    /// kyro-bench itself, for the processes that are killed.
    pub program: PathBuf,
    /// What of it.
    pub parts: Vec<Part>,
    /// Who takes part beside kyro-engine.
    pub rivals: Vec<Contender>,
    /// Length of each timed run of writers.
    pub length: Duration,
    /// Timed runs of each row.
    pub repeats: usize,
    /// Bytes of a long transfer, and of a log that is read.
    pub transfer_bytes: u64,
    /// Entries of the tails.
    pub tail: u64,
    /// Entries in runs, one database for each.
    pub stored: Vec<u64>,
    /// Seed of keys and values.
    pub seed: u64,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Long transfers of the disk. (Its durable writes are measured beside the puts.)
    Transfers,
    /// Each put on the disk when it is acknowledged.
    Always,
    /// On the disk within 100 ms.
    Interval,
    /// Batches of 1,000, on the disk some time.
    Never,
    /// Reading the log, and opening after an unclean stop.
    Recovery,
}

/// Why the benchmark stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalBenchError {
    /// kyro-engine failed.
    #[error("kyro-engine failed ({doing})")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: Failure,
    },
    /// kyro-engine did not keep what it acknowledged: nothing of it is worth timing.
    #[error("kyro-engine did not keep what it acknowledged")]
    NotKept(#[from] NotKept),
    /// The log of kyro-wal gave back other frames than were written.
    #[error("the log gave back (frames, bytes, sum) {found:?}, written were {expected:?}")]
    WrongLog {
        /// What was read.
        found: (u64, u64, u64),
        /// What was written.
        expected: (u64, u64, u64),
    },
    /// The log failed.
    #[error("the log failed")]
    Log(#[from] kyro_wal::Error),
    /// A process that works on a database failed.
    #[error("the process that should {verb} a database failed: {reason}")]
    Child {
        /// What it should have done.
        verb: &'static str,
        /// What is known.
        reason: String,
    },
    /// The directory cannot be used.
    #[error("the benchmark's files cannot be used")]
    Io(#[from] io::Error),
}

/// Runs the plan and reports.
///
/// # Errors
/// [`WalBenchError`]: everything that kyro-engine does wrong, and a directory that cannot be used. A rival that fails, or
/// does not keep what it acknowledged, is listed in the report instead.
pub fn run(plan: &Plan) -> Result<Report<Results>, WalBenchError> {
    let dir = tempfile::Builder::new().prefix("kyro-bench-wal-").tempdir_in(&plan.dir)?;
    let mut report = Report::start("Durable write path", Pages::Small);
    report.durability = Some("as each table says".to_owned());
    let has = |part| plan.parts.contains(&part);
    let mut cells = Cells::new(plan, dir.path());
    let recoveries = if has(Part::Recovery) { restarts::steps(plan) } else { 0 };
    let steps = plan.repeats * (cells.turns() + usize::from(has(Part::Transfers))) + recoveries;
    let mut progress = Progress::new(steps as u64);
    let mut transfers = Transfers::default();
    for repeat in 0..plan.repeats {
        if has(Part::Transfers) {
            progress.say(&format!("repeat {}: long transfers", repeat + 1));
            transfers.measure(plan, &dir);
            progress.step();
        }
        cells.repeat(repeat, &mut progress)?;
    }
    cells.verify_again(&mut progress)?;
    let mut results = Results {
        file_system: machine::file_system(dir.path()),
        seconds: plan.length.as_secs_f64(),
        repeats: plan.repeats,
        ..Results::default()
    };
    transfers.into_results(&mut results);
    cells.into_results(&mut results);
    if has(Part::Recovery) {
        restarts::measure(plan, dir.path(), &mut results, &mut progress)?;
    }
    report.note_memory();
    progress.finish();
    results.note_ratios();
    Ok(report.with(results))
}

/// Long transfers of all repeats.
#[derive(Default)]
struct Transfers {
    rates: BTreeMap<Transfer, Vec<f64>>,
    failures: BTreeMap<Transfer, String>,
}

impl Transfers {
    fn measure(&mut self, plan: &Plan, dir: &TempDir) {
        for (transfer, rate) in raw::transfers(dir.path(), plan.transfer_bytes) {
            match rate {
                Ok(rate) => self.rates.entry(transfer).or_default().push(rate),
                Err(reason) => {
                    self.failures.insert(transfer, reason);
                }
            }
        }
    }

    fn into_results(self, results: &mut Results) {
        results.transfers.extend(disk_rows(&self.rates, |transfer| transfer.title().to_owned()));
        let failures = self.failures.into_iter();
        results.excluded.extend(
            failures.map(|(transfer, reason)| Excluded { name: transfer.title().to_owned(), reason }),
        );
    }
}

/// The rows of what the disk can do.
pub(super) fn disk_rows<K: Copy + Ord>(
    rates: &BTreeMap<K, Vec<f64>>,
    title: impl Fn(K) -> String,
) -> Vec<DiskRow> {
    let row =
        |(&key, rates): (&K, &Vec<f64>)| Some(DiskRow { name: title(key), per_second: Spread::of(rates)? });
    rates.iter().filter_map(row).collect()
}

/// Raw rates of 4 KiB writes made durable.
pub(super) type RawRates = BTreeMap<(Processor, Method), f64>;

/// All raw rates, measured for `length` together.
pub(super) fn raw_rates(dir: &Path, length: Duration) -> Result<RawRates, WalBenchError> {
    let each = length / (Processor::ALL.len() * Method::ALL.len()) as u32;
    let mut rates = BTreeMap::new();
    for processor in Processor::ALL {
        for method in Method::ALL {
            match raw::durable_writes(dir, method, processor, each) {
                Ok(rate) => {
                    rates.insert((processor, method), rate);
                }
                // What a file system does not know is no limit of it.
                Err(_) if matches!(method, Method::Unwritten | Method::Direct) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(rates)
}
