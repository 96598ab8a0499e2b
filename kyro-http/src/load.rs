//! `kyro-http load`: a file into a directory, or into a running server, with every record accounted for.

#![expect(clippy::print_stdout, reason = "a command tells its user what happened")]

mod binary_records;
mod csv_records;
mod embedded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod ndjson_records;
mod progress;
mod records;
mod remote;
mod source;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kyro_engine::{CloseError, OpenError, WriteError};
use serde_json::json;

use crate::cli::LoadArgs;
use crate::config::DEFAULT_DATA_DIR;
use crate::exit::{Exit, advise, advise_server, complain, of_open_error};
use crate::tokens::TokenError;
pub(crate) use binary_records::BinaryRecords;
pub(crate) use csv_records::CsvRecords;
use embedded::Unopened;
pub(crate) use ndjson_records::NdjsonRecords;
pub(crate) use progress::{Counts, Progress, Speaker};
pub(crate) use records::{Record, Records};
use remote::Server;
pub(crate) use remote::token;
pub(crate) use source::open as open_input;
pub(crate) use target::{Target, TargetError};

/// Bad lines are counted all, and shown up to this many.
const SHOWN_BAD_LINES: u64 = 20;

/// Why a load ended early. What was acknowledged before is in the summary all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read {}", .file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {reason}", .file.display())]
    Form { file: PathBuf, reason: String },
    #[error("line {line}: {reason} (--strict stops at the first bad line)")]
    Strict { line: u64, reason: String },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{}: no line of it is a record ({bad} bad, {shown} named above); nothing was made or changed", .file.display())]
    NoRecord { file: PathBuf, bad: u64, shown: &'static str },
    #[error("a batch was not acknowledged")]
    Write(#[from] WriteError),
    #[error("the database was not closed cleanly")]
    Close(#[from] CloseError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("line {line} was not acknowledged: {reason}")]
    Refused { line: u64, reason: String },
    #[error("cannot start")]
    Start(#[source] std::io::Error),
}

impl LoadError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Open(error) => of_open_error(error),
            Self::Target(_) | Self::Token(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Where records go.
trait Sink {
    /// Takes a record; may wait for earlier ones.
    fn put(&mut self, record: Record) -> Result<(), LoadError>;
    /// Waits until everything taken is acknowledged.
    fn finish(self: Box<Self>) -> Result<(), LoadError>;
}

/// Runs the verb. `data_dir` is the directory that was named, if one was.
pub(crate) fn run(data_dir: Option<PathBuf>, arguments: &LoadArgs) -> Exit {
    let start = Instant::now();
    let counts = Arc::new(Counts::default());
    let dir = data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let loaded = load(&dir, arguments, &counts);
    print_summary(arguments, &counts, start.elapsed(), loaded.as_ref().err());
    match loaded {
        Ok(()) if counts.bad() == 0 => Exit::Done,
        Ok(()) => Exit::Failed,
        Err(error) => {
            complain!("kyro-http: {}", kyro_engine::describe(&error));
            let exit = error.exit();
            advise(exit, &dir);
            advise_server(exit);
            exit
        }
    }
}

fn load(dir: &Path, arguments: &LoadArgs, counts: &Arc<Counts>) -> Result<(), LoadError> {
    // The file first: a name mistyped must not leave a new database behind.
    let (mut records, total_bytes) = source::open(&arguments.input, counts)?;
    let progress = Progress::start(Arc::clone(counts), total_bytes, "load");
    let mut sink: Box<dyn Sink> = if let Some(url) = &arguments.url {
        Box::new(Server::connect(&Target::parse(url)?, arguments, counts, &progress)?)
    } else {
        Box::new(Unopened::new(dir, arguments, counts))
    };
    let read = pump(&arguments.input.file, records.as_mut(), sink.as_mut(), arguments, counts, &progress);
    // Whatever stopped the reading: what was taken is brought to its end and counted.
    let finished = sink.finish();
    read.and(finished)
}

/// A file of which no line is a record is a mistake (another form, another column), not an empty data set.
pub(crate) fn some_record(file: &Path, counts: &Counts) -> Result<(), LoadError> {
    match (counts.records(), counts.bad()) {
        (0, 0) | (1.., _) => Ok(()),
        (0, bad) => {
            let shown = if bad <= SHOWN_BAD_LINES { "each" } else { "the first 20" };
            Err(LoadError::NoRecord { file: file.to_owned(), bad, shown })
        }
    }
}

fn pump(
    file: &Path,
    records: &mut dyn Records,
    sink: &mut dyn Sink,
    arguments: &LoadArgs,
    counts: &Counts,
    progress: &Progress,
) -> Result<(), LoadError> {
    let speaker = progress.speaker();
    let unreadable = |source| LoadError::Read { file: file.to_owned(), source };
    while let Some(record) = records.next_record().map_err(unreadable)? {
        let record = record.and_then(|record| record.within(arguments.input.max_value_bytes));
        match record {
            Ok(record) => {
                counts.read();
                sink.put(record)?;
            }
            Err(bad) if arguments.input.strict => {
                counts.add_bad();
                return Err(LoadError::Strict { line: bad.line, reason: bad.reason });
            }
            Err(bad) => note_bad(counts, &speaker, bad.line, &bad.reason),
        }
    }
    some_record(file, counts)
}

/// Counts a bad line, and shows it while they are few.
pub(crate) fn note_bad(counts: &Counts, speaker: &Speaker, line: u64, reason: &str) {
    let bad = counts.add_bad();
    if bad <= SHOWN_BAD_LINES {
        speaker.say(&format!("line {line}: {reason}"));
    }
    if bad == SHOWN_BAD_LINES {
        speaker.say("further bad lines are counted but not shown");
    }
}

fn print_summary(arguments: &LoadArgs, counts: &Counts, took: Duration, error: Option<&LoadError>) {
    let (loaded, bad, bytes) = (counts.acknowledged(), counts.bad(), counts.value_bytes());
    let seconds = took.as_secs_f64();
    let rate = if seconds > 0.0 { loaded as f64 / seconds } else { 0.0 };
    if arguments.json {
        println!(
            "{}",
            json!({
                "file": arguments.input.file.display().to_string(),
                "records": counts.records(),
                "loaded": loaded,
                "bad": bad,
                "value_bytes": bytes,
                "seconds": (seconds * 1000.0).round() / 1000.0,
                "per_second": rate.round(),
                "complete": error.is_none() && bad == 0,
                "error": error.map(|error| kyro_engine::describe(error)),
            })
        );
    } else {
        println!(
            "loaded {loaded} of {} records ({bytes} bytes of values) in {seconds:.2} s, {rate:.0} a second; {bad} bad lines",
            counts.records()
        );
    }
}
