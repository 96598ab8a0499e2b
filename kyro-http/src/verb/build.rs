//! `kyro-http build`: a data set from a file into a directory of its own, with its verified index, offline.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use kyro_engine::{BulkBuild, BulkError, BulkOptions, BulkReport, Duplicates, Engine, Options, describe};
use serde_json::{Value, json};

use super::output;
use crate::cli::{CompressionArgs, InputArgs};
use crate::config::DEFAULT_DATA_DIR;
use crate::exit::{Exit, of_open_error};
use crate::load::{Counts, LoadError, Progress, Records, Speaker, note_bad, open_input, some_record};
use crate::shell::serve_command;
use crate::stats_document::engine_document;

/// `build`
#[derive(Debug, Args)]
#[command(
    after_help = "The new directory is that of --data-dir; it must be empty or not exist. Records may come in any \
order. Nothing is there under that name before every key was looked up through the finished index."
)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Refuse a key that comes twice [default: the last one is kept]
    #[arg(long)]
    pub(crate) unique: bool,
    /// Memory for records that come out of order; what is beyond is sorted in temporary files
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub(crate) memory_bytes: u64,
    #[command(flatten)]
    pub(crate) compression: CompressionArgs,
    /// Write the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb. `data_dir` is the directory that was named, if one was.
pub(crate) fn run(data_dir: Option<PathBuf>, arguments: &BuildArgs) -> Exit {
    let start = Instant::now();
    let dir = data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let counts = Arc::new(Counts::default());
    let built = build(&dir, arguments, &counts);
    let report = match built {
        Ok(report) => report,
        Err(error) => {
            output::complain(&describe(&error));
            return exit(&error);
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let bad = counts.bad();
    let shown = if arguments.json {
        output::line(json!({
            "data_dir": dir.display().to_string(),
            "records": report.bulk.records,
            "keys": report.bulk.keys,
            "bytes": report.bulk.bytes,
            "sorted_parts": report.bulk.spills,
            "next_offset": report.bulk.next_offset,
            "bad": bad,
            "index": report.index,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        }))
    } else {
        let index = |name: &str| report.index.get(name).map_or_else(String::new, Value::to_string);
        output::line(format_args!(
            "{}: {} keys of {} records, {} bytes, built and verified in {seconds:.2} s; {bad} bad lines\n\
             index: {} bytes, {} leaves, a key is at most {} places from its prediction (half of them at most {}), \
             at most {} keys in a window",
            dir.display(),
            report.bulk.keys,
            report.bulk.records,
            report.bulk.bytes,
            index("bytes"),
            index("leaves"),
            index("epsilon_max"),
            index("epsilon_p50"),
            index("max_window"),
        ))
    };
    if let Err(error) = shown {
        return super::ended(Err(error), |_| ());
    }
    if !arguments.json {
        output::complain(&format!("to serve it:\n  {}", serve_command(&dir)));
    }
    if bad == 0 { Exit::Done } else { Exit::Failed }
}

struct Report {
    bulk: BulkReport,
    index: Value,
}

#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Input(#[from] LoadError),
    #[error(transparent)]
    Bulk(#[from] BulkError),
    #[error("line {line}")]
    Record {
        line: u64,
        #[source]
        source: BulkError,
    },
    #[error("what was built does not open")]
    Open(#[source] kyro_engine::OpenError),
}

fn exit(error: &BuildError) -> Exit {
    match error {
        BuildError::Input(error) => error.exit(),
        BuildError::Bulk(BulkError::NotEmpty { .. }) => Exit::Usage,
        BuildError::Bulk(BulkError::Open(error)) | BuildError::Open(error) => of_open_error(error),
        _ => Exit::Failed,
    }
}

fn build(dir: &Path, arguments: &BuildArgs, counts: &Arc<Counts>) -> Result<Report, BuildError> {
    // The file first: a name mistyped must not leave a new directory behind.
    let (mut records, total_bytes) = open_input(&arguments.input, counts)?;
    let progress = Progress::start(Arc::clone(counts), total_bytes, "build");
    let was_there = dir.exists();
    let mut build = None;
    let read = fill(&mut build, dir, arguments, counts, records.as_mut(), &progress.speaker());
    if let Err(error) = read {
        if build.is_some() && !was_there {
            // This build made it, and has it locked still. What cannot be removed opens as an empty database.
            std::fs::remove_dir_all(dir).ok();
        }
        return Err(error);
    }
    let bulk = build.ok_or(BulkError::Ended)?.finish()?;
    drop(progress);
    let engine = Engine::open_read_only(dir, Options::default()).map_err(BuildError::Open)?;
    let index = engine_document(&engine.stats()).get("index").cloned().unwrap_or_default();
    Ok(Report { bulk, index })
}

/// Reads the records into the new directory, which is made when the first one comes.
fn fill(
    build: &mut Option<BulkBuild>,
    dir: &Path,
    arguments: &BuildArgs,
    counts: &Counts,
    records: &mut dyn Records,
    speaker: &Speaker,
) -> Result<(), BuildError> {
    let file = &arguments.input.file;
    let unreadable = |source| LoadError::Read { file: file.clone(), source };
    while let Some(record) = records.next_record().map_err(unreadable)? {
        match record.and_then(|record| record.within(arguments.input.max_value_bytes)) {
            Ok(record) => {
                counts.read();
                begun(build, dir, arguments)?
                    .push(record.key, &record.value)
                    .map_err(|source| BuildError::Record { line: record.line, source })?;
                counts.acknowledge(1, record.value.len() as u64);
            }
            Err(bad) if arguments.input.strict => {
                return Err(LoadError::Strict { line: bad.line, reason: bad.reason }.into());
            }
            Err(bad) => note_bad(counts, speaker, bad.line, &bad.reason),
        }
    }
    some_record(file, counts)?;
    // An empty file is an empty data set.
    begun(build, dir, arguments)?;
    Ok(())
}

/// The build, begun where it was not yet.
fn begun<'a>(
    build: &'a mut Option<BulkBuild>,
    dir: &Path,
    arguments: &BuildArgs,
) -> Result<&'a mut BulkBuild, BulkError> {
    match build {
        Some(build) => Ok(build),
        none => {
            let mut options = BulkOptions::default();
            options.memory_bytes = arguments.memory_bytes;
            options.engine.max_value_bytes = arguments.input.max_value_bytes;
            options.engine.compression = arguments.compression.compression;
            if arguments.unique {
                options.duplicates = Duplicates::Refuse;
            }
            Ok(none.insert(BulkBuild::create(dir, options)?))
        }
    }
}
