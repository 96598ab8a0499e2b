//! Every route, as a client of the original server or of the documentation uses it: success and miss.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::io::Write;

use running::{Server, fresh};
use serde_json::json;

#[test]
fn put_and_the_four_lookups() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let first = server.post("/v1/put", r#"{"key":42,"value":"forty-two é"}"#);
    assert_eq!((first.status, first.text().as_str()), (200, r#"{"offset":0}"#));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(
        server.post("/v1/put", r#"{"key":"18446744073709551615","value_base64":"AP8="}"#).json(),
        json!({"offset":1})
    );
    assert_eq!(server.post("/v1/put", r#"{"key":0,"value":""}"#).json(), json!({"offset":2}));

    let get = server.get("/v1/get_fast/42");
    assert_eq!((get.status, get.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(get.body, "forty-two é".as_bytes());
    assert_eq!(server.get("/v1/get_fast/18446744073709551615").body, [0, 255]);
    let empty = server.get("/v1/get_fast/0");
    assert_eq!((empty.status, empty.body.len(), empty.header("content-length")), (200, 0, Some("0")));
    let miss = server.get("/v1/get_fast/41");
    assert_eq!((miss.status, miss.body.len()), (404, 0));

    let offset = server.get("/v1/lookup_fast/18446744073709551615");
    assert_eq!((offset.status, offset.body), (200, 1_u64.to_le_bytes().to_vec()));
    let miss = server.get("/v1/lookup_fast/41");
    assert_eq!((miss.status, miss.body.len()), (404, 0));

    assert_eq!(server.get("/v1/lookup?key=42").json(), json!({"key":42,"value":"forty-two é"}));
    assert_eq!(server.get("/v1/lookup?key=0").json(), json!({"key":0,"value":""}));
    assert_eq!(
        server.get("/v1/lookup?keys=string&key=18446744073709551615").text(),
        r#"{"key":"18446744073709551615","value_base64":"AP8="}"#
    );
    assert_eq!(server.get("/v1/lookup?key=18446744073709551615").json()["key"], json!(u64::MAX));
    let miss = server.get("/v1/lookup?key=41");
    assert_eq!((miss.status, miss.code().as_str()), (404, "not_found"));
    assert_eq!(miss.json()["error"], "not found");

    let raw = server.get("/v1/lookup_raw?key=42");
    assert_eq!((raw.status, raw.body.len()), (204, 0));
    assert_eq!(server.get("/v1/lookup_raw?key=41").code(), "not_found");

    assert_eq!(server.get("/v1/offset").text(), r#"{"offset":3}"#);
}

#[test]
fn the_last_put_of_a_key_wins_through_snapshot_compaction_and_restart() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let check = |server: &Server| {
        for key in 0..50_u64 {
            let expected = if key % 2 == 0 { format!("new {key}") } else { format!("old {key}") };
            assert_eq!(server.get(&format!("/v1/get_fast/{key}")).text(), expected);
        }
        assert_eq!(server.get("/v1/get_fast/50").status, 404);
    };
    let mut connection = server.connect();
    for key in 0..50 {
        connection.put(key, &format!("old {key}"));
    }
    let snapshot = server.post("/v1/snapshot", "").json();
    assert_eq!(
        (&snapshot["snapshot"], &snapshot["entries"], &snapshot["through"]),
        (&json!("ok"), &json!(50), &json!(50))
    );
    for key in (0..50).step_by(2) {
        connection.put(key, &format!("new {key}"));
    }
    check(&server);
    let compact = server.post("/v1/compact", "").json();
    assert_eq!((&compact["compact"], &compact["stats"]["keys_retained"]), (&json!("ok"), &json!(50)));
    for member in ["before_bytes", "after_bytes", "segments_removed", "segments_active"] {
        assert!(compact["stats"][member].is_u64(), "{compact}");
    }
    check(&server);
    assert_eq!(server.post("/v1/rmi/build", "").json(), json!({"ok": true, "count": 50}));
    assert_eq!(server.post("/v1/warmup", "").json()["status"], "ok");
    let before = server.metric("kyrodb_rmi_reads_total");
    check(&server);
    assert_eq!(server.metric("kyrodb_rmi_reads_total") - before, 51, "the index answers, not the delta");
    assert_eq!(server.metric("kyrodb_rmi_mispredicts_total"), 0);
    let (code, _) = server.stop();
    assert_eq!(code, 0);
    let server = Server::start_with(&dir, &["--warm-on-start"]);
    check(&server);
    assert_eq!(server.next_offset(), 75);
}

#[test]
fn events_are_replayed_in_both_forms() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    assert_eq!(server.get("/v1/replay").text(), "[]");
    assert_eq!(server.put(7, "seven"), 0);
    assert_eq!(server.post("/v1/append", r#"{"payload":"an \"event\""}"#).json(), json!({"offset":1}));
    assert_eq!(server.post("/v1/append", r#"{"payload_base64":"/w=="}"#).json(), json!({"offset":2}));
    let all = json!([
        {"offset":0,"key":7,"op":"put","payload":"seven"},
        {"offset":1,"op":"append","payload":"an \"event\""},
        {"offset":2,"op":"append","payload_base64":"/w=="},
    ]);
    let whole = server.get("/v1/replay");
    assert_eq!((whole.json(), whole.header("content-type")), (all.clone(), Some("application/json")));
    for body in
        ["", "{}", r#"{"start":0}"#, r#"{"start":null,"end":null}"#, r#"{"start":"0","end":3,"limit":10}"#]
    {
        assert_eq!(server.post("/v1/replay", body).json(), all, "{body}");
    }
    let ids = |target: &str| -> Vec<u64> {
        let events = server.get(target).json();
        events.as_array().unwrap().iter().map(|event| event["offset"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids("/v1/replay?start=1"), [1, 2]);
    assert_eq!(ids("/v1/replay?start=1&end=2"), [1]);
    assert_eq!(ids("/v1/replay?limit=2"), [0, 1]);
    assert_eq!(ids("/v1/replay?limit=0"), [0_u64; 0]);
    assert_eq!(ids("/v1/replay?start=2&end=1"), [0_u64; 0]);
    assert_eq!(ids("/v1/replay?start=99"), [0_u64; 0]);
    assert_eq!(ids("/v1/replay?end=18446744073709551615"), [0, 1, 2]);
    assert_eq!(server.get("/v1/replay?limit=1&keys=string").json()[0]["key"], "7");

    let lines =
        server.connect().request("GET", "/v1/replay?start=1", &[("accept", "application/x-ndjson")], b"");
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let parsed: Vec<serde_json::Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed, all.as_array().unwrap()[1..]);
}

#[test]
fn history_that_is_gone_is_said_to_be_gone() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--wal-segment-bytes", "65536"]);
    let mut connection = server.connect();
    let value = "x".repeat(20_000);
    for key in 0..20 {
        connection.put(key, &value);
    }
    server.post("/v1/compact", "");
    let gone = server.get("/v1/replay");
    assert_eq!((gone.status, gone.code().as_str()), (410, "history_gone"));
    let oldest = gone.json()["oldest"].as_u64().unwrap();
    assert!(oldest > 0 && oldest <= 20, "{oldest}");
    let rest = server.get(&format!("/v1/replay?start={oldest}"));
    assert_eq!((rest.status, rest.json().as_array().unwrap().len() as u64), (200, 20 - oldest));
    let subscribe = server.get("/v1/subscribe?from=0");
    assert_eq!((subscribe.status, subscribe.code().as_str()), (410, "history_gone"));
}

#[test]
fn probes_and_build_information() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    assert_eq!(server.get("/health").text(), r#"{"status":"ok"}"#);
    assert_eq!(server.get("/livez").text(), r#"{"status":"ok"}"#);
    assert_eq!(server.get("/readyz").text(), r#"{"status":"ready"}"#);
    let info = server.get("/build_info").json();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        info["commit"].as_str().unwrap().len() >= 7
            && info["rustc"].as_str().unwrap().starts_with("rustc 1.")
    );
    assert!(["scalar", "avx2", "avx512", "neon"].contains(&info["simd"].as_str().unwrap()));
    assert!(info["features"].is_array());
}

#[test]
fn head_answers_as_get_does_without_the_body() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "hello");
    let mut connection = server.connect();
    for (target, status, length) in [
        ("/v1/get_fast/1", 200, Some("5")),
        ("/v1/get_fast/2", 404, None),
        ("/v1/lookup_fast/1", 200, Some("8")),
        ("/v1/lookup?key=1", 200, Some("25")),
        ("/v1/offset", 200, Some("12")),
        ("/health", 200, Some("15")),
    ] {
        let head = connection.request("HEAD", target, &[], b"");
        assert_eq!((head.status, head.header("content-length")), (status, length), "{target}");
    }
    assert_eq!(
        connection.request("GET", "/v1/get_fast/1", &[], b"").text(),
        "hello",
        "the connection is in step"
    );
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut connection = server.connect();
    for key in 0..200 {
        connection.put(key, &key.to_string());
    }
    let requests: String =
        (0..200).map(|key| format!("GET /v1/get_fast/{key} HTTP/1.1\r\nhost: localhost\r\n\r\n")).collect();
    connection.stream.write_all(requests.as_bytes()).unwrap();
    for key in 0..200 {
        assert_eq!(connection.raw(b"").unwrap().text(), key.to_string());
    }
}

#[test]
fn a_value_of_the_largest_size_comes_back_whole() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let value: String = (0..16_u32 << 20).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    server.put(5, &value);
    assert_eq!(server.get("/v1/get_fast/5").text(), value);
    server.post("/v1/snapshot", "");
    assert_eq!(server.get("/v1/get_fast/5").text(), value);
    let over = server.post("/v1/put", format!(r#"{{"key":6,"value":"{value}x"}}"#));
    assert_eq!((over.status, over.code().as_str()), (413, "value_too_large"));
    assert_eq!(server.get("/v1/get_fast/6").status, 404);
}
