//! `kyro-http verify`: reads and checks a data directory, names everything that is wrong, and changes nothing.

#![expect(clippy::print_stdout, reason = "a command tells its user what it found")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kyro_engine::{Damage, OpenError, VerifyReport, describe};
use serde_json::{Value, json};

use crate::config::DEFAULT_DATA_DIR;
use crate::engine_progress::EngineProgress;
use crate::exit::{Exit, complain, of_open_error};
use crate::shell::repair_command;

/// `verify`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong, 4 damage was found, 5 another process has the directory open, \
                        1 it could not be looked at."
)]
pub(crate) struct VerifyArgs {
    /// Directory of the database [default: that of --data-dir]
    pub(crate) dir: Option<PathBuf>,
    /// Write the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb. `data_dir` is the directory that was named, if one was.
pub(crate) fn run(data_dir: Option<PathBuf>, arguments: &VerifyArgs) -> Exit {
    let start = Instant::now();
    let dir = arguments.dir.clone().or(data_dir).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let progress = EngineProgress::new();
    let report = kyro_engine::verify(&dir, Some(progress.callback()));
    drop(progress);
    let report = match report {
        Ok(report) => report,
        // Without its manifest nothing else of the directory can be judged.
        Err(error) if of_open_error(&error) == Exit::Damage => {
            let mut report = VerifyReport::default();
            report.damage.push(Damage::new(error));
            report
        }
        Err(error) => {
            complain!("kyro-http: {}", describe(&error));
            let exit = of_open_error(&error);
            if exit == Exit::Locked {
                complain!(
                    "kyro-http: while a server runs, let it make a backup and verify that: on one file system its runs are \
                     the same files\n  kyro-http backup --url http://HOST:PORT\n  kyro-http verify BACKUP"
                );
            }
            return exit;
        }
    };
    let findings: Vec<Finding<'_>> = report.damage.iter().map(Finding::of).collect();
    if arguments.json {
        println!("{}", as_json(&dir, &report, &findings, start));
    } else {
        print_text(&dir, &report, &findings, start);
    }
    if findings.is_empty() { Exit::Done } else { Exit::Damage }
}

/// One thing that is wrong, and what it means.
struct Finding<'a> {
    file: Option<&'a Path>,
    offset: Option<u64>,
    problem: String,
    meaning: &'static str,
    loses_data: bool,
}

impl<'a> Finding<'a> {
    fn of(damage: &'a Damage) -> Self {
        let (file, offset, problem) = match &damage.error {
            OpenError::Corrupt { file, offset, reason } => (Some(&**file), Some(*offset), reason.clone()),
            other @ (OpenError::NewerFormat { file, .. } | OpenError::Io { path: file, .. }) => {
                (Some(&**file), None, describe(other))
            }
            other => (None, None, describe(other)),
        };
        let ending = file.and_then(Path::extension).and_then(|ending| ending.to_str());
        let meaning = match ending {
            _ if damage.rebuildable => {
                "an index is only a cache: no data is lost, and the next open trains it again"
            }
            Some("run") => "entries in the damaged blocks cannot be read, the others can",
            Some("wal") => "operations in the log cannot be read from here on; open refuses",
            None if file.is_some() => "which files belong to the database is not known; open refuses",
            _ => "operations in the log are missing; open refuses",
        };
        Self { file, offset, problem, meaning, loses_data: !damage.rebuildable }
    }

    fn as_json(&self) -> Value {
        json!({
            "file": self.file.map(|file| file.display().to_string()),
            "offset": self.offset,
            "problem": self.problem,
            "meaning": self.meaning,
            "loses_data": self.loses_data,
        })
    }
}

/// What to do about it; nothing when nothing is to be done.
fn next_step(dir: &Path, findings: &[Finding<'_>]) -> Option<String> {
    findings.iter().any(|finding| finding.loses_data).then(|| repair_command(dir))
}

fn as_json(dir: &Path, report: &VerifyReport, findings: &[Finding<'_>], start: Instant) -> Value {
    json!({
        "dir": dir.display().to_string(),
        "ok": findings.is_empty(),
        "entries": report.entries,
        "operations": report.operations,
        "bytes": report.bytes,
        "damage": findings.iter().map(Finding::as_json).collect::<Vec<_>>(),
        "unnamed_files": report.unnamed.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "repair_command": next_step(dir, findings),
        "seconds": (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    })
}

fn print_text(dir: &Path, report: &VerifyReport, findings: &[Finding<'_>], start: Instant) {
    for finding in findings {
        match (finding.file, finding.offset) {
            (Some(file), Some(offset)) => {
                println!("{}: damaged at byte {offset}: {}", file.display(), finding.problem);
            }
            _ => println!("{}", finding.problem),
        }
        println!("  {}", finding.meaning);
    }
    for path in &report.unnamed {
        println!(
            "{}: not part of the database: left by an interrupted flush or compaction, removed by the next open",
            path.display()
        );
    }
    println!(
        "{}: {} entries in runs, {} operations in the log, {} bytes read in {:.1} s: {}",
        dir.display(),
        report.entries,
        report.operations,
        report.bytes,
        start.elapsed().as_secs_f64(),
        match findings.len() {
            0 => "nothing is wrong".to_owned(),
            1 => "1 file is damaged".to_owned(),
            several => format!("{several} files are damaged"),
        }
    );
    if let Some(command) = next_step(dir, findings) {
        println!("restore the damaged files from a backup, or salvage what can be read:\n  {command}");
    }
}
