//! Operations a second of every store, workload by workload.

use serde_json::Value;

use crate::plot::bars::Bars;
use crate::plot::{Named, items, median, subtitle};

/// One chart for each durability.
pub(super) fn charts(report: &Value) -> Vec<Named> {
    let mut modes: Vec<&str> = Vec::new();
    for row in items(&report["results"]["rows"]) {
        let mode = row["durability"].as_str().unwrap_or_default();
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    modes.into_iter().filter_map(|mode| chart(report, mode)).collect()
}

fn chart(report: &Value, mode: &str) -> Option<Named> {
    let rows: Vec<&Value> =
        items(&report["results"]["rows"]).iter().filter(|row| row["durability"] == mode).collect();
    let (mut stores, mut workloads): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for row in &rows {
        let (store, workload) = (row["store"].as_str()?, row["workload"].as_str()?);
        if !stores.contains(&store) {
            stores.push(store);
        }
        if !workloads.contains(&workload) {
            workloads.push(workload);
        }
    }
    let figure = |store: &str, workload: &str| {
        let row = rows.iter().find(|row| row["store"] == store && row["workload"] == workload)?;
        median(&row["per_second"])
    };
    let series = stores.iter().map(|store| {
        ((*store).to_owned(), workloads.iter().map(|workload| figure(store, workload)).collect())
    });
    let threads = rows.first().and_then(|row| row["threads"].as_u64())?;
    let threads = if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
    let chart = Bars {
        title: format!("YCSB, zipf 0.99, {threads}, durability {mode}"),
        subtitle: subtitle(report),
        label: "operations/s",
        groups: workloads.iter().map(|workload| format!("workload {workload}")).collect(),
        series: series.collect(),
        log: true,
    };
    Some((format!("rivals-{mode}"), chart.chart()?))
}
