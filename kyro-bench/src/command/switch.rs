//! `kyro-bench switch`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kyro_bench::http::switch::{self, Plan};
use kyro_bench::kv::Failure;

use crate::command::files::{ReportFiles, publish};
use crate::command::server_program::server_program;

/// The arguments.
#[derive(Args)]
pub(crate) struct SwitchArgs {
    /// The server's program; kyro-http beside this program, unless given.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// A directory on the file system to be measured; the system's directory for temporary files, unless given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Records of each data set.
    #[arg(long, default_value_t = 500_000)]
    records: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests a second, at random times: open loop, corrected for coordinated omission.
    #[arg(long, default_value_t = 5_000.0)]
    rate: f64,
    /// Keys of an mget.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Seconds of each timed run.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Timed runs of each row; there are four rows.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Seed of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    files: ReportFiles,
}

/// Runs it.
pub(crate) fn run(arguments: SwitchArgs) -> Result<ExitCode, Failure> {
    if !(arguments.rate > 0.0 && arguments.rate.is_finite()) {
        return Err("--rate must be more than 0".into());
    }
    let plan = Plan {
        dir: arguments.dir.unwrap_or_else(std::env::temp_dir),
        server: server_program(arguments.server)?,
        records: arguments.records.max(1),
        value_bytes: arguments.value_bytes.max(8),
        connections: arguments.connections.max(1),
        rate: arguments.rate,
        batch: arguments.batch.clamp(1, 10_000),
        length: Duration::try_from_secs_f64(arguments.seconds)?,
        repeats: arguments.repeats.max(1),
        seed: arguments.seed,
    };
    publish(&switch::run(&plan)?, "switch", &arguments.files)
}
