//! `kyro-http repair`: salvages a damaged data directory into a new one and says everything that was lost.

#![expect(clippy::print_stdout, reason = "a command tells its user what it found")]

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use kyro_engine::{RepairError, RepairOptions, RepairReport, describe};
use serde_json::{Value, json};

use crate::cli::CompressionArgs;
use crate::config::DEFAULT_DATA_DIR;
use crate::engine_progress::EngineProgress;
use crate::exit::{Exit, complain};

/// Lost keys and places shown as text; JSON has all.
const SHOWN: usize = 1000;

/// `repair`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing was lost, 4 something was (the report names it), 5 another process has \
                        the directory open, 2 the new directory cannot be used, 1 it could not be done."
)]
pub(crate) struct RepairArgs {
    /// The damaged directory; it is not changed [default: that of --data-dir]
    pub(crate) dir: Option<PathBuf>,
    /// The directory to make; it must not exist or be empty
    #[arg(long, value_name = "NEW")]
    pub(crate) into: PathBuf,
    #[command(flatten)]
    pub(crate) compression: CompressionArgs,
    /// Write the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb. `data_dir` is the directory that was named, if one was.
pub(crate) fn run(data_dir: Option<PathBuf>, arguments: &RepairArgs) -> Exit {
    let start = Instant::now();
    let dir = arguments.dir.clone().or(data_dir).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let progress = EngineProgress::new();
    let mut options = RepairOptions::default();
    options.compression = arguments.compression.compression;
    options.on_progress = Some(progress.callback());
    let repaired = kyro_engine::repair(&dir, &arguments.into, &options);
    drop(progress);
    match repaired {
        Ok(report) => {
            if arguments.json {
                println!("{}", as_json(&report, start));
            } else {
                print_text(&report);
            }
            if report.is_lossless() { Exit::Done } else { Exit::Damage }
        }
        Err(error) => {
            complain!("kyro-http: {}", describe(&error));
            exit(&error)
        }
    }
}

fn exit(error: &RepairError) -> Exit {
    match error {
        RepairError::Locked { .. } => Exit::Locked,
        RepairError::TargetNotEmpty { .. } | RepairError::TargetInside { .. } => Exit::Usage,
        RepairError::NothingLeft { .. } | RepairError::PushedRuns { .. } => Exit::Damage,
        _ => Exit::Failed,
    }
}

/// The report's own text, cut where a great many keys are lost.
fn print_text(report: &RepairReport) {
    let mut shown = report.clone();
    shown.lost_keys.truncate(SHOWN);
    shown.lost_entries.truncate(SHOWN);
    shown.renumbered.truncate(SHOWN);
    println!("{shown}");
    for (what, all, shown) in [
        ("lost keys", report.lost_keys.len(), shown.lost_keys.len()),
        ("lost places of runs", report.lost_entries.len(), shown.lost_entries.len()),
        ("renumbered keys", report.renumbered.len(), shown.renumbered.len()),
    ] {
        if all > shown {
            println!("of {all} {what} the first {shown} are shown; --json writes all");
        }
    }
}

fn as_json(report: &RepairReport, start: Instant) -> Value {
    let path = |path: &PathBuf| path.display().to_string();
    json!({
        "source": path(&report.source),
        "into": path(&report.into),
        "lossless": report.is_lossless(),
        "source_locked": report.locked,
        "keys": report.keys,
        "value_bytes": report.value_bytes,
        "operations": report.operations,
        "events": report.events,
        "range_deletes": report.range_deletes,
        "next_offset": report.next_offset,
        "damage": report.damage.iter().map(|damage| json!({
            "file": path(&damage.file), "offset": damage.offset, "problem": damage.problem,
        })).collect::<Vec<_>>(),
        "lost_offsets": report.lost_offsets.iter().map(|lost| json!({
            "first": lost.first, "last": lost.last, "file": path(&lost.file), "why": lost.why,
            "history_only": lost.in_runs,
        })).collect::<Vec<_>>(),
        "lost_keys": report.lost_keys.iter().map(|lost| json!({
            "key": lost.key, "offset": lost.offset, "file": path(&lost.file), "older_offset": lost.instead,
        })).collect::<Vec<_>>(),
        "lost_entries": report.lost_entries.iter().map(|lost| json!({
            "file": path(&lost.file),
            "positions": { "first": lost.positions.start, "last": lost.positions.end.saturating_sub(1) },
            "keys": { "first": lost.keys.start(), "last": lost.keys.end() },
            "offsets": lost.offsets,
            "some_of_offsets": lost.other_offsets.as_ref().map(|range| json!({
                "first": range.start(), "last": range.end(),
            })),
        })).collect::<Vec<_>>(),
        "lost_range_deletes": report.lost_range_deletes.iter().map(|range| json!({
            "first": range.start(), "last": range.end(),
        })).collect::<Vec<_>>(),
        "renumbered": report.renumbered.iter().map(|one| json!({
            "key": one.key, "offset": one.offset,
        })).collect::<Vec<_>>(),
        "unfinished": report.unfinished.iter().map(|cut| json!({
            "file": path(&cut.file), "at": cut.at, "bytes": cut.bytes, "first_offset": cut.first_offset,
        })).collect::<Vec<_>>(),
        "ignored": report.ignored.iter().map(path).collect::<Vec<_>>(),
        "seconds": (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    })
}
