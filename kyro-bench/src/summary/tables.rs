//! What each group's report says, in a table that is read at a glance: everyone in a column, the best in bold.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::engine::measure::Measure;
use crate::report::Table;
use crate::spread::Spread;

/// A table of a group's report.
type Tell = fn(&Value) -> Table;

/// The tables of a group.
pub(super) fn of(group: &str) -> &'static [Tell] {
    match group {
        "index" => &[index],
        "wal" => &[recovery, puts],
        "engine" => &[stores, busy],
        "http" => &[http, open_loop],
        "rivals" => &[rivals],
        _ => &[],
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value["results"][key].as_array().map_or(&[], Vec::as_slice)
}

fn spread(value: &Value) -> Option<Spread> {
    let part = |key: &str| value[key].as_f64();
    Some(Spread { median: part("median")?, least: part("least")?, most: part("most")? })
}

/// A figure as reports print it.
fn figure(value: &Value) -> String {
    spread(value).map_or_else(none, |figure| figure.to_string())
}

fn none() -> String {
    "–".to_owned()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Everyone in `rows`, each once, in their order, with whether it is compared: one that acknowledges before it has synced is
/// shown and marked, and neither best nor lost to.
fn everyone(rows: &[Value]) -> Vec<(String, bool)> {
    let mut stores: Vec<(String, bool)> = Vec::new();
    for row in rows {
        let (store, keeps) = (text(&row["store"]), row["keeps_mode"].as_bool().unwrap_or(true));
        match stores.iter_mut().find(|(other, _)| *other == store) {
            Some((_, all)) => *all &= keeps,
            None => stores.push((store, keeps)),
        }
    }
    stores
}

/// Figures in the order of columns; the best of those that are compared in bold.
fn cells(figures: &[(Option<Spread>, bool)], more_is_better: bool) -> Vec<String> {
    let compared = figures.iter().filter(|(_, compared)| *compared).filter_map(|(figure, _)| *figure);
    let medians: Vec<f64> = compared.map(|figure| figure.median).collect();
    let alone = medians.len() < 2;
    let best = medians.into_iter().reduce(if more_is_better { f64::max } else { f64::min });
    let cell = |&(figure, compared): &(Option<Spread>, bool)| {
        let Some(figure) = figure else { return none() };
        let is_best = compared && !alone && best.is_some_and(|best| best.total_cmp(&figure.median).is_eq());
        if is_best { format!("**{figure}**") } else { figure.to_string() }
    };
    figures.iter().map(cell).collect()
}

/// Serial hits by size: the index, the tree, how many times faster the one is, and the fastest of all others.
fn index(report: &Value) -> Table {
    let mut table = Table::new([
        "serial hits, ns",
        "keys",
        "kyro-rmi",
        "BTreeMap",
        "times faster",
        "the fastest rival",
        "is",
        "floor",
    ]);
    for set in list(report, "sets") {
        let contenders = set["contenders"].as_array().map_or(&[][..], Vec::as_slice);
        let named = |name: &str| {
            let found =
                contenders.iter().find(|one| one["name"].as_str().is_some_and(|own| own.starts_with(name)));
            found.and_then(|one| spread(&one["figures"]["hit-serial"]))
        };
        let (ours, tree) = (named("kyro-rmi"), named("BTreeMap"));
        let times = ours.zip(tree).map(|(ours, tree)| format!("{:.2}", tree.median / ours.median));
        let rivals = contenders.iter().skip(1);
        let best = rivals
            .filter_map(|one| Some((text(&one["name"]), spread(&one["figures"]["hit-serial"])?)))
            .min_by(|one, other| one.1.median.total_cmp(&other.1.median));
        let name = best.as_ref().map_or_else(none, |(name, _)| name.clone());
        let pair = cells(&[(ours, true), (best.map(|(_, figure)| figure), true)], false);
        table.row([
            text(&set["set"]),
            set["keys"].to_string(),
            pair[0].clone(),
            tree.map_or_else(none, |figure| figure.to_string()),
            times.unwrap_or_else(none),
            pair[1].clone(),
            name,
            figure(&set["floor"]["hit-serial"]),
        ]);
    }
    table
}

/// Opening after an unclean stop.
fn recovery(report: &Value) -> Table {
    let mut table = Table::new(["opening after SIGKILL", "tail of the log", "warm, ms", "cold, ms"]);
    for open in list(report, "opens") {
        let ms = |value: &Value| {
            let ms = |Spread { median, least, most }| Spread {
                median: median * 1e3,
                least: least * 1e3,
                most: most * 1e3,
            };
            spread(value).map_or_else(none, |seconds| ms(seconds).to_string())
        };
        table.row([
            format!("{} stored", open["stored"]),
            format!("{} × {} B", open["tail"], open["value_bytes"]),
            ms(&open["warm_seconds"]),
            ms(&open["cold_seconds"]),
        ]);
    }
    table
}

/// Heads of columns: what the lines are, and everyone, marked where an acknowledgement promises less.
fn heads(first: &str, stores: &[(String, bool)]) -> Vec<String> {
    let heads = stores
        .iter()
        .map(|(store, keeps)| format!("{store}{}", if *keeps { "" } else { " (does not sync)" }));
    std::iter::once(first.to_owned()).chain(heads).collect()
}

/// One line for each different `line` of the rows, everyone's `figure` in it.
fn pivot(first: &str, rows: &[Value], line: impl Fn(&Value) -> String, figure: &str) -> Table {
    let stores = everyone(rows);
    let mut lines: Vec<String> = Vec::new();
    for line in rows.iter().map(&line) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let mut table = Table::new(heads(first, &stores));
    for one in lines {
        let figures = stores.iter().map(|(store, _)| {
            let row = rows.iter().find(|row| text(&row["store"]) == *store && line(row) == one);
            let keeps = row.and_then(|row| row["keeps_mode"].as_bool()).unwrap_or(true);
            (row.and_then(|row| spread(&row[figure])), keeps)
        });
        let figures: Vec<_> = figures.collect();
        table.row(std::iter::once(one).chain(cells(&figures, true)));
    }
    table
}

/// Durable puts of everyone.
fn puts(report: &Value) -> Table {
    let line = |row: &Value| {
        let several = if row["writers"] == 1 { "" } else { "s" };
        format!("{}, {} B, {} writer{several}", text(&row["mode"]), row["value_bytes"], row["writers"])
    };
    pivot("puts/s", list(report, "puts"), line, "puts")
}

/// Workloads by stores.
fn rivals(report: &Value) -> Table {
    let line = |row: &Value| {
        let several = if row["threads"] == 1 { "" } else { "s" };
        format!(
            "{}, {}, {} thread{several}",
            text(&row["workload"]),
            text(&row["durability"]),
            row["threads"]
        )
    };
    pivot("YCSB, operations/s", list(report, "rows"), line, "per_second")
}

/// Every measure by stores, as the engine stands after a load; its other states are in the group's own report.
fn stores(report: &Value) -> Table {
    let rows = list(report, "rows");
    let measure = |row: &Value| serde_json::from_value::<Measure>(row["measure"].clone()).ok();
    let mut stores = everyone(rows);
    stores.retain(|(store, _)| !store.contains(", "));
    stores.sort_by_key(|(store, _)| match store.as_str() {
        "kyro-engine" => 0,
        "floor" => 2,
        _ => 1,
    });
    let lines: BTreeSet<(u64, u64, Measure)> = rows
        .iter()
        .filter_map(|row| Some((row["records"].as_u64()?, row["value_bytes"].as_u64()?, measure(row)?)))
        .collect();
    let mut table = Table::new(heads("engine", &stores));
    for (records, bytes, line) in lines {
        let figures = stores.iter().map(|(store, _)| {
            let row = rows.iter().find(|row| {
                text(&row["store"]) == *store
                    && row["records"] == records
                    && row["value_bytes"] == bytes
                    && measure(row) == Some(line)
            });
            let compared = store != "floor" && line.is_compared();
            (row.and_then(|row| spread(&row["figure"])), compared)
        });
        let figures: Vec<_> = figures.collect();
        let first = format!("{records} × {bytes} B: {line}");
        table.row(std::iter::once(first).chain(cells(&figures, line.more_is_better())));
    }
    table
}

/// Reads while the engine is busy.
fn busy(report: &Value) -> Table {
    let mut table = Table::new([
        "gets, µs",
        "p50",
        "p99",
        "p99.9",
        "most",
        "of 10 ms and more",
        "flushes",
        "compactions",
    ]);
    for row in list(report, "busy") {
        let asked = &row["puts_per_second"];
        for (name, key) in [("no load", "quiet"), ("beside the load", "busy")] {
            let us = |part: &str| row[key][part].as_f64().map_or_else(none, |ns| format!("{:.2}", ns / 1e3));
            let of_load = |part: &str| if key == "busy" { row[part].to_string() } else { none() };
            let name = if key == "busy" { format!("{name}: {asked} puts/s") } else { name.to_owned() };
            table.row([
                name,
                us("p50"),
                us("p99"),
                us("p999"),
                us("max"),
                of_load("stalls"),
                of_load("flushes"),
                of_load("compactions"),
            ]);
        }
    }
    table
}

fn latencies(row: &Value) -> [String; 4] {
    ["p50", "p99", "p999", "max"]
        .map(|key| row["latencies"][key].as_f64().map_or_else(none, |us| format!("{us:.0}")))
}

/// Requests a second, one after the other on each connection, or many on their way.
fn http(report: &Value) -> Table {
    let mut table = Table::new([
        "closed loop",
        "on their way",
        "requests/s",
        "over bare hyper",
        "p50, µs",
        "p99, µs",
        "p99.9, µs",
    ]);
    for row in list(report, "rates") {
        let [p50, p99, p999, _] = latencies(row);
        let keys = row["keys"].as_u64().unwrap_or(1);
        let of = if keys > 1 { format!(" of {keys} keys") } else { String::new() };
        table.row([
            format!("{}{of}", text(&row["name"])),
            row["depth"].to_string(),
            figure(&row["per_second"]),
            spread(&row["over_bare"]).map_or_else(none, |ratio| format!("{:.2} ×", ratio.median)),
            p50,
            p99,
            p999,
        ]);
    }
    for row in list(report, "puts") {
        let [p50, p99, p999, _] = latencies(row);
        table.row([
            format!("{}, durable, {} connections", text(&row["route"]), row["writers"]),
            "1".to_owned(),
            figure(&row["http"]),
            none(),
            p50,
            p99,
            p999,
        ]);
    }
    table
}

/// Latencies at a given rate, from the time that a request was due.
fn open_loop(report: &Value) -> Table {
    let mut table = Table::new([
        "open loop, from the time due",
        "share of closed loop",
        "answered/s",
        "p50, µs",
        "p99, µs",
        "p99.9, µs",
        "most, µs",
    ]);
    for row in list(report, "open_loop") {
        let [p50, p99, p999, most] = latencies(row);
        table.row([
            text(&row["name"]),
            format!("{:.0} %", row["share"].as_f64().unwrap_or_default() * 100.0),
            format!("{:.0}", row["answered"].as_f64().unwrap_or_default()),
            p50,
            p99,
            p999,
            most,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(table: &Table) -> Vec<String> {
        let text = table.to_string();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).collect()
    }

    fn even(median: f64) -> Value {
        serde_json::json!({ "median": median, "least": median * 0.9, "most": median * 1.1 })
    }

    #[test]
    fn who_does_not_sync_is_marked_and_never_the_best() {
        let row = |store: &str, keeps: bool, figure: f64| {
            serde_json::json!({ "store": store, "keeps_mode": keeps, "mode": "always", "writers": 1,
                "value_bytes": 16, "puts": even(figure) })
        };
        let rows = [row("kyro-engine", true, 6000.0), row("fjall", true, 5000.0), row("sled", false, 8000.0)];
        let report = serde_json::json!({ "results": { "puts": rows } });
        let lines = lines(&puts(&report));
        assert_eq!(lines[0], "| puts/s | kyro-engine | fjall | sled (does not sync) |");
        assert_eq!(lines[2], "| always, 16 B, 1 writer | **6000 ±10 %** | 5000 ±10 % | 8000 ±10 % |");
    }

    #[test]
    fn measures_have_their_unit_and_their_better_side() {
        let row = |store: &str, measure: &str, figure: f64| {
            serde_json::json!({ "store": store, "measure": measure, "records": 1000, "value_bytes": 16,
                "figure": even(figure) })
        };
        let rows = [
            row("floor", "hit-serial", 50.0),
            row("kyro-engine", "hit-serial", 100.0),
            row("kyro-engine, 4 runs", "hit-serial", 90.0),
            row("LMDB", "hit-serial", 300.0),
            row("kyro-engine", "scan-all", 60.0),
            row("LMDB", "scan-all", 70.0),
            row("kyro-engine", "speedup", 1.5),
            row("LMDB", "speedup", 1.9),
        ];
        let lines = lines(&stores(&serde_json::json!({ "results": { "rows": rows } })));
        assert_eq!(lines[0], "| engine | kyro-engine | LMDB | floor |");
        assert_eq!(
            lines[2..],
            [
                "| 1000 × 16 B: get, uniform, serial, ns | **100 ±10 %** | 300 ±10 % | 50.0 ±10 % |",
                "| 1000 × 16 B: 2 threads / 1 thread, × | 1.5 ±10 % | 1.9 ±10 % | – |",
                "| 1000 × 16 B: scan of everything, M keys/s | 60.0 ±10 % | **70.0 ±10 %** | – |",
            ]
        );
    }
}
