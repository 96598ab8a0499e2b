//! `kyro-http restore`: a backup becomes a data directory, read and checked before and after.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output;
use crate::config::DEFAULT_DATA_DIR;
use crate::engine_progress::EngineProgress;
use crate::exit::Exit;
use crate::shell::serve_command;
use crate::store::StoreError;

/// `restore`
#[derive(Debug, Args)]
#[command(
    after_help = "The new directory is that of --data-dir; it must not exist, nothing is ever overwritten. \
Every byte of the backup is checked first, and every byte of the copy before it gets its name."
)]
pub(crate) struct RestoreArgs {
    /// The backup's directory; it is not changed
    pub(crate) backup: PathBuf,
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(data_dir: Option<PathBuf>, arguments: &RestoreArgs) -> Result<Exit, StoreError> {
    let to = data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let progress = EngineProgress::new();
    let report = kyro_engine::restore(&arguments.backup, &to, Some(progress.callback()))?;
    drop(progress);
    if arguments.json {
        output::line(json!({
            "backup": arguments.backup.display().to_string(),
            "data_dir": to.display().to_string(),
            "files": report.files,
            "bytes": report.bytes,
            "entries": report.entries,
            "operations": report.operations,
        }))?;
    } else {
        output::line(format_args!(
            "{}: {} files, {} bytes restored and verified: {} entries in runs, {} operations in the log",
            to.display(),
            report.files,
            report.bytes,
            report.entries,
            report.operations
        ))?;
        output::complain(&format!("to serve it:\n  {}", serve_command(&to)));
    }
    Ok(Exit::Done)
}
