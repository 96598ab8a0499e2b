//! The text of `/metrics`: OpenMetrics, from the server's counters and the engine's statistics.
//!
//! The encoder appends `_total` to counters, `_info` to information and the unit to whatever has one, so the names
//! here are written without them.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use kyro_engine::{Engine, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::build_info;
use crate::histogram::{ENTRIES, Histogram, Snapshot};
use crate::metrics::Metrics;
use crate::rate_limit::RateLimits;
use crate::stats_document::fallback_share;

/// The media type of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One registry for one server and its engine.
#[derive(Debug)]
pub(crate) struct Exposition(Registry);

impl Exposition {
    pub(crate) fn new(metrics: Arc<Metrics>, rates: Arc<RateLimits>, engine: Arc<OnceLock<Engine>>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ServerCollector(metrics, rates)));
        registry.register_collector(Box::new(EngineCollector(engine)));
        Self(registry)
    }

    /// The whole text. Costs a walk over the engine's statistics.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 << 10);
        encode(&mut text, &self.0)?;
        Ok(text)
    }
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(value)
    }

    /// A histogram of the engine, whose whole numbers are so many to a unit.
    fn engine_histogram(
        &mut self,
        (name, help): (&str, &str),
        unit: Option<&Unit>,
        per_unit: f64,
        histogram: &kyro_engine::Histogram,
    ) -> fmt::Result {
        let bounds = histogram.bounds.iter().map(|bound| *bound as f64 / per_unit).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts.iter().copied()).collect();
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(
            histogram.sum as f64 / per_unit,
            histogram.count(),
            &buckets,
            None,
        )
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        self.numbers(name, help, Some(&Unit::Seconds), &histogram.snapshot())
    }

    fn numbers(&mut self, name: &str, help: &str, unit: Option<&Unit>, now: &Snapshot) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(now.sum, now.count, &now.buckets, None)
    }
}

#[derive(Debug)]
struct ServerCollector(Arc<Metrics>, Arc<RateLimits>);

impl Collector for ServerCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.0;
        let mut out = Out(encoder);
        self.requests(&mut out)?;
        out.gauge(
            "kyrodb_http_requests_in_flight",
            "Requests being answered",
            None,
            &metrics.in_flight.get(),
        )?;
        out.gauge("kyrodb_http_connections", "Connections open now", None, &metrics.connections.get())?;
        out.counter(
            "kyrodb_http_connections_accepted",
            "Connections accepted",
            metrics.connections_total.load(Ordering::Relaxed),
        )?;
        let mut cut = out.0.encode_descriptor(
            "kyrodb_http_connections_cut",
            "Connections cut or turned away, by reason",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in metrics.cuts() {
            cut.encode_family(&[("reason", reason.name())])?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        let mut limited = out.0.encode_descriptor(
            "kyrodb_rate_limited",
            "Requests refused for their rate, by class",
            None,
            MetricType::Counter,
        )?;
        for (class, count) in self.1.refused() {
            limited
                .encode_family(&[("class", class.name())])?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        out.counter(
            "kyrodb_sse_lagged",
            "Event streams ended because the reader was too slow",
            metrics.sse_lagged.load(Ordering::Relaxed),
        )?;
        out.histogram(
            "kyrodb_append_latency",
            "From a write's arrival to its acknowledgement",
            &metrics.append_latency,
        )?;
        out.histogram(
            "kyrodb_rmi_rebuild_duration",
            "Index builds asked for over HTTP",
            &metrics.rmi_rebuild_duration,
        )?;
        out.histogram(
            "kyrodb_rmi_lookup_latency",
            "Reads of one key over HTTP, from the parsed request to its answer; a sample, extrapolated",
            &metrics.lookups.latency,
        )?;
        out.numbers(
            "kyrodb_rmi_probe_len",
            "Entries that those reads may have had to search, by the windows of the indexes",
            None,
            &metrics.lookups.probe_len.snapshot(),
        )?;
        out.counter(
            "kyrodb_http_cold_reads",
            "Reads of one key handed to a thread that may wait for the disk",
            metrics.cold_reads.load(Ordering::Relaxed),
        )?;
        if let Some(bytes) = resident_bytes() {
            out.gauge(
                "kyrodb_resident_memory",
                "Resident memory of the process",
                Some(&Unit::Bytes),
                &bytes,
            )?;
        }
        let labels =
            [("version", build_info::VERSION), ("commit", build_info::COMMIT), ("rustc", build_info::RUSTC)];
        out.0
            .encode_descriptor("kyrodb_build", "What is running", None, MetricType::Info)?
            .encode_info(&labels)
    }
}

impl ServerCollector {
    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let mut requests = out.0.encode_descriptor(
            "kyrodb_http_requests",
            "Requests answered, by route and status",
            None,
            MetricType::Counter,
        )?;
        for (route, counts, _) in self.0.by_route() {
            for (status, count) in counts {
                let labels = [("route", route.to_owned()), ("status", status.to_string())];
                requests.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
            }
        }
        let mut durations = out.0.encode_descriptor(
            "kyrodb_http_request_duration",
            "From a request's head to the head of its answer, by route; of reads of one key a sample, extrapolated",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (route, _, now) in self.0.by_route() {
            let labels = [("route", route)];
            let mut family = durations.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(now.sum, now.count, &now.buckets, None)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct EngineCollector(Arc<OnceLock<Engine>>);

impl Collector for EngineCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let Some(engine) = self.0.get() else { return Ok(()) };
        let stats = engine.stats();
        counters(&mut out, &stats)?;
        index(&mut out, &stats)?;
        storage(&mut out, &stats)
    }
}

fn counters(out: &mut Out<'_>, stats: &Stats) -> fmt::Result {
    out.counter("kyrodb_appends", "Operations acknowledged", stats.operations)?;
    out.counter("kyrodb_snapshots", "Flushes that wrote a run", stats.flushes)?;
    out.counter("kyrodb_compactions", "Merges of runs", stats.compactions)?;
    let seconds = Some(&Unit::Seconds);
    let snapshots = ("kyrodb_snapshot_latency", "Flushes that wrote a run, whatever they began by");
    out.engine_histogram(snapshots, seconds, 1e9, &stats.flush_times)?;
    let compactions = ("kyrodb_compaction_duration", "Compactions of everything, whatever they began by");
    out.engine_histogram(compactions, seconds, 1e9, &stats.compact_times)?;
    out.counter("kyrodb_rmi_reads", "Reads that went through the index", stats.index_reads)?;
    out.counter("kyrodb_rmi_hits", "Reads through the index that found the key", stats.index_hits)?;
    out.counter("kyrodb_rmi_misses", "Reads through the index that found no key", stats.index_misses)?;
    out.counter(
        "kyrodb_rmi_mispredicts",
        "Keys found outside their predicted window; must stay 0",
        stats.mispredicts,
    )?;
    out.counter(
        "kyrodb_vain_searches",
        "Searches of a run that did not have the key, but for those of many keys at once",
        stats.vain_searches,
    )?;
    out.counter(
        "kyrodb_filtered_searches",
        "Searches of a run that its filter made unnecessary",
        stats.filtered_searches,
    )?;
    out.counter("kyrodb_btree_reads", "Reads answered by the delta", stats.delta_reads)?;
    out.counter("kyrodb_rmi_rebuilds", "Indexes trained", stats.index_builds)?;
    out.counter("kyrodb_corrupt_reads", "Reads that met a failed checksum", stats.corrupt_reads)?;
    out.counter("kyrodb_writes_refused", "Batches refused for back-pressure", stats.refused_busy)?;
    let mut stalls = out.0.encode_descriptor(
        "kyrodb_stalls",
        "Writes that waited or were refused for back-pressure, by reason",
        None,
        MetricType::Counter,
    )?;
    for stall in &stats.stalls {
        stalls
            .encode_family(&[("reason", stall.reason)])?
            .encode_counter::<NoLabelSet, _, f64>(&stall.count, None)?;
    }
    Ok(())
}

fn index(out: &mut Out<'_>, stats: &Stats) -> fmt::Result {
    let runs = &stats.runs;
    let epsilon = runs.iter().map(|run| run.epsilon_max).max().unwrap_or(0);
    let leaves: u64 = runs.iter().map(|run| run.index_leaves).sum();
    let bytes: u64 = runs.iter().map(|run| run.index_bytes).sum();
    out.gauge(
        "kyrodb_rmi_epsilon_max",
        "Largest distance between a predicted and a true position, in entries",
        None,
        &epsilon,
    )?;
    // Of each index the median, the 99th percentile and the most are known; so a share of the entries is at most so far off.
    let distances = Histogram::new(&ENTRIES);
    for run in runs {
        let (half, hundredth) = (run.entries / 2, run.entries / 100);
        let rest = run.entries - half - hundredth;
        for (distance, entries) in
            [(run.epsilon_p50, half), (run.epsilon_p99, rest), (run.epsilon_max, hundredth)]
        {
            distances.observe_number(distance, entries);
        }
    }
    out.numbers(
        "kyrodb_rmi_epsilon",
        "Distance between predicted and true position of each entry, rounded up to its index's median, 99th percentile or most",
        None,
        &distances.snapshot(),
    )?;
    out.gauge(
        "kyrodb_rmi_fallback",
        "Share of the entries that no model fits, found by a bounded search among separators",
        Some(&Unit::Ratios),
        &fallback_share(runs),
    )?;
    let filter_bytes: u64 = runs.iter().map(|run| run.filter_bytes).sum();
    out.gauge(
        "kyrodb_filter_size",
        "Memory of the filters that refuse absent keys",
        Some(&Unit::Bytes),
        &filter_bytes,
    )?;
    out.gauge("kyrodb_rmi_index_leaves", "Leaves of the indexes", None, &leaves)?;
    out.gauge("kyrodb_rmi_index_size", "Size of the indexes", Some(&Unit::Bytes), &bytes)?;
    out.gauge("kyrodb_runs", "Runs", None, &runs.len())?;
    let run_bytes: u64 = runs.iter().map(|run| run.bytes).sum();
    out.gauge("kyrodb_run_file", "Size of the run files", Some(&Unit::Bytes), &run_bytes)?;
    let value_bytes: u64 = runs.iter().map(|run| run.value_bytes).sum();
    out.gauge(
        "kyrodb_value",
        "Values in the runs, overwritten ones included",
        Some(&Unit::Bytes),
        &value_bytes,
    )?;
    let disk_bytes = run_bytes + bytes + stats.wal.bytes;
    out.gauge("kyrodb_disk", "Size of log, runs and indexes", Some(&Unit::Bytes), &disk_bytes)
}

fn storage(out: &mut Out<'_>, stats: &Stats) -> fmt::Result {
    out.gauge(
        "kyrodb_keys",
        "Live keys; an upper bound until everything is in one run",
        None,
        &stats.keys_at_most,
    )?;
    out.gauge("kyrodb_delta_entries", "Entries of the delta", None, &stats.delta_entries)?;
    out.gauge(
        "kyrodb_delta_size",
        "Log payload kept in memory by the delta",
        Some(&Unit::Bytes),
        &stats.delta_bytes,
    )?;
    out.gauge("kyrodb_wal_segments", "Segments of the log", None, &stats.wal.segments)?;
    out.gauge("kyrodb_wal_size", "Size of the log on disk", Some(&Unit::Bytes), &stats.wal.bytes)?;
    out.counter("kyrodb_wal_groups", "Groups written to the log", stats.groups)?;
    out.counter("kyrodb_wal_group_batches", "Batches in those groups", stats.group_batches)?;
    out.engine_histogram(
        ("kyrodb_wal_fsync", "What each sync of the log took"),
        Some(&Unit::Seconds),
        1e9,
        &stats.sync_times,
    )?;
    out.engine_histogram(
        ("kyrodb_wal_group_size", "Batches of each group written to the log"),
        None,
        1.0,
        &stats.group_sizes,
    )?;
    out.counter("kyrodb_wal_crc_errors", "Failed checksums met in the log", stats.wal_checksum_errors)?;
    out.gauge("kyrodb_next_offset", "The offset that the next operation will get", None, &stats.next_offset)?;
    out.gauge("kyrodb_oldest_offset", "The oldest offset that can be replayed", None, &stats.oldest_offset)?;
    let failing = u64::from(stats.maintenance_error.is_some());
    out.gauge("kyrodb_maintenance_failing", "1 while the last flush or compaction failed", None, &failing)?;
    let poisoned = u64::from(stats.poisoned.is_some());
    out.gauge("kyrodb_read_only", "1 after a storage failure, until a restart", None, &poisoned)?;
    out.gauge(
        "kyrodb_uptime",
        "Since the database was opened",
        Some(&Unit::Seconds),
        &stats.uptime.as_secs_f64(),
    )
}

/// Resident memory, where the system tells (Linux).
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = statm.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
