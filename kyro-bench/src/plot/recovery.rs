//! How long opening takes after an unclean stop.

use serde_json::Value;

use crate::plot::bars::Bars;
use crate::plot::chart::short;
use crate::plot::{Named, items, median, subtitle};

/// A group for each database, a bar for warm and for cold files.
pub(super) fn chart(report: &Value) -> Option<Named> {
    let opens = items(&report["results"]["opens"]);
    let number = |value: &Value| short(value.as_f64().unwrap_or_default());
    let groups = opens.iter().map(|open| {
        let value_bytes = &open["value_bytes"];
        format!("{} stored, tail of {} × {value_bytes} B", number(&open["stored"]), number(&open["tail"]))
    });
    let milliseconds =
        |key: &str| opens.iter().map(|open| median(&open[key]).map(|seconds| seconds * 1e3)).collect();
    let chart = Bars {
        title: "Opening after SIGKILL: the log's tail replayed, everything stored left alone".to_owned(),
        subtitle: subtitle(report),
        label: "ms until the first get",
        groups: groups.collect(),
        series: vec![
            ("files in the page cache".to_owned(), milliseconds("warm_seconds")),
            ("files on the disk".to_owned(), milliseconds("cold_seconds")),
        ],
        log: false,
    };
    Some(("recovery".to_owned(), chart.chart()?))
}
