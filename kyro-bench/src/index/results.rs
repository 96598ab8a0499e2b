//! What the index benchmark found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::compare::Ratio;
use crate::index::pattern::Pattern;
use crate::index::targets::targets;
use crate::report::{Excluded, Table};
use crate::spread::Spread;

/// The results of all key sets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// Lookups of each timed run.
    pub lookups: usize,
    /// Timed runs of each contender in each pattern.
    pub repeats: usize,
    /// One for each key set and size.
    pub sets: Vec<SetResult>,
    /// Ratios that later records are compared by: kyro-rmi against the floor, the best rival, and the B-tree.
    pub ratios: Vec<Ratio>,
}

impl Results {
    /// Works out [`Results::ratios`] from the sets.
    pub(super) fn note_ratios(&mut self) {
        self.ratios = self.sets.iter().flat_map(SetResult::ratios).collect();
    }
}

/// The results of one key set.
#[derive(Clone, Debug, Serialize)]
pub struct SetResult {
    /// Name of the set, or of the file.
    pub set: String,
    /// True for the smooth sets: see [`crate::dataset::DataSet::is_smooth`].
    pub is_smooth: bool,
    /// Distinct keys.
    pub keys: usize,
    /// The floor, in nanoseconds a lookup: the position is known, one key is read.
    pub floor: BTreeMap<Pattern, Spread>,
    /// The index itself.
    pub kyro: KyroFigures,
    /// Everyone who answers right, kyro-rmi first.
    pub contenders: Vec<ContenderResult>,
    /// Everyone who does not.
    pub excluded: Vec<Excluded>,
}

/// What is known about kyro-rmi beside its lookups.
#[derive(Clone, Debug, Serialize)]
pub struct KyroFigures {
    /// Bits of index for each key.
    pub bits_per_key: f64,
    /// Bytes of index in percent of the bytes of the keys.
    pub percent_of_keys: f64,
    /// The kind of the root.
    pub root: String,
    /// Keys in a window, at most.
    pub max_window: u32,
    /// Records that a lookup follows, at most.
    pub max_steps: u32,
    /// Distance of prediction and position, in keys: median, 99th percentile, most.
    pub epsilon: [u32; 3],
    /// Intervals with a model of their own.
    pub leaves: u64,
    /// Percent of keys found by bounded search instead of a model.
    pub fallback_percent: f64,
    /// Building, verification of every key included.
    pub build: BuildFigures,
    /// Time to map and open the encoded index, in microseconds.
    pub open_us: Spread,
}

/// How fast an index is built, in millions of keys a second on one core.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BuildFigures {
    /// Without the verification at the end (its time, measured alone, taken off).
    pub before_verification: Spread,
    /// With it: what a caller waits for.
    pub with_verification: Spread,
}

/// One contender's figures.
#[derive(Clone, Debug, Serialize)]
pub struct ContenderResult {
    /// Name, with its parameters.
    pub name: String,
    /// Bytes beside the key column; all its bytes when it answers without that.
    pub index_bytes: u64,
    /// Millions of keys a second to build; `None` when there is nothing to build.
    pub build_mkeys: Option<f64>,
    /// Nanoseconds a lookup.
    pub figures: BTreeMap<Pattern, Spread>,
}

impl SetResult {
    fn ratios(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for pattern in Pattern::ALL {
            let Some(ours) = self.kyro_figure(pattern) else { continue };
            let rivals = || self.contenders.iter().skip(1);
            let of = |rival: &ContenderResult| rival.figures.get(&pattern).map(|figure| figure.median);
            let tree = rivals().find(|rival| rival.name.starts_with("BTreeMap")).and_then(of);
            let best = rivals()
                .filter_map(|rival| Some((of(rival)?, rival.name.as_str())))
                .min_by(|one, other| one.0.total_cmp(&other.0));
            let floor = self.floor.get(&pattern.floor()).map(|figure| figure.median);
            let ratio = |theirs: f64, other: &str| {
                let (set, keys, pattern) = (&self.set, self.keys, pattern.title());
                let name = format!("{set}, {keys} keys: {pattern}, kyro-rmi against {other}");
                Ratio::new(name, theirs / ours)
            };
            ratios.extend(floor.map(|floor| ratio(floor, "the floor")));
            ratios.extend(best.map(|(best, name)| ratio(best, "the best rival").against(name)));
            ratios.extend(tree.map(|tree| ratio(tree, "BTreeMap")));
        }
        ratios
    }

    /// kyro-rmi's figure.
    pub(super) fn kyro_figure(&self, pattern: Pattern) -> Option<f64> {
        self.contenders.first()?.figures.get(&pattern).map(|spread| spread.median)
    }

    /// kyro-rmi's figure as a multiple of the floor.
    pub(super) fn kyro_over_floor(&self, pattern: Pattern) -> Option<f64> {
        Some(self.kyro_figure(pattern)? / self.floor.get(&pattern.floor())?.median)
    }
}

impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lookups, repeats, .. } = self;
        writeln!(
            out,
            "Nanoseconds a lookup: median of {repeats} interleaved runs of {lookups} lookups, in brackets as a multiple of \
             the floor (position known, one key read; batches: the independent floor), ± half the range. Every answer was \
             verified before.\n"
        )?;
        let mut sizes: Vec<usize> = self.sets.iter().map(|set| set.keys).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for keys in sizes {
            let sets: Vec<&SetResult> = self.sets.iter().filter(|set| set.keys == keys).collect();
            writeln!(out, "## {keys} keys\n")?;
            for pattern in Pattern::ALL {
                writeln!(out, "### {}\n\n{}", pattern.title(), lookup_table(&sets, pattern))?;
            }
            writeln!(out, "### kyro-rmi\n\n{}", kyro_table(&sets))?;
            writeln!(out, "### size and build\n\n{}", build_table(&sets))?;
            let lost = lost_table(&sets);
            if lost.is_empty() {
                writeln!(out, "kyro-rmi is the fastest in every cell.\n")?;
            } else {
                writeln!(out, "### cells that kyro-rmi loses\n\n{lost}")?;
            }
            writeln!(out, "### targets\n\n{}", targets(&sets))?;
        }
        if self.sets.iter().any(|set| !set.excluded.is_empty()) {
            writeln!(out, "## not timed\n")?;
        }
        for set in &self.sets {
            for Excluded { name, reason } in &set.excluded {
                writeln!(out, "- {}, {} keys: {name}: {reason}", set.set, set.keys)?;
            }
        }
        Ok(())
    }
}

/// Contenders are rows, since there are more of them than a line has room for.
fn lookup_table(sets: &[&SetResult], pattern: Pattern) -> Table {
    let mut table = Table::new(std::iter::once("").chain(sets.iter().map(|set| set.set.as_str())));
    let cell = |figure: Option<&Spread>, set: &SetResult| match (figure, set.floor.get(&pattern.floor())) {
        (Some(figure), Some(floor)) => {
            let digits = usize::from(figure.median < 100.0);
            format!(
                "{:.digits$} ({:.2}) ±{:.0} %",
                figure.median,
                figure.median / floor.median,
                figure.percent()
            )
        }
        _ => "–".to_owned(),
    };
    let floor = sets.iter().map(|set| cell(set.floor.get(&pattern.floor()), set));
    table.row(std::iter::once("floor".to_owned()).chain(floor));
    for name in plain_names(sets) {
        let cells = sets.iter().map(|set| {
            let contender = set.contenders.iter().find(|contender| plain(&contender.name) == name);
            cell(contender.and_then(|contender| contender.figures.get(&pattern)), set)
        });
        table.row(std::iter::once(name.clone()).chain(cells));
    }
    table
}

/// A name without the parameters in its brackets, which differ from set to set.
fn plain(name: &str) -> &str {
    name.split_once(" (ε").or_else(|| name.split_once(" (error")).map_or(name, |(plain, _)| plain)
}

fn plain_names(sets: &[&SetResult]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for contender in sets.iter().flat_map(|set| &set.contenders) {
        let name = plain(&contender.name).to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn kyro_table(sets: &[&SetResult]) -> Table {
    let mut table = Table::new([
        "set",
        "index, % of keys",
        "bits per key",
        "root",
        "window",
        "records at most",
        "ε p50 / p99 / max",
        "leaves",
        "fallback, % of keys",
        "build, M keys/s",
        "with verification",
        "open, µs",
    ]);
    for set in sets {
        let kyro = &set.kyro;
        let [p50, p99, most] = kyro.epsilon;
        table.row([
            set.set.clone(),
            format!("{:.3}", kyro.percent_of_keys),
            format!("{:.3}", kyro.bits_per_key),
            kyro.root.clone(),
            kyro.max_window.to_string(),
            kyro.max_steps.to_string(),
            format!("{p50} / {p99} / {most}"),
            kyro.leaves.to_string(),
            format!("{:.3}", kyro.fallback_percent),
            kyro.build.before_verification.to_string(),
            kyro.build.with_verification.to_string(),
            kyro.open_us.to_string(),
        ]);
    }
    table
}

fn build_table(sets: &[&SetResult]) -> Table {
    let mut table = Table::new(["set", "contender", "bytes per key", "build, M keys/s"]);
    for set in sets {
        for contender in &set.contenders {
            table.row([
                set.set.clone(),
                contender.name.clone(),
                format!("{:.3}", contender.index_bytes as f64 / set.keys as f64),
                contender.build_mkeys.map_or_else(|| "–".to_owned(), |speed| format!("{speed:.1}")),
            ]);
        }
    }
    table
}

fn lost_table(sets: &[&SetResult]) -> Table {
    let mut table = Table::new(["set", "pattern", "faster", "its ns", "kyro-rmi's ns"]);
    for set in sets {
        for pattern in Pattern::ALL {
            let Some(ours) = set.kyro_figure(pattern) else { continue };
            for rival in set.contenders.iter().skip(1) {
                if let Some(theirs) = rival.figures.get(&pattern).filter(|theirs| theirs.median < ours) {
                    table.row([
                        set.set.clone(),
                        pattern.title().to_owned(),
                        rival.name.clone(),
                        format!("{:.1}", theirs.median),
                        format!("{ours:.1}"),
                    ]);
                }
            }
        }
    }
    table
}
