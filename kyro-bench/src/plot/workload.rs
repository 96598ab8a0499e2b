//! The lines of the workload client's CSV: throughput and percentiles of each run.

use crate::plot::Named;
use crate::plot::bars::Bars;

/// Most runs that have room beside each other: the last ones.
const MOST_RUNS: usize = 8;

/// The charts of a CSV with a heading.
pub(super) fn charts(csv: &str) -> Result<Vec<Named>, String> {
    let mut lines = csv.lines().filter(|line| !line.trim().is_empty());
    let heads = fields(lines.next().ok_or("it is empty")?);
    let column = |name: &str| {
        let place = heads.iter().position(|head| head == name);
        place.ok_or_else(|| format!("it has no column {name:?}"))
    };
    let rows: Vec<Vec<String>> = lines.map(fields).collect();
    let rows = &rows[rows.len().saturating_sub(MOST_RUNS)..];
    let number = |name: &str| -> Result<Vec<Option<f64>>, String> {
        let column = column(name)?;
        Ok(rows.iter().map(|row| row.get(column).and_then(|field| field.parse().ok())).collect())
    };
    // The first client of KyroDB had no such column.
    let op = column("op").ok();
    let (dist, regime) = (column("dist")?, column("regime")?);
    let field = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let groups: Vec<String> = rows
        .iter()
        .map(|row| {
            let op = op.map(|op| field(row, op) + ", ").unwrap_or_default();
            format!("{op}{}, {}", field(row, dist), field(row, regime))
        })
        .collect();
    let runs = format!("{} runs", rows.len());
    let throughput = Bars {
        title: "Requests a second of the workload client's runs".to_owned(),
        subtitle: runs.clone(),
        label: "requests/s",
        groups: groups.clone(),
        series: vec![("requests/s".to_owned(), number("rps")?)],
        log: false,
    };
    let quantiles = [("p50", "p50_us"), ("p95", "p95_us"), ("p99", "p99_us"), ("p99.9", "p999_us")];
    let series = quantiles.into_iter().map(|(name, head)| Ok((name.to_owned(), number(head)?)));
    let latency = Bars {
        title: "Latency of the workload client's runs".to_owned(),
        subtitle: runs,
        label: "µs",
        groups,
        series: series.collect::<Result<_, String>>()?,
        log: true,
    };
    let charts = [("workload-throughput", throughput), ("workload-latency", latency)];
    Ok(charts.into_iter().filter_map(|(name, bars)| Some((name.to_owned(), bars.chart()?))).collect())
}

/// The fields of a line; a field in quotes may hold commas.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => {
                if let Some(last) = fields.last_mut() {
                    last.push(character);
                }
            }
        }
    }
    fields
}
