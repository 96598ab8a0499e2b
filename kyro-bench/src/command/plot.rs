//! `kyro-bench plot` and `kyro-bench summary`.
#![expect(clippy::print_stdout, reason = "results of a command")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use kyro_bench::kv::Failure;
use kyro_bench::pages::Pages;
use kyro_bench::plot;
use kyro_bench::report::Report;
use kyro_bench::summary::Summary;

/// The arguments of `plot`.
#[derive(Args)]
pub(crate) struct PlotArgs {
    /// A report.json, a directory that holds one, or a CSV of `workload`.
    from: PathBuf,
    /// Where the pictures go; beside the file, unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The arguments of `summary`.
#[derive(Args)]
pub(crate) struct SummaryArgs {
    /// A directory with a directory of each group that holds its report.json.
    dir: PathBuf,
    /// The command that made those.
    #[arg(long)]
    command: Option<String>,
}

/// Draws a report again.
pub(crate) fn run(arguments: &PlotArgs) -> Result<ExitCode, Failure> {
    let from =
        if arguments.from.is_dir() { arguments.from.join("report.json") } else { arguments.from.clone() };
    let dir = arguments.out.as_deref().or_else(|| from.parent()).unwrap_or(Path::new("."));
    for picture in plot::file(&from, dir)? {
        println!("{}", picture.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes one report of the reports of all groups, with pictures.
pub(crate) fn summary(arguments: &SummaryArgs) -> Result<ExitCode, Failure> {
    let dir = &arguments.dir;
    let mut summary = Summary::read(dir)?;
    for report in summary.groups.values() {
        let drawn = plot::report(report, dir)?;
        let names = drawn.iter().filter_map(|path| path.file_name()).map(PathBuf::from);
        summary.pictures.extend(names);
    }
    let mut report = Report::start("KyroDB benchmarks", Pages::Small);
    if let Some(command) = &arguments.command {
        report.command.clone_from(command);
    }
    report.durability = Some("as each group's report says".to_owned());
    let report = report.with(summary);
    report.write_json(&dir.join("report.json"))?;
    std::fs::write(dir.join("report.md"), report.to_string())?;
    print!("{report}");
    println!("\n{}", dir.join("report.md").display());
    Ok(ExitCode::SUCCESS)
}
