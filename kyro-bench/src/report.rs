//! A report: what was measured, where, of what, and when; as JSON for programs and as Markdown for people.

use std::fmt::{self, Write};
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::machine::{self, Machine};
use crate::pages::{self, Pages};

/// Results with everything that they depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Report<R> {
    /// What was measured.
    pub title: String,
    /// When it started.
    pub date: String,
    /// The commit that was measured; `+` when files differed from it.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// The pages that the memory was asked to be in.
    pub pages: Pages,
    /// How much of the memory was in huge pages when the work ended, in bytes, where the system says.
    pub huge_bytes: Option<u64>,
    /// How much memory there was, at the same time.
    pub resident_bytes: Option<u64>,
    /// The durability mode, where anything was written.
    pub durability: Option<String>,
    /// The load average at the start; the benchmark itself adds 1 by the end.
    pub load_average: Option<f64>,
    /// The command that makes the report again.
    pub command: String,
    /// The results.
    pub results: R,
}

impl Report<()> {
    /// A report that starts now.
    pub fn start(title: &str, pages: Pages) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            title: title.to_owned(),
            date: machine::date(),
            commit: machine::commit(),
            machine: Machine::here(),
            pages,
            huge_bytes: None,
            resident_bytes: None,
            durability: None,
            load_average: machine::load_average(),
            command: format!("kyro-bench {}", arguments.join(" ")),
            results: (),
        }
    }

    /// Notes how much memory is where now: call it while what was measured is still there.
    pub fn note_memory(&mut self) {
        if let Some((huge, resident)) = pages::huge_and_resident_bytes() {
            self.huge_bytes = self.huge_bytes.max(Some(huge));
            self.resident_bytes = self.resident_bytes.max(Some(resident));
        }
    }

    /// The report with its results.
    pub fn with<R>(self, results: R) -> Report<R> {
        let Self {
            title,
            date,
            commit,
            machine,
            pages,
            huge_bytes,
            resident_bytes,
            durability,
            load_average,
            command,
            ..
        } = self;
        Report {
            title,
            date,
            commit,
            machine,
            pages,
            huge_bytes,
            resident_bytes,
            durability,
            load_average,
            command,
            results,
        }
    }
}

impl<R: Serialize> Report<R> {
    /// Writes the report as JSON.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        let mut json = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        json.push('\n');
        std::fs::write(path, json)
    }
}

impl<R: fmt::Display> fmt::Display for Report<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "# {}\n", self.title)?;
        writeln!(out, "- date: {}; commit: {}", self.date, self.commit)?;
        let Machine { cpu, threads, memory_bytes, system, huge_pages, simd } = &self.machine;
        let gib = (*memory_bytes >> 20) as f64 / 1024.0;
        writeln!(out, "- machine: {cpu}, {threads} threads, {gib:.0} GiB, {system}, SIMD level {simd}")?;
        let load = self.load_average.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.2}"));
        writeln!(out, "- load average at the start: {load}")?;
        write!(out, "- pages: {} (kernel policy: {huge_pages})", self.pages)?;
        if let Some((huge, resident)) = self.huge_bytes.zip(self.resident_bytes) {
            write!(out, "; {} MiB of {} MiB were in huge pages", huge >> 20, resident >> 20)?;
        }
        writeln!(out)?;
        if let Some(durability) = &self.durability {
            writeln!(out, "- durability: {durability}")?;
        }
        writeln!(out, "- command: `{}`\n", self.command)?;
        self.results.fmt(out)
    }
}

/// A contender that has no figures.
#[derive(Clone, Debug, Serialize)]
pub struct Excluded {
    /// Who.
    pub name: String,
    /// Why: it failed, or gave a wrong answer.
    pub reason: String,
}

/// A table of text.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { rows: vec![heads.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// True when there is nothing but heads.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }
}

/// Markdown, with the columns aligned for those who read the text.
impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let width =
            |column| self.rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, &width) in widths.iter().enumerate() {
                let text = cell(row, column);
                if column == 0 {
                    write!(line, "| {text:<width$} ")?;
                } else {
                    write!(line, "| {text:>width$} ")?;
                }
            }
            writeln!(out, "{line}|")?;
            if index == 0 {
                let rule = |(column, width): (usize, &usize)| {
                    let dashes = "-".repeat(width + 1);
                    if column == 0 { format!("|{dashes}-") } else { format!("|{dashes}:") }
                };
                writeln!(out, "{}|", widths.iter().enumerate().map(rule).collect::<String>())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_markdown() {
        let mut table = Table::new(["set", "ns"]);
        assert!(table.is_empty());
        table.row(["dense", "12"]);
        table.row(["ünïform"]);
        assert_eq!(
            table.to_string(),
            "| set     |  ns |\n|---------|----:|\n| dense   |  12 |\n| ünïform |     |\n"
        );
    }

    #[test]
    fn a_report_names_machine_commit_and_date() {
        let mut report = Report::start("Test", Pages::Small);
        report.note_memory();
        let text = report.clone().with("results\n".to_owned()).to_string();
        for part in [&report.date, &report.commit, &report.machine.cpu, "pages: 4 KiB", "results"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let json = serde_json::to_value(report.with(1)).unwrap();
        assert_eq!(json["pages"], "4 KiB");
        assert_eq!(json["results"], 1);
    }
}
