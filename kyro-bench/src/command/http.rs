//! `kyro-bench http`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kyro_bench::http::{self, Plan};
use kyro_bench::kv::Failure;

use crate::command::files::{ReportFiles, publish};
use crate::command::server_program::server_program;

/// The arguments.
#[derive(Args)]
pub(crate) struct HttpArgs {
    /// The server's program; kyro-http beside this program, unless given.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// A directory on the file system to be measured; the system's directory for temporary files, unless given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The processor of the server, and of the embedded engine.
    #[arg(long, default_value_t = 0)]
    server_processor: usize,
    /// The processor of the client.
    #[arg(long, default_value_t = 1)]
    client_processor: usize,
    /// Records that the server holds.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Connections of which the memory is measured.
    #[arg(long, default_value_t = 2_000)]
    idle_connections: usize,
    /// Seconds of each timed run.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Timed runs of each row.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Less of everything, to see in a minute where it stands.
    #[arg(long)]
    quick: bool,
    /// Seed of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    files: ReportFiles,
}

/// Runs the benchmark of the server.
pub(crate) fn run(arguments: HttpArgs) -> Result<ExitCode, Failure> {
    let HttpArgs { quick, .. } = arguments;
    let plan = Plan {
        dir: arguments.dir.unwrap_or_else(std::env::temp_dir),
        server: server_program(arguments.server)?,
        server_processor: arguments.server_processor,
        client_processor: arguments.client_processor,
        records: arguments.records.max(1),
        value_bytes: arguments.value_bytes.max(8),
        connections: arguments.connections.max(1),
        idle_connections: arguments.idle_connections.max(1),
        length: Duration::try_from_secs_f64(if quick {
            arguments.seconds.min(1.0)
        } else {
            arguments.seconds
        })?,
        repeats: if quick { arguments.repeats.min(3) } else { arguments.repeats.max(1) },
        seed: arguments.seed,
    };
    publish(&http::run(&plan)?, "http", &arguments.files)
}
