//! Latency of a lookup by the number of keys, with the speed-up over the B-tree at each size.

use serde_json::Value;

use crate::plot::chart::{Axis, Chart, Marks, Series, short};
use crate::plot::{Named, items, median, subtitle};

const PATTERN: &str = "hit-serial";
const KYRO: &str = "kyro-rmi";
const TREE: &str = "BTreeMap";

/// One chart for each key set.
pub(super) fn charts(report: &Value) -> Vec<Named> {
    let sets = items(&report["results"]["sets"]);
    let mut names: Vec<&str> = Vec::new();
    for set in sets {
        let name = set["set"].as_str().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().filter_map(|name| chart(report, sets, name)).collect()
}

fn chart(report: &Value, sets: &[Value], set: &str) -> Option<Named> {
    let mut sizes: Vec<&Value> = sets.iter().filter(|found| found["set"] == set).collect();
    sizes.sort_by_key(|found| found["keys"].as_u64());
    let mut series: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    let mut note = |name: &str, keys: f64, figures: &Value| {
        let Some(ns) = median(&figures[PATTERN]) else { return };
        // The brackets of a name tell parameters, which differ from size to size.
        let name = name.split(" (").next().unwrap_or(name);
        match series.iter_mut().find(|(other, _)| other == name) {
            Some((_, points)) => points.push((keys, ns)),
            None => series.push((name.to_owned(), vec![(keys, ns)])),
        }
    };
    for found in &sizes {
        let keys = found["keys"].as_f64()?;
        for contender in items(&found["contenders"]) {
            note(contender["name"].as_str()?, keys, &contender["figures"]);
        }
    }
    for found in &sizes {
        note("floor: one read", found["keys"].as_f64()?, &found["floor"]);
    }
    // The tree directly after the index: their colours are what the picture is about.
    series.sort_by_key(|(name, _)| match name.as_str() {
        KYRO => 0,
        TREE => 1,
        _ => 2,
    });
    let all = || series.iter().flat_map(|(_, points)| points);
    let tree = series.iter().find(|(name, _)| name == TREE).map(|(_, points)| points.as_slice());
    let ours = series.iter().find(|(name, _)| name == KYRO)?;
    let notes = ours.1.iter().filter_map(|&(keys, ns)| {
        let slower = tree?.iter().find(|(of, _)| of.total_cmp(&keys).is_eq())?.1;
        Some((keys.log10(), slower.log10(), format!("{:.1} ×", slower / ns)))
    });
    let mut x = Axis::log("keys", all().map(|point| point.0), short);
    // Room for the notes at the outermost sizes; a tick at each size, not at each power.
    x.range = x.range.start - 0.05..x.range.end + 0.05;
    x.ticks = ours.1.iter().map(|&(keys, _)| (keys.log10(), short(keys))).collect();
    let chart = Chart {
        title: format!("Time to find a key, {set} keys, each lookup waiting for the one before"),
        subtitle: subtitle(report),
        x,
        y: Axis::log("ns a lookup", all().map(|point| point.1), short),
        notes: notes.collect(),
        series: series
            .iter()
            .map(|(name, points)| Series {
                name: if name == TREE { format!("{name} (× kyro-rmi's)") } else { name.clone() },
                marks: Marks::Line(points.iter().map(|(keys, ns)| (keys.log10(), ns.log10())).collect()),
            })
            .collect(),
    };
    Some((format!("index-{set}"), chart))
}
