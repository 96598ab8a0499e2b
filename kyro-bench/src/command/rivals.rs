//! `kyro-bench rivals`, and the process of each store.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kyro_bench::kv::{Contender, Failure};
use kyro_bench::ycsb::{self, ChildPlan, Mode, Plan, Workload};

use crate::command::files::{ReportFiles, publish};

/// The arguments.
#[derive(Args)]
pub(crate) struct RivalsArgs {
    /// A directory on the file system to be measured; the system's directory for temporary files, unless given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Who takes part beside kyro-engine, by comma: all that are built in (feature rivals-engines; `cargo xtask bench`
    /// builds RocksDB in when it is named here), unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    rivals: Vec<Contender>,
    /// kyro-engine alone.
    #[arg(long, conflicts_with = "rivals")]
    no_rivals: bool,
    /// Which mixes, by comma. All, unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// What an acknowledgement means, by comma. Both, unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    durability: Vec<Mode>,
    /// Records at the start.
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// Bytes of each value, 24 at least.
    #[arg(long, value_name = "N", default_value_t = 100)]
    value_bytes: usize,
    /// Operations of a run with durability never.
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    /// Operations of a run with durability always.
    #[arg(long, value_name = "N")]
    durable_operations: Option<u64>,
    /// Threads with durability always; with never there is one.
    #[arg(long, value_name = "N", default_value_t = 16)]
    writers: u64,
    /// Seconds after which a run ends with fewer operations.
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Runs of each store in each workload.
    #[arg(long, value_name = "N")]
    repeats: Option<u64>,
    /// Less of everything, to see in half a minute where it stands.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// More of everything.
    #[arg(long)]
    full: bool,
    /// Seed of keys, values and choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    files: ReportFiles,
}

/// Runs the workloads over all stores.
pub(crate) fn run(arguments: RivalsArgs) -> Result<ExitCode, Failure> {
    let RivalsArgs { no_rivals, rivals, .. } = arguments;
    let chosen = |contender: &Contender| {
        *contender != Contender::Kyro && !no_rivals && (rivals.is_empty() || rivals.contains(contender))
    };
    let all = |given: Vec<Workload>| {
        if given.is_empty() { Workload::value_variants().to_vec() } else { given }
    };
    // Records, operations, durable operations, seconds, repeats.
    let (records, operations, durable, seconds, repeats) = match (arguments.quick, arguments.full) {
        (true, _) => (100_000, 20_000, 400, 0.5, 2),
        (_, true) => (10_000_000, 1_000_000, 50_000, 20.0, 5),
        _ => (1_000_000, 200_000, 10_000, 4.0, 3),
    };
    let plan = Plan {
        dir: arguments.dir.unwrap_or_else(std::env::temp_dir),
        program: std::env::current_exe()?,
        rivals: Contender::value_variants().iter().copied().filter(chosen).collect(),
        modes: if arguments.durability.is_empty() {
            Mode::value_variants().to_vec()
        } else {
            arguments.durability
        },
        workloads: all(arguments.workloads),
        records: arguments.records.unwrap_or(records).max(1),
        value_bytes: arguments.value_bytes,
        operations: arguments.operations.unwrap_or(operations).max(1),
        durable_operations: arguments.durable_operations.unwrap_or(durable).max(1),
        writers: arguments.writers.max(1),
        longest: Duration::try_from_secs_f64(arguments.seconds.unwrap_or(seconds))?,
        repeats: arguments.repeats.unwrap_or(repeats).max(1),
        seed: arguments.seed,
    };
    publish(&ycsb::run(&plan)?, "rivals", &arguments.files)
}

/// Is the process of one store.
pub(crate) fn child(plan: &ChildPlan) -> ExitCode {
    // What went wrong has been told to the parent, who tells it.
    let served = ycsb::serve(plan, io::stdin().lock(), io::stdout().lock());
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
