//! The command line: verbs, flags and their environment names.

mod compression_args;
mod edge_args;
mod reach_args;
mod role_args;
mod storage_args;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use kyro_engine::Durability;

use crate::build_info;
use crate::decimal::parse_u64;
use crate::inspect::InspectArgs;
use crate::repair::RepairArgs;
use crate::verb::backup::BackupArgs;
use crate::verb::build::BuildArgs;
use crate::verb::compact::CompactArgs;
use crate::verb::completions::CompletionsArgs;
use crate::verb::del::DelArgs;
use crate::verb::dump::DumpArgs;
use crate::verb::get::GetArgs;
use crate::verb::healthcheck::HealthcheckArgs;
use crate::verb::man::ManArgs;
use crate::verb::put::PutArgs;
use crate::verb::restore::RestoreArgs;
use crate::verb::scan::ScanArgs;
use crate::verb::stats::StatsArgs;
use crate::verb::top::TopArgs;
use crate::verb::version::{PruneArgs, PushArgs, RollbackArgs, VersionsArgs};
use crate::verify::VerifyArgs;
pub(crate) use compression_args::CompressionArgs;
pub(crate) use edge_args::EdgeArgs;
pub(crate) use reach_args::{Format, InputArgs, ReachArgs};
pub(crate) use role_args::RoleArgs;
pub(crate) use storage_args::StorageArgs;

/// What the process's end says, for every verb.
const EXIT_CODES: &str = "\
Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found,
4 damage found, 5 another process has the directory. NO_COLOR switches colours off.";

/// A durable u64-to-bytes store over HTTP, whose read path is a learned index.
#[derive(Debug, Parser)]
#[command(name = "kyro-http", version = build_info::LONG_VERSION, about, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Directory of the database; made when it is not there [default: ./data]
    #[arg(long, global = true, display_order = 900, env = "KYRODB_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Form of the log lines on stderr
    #[arg(
        long,
        global = true,
        display_order = 901,
        env = "KYRODB_LOG",
        value_name = "FORM",
        default_value = "text"
    )]
    pub(crate) log: LogForm,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Serve the database over HTTP
    Serve(Box<ServeArgs>),
    /// Write the value of a key to stdout
    Get(GetArgs),
    /// Set a key
    Put(PutArgs),
    /// Remove a key, or a range of keys
    Del(DelArgs),
    /// List entries in the order of their keys
    Scan(ScanArgs),
    /// Load an NDJSON, CSV or binary file, into a directory or into a running server
    Load(Box<LoadArgs>),
    /// Write everything into an NDJSON, CSV or binary file
    Dump(DumpArgs),
    /// Build a new data directory from a file, with its verified index, at full speed
    Build(BuildArgs),
    /// Read and check everything in a data directory; change nothing
    Verify(VerifyArgs),
    /// Salvage a damaged data directory into a new one; say everything that is lost
    Repair(RepairArgs),
    /// Show one file of a database: log segment, run, index or manifest
    Inspect(InspectArgs),
    /// Make a consistent copy of a database, of one in use too
    Backup(BackupArgs),
    /// Make a data directory from a backup, verified before and after
    Restore(RestoreArgs),
    /// Replace the whole content by a built data set, in one step
    Push(PushArgs),
    /// Make a version that is kept the content again
    Rollback(RollbackArgs),
    /// List the versions of the content
    Versions(VersionsArgs),
    /// Forget a version that is kept
    Prune(PruneArgs),
    /// Merge everything into one run, without what was overwritten or deleted
    Compact(CompactArgs),
    /// Show the database's numbers
    Stats(StatsArgs),
    /// Watch a server: rates, latencies, log, delta, runs, tasks
    Top(TopArgs),
    /// Ask a server whether it is ready
    Healthcheck(HealthcheckArgs),
    /// Say where the load generator is
    BenchClient,
    /// Write a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address or name to listen on
    #[arg(default_value = "127.0.0.1", env = "KYRODB_HOST")]
    pub(crate) host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(default_value_t = 8080, env = "KYRODB_PORT")]
    pub(crate) port: u16,
    /// A TOML file with a key for each flag below, as in `port = 8080`; environment and flags win over it
    #[arg(long, env = "KYRODB_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print every setting with its value and where it comes from, and exit
    #[arg(long)]
    pub(crate) print_config: bool,

    #[command(flatten)]
    pub(crate) storage: StorageArgs,

    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
    #[command(flatten)]
    pub(crate) roles: RoleArgs,
    /// Serve a network address without any token
    #[arg(long, env = "KYRODB_INSECURE", value_name = "BOOL", default_value = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        action = ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Access")]
    pub(crate) insecure: bool,

    #[command(flatten)]
    pub(crate) edge: EdgeArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) rates: RateArgs,
}

/// Tokens that may do everything, for the server and for clients of one.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Bearer token; the environment or a file keeps it out of the process list
    #[arg(
        long,
        env = "KYRODB_AUTH_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        help_heading = "Access"
    )]
    pub(crate) auth_token: Option<String>,
    /// A file of bearer tokens, one a line, readable by its owner alone
    #[arg(long, env = "KYRODB_AUTH_TOKEN_FILE", value_name = "FILE", help_heading = "Access")]
    pub(crate) auth_token_file: Option<PathBuf>,
}

/// What a client may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Largest value in bytes
    #[arg(long, env = "KYRODB_MAX_VALUE_BYTES", value_name = "BYTES", default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_value_bytes: u32,
    /// Largest request body in bytes
    #[arg(long, env = "KYRODB_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 32 << 20)]
    pub(crate) max_body_bytes: u64,
    /// Memory for request bodies over 64 KiB, all connections together
    #[arg(long, env = "KYRODB_BODY_MEMORY_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    pub(crate) body_memory_bytes: u64,
    /// Connections at a time
    #[arg(long, env = "KYRODB_MAX_CONNECTIONS", value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,
    /// Event streams and replays at a time
    #[arg(long, env = "KYRODB_MAX_STREAMS", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_streams: u32,
    /// For a request's head, from its first byte
    #[arg(long, env = "KYRODB_HEADER_TIMEOUT", value_name = "SECS", default_value = "10", value_parser = seconds)]
    pub(crate) header_timeout: Duration,
    /// For a request's body
    #[arg(long, env = "KYRODB_BODY_TIMEOUT", value_name = "SECS", default_value = "60", value_parser = seconds)]
    pub(crate) body_timeout: Duration,
    /// Between the requests of a connection
    #[arg(long, env = "KYRODB_IDLE_TIMEOUT", value_name = "SECS", default_value = "75", value_parser = seconds)]
    pub(crate) idle_timeout: Duration,
    /// Without the client taking any of its answer
    #[arg(long, env = "KYRODB_WRITE_TIMEOUT", value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub(crate) write_timeout: Duration,
    /// For the requests under way when the server is told to stop
    #[arg(long, env = "KYRODB_DRAIN_TIMEOUT", value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub(crate) drain_timeout: Duration,
}

/// Requests a second of each client address; 0 = no limit.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rate limits, per client address (0 = off)")]
pub(crate) struct RateArgs {
    /// Snapshots, compactions, index builds and warm-ups a second
    #[arg(long = "rl-admin-rps", env = "KYRODB_RL_ADMIN_RPS", value_name = "N", default_value_t = 2.0, value_parser = rate)]
    pub(crate) admin_rps: f64,
    /// Of those at once
    #[arg(long = "rl-admin-burst", env = "KYRODB_RL_ADMIN_BURST", value_name = "N", default_value_t = 5)]
    pub(crate) admin_burst: u32,
    /// Reads and writes a second
    #[arg(long = "rl-data-rps", env = "KYRODB_RL_DATA_RPS", value_name = "N", default_value_t = 5000.0, value_parser = rate)]
    pub(crate) data_rps: f64,
    /// Of those at once
    #[arg(long = "rl-data-burst", env = "KYRODB_RL_DATA_BURST", value_name = "N", default_value_t = 10_000)]
    pub(crate) data_burst: u32,
    /// Requests without a valid token a second
    #[arg(long = "rl-auth-failure-rps", env = "KYRODB_RL_AUTH_FAILURE_RPS", value_name = "N", default_value_t = 10.0, value_parser = rate)]
    pub(crate) auth_failure_rps: f64,
    /// Of those at once
    #[arg(
        long = "rl-auth-failure-burst",
        env = "KYRODB_RL_AUTH_FAILURE_BURST",
        value_name = "N",
        default_value_t = 100
    )]
    pub(crate) auth_failure_burst: u32,
}

/// `load`
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Write the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Without --url: when a batch counts as loaded, as for `serve`
    #[arg(long, env = "KYRODB_DURABILITY", value_name = "MODE", default_value = "always", value_parser = durability, help_heading = "Into a directory")]
    pub(crate) durability: Durability,
    #[command(flatten, next_help_heading = "Into a directory")]
    pub(crate) compression: CompressionArgs,
    /// Records a batch
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Into a directory")]
    pub(crate) batch: u32,

    /// Load into the server at this address, http://HOST:PORT
    #[arg(long, value_name = "URL", help_heading = "Into a server")]
    pub(crate) url: Option<String>,
    /// Connections to the server, each a stream to its limits
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Into a server")]
    pub(crate) concurrency: u32,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
}

fn durability(text: &str) -> Result<Durability, String> {
    match text.split_once(':') {
        None if text == "always" => Ok(Durability::Always),
        None if text == "never" => Ok(Durability::Never),
        Some(("interval", millis)) => match millis.parse() {
            Ok(millis @ 1..=3_600_000_u64) => Ok(Durability::Interval(Duration::from_millis(millis))),
            _ => Err("the interval must be 1 to 3600000 milliseconds, as in interval:100".to_owned()),
        },
        _ => Err("must be always, interval:MS or never".to_owned()),
    }
}

/// A key, as keys are written everywhere.
pub(crate) fn key(text: &str) -> Result<u64, String> {
    let most = u64::MAX;
    parse_u64(text).map_err(|reason| format!("must be an integer from 0 to {most}, it {reason}"))
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    if !(0.01..=86_400.0).contains(&seconds) {
        return Err("must be between 0.01 and 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("must be between 0 and 1".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.0..=1e9).contains(&rate) { Ok(rate) } else { Err("must be between 0 and 1000000000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_data_directory_is_taken_before_and_after_the_verb() {
        for line in [
            "kyro-http --data-dir /d serve",
            "kyro-http serve --data-dir /d",
            "kyro-http serve 0.0.0.0 1 --data-dir=/d",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.data_dir, Some(PathBuf::from("/d")), "{line}");
        }
    }

    #[test]
    fn modes_and_times_are_checked() {
        assert_eq!(durability("always"), Ok(Durability::Always));
        assert_eq!(durability("interval:100"), Ok(Durability::Interval(Duration::from_millis(100))));
        assert_eq!(durability("never"), Ok(Durability::Never));
        for wrong in [
            "",
            "Always",
            "interval",
            "interval:",
            "interval:0",
            "interval:-1",
            "interval:1s",
            "always:1",
            "never:1",
        ] {
            assert!(durability(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0", "-1", "nan", "inf", "1s", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
        assert!(ratio("0.2").is_ok() && ratio("1.5").is_err() && ratio("NaN").is_err());
    }
}
