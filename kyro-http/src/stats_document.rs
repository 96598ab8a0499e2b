//! `/v1/stats`: the engine's numbers and the server's, as one JSON document.

use kyro_engine::{Durability, Histogram, RunStats, StallStats, Stats};
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::app::{App, Life};
use crate::build_info;
use crate::engine_errors::without_directories;
use crate::exposition::resident_bytes;
use crate::fields::Query;
use crate::problem::Problem;

/// `GET /v1/stats`
pub(crate) fn get(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    Ok(answer::json(document(app)?.to_string()))
}

fn document(app: &App) -> Result<Value, Problem> {
    let stats = app.engine()?.stats();
    let mut document = engine_document(&stats);
    if let Some(members) = document.as_object_mut() {
        members.insert("server".to_owned(), server(app, &stats));
        members.insert("memory".to_owned(), json!({ "resident_bytes": resident_bytes() }));
    }
    Ok(document)
}

/// What the server knows of itself.
fn server(app: &App, stats: &Stats) -> Value {
    let routes = app.metrics.by_route().map(|(route, statuses, durations)| {
        let errors = statuses.iter().filter(|(status, _)| *status >= 500);
        let bounds = durations.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite());
        json!({
            "route": route,
            "requests": statuses.iter().map(|(_, count)| count).sum::<u64>(),
            "errors": errors.map(|(_, count)| count).sum::<u64>(),
            "bounds": bounds.collect::<Vec<_>>(),
            "counts": durations.buckets.iter().map(|(_, count)| *count).collect::<Vec<_>>(),
        })
    });
    json!({
        "version": build_info::VERSION,
        "routes": routes.collect::<Vec<_>>(),
        "uptime_seconds": stats.uptime.as_secs_f64(),
        "connections": app.metrics.connections.get(),
        "requests_in_flight": app.metrics.in_flight.get(),
        "draining": app.life() >= Life::Draining,
        "durability": durability(app.durability),
    })
}

/// What an engine knows of itself.
pub(crate) fn engine_document(stats: &Stats) -> Value {
    let sum = |of: fn(&RunStats) -> u64| stats.runs.iter().map(of).sum::<u64>();
    let max = |of: fn(&RunStats) -> u64| stats.runs.iter().map(of).max().unwrap_or(0);
    let entries = sum(|run| run.entries);
    let index_bytes = sum(|run| run.index_bytes);
    let bits = if entries == 0 { 0.0 } else { index_bytes as f64 * 8.0 / entries as f64 };
    let run_bytes = sum(|run| run.bytes);
    json!({
        "keys_at_most": stats.keys_at_most,
        "bytes": run_bytes + stats.wal.bytes + index_bytes,
        "next_offset": stats.next_offset,
        "oldest_offset": stats.oldest_offset,
        "operations": stats.operations,
        "delta": {
            "entries": stats.delta_entries,
            "bytes": stats.delta_bytes,
            "flush_at_bytes": stats.delta_limit_bytes,
        },
        "runs": stats.runs.iter().map(run).collect::<Vec<_>>(),
        "index": {
            "leaves": sum(|run| run.index_leaves),
            "bytes": index_bytes,
            "bits_per_key": bits,
            "epsilon_p50": max(|run| run.epsilon_p50),
            "epsilon_p99": max(|run| run.epsilon_p99),
            "epsilon_max": max(|run| run.epsilon_max),
            "max_window": max(|run| run.max_window),
            "fallback_share": fallback_share(&stats.runs),
            "filter_bytes": sum(|run| run.filter_bytes),
            "builds": stats.index_builds,
            "last_build_seconds": stats.last_index_build.as_secs_f64(),
        },
        "reads": {
            "delta": stats.delta_reads,
            "index": stats.index_reads,
            "index_hits": stats.index_hits,
            "index_misses": stats.index_misses,
            "vain_searches": stats.vain_searches,
            "filtered_searches": stats.filtered_searches,
            "mispredicts": stats.mispredicts,
            "corrupt": stats.corrupt_reads,
        },
        "wal": {
            "segments": stats.wal.segments,
            "bytes": stats.wal.bytes,
            "groups": stats.groups,
            "group_batches": stats.group_batches,
            "group_sizes": histogram(&stats.group_sizes),
            "syncs": stats.syncs,
            "sync_seconds": stats.sync_time.as_secs_f64(),
            "sync_nanoseconds": histogram(&stats.sync_times),
        },
        "stalls": stats.stalls.iter().map(stall).collect::<Vec<_>>(),
        "maintenance": {
            "flushes": stats.flushes,
            "compactions": stats.compactions,
            "refused_busy": stats.refused_busy,
            "failing": stats.maintenance_error.is_some(),
        },
        "read_only": stats.poisoned.is_some(),
        "last_errors": {
            "storage": stats.poisoned.as_deref().map(without_directories),
            "maintenance": stats.maintenance_error.as_deref().map(without_directories),
        },
        "recovery": {
            "seconds": stats.recovery.time.as_secs_f64(),
            "operations": stats.recovery.operations,
            "tail_cut": stats.recovery.tail.is_some(),
            "indexes_rebuilt": stats.recovery.indexes_rebuilt,
        },
    })
}

/// Of the entries of these runs, the share that no model fits.
pub(crate) fn fallback_share(runs: &[RunStats]) -> f64 {
    let entries: u64 = runs.iter().map(|run| run.entries).sum();
    let unfit: f64 = runs.iter().map(|run| run.fallback_share * run.entries as f64).sum();
    if entries == 0 { 0.0 } else { unfit / entries as f64 }
}

/// As `--durability` spells it.
fn durability(durability: Durability) -> String {
    match durability {
        Durability::Always => "always".to_owned(),
        Durability::Interval(every) => format!("interval:{}", every.as_millis()),
        Durability::Never => "never".to_owned(),
    }
}

/// Upper bounds, and the count of each bucket; the last one is above all bounds.
fn histogram(histogram: &Histogram) -> Value {
    json!({ "bounds": histogram.bounds, "counts": histogram.counts })
}

fn stall(stall: &StallStats) -> Value {
    json!({ "reason": stall.reason, "count": stall.count, "seconds": stall.time.as_secs_f64() })
}

fn run(run: &RunStats) -> Value {
    json!({
        "number": run.number,
        "entries": run.entries,
        "tombstones": run.tombstones,
        "bytes": run.bytes,
        "index_bytes": run.index_bytes,
        "index_leaves": run.index_leaves,
        "bits_per_key": run.bits_per_key,
        "epsilon_p50": run.epsilon_p50,
        "epsilon_p99": run.epsilon_p99,
        "epsilon_max": run.epsilon_max,
        "max_window": run.max_window,
        "fallback_share": run.fallback_share,
        "value_bytes": run.value_bytes,
        "filter_bytes": run.filter_bytes,
    })
}
