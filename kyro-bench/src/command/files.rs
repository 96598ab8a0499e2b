//! Where reports go.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use kyro_bench::kv::Failure;
use kyro_bench::report::Report;
use serde::Serialize;

/// Where a report goes; it is printed in any case.
#[derive(Args)]
pub(crate) struct ReportFiles {
    /// Where to write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// A directory for report.json and report.md; made if need be.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A directory to also keep both in, under the date and the group: kyro-bench/record and the processor's name.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// Prints a report, and writes it where the arguments say. `group` is part of a record's name.
pub(crate) fn publish<R: Serialize + Display>(
    report: &Report<R>,
    group: &str,
    files: &ReportFiles,
) -> Result<ExitCode, Failure> {
    print(&report.to_string());
    if let Some(path) = &files.json {
        report.write_json(path)?;
    }
    if let Some(path) = &files.markdown {
        std::fs::write(path, report.to_string())?;
    }
    if let Some(dir) = &files.out {
        write_both(report, dir, "report")?;
    }
    if let Some(dir) = &files.record {
        let day = report.date.split(' ').next().unwrap_or("undated");
        write_both(report, dir, &format!("{day}-{group}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_both<R: Serialize + Display>(report: &Report<R>, dir: &Path, name: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)?;
    report.write_json(&dir.join(format!("{name}.json")))?;
    std::fs::write(dir.join(format!("{name}.md")), report.to_string())?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "results of a command")]
fn print(text: &str) {
    print!("{text}");
}
