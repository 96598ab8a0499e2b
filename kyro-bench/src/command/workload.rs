//! `kyro-bench workload`.
#![expect(clippy::print_stderr, reason = "progress of a command")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kyro_bench::http::source::Op;
use kyro_bench::http::workload::{self, Outcome, Plan};
use kyro_bench::kv::Failure;
use kyro_bench::pages::Pages;
use kyro_bench::report::Report;

use crate::command::files::{ReportFiles, publish};

/// The arguments.
#[derive(Args)]
pub(crate) struct WorkloadArgs {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    base: String,
    /// Its bearer token.
    #[arg(long, value_name = "TOKEN", env = "KYRODB_AUTH_TOKEN", hide_env_values = true)]
    auth_token: Option<String>,
    /// Entries that are put first, then flushed and indexed; 0: reads take it that they are there.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    load_n: u64,
    /// Entries that are read, where nothing is put first.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    records: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "N", default_value_t = 64)]
    val_bytes: usize,
    /// Connections that put.
    #[arg(long, value_name = "N", default_value_t = 64)]
    load_concurrency: usize,
    /// Connections that read.
    #[arg(long, value_name = "N", default_value_t = 64)]
    read_concurrency: usize,
    /// Requests on their way on each.
    #[arg(long, value_name = "N", default_value_t = 1)]
    depth: usize,
    /// How long is read.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    read_seconds: f64,
    /// What is asked.
    #[arg(long, value_enum, default_value_t = Op::GetFast)]
    op: Op,
    /// Keys of an mget.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    batch: usize,
    /// Requests a second, at random times: open loop, corrected for coordinated omission. Unless given, as fast as
    /// answers come.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Share of reads of absent keys, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    misses: f64,
    /// How keys are chosen.
    #[arg(long, value_enum, default_value_t = Dist::Uniform)]
    dist: Dist,
    /// Theta of Zipf's law, between 0 and 1.
    #[arg(long, value_name = "THETA", default_value_t = 0.99)]
    zipf_theta: f64,
    /// Whether index and data are brought into memory before reading (POST /v1/warmup), and the first tenth does not
    /// count. Cold: neither; start the server anew, with an empty page cache, for a cold disk.
    #[arg(long, value_enum, default_value_t = Regime::Warm)]
    regime: Regime,
    /// Seed of keys, values and choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A CSV file that gets a line; with a heading if it is new.
    #[arg(long, value_name = "FILE")]
    out_csv: Option<PathBuf>,
    #[command(flatten)]
    files: ReportFiles,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dist {
    Uniform,
    Zipf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Regime {
    Warm,
    Cold,
}

/// Runs the workload.
pub(crate) fn run(arguments: WorkloadArgs) -> Result<ExitCode, Failure> {
    let theta = arguments.zipf_theta;
    if arguments.dist == Dist::Zipf && !(theta > 0.0 && theta < 1.0) {
        return Err(format!("--zipf-theta must lie between 0 and 1, got {theta}").into());
    }
    if !(0.0..=1.0).contains(&arguments.misses) {
        return Err(format!("--misses must lie between 0 and 1, got {}", arguments.misses).into());
    }
    if arguments.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
        return Err("--rate must be more than 0".into());
    }
    let load = (arguments.load_n > 0).then_some(arguments.load_n);
    let plan = Plan {
        base: arguments.base,
        token: arguments.auth_token,
        load,
        records: load.unwrap_or(arguments.records).max(1),
        value_bytes: arguments.val_bytes,
        load_connections: arguments.load_concurrency.max(1),
        connections: arguments.read_concurrency.max(1),
        depth: arguments.depth.max(1),
        length: Duration::try_from_secs_f64(arguments.read_seconds)?,
        op: arguments.op,
        batch: arguments.batch.max(1),
        misses: thousandths(arguments.misses),
        zipf: (arguments.dist == Dist::Zipf).then_some(theta),
        rate: arguments.rate,
        warm: arguments.regime == Regime::Warm,
        seed: arguments.seed,
    };
    let mut report = Report::start("HTTP workload", Pages::Small);
    // The token is not for a file.
    report.command = without_token(&report.command);
    let outcome = workload::run(&plan, &mut |what| eprintln!("{what}"))?;
    report.durability = Some(outcome.durability.clone());
    if let Some(path) = &arguments.out_csv {
        append(path, &outcome)?;
    }
    publish(&report.with(outcome), "workload", &arguments.files)
}

/// A share from 0 to 1 in thousandths.
#[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
fn thousandths(share: f64) -> u64 {
    (share * 1e3).round() as u64
}

/// A command without the token that follows its flag.
fn without_token(command: &str) -> String {
    let mut hidden = false;
    let words = command.split(' ').map(|word| {
        let hide = std::mem::replace(&mut hidden, word == "--auth-token");
        if hide || word.starts_with("--auth-token=") { "…" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn append(path: &Path, outcome: &Outcome) -> Result<(), Failure> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let heading = if file.metadata()?.len() == 0 { Outcome::CSV_COLUMNS } else { "" };
    let lines = if heading.is_empty() { outcome.csv() } else { format!("{heading}\n{}", outcome.csv()) };
    Ok(writeln!(file, "{lines}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_out_of_reports() {
        assert_eq!(
            without_token("kyro-bench workload --auth-token secret --op put"),
            "kyro-bench workload --auth-token … --op put"
        );
        assert_eq!(without_token("x --auth-token=secret"), "x …");
    }
}
