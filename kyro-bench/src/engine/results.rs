//! What the benchmark of the engine found, and its tables.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::compare::Ratio;
use crate::engine::busy::BusyRow;
use crate::engine::compressed::{CompressedRow, Shown};
use crate::engine::measure::Measure;
use crate::engine::targets::{lost, targets};
use crate::report::{Excluded, Table};
use crate::spread::Spread;

/// The engine's name in rows.
pub(super) const KYRO: &str = "kyro-engine";
/// Values that outlive the get: [`kyro_engine::Engine::get`].
pub(super) const SHARED: &str = "kyro-engine, shared values";
/// Reads by way of one view for all of them.
pub(super) const VIEW: &str = "kyro-engine, one view";
/// The engine with as many entries again in its delta, none of which is asked for.
pub(super) const DELTA: &str = "kyro-engine, as many entries again in the delta";
/// The engine with every record in the delta, and none in a run.
pub(super) const ALL_IN_DELTA: &str = "kyro-engine, everything in the delta";
/// The engine with its entries spread over four runs.
pub(super) const RUNS: &str = "kyro-engine, 4 runs";
/// The floor over the mapped files.
pub(super) const FLOOR: &str = "floor";
/// The floor over a copy in huge pages.
pub(super) const FLOOR_HUGE: &str = "floor, huge pages";

/// How much data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Size {
    /// Records.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, value_bytes } = self;
        if *records >= 1_000_000 && records.is_multiple_of(1_000_000) {
            write!(out, "{} M records of {value_bytes} B", records / 1_000_000)
        } else {
            write!(out, "{records} records of {value_bytes} B")
        }
    }
}

/// One figure of one store.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How much data.
    #[serde(flatten)]
    pub size: Size,
    /// What was measured.
    pub measure: Measure,
    /// Of whom: a store, the floor, or the engine in another state.
    pub store: String,
    /// The figure.
    pub figure: Spread,
    /// The figure of each repeat: ratios are of figures of one repeat.
    pub repeats: Vec<f64>,
}

/// Everything found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// The file system that everything was on.
    pub file_system: String,
    /// Timed runs of each row.
    pub repeats: usize,
    /// Gets of each.
    pub gets: usize,
    /// Nanoseconds that reading the clock takes: part of every get that is timed alone.
    pub clock_ns: f64,
    /// All figures.
    pub rows: Vec<Row>,
    /// Bytes of the index file in each size.
    pub index_bytes: Vec<(Size, u64)>,
    /// Reads while the engine is busy.
    pub busy: Vec<BusyRow>,
    /// Reads of compressed values: for each size three ways of keeping them.
    pub compressed: Vec<Vec<CompressedRow>>,
    /// Ratios that later records are compared by: against the best rival, and against the floor.
    pub ratios: Vec<Ratio>,
    /// What each store was asked for.
    pub terms: Vec<(String, String)>,
    /// Everyone without figures, and why.
    pub excluded: Vec<Excluded>,
}

impl Results {
    /// Notes the figures of the repeats of one cell; none, none.
    pub fn note(&mut self, size: Size, measure: Measure, store: &str, repeats: Vec<f64>) {
        if let Some(figure) = Spread::of(&repeats) {
            self.rows.push(Row { size, measure, store: store.to_owned(), figure, repeats });
        }
    }

    /// The row of a store.
    pub fn row(&self, size: Size, measure: Measure, store: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.size == size && row.measure == measure && row.store == store)
    }

    /// The rows of rivals in one cell.
    pub fn rivals(&self, size: Size, measure: Measure) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| {
            row.size == size
                && row.measure == measure
                && !row.store.starts_with(KYRO)
                && !row.store.starts_with(FLOOR)
        })
    }

    /// The best rival in one cell, by its median.
    pub fn best_rival(&self, size: Size, measure: Measure) -> Option<&Row> {
        self.rivals(size, measure)
            .max_by(|one, other| measure.advantage(one.figure.median, other.figure.median).total_cmp(&1.0))
    }

    /// Works out [`Results::ratios`] from the rows.
    pub(super) fn note_ratios(&mut self) {
        let ratio = |ours: &Row| -> Vec<Ratio> {
            let (size, measure, store) = (ours.size, ours.measure, &ours.store);
            if !measure.is_compared() {
                return vec![Ratio::new(format!("{size}: {measure}, {store}"), ours.figure.median)];
            }
            let ratio = |other: &Row, name: &str| {
                let name = format!("{size}: {measure}, {store} against {name}");
                Some(Ratio::new(name, advantage(ours, other)?.median))
            };
            let best = self.best_rival(size, measure);
            let beside = best.and_then(|best| Some(ratio(best, "the best rival")?.against(&best.store)));
            let floor = self.row(size, measure, FLOOR).and_then(|floor| ratio(floor, "the floor"));
            beside.into_iter().chain(floor).collect()
        };
        self.ratios = self.rows.iter().filter(|row| row.store.starts_with(KYRO)).flat_map(ratio).collect();
    }

    /// All sizes, in order.
    pub fn sizes(&self) -> Vec<Size> {
        let sizes: BTreeSet<Size> = self.rows.iter().map(|row| row.size).collect();
        sizes.into_iter().collect()
    }
}

/// How many times better `ours` is than `theirs`, repeat by repeat.
pub(super) fn advantage(ours: &Row, theirs: &Row) -> Option<Spread> {
    let pairs = ours.repeats.iter().zip(&theirs.repeats);
    let ratios: Vec<f64> = pairs.map(|(&ours_, &theirs_)| ours.measure.advantage(ours_, theirs_)).collect();
    Spread::of(&ratios)
}

impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file_system, repeats, gets, clock_ns, .. } = self;
        writeln!(
            out,
            "On {file_system}. Medians of {repeats} interleaved runs of {gets} gets, ± half the range; every store is open \
             and loaded with the same records while they take turns. Loads and reopenings are repeated less often. Every \
             answer of a sample was compared before timing, and the sum of what was read after every timed run. Stores are \
             read as their sorted load left them, which is the best shape for each of them; kyro-engine as one compacted \
             run. *Serial*: each key waits for the value before; *independent*: it does not. A get reads the first eight \
             bytes of the value. Gets timed one by one include reading the clock, {clock_ns:.0} ns.\n"
        )?;
        writeln!(
            out,
            "The floor is a chain of three dependent reads in files of the very database: its index file as far in as the \
             entry is in the run, the key, the value; each chain waits for the one before. No search, no checks.\n"
        )?;
        for size in self.sizes() {
            writeln!(out, "## {size}\n\n{}", self.table(size))?;
            if let Some((_, bytes)) = self.index_bytes.iter().find(|(of, _)| *of == size) {
                let bits = *bytes as f64 * 8.0 / size.records as f64;
                writeln!(out, "Index: {bytes} bytes, {bits:.2} bits a key.\n")?;
            }
        }
        for row in &self.busy {
            writeln!(out, "{row}")?;
        }
        for rows in &self.compressed {
            writeln!(out, "{}", Shown(rows))?;
        }
        for (store, terms) in &self.terms {
            writeln!(out, "- {store}: {terms}")?;
        }
        writeln!(out)?;
        let targets = targets(self);
        if !targets.is_empty() {
            writeln!(out, "## targets\n\n{targets}")?;
        }
        let lost = lost(self);
        if !self.rows.iter().any(|row| !row.store.starts_with(KYRO) && !row.store.starts_with(FLOOR)) {
            writeln!(out, "No rival was measured.\n")?;
        } else if lost.is_empty() {
            writeln!(out, "kyro-engine is the best in every cell.\n")?;
        } else {
            writeln!(out, "## cells that kyro-engine loses\n\n{lost}")?;
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

impl Results {
    /// Measures by stores.
    fn table(&self, size: Size) -> Table {
        let rows = || self.rows.iter().filter(|row| row.size == size);
        let mut stores: Vec<&str> = Vec::new();
        for row in rows() {
            if !stores.contains(&row.store.as_str()) {
                stores.push(&row.store);
            }
        }
        stores.sort_by_key(|store| place(store));
        let measures: BTreeSet<Measure> = rows().map(|row| row.measure).collect();
        let mut heads = vec![String::new()];
        heads.extend(stores.iter().map(|&store| store.to_owned()));
        heads.push("kyro-engine is better than the best rival by".to_owned());
        let mut table = Table::new(heads);
        for measure in measures {
            let mut cells = vec![measure.to_string()];
            cells.extend(stores.iter().map(|store| {
                self.row(size, measure, store).map_or_else(|| "–".to_owned(), |row| row.figure.to_string())
            }));
            let ours = self.row(size, measure, KYRO).filter(|_| measure.is_compared());
            let pair = ours.zip(self.best_rival(size, measure));
            cells.push(pair.and_then(|(ours, best)| advantage(ours, best)).map_or_else(
                || "–".to_owned(),
                |Spread { median, least, most }| format!("{median:.2} × ({least:.2}–{most:.2})"),
            ));
            table.row(cells);
        }
        table
    }
}

/// Where a store's column stands: the engine first, its other states, rivals, floors.
fn place(name: &str) -> usize {
    match name {
        KYRO => 0,
        FLOOR => 3,
        FLOOR_HUGE => 4,
        _ if name.starts_with(KYRO) => 1,
        _ => 2,
    }
}
