//! Requests a second of the server, and the percentiles of their latencies.

use serde_json::Value;

use crate::plot::bars::Bars;
use crate::plot::{Named, items, median, subtitle};

/// Throughput in closed loop; percentiles at given rates.
pub(super) fn charts(report: &Value) -> Vec<Named> {
    [throughput(report), percentiles(report)].into_iter().flatten().collect()
}

fn throughput(report: &Value) -> Option<Named> {
    let rates = items(&report["results"]["rates"]);
    let mut names: Vec<&str> = Vec::new();
    let mut depths: Vec<u64> = Vec::new();
    for row in rates {
        let (name, depth) = (row["name"].as_str()?, row["depth"].as_u64()?);
        if !names.contains(&name) {
            names.push(name);
        }
        if !depths.contains(&depth) {
            depths.push(depth);
        }
    }
    let figure = |name: &str, depth: u64| {
        let row = rates.iter().find(|row| row["name"] == name && row["depth"] == depth)?;
        median(&row["per_second"])
    };
    let series = depths.iter().map(|&depth| {
        let name =
            if depth == 1 { "one request at a time".to_owned() } else { format!("{depth} on their way") };
        (name, names.iter().map(|name| figure(name, depth)).collect())
    });
    let connections = &report["results"]["connections"];
    let chart = Bars {
        title: format!(
            "Requests a second over {connections} connections, server and client on a processor each"
        ),
        subtitle: subtitle(report),
        label: "requests/s",
        series: series.collect(),
        groups: names.iter().map(|name| (*name).to_owned()).collect(),
        log: true,
    };
    Some(("http-throughput".to_owned(), chart.chart()?))
}

fn percentiles(report: &Value) -> Option<Named> {
    let rows = items(&report["results"]["open_loop"]);
    let groups = rows.iter().map(|row| {
        let share = row["share"].as_f64().unwrap_or_default() * 100.0;
        let name = row["name"].as_str().unwrap_or_default();
        format!("{} at {share:.0} %", name.rsplit('/').next().unwrap_or(name))
    });
    let quantile = |key: &str| rows.iter().map(|row| row["latencies"][key].as_f64()).collect();
    let series = [("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"), ("most", "max")]
        .map(|(name, key)| (name.to_owned(), quantile(key)));
    let chart = Bars {
        title: "Latency at a given share of the highest rate".to_owned(),
        subtitle: subtitle(report),
        label: "µs from the time due",
        groups: groups.collect(),
        series: series.to_vec(),
        log: true,
    };
    Some(("http-latency".to_owned(), chart.chart()?))
}
