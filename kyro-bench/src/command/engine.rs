//! `kyro-bench engine`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kyro_bench::engine::{self, Part, Plan, Size};
use kyro_bench::kv::{Contender, Failure};

use crate::command::files::{ReportFiles, publish};

/// The arguments.
#[derive(Args)]
pub(crate) struct EngineArgs {
    /// A directory on the file system to be measured; the system's directory for temporary files, unless given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What to measure, by comma. All, unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Records and bytes of each value, as 1000000x16; by comma. Unless given: a million of 16, 64 and 1,024 bytes and
    /// ten million of 16 and 64; loaded in random order: a million of 16, 64 and 1,024.
    #[arg(long, value_name = "RECORDSxBYTES", value_delimiter = ',', value_parser = size)]
    sizes: Vec<Size>,
    /// Who takes part beside kyro-engine, by comma. All that are built in (feature rivals-engines), unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    rivals: Vec<Contender>,
    /// kyro-engine and its floor alone.
    #[arg(long, conflicts_with = "rivals")]
    no_rivals: bool,
    /// Gets of each timed run.
    #[arg(long, default_value_t = 200_000)]
    gets: usize,
    /// Timed runs of each row.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Loads in random order of each store in each size.
    #[arg(long, default_value_t = 2)]
    loads: usize,
    /// Seconds of reading beside writes and compactions.
    #[arg(long, default_value_t = 10.0)]
    busy_seconds: f64,
    /// Less of everything, to see in a few minutes where it stands: a million records, three runs, one load.
    #[arg(long, conflicts_with_all = ["sizes", "full"])]
    quick: bool,
    /// Also ten million in random order, sled with ten million, the engine's other states with ten million.
    #[arg(long)]
    full: bool,
    /// Seed of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    files: ReportFiles,
}

/// Runs the benchmark of the engine.
pub(crate) fn run(arguments: EngineArgs) -> Result<ExitCode, Failure> {
    let EngineArgs { quick, full, .. } = arguments;
    let size = |records, value_bytes| Size { records, value_bytes };
    let small = [size(1_000_000, 16), size(1_000_000, 64), size(1_000_000, 1024)];
    let large = [size(10_000_000, 16), size(10_000_000, 64)];
    let (sizes, random_sizes) = if !arguments.sizes.is_empty() {
        (arguments.sizes.clone(), arguments.sizes)
    } else if quick {
        (small[..2].to_vec(), small[..1].to_vec())
    } else if full {
        ([&small[..], &large].concat(), [&small[..], &large].concat())
    } else {
        ([&small[..], &large].concat(), small.to_vec())
    };
    let (no_rivals, rivals) = (arguments.no_rivals, arguments.rivals);
    let chosen = |contender: &Contender| {
        *contender != Contender::Kyro && !no_rivals && (rivals.is_empty() || rivals.contains(contender))
    };
    let plan = Plan {
        dir: arguments.dir.unwrap_or_else(std::env::temp_dir),
        parts: if arguments.parts.is_empty() { Part::value_variants().to_vec() } else { arguments.parts },
        sizes,
        random_sizes,
        rivals: Contender::value_variants().iter().copied().filter(chosen).collect(),
        most_of_sled: if full { u64::MAX } else { 1_000_000 },
        all_states: full,
        gets: if quick { arguments.gets.min(100_000) } else { arguments.gets.max(1) },
        repeats: if quick { arguments.repeats.min(3) } else { arguments.repeats.max(1) },
        loads: if quick { 1 } else { arguments.loads.max(1) },
        busy: Duration::try_from_secs_f64(if quick { 4.0 } else { arguments.busy_seconds })?,
        seed: arguments.seed,
    };
    publish(&engine::run(&plan)?, "engine", &arguments.files)
}

/// Reads `1000000x16`.
fn size(text: &str) -> Result<Size, String> {
    let wrong = || "wanted are records and bytes of each value, as 1000000x16".to_owned();
    let (records, value_bytes) = text.split_once('x').ok_or_else(wrong)?;
    let size = Size {
        records: records.parse().map_err(|_| wrong())?,
        value_bytes: value_bytes.parse().map_err(|_| wrong())?,
    };
    if size.records == 0 || size.records > u64::from(u32::MAX) {
        return Err("from 1 to 2^32 - 1 records".to_owned());
    }
    if size.value_bytes < 8 { Err("values of 8 bytes at least".to_owned()) } else { Ok(size) }
}
