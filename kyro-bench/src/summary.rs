//! The reports of all groups in one: their ratios, what each is about in a table, and every cell that is lost.

mod tables;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::compare::Ratio;
use crate::report::Table;
use crate::summary::tables::text;

/// The groups, each in the directory of its name, in the order in which they are told.
pub const GROUPS: [&str; 5] = ["index", "wal", "engine", "http", "rivals"];

/// The reports of a directory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Each group's `report.json`.
    pub groups: BTreeMap<String, Value>,
    /// The ratios of all groups, with the group before the name: what later reports are compared by.
    pub ratios: Vec<Ratio>,
    /// Groups that have no report.
    pub missing: Vec<String>,
    /// Files of pictures, from the directory of the report.
    pub pictures: Vec<PathBuf>,
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SummaryError {
    /// A report cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is none.
    #[error("{dir}: has no report of any group; wanted is, for one, {dir}/index/report.json", dir = dir.display())]
    Empty {
        /// Where.
        dir: PathBuf,
    },
}

impl Summary {
    /// Reads `dir/GROUP/report.json` of every group that has one.
    ///
    /// # Errors
    /// [`SummaryError`].
    pub fn read(dir: &Path) -> Result<Self, SummaryError> {
        let mut summary = Self::default();
        for group in GROUPS {
            let path = dir.join(group).join("report.json");
            let unreadable = |reason: String| SummaryError::Unreadable { path: path.clone(), reason };
            let text = match std::fs::read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    summary.missing.push(group.to_owned());
                    continue;
                }
                Err(error) => return Err(unreadable(error.to_string())),
            };
            let report: Value =
                serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
            let ratios: Vec<Ratio> =
                serde_json::from_value(report["results"]["ratios"].clone()).unwrap_or_default();
            let named = |ratio: Ratio| Ratio { name: format!("{group}: {}", ratio.name), ..ratio };
            summary.ratios.extend(ratios.into_iter().map(named));
            summary.groups.insert(group.to_owned(), report);
        }
        if summary.groups.is_empty() { Err(SummaryError::Empty { dir: dir.to_owned() }) } else { Ok(summary) }
    }

    /// Every ratio below 1 against a rival: what is lost.
    pub fn lost(&self) -> impl Iterator<Item = &Ratio> {
        self.ratios.iter().filter(|ratio| ratio.ratio < 1.0 && ratio.name.contains("rival"))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in GROUPS {
            let Some(report) = self.groups.get(group) else { continue };
            writeln!(out, "## {group}: {}\n", text(&report["title"]))?;
            writeln!(
                out,
                "`{}` · all of it: [{group}/report.md]({group}/report.md)\n",
                text(&report["command"])
            )?;
            for table in tables::of(group).iter().map(|table| table(report)).filter(|table| !table.is_empty())
            {
                writeln!(out, "{table}")?;
            }
        }
        let mut lost = Table::new(["cells lost", "to", "kyro / it"]);
        for Ratio { name, ratio, rival } in self.lost() {
            let rival = rival.as_deref().unwrap_or("–");
            lost.row([name.clone(), rival.to_owned(), format!("{ratio:.2}")]);
        }
        if lost.is_empty() {
            writeln!(out, "No cell is lost to a rival that was measured.\n")?;
        } else {
            writeln!(out, "## lost\n\n{lost}")?;
        }
        let mut pictures = String::new();
        for picture in &self.pictures {
            writeln!(pictures, "![{0}]({0})", picture.display())?;
        }
        if !pictures.is_empty() {
            writeln!(out, "## pictures\n\n{pictures}")?;
        }
        if !self.missing.is_empty() {
            writeln!(out, "Without a report: {}.", self.missing.join(", "))?;
        }
        Ok(())
    }
}
