//! The reports of all groups in one: their ratios, what each is about in a table, and every cell that is lost.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::compare::Ratio;
use crate::report::Table;
use crate::spread::Spread;

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
            let named = |Ratio { name, ratio }| Ratio { name: format!("{group}: {name}"), ratio };
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

/// What is about a store that is compared with others, in a ratio's name.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value["results"][key].as_array().map_or(&[], Vec::as_slice)
}

/// A figure as reports print it.
fn figure(value: &Value) -> String {
    let part = |key: &str| value[key].as_f64();
    match (part("median"), part("least"), part("most")) {
        (Some(median), Some(least), Some(most)) => Spread { median, least, most }.to_string(),
        _ => "–".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Serial hits by size: the index, the tree, and how many times faster the one is.
fn index(report: &Value) -> Table {
    let mut table =
        Table::new(["keys, serial hits, ns", "count", "kyro-rmi", "BTreeMap", "times faster", "floor"]);
    for set in list(report, "sets") {
        let of = |name: &str| -> Option<&Value> {
            let all = set["contenders"].as_array()?;
            let found = all.iter().find(|one| one["name"].as_str().is_some_and(|own| own.starts_with(name)));
            Some(&found?["figures"]["hit-serial"])
        };
        let (ours, tree) = (of("kyro-rmi"), of("BTreeMap"));
        let times = ours.zip(tree).and_then(|(ours, tree)| {
            Some(format!("{:.2}", tree["median"].as_f64()? / ours["median"].as_f64()?))
        });
        table.row([
            text(&set["set"]),
            set["keys"].to_string(),
            ours.map(figure).unwrap_or_default(),
            tree.map(figure).unwrap_or_default(),
            times.unwrap_or_default(),
            figure(&set["floor"]["hit-serial"]),
        ]);
    }
    table
}

/// Opening after an unclean stop, and durable puts.
fn recovery(report: &Value) -> Table {
    let mut table = Table::new(["opening after SIGKILL", "tail", "warm, s", "cold, s"]);
    for open in list(report, "opens") {
        let precise = |value: &Value| {
            value["median"].as_f64().map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.4}"))
        };
        table.row([
            format!("{} stored", open["stored"]),
            format!("{} × {} B", open["tail"], open["value_bytes"]),
            precise(&open["warm_seconds"]),
            precise(&open["cold_seconds"]),
        ]);
    }
    table
}

/// Durable puts of everyone.
fn puts(report: &Value) -> Table {
    let mut table = Table::new(["puts a second", "mode", "writers", "value, bytes", "puts/s"]);
    for row in list(report, "puts") {
        table.row([
            text(&row["store"]),
            text(&row["mode"]),
            row["writers"].to_string(),
            row["value_bytes"].to_string(),
            figure(&row["puts"]),
        ]);
    }
    table
}

/// Every measure of every store, as the report of the group has it.
fn stores(report: &Value) -> Table {
    let rows = list(report, "rows");
    let wanted = ["hit-serial", "hit", "miss", "many", "scan100", "scan-all", "load-sorted", "load-random"];
    let mut table = Table::new(["stores", "records", "measure", "figure"]);
    for row in rows.iter().filter(|row| wanted.contains(&row["measure"].as_str().unwrap_or_default())) {
        table.row([
            text(&row["store"]),
            format!("{} × {} B", row["records"], row["value_bytes"]),
            text(&row["measure"]),
            figure(&row["figure"]),
        ]);
    }
    table
}

/// Requests a second.
fn http(report: &Value) -> Table {
    let mut table = Table::new(["requests", "depth", "requests/s", "p50 µs", "p99", "p99.9"]);
    for row in list(report, "rates") {
        let us = |key: &str| row["latencies"][key].as_f64().map_or_else(String::new, |us| format!("{us:.0}"));
        table.row([
            text(&row["name"]),
            row["depth"].to_string(),
            figure(&row["per_second"]),
            us("p50"),
            us("p99"),
            us("p999"),
        ]);
    }
    table
}

/// Workloads by stores.
fn rivals(report: &Value) -> Table {
    let rows = list(report, "rows");
    let mut stores: Vec<String> = Vec::new();
    let mut lines: Vec<(String, String)> = Vec::new();
    for row in rows {
        let (store, line) = (text(&row["store"]), (text(&row["durability"]), text(&row["workload"])));
        if !stores.contains(&store) {
            stores.push(store);
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let heads = std::iter::once("operations/s".to_owned()).chain(stores.iter().cloned());
    let mut table = Table::new(heads);
    for (mode, workload) in lines {
        let cells = stores.iter().map(|store| {
            let found = rows.iter().find(|row| {
                text(&row["store"]) == *store && row["durability"] == mode && row["workload"] == workload
            });
            found.map_or_else(|| "–".to_owned(), |row| figure(&row["per_second"]))
        });
        table.row(std::iter::once(format!("{workload}, {mode}")).chain(cells.collect::<Vec<_>>()));
    }
    table
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Tables = &'static [fn(&Value) -> Table];
        let groups: [(&str, Tables); 5] = [
            ("index", &[index]),
            ("wal", &[recovery, puts]),
            ("engine", &[stores]),
            ("http", &[http]),
            ("rivals", &[rivals]),
        ];
        for (group, tables) in groups {
            let Some(report) = self.groups.get(group) else { continue };
            writeln!(out, "## {group}: {}\n", text(&report["title"]))?;
            writeln!(
                out,
                "`{}` · all of it: [{group}/report.md]({group}/report.md)\n",
                text(&report["command"])
            )?;
            for table in tables.iter().map(|table| table(report)).filter(|table| !table.is_empty()) {
                writeln!(out, "{table}")?;
            }
        }
        let mut lost = Table::new(["cells lost", "kyro / the best"]);
        for Ratio { name, ratio } in self.lost() {
            lost.row([name.clone(), format!("{ratio:.2}")]);
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
