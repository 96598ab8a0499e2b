//! `kyro-bench`: every performance claim, as commands.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "results and errors of a command")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kyro_bench::dataset::{DataSet, sosd};
use kyro_bench::index::{self, Contender, Plan, Source};
use kyro_bench::pages::{self, Pages};

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
    #[arg(long, default_value_t = 300_000)]
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
    /// Where to write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the report as Markdown; it is printed in any case.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
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

fn index(arguments: IndexArgs) -> Result<ExitCode, Box<dyn Error>> {
    let IndexArgs {
        keys,
        data,
        sosd,
        rivals,
        no_rivals,
        lookups,
        repeats,
        verify_only,
        seed,
        pages,
        json,
        markdown,
    } = arguments;
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
    let report = index::run(&plan)?;
    print!("{report}");
    if let Some(path) = json {
        report.write_json(&path)?;
    }
    if let Some(path) = markdown {
        std::fs::write(path, report.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
