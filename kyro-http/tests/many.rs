//! Many keys at once: batch, mget, scan, count, select, load, changes; and tasks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod running;

use std::io::Write;
use std::time::Duration;

use running::{Answer, Server, fresh};
use serde_json::{Value, json};

const BINARY: &str = "application/vnd.kyro.v1+binary";
const NDJSON: &str = "application/x-ndjson";

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn header(kind: u8, records: u64) -> Vec<u8> {
    [b"KYF1".as_slice(), &[kind, 0, 0, 0], &records.to_le_bytes()].concat()
}

fn put_record(key: u64, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap();
    [&[1, 0, 0, 0], length.to_le_bytes().as_slice(), &key.to_le_bytes(), &[0; 8], value].concat()
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "old");
    let batch = json!([
        { "op": "put", "key": 1, "value": "new" },
        { "op": "put", "key": "18446744073709551615", "value_base64": "/w==" },
        { "op": "append", "value": "event" },
        { "op": "delete", "key": 3 },
    ]);
    let written = server.post("/v1/batch", batch.to_string());
    assert_eq!(written.json(), json!({ "offset": 1, "last_offset": 4, "count": 4 }), "{}", written.text());
    assert_eq!(server.get("/v1/get_fast/1").text(), "new");
    assert_eq!(server.get("/v1/get_fast/18446744073709551615").body, [0xff]);

    let bad = r#"[{"op":"put","key":1,"value":"lost"},{"op":"put","key":2}]"#;
    assert_eq!(server.post("/v1/batch", bad).code(), "missing_field");
    assert_eq!(server.get("/v1/get_fast/1").text(), "new");
    let frame = [header(1, 2), put_record(5, b"five"), put_record(6, b"")].concat();
    let mut connection = server.connect();
    let written = connection.request("POST", "/v1/batch", &[("content-type", BINARY)], &frame);
    assert_eq!(written.json()["count"], 2, "{}", written.text());
    assert_eq!(server.get("/v1/get_fast/5").text(), "five");
    let cut = connection.request("POST", "/v1/batch", &[("content-type", BINARY)], &frame[..frame.len() - 1]);
    assert_eq!((cut.status, cut.code().as_str()), (400, "invalid_frame"));
    let other = connection.request("POST", "/v1/batch", &[("content-type", "text/csv")], b"a,b");
    assert_eq!((other.status, other.code().as_str()), (415, "unsupported_media_type"));
    assert_eq!(server.next_offset(), 7);

    let conditional = json!([
        { "op": "put", "key": 1, "value": "lost", "if_offset": 0 },
        { "op": "put", "key": 8, "value": "lost", "if_absent": true },
        { "op": "delete", "key": 9, "if_present": true },
    ]);
    let refused = server.post("/v1/batch", conditional.to_string());
    assert_eq!((refused.status, refused.code().as_str()), (409, "preconditions_failed"));
    assert_eq!(refused.json()["failed"], json!([{ "index": 0, "found": 1 }, { "index": 2, "found": null }]));
    assert_eq!((server.next_offset(), server.get("/v1/get_fast/8").status), (7, 404), "all or nothing");
    let fits = json!([{ "op": "put", "key": 1, "value": "over", "if_offset": 1 }]);
    assert_eq!(server.post("/v1/batch", fits.to_string()).json()["offset"], 7);
}

#[test]
fn mget_answers_in_order_in_every_form() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--max-batch-keys", "5000"]);
    server.put(1, "one");
    server.put(u64::MAX, "max");
    let expected = json!([
        { "key": u64::MAX, "value": "max" }, { "key": 2, "value": null }, { "key": 1, "value": "one" },
    ]);
    let text = server.post("/v1/mget", r#"["18446744073709551615",2,1]"#);
    assert_eq!(text.json(), expected, "{}", text.text());
    let packed: Vec<u8> = [u64::MAX, 2, 1].iter().flat_map(|key| key.to_le_bytes()).collect();
    let mut connection = server.connect();
    let octets = ("content-type", "application/octet-stream");
    let ndjson = connection.request("POST", "/v1/mget?keys=string", &[octets, ("accept", NDJSON)], &packed);
    assert_eq!(lines(&ndjson)[0], json!({ "key": "18446744073709551615", "value": "max" }));
    assert_eq!(lines(&ndjson).len(), 3);
    let frame = [header(2, 3), packed.clone()].concat();
    let binary =
        connection.request("POST", "/v1/mget", &[("content-type", BINARY), ("accept", BINARY)], &frame);
    assert_eq!(binary.header("content-type"), Some(BINARY));
    let values =
        [&3_u32.to_le_bytes()[..], b"max", &u32::MAX.to_le_bytes(), &3_u32.to_le_bytes(), b"one"].concat();
    assert_eq!(binary.body, [header(3, 3), values].concat());
    for (body, code) in [
        ("", "empty_body"),
        ("[1,", "invalid_json"),
        ("[-1]", "invalid_field"),
        ("[1.5]", "invalid_field"),
        ("{\"keys\":[1]}", "invalid_field"),
        ("[\"x\"]", "invalid_field"),
    ] {
        assert_eq!(server.post("/v1/mget", body).code(), code, "{body}");
    }
    assert_eq!(connection.request("POST", "/v1/mget", &[octets], &packed[1..]).code(), "bad_request");
    let many = vec![0_u8; 8 * 5001];
    assert_eq!(connection.request("POST", "/v1/mget", &[octets], &many).code(), "batch_too_large");
    assert_eq!(server.post("/v1/mget", "[]").json(), json!([]));
}

#[test]
fn an_mget_of_large_values_is_streamed_and_whole() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut connection = server.connect();
    let value = |key: u64| vec![key as u8; 300_000];
    for key in 0..10 {
        assert_eq!(connection.request("PUT", &format!("/v1/kv/{key}"), &[], &value(key)).status, 201);
    }
    let keys: Vec<u64> = (0..100).map(|n| n % 10).collect();
    let body: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    let headers = [("content-type", "application/octet-stream"), ("accept", BINARY)];
    let answer = connection.request("POST", "/v1/mget", &headers, &body);
    let expected: Vec<u8> =
        keys.iter().flat_map(|key| [&300_000_u32.to_le_bytes()[..], &value(*key)].concat()).collect();
    assert!(answer.body == [header(3, 100), expected].concat(), "{} bytes", answer.body.len());
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
}

#[test]
fn a_scan_goes_through_the_keys_in_order_and_on_behind_its_cursor() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    for key in [5, 1, 9, 3, 7] {
        server.put(key, &format!("v{key}"));
    }
    server.post("/v1/snapshot", "");
    server.put(4, "v4");
    let keys = |target: &str| -> Vec<u64> {
        lines(&server.get(target)).iter().filter_map(|line| line["key"].as_u64()).collect()
    };
    assert_eq!(keys("/v1/scan"), [1, 3, 4, 5, 7, 9]);
    assert_eq!(keys("/v1/scan?reverse=true"), [9, 7, 5, 4, 3, 1]);
    assert_eq!(keys("/v1/scan?from=3&to=5"), [3, 4, 5]);
    assert_eq!(keys("/v1/scan?from=6&to=5"), [0; 0]);
    let first = lines(&server.get("/v1/scan?limit=2"));
    assert_eq!(first[0], json!({ "key": 1, "offset": 1, "value": "v1" }));
    assert_eq!(first[2], json!({ "cursor": "k3" }));
    for reverse in [false, true] {
        let (mut found, mut target) =
            (Vec::new(), format!("/v1/scan?limit=2&values=false&reverse={reverse}"));
        for pages in 1.. {
            let page = lines(&server.get(&target));
            found.extend(page.iter().filter_map(|line| line["key"].as_u64()));
            assert!(page.iter().all(|line| line.get("value").is_none()));
            let Some(cursor) = page.last().and_then(|line| line["cursor"].as_str()) else { break };
            target = format!("/v1/scan?limit=2&values=false&reverse={reverse}&cursor={cursor}");
            assert!(pages < 4);
        }
        found.sort_unstable();
        assert_eq!(found, [1, 3, 4, 5, 7, 9], "reverse {reverse}");
    }
    assert_eq!(keys("/v1/scan?cursor=k18446744073709551615"), [0; 0]);
    assert_eq!(server.get("/v1/scan?cursor=3").code(), "invalid_field");
    let binary = server.connect().request("GET", "/v1/scan?to=3&limit=1", &[("accept", BINARY)], b"");
    let entry = [&[1, 0, 0, 0, 2, 0, 0, 0][..], &1_u64.to_le_bytes(), &1_u64.to_le_bytes(), b"v1"].concat();
    let end = [&[0, 1, 0, 0, 0, 0, 0, 0][..], &1_u64.to_le_bytes(), &[0; 8]].concat();
    assert_eq!(binary.body, [header(4, u64::MAX), entry, end].concat());

    assert_eq!(server.get("/v1/count").json(), json!({ "count": 6 }));
    assert_eq!(server.get("/v1/count?from=2&to=5").json(), json!({ "count": 3 }));
    assert_eq!(server.get("/v1/count?from=5&to=2").json(), json!({ "count": 0 }));
    assert_eq!(server.get("/v1/select?rank=2").json(), json!({ "key": 4, "offset": 5, "value": "v4" }));
    assert_eq!(server.get("/v1/select?rank=6").code(), "not_found");
    assert_eq!(server.get("/v1/select").code(), "missing_field");

    let delete = |target: &str| server.connect().request("DELETE", target, &[], b"");
    for (target, code) in [
        ("/v1/range", "missing_field"),
        ("/v1/range?from=3", "missing_field"),
        ("/v1/range?from=5&to=3", "invalid_field"),
    ] {
        assert_eq!(delete(target).code(), code, "{target}");
    }
    assert_eq!(keys("/v1/scan").len(), 6);
    assert_eq!(delete("/v1/range?from=3&to=5").json(), json!({ "offset": 6 }));
    assert_eq!(keys("/v1/scan"), [1, 7, 9]);
    assert_eq!((server.get("/v1/get_fast/4").status, server.get("/v1/get_fast/7").status), (404, 200));
}

#[test]
fn a_load_is_committed_in_chunks_and_says_how_much_was() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut connection = server.connect();
    let mut body = Vec::new();
    for key in 0..25_000 {
        writeln!(body, "{{\"key\":{key},\"value\":\"v{key}\"}}").unwrap();
    }
    let loaded = connection.request("POST", "/v1/load", &[], &body);
    let document = loaded.json();
    assert_eq!((&document["loaded"], &document["chunks"]), (&json!(25_000), &json!(3)), "{document}");
    assert_eq!(document["last_offset"], 24_999);
    assert_eq!(server.get("/v1/get_fast/24999").text(), "v24999");
    let tasks = server.get("/v1/tasks").json();
    assert_eq!((&tasks["tasks"][0]["kind"], &tasks["tasks"][0]["state"]), (&json!("load"), &json!("done")));
    assert_eq!(tasks["tasks"][0]["result"]["loaded"], 25_000);

    body.extend_from_slice(b"{\"key\":\"canary\"}\n");
    let refused = connection.request("POST", "/v1/load", &[("content-type", NDJSON)], &body);
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_record"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("line 25001"), "{}", refused.text());
    assert_eq!(refused.json()["loaded"]["loaded"], 20_000, "whole chunks only");
    assert!(!refused.text().contains("canary"));
    let csv = ("content-type", "text/csv; charset=utf-8");
    let table = connection.request("POST", "/v1/load?value_column=v", &[csv], b"key,v\n1,a\n2,b\n");
    assert_eq!(table.json()["loaded"], 2, "{}", table.text());
    assert_eq!(server.get("/v1/get_fast/2").text(), "b");
    assert_eq!(connection.request("POST", "/v1/load", &[csv], b"id,v\n1,a\n").code(), "invalid_field");
    let frame = [header(1, 1), put_record(3, b"binary")].concat();
    let binary = connection.request("POST", "/v1/load", &[("content-type", BINARY)], &frame);
    assert_eq!(binary.json()["loaded"], 1, "{}", binary.text());
    assert_eq!(server.get("/v1/get_fast/3").text(), "binary");
    assert_eq!(server.post("/v1/load", "").json()["loaded"], 0);
}

#[test]
fn a_load_that_goes_on_can_be_watched_and_stopped() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut loading = server.connect();
    let head = "POST /v1/load HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    loading.stream.write_all(head.as_bytes()).unwrap();
    let line = b"{\"key\":1,\"value\":\"x\"}\n";
    let part = line.repeat(10_000);
    let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat();
    loading.stream.write_all(&chunk).unwrap();
    running::wait_until("the task", || server.get("/v1/tasks/1").status == 200);
    let mut stopped = false;
    for _ in 0..1000 {
        if loading.stream.write_all(&chunk).is_err() {
            break;
        }
        let task = server.get("/v1/tasks/1").json();
        assert_eq!(task["kind"], "load", "{task}");
        if task["done"].as_u64().is_some_and(|done| done >= 10_000) && !stopped {
            stopped = true;
            assert_eq!(server.connect().request("DELETE", "/v1/tasks/1", &[], b"").status, 202);
        }
        if task["state"] == "cancelled" {
            break;
        }
    }
    assert!(stopped);
    // The server answers, and closes, also where the end of the body does not come in time.
    let _either = loading.stream.write_all(b"0\r\n\r\n");
    let answer = loading.raw(b"").unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (409, "cancelled"));
    let loaded = answer.json()["loaded"]["loaded"].as_u64().unwrap();
    assert_eq!(server.next_offset(), loaded, "what was counted is written");
    assert_eq!(server.get("/v1/tasks/99").code(), "unknown_task");
    assert_eq!(server.connect().request("DELETE", "/v1/tasks/1", &[], b"").code(), "not_cancellable");
}

#[test]
fn a_compaction_can_be_stopped_half_way_and_changes_nothing() {
    let (_parent, dir) = fresh();
    // So slow that it would take minutes.
    let server = Server::start_with(&dir, &["--compaction-io-bytes-per-sec", "2000"]);
    for round in 0..2 {
        let line = |key| format!("{{\"key\":{key},\"value\":\"{round}{key:01000}\"}}\n");
        let records = (0..300).map(line).collect::<Vec<_>>().concat();
        assert_eq!(server.post("/v1/load", records).status, 200);
        assert_eq!(server.post("/v1/snapshot", "").status, 200);
    }
    let task = server.post("/v1/compact?wait=false", "").json()["task"].as_u64().unwrap();
    let path = format!("/v1/tasks/{task}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.get(&path).json()["state"], "running");
    let mut connection = server.connect();
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 202);
    let start = std::time::Instant::now();
    while server.get(&path).json()["state"] != "cancelled" {
        assert!(start.elapsed() < running::PATIENCE, "{}", server.get(&path).text());
        std::thread::sleep(Duration::from_millis(10));
    }
    let again = connection.request("DELETE", &path, &[], b"");
    assert_eq!((again.status, again.code().as_str()), (409, "not_cancellable"));
    assert_eq!(server.metric("kyrodb_compactions_total"), 0);
    assert_eq!(server.metric("kyrodb_runs"), 2);
    assert_eq!(server.metric("kyrodb_maintenance_failing"), 0);
    assert!(server.get("/v1/get_fast/299").text().starts_with("10000"), "the second round's value");
    let files = std::fs::read_dir(dir.join("runs")).unwrap();
    let left: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "two runs with their indexes, and nothing of the third: {left:?}");
}

#[test]
fn long_work_can_be_left_to_itself() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "x");
    let begun = server.post("/v1/snapshot?wait=false", "");
    assert_eq!((begun.status, begun.json()), (202, json!({ "task": 1 })));
    assert_eq!(begun.header("location"), Some("/v1/tasks/1"));
    let start = std::time::Instant::now();
    let document = loop {
        let document = server.get("/v1/tasks/1").json();
        if document["state"] != "running" {
            break document;
        }
        assert!(start.elapsed() < running::PATIENCE);
    };
    assert_eq!(
        (&document["state"], &document["result"]["snapshot"]),
        (&json!("done"), &json!("ok")),
        "{document}"
    );
    assert_eq!(server.post("/v1/snapshot?wait=maybe", "").code(), "invalid_field");
    let stats = server.get("/v1/stats").json();
    assert_eq!((&stats["runs"][0]["entries"], &stats["next_offset"]), (&json!(1), &json!(1)));
    assert!(
        stats["index"]["bits_per_key"].as_f64().unwrap() > 0.0 && stats["memory"]["resident_bytes"].is_u64()
    );
    let count = |counts: &Value| counts.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>();
    let wal = &stats["wal"];
    assert!(wal["groups"].as_u64().unwrap() > 0, "{wal}");
    assert_eq!(Some(count(&wal["group_sizes"]["counts"])), wal["groups"].as_u64());
    assert_eq!(Some(count(&wal["sync_nanoseconds"]["counts"])), wal["syncs"].as_u64());
    assert!(stats["stalls"].as_array().unwrap().iter().any(|stall| stall["reason"] == "memory"));
}

#[test]
fn a_backup_is_a_database_under_the_root_and_nowhere_else() {
    let (parent, dir) = fresh();
    let root = parent.path().join("backups");
    std::fs::create_dir(&root).unwrap();
    let server = Server::start_with(&dir, &["--backup-root", root.to_str().unwrap()]);
    server.put(1, "kept");
    let made = server.post("/v1/backup", r#"{"name":"one"}"#);
    assert_eq!((made.status, &made.json()["next_offset"]), (200, &json!(1)), "{}", made.text());
    server.put(1, "later");
    assert_eq!(server.post("/v1/backup", r#"{"name":"one"}"#).code(), "backup_exists");
    for name in ["..", "../two", "/tmp/two", "", "two/three", "two.partial"] {
        let answer = server.post("/v1/backup", json!({ "name": name }).to_string());
        assert_eq!(answer.code(), "invalid_field", "{name}");
    }
    let inside: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(inside, ["one"]);
    assert_eq!(server.get("/v1/tasks/1").json()["kind"], "backup");
    let copy = Server::start(&root.join("one"));
    assert_eq!(copy.get("/v1/get_fast/1").text(), "kept");
    assert_eq!(
        Server::start(&parent.path().join("other")).post("/v1/backup", r#"{"name":"x"}"#).code(),
        "backups_off"
    );
}

#[test]
fn changes_come_in_pages_after_a_wait_or_as_a_stream() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "a");
    server.put(2, "b");
    let page = lines(&server.get("/v1/changes"));
    assert_eq!(page[0], json!({ "offset": 0, "key": 1, "op": "put", "payload": "a" }));
    assert_eq!(page[2], json!({ "next": 2 }));
    assert_eq!(lines(&server.get("/v1/changes?since=1&limit=1")).last(), Some(&json!({ "next": 2 })));
    assert_eq!(lines(&server.get("/v1/changes?limit=1")), [page[0].clone(), json!({ "next": 1 })]);
    assert_eq!(server.get("/v1/changes?wait=61").code(), "invalid_field");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lines(&server.get("/v1/changes?since=2&wait=30")));
        std::thread::sleep(Duration::from_millis(100));
        server.put(3, "c");
        assert_eq!(waiting.join().unwrap()[0]["key"], 3);
    });
    let mut stream = server.connect();
    stream
        .stream
        .write_all(b"GET /v1/changes?stream=true&since=1 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(stream.head().unwrap().header("content-type"), Some(NDJSON));
    let mut text = String::new();
    while text.lines().filter(|line| !line.is_empty()).count() < 2 {
        text.push_str(&String::from_utf8(stream.chunk().unwrap().unwrap()).unwrap());
    }
    server.signal("TERM");
    while let Ok(Some(chunk)) = stream.chunk() {
        text.push_str(&String::from_utf8(chunk).unwrap());
    }
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({ "end": "shutdown", "resume": 3 }), "{text}");
    assert_eq!(server.wait().0, 0);
}
