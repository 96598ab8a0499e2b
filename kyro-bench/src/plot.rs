//! Pictures of reports, as SVG: drawn from the JSON of a report or the CSV of the workload client, so that they can be drawn
//! again at any time.

mod bars;
mod cdf;
mod chart;
mod http;
mod index;
mod recovery;
mod rivals;
mod workload;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::plot::chart::Chart;

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// A file cannot be read or written.
    #[error("{path}: cannot be read or written", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path}: {reason}; wanted is the report.json of `kyro-bench`, or the CSV of `kyro-bench workload`", path = path.display())]
    NoReport {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The drawing library failed.
    #[error("{path}: cannot be drawn: {reason}", path = path.display())]
    Draw {
        /// Which picture.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
}

/// A chart with the name of its file, without the `.svg`.
type Named = (String, Chart);

/// Draws everything that there is to draw of `report`, a report of one group or of all, into `dir`, and gives the files.
/// A report of a group that has no pictures gives none.
///
/// # Errors
/// [`PlotError`].
pub fn report(report: &Value, dir: &Path) -> Result<Vec<PathBuf>, PlotError> {
    write(&charts(report), dir)
}

/// Draws a file again: a `report.json`, or a CSV of the workload client, into `dir`.
///
/// # Errors
/// [`PlotError`].
pub fn file(path: &Path, dir: &Path) -> Result<Vec<PathBuf>, PlotError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| PlotError::File { path: path.to_owned(), source })?;
    let no_report = |reason: String| PlotError::NoReport { path: path.to_owned(), reason };
    let charts = if path.extension().is_some_and(|extension| extension == "csv") {
        workload::charts(&text).map_err(no_report)?
    } else {
        let report: Value = serde_json::from_str(&text).map_err(|error| no_report(error.to_string()))?;
        charts(&report)
    };
    if charts.is_empty() {
        return Err(no_report("it has nothing to draw".to_owned()));
    }
    write(&charts, dir)
}

fn write(charts: &[Named], dir: &Path) -> Result<Vec<PathBuf>, PlotError> {
    std::fs::create_dir_all(dir).map_err(|source| PlotError::File { path: dir.to_owned(), source })?;
    let written = charts.iter().map(|(name, chart)| {
        let path = dir.join(format!("{name}.svg"));
        chart.write(&path)?;
        Ok(path)
    });
    written.collect()
}

/// The charts of a report; of the report of all groups, those of each.
fn charts(report: &Value) -> Vec<Named> {
    if let Some(groups) = report["results"]["groups"].as_object() {
        return groups.values().flat_map(charts).collect();
    }
    let mut charts = Vec::new();
    match report["title"].as_str().unwrap_or_default() {
        "Index benchmark" => charts.extend(index::charts(report)),
        "Durable write path" => charts.extend(recovery::chart(report)),
        "HTTP server" => charts.extend(http::charts(report)),
        "HTTP workload" => charts.extend(cdf::workload(report)),
        "Rivals" => {
            charts.extend(rivals::charts(report));
            charts.extend(cdf::rivals(report));
        }
        _ => {}
    }
    charts
}

/// Machine, commit and date in a line.
fn subtitle(report: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let (cpu, threads) = (text(&report["machine"]["cpu"]), &report["machine"]["threads"]);
    format!("{cpu}, {threads} threads · commit {} · {}", text(&report["commit"]), text(&report["date"]))
}

/// The items of a list; none of anything else.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The median of a figure.
fn median(figure: &Value) -> Option<f64> {
    figure["median"].as_f64()
}
