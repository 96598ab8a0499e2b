//! What the benchmark found, and its tables.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::compare::Ratio;
use crate::kv::Contender;
use crate::report::{Excluded, Table};
use crate::spread::Spread;
use crate::ycsb::child::{Finished, Loaded};
use crate::ycsb::run::Plan;
use crate::ycsb::workload::{Mode, Workload};

/// Latencies of single operations in microseconds; each includes one reading of the clock.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// Quantiles with their microseconds.
    pub distribution: Vec<(f64, f64)>,
}

impl From<&Histogram<u64>> for Latency {
    fn from(nanos: &Histogram<u64>) -> Self {
        let us = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
        let quantiles =
            [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0];
        Self {
            p50: us(0.5),
            p99: us(0.99),
            p999: us(0.999),
            max: us(1.0),
            distribution: quantiles.map(|quantile| (quantile, us(quantile))).to_vec(),
        }
    }
}

/// One store in one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The store.
    pub store: String,
    /// What an acknowledgement means.
    pub durability: Mode,
    /// Whether it means that with this store.
    pub keeps_mode: bool,
    /// The mix.
    pub workload: Workload,
    /// Threads.
    pub threads: u64,
    /// Operations of all repeats.
    pub operations: u64,
    /// Operations a second.
    pub per_second: Spread,
    /// The figure of each repeat: ratios are of figures of one repeat.
    pub repeats: Vec<f64>,
    /// Latencies of reads and scans.
    pub reads: Option<Latency>,
    /// Latencies of updates and inserts; of F, with the read before.
    pub writes: Option<Latency>,
}

/// What a store takes beside time.
#[derive(Clone, Debug, Serialize)]
pub struct ResourceRow {
    /// The store.
    pub store: String,
    /// What an acknowledgement means.
    pub durability: Mode,
    /// Records a second while loading in random order without syncs, until nothing is left to do.
    pub load_per_second: f64,
    /// Bytes written to the disk while loading, over the bytes of keys and values.
    pub load_amplification: Option<f64>,
    /// The same at the end, of loading and all runs.
    pub amplification: Option<f64>,
    /// Bytes on the disk a record, after loading.
    pub loaded_disk: f64,
    /// The same at the end.
    pub disk: f64,
    /// Resident memory after the last run, mapped files included, in bytes.
    pub resident_bytes: Option<u64>,
    /// The part of it that is no file.
    pub anonymous_bytes: Option<u64>,
    /// The most that was resident at any time.
    pub peak_bytes: Option<u64>,
}

impl ResourceRow {
    pub(super) fn new(
        contender: Contender,
        mode: Mode,
        plan: &Plan,
        loaded: &Loaded,
        finished: &Finished,
    ) -> Self {
        let record = (8 + plan.value_bytes) as f64;
        let loaded_bytes = plan.records as f64 * record;
        Self {
            store: contender.name().to_owned(),
            durability: mode,
            load_per_second: plan.records as f64 / loaded.seconds,
            load_amplification: loaded.written.map(|written| written as f64 / loaded_bytes),
            amplification: finished.written.map(|written| written as f64 / finished.data as f64),
            loaded_disk: loaded.disk as f64 / plan.records as f64,
            disk: finished.disk as f64 / finished.records as f64,
            resident_bytes: finished.resident,
            anonymous_bytes: finished.anonymous,
            peak_bytes: finished.peak,
        }
    }
}

/// Everything found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// The file system that everything was on.
    pub file_system: String,
    /// Records at the start.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Runs of each row.
    pub repeats: u64,
    /// Seconds after which a run ends with fewer operations.
    pub longest_seconds: f64,
    /// All figures.
    pub rows: Vec<Row>,
    /// Memory, disk, bytes written.
    pub resources: Vec<ResourceRow>,
    /// kyro-engine over the best rival whose acknowledgements mean the same.
    pub ratios: Vec<Ratio>,
    /// What each store promises.
    pub terms: Vec<(String, String)>,
    /// Everyone without figures, and why.
    pub excluded: Vec<Excluded>,
}

impl Results {
    pub(super) fn note(
        &mut self,
        contender: Contender,
        durability: Mode,
        (workload, threads, operations): (Workload, u64, u64),
        repeats: Vec<f64>,
        (reads, writes): (Option<Latency>, Option<Latency>),
    ) {
        let Some(per_second) = Spread::of(&repeats) else { return };
        self.rows.push(Row {
            store: contender.name().to_owned(),
            durability,
            keeps_mode: durability == Mode::Never || contender.syncs(),
            workload,
            threads,
            operations,
            per_second,
            repeats,
            reads,
            writes,
        });
    }

    /// The rows of one workload in one mode, the engine's first.
    fn cell(&self, durability: Mode, workload: Workload) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.durability == durability && row.workload == workload).collect()
    }

    fn cells(&self) -> Vec<(Mode, Workload)> {
        let mut cells: Vec<_> = self.rows.iter().map(|row| (row.durability, row.workload)).collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }

    /// kyro-engine over the best rival that keeps the mode, repeat by repeat.
    fn advantage(&self, durability: Mode, workload: Workload) -> Option<(Spread, &Row)> {
        let cell = self.cell(durability, workload);
        let ours = cell.iter().find(|row| row.store == Contender::Kyro.name())?;
        let rivals = cell.iter().filter(|row| row.store != ours.store && row.keeps_mode);
        let best = rivals.max_by(|one, other| one.per_second.median.total_cmp(&other.per_second.median))?;
        let ratios: Vec<f64> =
            ours.repeats.iter().zip(&best.repeats).map(|(ours, theirs)| ours / theirs).collect();
        Some((Spread::of(&ratios)?, best))
    }

    /// Works out [`Results::ratios`] from the rows.
    pub(super) fn note_ratios(&mut self) {
        let ratio = |(mode, workload): (Mode, Workload)| {
            let (ratio, best) = self.advantage(mode, workload)?;
            let name = format!("YCSB {workload:?}, {}: kyro-engine against the best rival", mode.name());
            Some(Ratio::new(name, ratio.median).against(&best.store))
        };
        self.ratios = self.cells().into_iter().filter_map(ratio).collect();
    }

    fn rates(&self, mode: Mode) -> Table {
        let mut stores: Vec<&Row> = Vec::new();
        for row in self.rows.iter().filter(|row| row.durability == mode) {
            if !stores.iter().any(|other| other.store == row.store) {
                stores.push(row);
            }
        }
        let heads = stores.iter().map(|row| {
            if row.keeps_mode { row.store.clone() } else { format!("{} (does not sync)", row.store) }
        });
        let mut table = Table::new(
            std::iter::once("operations/s".to_owned())
                .chain(heads)
                .chain(["kyro-engine over the best".to_owned()]),
        );
        for (_, workload) in self.cells().into_iter().filter(|(of, _)| *of == mode) {
            let cell = self.cell(mode, workload);
            let mut cells = vec![format!("{workload:?}: {}", workload.mix())];
            cells.extend(stores.iter().map(|store| {
                let row = cell.iter().find(|row| row.store == store.store);
                row.map_or_else(|| "–".to_owned(), |row| row.per_second.to_string())
            }));
            cells.push(self.advantage(mode, workload).map_or_else(
                || "–".to_owned(),
                |(Spread { median, least, most }, best)| {
                    format!("{median:.2} × ({least:.2}–{most:.2}), {}", best.store)
                },
            ));
            table.row(cells);
        }
        table
    }

    fn latencies(&self, mode: Mode) -> Table {
        let mut table =
            Table::new(["µs", "store", "reads p50", "p99", "p99.9", "writes p50", "p99", "p99.9"]);
        for (_, workload) in self.cells().into_iter().filter(|(of, _)| *of == mode) {
            for row in self.cell(mode, workload) {
                let three = |latency: &Option<Latency>| match latency {
                    Some(Latency { p50, p99, p999, .. }) => [p50, p99, p999].map(|us| format!("{us:.1}")),
                    None => ["–", "–", "–"].map(str::to_owned),
                };
                let names = [format!("{workload:?}"), row.store.clone()];
                table.row(names.into_iter().chain(three(&row.reads)).chain(three(&row.writes)));
            }
        }
        table
    }

    fn resources(&self, mode: Mode) -> Table {
        let mut table = Table::new([
            "store",
            "load, k records/s",
            "written a byte of data, load",
            "load and runs",
            "disk bytes a record, loaded",
            "at the end",
            "resident MiB",
            "of it no file",
            "most resident",
        ]);
        let mib = |bytes: Option<u64>| {
            bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.0}", bytes as f64 / f64::from(1 << 20)))
        };
        let times = |times: Option<f64>| times.map_or_else(|| "–".to_owned(), |times| format!("{times:.2}"));
        for row in self.resources.iter().filter(|row| row.durability == mode) {
            table.row([
                row.store.clone(),
                format!("{:.0}", row.load_per_second / 1e3),
                times(row.load_amplification),
                times(row.amplification),
                format!("{:.1}", row.loaded_disk),
                format!("{:.1}", row.disk),
                mib(row.resident_bytes),
                mib(row.anonymous_bytes),
                mib(row.peak_bytes),
            ]);
        }
        table
    }
}

impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file_system, records, value_bytes, repeats, longest_seconds, .. } = self;
        writeln!(
            out,
            "YCSB A to F over {records} records of {value_bytes} B, keys by Zipf's law (0.99), on {file_system}. Medians of \
             {repeats} interleaved runs, ± half the range. Every store in a process of its own, loaded with the same \
             records in the same random order and settled; each operation is a call by itself, with the transaction or \
             view that the store needs for one. Every value read was checked for its key and version; everything was \
             compared again after closing and opening. A run that takes {longest_seconds:.0} s ends with fewer operations.\n"
        )?;
        let mut modes: Vec<Mode> = self.resources.iter().map(|row| row.durability).collect();
        modes.sort_unstable();
        modes.dedup();
        for mode in modes {
            let threads = self.rows.iter().find(|row| row.durability == mode).map_or(1, |row| row.threads);
            let threads = if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
            writeln!(out, "## durability {}, {threads}\n\n{}", mode.name(), self.rates(mode))?;
            writeln!(out, "### latency of single operations\n\n{}", self.latencies(mode))?;
            writeln!(
                out,
                "### memory and disk\n\nBytes written are those that the kernel charged to the process, until all of it \
                 was on the disk. Memory holds the benchmark's own tables, the same for each.\n\n{}",
                self.resources(mode)
            )?;
        }
        for (store, terms) in &self.terms {
            writeln!(out, "- {store}: {terms}")?;
        }
        writeln!(out)?;
        let mut lost = Table::new(["lost", "durability", "to", "kyro-engine / it"]);
        for (mode, workload) in self.cells() {
            if let Some((ratio, best)) =
                self.advantage(mode, workload).filter(|(ratio, _)| ratio.median < 1.0)
            {
                lost.row([
                    format!("{workload:?}"),
                    mode.name().to_owned(),
                    best.store.clone(),
                    format!("{:.2}", ratio.median),
                ]);
            }
        }
        if self.ratios.is_empty() {
            writeln!(out, "No rival was measured.\n")?;
        } else if lost.is_empty() {
            writeln!(out, "kyro-engine is the fastest in every workload.\n")?;
        } else {
            writeln!(out, "## workloads that kyro-engine loses\n\n{lost}")?;
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
