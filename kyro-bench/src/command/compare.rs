//! `kyro-bench compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use kyro_bench::compare::compare;
use kyro_bench::kv::Failure;

/// The arguments.
#[derive(Args)]
pub(crate) struct CompareArgs {
    /// The report.json before.
    old: PathBuf,
    /// The report.json after, of the same group.
    new: PathBuf,
    /// How many times smaller a ratio may become: what two runs of one commit differ by on this machine.
    #[arg(long, value_name = "TIMES", default_value_t = 1.25)]
    allowed: f64,
}

/// Prints the comparison; fails when anything is worse than allowed.
pub(crate) fn run(arguments: &CompareArgs) -> Result<ExitCode, Failure> {
    let read = |path: &Path| -> Result<serde_json::Value, Failure> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()).into())
    };
    let comparison = compare(&read(&arguments.old)?, &read(&arguments.new)?, arguments.allowed)?;
    print(&comparison.to_string());
    let worse = comparison.regressions().next().is_some();
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[expect(clippy::print_stdout, reason = "results of a command")]
fn print(text: &str) {
    print!("{text}");
}
