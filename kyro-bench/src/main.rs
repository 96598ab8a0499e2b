//! `kyro-bench`: every performance claim, as commands.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "results and errors of a command")]

mod command;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kyro_bench::dataset::{DataSet, sosd};
use kyro_bench::http::bare;
use kyro_bench::index::{self, Contender, Plan, Source};
use kyro_bench::instructions::{self, HotPath};
use kyro_bench::kv;
use kyro_bench::pages::{self, Pages};
use kyro_bench::wal::tail::{self, TailedDatabase};
use kyro_bench::wal::{self, Part};
use kyro_bench::ycsb::{self, ChildPlan};

use crate::command::compare::{self, CompareArgs};
use crate::command::engine::{self, EngineArgs};
use crate::command::files::{ReportFiles, publish};
use crate::command::http::HttpArgs;
use crate::command::plot::{self, PlotArgs, SummaryArgs};
use crate::command::rivals::RivalsArgs;
use crate::command::switch::SwitchArgs;
use crate::command::workload::{self, WorkloadArgs};

/// Benchmarks of KyroDB: seeded data, verified answers, interleaved repeats.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How long it takes to find a key, for kyro-rmi and everything else that answers the same question.
    Index(IndexArgs),
    /// The durable write path: puts a second beside what the disk can do and other stores make of it; recovery.
    Wal(WalArgs),
    /// Gets, scans, loads and disk space beside other stores and beside what the memory allows; reads under load.
    Engine(EngineArgs),
    /// The server on one processor, beside bare hyper and the embedded engine.
    Http(HttpArgs),
    /// YCSB A to F over kyro-engine and other stores, with the memory, disk and writes that they take.
    Rivals(RivalsArgs),
    /// Loads a server that runs somewhere, reads from it, and checks every answer.
    Workload(WorkloadArgs),
    /// Reads while data sets are pushed and rolled back without a pause: percentiles beside those of a server left alone.
    Switch(SwitchArgs),
    /// Compares two records of one group; fails when a ratio has become worse than allowed.
    Compare(CompareArgs),
    /// Draws the pictures of a report, or of a workload's CSV, again.
    Plot(PlotArgs),
    /// Makes one report of the reports of all groups, with pictures: what `cargo xtask bench` ends with.
    Summary(SummaryArgs),
    /// Takes a hot path many times: what `cargo xtask instructions` counts.
    #[command(hide = true)]
    Instructions {
        /// Which.
        #[arg(value_enum)]
        path: HotPath,
    },
    /// Is one store of `rivals`.
    #[command(name = ycsb::COMMAND, hide = true)]
    RivalChild(ChildPlan),
    /// Answers every request with the same bytes: what `http` compares the server with.
    #[command(name = bare::COMMAND, hide = true)]
    BareHyper,
    /// Works on a database and waits to be killed: what `wal` starts.
    #[command(name = wal::recovery::CHILD, hide = true)]
    WalChild {
        #[command(subcommand)]
        command: WalChildCommand,
    },
    /// Key sets: list them, or write one as a SOSD file for other benchmarks.
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
}

#[derive(Args)]
struct IndexArgs {
    /// How many keys; may be given several times.
    #[arg(long, default_values_t = [1_000_000, 10_000_000])]
    keys: Vec<usize>,
    /// A generated key set; may be given several times. All, unless a file is given.
    #[arg(long, value_name = "SET", value_parser = data_set)]
    data: Vec<DataSet>,
    /// A SOSD file; may be given several times.
    #[arg(long, value_name = "FILE")]
    sosd: Vec<PathBuf>,
    /// Who takes part beside kyro-rmi, by comma. All, unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    rivals: Vec<Contender>,
    /// kyro-rmi and the floor alone.
    #[arg(long, conflicts_with = "rivals")]
    no_rivals: bool,
    /// Lookups of each timed run.
    #[arg(long, default_value_t = 100_000)]
    lookups: usize,
    /// Timed runs of each contender in each pattern.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Build and verify everything, time nothing.
    #[arg(long)]
    verify_only: bool,
    /// Seed of keys and lookups.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pages of all memory: the key column and what the contenders allocate.
    #[arg(long, value_enum, default_value_t = Pages::Huge)]
    pages: Pages,
    #[command(flatten)]
    files: ReportFiles,
}

#[derive(Args)]
struct WalArgs {
    /// A directory on the file system to be measured; the system's directory for temporary files, unless given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What to measure, by comma. All, unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Who takes part beside kyro-engine, by comma. All that are built in (feature rivals-engines), unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    rivals: Vec<kv::Contender>,
    /// kyro-engine and the disk alone.
    #[arg(long, conflicts_with = "rivals")]
    no_rivals: bool,
    /// Length of each timed run of writers, in seconds.
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    seconds: f64,
    /// Timed runs of each row.
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: usize,
    /// Every row once, on very little: shows that it works, and nothing else.
    #[arg(long, conflicts_with_all = ["seconds", "repeats"])]
    quick: bool,
    /// MiB of a long transfer, and of a log that is read.
    #[arg(long, value_name = "N", default_value_t = 512)]
    transfer_mib: u64,
    /// Entries in the log alone when a database is opened after an unclean stop.
    #[arg(long, default_value_t = 1_000_000)]
    tail: u64,
    /// Entries in runs in that database; may be given several times.
    #[arg(long, default_values_t = [1_000_000, 10_000_000])]
    stored: Vec<u64>,
    /// Seed of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    files: ReportFiles,
}

#[derive(Subcommand)]
enum WalChildCommand {
    /// Makes it.
    Fill(TailedDatabase),
    /// Opens it.
    Open {
        #[command(flatten)]
        database: TailedDatabase,
        /// Reads everything back, not only the tail and a sample.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Subcommand)]
enum DataCommand {
    /// Names and shapes.
    List,
    /// Writes a set as a SOSD file: a u64 count, then the keys.
    Write {
        /// Which set.
        #[arg(value_parser = data_set)]
        set: DataSet,
        /// The file.
        file: PathBuf,
        /// How many keys.
        #[arg(long, default_value_t = 10_000_000)]
        keys: usize,
        /// Seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn data_set(name: &str) -> Result<DataSet, String> {
    DataSet::named(name).ok_or_else(|| {
        let names: Vec<&str> = DataSet::ALL.into_iter().map(DataSet::name).collect();
        format!("no such set; there are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Index(arguments) => index(arguments),
        Command::Wal(arguments) => wal(arguments),
        Command::Engine(arguments) => engine::run(arguments),
        Command::Http(arguments) => command::http::run(arguments),
        Command::Rivals(arguments) => command::rivals::run(arguments),
        Command::Instructions { path } => tempfile::tempdir()
            .map_err(Into::into)
            .and_then(|dir| instructions::take(path, &dir.path().join("database")))
            .map(|()| ExitCode::SUCCESS),
        Command::RivalChild(plan) => Ok(command::rivals::child(&plan)),
        Command::Workload(arguments) => workload::run(arguments),
        Command::Switch(arguments) => command::switch::run(arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Plot(arguments) => plot::run(&arguments),
        Command::Summary(arguments) => plot::summary(&arguments),
        Command::BareHyper => bare::serve(std::io::stdout()).map(|never| match never {}).map_err(Into::into),
        Command::WalChild { command } => wal_child(command),
        Command::Data { command: DataCommand::List } => {
            for set in DataSet::ALL {
                println!("{:12} {}", set.name(), set.description());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Data { command: DataCommand::Write { set, file, keys, seed } } => {
            sosd::write(&file, &set.generate(keys, seed)).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
    };
    done.unwrap_or_else(|error| {
        let mut message = format!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        eprintln!("{message}");
        ExitCode::FAILURE
    })
}

fn index(arguments: IndexArgs) -> Result<ExitCode, kv::Failure> {
    let IndexArgs { keys, data, sosd, rivals, no_rivals, lookups, repeats, verify_only, seed, pages, files } =
        arguments;
    if let Some(code) = pages::settle(pages)? {
        return Ok(code);
    }
    let generated = if data.is_empty() && sosd.is_empty() { DataSet::ALL.to_vec() } else { data };
    let all = || Contender::value_variants().iter().copied();
    let chosen = |contender: &Contender| {
        *contender != Contender::KyroRmi && !no_rivals && (rivals.is_empty() || rivals.contains(contender))
    };
    let plan = Plan {
        sources: generated
            .into_iter()
            .map(Source::Generated)
            .chain(sosd.into_iter().map(Source::File))
            .collect(),
        sizes: keys,
        rivals: all().filter(chosen).collect(),
        lookups: lookups.max(1),
        repeats: if verify_only { 0 } else { repeats.max(1) },
        seed,
        pages,
    };
    publish(&index::run(&plan)?, "index", &files)
}

fn wal(arguments: WalArgs) -> Result<ExitCode, kv::Failure> {
    let WalArgs {
        dir,
        parts,
        rivals,
        no_rivals,
        seconds,
        repeats,
        quick,
        transfer_mib,
        tail,
        stored,
        seed,
        files,
    } = arguments;
    let all = || kv::Contender::value_variants().iter().copied();
    let chosen = |contender: &kv::Contender| {
        *contender != kv::Contender::Kyro && !no_rivals && (rivals.is_empty() || rivals.contains(contender))
    };
    let plan = wal::Plan {
        dir: dir.unwrap_or_else(std::env::temp_dir),
        program: std::env::current_exe()?,
        parts: if parts.is_empty() { Part::value_variants().to_vec() } else { parts },
        rivals: all().filter(chosen).collect(),
        length: Duration::try_from_secs_f64(if quick { 0.02 } else { seconds })?,
        repeats: if quick { 1 } else { repeats.max(1) },
        transfer_bytes: if quick { 4 << 20 } else { transfer_mib.max(1) << 20 },
        tail: if quick { tail.min(2_500) } else { tail },
        stored: stored.into_iter().map(|stored| if quick { stored / 1_000 } else { stored }).collect(),
        seed,
    };
    publish(&wal::run(&plan)?, "wal", &files)
}

fn wal_child(command: WalChildCommand) -> Result<ExitCode, kv::Failure> {
    match command {
        WalChildCommand::Fill(database) => tail::await_kill(database.fill()?, &())?,
        WalChildCommand::Open { database, all } => {
            let (engine, opened) = database.open(all)?;
            tail::await_kill(engine, &opened)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
