//! Distributions of latencies: which share of operations took no longer than so many microseconds. The axis of shares is
//! one of nines, so that the slowest in a thousand have as much room as the median.

use serde_json::Value;

use crate::plot::chart::{Axis, Chart, Marks, Series, short};
use crate::plot::{Named, items, subtitle};

/// Shares up to which the axis goes.
const MOST: f64 = 0.9999;

/// The reads of every store in one workload of each durability: the one with writes beside the reads, if there is one.
pub(super) fn rivals(report: &Value) -> Vec<Named> {
    let rows = items(&report["results"]["rows"]);
    let mut modes: Vec<&str> = Vec::new();
    for row in rows {
        let mode = row["durability"].as_str().unwrap_or_default();
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    let chart_of = |mode: &str| {
        let of_mode = || rows.iter().filter(|row| row["durability"] == mode);
        let workload =
            ["B", "A", "C"].into_iter().find(|name| of_mode().any(|row| row["workload"] == *name))?;
        let lines = of_mode().filter(|row| row["workload"] == workload).filter_map(|row| {
            Some((row["store"].as_str()?.to_owned(), points(&row["reads"]["distribution"])))
        });
        let title = format!("Reads of workload {workload}: latency of single gets, durability {mode}");
        chart(report, title, &lines.collect::<Vec<_>>()).map(|chart| (format!("latency-cdf-{mode}"), chart))
    };
    modes.into_iter().filter_map(chart_of).collect()
}

/// The answers of one run of the workload client.
pub(super) fn workload(report: &Value) -> Option<Named> {
    let results = &report["results"];
    let op = results["op"].as_str()?;
    let title = match results["rate"].as_f64() {
        Some(rate) => format!("{op}: latency from the time due at {} requests/s", short(rate)),
        None => format!("{op}: latency in closed loop"),
    };
    let line = (op.to_owned(), points(&results["distribution"]));
    Some(("latency-cdf".to_owned(), chart(report, title, &[line])?))
}

/// A name, with shares and microseconds.
type Line = (String, Vec<(f64, f64)>);

/// Pairs of a quantile and microseconds.
fn points(distribution: &Value) -> Vec<(f64, f64)> {
    let pair = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_f64()?));
    let mut points: Vec<(f64, f64)> =
        items(distribution).iter().filter_map(pair).filter(|(_, us)| *us > 0.0).collect();
    // Of few operations the slowest one is every quantile from some share on: the line ends at the first of them.
    while let [.., before, last] = points.as_slice()
        && before.1.total_cmp(&last.1).is_eq()
    {
        points.pop();
    }
    points
}

fn chart(report: &Value, title: String, lines: &[Line]) -> Option<Chart> {
    let values = || lines.iter().flat_map(|(_, points)| points.iter().filter(|(share, _)| *share <= MOST));
    values().next()?;
    let nines = |share: f64| -(1.0 - share.min(MOST)).log10();
    let ticks = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999].map(|share| {
        let percent = share * 100.0;
        (nines(share), format!("{percent} %"))
    });
    Some(Chart {
        title,
        subtitle: subtitle(report),
        x: Axis::log("µs", values().map(|(_, us)| *us), short),
        y: Axis {
            label: "share that took no longer".to_owned(),
            range: 0.0..4.05,
            ticks: ticks.to_vec(),
            grid: true,
        },
        series: lines
            .iter()
            .map(|(name, points)| Series {
                name: name.clone(),
                marks: Marks::Line(
                    points
                        .iter()
                        .filter(|(share, _)| *share <= MOST)
                        .map(|&(share, us)| (us.log10(), nines(share)))
                        .collect(),
                ),
            })
            .collect(),
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_the_slowest_operation() {
        let distribution =
            serde_json::json!([[0.0, 1.0], [0.5, 2.0], [0.75, 2.0], [0.99, 9.0], [0.999, 9.0]]);
        assert_eq!(points(&distribution), [(0.0, 1.0), (0.5, 2.0), (0.75, 2.0), (0.99, 9.0)]);
    }
}
