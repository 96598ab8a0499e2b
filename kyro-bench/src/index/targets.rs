//! The targets that the index is held to, and the worst figure against each.

use crate::index::pattern::Pattern;
use crate::index::results::SetResult;
use crate::limit::Limit;
use crate::report::Table;

/// One target: over which sets, what is measured, and the limit.
struct Target {
    what: &'static str,
    smooth_only: bool,
    measure: fn(&SetResult) -> Option<f64>,
    limit: Limit,
}

const TARGETS: [Target; 15] = [
    at_most("serial hit / floor, smooth sets", true, 1.3, |set| set.kyro_over_floor(Pattern::HitSerial)),
    at_most("serial hit / floor, all sets", false, 1.8, |set| set.kyro_over_floor(Pattern::HitSerial)),
    at_least("BTreeMap / kyro-rmi, serial hit", false, 2.3, |set| over_kyro(set, "BTreeMap")),
    at_least("binary search / kyro-rmi, serial hit, smooth sets", true, 5.0, |set| {
        over_kyro(set, "binary search (p")
    }),
    at_least("binary search / kyro-rmi, serial hit, all sets", false, 4.0, |set| {
        over_kyro(set, "binary search (p")
    }),
    at_most("batch of 32, ns a key, smooth sets", true, 30.0, |set| set.kyro_figure(Pattern::HitBatch)),
    at_most("batch of 32, ns a key, all sets", false, 50.0, |set| set.kyro_figure(Pattern::HitBatch)),
    at_most("serial miss / serial hit", false, 1.1, |set| {
        Some(set.kyro_figure(Pattern::MissSerial)? / set.kyro_figure(Pattern::HitSerial)?)
    }),
    at_most("index, % of keys, smooth sets", true, 0.7, |set| Some(set.kyro.percent_of_keys)),
    at_most("index, % of keys, all sets", false, 6.0, |set| Some(set.kyro.percent_of_keys)),
    at_least("build, M keys/s, smooth sets", true, 100.0, |set| {
        Some(set.kyro.build.before_verification.median)
    }),
    at_least("build, M keys/s, all sets", false, 15.0, |set| Some(set.kyro.build.before_verification.median)),
    at_least("build with verification, M keys/s, smooth sets", true, 25.0, |set| {
        Some(set.kyro.build.with_verification.median)
    }),
    at_least("build with verification, M keys/s, all sets", false, 8.0, |set| {
        Some(set.kyro.build.with_verification.median)
    }),
    at_most("map and open the stored index, µs", false, 1000.0, |set| Some(set.kyro.open_us.median)),
];

const fn at_most(
    what: &'static str,
    smooth_only: bool,
    limit: f64,
    measure: fn(&SetResult) -> Option<f64>,
) -> Target {
    Target { what, smooth_only, measure, limit: Limit::AtMost(limit) }
}

const fn at_least(
    what: &'static str,
    smooth_only: bool,
    limit: f64,
    measure: fn(&SetResult) -> Option<f64>,
) -> Target {
    Target { what, smooth_only, measure, limit: Limit::AtLeast(limit) }
}

/// How many times longer the serial hit of the contender takes whose name starts so.
fn over_kyro(set: &SetResult, name: &str) -> Option<f64> {
    let rival = set.contenders.iter().find(|contender| contender.name.starts_with(name))?;
    Some(rival.figures.get(&Pattern::HitSerial)?.median / set.kyro_figure(Pattern::HitSerial)?)
}

/// Each target with the set that is worst at it. They are meant for 10 million keys in huge pages.
pub(super) fn targets(sets: &[&SetResult]) -> Table {
    let mut table = Table::new(["target (10 M keys, huge pages)", "limit", "worst", "set", "met"]);
    for Target { what, smooth_only, measure, limit } in &TARGETS {
        let measured = sets
            .iter()
            .filter(|set| set.is_smooth || !smooth_only)
            .filter_map(|set| Some((measure(set)?, set)));
        if let Some((worst, set)) = limit.worst(measured) {
            let met = if limit.is_met(worst) { "yes" } else { "NO" };
            table.row([*what, &limit.to_string(), &format!("{worst:.2}"), &set.set, met]);
        }
    }
    table
}
