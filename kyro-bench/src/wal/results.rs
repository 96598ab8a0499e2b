//! What the benchmark of the durable write path found.

use std::fmt;
use std::time::Duration;

use kyro_engine::Durability;
use serde::Serialize;

use crate::compare::Ratio;
use crate::report::{Excluded, Table};
use crate::spread::Spread;
use crate::wal::targets::{lost, targets};

/// Everything found. Rates are a second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// The file system that everything was measured on.
    pub file_system: String,
    /// Length of each timed run of writers, in seconds.
    pub seconds: f64,
    /// Timed runs of each row.
    pub repeats: usize,
    /// 4 KiB writes made durable one after the other, by [`raw::Method`](crate::wal::raw::Method) and
    /// [`raw::Processor`](crate::wal::raw::Processor).
    pub durable_writes: Vec<DiskRow>,
    /// The best by its median of those of one thread alone: the raw rate that one writer is compared with.
    pub best_raw: Option<String>,
    /// The best of those with the processor kept awake: the raw rate that several writers are compared with.
    pub best_raw_awake: Option<String>,
    /// Bytes of long transfers, by [`raw::Transfer`](crate::wal::raw::Transfer).
    pub transfers: Vec<DiskRow>,
    /// Puts of one entry and batches of 1,000, acknowledged.
    pub puts: Vec<PutsRow>,
    /// Reading the log alone.
    pub replays: Vec<ReplayRow>,
    /// Opening a database after an unclean stop.
    pub opens: Vec<OpenRow>,
    /// Ratios that later records are compared by: puts against the disk's raw rate, and against rivals.
    pub ratios: Vec<Ratio>,
    /// Everyone without figures, and why.
    pub excluded: Vec<Excluded>,
}

impl Results {
    /// Works out [`Results::ratios`] from the rows.
    pub(super) fn note_ratios(&mut self) {
        let ratios = self.puts.iter().flat_map(|row| {
            let PutsRow { store, writers, value_bytes, .. } = row;
            let place = format!("{}, {writers} writers, {value_bytes} B", row.mode.title());
            let ours = store == "kyro-engine";
            let raw = row.puts_over_raw.filter(|_| ours).map(|ratio| ("the raw rate".to_owned(), ratio));
            let rival = row.kyro_over_this.filter(|_| !ours).map(|ratio| {
                let mark = if row.keeps_mode { "rival" } else { "unsynced" };
                (format!("{mark} {store}"), ratio)
            });
            let ratio = move |(other, ratio): (String, Spread)| {
                Ratio::new(format!("{place}: puts of kyro-engine against {other}"), ratio.median)
            };
            raw.into_iter().chain(rival).map(ratio)
        });
        self.ratios = ratios.collect();
    }
}

/// What the disk can do.
#[derive(Clone, Debug, Serialize)]
pub struct DiskRow {
    /// How it was asked.
    pub name: String,
    /// Writes, or bytes.
    pub per_second: Spread,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The put is on the disk.
    Always,
    /// It is there within 100 ms.
    Interval,
    /// It will be there some time. One thread writes batches of 1,000.
    Never,
}

impl Mode {
    /// The name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval(100 ms)",
            Self::Never => "never, batches of 1,000",
        }
    }

    /// As kyro-engine names it.
    pub fn durability(self) -> Durability {
        match self {
            Self::Always => Durability::Always,
            Self::Interval => Durability::Interval(Duration::from_millis(100)),
            Self::Never => Durability::Never,
        }
    }
}

/// Puts of one store.
#[derive(Clone, Debug, Serialize)]
pub struct PutsRow {
    /// Which.
    pub store: String,
    /// Whether its acknowledgement means what the mode says.
    pub keeps_mode: bool,
    /// The mode.
    pub mode: Mode,
    /// Threads.
    pub writers: usize,
    /// Length of each value.
    pub value_bytes: usize,
    /// Puts acknowledged.
    pub puts: Spread,
    /// Puts (or batches) of a group; of stores that tell.
    pub mean_group: Option<Spread>,
    /// Groups.
    pub groups: Option<Spread>,
    /// Microseconds of a sync.
    pub sync_us: Option<Spread>,
    /// Puts over the raw rate ([`Results::best_raw`], [`Results::best_raw_awake`]) around the run, of steady runs; of all where none is.
    pub puts_over_raw: Option<Spread>,
    /// Groups over the same.
    pub groups_over_raw: Option<Spread>,
    /// Runs with raw rates before and after that differ by 1.5 × at most; of rows that are compared with those.
    pub steady_runs: Option<usize>,
    /// kyro-engine's puts over this store's, in the same repeats.
    pub kyro_over_this: Option<Spread>,
    /// What its acknowledgement means, and how it commits.
    pub terms: String,
}

/// Reading the log alone.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayRow {
    /// Bytes of each frame's payload.
    pub frame_bytes: usize,
    /// Bytes of all payloads.
    pub bytes: u64,
    /// Payload bytes read, with the log in the page cache.
    pub warm: Spread,
    /// The same, with nothing in the page cache; none where the system cannot be told to forget it.
    pub cold: Option<Spread>,
}

/// Opening a database after an unclean stop.
#[derive(Clone, Debug, Serialize)]
pub struct OpenRow {
    /// Entries in runs.
    pub stored: u64,
    /// Entries in the log alone.
    pub tail: u64,
    /// Length of each value.
    pub value_bytes: usize,
    /// Bytes of the tail's batches.
    pub tail_bytes: u64,
    /// Seconds, with the files in the page cache.
    pub warm_seconds: Spread,
    /// The same, with nothing in the page cache.
    pub cold_seconds: Option<Spread>,
    /// Bytes of the tail replayed, warm.
    pub warm: Spread,
    /// The same, cold.
    pub cold: Option<Spread>,
    /// Microseconds of the first get after a warm open.
    pub first_get_us: Spread,
}

impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file_system, seconds, repeats, .. } = self;
        writeln!(
            out,
            "On {file_system}. Medians of {repeats} interleaved runs, of {seconds} s where writers write, ± half the range. \
             What was acknowledged was read back before its figure counted, and again after closing and opening. Ratios are \
             of figures of one repeat; the raw rates were measured before and after each figure of kyro-engine, and where they \
             differ by more than 1.5 × (the disk was not steady) that run is left out of the ratios.\n"
        )?;
        section(
            out,
            "the disk: 4 KiB made durable, one after the other",
            &disk_table(&self.durable_writes, 1.0),
        )?;
        if let (Some(alone), Some(awake)) = (&self.best_raw, &self.best_raw_awake) {
            writeln!(
                out,
                "The raw rate of one writer is that of: {alone}. Of several, who keep the processor awake while one waits: \
                 {awake}.\n"
            )?;
        }
        section(out, "the disk: long transfers, MB/s", &disk_table(&self.transfers, 1e6))?;
        for mode in [Mode::Always, Mode::Interval, Mode::Never] {
            let rows: Vec<&PutsRow> = self.puts.iter().filter(|row| row.mode == mode).collect();
            section(out, &format!("puts a second: {}", mode.title()), &puts_table(&rows))?;
        }
        let mut stores: Vec<(&str, &str)> = Vec::new();
        for row in &self.puts {
            let terms = (row.store.as_str(), row.terms.as_str());
            if !stores.contains(&terms) {
                stores.push(terms);
            }
        }
        for (store, terms) in stores {
            writeln!(out, "- {store}, each put durable: {terms}")?;
        }
        writeln!(out)?;
        section(out, "reading the log alone, MB/s of payload", &replay_table(&self.replays))?;
        section(out, "opening after an unclean stop (SIGKILL)", &open_table(&self.opens))?;
        section(out, "targets", &targets(self))?;
        let lost = lost(self);
        if !self.puts.iter().any(|row| row.kyro_over_this.is_some()) {
            writeln!(out, "No rival was measured.\n")?;
        } else if lost.is_empty() {
            writeln!(out, "kyro-engine is the fastest in every cell.\n")?;
        } else {
            section(out, "cells that kyro-engine loses", &lost)?;
        }
        if !self.excluded.is_empty() {
            writeln!(out, "## not measured\n")?;
        }
        for Excluded { name, reason } in &self.excluded {
            writeln!(out, "- {name}: {reason}")?;
        }
        Ok(())
    }
}

fn section(out: &mut fmt::Formatter<'_>, title: &str, table: &Table) -> fmt::Result {
    if table.is_empty() { Ok(()) } else { writeln!(out, "## {title}\n\n{table}") }
}

/// `spread` in other units.
fn in_units(spread: Spread, unit: f64) -> String {
    let Spread { median, least, most } = spread;
    Spread { median: median / unit, least: least / unit, most: most / unit }.to_string()
}

fn optional(spread: Option<Spread>, unit: f64) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| in_units(spread, unit))
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |Spread { median, least, most }| format!("{median:.2} ({least:.2}–{most:.2})"),
    )
}

fn disk_table(rows: &[DiskRow], unit: f64) -> Table {
    let mut table = Table::new(["", "a second"]);
    for row in rows {
        table.row([row.name.clone(), in_units(row.per_second, unit)]);
    }
    table
}

fn puts_table(rows: &[&PutsRow]) -> Table {
    let mut table = Table::new([
        "store",
        "writers",
        "value, bytes",
        "puts/s",
        "mean group",
        "groups/s",
        "sync, µs",
        "puts / raw",
        "groups / raw",
        "steady runs",
        "kyro-engine / this",
    ]);
    for row in rows {
        let mark = if row.keeps_mode { "" } else { " (does not sync)" };
        table.row([
            format!("{}{mark}", row.store),
            row.writers.to_string(),
            row.value_bytes.to_string(),
            row.puts.to_string(),
            optional(row.mean_group, 1.0),
            optional(row.groups, 1.0),
            optional(row.sync_us, 1.0),
            ratio(row.puts_over_raw),
            ratio(row.groups_over_raw),
            row.steady_runs.map_or_else(|| "–".to_owned(), |runs| runs.to_string()),
            ratio(row.kyro_over_this),
        ]);
    }
    table
}

fn replay_table(rows: &[ReplayRow]) -> Table {
    let mut table = Table::new(["frame, bytes", "log, MB", "warm", "cold"]);
    for row in rows {
        table.row([
            row.frame_bytes.to_string(),
            format!("{:.0}", row.bytes as f64 / 1e6),
            in_units(row.warm, 1e6),
            optional(row.cold, 1e6),
        ]);
    }
    table
}

fn open_table(rows: &[OpenRow]) -> Table {
    let mut table = Table::new([
        "stored",
        "tail",
        "value, bytes",
        "tail, MB",
        "warm, ms",
        "cold, ms",
        "warm, MB/s",
        "cold, MB/s",
        "first get, µs",
    ]);
    for row in rows {
        table.row([
            row.stored.to_string(),
            row.tail.to_string(),
            row.value_bytes.to_string(),
            format!("{:.0}", row.tail_bytes as f64 / 1e6),
            in_units(row.warm_seconds, 1e-3),
            optional(row.cold_seconds, 1e-3),
            in_units(row.warm, 1e6),
            optional(row.cold, 1e6),
            row.first_get_us.to_string(),
        ]);
    }
    table
}
