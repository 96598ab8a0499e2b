//! The plan of the benchmark, and how it runs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::kv::Contender;
use crate::latency::histogram;
use crate::machine;
use crate::pages::Pages;
use crate::progress::Progress;
use crate::report::{Excluded, Report};
use crate::ycsb::child::{Loaded, Order, Ran};
use crate::ycsb::contestant::Contestant;
use crate::ycsb::results::{Latency, ResourceRow, Results};
use crate::ycsb::workload::{Mode, Workload};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A directory on the file system to be measured; everything is made below it and removed.
    pub dir: PathBuf,
    /// kyro-bench itself, which every store's process is.
    pub program: PathBuf,
    /// Who takes part beside kyro-engine.
    pub rivals: Vec<Contender>,
    /// What acknowledgements mean; all that is run is run in each of them.
    pub modes: Vec<Mode>,
    /// Which mixes.
    pub workloads: Vec<Workload>,
    /// Records at the start.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Operations of a run in which nothing waits for the disk.
    pub operations: u64,
    /// Operations of a run in which every write does.
    pub durable_operations: u64,
    /// Threads of the latter; of the former there is one.
    pub writers: u64,
    /// How long a run may take; it ends with fewer operations then.
    pub longest: Duration,
    /// Runs of each store in each workload.
    pub repeats: u64,
    /// Seed of keys, values and choices.
    pub seed: u64,
}

/// Why the benchmark stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RivalsError {
    /// kyro-engine failed, or answered wrong.
    #[error("kyro-engine failed ({doing}): {reason}")]
    Kyro {
        /// What was being done.
        doing: String,
        /// What was said.
        reason: String,
    },
    /// The directory cannot be used.
    #[error("the benchmark's files cannot be used")]
    Io(#[from] io::Error),
}

/// A store with what it has done.
struct Turn {
    contestant: Contestant,
    loaded: Loaded,
    runs: Vec<Runs>,
}

/// All runs of a store in one workload.
struct Runs {
    workload: Workload,
    rates: Vec<f64>,
    operations: u64,
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

/// Runs the plan and reports.
///
/// # Errors
/// [`RivalsError`]: everything that kyro-engine does wrong, and a directory that cannot be used. A rival that fails, or
/// answers wrong, is listed in the report instead.
pub fn run(plan: &Plan) -> Result<Report<Results>, RivalsError> {
    let place = tempfile::Builder::new().prefix("kyro-bench-rivals-").tempdir_in(&plan.dir)?;
    let mut report = Report::start("Rivals", Pages::Small);
    let modes: Vec<&str> = plan.modes.iter().map(|mode| mode.name()).collect();
    report.durability =
        Some(format!("{}, the same for every store; loaded without syncs", modes.join(" and ")));
    let stores = 1 + plan.rivals.len() as u64;
    let runs = plan.repeats * plan.workloads.len() as u64;
    let mut progress = Progress::new(plan.modes.len() as u64 * stores * (2 + runs));
    let mut results = Results {
        file_system: machine::file_system(place.path()),
        records: plan.records,
        value_bytes: plan.value_bytes,
        repeats: plan.repeats,
        longest_seconds: plan.longest.as_secs_f64(),
        ..Results::default()
    };
    for contender in std::iter::once(Contender::Kyro).chain(plan.rivals.iter().copied()) {
        results.terms.push((contender.name().to_owned(), contender.terms()));
    }
    for &mode in &plan.modes {
        one_mode(plan, mode, place.path(), &mut results, &mut progress)?;
    }
    progress.finish();
    results.note_ratios();
    Ok(report.with(results))
}

/// Notes a failure: of kyro-engine it is the end.
fn failed(
    contender: Contender,
    doing: String,
    reason: String,
    results: &mut Results,
    progress: &Progress,
) -> Result<(), RivalsError> {
    if contender == Contender::Kyro {
        return Err(RivalsError::Kyro { doing, reason });
    }
    progress.note(&format!("{}, {doing}: {reason}", contender.name()));
    results
        .excluded
        .push(Excluded { name: contender.name().to_owned(), reason: format!("{doing}: {reason}") });
    Ok(())
}

fn one_mode(
    plan: &Plan,
    mode: Mode,
    place: &Path,
    results: &mut Results,
    progress: &mut Progress,
) -> Result<(), RivalsError> {
    let mut turns: Vec<Turn> = Vec::new();
    for contender in std::iter::once(Contender::Kyro).chain(plan.rivals.iter().copied()) {
        progress.say(&format!("{}: loading {}", mode.name(), contender.name()));
        match Contestant::start(plan, contender, mode, place) {
            Ok((contestant, loaded)) => turns.push(Turn { contestant, loaded, runs: Vec::new() }),
            Err(reason) => failed(contender, format!("{}, loading", mode.name()), reason, results, progress)?,
        }
        progress.step();
    }
    let (threads, operations) = match mode {
        Mode::Never => (1, plan.operations),
        Mode::Always => (plan.writers.max(1), plan.durable_operations),
    };
    let milliseconds = u64::try_from(plan.longest.as_millis()).unwrap_or(u64::MAX);
    for repeat in 0..plan.repeats {
        for &workload in &plan.workloads {
            let order = Order { workload, repeat, threads, operations, milliseconds };
            if !turns.is_empty() {
                let start = repeat as usize % turns.len();
                turns.rotate_left(start);
            }
            let mut kept = Vec::new();
            for mut turn in std::mem::take(&mut turns) {
                let contender = turn.contestant.contender;
                progress.say(&format!(
                    "{}, repeat {}: {workload:?}, {}",
                    mode.name(),
                    repeat + 1,
                    contender.name()
                ));
                match turn.contestant.run(order) {
                    Ok(ran) => {
                        note(&mut turn, workload, &ran);
                        kept.push(turn);
                    }
                    Err(reason) => {
                        let doing = format!("{}, workload {workload:?}", mode.name());
                        failed(contender, doing, reason, results, progress)?;
                    }
                }
                progress.step();
            }
            turns = kept;
        }
    }
    // In the order of the command line, whoever was first in the last repeat.
    turns.sort_by_key(|turn| turn.contestant.contender as u8);
    for Turn { contestant, loaded, runs } in turns {
        let contender = contestant.contender;
        progress.say(&format!("{}: closing and comparing {}", mode.name(), contender.name()));
        match contestant.finish() {
            Ok(finished) => {
                let resources = ResourceRow::new(contender, mode, plan, &loaded, &finished);
                results.resources.push(resources);
                for Runs { workload, rates, operations, reads, writes } in runs {
                    let latency = |histogram: &Histogram<u64>| {
                        (!histogram.is_empty()).then(|| Latency::from(histogram))
                    };
                    let (reads, writes) = (latency(&reads), latency(&writes));
                    results.note(contender, mode, (workload, threads, operations), rates, (reads, writes));
                }
            }
            Err(reason) => {
                failed(contender, format!("{}, at the end", mode.name()), reason, results, progress)?;
            }
        }
        progress.step();
    }
    Ok(())
}

fn note(turn: &mut Turn, workload: Workload, ran: &Ran) {
    let place = turn.runs.iter().position(|runs| runs.workload == workload).unwrap_or_else(|| {
        let (reads, writes) = (histogram(), histogram());
        turn.runs.push(Runs { workload, rates: Vec::new(), operations: 0, reads, writes });
        turn.runs.len() - 1
    });
    let Runs { rates, operations, reads, writes, .. } = &mut turn.runs[place];
    rates.push(ran.operations as f64 / ran.seconds);
    *operations += ran.operations;
    for (histogram, pairs) in [(reads, &ran.reads), (writes, &ran.writes)] {
        for &(nanos, count) in pairs {
            histogram.saturating_record_n(nanos, count);
        }
    }
}
