//! `/metrics`: which names there are, and that they say what happened.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::collections::BTreeSet;

use running::{Server, fresh};

#[test]
fn names_types_and_units_are_frozen() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "x");
    server.post("/v1/snapshot", "");
    server.get("/v1/get_fast/1");
    let answer = server.get("/metrics");
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    let described: Vec<&str> =
        text.lines().filter(|line| line.starts_with("# ") && *line != "# EOF").collect();
    insta::assert_snapshot!(described.join("\n"));
}

#[test]
fn the_documentation_lists_every_metric_and_no_other() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "x");
    let text = server.get("/metrics").text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let exported: BTreeSet<String> = types
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let docs = include_str!("../../docs/http.md");
    let section = docs.split("\n## Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let quoted = section.split('`').skip(1).step_by(2).filter(|text| text.starts_with("kyrodb_"));
    let documented: BTreeSet<String> =
        quoted.map(|name| name.split('{').next().unwrap().to_owned()).collect();
    assert_eq!(exported, documented);
}

#[test]
fn every_sample_belongs_to_a_described_family_and_has_its_suffix() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "x");
    let text = server.get("/metrics").text();
    let mut families = std::collections::BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(families.insert(name, kind).is_none(), "{name} is described twice");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no HELP");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = families.iter().find(|(family, kind)| {
            let suffixes: &[&str] = match **kind {
                "counter" => &["_total"],
                "histogram" => &["_sum", "_count", "_bucket"],
                "info" => &["_info"],
                _ => &[""],
            };
            suffixes.iter().any(|suffix| name == format!("{family}{suffix}"))
        });
        assert!(family.is_some(), "{line}");
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value >= 0.0 && value.is_finite(), "{line}");
    }
}

#[test]
fn counters_count() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut connection = server.connect();
    for key in 0..10 {
        connection.put(key, "x");
    }
    for key in 0..12 {
        server.get(&format!("/v1/get_fast/{key}"));
    }
    assert_eq!(server.metric("kyrodb_appends_total"), 10);
    assert_eq!(server.metric("kyrodb_append_latency_seconds_count"), 10);
    assert_eq!(server.metric("kyrodb_wal_group_size_count"), 10);
    assert_eq!(
        server.metric("kyrodb_wal_group_size_bucket{le=\"1.0\"}"),
        10,
        "one connection, one at a time"
    );
    assert!(server.metric("kyrodb_wal_fsync_seconds_count") >= 10);
    assert_eq!(server.metric("kyrodb_wal_crc_errors_total"), 0);
    assert_eq!(server.metric("kyrodb_stalls_total{reason=\"memory\"}"), 0);
    assert_eq!(server.metric("kyrodb_btree_reads_total"), 10);
    assert_eq!(server.metric("kyrodb_http_requests_total{route=\"/v1/put\",status=\"200\"}"), 10);
    assert_eq!(server.metric("kyrodb_http_requests_total{route=\"/v1/get_fast/{key}\",status=\"404\"}"), 2);
    server.get("/nowhere/at/all");
    server.get("/nowhere/else");
    assert_eq!(
        server.metric("kyrodb_http_requests_total{route=\"unknown\",status=\"404\"}"),
        2,
        "one label for all"
    );
    server.post("/v1/compact", "");
    server.post("/v1/rmi/build", "");
    assert_eq!(server.metric("kyrodb_compaction_duration_seconds_count"), 1);
    assert_eq!(server.metric("kyrodb_rmi_rebuild_duration_seconds_count"), 1);
    for key in 0..12 {
        server.get(&format!("/v1/get_fast/{key}"));
    }
    assert_eq!(server.metric("kyrodb_rmi_hits_total"), 10);
    assert_eq!(server.metric("kyrodb_rmi_mispredicts_total"), 0);
    assert!(server.metric("kyrodb_rmi_index_size_bytes") > 0);
    let sampled = server.metric("kyrodb_rmi_lookup_latency_seconds_count");
    assert!(sampled > 0 && sampled.is_multiple_of(16), "one of 16 is timed and stands for all: {sampled}");
    assert_eq!(server.metric("kyrodb_rmi_probe_len_count"), sampled);
    assert_eq!(server.metric("kyrodb_rmi_epsilon_count"), 10, "every entry of the run");
    assert_eq!(server.metric("kyrodb_value_bytes"), 10);
    assert!(server.metric("kyrodb_disk_bytes") > server.metric("kyrodb_run_file_bytes"));
    assert_eq!(server.metric("kyrodb_keys"), 10);
    assert!(server.metric("kyrodb_http_connections") >= 2, "this one and the one kept alive");
}
